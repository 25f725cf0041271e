"""A physical examination of a model before training: a short run, one batch to be memorised, and a range of learning rates.

The three answer different questions: a short run shows wrong data, initialisation, activations and gradients; a network that
cannot memorise one batch has a fault whatever the data; the range shows which learning rates move the loss at all.
"""

import copy
import importlib
import inspect
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from titrant.data.sources import open_frame
from titrant.doctor.case import Case
from titrant.doctor.watch import watch
from titrant.errors import DataError
from titrant.texts import say

_BATCH = 64
_STEPS = 150  # of the short run
_MEMORY_STEPS = 300
_RATES = np.geomspace(1e-6, 1.0, 60)
_MOST_CLASSES = 50


@dataclass(frozen=True)
class Checkup:
    """What the examination gave.

    Args:
        case: for the rules.
        rate: the learning rate at which the loss falls fastest, for Adam; None if it falls at none.
    """

    case: Case
    rate: float | None


def factory(name: str) -> Callable[..., nn.Module]:
    """The function that makes a model, by `package.module:function`; the current folder is looked into first.

    Raises:
        DataError: it cannot be imported, or is no function.
    """
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise DataError(say("{name!r} names no function. Write package.module:function, as in models:make_model.", name=name))
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise DataError(say("{name} cannot be imported: {error}.", name=name, error=error)) from None
    finally:
        sys.path.pop(0)
    if not callable(found):
        raise DataError(say("{name} is no function that makes a model.", name=name))
    made: Callable[..., nn.Module] = found
    return made


def rows(data: object, target: str) -> tuple[Tensor, Tensor]:
    """A table as inputs [row, feature] and targets: class numbers [row], or numbers [row, 1].

    Columns that are no numbers are left out: what a model of one's own makes of them is not known here.

    Raises:
        DataError: the target is not there, or no column holds numbers.
    """
    frame = open_frame(data, [])
    if target not in frame.columns:
        raise DataError(
            say("There is no column {target!r}. There are: {names}.", target=target, names=", ".join(frame.columns))
        )
    frame = frame.drop_nulls(target)
    features = frame.drop(target).select(pl.all().cast(pl.Float32, strict=False))
    features = features.select([name for name in features.columns if features[name].null_count() < 0.5 * len(features)])
    if not features.columns:
        raise DataError(say("No column but the target holds numbers; the model cannot be tried without."))
    answers = frame[target]
    numbers = answers.cast(pl.Float64, strict=False)
    whole = numbers.null_count() == 0 and bool((numbers == numbers.round()).all())
    if numbers.null_count() or (whole and numbers.n_unique() <= _MOST_CLASSES):
        codes = np.unique(answers.cast(pl.String).to_numpy(), return_inverse=True)[1]
        return torch.tensor(features.fill_null(float("nan")).to_numpy()), torch.tensor(codes).long()
    return torch.tensor(features.fill_null(float("nan")).to_numpy()), torch.tensor(numbers.to_numpy()).float()[:, None]


def examine(make: Callable[..., nn.Module], x: Tensor, y: Tensor) -> Checkup:
    """Examines a model on rows.

    Args:
        make: makes the model, without arguments or from the numbers of inputs and of outputs.
        x: inputs [row, ...].
        y: class numbers [row] int64, or numbers [row, ...].

    Raises:
        DataError: the model cannot take the rows, or gives no output that fits the targets.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = _made(make, x, y)
        loss = _loss(model, x, y)
        start = copy.deepcopy(model.state_dict())
        case = _short_run(model, loss, x, y)
        model.load_state_dict(start)
        case.memorised = _memory(model, loss, x[:_BATCH], y[:_BATCH])
        model.load_state_dict(start)
        return Checkup(case, _best_rate(model, loss, x, y))


def _made(make: Callable[..., nn.Module], x: Tensor, y: Tensor) -> nn.Module:
    needed = [
        parameter
        for parameter in inspect.signature(make).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    outputs = 1 if y.is_floating_point() else int(y.max()) + 1
    if len(needed) > 2:
        raise DataError(
            say("The function needs {count} arguments; inputs and outputs are all that can be given.", count=len(needed))
        )
    model = make(*(x.shape[1], outputs)[: len(needed)])
    if not isinstance(model, nn.Module):
        raise DataError(say("The function gave {kind} in place of a torch module.", kind=type(model).__name__))
    return model


def _loss(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss that fits targets and outputs."""
    model.eval()
    try:
        with torch.no_grad():
            output = model(x[: min(4, len(x))])
    except RuntimeError as error:
        raise DataError(say("The model cannot take rows of {count} numbers: {error}", count=x.shape[1], error=error)) from None
    units = output.shape[-1] if output.ndim > 1 else 1
    if y.is_floating_point():
        if units != 1:
            raise DataError(say("The target is a number, and the model gives {units} outputs for a row.", units=units))
        return lambda output, target: functional.mse_loss(output.reshape(target.shape), target)
    classes = int(y.max()) + 1
    if units == 1 and classes == 2:
        return lambda output, target: functional.binary_cross_entropy_with_logits(output.reshape(-1), target.float())
    if units < classes:
        raise DataError(say("The target has {classes} classes, and the model {units} outputs.", classes=classes, units=units))
    return functional.cross_entropy


def _batches(x: Tensor, steps: int) -> list[Tensor]:
    return [torch.randint(len(x), (min(_BATCH, len(x)),)) for _ in range(steps)]


def _short_run(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> Case:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.train()
    with watch(model, optimizer) as doctor:
        for chosen in _batches(x, _STEPS):
            optimizer.zero_grad()
            loss(model(x[chosen]), y[chosen]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    case = doctor.case
    case.cut_short = True
    return case


def _memory(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> tuple[float, float]:
    """The loss on one batch before and after it was trained on alone, without dropout."""
    model.eval()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with torch.no_grad():
        before = float(loss(model(x), y))
    for _ in range(_MEMORY_STEPS):
        optimizer.zero_grad()
        loss(model(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        return before, float(loss(model(x), y))


def _best_rate(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> float | None:
    """Raises the learning rate step by step; the rate of the steepest fall, before the loss leaps.

    Source: Smith 2017, "Cyclical learning rates"; the smoothing is that of fastai's `lr_find`.
    """
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=float(_RATES[0]))
    curve: list[float] = []
    smooth = None
    for rate, chosen in zip(_RATES, _batches(x, len(_RATES)), strict=True):
        optimizer.param_groups[0]["lr"] = float(rate)
        optimizer.zero_grad()
        value = loss(model(x[chosen]), y[chosen])
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        now = value.item()
        smooth = now if smooth is None else 0.8 * smooth + 0.2 * now
        if not math.isfinite(now) or (curve and smooth > 3 * min(curve)):
            break
        curve.append(smooth)
    if len(curve) < 12 or min(curve) > 0.98 * curve[0]:
        return None
    falls = np.diff(np.asarray(curve[: int(np.argmin(curve)) + 1]))
    return float(_RATES[int(falls.argmin())]) if len(falls) else None
