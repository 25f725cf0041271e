"""Augmentation of pictures, fused: however many tricks a recipe has, its pictures are moved once and recoloured once.

    draw      every trick's uniform numbers
    colours   the tricks' maps of colours compose to one
    places    the tricks' maps of places compose to one
    map       bytes become numbers, after one exact gather or before one resample; one product of matrices, cut to [0, 1]
    pixels    tricks that make new pixels, one after another

Linear colours and linear resampling may change places: colours come first, and cost no pass over memory of their own.

Members of a stack may hold different tricks: each gets what its own need, and nothing where it has none.

Axes: k member, b picture of a batch, c channel, h height, w width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import torch
from torch import Tensor

from titrant.models.image import Pixels, first, last
from titrant.tricks.acting import Ledger, Streams
from titrant.tricks.augment import Augment
from titrant.tricks.augment_colours import recoloured
from titrant.tricks.augment_places import Gather, PictureTrick, composed, resampled
from titrant.tricks.base import Off, Segment, Trick, active_segments

_CACHED = 1 << 18  # numbers that a thread works on at a time, a megabyte
_CACHED_BYTES = 1 << 20  # the same where bytes are moved, and become numbers at the end only


@dataclass(frozen=True)
class _How:
    """What a member's pictures need: one gather, one resample, or no move; and whether they are recoloured."""

    move: Literal["none", "gather", "resample"]
    recolours: bool

    @classmethod
    def of(cls, kinds: Sequence[type[PictureTrick]]) -> "_How":
        """What these kinds need together."""
        exact = [kind.exact for kind in kinds if kind.places]
        return cls("none" if not exact else "gather" if all(exact) else "resample", any(kind.colours for kind in kinds))


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
        self._encoder = Pixels()
        self._parts: list[tuple[str, Segment[Any]]] = []
        acting: list[list[type[PictureTrick]]] = [[] for _ in slots]
        for name in Augment.model_fields:
            tricks = [_acting(getattr(slot, name)) for slot in slots]
            self._parts += [(f"augment.{name}", part) for part in active_segments(tricks, axes=1, device=streams.device)]
            for kinds, trick in zip(acting, tricks, strict=True):
                kinds += [type(trick)] if isinstance(trick, PictureTrick) else []
        self._how = _runs([_How.of(kinds) for kinds in acting])

    @torch.no_grad()
    def __call__(self, pixels: Tensor, turns: Tensor) -> Tensor:
        """Augmented pictures.

        Args:
            pixels: uint8 [k, b, h, w, c].
            turns: int64 [k, b], see `titrant.train.problem.Seen`.

        Returns:
            float32 [k, b, c, h, w] in [0, 1], channels last in memory.
        """
        rows = pixels.shape[1]
        drawn = [self._drawn(path, part, turns[part.start : part.stop]) for path, part in self._parts]
        changed = [torch.zeros(len(part), rows, dtype=torch.bool, device=pixels.device) for _, part in self._parts]
        colours, places = self._colours(pixels, drawn, changed), self._places(pixels, drawn, changed)
        mapped = _joined([
            self._mapped(how, pixels[start:stop], places[start:stop], colours[start:stop]) for how, start, stop in self._how
        ])  # fmt: skip
        finished = self._finished(mapped, drawn, changed)
        if self.ledger.probing:
            for (path, part), found in zip(self._parts, changed, strict=True):
                self.ledger.add(path, part.start, part.stop, found.sum(1), float(rows))
        return first(last(finished).contiguous())

    def _drawn(self, path: str, part: Segment[Any], turns: Tensor) -> Tensor:
        """A trick's uniform numbers [k, b, draws], and whose turn it is where it asks for that."""
        chance = self.streams.uniform(path, (turns.shape[1], part.kind.draws), part.start, part.stop)
        return torch.cat([chance, (turns % 2 / 2).unsqueeze(2)], 2) if part.kind.turns else chance

    def _colours(self, pixels: Tensor, drawn: list[Tensor], changed: list[Tensor]) -> Tensor:
        """The joint map of colours for each picture [k, b, c, c + 1]."""
        channels = pixels.shape[4]
        same = torch.eye(channels, channels + 1, device=pixels.device)
        maps = same.expand(*pixels.shape[:2], -1, -1)
        parts = [(place, part) for place, (_, part) in enumerate(self._parts) if part.kind.colours]
        if not parts:
            return maps
        # Rows first, then along them: twice as fast as along both sides at once.
        mean = pixels.flatten(3).mean(2, dtype=torch.float32).view(*pixels.shape[:2], -1, channels).mean(2).div_(255)
        for place, part in parts:
            mine = maps[part.start : part.stop]
            now = mine[..., :channels] @ mean[part.start : part.stop].unsqueeze(3) + mine[..., channels:]
            found = part.kind.colours(drawn[place], now.squeeze(3), **part.values)
            self._note(changed[place], found, same)
            maps = _replaced(maps, part, composed(found, mine))
        return maps

    def _places(self, pixels: Tensor, drawn: list[Tensor], changed: list[Tensor]) -> Tensor:
        """The joint map of places for each picture [k, b, 2, 3]."""
        same = torch.eye(2, 3, device=pixels.device)
        maps = same.expand(*pixels.shape[:2], -1, -1)
        for place, (_, part) in enumerate(self._parts):
            if part.kind.places:
                found = part.kind.places(drawn[place], (pixels.shape[2], pixels.shape[3]), **part.values)
                self._note(changed[place], found, same)
                maps = _replaced(maps, part, composed(maps[part.start : part.stop], found))
        return maps

    def _mapped(self, how: _How, pixels: Tensor, places: Tensor, colours: Tensor) -> Tensor:
        """Pictures as numbers, under their maps; on a CPU in pieces that stay in its cache.

        A processor's cache is many times faster than its memory: at 64 pixels a side this halves the time of a resample.
        """
        members, rows, *shape = pixels.shape
        plain = how.move != "resample" and not how.recolours
        most = rows
        if pixels.device.type == "cpu":
            most = torch.get_num_threads() * max(1, (_CACHED_BYTES if plain else _CACHED) // pixels[:, 0].numel())
        gather = Gather(places, *shape[:2]) if how.move == "gather" else None
        out = torch.empty(pixels.shape, device=pixels.device)
        for start in range(0, rows, most):
            mine = (slice(None), slice(start, start + most))
            piece = first(pixels[mine].flatten(0, 1))
            if gather is not None:
                piece = gather(piece, mine)
            if plain:
                self._encoder.into(out[mine], first(last(piece).view(members, -1, *shape)))
                continue
            (piece,) = self._encoder(piece)
            if how.move == "resample":
                piece = resampled(piece, places[mine].flatten(0, 1))
            if how.recolours:
                piece = recoloured(piece, colours[mine].flatten(0, 1))
            out[mine] = last(piece).view(members, -1, *shape)
        return first(out)

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
                self._note(changed[place], new, mine)
                pixels = _replaced(pixels, part, new)
        return pixels

    def _note(self, changed: Tensor, new: Tensor, old: Tensor) -> None:
        """Marks the pictures [k, b] for which `new` [k, b, ...] is not `old`, where receipts ask for it."""
        if self.ledger.probing:
            changed |= (new != old).flatten(2).any(2)


def _acting(trick: Trick) -> PictureTrick | Off:
    """A picture trick that does something, or `Off`."""
    return trick if isinstance(trick, PictureTrick) and not trick.is_off else Off()


def _runs(keys: Sequence[_How]) -> list[tuple[_How, int, int]]:
    """Equal neighbours: the key, where they start and stop."""
    found, start = [], 0
    for key, run in groupby(keys):
        stop = start + len(list(run))
        found.append((key, start, stop))
        start = stop
    return found


def _replaced(whole: Tensor, part: Segment[Any], new: Tensor) -> Tensor:
    """The tensor [k, ...] with a part's members replaced."""
    return _joined([whole[: part.start], new, whole[part.stop :]])


def _joined(pieces: list[Tensor]) -> Tensor:
    """The pieces along the first axis; no copy where one is all."""
    filled = [piece for piece in pieces if len(piece)]
    return filled[0] if len(filled) == 1 else torch.cat(filled)
