"""A laboratory for claims about training tricks: its records, its data, its measures.

A claim is one or more statements. Each is a difference that is positive where the articles are right, measured over replicates
like any effect (see `titrant.evidence.statistics`): it holds if its 95 % interval lies above zero, is contradicted if it lies
below, and is not certain otherwise.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from sklearn.datasets import load_breast_cancer, load_digits
from torch import Tensor

from titrant import samples
from titrant.clock import Clock
from titrant.data.learnable import Learnable, read_data
from titrant.evidence.contest import Contest, Plan, difference
from titrant.evidence.records import Difference
from titrant.evidence.statistics import Estimate, paired
from titrant.evidence.training import Outcome, Trainings
from titrant.models.network import Factory, Net
from titrant.recipe import Recipe
from titrant.record import Record
from titrant.search.pace import Pace
from titrant.train.build import start
from titrant.train.cohort import Cohort
from titrant.train.hardware import keep_memory
from titrant.train.lanes import lanes
from titrant.train.metrics import metric_for
from titrant.train.workers import Workers

Verdict = Literal["holds", "contradicted", "not certain"]

LONG = 3600.0  # seconds that no experiment here comes near


class Statement(Record):
    """One thing that a claim says, and what was measured."""

    says: str
    measured: str = Field(description="what the difference counts")
    gain: Difference = Field(description="positive where the statement is right")
    verdict: Verdict


class Curve(Record):
    """A line of the claim's figure."""

    label: str
    x: list[float]
    y: list[float]


class Finding(Record):
    """What became of a claim."""

    name: str
    says: str
    trick: str
    data: str
    source: str
    verdict: Verdict
    statements: list[Statement]
    curves: list[Curve]
    x: str
    y: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Claim:
    """A claim of the articles.

    Args:
        name: short.
        says: the claim, as an article would put it.
        trick: the slot of the recipe that it is about.
        data: what it is tried on, in words.
        source: the paper behind it.
        tried: the experiment.
    """

    name: str
    says: str
    trick: str
    data: str
    source: str
    tried: "Callable[[Lab], Tried]"


@dataclass
class Tried:
    """The outcome of an experiment: statements with what they measured and the estimates, and the lines of its figure."""

    statements: list[tuple[str, str, Estimate]]
    curves: list[Curve]
    x: str
    y: str

    def finding(self, claim: Claim, seconds: float) -> Finding:
        """The outcome as it is kept."""
        found = [
            Statement(says=says, measured=measured, gain=difference(estimate), verdict=_verdict(estimate))
            for says, measured, estimate in self.statements
        ]
        verdicts = {statement.verdict for statement in found}
        verdict: Verdict = "not certain"
        if verdicts == {"holds"}:
            verdict = "holds"
        elif "contradicted" in verdicts:
            verdict = "contradicted"
        return Finding(
            name=claim.name, says=claim.says, trick=claim.trick, data=claim.data, source=claim.source, verdict=verdict,
            statements=found, curves=self.curves, x=self.x, y=self.y, seconds=seconds,
        )  # fmt: skip


def _verdict(estimate: Estimate) -> Verdict:
    low, high = estimate.interval()
    return "holds" if low > 0 else "contradicted" if high < 0 else "not certain"


# ------------------------------------------------------------------------- the laboratory


@cache
def digits() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Pixels [1797, 64] of handwritten digits, and which they are; the test part of UCI's optical digits."""
    found = load_digits()
    return found.data.astype(np.float32), found.target


