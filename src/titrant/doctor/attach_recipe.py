"""Observes the training of a recipe: a cohort of one member, step by step, into the same case as a person's own loop.

The networks of recipes stand in one tensor and are no usual torch program, so they are read at their own seams: layers as they
are called, the gradient and the weights around each update, evaluations from the member's curve.
"""

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from titrant.clock import Clock
from titrant.doctor.case import NONLINEAR, WEIGHTED, Case, Family, Loader, Objective, evaluations_of
from titrant.doctor.probes import family_of
from titrant.doctor.recorder import Recorder
from titrant.models.image import Standardize
from titrant.models.layers import Activate, Drop, Normalize
from titrant.models.own import OwnBody
from titrant.models.recurrent import Cell, Gates
from titrant.models.text import Bag
from titrant.train.cohort import Cohort
from titrant.tricks.base import Off
from titrant.tricks.clip import ByNorm
from titrant.tricks.stop import Early

_FAMILIES: dict[str, Family] = {"relu": "relu", "sigmoid": "sigmoid", "tanh": "tanh"}


def observed(cohort: Cohort, clock: Clock, every: int = 250) -> Case:
    """Trains a member to its end, or until the clock rings, under observation; its numbers are the same as without.

    Args:
        cohort: of one member.
        clock: the time there is.
        every: the widest gap between looks, in steps, from 1.
    """
    watch = Watch(cohort, every)
    cohort.observer = watch
    try:
        arrived = cohort.advance(cohort.steps, clock)
    finally:
        cohort.observer = None
    return watch.case(cut_short=not arrived)


