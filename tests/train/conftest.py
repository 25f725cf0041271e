"""Small synthetic problems, and cohorts on them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from titrant.clock import Clock
from titrant.recipe import Recipe
from titrant.record import Task
from titrant.train.cohort import Cohort, Member
from titrant.train.metrics import metric_for
from titrant.train.tables import TableProblem

TRAINED = 64
CLASSES = {"binary": 2, "multiclass": 3, "regression": 1}


def _problem(task: Task = "binary", rows: int = 96, seed: int = 0, columns: int = 4, coded: int = 2) -> TableProblem:
    """Numbers with gaps, a small and a large category, and a target that depends on both; the first 64 rows may be learned."""
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(rows, columns)).astype(np.float32)
    cardinalities = (5, 14)[:coded]
    codes = np.stack([random.integers(1, size, rows) for size in cardinalities], 1) if coded else np.zeros((rows, 0))
    signal = numbers[:, :2].sum(1) if columns else np.zeros(rows)
    signal = signal + (codes[:, 0] if coded else 0) + 0.3 * random.normal(size=rows)
    if columns:
        numbers[random.random(rows) < 0.1, columns - 1] = np.nan
    ranks = signal.argsort().argsort()
    target = torch.tensor(ranks * CLASSES[task] // rows)
    return TableProblem(
        numbers=torch.tensor(numbers),
        codes=torch.tensor(codes, dtype=torch.int32),
        target=torch.tensor(3 * signal + 10, dtype=torch.float32) if task == "regression" else target,
        cardinalities=cardinalities,
        task=task,
        classes=CLASSES[task],
        rows=torch.arange(TRAINED),
        device=torch.device("cpu"),
    )


def _cohort(problem: TableProblem, recipes: Sequence[Recipe], metric: str | None = None, **options: Any) -> Cohort:
    """Members 0, 1, ... with seeds 0, 1, ..., that share their rows."""
    held_out = torch.arange(TRAINED, len(problem.target))
    seeds = options.pop("seeds", range(len(recipes)))
    members = [
        Member(number=k, recipe=recipe, seed=seed, origin="test", rows=problem.rows, held_out=held_out)
        for k, (recipe, seed) in enumerate(zip(recipes, seeds, strict=True))
    ]
    return Cohort(problem, members, metric_for(problem.task, metric), Clock.of(3600), **options)


@pytest.fixture(scope="session")
def make_problem() -> Callable[..., TableProblem]:
    return _problem


@pytest.fixture(scope="session")
def make_cohort() -> Callable[..., Cohort]:
    return _cohort
