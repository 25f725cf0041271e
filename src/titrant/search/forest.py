"""A proposer that learns from everything that was tried, at whatever rung it left: a random forest over the region's axes."""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtri
from sklearn.ensemble import ExtraTreesRegressor

from titrant.recipe import Recipe
from titrant.search.proposers import stepped
from titrant.search.region import Axis, Region, held, unit_chooser

FEWEST = 8
"""Recipes that must have been judged before anything is proposed."""

_TREES = 32
_POOL = 256  # candidates of which the most promising is proposed
_LOCAL = 0.5  # share of them that are children of good recipes; the others are drawn evenly
_CHANGED = 0.4  # share of a child's choices that differ from its parent's
_NOISE = 0.1  # variance of a score beside that of all scores, which is 1
_STEPS = (0.2, 0.05)  # widths of a child's steps, as shares of a range

_Answers = dict[str, Any]


class Forest:
    """Recipes that a random forest expects to be good, or is unsure of.

    The forest learns scores as normal quantiles of their ranks, so that neither units nor diverged members matter, from every
    trial with parameters. Those that were dropped count as well, because the rung of a score is one of the columns; the forest
    is asked for the last rung. Of a pool of candidates that is proposed whose mean plus κ times the spread of the trees is
    highest; κ is drawn anew for each proposal, Exp(1), so that those of one bracket differ where little is known. Each proposal
    takes from the spread of the others what its score will tell about them, by how the trees agree, before its score is known:
    so those of one bracket do not ask the same thing twice.

    Args:
        region: what may be visited.
        study: where trials are told.
        seed: of all random choices.

    Source: Hutter, Hoos and Leyton-Brown 2011, "Sequential model-based optimization for general algorithm configuration", and
    2012, "Parallel algorithm configuration", for κ; Desautels, Krause and Burdick 2014, "Parallelizing exploration-exploitation
    tradeoffs in Gaussian process bandit optimization", for what proposals take from one another. Departures: extremely
    randomised trees, whose covariance stands for the process's, and the rung as a column.
    """

    def __init__(self, region: Region, study: optuna.Study, seed: int) -> None:
        self.region = region
        self.study = study
        self._generator = np.random.default_rng(seed)
        self._chance = unit_chooser(lambda _: float(self._generator.random()))
        self._columns: dict[str, BaseDistribution] = {}
        self._trees: list[Any] = []
        self._last = 0
        self._learned = 0
        self._tried: set[Hashable] = set()
        self._pools: dict[tuple[Recipe, ...] | None, _Pool] = {}

    def propose(self, parents: Sequence[Recipe], *, anywhere: bool = True) -> Recipe | None:
        """The next recipe; None while too little is known.

        Args:
            parents: good recipes.
            anywhere: False keeps the shapes of one of them.
        """
        trials = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished() and trial.params]
        if len(trials) < FEWEST:
            return None
        if len(trials) != self._learned:
            self._learn(trials)
        key = None if anywhere else tuple(parents)
        if key not in self._pools:
            self._pools[key] = self._pool(parents, anywhere=anywhere)
        answers = self._pools[key].best(self._generator.exponential(), self._tried)
        self._tried.add(frozenset(answers.items()))
        return self.region.make(lambda axis: answers[axis.name])

    def _learn(self, trials: Sequence[FrozenTrial]) -> None:
        self._learned, self._pools = len(trials), {}
        self._tried = {frozenset(trial.params.items()) for trial in trials}
        self._columns = {name: one for trial in trials for name, one in sorted(trial.distributions.items())}
        rungs = [max(trial.intermediate_values, default=0) for trial in trials]
        self._last = max(rungs)
        rows = [self._row(trial.params, rung) for trial, rung in zip(trials, rungs, strict=True)]
        sign = 1.0 if self.study.direction is StudyDirection.MAXIMIZE else -1.0
        scores = np.array([_score(trial, sign) for trial in trials])
        places = scores.argsort(kind="stable").argsort(kind="stable")
        forest = ExtraTreesRegressor(_TREES, bootstrap=True, random_state=int(self._generator.integers(2**31)))
        forest.fit(np.array(rows), ndtri((places + 0.5) / len(places)))
        self._trees = forest.estimators_

    def _row(self, answers: Mapping[str, Any], rung: int) -> list[float]:
        """A recipe as the forest reads it: ranges on their scales, -1 where it has no such dose; a column for each kind."""
        row = [float(rung)]
        for name, one in self._columns.items():
            value = answers.get(name)
            if isinstance(one, CategoricalDistribution):
                row += [float(value == choice) for choice in one.choices]
            elif value is None:
                row.append(-1.0)
            elif isinstance(one, FloatDistribution | IntDistribution):
                low, high, here = one.low, one.high, value
                if one.log:
                    low, high, here = math.log(low), math.log(high), math.log(here)
                row.append((here - low) / (high - low) if high > low else 0.0)
        return row

    def _pool(self, parents: Sequence[Recipe], *, anywhere: bool) -> "_Pool":
        """Candidates, and what the forest says of them."""
        known = [self._held(parent) for parent in parents] or [{}]
        drawn = [
            self._drawn(known[turn // 2 % len(known)], turn < _LOCAL * _POOL, _STEPS[turn % 2], anywhere)
            for turn in range(_POOL)
        ]
        rows = np.array([self._row(answers, self._last) for answers in drawn], dtype=np.float32)
        found = np.array([tree.tree_.predict(rows)[:, 0] for tree in self._trees])
        return _Pool(drawn, found)

    def _held(self, recipe: Recipe) -> _Answers:
        """The answers that would make a recipe, as far as the region has them."""
        found: _Answers = {}

        def choose(axis: Axis) -> Any:
            value = held(recipe, axis)
            if value is None:
                return self._chance(axis)
            found[axis.name] = value
            return value

        self.region.answers(choose)
        return found

    def _drawn(self, parent: _Answers, local: bool, step: float, anywhere: bool) -> _Answers:
        """The answers of a child, or some drawn evenly, perhaps with the parent's shapes."""

        def choose(axis: Axis) -> Any:
            value = parent.get(axis.name)
            if value is not None and axis.shapes and not anywhere:
                return value
            if value is None or not local:
                return self._chance(axis)
            return stepped(axis, value, self._generator, step) if self._generator.random() < _CHANGED else value

        return self.region.answers(choose)


class _Pool:
    """Candidates with what trees say of them [tree, candidate]; each is proposed once."""

    def __init__(self, drawn: list[_Answers], said: NDArray[np.float64]) -> None:
        self._drawn = drawn
        self._mean = said.mean(0)
        self._covariance = np.cov(said, rowvar=False, ddof=0)

    def best(self, curiosity: float, tried: set[Hashable]) -> _Answers:
        """The most promising candidate that was not tried; the most promising of all if there is none."""
        spread = self._covariance.diagonal().clip(min=0) ** 0.5
        order = (self._mean + curiosity * spread).argsort(kind="stable")[::-1]
        new: Iterator[int] = (place for place in order if frozenset(self._drawn[place].items()) not in tried)
        chosen = int(next(new, order[0]))
        shared = self._covariance[chosen]
        self._covariance = self._covariance - np.outer(shared, shared) / (shared[chosen] + _NOISE)
        return self._drawn[chosen]


def _score(trial: FrozenTrial, sign: float) -> float:
    """How good a trial was at the rung that it reached; one that failed is worse than all others."""
    if trial.state is TrialState.FAIL:
        return -math.inf
    return sign * (trial.intermediate_values[max(trial.intermediate_values)] if trial.value is None else trial.value)