def as_table(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> dict[str, list[Any]]:
    """Numbers [n, f] and their classes [n] as columns."""
    return {f"x{column}": x[:, column].tolist() for column in range(x.shape[1])} | {"y": [f"class {one}" for one in y]}


@dataclass
class Lab:
    """Trains the arms of experiments.

    Args:
        workers: processes that train beside this one.
        lanes: cohorts at the same time.
        seed: of all random choices.
    """

    workers: Workers | None = None
    lanes: int = 1
    seed: int = 0
    _read: dict[str, Learnable] = field(default_factory=dict)

    def data(self, name: str) -> Learnable:
        """Data by name, divided once."""
        if name not in self._read:
            self._read[name] = read_data(*_SOURCES[name](), seed=self.seed, notes=[])
        return self._read[name]

    def contest(
        self,
        data: str | Learnable,
        arms: Mapping[str, Recipe],
        replicates: int = 10,
        metric: str | None = None,
        candidates: int = 1,
        factory: Factory | None = None,
        share: float = 1.0,
    ) -> Contest:
        """Arms with their outcomes.

        Args:
            data: by name, or read.
            arms: recipes by name.
            replicates: of each.
            metric: of their scores.
            candidates: learning rates that are tried for each arm first; 1 tunes nothing.
            factory: the network of `model: custom`.
            share: of the training rows that are used.
        """
        dataset = self.data(data) if isinstance(data, str) else data
        cpu, goal = torch.device("cpu"), metric_for(dataset.schema.task, metric)
        workers = None if factory is not None else self.workers
        pace = Pace(1 if factory is not None else self.lanes, workers=workers)
        trainings = Trainings(dataset, goal, self.seed, cpu, Clock.of(LONG), pace, factory, share)
        contest = Contest(trainings, dict(arms), lambda *_: None)
        contest.measure()
        plan = contest.tune(["learning_rate.peak"], Plan(1.0, share, candidates, replicates))
        contest.compare(list(arms), range(plan.replicates))
        return contest

    def networks(self, recipe: Recipe, count: int, trained: bool = False) -> Iterator[tuple[Net, tuple[Tensor, ...], Tensor]]:
        """Networks for the digits, each with other rows and seeds, its training rows as it reads them, and their classes.

        Args:
            recipe: of them all.
            count: how many.
            trained: False gives them with their first weights.
        """
        cpu, metric = torch.device("cpu"), metric_for("multiclass")
        trainings = Trainings(self.data("digits"), metric, self.seed, cpu, Clock.of(LONG), Pace(1))
        problem = trainings.problem
        stack = [trainings.replicate(number).member(number, recipe) for number in range(count)]
        cohort = Cohort(problem, stack, metric, trainings.clock)
        if trained:
            cohort.advance(cohort.steps, trainings.clock)
        for place, member in enumerate(stack):
            encoded = problem.encoded(recipe.data, member.rows)
            inputs = problem.ready(tuple(source[member.rows] for source in encoded.inputs))
            first = None if trained else start(recipe, problem.shape(encoded.encoder), member.seed, inputs)
            yield first or cohort.trained(place).network, inputs, problem.target[member.rows]


_SOURCES: dict[str, Callable[[], tuple[Any, str | None]]] = {
    "digits": lambda: (as_table(*digits()), "y"),
    "adult": lambda: (samples.path("adult"), "income"),
    "breast cancer": lambda: (as_table(*load_breast_cancer(return_X_y=True)), "y"),
}


def small(**slots: Any) -> Recipe:
    """A small plain network for these data, with some slots changed."""
    return Recipe.of(
        {
            "model": {"kind": "mlp", "width": 64, "depth": 2},
            "batch": {"kind": "fixed", "size": 64},
            "stop": {"kind": "last", "epochs": 20},
            **slots,
        }
    )


def deep(depth: int = 8, **slots: Any) -> Recipe:
    """A small network of many layers."""
    return small(model={"kind": "mlp", "width": 64, "depth": depth}, **slots)


def more(contest: Contest, better: str, worse: str, measure: Callable[[Outcome], float]) -> Estimate:
    """How much larger a measure is for `worse` than for `better`, paired over replicates: for what should be small."""
    common = contest.common(better, worse)
    outcomes = contest.outcomes
    return paired([measure(outcomes[worse][r]) - measure(outcomes[better][r]) for r in common])


def loss_at(at: float, training: bool = True) -> Callable[[Outcome], float]:
    """The loss at a share of the training; what is not finite counts as that of knowing nothing ten times over."""

    def measure(outcome: Outcome) -> float:
        curve = outcome.curve
        point = curve[min(len(curve) - 1, max(0, math.ceil(at * len(curve)) - 1))]
        loss = point.loss_train if training else point.loss_validation
        return min(loss, 25.0) if loss is not None and math.isfinite(loss) else 25.0

    return measure


def gap(outcome: Outcome) -> float:
    """Overfitting: validation loss over training loss at the end."""
    last = outcome.curve[-1]
    return (last.loss_validation or 0.0) - (last.loss_train or 0.0)


def rise(outcome: Outcome) -> float:
    """Overfitting: validation loss at the end over its lowest point."""
    losses = [point.loss_validation or 0.0 for point in outcome.curve]
    return losses[-1] - min(losses)


def roughness(outcome: Outcome) -> float:
    """How far the training loss jumps between evaluations, on average, in its second half."""
    losses = [loss_at((place + 1) / len(outcome.curve))(outcome) for place in range(len(outcome.curve))]
    if len(losses) < 4:
        return 25.0  # it diverged at once
    return float(np.abs(np.diff(losses[len(losses) // 2 :])).mean())


def loss_curves(contest: Contest, names: Sequence[str], training: bool = True) -> list[Curve]:
    """Mean loss against epochs for each arm."""
    found = []
    for name in names:
        outcomes = list(contest.outcomes[name].values())
        count = min(len(outcome.curve) for outcome in outcomes)
        values = [[loss_at((place + 1) / count, training)(outcome) for outcome in outcomes] for place in range(count)]
        found.append(
            Curve(label=name, x=[point.epoch for point in outcomes[0].curve[:count]], y=[float(np.mean(one)) for one in values])
        )
    return found


def measured(claims: Sequence[Claim], seed: int = 0) -> Iterator[Finding]:
    """Tries claims one after another.

    Args:
        claims: which.
        seed: of all random choices.
    """
    keep_memory()
    count = lanes(torch.device("cpu"))
    with Workers(count - 1) as workers:  # Ctrl-C ends the experiment under way: half of one proves nothing
        lab = Lab(workers, count, seed)
        for claim in claims:
            begun = time.monotonic()
            yield claim.tried(lab).finding(claim, time.monotonic() - begun)
