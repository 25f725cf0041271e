"""The batch size of a recipe: from the noise of its gradient, the speed of this machine, and the memory that a step takes.

How noisy the gradient is decides how many rows a step can use: with B rows a step, a training needs about 1 + noise / B times
the steps that it would need with very large batches (McCandlish et al. 2018, arXiv 1812.06162), where noise is the trace of the
gradients' covariance over the square of the mean gradient. A step of B rows takes its time on this machine. The product of both
is the time to a given loss; the batch that makes it least is best here.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from titrant.errors import BudgetError
from titrant.find.prepared import Prepared, prepared
from titrant.models.network import Factory
from titrant.recipe import Recipe
from titrant.record import Record
from titrant.search.pace import step_seconds
from titrant.studies import Asking
from titrant.texts import say
from titrant.train.cohort import Cohort
from titrant.train.hardware import free_memory
from titrant.train.memory import Needs
from titrant.view import View

EPOCHS = 3.0
"""Of the training whose gradients are measured, at most."""

_POINTS = (0.1, 0.4, 1.0)  # of that training, at which they are
_PIECES = 48  # gradients at each point
_SMALL = 32  # rows of each
_SIZES = tuple(2**power for power in range(4, 14))
_CLOSE = 1.1  # times the least time, up to which a batch counts as good as the best
_NOISE_SHARE = 0.5  # of the budget, for the training
_STEPS = 15  # that are timed


class Noise(Record):
    """The noise of the gradient at one point of training.

    Attributes:
        epoch: when.
        scale: rows at which the noise of a batch equals its signal; None where the signal was too weak to tell.
    """

    epoch: float
    scale: float | None


class BatchSize(Record):
    """What one batch size costs.

    Attributes:
        size: rows of a step.
        seconds: of a step.
        memory: bytes that a step holds, with weights and the optimizer's state.
        relative: time to a given loss, against the best size; None where the noise is unknown.
    """

    size: int
    seconds: float
    memory: int
    relative: float | None


class Batches(Record):
    """What a batch-size test found.

    Attributes:
        noise: of the gradient in the course of training.
        scale: the middle of these; None where none could be measured.
        sizes: from small to large.
        best: with the least time to a given loss, of those that fit into memory.
        low, high: the range that takes at most a tenth more.
        row_bytes: memory for each further row of a batch.
        free: bytes that are free on the device.
        largest: the largest batch that they hold.
    """

    noise: list[Noise]
    scale: float | None
    sizes: list[BatchSize]
    best: int
    low: int
    high: int
    row_bytes: int
    free: int | None
    largest: int | None


def find_batch(
    subject: object,
    target: str | None = None,
    *,
    budget: str | float = "60s",
    recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
    data: object = None,
    seed: int = 0,
    model: Factory | None = None,
    device: str = "auto",
    view: View | None = None,
    started: float | None = None,
    **reading: Any,
) -> Batches:
    """Finds the batch size with which a recipe reaches a given loss soonest on this machine.

    Args:
        subject, target, recipe, data, seed, model, device, view, started, reading: as for `titrant.ablate`.
        budget: wall clock for everything; half of it at most is spent on training.

    Raises:
        TitrantError: as for `titrant.ablate`.

    Example:
        >>> import titrant
        >>> table = {"x": [i / 200 for i in range(200)], "y": ["low"] * 100 + ["high"] * 100}
        >>> found = titrant.find_batch(table, "y", budget="20s")
        >>> found.low <= found.best <= found.high
        True

    Source: McCandlish et al. 2018 (arXiv 1812.06162), the simple noise scale. Departures: measured from many small batches
    at the same weights; the time of a step is measured here rather than taken to be constant. It tells of steps to a given
    training loss: that small batches may generalise better is not in it.
    """
    asking = Asking(subject, target, recipe, None, data, seed, model, device, reading)
    with prepared(asking, budget, view, started) as job:
        cohort = job.cohort([job.member(job.recipe.replace("stop", {"kind": "last", "epochs": EPOCHS}))])
        noise = _noises(job, cohort)
        job.refuse_interrupt()
        known = [one.scale for one in noise if one.scale is not None]
        scale = sorted(known)[len(known) // 2] if known else None
        needs = job.needs(job.recipe)
        fixed, row_bytes = needs.carried + needs.step(0), needs.row
        free = free_memory(job.problem.device)
        sizes = _sizes(job, needs, free)
    if not sizes:
        raise BudgetError(say("The budget of {budget} ended before a batch size was timed. Give more time.", budget=budget))
    return judged(noise, scale, sizes, row_bytes, free, fixed)


def judged(
    noise: list[Noise], scale: float | None, sizes: list[BatchSize], row_bytes: int, free: int | None, fixed: int = 0
) -> Batches:
    """What these measurements say.

    Example:
        >>> sizes = [BatchSize(size=s, seconds=1 + s / 64, memory=s, relative=None) for s in (16, 64, 256)]
        >>> judged([], 64.0, sizes, 1, None).best
        64
    """
    largest = None if free is None else max(1, (free - fixed) // max(1, row_bytes))
    if scale is not None:
        times = [one.seconds * (1 + scale / one.size) for one in sizes]
        sizes = [
            one.model_copy(update={"relative": spent / min(times)}) for one, spent in zip(sizes, times, strict=True)
        ]  # fmt: skip
    fitting = [one for one in sizes if largest is None or one.size <= largest] or sizes[:1]
    best = min(fitting, key=lambda one: one.seconds / one.size if one.relative is None else one.relative)
    limit = _CLOSE * (best.relative or 1.0)
    good = [one.size for one in fitting if one.relative is not None and one.relative <= limit] or [best.size]
    return Batches(
        noise=noise, scale=scale, sizes=sizes, best=best.size, low=min(good), high=max(good), row_bytes=row_bytes, free=free,
        largest=largest,
    )  # fmt: skip


def noise_scale(gradients: Iterable[Tensor], rows: int) -> float | None:
    """The simple noise scale from gradients of batches at the same weights.

    Args:
        gradients: two or more, [P] each, of a batch of `rows` each; looked at one after another.
        rows: of each.

    Returns:
        tr(Σ) / |G|², in rows, by unbiased estimates of both; None where the mean gradient is lost in its noise.

    Example:
        >>> noise_scale([torch.ones(3)] * 4, 32)
        0.0
    """
    total: Tensor | None = None
    squares, count = 0.0, 0
    for gradient in gradients:
        exact = gradient.double()
        total = exact if total is None else total + exact
        squares += float(exact.square().sum())
        count += 1
    assert total is not None
    mean_square = float((total / count).square().sum())
    spread = max(0.0, (squares - count * mean_square) / (count - 1))  # of batches
    signal = mean_square - spread / count
    return rows * spread / signal if signal > spread / count else None


def _noises(job: Prepared, cohort: Cohort) -> list[Noise]:
    """Trains for a while, and measures on the way."""
    clock = job.clock.before_end((1 - _NOISE_SHARE) * job.limit)
    rows = min(_SMALL, max(1, len(job.rows) // 4))
    drawing = torch.Generator().manual_seed(job.seed)
    found: list[Noise] = []
    for point in _POINTS:
        if not cohort.train(max(1, round(point * cohort.steps)), clock) and found:
            break
        pieces = [torch.randperm(len(job.rows), generator=drawing)[:rows].to(job.rows.device) for _ in range(_PIECES)]
        gradients = (cohort.gradient(job.rows[piece].unsqueeze(0))[1].squeeze(0) for piece in pieces)
        found.append(Noise(epoch=EPOCHS * cohort.step / cohort.steps, scale=noise_scale(gradients, rows)))
    return found


def _sizes(job: Prepared, needs: Needs, free: int | None) -> list[BatchSize]:
    """Times steps of all batch sizes up to the number of rows, while there is time."""
    found: list[BatchSize] = []
    for size in _SIZES:
        memory = needs.carried + needs.step(size)
        late = found and job.clock.left < 2 * (_STEPS + 2) * found[-1].seconds + 0.5
        if size > max(len(job.rows), _SIZES[0]) or late or (free is not None and memory > free):
            break
        recipe = job.recipe.replace("batch", {"kind": "fixed", "size": size}).replace("stop", {"kind": "last", "epochs": 400.0})
        seconds = step_seconds(partial(job.cohort, [job.member(recipe)]), job.clock, _STEPS)
        found.append(BatchSize(size=size, seconds=seconds, memory=memory, relative=None))
    return found
