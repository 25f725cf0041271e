"""Augmentation of pictures, fused: however many tricks a recipe has, its pictures are moved once and recoloured once.

    draw      every trick's uniform numbers
    move      the tricks' maps of places compose to one; then one exact gather, or one resample
    recolour  the tricks' maps of colours compose to one; then one product of matrices, cut to [0, 1]
    finish    tricks that make new pixels, one after another

Members of a stack may hold different tricks: each gets what its own need, and nothing where it has none.

Axes: k member, b picture of a batch, c channel, h height, w width.
"""

from collections.abc import Hashable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from titrant.models.image import first, last
from titrant.tricks.acting import Ledger, Streams
from titrant.tricks.augment import Augment
from titrant.tricks.augment_places import PictureTrick, composed, gathered, resampled
from titrant.tricks.base import Off, Segment, Trick, active_segments


class Augmentation:
    """What k members do to their pictures.

    Args:
        slots: the augment slot of each member.
        streams: their random streams.
        ledger: where receipts are booked.
    """

    def __init__(self, slots: Sequence[Augment], streams: Streams, ledger: Ledger) -> None:
        self.streams = streams
        self.ledger = ledger
        self._parts: list[tuple[str, Segment[Any]]] = []
        acting: list[list[type[PictureTrick]]] = [[] for _ in slots]
        for name in Augment.model_fields:
            tricks = [_acting(getattr(slot, name)) for slot in slots]
            self._parts += [(f"augment.{name}", part) for part in active_segments(tricks, axes=1, device=streams.device)]
            for kinds, trick in zip(acting, tricks, strict=True):
                kinds += [type(trick)] if isinstance(trick, PictureTrick) else []
        movers = [[kind for kind in kinds if kind.places] for kinds in acting]
        self._moves = _runs([None if not kinds else all(kind.exact for kind in kinds) for kinds in movers])
        self._recolours = _runs([any(kind.colours for kind in kinds) for kinds in acting])

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Augmented pictures.

        Args:
            pixels: float32 [k, b, c, h, w] in [0, 1], channels last in memory; may be changed in place.

        Returns:
            The same shape, likewise.
        """
        if not self._parts:
            return pixels
        rows = pixels.shape[1]
        drawn = [self.streams.uniform(path, (rows, part.kind.draws), part.start, part.stop) for path, part in self._parts]
        changed = [torch.zeros(len(part), rows, dtype=torch.bool, device=pixels.device) for _, part in self._parts]
        pixels = self._moved(pixels, drawn, changed)
        pixels = self._recoloured(pixels, drawn, changed)
        pixels = self._finished(pixels, drawn, changed)
        if self.ledger.probing:
            for (path, part), found in zip(self._parts, changed, strict=True):
                self.ledger.add(path, part.start, part.stop, found.sum(1), float(rows))
        return first(last(pixels).contiguous())

    def _moved(self, pixels: Tensor, drawn: list[Tensor], changed: list[Tensor]) -> Tensor:
        """One gather or one resample for all that moves pixels."""
        size = (pixels.shape[3], pixels.shape[4])
        same = torch.eye(2, 3, device=pixels.device)
        maps = same.repeat(*pixels.shape[:2], 1, 1)
        for place, (_, part) in enumerate(self._parts):
            if part.kind.places:
                found = part.kind.places(drawn[place], size, **part.values)
                maps[part.start : part.stop] = composed(maps[part.start : part.stop], found)
                changed[place] |= (found != same).flatten(2).any(2)
        pieces = []
        for exact, start, stop in self._moves:
            piece, there = pixels[start:stop].flatten(0, 1), maps[start:stop].flatten(0, 1)
            if exact is not None:
                piece = first(gathered(last(piece), there)) if exact else resampled(piece, there)
            pieces.append(piece.view(stop - start, -1, *piece.shape[1:]))
        return _joined(pieces)

    def _recoloured(self, pixels: Tensor, drawn: list[Tensor], changed: list[Tensor]) -> Tensor:
        """One product for all that changes colours linearly."""
        if not any(recoloured for recoloured, *_ in self._recolours):
            return pixels
        channels = pixels.shape[2]
        same = torch.eye(channels, channels + 1, device=pixels.device)
        maps = same.repeat(*pixels.shape[:2], 1, 1)
        mean = pixels.mean((3, 4)).unsqueeze(3)
        for place, (_, part) in enumerate(self._parts):
            if part.kind.colours:
                mine = maps[part.start : part.stop]
                now = mine[..., :channels] @ mean[part.start : part.stop] + mine[..., channels:]
                found = part.kind.colours(drawn[place], now.squeeze(3), **part.values)
                maps[part.start : part.stop] = composed(found, mine)
                changed[place] |= (found != same).flatten(2).any(2)
        pieces = []
        for recoloured, start, stop in self._recolours:
            piece = pixels[start:stop]
            if recoloured:
                there = maps[start:stop].flatten(0, 1)
                mixed = torch.baddbmm(there[..., channels:], there[..., :channels], piece.flatten(0, 1).flatten(2))
                piece = mixed.clamp_(0, 1).view(piece.shape)
            pieces.append(piece)
        return _joined(pieces)

    def _finished(self, pixels: Tensor, drawn: list[Tensor], changed: list[Tensor]) -> Tensor:
        """One after another all that makes new pixels."""
        for place, (path, part) in enumerate(self._parts):
            if part.kind.pixels:
                mine = pixels[part.start : part.stop]
                noise = None
                if part.kind.noise != "none":
                    draw = self.streams.normal if part.kind.noise == "normal" else self.streams.uniform
                    noise = draw(f"{path}.noise", mine.shape[1:], part.start, part.stop)
                new = part.kind.pixels(mine, drawn[place], noise, **part.values)
                if self.ledger.probing:
                    changed[place] |= (new != mine).flatten(2).any(2)
                pixels = _joined([pixels[: part.start], new, pixels[part.stop :]])
        return pixels


def _acting(trick: Trick) -> PictureTrick | Off:
    """A picture trick that does something, or `Off`."""
    return trick if isinstance(trick, PictureTrick) and not trick.is_off else Off()


def _runs(keys: Sequence[Hashable]) -> list[tuple[Any, int, int]]:
    """Equal neighbours: the key, where they start and stop."""
    found, start = [], 0
    for key, run in groupby(keys):
        stop = start + len(list(run))
        found.append((key, start, stop))
        start = stop
    return found


def _joined(pieces: list[Tensor]) -> Tensor:
    """The pieces along the first axis; no copy where one is all."""
    whole = [piece for piece in pieces if len(piece)]
    return whole[0] if len(whole) == 1 else torch.cat(whole)
