"""Series as a problem: encoded once for all members that ask for the same, steps before channels in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from titrant.models.network import Shape
from titrant.models.series import SeriesEncoder, ends_of, shape_of, unrest
from titrant.recipe import augmentations
from titrant.record import Task
from titrant.train.member import Member
from titrant.train.problem import Encoded, Inputs, Problem
from titrant.train.shelf import placed, shelf
from titrant.tricks.acting import Ledger, Streams
from titrant.tricks.augment_series import TimeTrick, ValueTrick, shown
from titrant.tricks.base import Off, Segment, active_segments
from titrant.tricks.data import Data
from titrant.tricks.mix import CutMix

_TIME_TRICKS, _VALUE_TRICKS = augmentations(TimeTrick), augmentations(ValueTrick)


@dataclass(frozen=True)
class SeriesProblem(Problem):
    """A task on series; see `titrant.train.shelf` for which rows encoders look at.

    Args:
        values: float32 [n, c, t], NaN for what is missing and behind a series' end.
        target: int64 [n] classes, or float [n] values; of forecasts float [n, h], the values that follow on the first channel.
        task: binary, multiclass or regression.
        classes: how many; 1 for regression.
        rows: int64, the rows that may be learned from.
        device: where everything is.
        visible: int64, the rows that are read at all; None for all.
    """

    values: Tensor
    target: Tensor
    task: Task
    classes: int
    rows: Tensor
    device: torch.device
    visible: Tensor | None = None

    @property
    def columns(self) -> int:
        """Numbers of a first convolution of sixteen channels."""
        return 16 * self.values.shape[2]

    def raw(self, rows: Tensor) -> Inputs:
        """Series [n, c, t] as they came."""
        return (self.values[rows],)

    def encoder(self, data: Data, rows: Tensor) -> nn.Module:
        """The encoder for a data slot."""
        return self.encoded(data, rows).encoder

    def encoded(self, data: Data, rows: Tensor) -> Encoded:
        """All series for a data slot; kept for others that ask for the same, features only while there is room."""
        return shelf(self.values).take(data, self.visible, lambda: self._encode(data))

    def _encode(self, data: Data) -> Encoded:
        seen = self.values if self.visible is None else self.values[self.visible]
        target = (self.centre, self.width) if self.is_wide else None
        encoder = SeriesEncoder.fit(data, seen, target).to(self.device)
        first, *others = encoder(seen)
        first = first if encoder.kernels is not None else first.transpose(1, 2)
        return Encoded(self.rows, encoder, tuple(placed(part, self.visible, len(self.values)) for part in (first, *others)))

    def ready(self, inputs: Inputs) -> Inputs:
        """Steps [..., b, t, c] as series [..., b, c, t]; features as they are."""
        return _as_read(inputs)

    def shape(self, encoder: nn.Module) -> Shape:
        """Channels, steps and outputs, or the number of features."""
        assert isinstance(encoder, SeriesEncoder)
        return shape_of(encoder, self.values.shape[-1], self.ragged, self.outputs)

    @cached_property
    def _scale(self) -> tuple[float, float]:
        """Of forecasts over all visible rows, so that a search and its finals scale alike."""
        if not self.is_wide:
            return super()._scale
        seen = (self.target if self.visible is None else self.target[self.visible]).double()
        return float(seen.mean()), float(seen.std(correction=0)) or 1.0

    @cached_property
    def ragged(self) -> bool:
        """Whether some series end before the last step."""
        return bool((ends_of(self.values) < self.values.shape[-1]).any())

    def band(self, rows: Tensor, predicted: Tensor) -> Tensor | None:
        """Tenth and ninetieth percentile of the error at each step of the horizon, in units of each window's own unrest.

        Source: split conformal prediction (Vovk et al. 2005) with a local scale, as in Lei et al. 2018 (arXiv 1604.04173).
        Departure: plain quantiles, each side by itself.
        """
        if not self.is_wide:
            return None
        errors = (self.target[rows] - predicted).double() / unrest(self.values[rows]).double()
        return torch.quantile(errors, torch.tensor([0.1, 0.9], dtype=errors.dtype, device=errors.device), dim=0)

    def receipts(self, member: Member) -> dict[str, tuple[float, float]]:
        """What the data slot acted on: channels and features."""
        encoder = self.encoder(member.recipe.data, member.rows)
        assert isinstance(encoder, SeriesEncoder)
        channels, lacking = float(len(encoder.lacking)), float(encoder.masked)
        return {
            "data.scale": (channels, channels),
            "data.categories": (0.0, 0.0),
            "data.numbers": (0.0, 0.0),
            "data.channels": (float(self.values.shape[1]) - channels, float(self.values.shape[1])),
            "data.instance": (channels, channels),
            "data.differences": (channels, channels),
            "data.gaps": (lacking, channels),
            "data.features": (float(encoder.count), float(encoder.count)),
        }

    def seen_by(self, members: Sequence[Member], streams: Streams, ledger: Ledger) -> "SeenSeries":
        """Series that are warped, cut and noised; features as they are."""
        return SeenSeries(members, streams, ledger)


def _as_read(inputs: Inputs) -> Inputs:
    """What networks read of encoded rows; where there are ends, there are steps."""
    first, second, *anchors = inputs
    return (first.transpose(-1, -2), second, *anchors) if second.dtype == torch.int64 else inputs


class SeenSeries:
    """What k members see of series; see `titrant.train.problem.Seen`.

    Args:
        members: whose tricks act.
        streams: their random streams.
        ledger: where receipts are booked.
    """

    def __init__(self, members: Sequence[Member], streams: Streams, ledger: Ledger) -> None:
        self.streams = streams
        self.ledger = ledger
        rows = not isinstance(members[0].recipe.data.features, Off)

        def parts(path: str, axes: int) -> list[Segment[Any]]:
            return active_segments([m.recipe.at(path) for m in members], axes=axes, device=streams.device)

        self._times = {} if rows else {name: parts(f"augment.{name}", 2) for name in _TIME_TRICKS}
        self._values = {} if rows else {name: parts(f"augment.{name}", 3) for name in _VALUE_TRICKS}
        self._cuts = [part for part in parts("mix", 0) if part.kind is CutMix]

    def augmented(self, inputs: Inputs, turns: Tensor, progress: float = 1.0) -> Inputs:
        """Series [k, b, c, t] after each member's augmentation: one interpolation for all that moves time, then values."""
        x, ends, *anchors = _as_read(inputs)
        if any(self._times.values()):
            x = self._in_other_time(x, ends)
        for name, found in self._values.items():
            for part in found:
                kind: type[ValueTrick] = part.kind
                mine = slice(part.start, part.stop)
                noise = self._noise(name, part, (x.shape[1], *kind.shape(*x.shape[2:])))
                changed, which = kind.apply(x[mine], noise, **part.values)
                x = changed if len(part) == len(x) else torch.cat([x[: part.start], changed, x[part.stop :]])
                self.ledger.add(f"augment.{name}", part.start, part.stop, which.sum(1), float(x.shape[1]))
        return x, ends, *anchors

    def _in_other_time(self, x: Tensor, ends: Tensor) -> Tensor:
        last = (ends - 1).clamp(min=1).unsqueeze(-1)
        places = (torch.arange(x.shape[-1], device=x.device) / last).clamp(max=1.0)
        moved = torch.zeros(ends.shape, dtype=torch.bool, device=x.device)
        for name, found in self._times.items():
            for part in found:
                kind: type[TimeTrick] = part.kind
                mine = slice(part.start, part.stop)
                noise = self._noise(name, part, (x.shape[1], kind.count))
                places[mine], which = kind.apply(places[mine], noise, **part.values)
                moved[mine] |= which
                self.ledger.add(f"augment.{name}", part.start, part.stop, which.sum(1), float(x.shape[1]))
        return torch.where(moved[..., None, None], shown(x, ends, places), x)

    def _noise(self, name: str, part: Segment[Any], shape: tuple[int, ...]) -> Tensor:
        draw = self.streams.normal if part.kind.draws == "normal" else self.streams.uniform
        return draw(f"augment.{name}", shape, part.start, part.stop)

    def cut(self, inputs: Inputs, share: Tensor) -> tuple[Inputs, Tensor]:
        """Windows of time (single features, where there are such) exchanged with the next series; the share that stays own."""
        x, ends, *anchors = inputs
        own = share.expand(-1, x.shape[1])
        for part in self._cuts:
            mine = slice(part.start, part.stop)
            cells = x.dim() == 3
            noise = self.streams.uniform("mix.cells", x.shape[1:] if cells else (x.shape[1], 1), part.start, part.stop)
            if cells:
                mixed, _, kept = CutMix.apply(x[mine], x.new_zeros(*x[mine].shape[:-1], 0), noise, share[mine])
            else:
                mixed, kept = CutMix.apply_windows(x[mine], noise, share[mine])
            x = torch.cat([x[: part.start], mixed, x[part.stop :]])
            own = torch.cat([own[: part.start], kept, own[part.stop :]])
        return (x, ends, *anchors), own
