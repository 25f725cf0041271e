"""Observes any training loop in torch from outside: modules, backward passes, losses, optimisers, loaders.

On steps that are not sampled, the cost is one hook on each outermost module, one on the optimiser and a wrapper around
`backward`; nothing is read from the device. On sampled steps every layer and every functional activation is seen.

Which object tells what:

- outermost module, before its forward pass: mode, inputs; on sampled steps it hooks its layers for this one pass
- functions of `torch.nn.functional` that are losses: outputs, targets, loss without penalties, losses of evaluations
- `Tensor.backward`: the loss, autograd's graph, whether old gradients were cleared
- optimiser step, before and after: gradients, changes of weights, learning rate
- `clip_grad_norm_`: the norm before it is cut
- `DataLoader.__iter__`: order and size of the data, epochs
"""

import math
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import count, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module as torch_module
from torch.optim import Optimizer
from torch.optim import optimizer as torch_optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler

from titrant.doctor.case import Family
from titrant.doctor.graph import compared, last_function, leaves, linear_pairs, number_of, over_rows, parts_of
from titrant.doctor.recorder import Recorder, values_of

_NORMS = (
    nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm,
)  # fmt: skip
_DROPOUTS = (nn.modules.dropout._DropoutNd,)
_FAMILIES: tuple[tuple[tuple[type, ...], Family], ...] = (
    ((nn.Linear, nn.Bilinear), "linear"),
    ((nn.modules.conv._ConvNd,), "convolution"),
    ((nn.Embedding, nn.EmbeddingBag), "embedding"),
    ((nn.RNNBase, nn.RNNCellBase), "recurrent"),
    ((nn.MultiheadAttention,), "attention"),
    (_NORMS, "normalisation"),
    (_DROPOUTS, "dropout"),
    ((nn.ReLU, nn.ReLU6), "relu"),
    ((nn.Sigmoid,), "sigmoid"),
    ((nn.Tanh,), "tanh"),
    ((nn.Softmax, nn.LogSoftmax, nn.Softmax2d), "softmax"),
)
_FUNCTIONS: dict[str, Family] = {
    "relu": "relu", "relu_": "relu", "relu6": "relu", "sigmoid": "sigmoid", "sigmoid_": "sigmoid", "tanh": "tanh",
    "tanh_": "tanh", "softmax": "softmax", "log_softmax": "softmax", "gelu": "activation", "silu": "activation",
    "elu": "activation", "selu": "activation", "leaky_relu": "activation", "softplus": "activation", "mish": "activation",
    "dropout": "dropout", "dropout2d": "dropout",
}  # fmt: skip
LOSSES = {
    "cross_entropy": "cross_entropy", "nll_loss": "nll", "binary_cross_entropy": "bce",
    "binary_cross_entropy_with_logits": "bce_logits", "mse_loss": "mse", "l1_loss": "mae", "smooth_l1_loss": "huber",
    "huber_loss": "huber", "kl_div": "kl", "poisson_nll_loss": "poisson", "gaussian_nll_loss": "gaussian",
    "hinge_embedding_loss": "hinge", "multi_margin_loss": "hinge", "soft_margin_loss": "hinge",
}  # fmt: skip
_ROOTS_KNOWN_AFTER = 3  # optimiser steps after which no further outermost modules are looked for


class EnoughSeen(BaseException):
    """Ends a program that is observed, once the epochs or steps that were asked for are over."""


