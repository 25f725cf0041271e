"""The forward half of a training step: what members see of their rows, and the loss they get for it.

Everything here follows from the members' recipes and seeds alone; nothing is carried from step to step except random streams.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from titrant.train.member import Member
from titrant.train.problem import Inputs, Problem
from titrant.tricks.acting import Ledger, Streams, derived_seed, own_randomness
from titrant.tricks.base import Segment, active_segments
from titrant.tricks.mix import MixTrick, Mixup
from titrant.tricks.regularize import ClassWeights, cross_entropy

Forward = Callable[[Inputs, Callable[[Tensor], Tensor] | None], Tensor]
"""The members' networks: inputs [k, b, ...] and a mixer of features to outputs [k, v·b, o]."""


class Objective:
    """Augmentation, mixing and the loss of k members.

    Args:
        problem: the data.
        members: whose tricks act.
        steps: of a full training.
        streams: the members' random streams.
        ledger: where receipts are booked.
    """

    def __init__(self, problem: Problem, members: list[Member], steps: int, streams: Streams, ledger: Ledger) -> None:
        self.problem = problem
        self.members = members
        self.steps = steps
        self.streams = streams
        self.ledger = ledger
        self.device = problem.device

        def parts(path: str, axes: int = 1) -> list[Segment[Any]]:
            return active_segments([member.recipe.at(path) for member in members], axes=axes, device=problem.device)

        self._seen = problem.seen_by(members, streams, ledger)
        self._mix = parts("mix", axes=0)
        self._focal = parts("regularize.focal")
        self._shares = self._mixing_shares(steps) if self._mix else None
        self._epsilon = self._smoothing(parts("regularize.label_smoothing"))
        self._class_weights = self._weights(parts("regularize.class_weights"))

    def losses(self, forward: Forward, inputs: Inputs, target: Tensor, turns: Tensor, views: int, step: int) -> Tensor:
        """Mean training loss of each member [k].

        Args:
            forward: the networks.
            inputs: fresh rows [k, b, ...] as they are kept, which may be changed in place.
            target: [k, b] classes or scaled values, or [k, b, h] several values.
            turns: [k, b], see `titrant.train.problem.Seen`.
            views: predictions that a network makes of each row.
            step: the number of this step, from 0.
        """
        inputs, own = self._cut(self._seen.augmented(inputs, turns, step / self.steps), step)
        mixer = self._mixer(step) if any(part.kind is Mixup for part in self._mix) else None
        outputs = forward(inputs, mixer)
        losses = self.row_losses(outputs, target, views)
        if own is not None:
            losses = own * losses + (1 - own) * self.row_losses(outputs, target.roll(1, dims=1), views)
        return losses.mean(-1)

    def row_losses(self, outputs: Tensor, target: Tensor, views: int) -> Tensor:
        """Loss of each row [k, b], the mean over the views of a member."""
        rows = target.shape[1]
        repeated = torch.cat([target] * views, 1) if views > 1 else target
        if self.problem.is_wide:
            losses = (outputs - repeated).square().mean(-1)
        elif self.problem.is_regression:
            losses = (outputs.squeeze(-1) - repeated).square()
        else:
            # With rows last in memory: along a short last axis of ten classes it took over ten times as long.
            losses = self._class_losses(outputs.mT.log_softmax(-2).mT, repeated)
        return losses.view(len(losses), views, rows).mean(1) if views > 1 else losses

    # ---------------------------------------------------------------- making

    def _mixing_shares(self, steps: int) -> Tensor:
        """How much of a row stays its own, by step and member [steps, k, 1]; drawn ahead: torch's Beta takes no stream."""
        shares = torch.ones(steps, len(self.members), 1)
        for k, member in enumerate(self.members):
            mix = member.recipe.mix
            if isinstance(mix, MixTrick) and not mix.is_off:
                with own_randomness(derived_seed(member.seed, "mix")):
                    shares[:, k, 0] = mix.shares(steps)
        return shares.to(self.device)

    def _smoothing(self, parts: list[Segment[Any]]) -> Tensor | None:
        """Label smoothing of each member [k, 1]; None where nobody smooths."""
        if self.problem.is_regression or not parts:
            return None
        epsilon = torch.zeros(len(self.members), 1, device=self.device)
        for part in parts:
            epsilon[part.start : part.stop] = part.values["epsilon"]
        return epsilon

    def _weights(self, parts: list[Segment[Any]]) -> Tensor | None:
        """Weight of each class for each member [k, c]; None where nobody weighs."""
        if self.problem.is_regression or not parts:
            return None
        counts = self.problem.class_counts()
        weights = torch.ones(len(self.members), self.problem.classes, device=self.device)
        for part in parts:
            weights[part.start : part.stop] = ClassWeights.weights(counts, **part.values)
        return weights

    # ---------------------------------------------------------------- acting

    def _cut(self, inputs: Inputs, step: int) -> tuple[Inputs, Tensor | None]:
        """CutMix, and the share of each row's target that stays its own [k, b]; None where nobody mixes."""
        if self._shares is None:
            return inputs, None
        inputs, own = self._seen.cut(inputs, self._shares[step])
        for part in self._mix:
            self.ledger.add("mix", part.start, part.stop, (own[part.start : part.stop] < 1).sum(1), float(own.shape[1]))
        return inputs, own

    def _mixer(self, step: int) -> Callable[[Tensor], Tensor]:
        """Mixup of features [k, b, d]."""

        def mixed(z: Tensor) -> Tensor:
            assert self._shares is not None
            pieces, at = [], 0
            for part in self._mix:
                if part.kind is Mixup:
                    own = Mixup.apply(z[part.start : part.stop], self._shares[step, part.start : part.stop])
                    pieces += [z[at : part.start], own]
                    at = part.stop
            return torch.cat([*pieces, z[at:]])

        return mixed

    def _class_losses(self, log_p: Tensor, target: Tensor) -> Tensor:
        """Cross entropy with each member's label smoothing, class weights and focal factor [k, b]."""
        members = len(self.members)
        pieces, at = [], 0
        for part in [*self._focal, None]:
            for begin, end, gamma in [(at, part.start if part else members, None), *_focal_piece(part)]:
                if begin < end:
                    mine = slice(begin, end)
                    epsilon = 0.0 if self._epsilon is None else self._epsilon[mine]
                    weights = None if self._class_weights is None else self._class_weights[mine]
                    pieces.append(cross_entropy(log_p[mine], target[mine], epsilon=epsilon, gamma=gamma, weights=weights))
                    at = end
        return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def _focal_piece(part: Segment[Any] | None) -> list[tuple[int, int, Any]]:
    return [] if part is None else [(part.start, part.stop, part.values["gamma"])]
