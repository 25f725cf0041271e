"""The loop: members whose tensors have equal shapes, trained side by side.

All learned numbers of the k members stand in one tensor `flat` [k, P], a row for each. A step cuts it into parameters with a
leading member axis, runs the network once for all, takes one gradient [k, P] of the sum of the members' losses, and lets each
member's tricks act on its row. Nothing mixes rows, so a member that diverges stays alone, and a member trained in a stack
equals the same member trained by itself. The device is asked for numbers only at evaluations.

Axes: k member, b row of a batch, f number column, c code column or class, P learned number.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from titrant.clock import Clock
from titrant.models.encoder import Encoder
from titrant.models.layers import attach
from titrant.models.table import Factory, TableNet
from titrant.recipe import Recipe
from titrant.record import Point, Receipt
from titrant.train.build import layout_of, start
from titrant.train.metrics import Metric
from titrant.train.problem import Encoded, Problem, probabilities, values
from titrant.tricks.acting import Ledger, Streams, derived_seed
from titrant.tricks.augment import Augment, RowTrick
from titrant.tricks.average import AverageTrick
from titrant.tricks.base import Off, Segment, Trick, segments
from titrant.tricks.clip import ClipTrick
from titrant.tricks.learning_rate import Plateau, lowered, table
from titrant.tricks.mix import CutMix, MixTrick, Mixup
from titrant.tricks.optimizer import OptimizerTrick
from titrant.tricks.regularize import ClassWeights, Decay, Focal, LabelSmoothing, NormTrick, PenaltyTrick, cross_entropy
from titrant.tricks.stop import Early, Last

EVALUATIONS = 40
"""How often a full training is evaluated."""

Key = TypeVar("Key", str, int)

_PROBED = 16  # every so many steps, tricks that act on single units are asked to count
_CHUNK = 1 << 16  # learned numbers that an element-wise optimizer visits at a time: several such rows fit a core's cache
_EVALUATED = 1 << 22  # numbers of one hidden layer that an evaluation may hold at a time


@dataclass(frozen=True)
class Member:
    """One recipe to be trained.

    Args:
        number: unique in a run.
        recipe: how.
        seed: of all its random streams.
        origin: who proposed it.
        rows: int64, its training rows. Members that share rows share the tensor.
        held_out: int64, the rows that judge it while it trains.
    """

    number: int
    recipe: Recipe
    seed: int
    origin: str
    rows: Tensor
    held_out: Tensor


@dataclass
class History:
    """What has happened to one member so far."""

    curve: list[Point] = field(default_factory=list)
    best: float = float("nan")
    best_step: int = 0
    seconds: float = 0.0
    diverged: bool = False
    finished: bool = False
    rung: int = 0

    @property
    def alive(self) -> bool:
        """True while more steps can change the result."""
        return not (self.diverged or self.finished)


@dataclass(frozen=True)
class Trained:
    """A member's network as it left training.

    Args:
        member: which.
        network: plain, on the CPU, in evaluation mode.
        encoder: the frozen first layer that it was trained behind.
        history: its curve and end.
        receipts: what its tricks did.
        steps: steps taken.
        epochs: passes over its training rows.
    """

    member: Member
    network: TableNet
    encoder: Encoder
    history: History
    receipts: list[Receipt]
    steps: int
    epochs: float


class Cohort:
    """Members in training.

    Args:
        problem: the data.
        members: with equal `cohort_key`.
        metric: what evaluations measure.
        factory: the network of `model: custom`.
        clock: for the times in the curves.

    Members of a cohort take the same number of steps; where their training rows differ in number by a few (folds), the smallest
    number counts as an epoch for all.
    """

    def __init__(
        self, problem: Problem, members: Sequence[Member], metric: Metric, clock: Clock, factory: Factory | None = None
    ) -> None:
        self.problem = problem
        self.members = list(members)
        self.metric = metric
        self.factory = factory
        self.clock = clock
        self.device = problem.device
        self.histories = [History() for _ in members]
        self.step = 0
        self.streams = Streams([member.seed for member in members], self.device)
        self.ledger = Ledger(len(members), self.device)
        self._kin = [member.recipe for member in members]
        self._target = problem.scaled_target()
        self._rows = min(len(member.rows) for member in members)
        self.sizes = _batch_sizes(members[0].recipe, self._rows)
        self.steps = len(self.sizes)
        self.evaluated_at = _evaluation_steps(self.steps)
        self._order = torch.zeros(len(members), 0, dtype=torch.int64, device=self.device)
        self._loss_sum = torch.zeros(len(members), device=self.device)
        self._loss_count = 0
        self._start_weights()
        self._arrange()
        self._optimizers = [
            (part, part.kind.start(self.flat.detach()[part.start : part.stop])) for part in self._optimizer_parts
        ]
        averages = any(isinstance(member.recipe.average, AverageTrick) for member in members)
        self._average = self.flat.detach().clone() if averages else None
        self._average_buffers = {name: b.clone() for name, b in self.buffers.items()} if averages else {}
        self._best = self.flat.detach().clone()
        self._best_buffers = {name: b.clone() for name, b in self.buffers.items()}
        self._held_out_predictions: dict[int, Tensor] = {}
        self._lowered = torch.ones(len(members), 1, device=self.device)

    # ---------------------------------------------------------------- making

    def _start_weights(self) -> None:
        """First weights of every member, stacked."""
        stacks: list[list[Tensor]] = []
        buffers: list[dict[str, Tensor]] = []
        for member in self.members:
            encoded = self._encoded_for(member)
            sample = member.rows[: 1 << 14]
            network = start(
                member.recipe,
                self.problem.shape(encoded.encoder),
                member.seed,
                encoded.numbers[sample],
                encoded.codes[sample],
                kin=self._kin,
                factory=self.factory,
            )
            if not stacks:
                self.layout = layout_of(network)
            parameters = dict(network.named_parameters())
            stacks.append([parameters[entry.name].detach().flatten() for entry in self.layout.entries])
            kept = network.state_dict().keys() - parameters.keys()
            buffers.append({name: b for name, b in network.named_buffers() if name in kept})
        self.flat = torch.stack([torch.cat(row) for row in stacks]).to(self.device).requires_grad_()
        self.buffers = {
            name: torch.stack([found[name] for found in buffers]).to(self.device).contiguous() for name in buffers[0]
        }

    def _arrange(self) -> None:
        """Everything that follows from the members alone; done anew when members leave."""
        recipes = [member.recipe for member in self.members]
        first = self._encoded_for(self.members[0])
        with torch.random.fork_rng(devices=[]):
            self.network = TableNet(
                recipes, self.problem.shape(first.encoder), kin=self._kin, factory=self.factory, device=self.device
            ).to(self.device)
        attach(self.network, self.streams, self.ledger)
        self._sources: list[tuple[Encoded, int, int]] = []
        for k, member in enumerate(self.members):
            encoded = self._encoded_for(member)
            if self._sources and self._sources[-1][0] is encoded:
                self._sources[-1] = (encoded, self._sources[-1][1], k + 1)
            else:
                self._sources.append((encoded, k, k + 1))

        def parts(path: str, axes: int = 1) -> list[Segment[Any]]:
            found = segments([recipe.at(path) for recipe in recipes], axes=axes, device=self.device)
            return [part for part in found if part.kind is not Off]

        self._augment = {name: parts(f"augment.{name}", axes=2) for name in Augment.model_fields}
        self._mix = parts("mix", axes=0)
        self._smoothing = parts("regularize.label_smoothing")
        self._focal = parts("regularize.focal")
        self._weights = parts("regularize.class_weights")
        self._penalties = {path: parts(path) for path in ("regularize.l1", "regularize.l2")}
        self._decay = parts("regularize.decay")
        self._norms = {path: parts(path) for path in ("regularize.max_norm", "regularize.unit_norm")}
        self._clip = parts("clip")
        self._averages = parts("average")
        self._optimizer_parts: list[Segment[OptimizerTrick]] = parts("optimizer")
        rates = np.stack([table(recipe.learning_rate, self.steps) for recipe in recipes], axis=1)
        self._rates = torch.as_tensor(rates, device=self.device).unsqueeze(-1)
        self._shares = self._mixing_shares() if self._mix else None
        self._class_terms()

    def _mixing_shares(self) -> Tensor:
        """How much of a row stays its own, by step and member [steps, k, 1]; drawn ahead: torch's Beta takes no stream."""
        shares = np.ones((self.steps, len(self.members), 1), dtype=np.float32)
        for k, member in enumerate(self.members):
            mix = member.recipe.mix
            if isinstance(mix, MixTrick) and not mix.is_off:
                drawn = np.random.default_rng(derived_seed(member.seed, "mix")).beta(mix.alpha, mix.alpha, self.steps)
                shares[:, k, 0] = np.maximum(drawn, 1 - drawn)
        return torch.as_tensor(shares, device=self.device)

    def _class_terms(self) -> None:
        """Label smoothing [k, 1] and class weights [k, c], where any member has some."""
        self._epsilon: Tensor | None = None
        self._class_weights: Tensor | None = None
        if self.problem.is_regression:
            return
        if self._smoothing:
            self._epsilon = torch.zeros(len(self.members), 1, device=self.device)
            for part in self._smoothing:
                self._epsilon[part.start : part.stop] = part.values["epsilon"]
        if self._weights:
            counts = self.problem.class_counts()
            self._class_weights = torch.ones(len(self.members), self.problem.classes, device=self.device)
            for part in self._weights:
                self._class_weights[part.start : part.stop] = ClassWeights.weights(counts, **part.values)

    def _encoded_for(self, member: Member) -> Encoded:
        return self.problem.encoded(member.recipe.data, member.rows)

    # -------------------------------------------------------------- training

    def advance(self, until: int, clock: Clock) -> bool:
        """Trains to step `until`, or until the clock rings or no member is alive; False if the clock rang first."""
        until = min(until, self.steps)
        while self.step < until and any(history.alive for history in self.histories):
            if clock.left <= 0:
                return False
            begun = time.monotonic()
            target = min(next(at for at in self.evaluated_at if at > self.step), until)
            rang = self._train(target, clock)
            if not rang or self.step in self.evaluated_at:
                self.evaluate()
            share = (time.monotonic() - begun) / len(self.members)
            for history in self.histories:
                history.seconds += share
            if rang:
                return False
        return True

    def _train(self, until: int, clock: Clock) -> bool:
        """Steps without looking at any number; True if the clock rang."""
        self.network.train()
        while self.step < until:
            if clock.left <= 0:
                return True
            self._one_step()
        return False

    def _one_step(self) -> None:
        recipe = self.members[0].recipe
        self.ledger.probing = self.step % _PROBED == 0
        rows = self._next_rows(self.sizes[self.step])
        pieces = rows.chunk(recipe.batch.parts, dim=1)
        total: Tensor | None = None
        for piece in pieces:
            losses = self._losses(piece) / len(pieces)
            (grad,) = torch.autograd.grad(losses.sum(), self.flat)
            total = grad if total is None else total.add_(grad)
            self._loss_sum += losses.detach()
        assert total is not None
        self._loss_count += 1
        with torch.no_grad():
            self._update(total)
        self.step += 1

    def _next_rows(self, size: int) -> Tensor:
        """The next `size` rows of every member's shuffled stream [k, size]: each epoch visits each row once."""
        while self._order.shape[1] < size:
            fresh = [
                member.rows[torch.randperm(len(member.rows), generator=generator, device=self.device)[: self._rows]]
                for member, generator in zip(self.members, self.streams.of("order"), strict=True)
            ]
            self._order = torch.cat([self._order, torch.stack(fresh)], dim=1)
        rows, self._order = self._order[:, :size], self._order[:, size:]
        return rows

    def _gather(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Encoded numbers [k, b, f] and codes [k, b, c] of each member's rows [k, b]."""
        first = self._sources[0][0]
        members, count = rows.shape
        numbers = torch.empty(members, count, first.numbers.shape[1], device=self.device)
        codes = torch.empty(members, count, first.codes.shape[1], dtype=first.codes.dtype, device=self.device)
        for encoded, begin, end in self._sources:
            chosen = rows[begin:end].flatten()
            torch.index_select(encoded.numbers, 0, chosen, out=numbers[begin:end].view(-1, numbers.shape[2]))
            torch.index_select(encoded.codes, 0, chosen, out=codes[begin:end].view(-1, codes.shape[2]))
        return numbers, codes

    def _losses(self, rows: Tensor) -> Tensor:
        """Mean training loss of each member on its rows [k]."""
        numbers, codes = self._gather(rows)
        target = self._target[rows]
        numbers, codes = self._augmented(numbers, codes)
        numbers, codes, own = self._cut(numbers, codes)
        mixes_features = any(part.kind is Mixup for part in self._mix)
        outputs = self._outputs(self.flat, self.buffers, numbers, codes, self._mixed if mixes_features else None)
        losses = self._row_losses(outputs, target)
        if own is not None:
            losses = own * losses + (1 - own) * self._row_losses(outputs, target.roll(1, dims=-1))
        return losses.mean(-1)

    def _outputs(
        self,
        flat: Tensor,
        buffers: dict[str, Tensor],
        numbers: Tensor,
        codes: Tensor,
        mix: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """The networks' outputs [k, v·b, o] under given weights."""
        hardware = self.members[0].recipe.hardware
        with torch.autocast(self.device.type, torch.bfloat16, enabled=hardware.precision == "bf16"):
            out: Tensor = functional_call(self.network, {**self.layout.views(flat), **buffers}, (numbers, codes, mix))
        return out.float()

    def _augmented(self, numbers: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Each member's row augmentation; fresh tensors from the gather may be changed in place."""
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

    def _cut(self, numbers: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """CutMix, and the share of each row's target that stays its own [k, b]; None where nobody mixes."""
        if self._shares is None:
            return numbers, codes, None
        step_shares = self._shares[self.step]
        own = step_shares.expand(-1, numbers.shape[1])
        for part in self._mix:
            mine = slice(part.start, part.stop)
            if part.kind is CutMix:
                cells = (numbers.shape[1], numbers.shape[2] + codes.shape[2])
                noise = self.streams.uniform("mix.cells", cells, part.start, part.stop)
                numbers[mine], codes[mine], kept = CutMix.apply(numbers[mine], codes[mine], noise, step_shares[mine])
                own = torch.cat([own[: part.start], kept, own[part.stop :]])
            count = float(numbers.shape[1])
            self.ledger.add("mix", part.start, part.stop, (own[mine] < 1).sum(1), count)
        return numbers, codes, own

    def _mixed(self, z: Tensor) -> Tensor:
        """Mixup of features [k, b, d]."""
        assert self._shares is not None
        pieces, at = [], 0
        for part in self._mix:
            if part.kind is Mixup:
                pieces += [
                    z[at : part.start],
                    Mixup.apply(z[part.start : part.stop], self._shares[self.step, part.start : part.stop]),
                ]
                at = part.stop
        return torch.cat([*pieces, z[at:]])

    def _row_losses(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Loss of each row [k, b], the mean over the views of a member."""
        views = self.network.views
        rows = target.shape[-1]
        repeated = target.repeat(1, views) if views > 1 else target
        if self.problem.is_regression:
            losses = (outputs.squeeze(-1) - repeated).square()
        else:
            losses = self._class_losses(outputs.log_softmax(-1), repeated)
        return losses.view(len(losses), views, rows).mean(1) if views > 1 else losses

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

    # ------------------------------------------------------------- the update

    def _update(self, grad: Tensor) -> None:
        """Everything between the gradient and the next step, member by member in rows."""
        flat = self.flat.detach()
        number = self.step + 1
        rate = self._rates[self.step] * self._lowered
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
        for part, state in self._optimizers:
            self._optimize(part, state, flat, grad, rate, number)
        for path, found in self._norms.items():
            for part in found:
                norm: type[NormTrick] = part.kind
                share = norm.constrain(flat[part.start : part.stop], self.layout, **part.values)
                self.ledger.add(path, part.start, part.stop, share.double(), 1.0)
        for part in self._averages:
            self._take_average(part, flat, number)

    def _optimize(
        self, part: Segment[OptimizerTrick], state: dict[str, Tensor], flat: Tensor, grad: Tensor, rate: Tensor, number: int
    ) -> None:
        """One step of one kind of optimizer, a few rows at a time so that all passes find their numbers in the cache."""
        on_cpu = self.device.type == "cpu"
        rows = max(1, _CHUNK // flat.shape[1]) if part.kind.elementwise and on_cpu else len(part)
        for begin in range(part.start, part.stop, rows):
            end = min(begin + rows, part.stop)
            own = slice(begin - part.start, end - part.start)
            values = {n: v[own] if isinstance(v, Tensor) else v for n, v in part.values.items()}
            mine = slice(begin, end)
            part.kind.update(
                flat[mine], grad[mine], {n: s[own] for n, s in state.items()}, rate[mine], number, self.layout, **values
            )

    def _take_average(self, part: Segment[Any], flat: Tensor, number: int) -> None:
        """Running weights and running statistics are averaged alike."""
        kind: type[AverageTrick] = part.kind
        assert self._average is not None
        mine = slice(part.start, part.stop)
        progress = number / self.steps
        kind.update(self._average[mine], flat[mine], number, progress, **part.values)
        for name, average in self._average_buffers.items():
            if average.is_floating_point():
                now = self.buffers[name]
                kind.update(average[mine].flatten(1), now[mine].flatten(1), number, progress, **part.values)
        acted = kind.acted(number, progress, **part.values)
        self.ledger.add(
            "average", part.start, part.stop, acted.flatten().double() if isinstance(acted, Tensor) else float(acted), 1.0
        )

    # ------------------------------------------------------------- evaluation

    def _evaluation_weights(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The weights [k, P] and buffers that evaluation uses: averages where a member keeps some."""
        flat, buffers = self.flat.detach(), self.buffers
        elsewhere = [(part, state) for part, state in self._optimizers if part.kind.evaluates_elsewhere]
        if not elsewhere and not self._averages:
            return flat, buffers
        flat = flat.clone()
        for part, state in elsewhere:
            mine = slice(part.start, part.stop)
            flat[mine] = part.kind.evaluation(flat[mine], state, **part.values)
        if self._averages:
            assert self._average is not None
            buffers = {name: b.clone() for name, b in buffers.items()}
            for part in self._averages:
                mine = slice(part.start, part.stop)
                flat[mine] = self._average[mine]
                for name, b in buffers.items():
                    b[mine] = self._average_buffers[name][mine]
        return flat, buffers

    @torch.no_grad()
    def predictions(self, rows: Tensor, weights: tuple[Tensor, dict[str, Tensor]] | None = None) -> Tensor:
        """Each member's predictions for its rows [k, m]: probabilities [k, m, c], or values [k, m] in the target's own unit."""
        flat, buffers = weights or self._evaluation_weights()
        self.network.eval()
        widest = max([entry.shape[0] for entry in self.layout.entries if entry.matrix] + [1])
        width = max(widest, self.network.expand.width) * self.network.views
        most = max(16, _EVALUATED // (len(self.members) * width))
        pieces = []
        for chosen in torch.split(rows, most, dim=1):
            outputs = self._outputs(flat, buffers, *self._gather(chosen))
            if self.problem.is_regression:
                pieces.append(values(outputs, self.network.views) * self.problem.width + self.problem.centre)
            else:
                pieces.append(probabilities(outputs, self.network.views))
        return torch.cat(pieces, dim=1)

    def evaluate(self) -> None:
        """Scores every member on its held-out rows, keeps its best state, and sees who is done."""
        weights = self._evaluation_weights()
        fewest = min(len(member.held_out) for member in self.members)
        rows = torch.stack([member.held_out[:fewest] for member in self.members])
        predicted = self.predictions(rows, weights)
        target = self.problem.target[rows]
        scores = self.metric.score(predicted, target).tolist()
        losses = self._validation_losses(predicted, target).tolist()
        trained = (self._loss_sum / max(self._loss_count, 1)).tolist()
        self._loss_sum.zero_()
        self._loss_count = 0
        rates = (self._rates[min(self.step, self.steps) - 1] * self._lowered).flatten().tolist()
        better = []
        for k, history in enumerate(self.histories):
            if not history.alive:
                continue
            history.curve.append(self._point(trained[k], losses[k], scores[k], rates[k]))
            history.diverged = not (np.isfinite(losses[k]) and np.isfinite(scores[k]))
            stop = self.members[k].recipe.stop
            if not history.diverged and (isinstance(stop, Last) or self.metric.better(scores[k], history.best)):
                history.best, history.best_step = scores[k], self.step
                better.append(k)
            if isinstance(stop, Early) and stop.patience < 1:
                history.finished = self.step - history.best_step > stop.patience * self.steps
            history.finished = history.finished or self.step >= self.steps
        self._keep_best(better, weights)
        self._keep_predictions(better, predicted)
        self._lower_plateaus()

    def _point(self, trained: float, loss: float, score: float, rate: float) -> Point:
        rows_seen = sum(self.sizes[: self.step])
        return Point(
            step=self.step,
            epoch=rows_seen / self._rows,
            seconds=self.clock.elapsed,
            loss_train=trained,
            loss_validation=loss,
            score_validation=score,
            learning_rate=rate,
        )

    def _validation_losses(self, predicted: Tensor, target: Tensor) -> Tensor:
        """The plain loss of predictions [k]: log loss, or the mean squared error of scaled targets."""
        if self.problem.is_regression:
            return ((predicted.double() - target) / self.problem.width).square().mean(-1)
        chosen = predicted.gather(-1, target.unsqueeze(-1)).squeeze(-1)
        return -chosen.clamp(min=1e-7).log().mean(-1)

    def _keep_best(self, members: list[int], weights: tuple[Tensor, dict[str, Tensor]]) -> None:
        if not members:
            return
        chosen = torch.as_tensor(members, device=self.device)
        self._best[chosen] = weights[0][chosen]
        for name, best in self._best_buffers.items():
            best[chosen] = weights[1][name][chosen]

    def _keep_predictions(self, members: list[int], predicted: Tensor) -> None:
        for k in members:
            self._held_out_predictions[self.members[k].number] = predicted[k].clone()

    def held_out_predictions(self, k: int) -> Tensor:
        """Predictions for member k's held-out rows by the state that it would keep: [m, c] or [m]."""
        return self._held_out_predictions[self.members[k].number]

    def _lower_plateaus(self) -> None:
        for k, member in enumerate(self.members):
            schedule = member.recipe.learning_rate.schedule
            if isinstance(schedule, Plateau):
                past = [self.metric.as_loss(p.score_validation or 0.0) for p in self.histories[k].curve]
                self._lowered[k] = lowered(past, schedule.patience, schedule.factor)

    def score(self, k: int) -> float:
        """What member k is worth so far: the score of the state that it would keep; NaN if it has none."""
        return self.histories[k].best

    # --------------------------------------------------------- leaving, resuming

    def trained(self, k: int) -> Trained:
        """Member k as a plain network with the state that its recipe keeps: the best one, or the last."""
        member = self.members[k]
        encoder = self._encoded_for(member).encoder
        network = TableNet([member.recipe], self.problem.shape(encoder), factory=self.factory)
        row = self.layout.views(self._best[k])
        state = {**row, **{name: b[k] for name, b in self._best_buffers.items()}}
        network.load_state_dict({name: state[name].cpu() for name in network.state_dict()})
        return Trained(
            member=member,
            network=network.eval(),
            encoder=encoder,
            history=self.histories[k],
            receipts=self.receipts(k),
            steps=self.step,
            epochs=sum(self.sizes[: self.step]) / self._rows,
        )

    @property
    def parameters(self) -> int:
        """Learned numbers of one member."""
        return self.layout.size

    def keep(self, members: Sequence[int]) -> None:
        """Goes on with the given members only, in rising order."""
        kept = list(members)
        chosen = torch.as_tensor(kept, device=self.device)
        states = _state_by_member(self._optimizers)
        self.members = [self.members[k] for k in kept]
        self.histories = [self.histories[k] for k in kept]
        self.streams.keep(kept)
        self.ledger.keep(kept)
        self.flat = self.flat.detach()[chosen].requires_grad_()
        self.buffers = {name: b[chosen] for name, b in self.buffers.items()}
        self._best = self._best[chosen]
        self._best_buffers = {name: b[chosen] for name, b in self._best_buffers.items()}
        self._average = None if self._average is None else self._average[chosen]
        self._average_buffers = {name: b[chosen] for name, b in self._average_buffers.items()}
        self._order = self._order[chosen]
        self._loss_sum = self._loss_sum[chosen]
        self._lowered = self._lowered[chosen]
        self._arrange()
        self._optimizers = [
            (part, _stack_states([states[kept[k]] for k in range(part.start, part.stop)])) for part in self._optimizer_parts
        ]

    def state(self) -> dict[str, Any]:
        """Everything needed to go on from this step in a cohort of the same members; see `load`."""
        return {
            "step": self.step,
            "flat": self.flat.detach().clone(),
            "buffers": _copied(self.buffers),
            "best": self._best.clone(),
            "best_buffers": _copied(self._best_buffers),
            "average": None if self._average is None else self._average.clone(),
            "average_buffers": _copied(self._average_buffers),
            "optimizers": [_copied(state) for _, state in self._optimizers],
            "order": self._order.clone(),
            "loss_sum": self._loss_sum.clone(),
            "loss_count": self._loss_count,
            "lowered": self._lowered.clone(),
            "held_out_predictions": _copied(self._held_out_predictions),
            "streams": self.streams.state(),
            "ledger": self.ledger.state(),
            "histories": [
                History(list(h.curve), h.best, h.best_step, h.seconds, h.diverged, h.finished, h.rung) for h in self.histories
            ],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` has returned."""
        self.step = state["step"]
        self.flat = state["flat"].clone().requires_grad_()
        self.buffers = _copied(state["buffers"])
        self._best = state["best"].clone()
        self._best_buffers = _copied(state["best_buffers"])
        self._average = None if state["average"] is None else state["average"].clone()
        self._average_buffers = _copied(state["average_buffers"])
        self._optimizers = [
            (part, _copied(saved)) for part, saved in zip(self._optimizer_parts, state["optimizers"], strict=True)
        ]
        self._order = state["order"].clone()
        self._loss_sum = state["loss_sum"].clone()
        self._loss_count = state["loss_count"]
        self._lowered = state["lowered"].clone()
        self._held_out_predictions = _copied(state["held_out_predictions"])
        self.streams.load(state["streams"])
        self.ledger.load(state["ledger"])
        self.histories = [
            History(list(h.curve), h.best, h.best_step, h.seconds, h.diverged, h.finished, h.rung) for h in state["histories"]
        ]

    def receipts(self, k: int) -> list[Receipt]:
        """What member k's tricks did, in the order of the slots; off slots leave none."""
        booked = self.ledger.read()
        recipe = self.members[k].recipe
        receipts = []
        for path, trick in recipe.tricks():
            if isinstance(trick, Off):
                continue
            acted, seen = (booked[path][0][k], booked[path][1][k]) if path in booked else self._plain_receipt(k, path, trick)
            receipts.append(Receipt(trick=path, kind=trick.kind, acted=acted, seen=seen, unit=trick.unit))
        return receipts

    def _plain_receipt(self, k: int, path: str, trick: Trick) -> tuple[float, float]:
        """Receipts that follow from what is known without counting."""
        encoder = self._encoded_for(self.members[k]).encoder
        columns, coded = float(encoder.features), float(len(encoder.cardinalities))
        steps = float(self.step)
        curve = self.histories[k].curve
        weights = float(sum(entry.stop - entry.start for entry in self.layout.entries if entry.matrix))
        if isinstance(trick, LabelSmoothing | Focal | ClassWeights):
            rows = 0.0 if self.problem.is_regression or trick.is_off else float(sum(self.sizes[: self.step]))
            return rows, float(sum(self.sizes[: self.step]))
        if path == "learning_rate.schedule":
            peak = self.members[k].recipe.learning_rate.peak
            below = float((self._rates[: self.step, k, 0] < peak * 0.999999).sum())
            drops = sum(1.0 for p in curve if p.learning_rate is not None and p.learning_rate < peak * 0.999999)
            return (drops if isinstance(trick, Plateau) else below), (
                float(len(curve)) if isinstance(trick, Plateau) else steps
            )
        plain = {
            "data.scale": (columns, columns),
            "data.numbers": (columns, columns),
            "data.categories": (coded, coded),
            "model": (float(self.parameters), float(self.parameters)),
            "initialize": (weights, weights),
            "stop": (float(sum(p.step > self.histories[k].best_step for p in curve)), float(len(curve))),
        }
        return plain.get(path, (0.0, steps) if trick.is_off else (steps, steps))


def _batch_sizes(recipe: Recipe, rows: int) -> list[int]:
    """Rows of every step of a full training."""
    total = max(1.0, recipe.stop.epochs * rows)
    sizes: list[int] = []
    seen = 0
    while seen < total:
        sizes.append(recipe.batch.rows(seen / total, rows))
        seen += sizes[-1]
    return sizes


def _evaluation_steps(steps: int) -> list[int]:
    """The steps after which members are evaluated: evenly spaced, the last one among them."""
    count = min(EVALUATIONS, steps)
    return sorted({round(steps * (i + 1) / count) for i in range(count)})


def _focal_piece(part: Segment[Any] | None) -> list[tuple[int, int, Any]]:
    return [] if part is None else [(part.start, part.stop, part.values["gamma"])]


def _state_by_member(optimizers: Sequence[tuple[Segment[OptimizerTrick], dict[str, Tensor]]]) -> list[dict[str, Tensor]]:
    return [{n: s[k : k + 1] for n, s in state.items()} for part, state in optimizers for k in range(len(part))]


def _stack_states(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([state[name] for state in states]) for name in states[0]}


def _copied(tensors: dict[Key, Tensor]) -> dict[Key, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}
