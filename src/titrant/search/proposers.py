"""Who chooses the next recipes: a grid, chance, a quasi-random sequence, a model of what has worked, mutations of the best.

A person may name one of the first four kinds (`--search`); by default several work together, as `titrant.search.study` says.
"""

import math
import warnings
from importlib.util import find_spec
from typing import Any
from zlib import crc32

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial
from scipy.stats import qmc

from titrant.errors import TitrantError
from titrant.recipe import Recipe
from titrant.search.region import Axis, Chooser, Region, held, unit_chooser
from titrant.space import rounded_into
from titrant.texts import say

_DIMENSIONS = 256
_LEVELS = 3  # of a range in a grid

MODELS = ("tpe", "gp", "cmaes")
"""Samplers of Optuna that learn from what has been tried."""

SEARCHES = ("mixed", "doctor", "grid", "random", "sobol", *MODELS)
"""What a person may ask for by name."""


class Grid:
    """Every combination, the last axes first: all choices, and three values of a range, evenly spaced on its scale.

    Axes that hang on another choice are walked through only where that choice is made.

    Args:
        region: what may be visited. A grid grows with every axis by a factor, so it suits a few axes.
        levels: values of a range.
    """

    def __init__(self, region: Region, levels: int = _LEVELS) -> None:
        self.region = region
        self.levels = levels
        self._digits: list[int] | None = []

    def propose(self, shape: Recipe | None = None) -> Recipe | None:
        """The next recipe; None after the last one. A grid has its own order and keeps to no shape."""
        if self._digits is None:
            return None
        given, sizes = self._digits, list[int]()

        def choose(axis: Axis) -> Any:
            values = self._values(axis)
            digit = given[len(sizes)] if len(sizes) < len(given) else 0
            sizes.append(len(values))
            return values[digit]

        recipe = self.region.make(choose)
        digits = (given + [0] * len(sizes))[: len(sizes)]
        while digits and digits[-1] + 1 == sizes[len(digits) - 1]:
            digits.pop()
        self._digits = [*digits[:-1], digits[-1] + 1] if digits else None
        return recipe

    def _values(self, axis: Axis) -> list[Any]:
        if isinstance(axis.mark, tuple):
            return list(axis.mark)
        low, high = axis.ends
        units = [place / max(1, self.levels - 1) for place in range(self.levels)]
        found = [low * (high / low) ** unit if axis.mark.log else low + (high - low) * unit for unit in units]
        kept = [round(value) for value in found] if axis.integer else [rounded_into(value, low, high) for value in found]
        return list(dict.fromkeys(kept))


class Random:
    """Recipes drawn by chance, evenly on each axis' scale; where off is a choice it gets half.

    Source: Bergstra & Bengio 2012, "Random search for hyper-parameter optimization".
    """

    def __init__(self, region: Region, seed: int) -> None:
        self.region = region
        self._generator = np.random.default_rng(seed)

    def propose(self, shape: Recipe | None = None) -> Recipe:
        """The next recipe; with `shape`, one whose tensors have that recipe's shapes."""
        choose = unit_chooser(lambda _: float(self._generator.random()))
        return self.region.make(choose if shape is None else keeping_shapes(choose, shape))


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
    """Recipes that a sampler of Optuna expects to improve on what has been seen.

    Args:
        region: what may be visited.
        study: where trials are asked for and told; its sampler is one of `sampler`.
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
            return stepped(axis, value, self._generator)

        return self.region.make(choose)


def stepped(axis: Axis, value: Any, generator: np.random.Generator, step: float = 0.2) -> Any:
    """A value near another: a normal step whose width is the share `step` of the range, or any choice."""
    if isinstance(axis.mark, tuple) or value is None:
        return unit_chooser(lambda _: float(generator.random()))(axis)
    low, high = axis.ends
    if axis.mark.log:
        moved = math.exp(math.log(value) + step * math.log(high / low) * generator.standard_normal())
    else:
        moved = value + step * (high - low) * generator.standard_normal()
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


def sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """A sampler of Optuna: `tpe` (multivariate), `gp` (a Gaussian process) or `cmaes`.

    Raises:
        TitrantError: `cmaes` needs a package that is not installed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=8)
        if name == "cmaes":
            if find_spec("cmaes") is None:
                raise TitrantError(say("--search cmaes needs the package cmaes: pip install cmaes"))
            return optuna.samplers.CmaEsSampler(seed=seed, n_startup_trials=8, warn_independent_sampling=False)
        return optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, n_startup_trials=8, seed=seed)
