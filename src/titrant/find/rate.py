"""The learning rate of a recipe, by training copies of it at many rates side by side.

The classical range test raises the rate while one network trains (Smith 2017, arXiv 1506.01186), so each rate is judged on a
network that the rates before it have made. Copies in a stack cost little more than one network; here each rate has its own.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from titrant.errors import BudgetError
from titrant.find.prepared import prepared
from titrant.models.network import Factory
from titrant.recipe import Recipe
from titrant.record import Record
from titrant.space import Range, doses
from titrant.studies import Asking
from titrant.texts import say
from titrant.tricks.learning_rate import LearningRate
from titrant.view import View

DECADES = 3
"""Powers of ten to either side of what is typical of the optimizer."""

RATES = 25
"""Rates that are tried."""

EPOCHS = 3.0
"""Of each training, at most."""

_STEPS = 300  # of each training, at most, but for an epoch
_CLOSE = 1.02  # times the least loss, up to which a rate counts as good as the best
_LEFT = 0.1  # share of the budget, or a second, that is kept for the answer


class Rate(Record):
    """What became of one learning rate.

    Attributes:
        rate: the learning rate.
        loss_train: mean training loss at the end; None if it diverged.
        loss_validation: on validation rows at the end; None if it diverged.
    """

    rate: float
    loss_train: float | None
    loss_validation: float | None


class Rates(Record):
    """What a learning-rate test found.

    Attributes:
        optimizer: of the recipe.
        steps: of each training.
        epochs: that these are.
        rates: from low to high.
        best: with the least validation loss, smoothed over its neighbours.
        low, high: the range that does as well, within two percent.
        diverges: the lowest rate from which on training diverges; None if none does.
    """

    optimizer: str
    steps: int
    epochs: float
    rates: list[Rate]
    best: float
    low: float
    high: float
    diverges: float | None


def find_rate(
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
) -> Rates:
    """Finds the learning rate with which a recipe learns fastest: short trainings at 25 rates, side by side.

    The rates span three powers of ten to either side of what is typical of the optimizer; schedule and warm-up are off. All
    trainings begin with the same weights and see the same batches.

    Args:
        subject, target, recipe, data, seed, model, device, view, started, reading: as for `titrant.ablate`.
        budget: wall clock for everything; trainings are cut off where it is short.

    Raises:
        TitrantError: as for `titrant.ablate`.

    Example:
        >>> import titrant
        >>> table = {"x": [i / 200 for i in range(200)], "y": ["low"] * 100 + ["high"] * 100}
        >>> found = titrant.find_rate(table, "y", budget="20s")
        >>> found.optimizer, found.low <= found.best <= found.high
        ('adamw', True)

    Source: the range test of Smith 2017 (arXiv 1506.01186). Departure: each rate has a network of its own.
    """
    asking = Asking(subject, target, recipe, None, data, seed, model, device, reading)
    with prepared(asking, budget, view, started) as job:
        plain = job.recipe.replace("learning_rate", {"peak": 1.0, "warmup": 0.0, "schedule": "off"})
        plain = plain.replace("stop", {"kind": "last", "epochs": EPOCHS})
        members = [job.member(plain.replace("learning_rate.peak", rate), place) for place, rate in enumerate(tried(plain))]
        cohort = job.cohort(members)
        wanted = min(cohort.steps, max(_STEPS, math.ceil(cohort.steps / EPOCHS)))
        cohort.train(wanted, job.clock.before_end(max(1.0, _LEFT * job.limit)))
        job.refuse_interrupt()
        if cohort.step < min(wanted, 10):
            raise BudgetError(
                say("The budget of {budget} ended after {steps} steps of {wanted}. Give more time.",
                    budget=budget, steps=cohort.step, wanted=wanted)
            )  # fmt: skip
        cohort.evaluate()
        found = [
            Rate(rate=member.recipe.learning_rate.peak, loss_train=_finite(point.loss_train),
                 loss_validation=_finite(point.loss_validation))
            for member, history in zip(members, cohort.histories, strict=True)
            for point in history.curve[-1:]
        ]  # fmt: skip
    return judged(found, plain.optimizer.kind, cohort.step, EPOCHS * cohort.step / cohort.steps)


def tried(recipe: Recipe) -> list[float]:
    """The rates to try with a recipe's optimizer, from low to high.

    Example:
        >>> rates = tried(Recipe())
        >>> len(rates), rates[0], rates[12], rates[-1]
        (25, 2e-06, 0.002, 2.0)
    """
    (mark,) = (dose.mark for dose in doses(LearningRate) if dose.name == "peak")
    assert isinstance(mark, Range)
    middle = math.log10(recipe.optimizer.typical_rate)
    found = np.logspace(middle - DECADES, middle + DECADES, RATES)
    return sorted({float(f"{min(max(rate, mark.low), mark.high):.3g}") for rate in found.tolist()})


def judged(rates: list[Rate], optimizer: str, steps: int, epochs: float) -> Rates:
    """What these losses say.

    Raises:
        BudgetError: all trainings diverged.
    """
    losses = np.array([math.inf if one.loss_validation is None else one.loss_validation for one in rates])
    if not np.isfinite(losses).any():
        raise BudgetError(say("All trainings diverged, even at a learning rate of {rate:g}. Look at the data: titrant checkup.",
                              rate=rates[0].rate))  # fmt: skip
    # The mean of three neighbours, because one training may be lucky; at an end of two.
    padded = np.concatenate([[np.nan], losses, [np.nan]])
    near = np.stack([padded[:-2], losses, padded[2:]])
    there = np.isfinite(near)
    smooth = np.where(np.isfinite(losses), np.where(there, near, 0).sum(0) / there.sum(0).clip(1), np.inf)
    best = int(smooth.argmin())
    good = smooth <= _CLOSE * smooth[best] if smooth[best] > 0 else smooth <= smooth[best]
    low = high = best
    while low > 0 and good[low - 1]:
        low -= 1
    while high + 1 < len(rates) and good[high + 1]:
        high += 1
    bad = [place for place in range(best, len(rates)) if not np.isfinite(losses[place])]
    return Rates(
        optimizer=optimizer, steps=steps, epochs=epochs, rates=rates, best=rates[best].rate, low=rates[low].rate,
        high=rates[high].rate, diverges=rates[bad[0]].rate if bad else None,
    )  # fmt: skip


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