class Probes:
    """Hooks into torch, from `start` to `stop`.

    Args:
        recorder: takes what is seen.
        model: the module to watch; None watches every outermost module that any code calls.
        optimizers: those that belong to it, where known; others are noticed when they step.
        epochs, steps: after so many, `EnoughSeen` is raised in the program; None never does.
    """

    def __init__(
        self,
        recorder: Recorder,
        model: nn.Module | None = None,
        optimizers: Iterable[Optimizer] = (),
        *,
        epochs: int | None = None,
        steps: int | None = None,
    ) -> None:
        self.recorder = recorder
        self.current: str | None = None
        self.failed_in: str | None = None
        self.asleep = False  # while another attachment (Keras) observes the same work
        self._model = model
        self._epochs, self._steps = epochs, steps
        self._undo: list[Callable[[], None]] = []
        self._roots: weakref.WeakKeyDictionary[nn.Module, _Root] = weakref.WeakKeyDictionary()
        self._discovery: Any = None
        self._optimizers: weakref.WeakSet[Optimizer] = weakref.WeakSet(optimizers)
        self._schedulers: list[LRScheduler] = []  # a program's own names for them end before it does
        self._held: set[int] = set()
        self._inside: nn.Module | None = None
        self._pass: _Pass | None = None
        self._stepped = self._frozen = self._in_loss = self._in_step = False
        self._served: set[int] | None = None  # optimisers that have stepped since the last backward pass, if there was one
        self._sample: Tensor | None = None
        self._mixed: str | None = None
        self._reached: set[int] = set()
        self._beside: dict[int, nn.Parameter] = {}
        self._made: Tensor | None = None  # the size of the gradients that the last backward pass has made, if looked at
        self._plain: list[tuple[Tensor, int]] = []  # losses since the last backward pass, with their place in the graph
        self._main: dict[int, int] = {}  # of so many of them, the place of the only one that is trained on
        self._targets: Tensor | None = None
        self._batch: Tensor | None = None
        self._graph_read = False
        self._unreached: set[int] = set()
        self._loose: dict[int, str] = {}
        self._passes = 0  # over training data
        self._trained_on: weakref.WeakSet[Any] = weakref.WeakSet()

    def start(self) -> None:
        """Puts the hooks in place."""
        if self._model is not None:
            self._add_root(self._model)
        else:
            self._discovery = torch_module.register_module_forward_pre_hook(self._discover)
            self._undo.append(self._discovery.remove)
        before = torch_optimizer.register_optimizer_step_pre_hook(self._before_step)
        after = torch_optimizer.register_optimizer_step_post_hook(self._after_step)
        self._undo += [before.remove, after.remove]
        self._wrap(Tensor, "backward", self._backward)
        for name, kind in LOSSES.items():
            self._wrap(functional, name, self._loss_function(name, kind))
        for owner in (nn.utils, nn.utils.clip_grad):  # by either of which it may be imported
            self._wrap(owner, "clip_grad_norm_", self._clip)
        self._wrap(DataLoader, "__iter__", self._iterate)
        for scheduler in (LRScheduler, ReduceLROnPlateau):  # the latter does not call the former
            self._wrap(scheduler, "__init__", self._scheduled)

    def stop(self) -> None:
        """Takes every hook away."""
        if self._pass is not None:
            self._pass.end()
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()
        for root in list(self._roots.values()):
            root.remove()
        wiring = self.recorder.case.wiring
        wiring.schedulers = [type(scheduler).__name__ for scheduler in self._schedulers]
        if self._held:  # else weights are changed by hand, and nobody knows which of them
            wiring.unregistered = [str(list(found.shape)) for key, found in self._beside.items() if key not in self._held]
        wiring.scheduler_steps = sum(max(0, scheduler.last_epoch) for scheduler in self._schedulers)

    def _wrap(self, owner: Any, name: str, around: Callable[..., Any]) -> None:
        original = getattr(owner, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return original(*args, **kwargs) if self.asleep else around(original, *args, **kwargs)

        wrapper.__name__, wrapper.__qualname__, wrapper.__doc__ = (
            name,
            getattr(original, "__qualname__", name),
            original.__doc__,
        )
        setattr(owner, name, wrapper)
        self._undo.append(lambda: setattr(owner, name, original))

    # Forward passes

    def _discover(self, module: nn.Module, args: Any) -> None:
        if self.asleep or self._inside is not None or module in self._roots or isinstance(module, nn.modules.loss._Loss):
            return
        if any(True for _ in module.parameters()):
            self._add_root(module)
            self._enter(self._roots[module], module, args, {})  # its own hook acts from the next call on

    def _add_root(self, module: nn.Module) -> None:
        kind, known = type(module).__name__, {root.name for root in self._roots.values()}
        name = "" if not known else next(
            found for place in count(1) if (found := f"{kind}{place if place > 1 else ''}.") not in known
        )  # fmt: skip
        root = _Root(module, name)
        root.handles = [
            module.register_forward_pre_hook(partial(self._enter, root), prepend=True, with_kwargs=True),
            module.register_forward_hook(self._leave, always_call=True),
        ]
        self._roots[module] = root

    def _enter(self, root: "_Root", module: nn.Module, args: Any, kwargs: Any) -> None:
        if self._inside is not None or self.asleep:
            return
        self._inside = module
        if not torch.is_grad_enabled():
            self._evaluated(module, root, args, kwargs)
            return
        self.recorder.end_evaluation()
        if self._steps is not None and self.recorder.step >= self._steps:
            self._inside = None
            raise EnoughSeen
        if self._is_trained(module):  # not a fixed network that takes part in the loss
            self._frozen = root.modal and not module.training
        if self.recorder.due and not torch.compiler.is_compiling():
            self._batch = next(_tensors((args, kwargs)), None)
            self._follow(module, root)
            if not isinstance(module, torch._dynamo.eval_frame.OptimizedModule):
                self._pass = _Pass(self, module, root)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._inside is module:
            self._inside = None
            self.failed_in = self.current if output is None else None
            if self._pass is not None:
                self._pass.end()
                self._pass = None

    def _is_trained(self, module: nn.Module) -> bool:
        """Whether an optimiser holds any of its parameters, as far as that is known."""
        return not self._held or any(id(parameter) in self._held for parameter in module.parameters())

    def _evaluated(self, module: nn.Module, root: "_Root", args: Any, kwargs: Any) -> None:
        wiring = self.recorder.case.wiring
        wiring.evaluations += 1
        wiring.live_evaluations += root.modal and module.training and self._is_trained(module)
        if wiring.evaluations <= 64:
            batch = next(_tensors((args, kwargs)), None)
            if batch is not None and batch.ndim > 1:
                self.recorder.fingerprints(batch, training=False)

    def _follow(self, module: nn.Module, root: "_Root") -> None:
        """Takes up parameters that were not known yet (lazy and replaced ones too)."""
        for place, (name, owner) in enumerate(module.named_modules()):
            for own, parameter in owner.named_parameters(recurse=False):
                if isinstance(parameter, nn.parameter.UninitializedParameter):
                    continue
                full = root.name + (f"{name}.{own}" if name else own)
                self.recorder.parameter(
                    full,
                    root.name + name,
                    place,
                    parameter,
                    fan_in=_fan_in(parameter),
                    trainable=parameter.requires_grad,
                    embedding=isinstance(owner, (nn.Embedding, nn.EmbeddingBag)),
                )

    # Losses

    def _loss_function(self, name: str, kind: str) -> Callable[..., Any]:
        def around(original: Any, *args: Any, **kwargs: Any) -> Any:
            if self._in_loss:  # while a pass is followed, torch hands each of these functions to itself once more
                return original(*args, **kwargs)
            self._in_loss = True
            try:
                value = original(*args, **kwargs)
            finally:
                self._in_loss = False
            if self.recorder.due or not torch.is_grad_enabled():
                with suppress(Exception):  # a program's own subclasses may be anything; its loss is what counts
                    self._lost(name, kind, value, args, kwargs)
            elif len(self._plain) < 16:
                with suppress(Exception):
                    plain = _per_target(kind, value, args[1] if len(args) > 1 else kwargs["target"], kwargs)
                    if plain is not None and value.requires_grad:
                        self._plain.append((plain.detach(), number_of(value)))
            return value

        return around

    def _lost(self, name: str, kind: str, value: Tensor, args: Any, kwargs: Any) -> None:
        output = args[0] if args else kwargs["input"]
        target = args[1] if len(args) > 1 else kwargs["target"]
        if not isinstance(value, Tensor) or not isinstance(target, Tensor):
            return
        plain = _per_target(kind, value, target, kwargs)
        if not value.requires_grad:
            if plain is not None:
                self.recorder.evaluation_loss(plain)
            return
        if plain is not None:
            self._plain.append((plain.detach(), number_of(value)))
        objective = self.recorder.case.objective
        if objective.loss == "unknown":
            objective.ignored = kwargs.get("ignore_index")
            objective.weighted = any(kwargs.get(option) is not None for option in ("weight", "pos_weight"))
            objective.loss, objective.called = kind, name
            objective.activation, objective.over_rows = last_function(output), over_rows(output)
            objective.output_shape, objective.target_shape = list(output.shape), list(target.shape)
        if kind in ("mse", "mae", "huber") and np.broadcast_shapes(output.shape, target.shape) != tuple(output.shape):
            self.recorder.case.wiring.broadcast = f"{list(output.shape)} - {list(target.shape)}"
        if kind == objective.loss and list(output.shape[1:]) == objective.output_shape[1:]:  # not those of another part
            self._targets = target.detach()

    def _backward(self, original: Any, loss: Tensor, *args: Any, **kwargs: Any) -> Any:
        recorder, wiring = self.recorder, self.recorder.case.wiring
        if self._inside is not None:  # a gradient inside a forward pass is the model's own affair
            return original(loss, *args, **kwargs)
        wiring.backwards += 1
        wiring.training_forwards += 1
        if self._frozen:
            wiring.frozen_forwards += 1
        if recorder.due and (self._stepped or (self._served is not None and not self._in_step)):  # LBFGS asks many times a step
            self._check_cleared(after_step=self._stepped)
        self._stepped = False
        if not self._graph_read and loss.requires_grad:
            self._graph_read = True
            with suppress(RuntimeError):
                self._read_graph(loss)
        if recorder.due and self._targets is None and loss.requires_grad:
            with suppress(RuntimeError, AttributeError):  # a graph of a kind that is not known
                self._read_objective(loss)
        if recorder.due and self._batch is not None:
            self._look_at_data()
        if len(self._plain) > 1 and recorder.due:
            inside = parts_of(loss, [number for _, number in self._plain])  # others are for the eye only
            recorder.case.objective.several |= len(inside) > 1
            self._main = {len(self._plain): inside[0]} if len(inside) == 1 else {}
        if loss.numel() == 1:
            main = 0 if len(self._plain) == 1 else self._main.get(len(self._plain))
            recorder.loss(loss if main is None else self._plain[main][0])
        self._plain.clear()
        if not self._optimizers and recorder.due:
            self._look_for_steps_by_hand()
        done = original(loss, *args, **kwargs)
        self._served = set()
        if recorder.due and not self._in_step:
            self._made = _largest(self._optimizers)
        return done

    def _look_for_steps_by_hand(self) -> None:
        """Sees whether a loop without an optimiser changes weights itself."""
        parameter = next((found for _, found in self._named() if found.requires_grad), None)
        if parameter is None:
            return
        before, self._sample = self._sample, parameter.detach().clone()
        if before is not None and before.shape == self._sample.shape and not torch.equal(before, self._sample):
            self.recorder.case.wiring.steps_by_hand += 1

    def _look_at_data(self) -> None:
        batch, targets, self._batch, self._targets = self._batch, self._targets, None, None
        assert batch is not None
        mixed, self._mixed = self._mixed, None
        rows = self.recorder.case.loader.batch
        if mixed is not None and targets is not None and targets.ndim and len(targets) == len(batch) == rows:
            self.recorder.case.wiring.mixed_rows = mixed
        self.recorder.inputs(batch, targets)
        if targets is not None and targets.ndim and len(targets) == len(batch):
            self.recorder.batch_labels(targets)

    def takes_rows_for_steps(self, name: str, module: nn.Module, args: Any) -> None:
        """Notes a layer whose first axis is the steps of a sequence, and is given the rows of the batch there."""
        given, batch = next(_tensors(args), None), self._batch
        if given is None or batch is None or given.ndim != 3 or getattr(module, "batch_first", True):
            return
        if given.shape[0] == len(batch) != given.shape[1]:
            self._mixed = name

    def _read_graph(self, loss: Tensor) -> None:
        names = {
            id(parameter): root.name + name
            for module, root in self._roots.items()
            for name, owner in module.named_modules()
            for parameter in owner.parameters(recurse=False)
        }
        objective = self.recorder.case.objective
        objective.linear_pairs, objective.weighted_layers = linear_pairs(loss, names)
        self._beside = {id(leaf): leaf for leaf in leaves(loss) if isinstance(leaf, nn.Parameter) and id(leaf) not in names}

    def _read_objective(self, loss: Tensor) -> None:
        """For a loss that was not called through `torch.nn.functional` after the start: imported by name, or written out."""
        found, objective = compared(loss), self.recorder.case.objective
        if found is None:
            return
        if objective.loss == "unknown":
            objective.loss, objective.activation, objective.output_shape = found.loss, found.activation, found.output_shape
            objective.target_shape = [] if found.target is None else list(found.target.shape)
        if found.broadcast:
            self.recorder.case.wiring.broadcast = str(found.output_shape)
        self._targets = found.target

    def _check_cleared(self, *, after_step: bool) -> None:
        """Sees whether the gradients of the last backward pass are still there."""
        wiring = self.recorder.case.wiring

        def keep(largest: float) -> None:
            if not after_step:  # others pile up on purpose, or are thrown away
                wiring.discarded += largest == 0
            elif largest == 0:
                wiring.cleared += 1
            else:
                wiring.uncleared += 1

        largest = _largest(self._optimizers)
        if largest is not None:
            self.recorder.number(largest, keep)
        elif after_step or self._optimizers:
            keep(0.0)

    def _check_made(self, optimizer: Optimizer) -> None:
        """Sees whether a step finds nothing of the gradients that the backward pass before it has made."""
        made, wiring = self._made, self.recorder.case.wiring
        if made is None or self._served is None or id(optimizer) in self._served:
            return
        found = _largest([optimizer])

        def keep(wasted: float) -> None:
            wiring.wasted += wasted > 0

        self.recorder.number(made if found is None else made * (found == 0), keep)

    # Optimisers

    def _named(self) -> Iterator[tuple[str, Tensor]]:
        known = False
        for module, root in self._roots.items():
            for name, parameter in module.named_parameters():
                known = True
                yield root.name + name, parameter
        if not known:  # a loop over bare tensors, without a module
            for optimizer in self._optimizers:
                for group in optimizer.param_groups:
                    for parameter in group["params"]:
                        yield self._loose.setdefault(id(parameter), f"parameter {len(self._loose)}"), parameter

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self.asleep:
            return
        self._in_step = True
        if optimizer not in self._optimizers:
            self._optimizers.add(optimizer)
        if self.recorder.due:
            self._check_made(optimizer)
            for name, parameter in self._named():
                if not isinstance(parameter, nn.parameter.UninitializedParameter):
                    layer = name.rpartition(".")[0]
                    self.recorder.parameter(
                        name, layer, 0, parameter, fan_in=_fan_in(parameter), trainable=parameter.requires_grad
                    )
                    self.recorder.before_step(name, parameter)

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self.asleep:
            return
        self._in_step = False
        recorder, wiring = self.recorder, self.recorder.case.wiring
        if recorder.paired:
            recorder.gradients(parameter.grad for group in optimizer.param_groups for parameter in group["params"])
        if recorder.due:
            own = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            wiring.steps_looked_at += 1
            idle = self._served is None or id(optimizer) in self._served
            wiring.idle_steps += idle or (self._made is None and all(parameter.grad is None for parameter in own))
            held = set(map(id, own))
            self._held |= held
            self._reached |= {id(parameter) for parameter in own if parameter.grad is not None}
            named = list(self._named())
            for name, parameter in named:
                if not isinstance(parameter, nn.parameter.UninitializedParameter):
                    recorder.after_step(name, parameter, parameter.grad, held=id(parameter) in held)
            if self._roots:
                wiring.foreign = len(self._held - self._reached - {id(parameter) for _, parameter in named})
            wiring.optimizers = len(self._optimizers)
            recorder.case.optimizer = type(optimizer).__name__
            recorder.case.weight_decay = max(float(group.get("weight_decay") or 0.0) for group in optimizer.param_groups)
            recorder.rate(float(optimizer.param_groups[0]["lr"]) if "lr" in optimizer.param_groups[0] else 0.0)
            recorder.settle()
        if self._served is not None:
            self._served.add(id(optimizer))
        self._stepped, self._made = True, None
        self._plain.clear()
        recorder.next_step()
        if self._discovery is not None and recorder.step >= _ROOTS_KNOWN_AFTER and self._roots:
            self._discovery.remove()
            self._discovery = None

    def _clip(self, original: Any, parameters: Any, max_norm: float, *args: Any, **kwargs: Any) -> Any:
        norm = original(parameters, max_norm, *args, **kwargs)
        if self.recorder.due and isinstance(norm, Tensor):
            self.recorder.clipped(norm, float(max_norm))
        return norm

    def _scheduled(self, original: Any, scheduler: LRScheduler, *args: Any, **kwargs: Any) -> None:
        original(scheduler, *args, **kwargs)
        self._schedulers.append(scheduler)

    # Data

    def _iterate(self, original: Any, loader: Any) -> Any:
        return self._batches(original(loader), loader)

    def _batches(self, batches: Any, loader: Any) -> Iterator[Any]:
        first = self.recorder.step
        backwards = self.recorder.case.wiring.backwards
        for place, batch in enumerate(batches):
            yield batch
            if place == 0 and self.recorder.case.wiring.backwards > backwards:
                self._training_loader(loader)
        if self.recorder.step > first and loader in self._trained_on:
            self._passes += 1
            self.recorder.settle()
            if self._epochs is not None and self._passes >= self._epochs:
                raise EnoughSeen

    def _training_loader(self, loader: Any) -> None:
        if loader in self._trained_on:
            return
        self._trained_on.add(loader)
        facts = self.recorder.case.loader
        with suppress(TypeError, AttributeError):  # data without a length, or a loader of another make
            facts.rows = len(loader.dataset)
            facts.batch = loader.batch_size
            sampler = loader.sampler
            facts.shuffled = True if isinstance(sampler, RandomSampler) else None
            if isinstance(sampler, SequentialSampler):
                facts.shuffled = False


class _Root:
    """An outermost module."""

    def __init__(self, module: nn.Module, name: str) -> None:
        self.name = name
        self.handles: list[Any] = []
        self.modal = any(
            (isinstance(layer, _DROPOUTS) and layer.p > 0) or isinstance(layer, nn.modules.batchnorm._BatchNorm)
            for layer in module.modules()
        )

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


class _Pass(TorchFunctionMode):
    """One sampled forward pass: hooks on all layers, and an eye on functional activations."""

    def __init__(self, probes: Probes, module: nn.Module, root: _Root) -> None:
        super().__init__()
        self._probes, self._root = probes, root
        self._order = 0
        self._weighted = "input"
        self._seen: dict[str, int] = {}
        self._handles: list[Any] = []
        for name, layer in module.named_modules():
            family = family_of(layer)
            if family is not None and (layer is not module or not list(layer.children())):
                self._hook(layer, root.name + (name or type(layer).__name__), family)
        self.__enter__()  # type: ignore[no-untyped-call]

    def end(self) -> None:
        """Takes the hooks of this pass away."""
        if self._handles:
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _hook(self, layer: nn.Module, name: str, family: Family) -> None:
        def enter(module: nn.Module, args: Any) -> None:
            self._probes.current = name

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            self._probes.current = None
            if family in ("recurrent", "attention"):
                self._probes.takes_rows_for_steps(name, module, args)
            if family in ("linear", "convolution"):
                self._weighted = name
            self._record(name, type(module).__name__, family, output, getattr(module, "p", None))

        self._handles += [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]

    def _record(self, name: str, kind: str, family: Family, output: Any, rate: float | None) -> None:
        tensor = next(_tensors(output), None)
        if tensor is not None:
            with torch._C.DisableTorchFunction():  # this very mode need not see the recorder's own functions
                self._probes.recorder.layer(name, kind, family, self._order, tensor, rate if family == "dropout" else None)
        self._order += 1

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if self._probes.current is None:
            name = getattr(func, "__name__", "")
            family = _FUNCTIONS.get(name)
            if family is not None:
                rate = kwargs.get("p", args[1] if family == "dropout" and len(args) > 1 else 0.5)
                place = f"{self._root.name}{name} after {self._weighted}"
                calls = self._seen[place] = self._seen.get(place, 0) + 1
                self._record(place if calls == 1 else f"{place} ({calls})", name, family, output, rate)
        return output


def family_of(layer: nn.Module) -> Family | None:
    """What a module does, or None for one that only holds others."""
    for kinds, family in _FAMILIES:
        if isinstance(layer, kinds):
            return family
    if any(True for _ in layer.children()):
        return None
    return "activation" if type(layer).__module__ == "torch.nn.modules.activation" else "other"


def _per_target(kind: str, value: Any, target: Tensor, kwargs: Any) -> Tensor | None:
    """A loss for each target, whichever way the program adds them up; None where it is no single number."""
    if not isinstance(value, Tensor) or value.numel() != 1:
        return None
    if kwargs.get("reduction") != "sum":
        return value
    if target.is_floating_point():
        classes = target.shape[min(1, target.ndim - 1)] if kind == "cross_entropy" and target.ndim else 1  # probabilities
        return value * classes / max(1, target.numel())
    counted: Tensor = (target != kwargs.get("ignore_index", -100)).sum().clamp(min=1)  # on the device: nothing waits
    return value / counted


def _largest(optimizers: Iterable[Optimizer]) -> Tensor | None:
    """The largest norm among the first few gradients that optimisers hold; None if they hold none."""
    gradients = (
        parameter.grad
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    )
    norms = [torch.linalg.vector_norm(values_of(gradient).float()).cpu() for gradient in islice(gradients, 8)]
    return torch.stack(norms).max() if norms else None


def _fan_in(parameter: Tensor) -> int:
    return math.prod(parameter.shape[1:])


def _tensors(values: Any) -> Iterator[Tensor]:
    """Tensors in nested tuples, lists and dictionaries, in order."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, dict):
        for value in values.values():
            yield from _tensors(value)
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from _tensors(value)
