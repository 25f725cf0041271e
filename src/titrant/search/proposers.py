"""Who chooses the next recipes: a quasi-random sequence, a model of what has worked, and mutations of the best."""

import math
import warnings
from typing import Any
from zlib import crc32

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial
from scipy.stats import qmc

from titrant.recipe import Recipe
from titrant.search.region import Axis, Chooser, Region, held, unit_chooser
from titrant.space import rounded_into

_DIMENSIONS = 256


class QuasiRandom:
    """Recipes that cover a region evenly: one dimension of a scrambled Sobol sequence for each axis.

    An axis keeps its dimension, chosen by its name, whatever other axes a recipe has.
    """

    def __init__(self, region: Region, seed: int) -> None:
        self.region = region
        self._sequence = qmc.Sobol(_DIMENSIONS, scramble=True, rng=np.random.default_rng(seed))
        self._places: dict[str, int] = {}

    def propose(self, shape: Recipe | None = None) -> Recipe:
        """The next recipe; with `shape`, one whose tensors have that recipe's shapes."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the sequence's balance at powers of two does not matter here
            row = self._sequence.random(1)[0]
        choose = unit_chooser(lambda name: float(row[self._place(name)]))
        return self.region.make(choose if shape is None else keeping_shapes(choose, shape))

    def _place(self, name: str) -> int:
        if name not in self._places:
            wanted = crc32(name.encode()) % _DIMENSIONS
            taken = set(self._places.values())
            self._places[name] = next(
                place for step in range(_DIMENSIONS) if (place := (wanted + step) % _DIMENSIONS) not in taken
            )
        return self._places[name]


class Bayesian:
    """Recipes that Optuna's multivariate TPE expects to improve on what has been seen.

    Args:
        region: what may be visited.
        study: where trials are asked for and told.
    """

    def __init__(self, region: Region, study: optuna.Study) -> None:
        self.region = region
        self.study = study

    def propose(self, shape: Recipe | None = None) -> tuple[Recipe, Trial]:
        """The next recipe and the trial that waits for its score."""
        trial = self.study.ask()
        choose = chooser_of(trial)
        return self.region.make(choose if shape is None else keeping_shapes(choose, shape)), trial


class Mutation:
    """Children of good recipes: most choices are the parent's, a few take a step away."""

    def __init__(self, region: Region, seed: int) -> None:
        self.region = region
        self._generator = np.random.default_rng(seed)

    def propose(self, parent: Recipe, changed: float = 0.25) -> Recipe:
        """A child that keeps the parent's shapes and changes each other choice with probability `changed`."""

        def choose(axis: Axis) -> Any:
            value = held(parent, axis)
            if value is not None and (axis.shapes or self._generator.random() >= changed):
                return value
            return self._step(axis, value)

        return self.region.make(choose)

    def _step(self, axis: Axis, value: Any) -> Any:
        if isinstance(axis.mark, tuple) or value is None:
            return unit_chooser(lambda _: float(self._generator.random()))(axis)
        low, high = axis.ends
        if axis.mark.log:
            moved = math.exp(math.log(value) + 0.2 * math.log(high / low) * self._generator.standard_normal())
        else:
            moved = value + 0.2 * (high - low) * self._generator.standard_normal()
        return min(max(round(moved), int(low)), int(high)) if axis.integer else rounded_into(moved, low, high)


def chooser_of(trial: Trial) -> Chooser:
    """Asks an Optuna trial; full names keep conditional doses apart."""

    def choose(axis: Axis) -> Any:
        if isinstance(axis.mark, tuple):
            return trial.suggest_categorical(axis.name, axis.mark)
        low, high = axis.ends
        if axis.integer:
            return trial.suggest_int(axis.name, int(low), int(high), log=axis.mark.log)
        return trial.suggest_float(axis.name, low, high, log=axis.mark.log)

    return choose


def keeping_shapes(choose: Chooser, shape: Recipe) -> Chooser:
    """A chooser that takes everything that decides shapes from another recipe, so that both can train in one stack."""

    def kept(axis: Axis) -> Any:
        value = held(shape, axis) if axis.shapes else None
        return choose(axis) if value is None else value

    return kept


def distribution(axis: Axis) -> BaseDistribution:
    """The axis as Optuna stores it."""
    if isinstance(axis.mark, tuple):
        return CategoricalDistribution(axis.mark)
    low, high = axis.ends
    if axis.integer:
        return IntDistribution(int(low), int(high), log=axis.mark.log)
    return FloatDistribution(low, high, log=axis.mark.log)
