"""Turns tensors into numbers of the case. Nothing waits for a device until `settle`, which is called on sampled steps only.

Every attachment (torch, Keras, Lightning) feeds the same recorder, so that one set of definitions stands behind all numbers.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from titrant.doctor.case import (
    Agreement,
    BatchLabels,
    Case,
    Evaluation,
    Family,
    Inputs,
    Layer,
    LayerSample,
    Monitor,
    Neighbours,
    Parameter,
    ParameterSample,
    Targets,
)
from titrant.doctor.schedule import Schedule, thin

_ROWS = 64  # of a batch that the statistics of a layer look at, at most
_VALUES = 1 << 16  # of a layer's output, likewise
_ENTRIES = 4096  # of a weight tensor whose change is followed
_SAMPLES = 120  # of one layer or parameter that are kept
_LOSSES = 4000
_LAYERS = 256
_KEPT_ROWS = 1024  # of the inputs, to judge their scale and their neighbours
_KEPT_NUMBERS = 1 << 24  # and in these, at most
_KEPT_FEATURES = 512
_KEYS = 20_000  # fingerprints of rows
_MEMORY = 5  # samples in which a unit must have been silent to count as dead
_SIGMOID_FLAT = 1 / (1 + math.exp(-5))
_TANH_FLAT = math.tanh(5)


class Recorder:
    """Fills one case.

    Args:
        every: the widest gap between sampled steps.
    """

    def __init__(self, every: int = 250) -> None:
        self.case = Case()
        self.step = 0
        self._schedule = Schedule(every)
        self.due = self._schedule.due(0)
        """True if the step under way is to be looked at."""
        self.paired = self.due
        """True if the gradients of the step under way are wanted: it is looked at, or the one before was."""
        self._gradients: tuple[int, Tensor] | None = None
        self._layers: dict[str, Layer] = {}
        self._alive: dict[str, deque[Tensor]] = {}
        self._parameters: dict[str, _Followed] = {}
        self._pending: list[tuple[Callable[[list[float]], None], Tensor]] = []
        self._losses: list[tuple[int, Tensor]] = []
        self._stride = 1
        self._rows: list[tuple[Tensor, Tensor | None]] = []
        self._held = 0  # of these
        self._keys: dict[bool, list[Tensor]] = {True: [], False: []}
        self._room = {True: _KEYS, False: _KEYS}
        self._evaluated: list[Tensor] = []
        self._random = torch.Generator().manual_seed(0)  # its own: the program's random numbers stay as they are
        self._not_finite = 0.0
        self._projection: Tensor | None = None
        self.after_settling: Callable[[], None] = lambda: None

    def next_step(self) -> None:
        """The step under way is over."""
        self.step += 1
        looked = self.due
        self.due = self._schedule.due(self.step)
        self.paired = looked or self.due

    # What a step brings

    def layer(self, name: str, kind: str, family: Family, order: int, output: Tensor, rate: float | None = None) -> None:
        """One layer's output [row, ...] at the step under way."""
        if not output.is_floating_point() or output.numel() == 0 or output.ndim == 0:
            return
        if name not in self._layers:
            if len(self._layers) >= _LAYERS:
                return
            self._layers[name] = Layer(name=name, kind=kind, family=family, order=order, rate=rate)
            self.case.layers.append(self._layers[name])
        layer, step = self._layers[name], self.step
        values = output.detach()
        axis = 1 if family == "convolution" or values.ndim >= 4 else values.ndim - 1
        layer.units = values.shape[axis] if values.ndim > 1 else 1
        numbers = _of_layer(values, axis, family, self._alive.setdefault(name, deque(maxlen=_MEMORY)))

        def keep(found: list[float]) -> None:
            mean, std, largest, zeros, saturated, silent, constant, finite = found
            layer.samples.append(
                LayerSample(
                    step=step,
                    mean=mean,
                    std=std,
                    largest=largest,
                    zeros=zeros,
                    saturated=saturated,
                    silent=silent,
                    constant=constant,
                    finite=finite > 0,
                )
            )
            thin(layer.samples, _SAMPLES)

        self._pending.append((keep, numbers))

    def parameter(
        self,
        name: str,
        layer: str,
        order: int,
        value: Tensor,
        *,
        fan_in: int,
        trainable: bool = True,
        embedding: bool = False,
    ) -> None:
        """A weight tensor at its start; further calls for the same name change only what may change."""
        if name in self._parameters:
            self._parameters[name].parameter.trainable = trainable
            return
        if len(self._parameters) >= 2 * _LAYERS:
            return
        parameter = Parameter(
            name=name,
            layer=layer,
            order=order,
            shape=list(value.shape),
            fan_in=fan_in,
            trainable=trainable,
            embedding=embedding,
        )
        self.case.parameters.append(parameter)
        self._parameters[name] = _Followed(parameter, _some(value))
        if value.numel() == 0:
            return

        def keep(found: list[float]) -> None:
            parameter.start_mean, parameter.start_std = found

        whole = value.detach().float()
        self._pending.append((keep, torch.stack([whole.mean(), whole.std(correction=0)])))

    def before_step(self, name: str, value: Tensor) -> None:
        """A weight tensor just before the optimiser changes it."""
        if name in self._parameters:
            self._parameters[name].before = _some(value)

    def after_step(self, name: str, value: Tensor, gradient: Tensor | None, *, held: bool | None) -> None:
        """The same tensor afterwards, and the gradient that it was changed by."""
        followed = self._parameters.get(name)
        if followed is None or value.numel() == 0:
            return
        parameter, step, now = followed.parameter, self.step, _some(value)
        if held is not None:
            parameter.held = held or bool(parameter.held)
        nothing = torch.full((), -1.0, device=now.device)
        size = nothing if gradient is None else _rms(values_of(gradient).float(), parameter_size=value.numel())
        update = nothing if followed.before is None or held is False else _rms(now - followed.before)
        moved = _rms(now - followed.start) / _rms(followed.start).clamp_min(1e-12)
        followed.before = None

        def keep(found: list[float]) -> None:
            gradient_size, weight, update_size, parameter.moved = found
            parameter.samples.append(
                ParameterSample(
                    step=step,
                    gradient=None if gradient_size == -1 else gradient_size,
                    weight=weight,
                    update=None if update_size == -1 else update_size,
                )
            )
            thin(parameter.samples, _SAMPLES)

        self._pending.append((keep, torch.stack([size.to(now.device), _rms(now), update, moved])))

    def gradients(self, gradients: Iterable[Tensor | None]) -> None:
        """All gradients of the step under way, in an order that stays the same; compared with those of the step before."""
        parts = [gradient.detach() for gradient in gradients if gradient is not None and not gradient.is_sparse]
        some = [(_some(part), part.numel()) for part in parts if part.numel()]
        if not some:
            return
        # Entries of a tensor of which only some are taken stand for the others, too.
        now = torch.cat([part.to(some[0][0].device) * math.sqrt(count / len(part)) for part, count in some])
        before, self._gradients, step = self._gradients, (self.step, now), self.step
        if before is None or before[0] != step - 1 or before[1].shape != now.shape:
            return

        def keep(share: float) -> None:
            self.case.agreements.append(Agreement(step=step, share=share))
            thin(self.case.agreements, _SAMPLES)

        self.number(2 * (now @ before[1]) / (now @ now + before[1] @ before[1]), keep)

    def clipped(self, norm: Tensor, limit: float) -> None:
        """The norm of the gradient, before it is cut to a limit."""

        def keep(size: float) -> None:
            self.case.clipping.append(size / limit)
            thin(self.case.clipping, _SAMPLES)

        if limit > 0:
            self.number(norm, keep)

    def loss(self, value: Tensor) -> None:
        """The training loss of the step under way; kept for every step, read later."""
        if self.step % self._stride == 0:
            self._losses.append((self.step, value.detach()))
            if len(self._losses) >= 512:
                self._settle_losses()

    def number(self, value: Tensor, keep: Callable[[float], None]) -> None:
        """Any other single number that is to be read at the next `settle`."""
        self._pending.append((lambda found: keep(found[0]), value.detach().reshape(1)))

    def rate(self, value: float) -> None:
        """The learning rate at the step under way."""
        case = self.case
        if not case.rates or case.rates[-1] != value or self.due:
            case.rate_steps.append(self.step)
            case.rates.append(value)
            thin(case.rate_steps, _LOSSES)
            thin(case.rates, _LOSSES)

    # What the data are

    def inputs(self, batch: Tensor, targets: Tensor | None) -> None:
        """Rows of a training batch, with the targets that belong to them if they are known."""
        if batch.ndim == 0 or len(batch) == 0:
            return
        if len(batch) == 1:
            self.case.wiring.single_row_batches += 1
        self.fingerprints(batch, training=True)
        if batch.is_floating_point():
            self.number((~torch.isfinite(batch)).float().mean(), self._spoiled)
        if targets is not None and (targets.ndim == 0 or len(targets) != len(batch)):
            targets = None
        room = min(_KEPT_ROWS, max(8, _KEPT_NUMBERS // max(1, batch[0].numel()))) - self._held
        take = min(len(batch), 32 if self._held else 512, room)
        if take <= 0:
            return
        self._held += take
        chosen = torch.randperm(len(batch), generator=self._random)[:take].to(batch.device)
        rows = batch.detach()[chosen].cpu()
        self._rows.append((rows, None if targets is None else targets.detach()[chosen.to(targets.device)].cpu()))

    def _spoiled(self, share: float) -> None:
        self._not_finite = max(self._not_finite, share)

    def batch_labels(self, targets: Tensor) -> None:
        """The targets of one training batch, to see whether rows are shuffled."""
        answers = targets.detach().cpu().numpy()
        # Whole numbers are taken for classes here, however few rows a batch has; the loss tells later whether they are.
        labels, rows = _labels(answers, 1000 if answers.dtype.kind in "iub" else None), len(answers)
        if rows < 4:
            return
        if labels is not None:
            counts = np.unique(labels, return_counts=True)[1]
            entry = BatchLabels(step=self.step, rows=rows, classes=len(counts), commonest=float(counts.max() / rows))
        elif answers[0].size == 1:
            entry = BatchLabels(step=self.step, rows=rows, spread=float(answers.std()))
        else:
            return
        self.case.batches.append(entry)
        thin(self.case.batches, _SAMPLES)

    def fingerprints(self, batch: Tensor, *, training: bool) -> None:
        """One number for each row, by which equal rows are recognised."""
        room = self._room[training]
        if room <= 0 or batch.numel() == 0:
            return
        flat = batch.detach()[:room].reshape(min(room, len(batch)), -1)
        if self._projection is None or len(self._projection) != flat.shape[1]:
            self._projection = torch.rand(flat.shape[1], generator=self._random, dtype=torch.float64)
        self._keys[training].append(flat.cpu().double() @ self._projection)
        self._room[training] -= len(flat)

    def callbacks(self, given: Iterable[Any]) -> None:
        """Notes what callbacks such as early stopping wait for, where they say which way is better."""
        for callback in given:
            name, mode = getattr(callback, "monitor", None), getattr(callback, "mode", None)
            if isinstance(name, str) and mode in ("min", "max"):
                found = Monitor(by=type(callback).__name__, name=name, mode=mode)
                self.case.monitors += [found] if found not in self.case.monitors else []

    def evaluation_loss(self, value: Tensor) -> None:
        """The loss on one batch of an evaluation; batches up to the next training step count as one evaluation."""
        if len(self._evaluated) < 4096:
            self._evaluated.append(value.detach())

    def end_evaluation(self) -> None:
        """Training goes on: closes the evaluation under way, if there is one."""
        if self._evaluated:
            losses, self._evaluated, step = self._evaluated, [], self.step
            entry = Evaluation(step=step)
            self.case.evaluations.append(entry)
            thin(self.case.evaluations, 1000)
            self.number(
                torch.stack([loss.float().reshape(()) for loss in losses]).mean(), lambda found: _set_loss(entry, found)
            )

    # Reading

    def settle(self) -> None:
        """Reads all pending numbers from the device in one go."""
        pending, self._pending = self._pending, []
        by_device: dict[torch.device, list[tuple[Callable[[list[float]], None], Tensor]]] = {}
        for keep, numbers in pending:
            by_device.setdefault(numbers.device, []).append((keep, numbers))
        for entries in by_device.values():
            flat = torch.cat([numbers.double() for _, numbers in entries]).tolist()
            start = 0
            for keep, numbers in entries:
                keep(flat[start : start + len(numbers)])
                start += len(numbers)
        if pending:
            self.after_settling()

    def _settle_losses(self) -> None:
        waiting, self._losses = self._losses, []
        if not waiting:
            return
        case = self.case
        case.loss_steps += [step for step, _ in waiting]
        case.losses += torch.stack([value.double().reshape(()).cpu() for _, value in waiting]).tolist()
        while len(case.losses) > _LOSSES:
            case.losses, case.loss_steps = case.losses[::2], case.loss_steps[::2]
            self._stride *= 2

    def close(self) -> Case:
        """Reads what is pending and sums up inputs and targets; may be called again later in the run."""
        self.end_evaluation()
        self.settle()
        self._settle_losses()
        case = self.case
        case.wiring.steps = self.step
        if self._rows:
            shape = self._rows[0][0].shape[1:]
            same = [(rows, targets) for rows, targets in self._rows if rows.shape[1:] == shape]
            case.inputs = [inputs_of(np.concatenate([rows.numpy() for rows, _ in same]))]
            case.inputs[0].not_finite = max(case.inputs[0].not_finite, self._not_finite)
            told = [(rows, targets) for rows, targets in same if targets is not None]
            told = [(rows, targets) for rows, targets in told if targets.shape[1:] == told[0][1].shape[1:]]
            if told:
                features = np.concatenate([rows.numpy() for rows, _ in told])
                answers = np.concatenate([targets.numpy() for _, targets in told if targets is not None])
                case.targets = targets_of(answers)
                case.neighbours = neighbours_of(features, answers)
        self._compare_keys()
        return case

    def _compare_keys(self) -> None:
        if not self._keys[True] or not self._keys[False]:
            return
        training = torch.cat(self._keys[True]).numpy()
        distinct, counts = np.unique(training, return_counts=True)
        evaluated = np.unique(torch.cat(self._keys[False]).numpy())
        seen = float(np.isin(evaluated, distinct).mean())
        loader = self.case.loader
        share = min(1.0, len(distinct) / loader.rows) if loader.rows else 1.0  # of the training rows that were looked at
        loader.overlap = min(1.0, seen / max(share, 1e-3)) if seen * len(evaluated) >= 5 else 0.0
        # Rows that come round again in a later epoch are no copies.
        passes = max(1.0, len(training) / loader.rows) if loader.rows else float(np.median(counts))
        loader.repeats = float((counts > math.ceil(passes)).mean())


class _Followed:
    """A parameter with the entries of it that are followed."""

    def __init__(self, parameter: Parameter, start: Tensor) -> None:
        self.parameter = parameter
        self.start = start
        self.before: Tensor | None = None


def _set_loss(entry: Evaluation, value: float) -> None:
    entry.loss = value


def _some(value: Tensor) -> Tensor:
    """A copy of at most `_ENTRIES` entries, evenly spread."""
    flat = value.detach().reshape(-1)
    return flat[:: max(1, -(-len(flat) // _ENTRIES))].float().clone()


def values_of(gradient: Tensor) -> Tensor:
    """The values of a gradient; of a sparse one those that it holds."""
    gradient = gradient.detach()
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def _rms(values: Tensor, parameter_size: int | None = None) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(values)
    return norm / math.sqrt(max(1, parameter_size or values.numel()))


def _of_layer(values: Tensor, axis: int, family: Family, alive: deque[Tensor]) -> Tensor:
    """The eight numbers of a `LayerSample`, on the layer's own device."""
    rows = max(2, min(_ROWS, _VALUES // max(1, values[0].numel())))
    values = values[:rows].float()
    size = values.abs()
    std, mean = torch.std_mean(values, correction=0)
    nothing = torch.zeros((), device=values.device)
    saturated = nothing
    if family == "sigmoid":
        saturated = ((values > _SIGMOID_FLAT) | (values < 1 - _SIGMOID_FLAT)).float().mean()
    elif family == "tanh":
        saturated = (size > _TANH_FLAT).float().mean()
    constant = silent = nothing
    if len(values) > 1 and values.ndim > 1:
        others = [at for at in range(values.ndim - 1) if at != axis - 1]
        spread = torch.std(values, 0, correction=0)
        spread = spread.amax(others) if others else spread
        level = size.mean([at for at in range(values.ndim) if at != axis])
        constant = (spread <= 1e-4 * level).float().mean()
    if family == "relu" and values.ndim > 1:
        alive.append((values > 0).any(0).movedim(axis - 1, -1).reshape(-1, values.shape[axis]).any(0))
        if len(alive) >= 3 and all(mask.shape == alive[0].shape for mask in alive):
            silent = 1 - torch.stack(list(alive)).any(0).float().mean()
    zeros = (values == 0).float().mean()
    return torch.stack([mean, std, size.max(), zeros, saturated, silent, constant, torch.isfinite(mean).float()])


def inputs_of(rows: np.ndarray) -> Inputs:
    """The facts about rows of inputs [row, ...]."""
    shape, integer = list(rows.shape[1:]), rows.dtype.kind in "iub"
    values = rows.reshape(len(rows), -1).astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return Inputs(shape=shape, integer=integer, rows=len(rows), not_finite=1.0)
    good = values[finite]
    found = Inputs(
        shape=shape,
        integer=integer,
        rows=len(rows),
        mean=float(good.mean()),
        mean_abs=float(np.abs(good).mean()),
        low=float(good.min()),
        high=float(good.max()),
        not_finite=float(1 - finite.mean()),
    )
    if len(shape) == 1 and shape[0] <= _KEPT_FEATURES and finite.all():
        found.feature_std, found.feature_mean = values.std(0).tolist(), values.mean(0).tolist()
    return found


def targets_of(targets: np.ndarray) -> Targets:
    """The facts about targets [row, ...]."""
    values = targets.reshape(len(targets), -1).astype(np.float64)
    finite = np.isfinite(values)
    good = values[finite] if finite.any() else np.zeros(1)
    labels = _labels(targets)
    found = Targets(
        shape=list(targets.shape[1:]),
        integer=targets.dtype.kind in "iub",
        rows=len(targets),
        mean=float(good.mean()),
        std=float(np.sqrt(np.nan_to_num(values).var(0).mean())),
        low=float(good.min()),
        high=float(good.max()),
        mean_deviation=float(np.abs(np.nan_to_num(values) - np.median(np.nan_to_num(values), axis=0)).mean()),
        whole=bool((good == np.round(good)).all()),
        one_hot=_one_hot(values),
        not_finite=float(1 - finite.mean()),
    )
    if labels is not None:
        classes, counts = np.unique(labels, return_counts=True)
        order = np.argsort(-counts)[:1000]
        found.classes = {f"{classes[at]:g}": int(counts[at]) for at in order}
    return found


def _one_hot(values: np.ndarray) -> bool:
    return bool(values.shape[1] > 1 and np.isin(values, (0.0, 1.0)).all() and (values.sum(1) == 1).all())


def _labels(targets: np.ndarray, most: int | None = None) -> np.ndarray | None:
    """Targets as one class number a row, or None where they are something else, such as more than `most` different values."""
    values = targets.reshape(len(targets), -1)
    if values.dtype.kind not in "iub" and not np.isfinite(values).all():
        return None
    if values.shape[1] > 1:
        return values.argmax(1).astype(np.float64) if _one_hot(values.astype(np.float64)) else None
    column = values[:, 0].astype(np.float64)
    if (column != np.round(column)).any():
        return None
    distinct = len(np.unique(column))
    return column if distinct <= (most or max(2, min(1000, len(column) // 5))) else None


def neighbours_of(rows: np.ndarray, targets: np.ndarray) -> Neighbours | None:
    """How well the nearest neighbour of a row, among at most 1,024 different rows, tells its target.

    For classes, the share of neighbours with the same class; for a number, the correlation with the neighbour's.
    """
    labels = _labels(targets)
    answers = targets.reshape(len(targets), -1).astype(np.float64)[:, 0] if labels is None else labels
    if rows.dtype.kind not in "fiub" or not np.isfinite(answers).all() or (labels is None and targets[0].size > 1):
        return None
    values = rows.reshape(len(rows), -1).astype(np.float64)
    values = values[:, :: max(1, values.shape[1] // 256)]
    values = np.nan_to_num((values - values.mean(0)) / (values.std(0) + 1e-12))
    values, first = np.unique(values, axis=0, return_index=True)
    answers = answers[first]
    if len(answers) < 60 or answers.std() == 0:
        return None
    squares = (values**2).sum(1)
    distances = squares[:, None] - 2 * values @ values.T + squares
    np.fill_diagonal(distances, np.inf)
    nearest = answers[distances.argmin(1)]
    if labels is None:
        correlation = float(np.corrcoef(nearest, answers)[0, 1]) if nearest.std() > 0 else 0.0
        return Neighbours(rows=len(answers), agreement=correlation, chance=0.0, classes=False)
    shares = np.unique(answers, return_counts=True)[1] / len(answers)
    return Neighbours(rows=len(answers), agreement=float((nearest == answers).mean()), chance=float((shares**2).sum()))
