"""Texts as a problem: tokens, encoded once for all members that ask for the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from titrant.models.network import Shape
from titrant.models.text import TextEncoder, TextShape, shape_of
from titrant.recipe import augmentations
from titrant.record import Task
from titrant.train.member import Member
from titrant.train.problem import Encoded, Inputs, Problem, thrifty_evaluations
from titrant.train.shelf import placed, shelf
from titrant.tricks.acting import Ledger, Streams
from titrant.tricks.augment_text import PADDING, ChangingTrick, HidingTrick
from titrant.tricks.base import Off, Segment, active_segments
from titrant.tricks.data import Data

_HIDING, _CHANGING = augmentations(HidingTrick), augmentations(ChangingTrick)


@dataclass(frozen=True)
class TextProblem(Problem):
    """A task on texts; see `titrant.train.shelf` for which rows encoders look at.

    Args:
        tokens: int32 [n, t], 0 behind a text's end.
        begins: bool [v], which of all tokens begin a word.
        target: int64 [n] classes, or float [n] values.
        task: binary, multiclass or regression.
        classes: how many; 1 for regression.
        rows: int64, the rows that may be learned from.
        device: where everything is.
        visible: int64, the rows that are read at all; None for all.
    """

    tokens: Tensor
    begins: Tensor
    target: Tensor
    task: Task
    classes: int
    rows: Tensor
    device: torch.device
    visible: Tensor | None = None

    @property
    def count(self) -> int:
        """Different tokens."""
        return len(self.begins)

    @property
    def columns(self) -> int:
        """Numbers of a text's tokens."""
        return self.tokens.shape[1]

    def evaluations(self, trained: int, judged: int) -> int:
        """So often that they take about a tenth of the time."""
        return thrifty_evaluations(trained, judged)

    def raw(self, rows: Tensor) -> Inputs:
        """Tokens [n, t] as they came."""
        return (self.tokens[rows],)

    def encoder(self, data: Data, rows: Tensor) -> nn.Module:
        """The encoder for a data slot."""
        return self.encoded(data, rows).encoder

    def encoded(self, data: Data, rows: Tensor) -> Encoded:
        """All texts for a data slot."""
        longest = data.tokens.longest if isinstance(data.features, Off) else None
        return shelf(self.tokens).take((data.features, longest), self.visible, lambda: self._encode(data))

    def _encode(self, data: Data) -> Encoded:
        seen = self.tokens if self.visible is None else self.tokens[self.visible]
        encoder = TextEncoder.fit(data, seen, self.begins).to(self.device)
        return Encoded(self.rows, encoder, tuple(placed(part, self.visible, len(self.tokens)) for part in encoder(seen)))

    def shape(self, encoder: nn.Module) -> Shape:
        """Tokens or runs, how many of them a text has, and outputs."""
        assert isinstance(encoder, TextEncoder)
        return shape_of(encoder, self.count, self.outputs)

    def receipts(self, member: Member) -> dict[str, tuple[float, float]]:
        """What the data slot acted on: tokens, or runs of tokens."""
        encoder = self.encoder(member.recipe.data, member.rows)
        assert isinstance(encoder, TextEncoder)
        read = 0.0 if encoder.count else float(self.count)
        return {
            **dict.fromkeys(("data.scale", "data.categories", "data.numbers"), (0.0, 0.0)),
            "data.tokens": (read, float(self.count)),
            "data.features": (float(encoder.count), float(encoder.count)),
        }

    def seen_by(self, members: Sequence[Member], streams: Streams, ledger: Ledger) -> "SeenTexts":
        """Texts that lose, change and exchange tokens."""
        shape = self.shape(self.encoder(members[0].recipe.data, members[0].rows))
        assert isinstance(shape, TextShape)
        return SeenTexts(members, shape.count, streams, ledger)


class SeenTexts:
    """What k members see of texts; see `titrant.train.problem.Seen`.

    Args:
        members: whose tricks act.
        count: different tokens, or runs of tokens and one for none.
        streams: their random streams.
        ledger: where receipts are booked.
    """

    def __init__(self, members: Sequence[Member], count: int, streams: Streams, ledger: Ledger) -> None:
        self.count = count
        self.streams = streams
        self.ledger = ledger

        def parts(name: str) -> list[Segment[Any]]:
            return active_segments([m.recipe.at(f"augment.{name}") for m in members], axes=2, device=streams.device)

        self._hiding = {name: parts(name) for name in _HIDING}
        self._changing = {name: parts(name) for name in _CHANGING}

    def augmented(self, inputs: Inputs, turns: Tensor, progress: float = 1.0) -> Inputs:
        """Tokens [k, b, t] or places [k, b, s] after each member's augmentation; `inputs` may be changed in place."""
        ids, second = inputs
        hidden = self._hidden(ids)
        if second.is_floating_point():  # runs of tokens: those that are left out weigh nothing
            return inputs if hidden is None else (ids, second.masked_fill(hidden, 0.0))
        ends = second
        if hidden is not None:
            ids, ends = _closed_up(ids, ends, hidden)
        for name, found in self._changing.items():
            for part in found:
                kind: type[ChangingTrick] = part.kind
                mine = slice(part.start, part.stop)
                noise = self.streams.uniform(f"augment.{name}", ids.shape[1:], part.start, part.stop)
                changed = kind.apply(ids[mine], ends[mine], noise, **part.values)
                self._book(name, part, (changed != ids[mine]).any(-1))
                ids = changed if len(part) == len(ids) else torch.cat([ids[: part.start], changed, ids[part.stop :]])
        return ids, ends

    def _hidden(self, ids: Tensor) -> Tensor | None:
        """What is left out, bool [k, b, t]: never all of a text; None where no member leaves anything out."""
        if not any(self._hiding.values()):
            return None
        there = ids != PADDING
        hidden = torch.zeros_like(there)
        for name, found in self._hiding.items():
            for part in found:
                kind: type[HidingTrick] = part.kind
                mine = slice(part.start, part.stop)
                shape = kind.shape(*ids.shape[1:], self.count)
                noise = self.streams.uniform(f"augment.{name}", shape, part.start, part.stop)
                own = kind.hidden(ids[mine], noise, **part.values) & there[mine]
                self._book(name, part, own.any(-1))
                hidden[mine] |= own
        return hidden & (hidden != there).any(-1, keepdim=True)

    def _book(self, name: str, part: Segment[Any], which: Tensor) -> None:
        self.ledger.add(f"augment.{name}", part.start, part.stop, which.sum(1), float(which.shape[1]))

    def cut(self, inputs: Inputs, share: Tensor) -> tuple[Inputs, Tensor]:
        """Texts exchange nothing: a part of one is no text."""
        return inputs, torch.ones_like(share).expand(-1, inputs[0].shape[1])


def _closed_up(ids: Tensor, ends: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Texts without what is hidden: the others move up, and texts end earlier."""
    order = hidden.to(torch.uint8).argsort(dim=-1, stable=True)
    moved = ids.masked_fill(hidden, PADDING).gather(-1, order)
    return moved, ends - hidden.sum(-1)
