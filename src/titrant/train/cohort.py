"""The loop: members whose tensors have equal shapes, trained side by side.

All learned numbers of the k members stand in one tensor `flat` [k, P], a row for each. A step cuts it into parameters with a
leading member axis, runs the network once for all (`objective`), takes one gradient [k, P] of the sum of the members' losses,
and lets each member's tricks act on its row (`update`). Nothing mixes rows, so a member that diverges stays alone, and a member
trained in a stack equals the same member trained by itself. The device is asked for numbers only at evaluations.

Axes: k member, b row of a batch, P learned number. What a row is, `titrant.train.problem` knows.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from titrant.clock import Clock
from titrant.models.blocks import recompute
from titrant.models.image import Conv
from titrant.models.layers import attach
from titrant.models.network import Factory, Net
from titrant.models.own import OwnBody
from titrant.recipe import Recipe
from titrant.record import Point, Receipt
from titrant.surgery import SLOTS
from titrant.train.build import layout_of, start, stored
from titrant.train.hardware import out_of_memory, threads
from titrant.train.member import History, Member, Trained
from titrant.train.metrics import Metric
from titrant.train.objective import Objective
from titrant.train.problem import HELD, Encoded, Inputs, Problem
from titrant.train.scaler import Scaler
from titrant.train.team import Team, TeamLostError, here
from titrant.train.update import Update
from titrant.train.weights import Weights, copied, places
from titrant.tricks.acting import Ledger, Streams, derived_seed, own_randomness
from titrant.tricks.base import Off, Trick
from titrant.tricks.learning_rate import Plateau
from titrant.tricks.model import Custom
from titrant.tricks.regularize import ClassWeights, Focal, LabelSmoothing
from titrant.tricks.stop import Early, Last

_PROBED = 16  # every so many steps, tricks that act on single units are asked to count
_SHARED = 60_000_000  # floating-point operations of a step from which on it pays that two cores share them
_FEW = 512  # rows that are predicted to see how long an evaluation takes
_SAMPLED = 1 << 24  # numbers of training rows, about, from which first weights take their measure
_HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_DERIVED = {"network", "_homes", "_sources", "_target", "_objective"}  # what `Cohort._arrange` makes


class Observer(Protocol):
    """Looks on while a cohort trains, and changes nothing; see `titrant.doctor.attach_recipe`."""

    def before(self) -> None:
        """A step begins."""
        ...

    def computed(self, rows: Tensor, losses: Tensor, grad: Tensor) -> None:
        """The losses [k] of rows [k, b], and the gradient [k, P] that the update is about to use and may change."""
        ...

    def after(self) -> None:
        """The step is taken."""
        ...


class Cohort:
    """Members in training.

    Args:
        problem: the data.
        members: with equal `cohort_key`.
        metric: what evaluations measure.
        factory: the network of `model: custom`.
        clock: for the times in the curves.

    Attributes:
        observer: looks on; None for nobody.
        parts: in which a batch is computed because memory does not hold it whole.

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
        self._rows = min(len(member.rows) for member in members)
        self.sizes = batch_sizes(members[0].recipe, self._rows)
        self.steps = len(self.sizes)
        self._begun = [0, *accumulate(self.sizes)]  # rows that were seen before each step
        self._work = [0.0, *accumulate(worked(members[0].recipe, self.sizes))]
        most = problem.evaluations(sum(self.sizes), min(len(member.held_out) for member in members))
        self.evaluated_at = evaluation_steps(self.steps, most)
        self._order = torch.zeros(len(members), 0, dtype=torch.int64, device=self.device)
        self._loss_sum = torch.zeros(len(members), device=self.device)
        self._loss_count = 0
        self._arranged = False
        self.observer: Observer | None = None
        self.team: Team | None = None
        self.scaler = Scaler(len(members), self.device) if members[0].recipe.hardware.precision == "fp16" else None
        self.parts = 1
        self.weights = self._first_weights()
        self._update = Update(self.members, self.weights, self.layout, self.steps, self.ledger)
        self._best = self.weights.copy()
        self._held_out_predictions: dict[int, Tensor] = {}

    # ---------------------------------------------------------------- making

    def _first_weights(self) -> Weights:
        """Every member's first weights, stacked."""
        stacks: list[list[Tensor]] = []
        buffers: list[dict[str, Tensor]] = []
        target = self.problem.scaled_target()
        for member in self.members:
            encoded = self._encoded_for(member)
            sample = member.rows[: max(512, min(1 << 14, _SAMPLED // max(1, self.problem.columns)))]
            network = start(
                member.recipe,
                self.problem.shape(encoded.encoder),
                member.seed,
                self.problem.ready(tuple(source[sample] for source in encoded.inputs)),
                kin=self._kin,
                factory=self.factory,
                target=target[sample],
            )
            if not stacks:
                self.layout = layout_of(network)
                convolutions = [module for module in network.modules() if isinstance(module, Conv)]
                self._convolved = float(sum(layer.weight.numel() for layer in convolutions))
                self._reweighed = float(sum(layer.weight.numel() for layer in convolutions if layer.reweigh is not None))
                self._reached = {
                    slot
                    for module in network.modules()
                    if isinstance(module, OwnBody)
                    for slot in SLOTS
                    if module.operation.acted(slot)
                }
            parameters = dict(network.named_parameters())
            stacks.append([parameters[entry.name].detach().flatten() for entry in self.layout.entries])
            learned = {entry.name for entry in self.layout.entries}  # parameters that need no gradient stay as they are
            buffers.append({name: kept for name, kept in stored(network).items() if name not in learned})
        flat = torch.stack([torch.cat(row) for row in stacks]).to(self.device).requires_grad_()
        names = list(buffers[0])
        return Weights(flat, {n: torch.stack([found[n] for found in buffers]).to(self.device).contiguous() for n in names})

    def _arrange(self) -> None:
        """Everything that follows from the members alone; done before the first use, and anew when members have left."""
        if self._arranged:
            return
        recipes = [member.recipe for member in self.members]
        first = self._encoded_for(self.members[0])
        with own_randomness(0):  # the weights that it draws are never used
            shape = self.problem.shape(first.encoder)
            self.network = shape.network(recipes, self._kin, self.factory, self.device).to(self.device)
        attach(self.network, self.streams, self.ledger)
        if recipes[0].hardware.compile:
            self.network.compile()
        elif recipes[0].hardware.checkpoint:
            recompute(self.network, self.streams, self.ledger)
        self._homes = _homes(self.network)
        self._sources: list[tuple[Encoded, int, int]] = []
        for k, member in enumerate(self.members):
            encoded = self._encoded_for(member)
            if self._sources and self._sources[-1][0] is encoded:
                self._sources[-1] = (encoded, self._sources[-1][1], k + 1)
            else:
                self._sources.append((encoded, k, k + 1))
        self._target = self.problem.scaled_target()
        self._objective = Objective(self.problem, self.members, self.steps, self.streams, self.ledger)
        self._arranged = True

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs to go on: all but what follows from the members."""
        kept = {name: value for name, value in vars(self).items() if name not in _DERIVED}
        return kept | {"_arranged": False, "team": None}

    def _encoded_for(self, member: Member) -> Encoded:
        return self.problem.encoded(member.recipe.data, member.rows)

    # -------------------------------------------------------------- training

    def advance(self, until: int, clock: Clock) -> bool:
        """Trains to step `until`, or until the clock rings or no member is alive; False if the clock rang first.

        A team of processes, if there is one (`titrant.train.team`), does it together.
        """
        if self.team is None and (team := here()) is not None:
            return team.lead(self, "advance", until, clock)
        until = min(until, self.steps)
        while self.step < until and any(history.alive for history in self.histories):
            if self._rang(clock):
                return False
            begun = time.monotonic()
            target = min(next(at for at in self.evaluated_at if at > self.step), until)
            rang = not self.train(target, clock)
            self.evaluate()
            share = (time.monotonic() - begun) / len(self.members)
            for history in self.histories:
                history.seconds += share
            if rang:
                return False
        return True

    def train(self, until: int, clock: Clock) -> bool:
        """Trains to step `until` without evaluating; False if the clock rang first."""
        if self.team is None and (team := here()) is not None:
            return team.lead(self, "train", until, clock)
        self._arrange()
        self.network.train()
        with threads(self._threads):
            while self.step < min(until, self.steps):
                if self._rang(clock):
                    return False
                self._one_step()
        return True

    def _rang(self, clock: Clock) -> bool:
        """Whether to stop: in a team when all have heard so, so that they stop after the same step."""
        return clock.left <= 0 if self.team is None else self.team.rang

    @property
    def _threads(self) -> int:
        """One where steps are so small that threads would wait for one another longer than they compute, else all."""
        work = 6 * len(self.members) * self.sizes[-1] * self.network.products
        return torch.get_num_threads() if work > _SHARED else 1

    def gradient(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Each member's mean training loss [k] on its rows [k, b], and its gradient [k, P], as a step takes them.

        What memory does not hold is computed in twice as many parts, from then on. In a team each process computes a part, and
        all come to the same gradient.
        """
        self._arrange()
        lost, total = self._gradient_of_all(rows)
        return lost, total if self.scaler is None else self.scaler.restored(total)

    def _gradient_of_all(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        if self.team is not None:
            mine = self.team.part(rows)
            try:
                return self.team.mean(*self._gradient_here(mine), mine.shape[1], rows.shape[1])
            except TeamLostError:
                if self.team.rank:  # nobody is left to whom this would matter
                    raise
                self.team = None
        return self._gradient_here(rows)

    def _gradient_here(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        while True:
            try:
                return self._gradient(rows.chunk(max(self.members[0].recipe.batch.parts, self.parts), dim=1))
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or 2 * self.parts > rows.shape[1]:
                    raise
            self.parts *= 2
            _forget(self.device)  # out of the handler, whose traceback still holds the failed step

    def _gradient(self, pieces: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        total: Tensor | None = None
        lost: Tensor | None = None
        for piece in pieces:
            losses = self._losses(piece) / len(pieces)
            scaled = losses if self.scaler is None else self.scaler.scaled(losses)
            (grad,) = torch.autograd.grad(scaled.sum(), self.weights.flat)
            total = grad if total is None else total.add_(grad)
            lost = losses.detach() if lost is None else lost + losses.detach()
        assert total is not None
        assert lost is not None
        return lost, total

    def _one_step(self) -> None:
        self.ledger.probing = self.step % _PROBED == 0
        if self.observer is not None:
            self.observer.before()
        rows = self._hardest(self._next_rows(self.sizes[self.step]))
        lost, total = self.gradient(rows)
        self._loss_sum += lost
        self._loss_count += 1
        if self.observer is not None:
            self.observer.computed(rows, lost, total)
        with torch.no_grad():
            self._update(self.weights, total, self.step)
        if self.observer is not None:
            self.observer.after()
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

    def _hardest(self, rows: Tensor) -> Tensor:
        """Of each member's rows [k, b] those that are learned from [k, b']: all of them, or those with the highest loss."""
        kept = self.members[0].recipe.batch.kept(rows.shape[1])
        if kept == rows.shape[1]:
            return rows
        self.network.eval()
        with torch.no_grad():
            outputs = self._outputs(self.weights, self.problem.ready(self._taken(rows)))
            losses = self._objective.row_losses(outputs, self._target[rows], self.network.views)
        self.network.train()
        self.ledger.add("batch", 0, len(self.members), float(rows.shape[1] - kept), float(rows.shape[1]))
        return rows.gather(1, losses.topk(kept).indices.sort().values)

    def _taken(self, rows: Tensor) -> Inputs:
        """Each member's rows [k, b] as they are kept: tensors [k, b, ...]."""
        members, count = rows.shape
        found = []
        for place, like in enumerate(self._sources[0][0].inputs):
            taken = torch.empty(members, count, *like.shape[1:], dtype=like.dtype, device=self.device)
            if like.shape[1:].numel():
                for encoded, begin, end in self._sources:
                    chosen = rows[begin:end].flatten()
                    torch.index_select(encoded.inputs[place], 0, chosen, out=taken[begin:end].flatten(0, 1))
            found.append(taken)
        return tuple(found)

    def _losses(self, rows: Tensor) -> Tensor:
        """Mean training loss of each member on its rows [k]."""

        def forward(inputs: Inputs, mix: Callable[[Tensor], Tensor] | None) -> Tensor:
            if not isinstance(self.members[0].recipe.model, Custom):
                return self._outputs(self.weights, inputs, mix)
            # Modules of a person's own draw from torch's global stream, which is set for the step and put back.
            apart = [self.team.rank] if self.team is not None and self.team.rank else []
            with own_randomness(derived_seed(self.members[0].seed, "custom", self.step, *apart)):
                return self._outputs(self.weights, inputs, mix)

        turns = rows + self._begun[self.step] // self._rows
        return self._objective.losses(forward, self._taken(rows), self._target[rows], turns, self.network.views, self.step)

    def _outputs(self, weights: Weights, inputs: Inputs, mix: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """The networks' outputs [k, v·b, o] under given weights."""
        recipe = self.members[0].recipe
        hardware = recipe.hardware
        flat, buffers = weights.flat, weights.buffers
        alone = len(self.members) == 1
        if alone:  # a plain network without the member axis: two dimensions need fewer and faster operations than three
            flat, buffers = flat.squeeze(0), {name: buffer.squeeze(0) for name, buffer in buffers.items()}
            inputs = tuple(tensor.squeeze(0) for tensor in inputs)
            mix = None if mix is None else _of_one(mix)
        tensors = {**self.layout.views(flat), **buffers}
        kind = _HALVES.get(hardware.precision)
        half = nullcontext() if kind is None else torch.autocast(self.device.type, kind)
        with half, warnings.catch_warnings() if hardware.compile else nullcontext():
            if hardware.compile:  # torch.compile looks at the gradient of a view and warns about it
                warnings.simplefilter("ignore", UserWarning)
            if hardware.compile or isinstance(recipe.model, Custom):
                out: Tensor = functional_call(self.network, tensors, (*inputs, mix))
            else:  # what `functional_call` does for plain modules, which looks all names up again each time
                for home, leaf, name in self._homes:
                    home[leaf] = tensors[name]
                out = self.network(*inputs, mix)
        return out.float().unsqueeze(0) if alone else out.float()

    # ------------------------------------------------------------- evaluation

    @torch.no_grad()
    def predictions(self, rows: Tensor, weights: Weights | None = None) -> Tensor:
        """Each member's predictions for its rows [k, m]: probabilities [k, m, c], or values [k, m] in the target's own unit."""
        self._arrange()
        weights = weights or self._update.evaluation(self.weights)
        self.network.eval()
        most = max(16, HELD // (len(self.members) * self.network.widest * self.network.views))
        while True:
            try:
                return torch.cat([self._predicted(weights, some) for some in torch.split(rows, most, dim=1)], dim=1)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or most == 1:
                    raise
            most = (most + 1) // 2
            _forget(self.device)

    def _predicted(self, weights: Weights, rows: Tensor) -> Tensor:
        return self.problem.read(self._outputs(weights, self.problem.ready(self._taken(rows))), self.network.views)

    def kept_predictions(self, rows: Tensor) -> Tensor:
        """Each member's predictions for its rows [k, m] by the state that it would keep; NaN if it has none."""
        predicted = self.predictions(rows, self._best)
        lost = [k for k, history in enumerate(self.histories) if not np.isfinite(history.best_loss)]
        predicted[lost] = torch.nan
        return predicted

    def work(self, begin: int, end: int) -> float:
        """What the steps from `begin` to before `end` cost beside one another; see `worked`."""
        return self._work[end] - self._work[begin]

    def paced(self, until: int, clock: Clock) -> float:
        """Trains to step `until` without evaluating; the seconds that a unit of work took, see `work`."""
        begun, before = time.monotonic(), self.step
        self.train(until, clock)
        return (time.monotonic() - begun) / max(1.0, self.work(before, self.step))

    def mean_losses(self) -> list[float]:
        """Each member's mean training loss since the last evaluation."""
        found: list[float] = (self._loss_sum / max(self._loss_count, 1)).tolist()
        return found

    def evaluate(self) -> None:
        """Scores every member on its held-out rows, keeps its best state, and sees who is done."""
        weights = self._update.evaluation(self.weights)
        fewest = min(len(member.held_out) for member in self.members)
        rows = torch.stack([member.held_out[:fewest] for member in self.members])
        predicted = self.predictions(rows, weights)
        target = self.problem.target[rows]
        scores = self.metric.score(self.problem.flat(predicted), self.problem.flat(target)).tolist()
        losses = self.problem.plain_loss(predicted, target).tolist()
        trained = self.mean_losses()
        self._loss_sum.zero_()
        self._loss_count = 0
        rates = self.rates()
        better = []
        for k, history in enumerate(self.histories):
            if not history.alive:
                continue
            history.curve.append(self._point(trained[k], losses[k], scores[k], rates[k]))
            history.diverged = not np.isfinite(losses[k])
            stop = self.members[k].recipe.stop
            if not history.diverged and (isinstance(stop, Last) or self._improves(history, scores[k], losses[k])):
                history.best, history.best_loss, history.best_step = scores[k], losses[k], self.step
                better.append(k)
            if isinstance(stop, Early) and stop.patience < 1:
                history.finished = self.step - history.best_step > stop.patience * self.steps
            history.finished = history.finished or self.step >= self.steps
        if better:
            self._best.put(places(better, self.device), weights)
        for k in better:
            self._held_out_predictions[self.members[k].number] = predicted[k].clone()
        self._update.lower_plateaus([self._losses_so_far(history) for history in self.histories])

    def judging(self) -> float:
        """Seconds that the evaluations of a full training take, judged by the prediction of a few rows."""
        fewest = min(len(member.held_out) for member in self.members)
        few = torch.stack([member.held_out[: min(fewest, _FEW)] for member in self.members])
        self.predictions(few)  # the first time takes longer than those that follow
        begun = time.monotonic()
        self.predictions(few)
        return (time.monotonic() - begun) * fewest / few.shape[1] * len(self.evaluated_at)

    def _improves(self, history: History, score: float, loss: float) -> bool:
        """Whether a state beats the best one: by its score, or by its loss where the rows give the metric no value."""
        if np.isnan(score) and np.isnan(history.best):
            return loss < history.best_loss
        return self.metric.better(score, history.best)

    def _losses_so_far(self, history: History) -> list[float]:
        scores = [point.score_validation for point in history.curve]
        return [self.metric.as_loss(float("nan") if score is None else score) for score in scores]

    def _point(self, trained: float, loss: float, score: float, rate: float) -> Point:
        rows_seen = self._begun[self.step]
        return Point(
            step=self.step,
            epoch=rows_seen / self._rows,
            seconds=self.clock.elapsed,
            loss_train=trained,
            loss_validation=loss,
            score_validation=score,
            learning_rate=rate,
        )

    def held_out_predictions(self, k: int) -> Tensor:
        """Predictions for member k's held-out rows by the state that it would keep: [m, c] or [m]."""
        return self._held_out_predictions[self.members[k].number]

    def rates(self) -> list[float]:
        """Each member's learning rate at the latest step."""
        return self._update.rates(max(self.step - 1, 0))

    @property
    def flat(self) -> Tensor:
        """The learned numbers [k, P]."""
        return self.weights.flat

    def score(self, k: int) -> float:
        """What member k is worth so far: the score of the state that it would keep; NaN if it has none."""
        return self.histories[k].best

    # --------------------------------------------------------- leaving, resuming

    def trained(self, k: int) -> Trained:
        """Member k as a plain network with the state that its recipe keeps: the best one, or the last."""
        member = self.members[k]
        encoder = self.problem.encoder(member.recipe.data, member.rows)
        network = self.problem.shape(encoder).network([member.recipe], None, self.factory)
        row = self.layout.views(self._best.flat[k])
        state = {**row, **{name: b[k] for name, b in self._best.buffers.items()}}
        network.load_state_dict({name: state[name].cpu() for name in stored(network)}, strict=False)  # but for tied weights
        return Trained(
            member=member,
            network=network.eval(),
            encoder=encoder,
            history=self.histories[k].copy(),
            receipts=self.receipts(k),
            steps=self.step,
            epochs=self._begun[self.step] / self._rows,
        )

    @property
    def parameters(self) -> int:
        """Learned numbers of one member."""
        return self.layout.size

    @property
    def carried(self) -> int:
        """Bytes that go from step to step: weights, their gradient and the best state, and what the update carries."""
        return 3 * self.weights.flat.nbytes + self._update.carried

    def keep(self, members: Sequence[int]) -> None:
        """Goes on with the given members only, in rising order."""
        kept = list(members)
        chosen = places(kept, self.device)
        self.members = [self.members[k] for k in kept]
        self.histories = [self.histories[k] for k in kept]
        self.streams.keep(kept)
        self.ledger.keep(kept)
        self.weights = self.weights.of(chosen)
        self.weights.flat.requires_grad_()
        self._best = self._best.of(chosen)
        self._order = self._order[chosen]
        self._loss_sum = self._loss_sum[chosen]
        self._arranged = False
        self._update.keep(self.members, kept)
        if self.scaler is not None:
            self.scaler.keep(kept)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on from this step in a cohort of the same members; see `load`."""
        return {
            "step": self.step,
            "weights": self.weights.copy(),
            "best": self._best.copy(),
            "update": self._update.state(),
            "order": self._order.clone(),
            "loss_sum": self._loss_sum.clone(),
            "loss_count": self._loss_count,
            "held_out_predictions": copied(self._held_out_predictions),
            "streams": self.streams.state(),
            "ledger": self.ledger.state(),
            "histories": [history.copy() for history in self.histories],
            "scaler": None if self.scaler is None else self.scaler.state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` has returned."""
        self.step = state["step"]
        self.weights = state["weights"].copy()
        self.weights.flat.requires_grad_()
        self._best = state["best"].copy()
        self._update.load(state["update"])
        self._order = state["order"].clone()
        self._loss_sum = state["loss_sum"].clone()
        self._loss_count = state["loss_count"]
        self._held_out_predictions = copied(state["held_out_predictions"])
        self.streams.load(state["streams"])
        self.ledger.load(state["ledger"])
        if self.scaler is not None:
            self.scaler.load(state["scaler"])
        self.histories = [history.copy() for history in state["histories"]]

    def receipts(self, k: int) -> list[Receipt]:
        """What member k's tricks did, in the order of the slots; off slots leave none."""
        booked = self.ledger.read()
        recipe = self.members[k].recipe
        surgery = recipe.model.surgery if isinstance(recipe.model, Custom) else None
        receipts = []
        for path, trick in recipe.tricks():
            if isinstance(trick, Off) or (surgery is not None and path in SLOTS and path not in surgery):
                continue
            unit = trick.unit
            if surgery is not None and path in SLOTS:  # modules of torch's count nothing
                acted, seen, unit = float(self.step * (path in self._reached)), float(self.step), "steps"
            elif path in booked:
                acted, seen = booked[path][0][k], booked[path][1][k]
            else:
                acted, seen = self._plain_receipt(k, path, trick)
            receipts.append(Receipt(trick=path, kind=trick.kind, acted=acted, seen=seen, unit=unit))
        return receipts

    def _plain_receipt(self, k: int, path: str, trick: Trick) -> tuple[float, float]:
        """Receipts that follow from what is known without counting."""
        steps = float(self.step)
        curve = self.histories[k].curve
        weights = float(sum(entry.stop - entry.start for entry in self.layout.entries if entry.matrix))
        if isinstance(trick, LabelSmoothing | Focal | ClassWeights):
            seen = float(self._begun[self.step])
            return (0.0 if self.problem.is_regression or trick.is_off else seen), seen
        if path == "learning_rate.schedule":
            if isinstance(trick, Plateau):
                first = curve[0].learning_rate if curve else None
                return float(sum(p.learning_rate != first for p in curve)), float(len(curve))
            return float(self._update.below_peak(k, self.step)), steps
        # Of early stopping: evaluations whose state is not the one that is kept. Without it, none is kept for its score.
        passed_over = sum(isinstance(trick, Last) or p.step != self.histories[k].best_step for p in curve)
        plain = {
            "data.tokens": (0.0, 0.0),  # of what is no text
            "data.whiten": (0.0, 0.0),  # of what is no picture
            **self.problem.receipts(self.members[k]),
            "model": (float(self.parameters), float(self.parameters)),
            "weights": (self._reweighed, self._convolved),
            "initialize": (weights, weights),
            "regularize.stochastic_depth": (0.0, steps),  # there are no blocks to leave out
            "stop": (float(passed_over), float(len(curve))),
        }
        return plain.get(path, (0.0, steps) if trick.is_off else (steps, steps))


def _forget(device: torch.device) -> None:
    """Gives back what the allocator keeps for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def kept_for_gradient(step: Callable[[], Any]) -> int:
    """Bytes that a step keeps for its gradient, those of the weights among them."""
    seen: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        step()
    return sum(seen.values())


def _homes(network: Net) -> list[tuple[dict[str, Any], str, str]]:
    """Where the network's modules keep the learned tensors and buffers of a state: the place, the key there, the name."""
    kept = set(network.state_dict())
    return [
        (home, leaf, name)
        for prefix, module in network.named_modules()
        for home in (module._parameters, module._buffers)
        for leaf in home
        if (name := f"{prefix}.{leaf}".removeprefix(".")) in kept
    ]


def _of_one(mix: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A mixer of features [1, b, d] as one of features [b, d]."""
    return lambda z: mix(z.unsqueeze(0)).squeeze(0)


def batch_sizes(recipe: Recipe, rows: int) -> list[int]:
    """Rows of every step of a full training."""
    total = max(1.0, recipe.stop.epochs * rows)
    sizes: list[int] = []
    seen = 0
    while seen < total:
        sizes.append(recipe.batch.rows(seen / total, rows))
        seen += sizes[-1]
    return sizes


def worked(recipe: Recipe, sizes: Sequence[int]) -> list[float]:
    """What each step costs beside the others: its rows, each by the share of its picture that is left.

    Example:
        >>> recipe = Recipe.of({"augment": {"resize": {"low": 0.5, "hold": 0.5, "until": 0.5}}})
        >>> worked(recipe, [100, 100])
        [25.0, 100.0]
    """
    resize = recipe.augment.resize
    if isinstance(resize, Off):
        return [float(size) for size in sizes]
    return [size * resize.share(step / len(sizes)) ** 2 for step, size in enumerate(sizes)]


def evaluation_steps(steps: int, most: int) -> list[int]:
    """The steps after which members are evaluated: evenly spaced, the last one among them."""
    count = min(most, steps)
    return sorted({round(steps * (i + 1) / count) for i in range(count)})
