"""Tables as a problem: numbers and codes, encoded once for all members that ask for the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from titrant.models.encoder import Encoder
from titrant.models.table import TableShape
from titrant.recipe import augmentations
from titrant.record import Task
from titrant.train.member import Member
from titrant.train.problem import Encoded, Inputs, Problem
from titrant.tricks.acting import Ledger, Streams
from titrant.tricks.augment_rows import RowTrick
from titrant.tricks.base import Segment, Trick, active_segments
from titrant.tricks.data import Data
from titrant.tricks.mix import CutMix

T = TypeVar("T")

_ROW_TRICKS = augmentations(RowTrick)


@dataclass(frozen=True)
class TableProblem(Problem):
    """A task on the rows of a table.

    Args:
        numbers: float32 [n, f], NaN for missing.
        codes: int32 [n, c]; 0 unseen, 1 missing, 2 and up the vocabulary.
        target: int64 [n] classes, or float32 [n] values.
        cardinalities: codes of each code column.
        task: binary, multiclass or regression.
        classes: how many; 1 for regression.
        rows: int64, the rows that may be learned from; target scaling, class counts and indicators look at no other.
        device: where everything is.
    """

    numbers: Tensor
    codes: Tensor
    target: Tensor
    cardinalities: tuple[int, ...]
    task: Task
    classes: int
    rows: Tensor
    device: torch.device
    _encoders: dict[tuple[Trick, Trick, int], tuple[Tensor, Encoder]] = field(default_factory=dict, repr=False, compare=False)
    _encoded: dict[tuple[Trick, Trick, int], Encoded] = field(default_factory=dict, repr=False, compare=False)
    _locks: dict[tuple[Trick, int], Lock] = field(default_factory=dict, repr=False, compare=False)

    @property
    def columns(self) -> int:
        """Number columns."""
        return self.numbers.shape[1]

    def raw(self, rows: Tensor) -> Inputs:
        """Numbers [n, f] and codes [n, c] as they came."""
        return self.numbers[rows], self.codes[rows]

    def encoder(self, data: Data, rows: Tensor) -> Encoder:
        """An encoder that is fitted on `rows`; kept for others that ask for the same.

        The cache is keyed by the tensor's identity, and keeps the tensor: members share their row tensors. Threads may ask at
        the same time; what one of them is making, others wait for.
        """
        key = (data.scale, data.categories, id(rows))
        with self._lock(data, rows), torch.no_grad():
            if key not in self._encoders:
                self._encoders[key] = (rows, self._fitted(data, rows))
            return self._encoders[key][1]

    def encoded(self, data: Data, rows: Tensor) -> Encoded:
        """All rows, encoded by the encoder that is fitted on `rows`; kept as well."""
        key = (data.scale, data.categories, id(rows))
        encoder = self.encoder(data, rows)
        with self._lock(data, rows), torch.no_grad():
            if key not in self._encoded:
                alike = self._alike(self._encoded, key)  # scaling is the dear part, and shared by all codings of categories
                numbers = encoder.numbers(self.numbers) if alike is None else alike.inputs[0]
                self._encoded[key] = Encoded(rows, encoder, (numbers, encoder.codes(self.codes)))
            return self._encoded[key]

    def _lock(self, data: Data, rows: Tensor) -> Lock:
        return self._locks.setdefault((data.scale, id(rows)), Lock())

    def _alike(self, found: Mapping[tuple[Trick, Trick, int], T], key: tuple[Trick, Trick, int]) -> T | None:
        """What was made before with the same scaling on the same rows."""
        return next((made for (scale, _, place), made in list(found.items()) if (scale, place) == (key[0], key[2])), None)

    def _fitted(self, data: Data, rows: Tensor) -> Encoder:
        alike = self._alike(self._encoders, (data.scale, data.categories, id(rows)))
        if alike is not None:
            return alike[1].with_categories(data, self.codes[rows], self.cardinalities).to(self.device)
        may_miss = self.numbers[self.rows].isnan().any(0)
        return Encoder.fit(data, self.numbers[rows], self.codes[rows], self.cardinalities, may_miss).to(self.device)

    def shape(self, encoder: nn.Module) -> TableShape:
        """What a network must know of the encoded data."""
        assert isinstance(encoder, Encoder)
        return TableShape(
            numbers=encoder.features,
            indicators=encoder.width - encoder.features,
            cardinalities=tuple(encoder.cardinalities),
            outputs=self.outputs,
        )

    def receipts(self, member: Member) -> dict[str, tuple[float, float]]:
        """What the data slot acted on: columns."""
        encoder = self.encoder(member.recipe.data, member.rows)
        columns, coded = float(encoder.features), float(len(encoder.cardinalities))
        return {"data.scale": (columns, columns), "data.numbers": (columns, columns), "data.categories": (coded, coded)}

    def seen_by(self, members: Sequence[Member], streams: Streams, ledger: Ledger) -> "SeenRows":
        """Rows with noise, swaps and gaps."""
        return SeenRows(members, streams, ledger)


class SeenRows:
    """What k members see of the rows of a table; see `titrant.train.problem.Seen`.

    Args:
        members: whose tricks act.
        streams: their random streams.
        ledger: where receipts are booked.
    """

    def __init__(self, members: Sequence[Member], streams: Streams, ledger: Ledger) -> None:
        self.streams = streams
        self.ledger = ledger

        def parts(path: str, axes: int) -> list[Segment[Any]]:
            return active_segments([member.recipe.at(path) for member in members], axes=axes, device=streams.device)

        self._augment = {name: parts(f"augment.{name}", axes=2) for name in _ROW_TRICKS}
        self._cuts = [part for part in parts("mix", axes=0) if part.kind is CutMix]

    def augmented(self, inputs: Inputs, turns: Tensor, progress: float = 1.0) -> Inputs:
        """Swap, noise and mask on numbers [k, b, f] and codes [k, b, c], which may be changed in place."""
        numbers, codes = inputs
        for name, found in self._augment.items():
            for part in found:
                kind: type[RowTrick] = part.kind
                mine = slice(part.start, part.stop)
                draw = self.streams.normal if kind.draws == "normal" else self.streams.uniform
                cells = (numbers.shape[1], numbers.shape[2] + codes.shape[2])
                noise = draw(f"augment.{name}", cells, part.start, part.stop)
                numbers[mine], codes[mine], changed = kind.apply(numbers[mine], codes[mine], noise, **part.values)
                if self.ledger.probing:
                    count = float(changed[0].numel())
                    self.ledger.add(f"augment.{name}", part.start, part.stop, changed.flatten(1).sum(1), count)
        return numbers, codes

    def cut(self, inputs: Inputs, share: Tensor) -> tuple[Inputs, Tensor]:
        """Cells exchanged with the next row, and the share of each row that stays its own [k, b]."""
        numbers, codes = inputs
        own = share.expand(-1, numbers.shape[1])
        for part in self._cuts:
            mine = slice(part.start, part.stop)
            cells = (numbers.shape[1], numbers.shape[2] + codes.shape[2])
            noise = self.streams.uniform("mix.cells", cells, part.start, part.stop)
            numbers[mine], codes[mine], kept = CutMix.apply(numbers[mine], codes[mine], noise, share[mine])
            own = torch.cat([own[: part.start], kept, own[part.stop :]])
        return (numbers, codes), own