class Watch:
    """Records what a cohort of one member does; a `titrant.train.cohort.Observer`."""

    def __init__(self, cohort: Cohort, every: int) -> None:
        self.recorder = Recorder(every)
        self._cohort = cohort
        self._target = cohort.problem.scaled_target()
        self._hooks: list[Any] = []
        self._calls: list[tuple[str, Family]] = []
        self._inputs: Tensor | None = None
        self._output: Tensor | None = None
        self._gradient: Tensor | None = None

    # ------------------------------------------------------------ an observer

    def before(self) -> None:
        """A step begins: on steps that are looked at, layers and weights are."""
        if not self.recorder.due:
            return
        self._calls, self._inputs = [], None
        for name, value, matrix in self._weights():
            fan_in = math.prod(value.shape[1:])
            embedding = not matrix and value.ndim > 1
            self.recorder.parameter(name, name.rpartition(".")[0], 0, value, fan_in=fan_in, embedding=embedding)
            self.recorder.before_step(name, value)
        self._hook()

    def computed(self, rows: Tensor, losses: Tensor, grad: Tensor) -> None:
        """Loss [1] and gradient [1, P] for the rows [1, b] of this step are there, and not yet used."""
        self.recorder.loss(losses[0])
        if self.recorder.paired:
            self.recorder.gradients(self._cohort.layout.views(grad[0]).values())
        if not self.recorder.due:
            return
        clip = self._cohort.members[0].recipe.clip
        if isinstance(clip, ByNorm):
            self.recorder.clipped(grad[0].norm(), clip.max_norm)
        for hook in self._hooks:
            hook.remove()
        self._gradient = grad[0].clone()
        target = self._target[rows[0]]
        if self._inputs is not None and self._inputs.numel():
            self.recorder.inputs(self._inputs, target if len(target) == len(self._inputs) else None)
        self.recorder.batch_labels(target)

    def after(self) -> None:
        """The step is taken."""
        if self.recorder.due:
            assert self._gradient is not None
            gradients = self._cohort.layout.views(self._gradient)
            for name, value, _ in self._weights():
                self.recorder.after_step(name, value, gradients[name], held=True)
            self.recorder.rate(self._cohort.rates()[0])
            self.recorder.settle()
        self.recorder.next_step()

    # --------------------------------------------------------------- the case

    def case(self, cut_short: bool) -> Case:
        """What was recorded."""
        case, member = self.recorder.close(), self._cohort.members[0]
        recipe, problem = member.recipe, self._cohort.problem
        loss = "mse" if problem.is_regression else "cross_entropy"
        case.framework, case.optimizer, case.cut_short = "titrant", recipe.optimizer.kind, cut_short
        decay = recipe.regularize.decay
        case.weight_decay = getattr(recipe.optimizer, "decay", 0.0) + (0.0 if isinstance(decay, Off) else decay.rate)
        case.loader = Loader(rows=len(member.rows), batch=self._cohort.sizes[0], shuffled=True)
        case.objective = Objective(
            loss=loss,
            called=loss,
            activation="linear",
            output_shape=[] if self._output is None else list(self._output.shape),
            target_shape=[self._cohort.sizes[0], *self._target.shape[1:]],
            linear_pairs=_linear_pairs(self._calls) if isinstance(recipe.activation, Off) else [],
            weighted_layers=sum(family in WEIGHTED for _, family in self._calls),
        )
        case.evaluations = evaluations_of(self._cohort.histories[0].curve, self._cohort.metric.name)
        wiring = case.wiring
        wiring.optimizers, wiring.backwards, wiring.training_forwards = 1, wiring.steps, wiring.steps
        wiring.evaluations = len(case.evaluations)
        stop = recipe.stop
        case.patience = max(1, round(stop.patience * stop.epochs)) if isinstance(stop, Early) and stop.patience < 1 else None
        return case

    # ----------------------------------------------------------------- layers

    def _weights(self) -> list[tuple[str, Tensor, bool]]:
        views = self._cohort.layout.views(self._cohort.weights.flat.detach()[0])
        return [(entry.name, views[entry.name], entry.matrix) for entry in self._cohort.layout.entries]

    def _hook(self) -> None:
        network = self._cohort.network
        self._hooks = [network.register_forward_pre_hook(self._entered), network.register_forward_hook(self._left)]
        inside: set[nn.Module] = set()
        for name, module in network.named_modules():
            family = None if module in inside else _family(module)
            if isinstance(module, Cell):
                inside.update(module.modules())
            if family is not None:
                self._hooks.append(module.register_forward_hook(self._looking(name, module, family)))
            elif isinstance(module, Standardize):
                self._hooks.append(module.register_forward_hook(self._scaled))

    def _entered(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._inputs = args[0].detach()

    def _scaled(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        self._inputs = output.detach()

    def _left(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        self._output = output.detach()

    def _looking(self, name: str, module: nn.Module, family: Family) -> Any:
        kind = module.parts[0].kind.name() if isinstance(module, Activate | Normalize | Drop) else type(module).__name__
        rate = module.parts[0].values.get("p") if isinstance(module, Drop) else getattr(module, "p", None)

        def look(_: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor) and all(name != called for called, _ in self._calls):
                share = float(rate) if family == "dropout" and rate is not None else None
                with torch.no_grad():
                    self.recorder.layer(name, kind, family, len(self._calls), output, share)
                self._calls.append((name, family))

        return look


def _family(module: nn.Module) -> Family | None:
    """What a module of ours does; None for one that only holds others, or whose trick is off."""
    match module:
        case Activate():
            kind = module.parts[0].kind
            return None if kind is Off else _FAMILIES.get(kind.name(), "activation")
        case Normalize():
            return "normalisation" if module.needed and module.parts[0].kind is not Off else None
        case Drop():
            return "dropout" if module.acts else None
        case Bag():
            return "linear"
        case Cell():
            return "recurrent"
        case Gates() | OwnBody():
            return None
    found = family_of(module)
    return None if found == "other" else found


def _linear_pairs(calls: list[tuple[str, Family]]) -> list[tuple[str, str]]:
    """Weighted layers that follow one another with nothing nonlinear in between."""
    told = [(name, family) for name, family in calls if family in WEIGHTED or family in NONLINEAR]
    return [(one, other) for (one, a), (other, b) in pairwise(told) if a in WEIGHTED and b in WEIGHTED]
