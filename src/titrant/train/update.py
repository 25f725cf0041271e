"""The backward half of a training step: from the gradient to new weights, row by row.

What is carried from step to step stands here: the optimizers' states and the averages of weights.
"""

from typing import Any

import torch
from torch import Tensor

from titrant.train.member import Member
from titrant.train.weights import Weights, copied, places
from titrant.tricks.acting import Ledger
from titrant.tricks.average import AverageTrick
from titrant.tricks.base import Segment, active_segments
from titrant.tricks.clip import ClipTrick
from titrant.tricks.layout import Layout
from titrant.tricks.learning_rate import Plateau, lowered, table
from titrant.tricks.optimizer import OptimizerTrick
from titrant.tricks.regularize import Decay, NormTrick, PenaltyTrick

_CHUNK = 1 << 16  # learned numbers that an element-wise optimizer visits at a time: several such rows fit a core's cache


class Update:
    """Penalties, clipping, decay, optimizers, norms and averages of k members.

    Args:
        members: whose tricks act.
        weights: theirs, at the start.
        layout: of a row.
        steps: of a full training.
        ledger: where receipts are booked.
    """

    def __init__(self, members: list[Member], weights: Weights, layout: Layout, steps: int, ledger: Ledger) -> None:
        self.layout = layout
        self.steps = steps
        self.ledger = ledger
        self._arrange(members, weights.flat.device)
        flat = weights.flat.detach()
        self._states = [part.kind.start(flat[part.start : part.stop]) for part in self._optimizers]
        self._average = weights.copy() if self._averages else None
        self._lowered = torch.ones(len(members), 1, device=flat.device)

    def _arrange(self, members: list[Member], device: torch.device) -> None:
        """What follows from the members alone."""

        def parts(path: str) -> list[Segment[Any]]:
            return active_segments([member.recipe.at(path) for member in members], axes=1, device=device)

        self.members = members
        self._penalties = {path: parts(path) for path in ("regularize.l1", "regularize.l2")}
        self._decay = parts("regularize.decay")
        self._norms = {path: parts(path) for path in ("regularize.max_norm", "regularize.unit_norm")}
        self._clip = parts("clip")
        self._averages = parts("average")
        self._optimizers: list[Segment[OptimizerTrick]] = parts("optimizer")
        rates = torch.stack([table(member.recipe.learning_rate, self.steps) for member in members], dim=1)
        self._rates = rates.unsqueeze(-1).to(device)

    def __call__(self, weights: Weights, grad: Tensor, step: int) -> None:
        """Takes step number `step`, from 0, in place; `grad` [k, P] may be changed."""
        flat = weights.flat.detach()
        number = step + 1
        rate = self._rates[step] * self._lowered
        for path, found in self._penalties.items():
            for part in found:
                penalty: type[PenaltyTrick] = part.kind
                mine = slice(part.start, part.stop)
                penalty.add(grad[mine], flat[mine], self.layout, **part.values)
                self.ledger.add(path, part.start, part.stop, 1.0, 1.0)
        for part in self._clip:
            clip: type[ClipTrick] = part.kind
            mine = slice(part.start, part.stop)
            clipped = clip.apply(grad[mine], flat[mine], self.layout, **part.values)
            self.ledger.add("clip", part.start, part.stop, clipped.double(), 1.0)
        for part in self._decay:
            mine = slice(part.start, part.stop)
            Decay.decay(flat[mine], rate[mine], self.layout, **part.values)
            self.ledger.add("regularize.decay", part.start, part.stop, 1.0, 1.0)
        for part, state in zip(self._optimizers, self._states, strict=True):
            self._optimize(part, state, flat, grad, rate, number)
        for path, found in self._norms.items():
            for part in found:
                norm: type[NormTrick] = part.kind
                share = norm.constrain(flat[part.start : part.stop], self.layout, **part.values)
                self.ledger.add(path, part.start, part.stop, share.double(), 1.0)
        for part in self._averages:
            self._take_average(part, weights, number)

    def _optimize(
        self, part: Segment[OptimizerTrick], state: dict[str, Tensor], flat: Tensor, grad: Tensor, rate: Tensor, number: int
    ) -> None:
        """One step of one kind of optimizer, a few rows at a time so that all passes find their numbers in the cache."""
        on_cpu = flat.device.type == "cpu"
        rows = max(1, _CHUNK // flat.shape[1]) if part.kind.elementwise and on_cpu else len(part)
        for begin in range(part.start, part.stop, rows):
            end = min(begin + rows, part.stop)
            own = slice(begin - part.start, end - part.start)
            values = {n: v[own] if isinstance(v, Tensor) else v for n, v in part.values.items()}
            mine = slice(begin, end)
            part.kind.update(
                flat[mine], grad[mine], {n: s[own] for n, s in state.items()}, rate[mine], number, self.layout, **values
            )

    def _take_average(self, part: Segment[Any], weights: Weights, number: int) -> None:
        """Running weights and running statistics are averaged alike."""
        kind: type[AverageTrick] = part.kind
        assert self._average is not None
        mine = slice(part.start, part.stop)
        progress = number / self.steps
        kind.update(self._average.flat[mine], weights.flat.detach()[mine], number, progress, **part.values)
        for name, average in self._average.buffers.items():
            if average.is_floating_point():
                now = weights.buffers[name]
                kind.update(average[mine].flatten(1), now[mine].flatten(1), number, progress, **part.values)
        acted = kind.acted(number, progress, **part.values)
        self.ledger.add(
            "average", part.start, part.stop, acted.flatten().double() if isinstance(acted, Tensor) else float(acted), 1.0
        )

    def evaluation(self, weights: Weights) -> Weights:
        """What evaluation uses: a member's average where it keeps one, and what its optimizer evaluates at."""
        elsewhere = [
            (part, state) for part, state in zip(self._optimizers, self._states, strict=True) if part.kind.evaluates_elsewhere
        ]
        if not elsewhere and not self._averages:
            return Weights(weights.flat.detach(), weights.buffers)
        found = weights.copy()
        for part, state in elsewhere:
            mine = slice(part.start, part.stop)
            found.flat[mine] = part.kind.evaluation(found.flat[mine], state, **part.values)
        for part in self._averages:
            assert self._average is not None
            found.put(slice(part.start, part.stop), self._average)
        return found

    def rates(self, step: int) -> list[float]:
        """Each member's learning rate at a step."""
        found: list[float] = (self._rates[min(step, self.steps - 1)] * self._lowered).flatten().tolist()
        return found

    def below_peak(self, k: int, until: int) -> int:
        """Steps before `until` at which member k's schedule stood below its peak."""
        peak = self.members[k].recipe.learning_rate.peak
        return int((self._rates[:until, k, 0] < peak * 0.999999).sum())

    def lower_plateaus(self, losses: list[list[float]]) -> None:
        """Hears each member's evaluations so far, lower is better, and lowers the rates of those that wait on a plateau."""
        for k, member in enumerate(self.members):
            schedule = member.recipe.learning_rate.schedule
            if isinstance(schedule, Plateau):
                self._lowered[k] = lowered(losses[k], schedule.patience, schedule.factor)

    @property
    def carried(self) -> int:
        """Bytes of the optimizers' states and of averages."""
        averages = 0 if self._average is None else self._average.flat.nbytes
        return averages + sum(tensor.nbytes for state in self._states for tensor in state.values())

    def keep(self, members: list[Member], kept: list[int]) -> None:
        """Goes on with `members`, who stood at the places `kept`."""
        states = [
            {name: tensor[k : k + 1] for name, tensor in state.items()}
            for part, state in zip(self._optimizers, self._states, strict=True)
            for k in range(len(part))
        ]
        chosen = places(kept, self._lowered.device)
        self._arrange(members, self._lowered.device)
        self._states = [_stacked([states[kept[k]] for k in range(part.start, part.stop)]) for part in self._optimizers]
        self._average = None if self._average is None else self._average.of(chosen)
        self._lowered = self._lowered[chosen]

    def state(self) -> dict[str, Any]:
        """Everything needed to go on from here, for `load`."""
        return {
            "states": [copied(state) for state in self._states],
            "average": None if self._average is None else self._average.copy(),
            "lowered": self._lowered.clone(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` has returned."""
        self._states = [copied(saved) for saved in state["states"]]
        self._average = None if state["average"] is None else state["average"].copy()
        self._lowered = state["lowered"].clone()


def _stacked(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([state[name] for state in states]) for name in states[0]}
