"""Small made-up problems, members on them, and a clock that rings after a number of looks, whatever the machine's speed."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch

from titrant.clock import Clock
from titrant.recipe import Recipe
from titrant.train.member import Member
from titrant.train.tables import TableProblem

ROWS, TRAIN = 240, 180
CPU = torch.device("cpu")

MakeProblem = Callable[..., TableProblem]
MakeMembers = Callable[..., list[Member]]


class Ticking(Clock):
    """Rings when somebody has looked `looks` times."""

    def __init__(self, looks: int) -> None:
        super().__init__(0.0, math.inf)
        self.__dict__["looks"] = looks

    @property
    def left(self) -> float:
        self.__dict__["looks"] -= 1
        return float(self.__dict__["looks"])

    def before_end(self, reserve: float) -> Clock:
        return self


@pytest.fixture
def endless() -> Clock:
    return Clock(0.0, math.inf)


@pytest.fixture
def ticking() -> type[Ticking]:
    return Ticking


@pytest.fixture
def make_problem() -> MakeProblem:
    """Two classes, or values, that follow from two of four numbers and a code."""

    def make(task: str = "binary", rows: int = ROWS) -> TableProblem:
        generator = torch.Generator().manual_seed(1)
        numbers = torch.randn(rows, 4, generator=generator)
        codes = torch.randint(2, 5, (rows, 1), generator=generator, dtype=torch.int32)
        signal = 2 * numbers[:, 0] - numbers[:, 1] + (codes[:, 0] == 2)
        target = signal * 10 + 50 if task == "regression" else (signal > 0).long()
        learnable = torch.arange(rows)
        return TableProblem(numbers, codes, target, (5,), task, 1 if task == "regression" else 2, learnable, CPU)

    return make


@pytest.fixture
def make_members() -> MakeMembers:
    """Members that share their rows, numbered from 0."""

    def make(recipes: Sequence[Recipe], rows: int = ROWS, train: int = TRAIN) -> list[Member]:
        learned, judged = torch.arange(train), torch.arange(train, rows)
        return [Member(number, recipe, number, "given", learned, judged) for number, recipe in enumerate(recipes)]

    return make


@pytest.fixture
def small() -> Recipe:
    """A recipe that trains in a blink: 60 steps of a network of 16 units."""
    return Recipe.of(
        {
            "model": {"kind": "mlp", "width": 16, "depth": 1},
            "batch": {"kind": "fixed", "size": 30},
            "stop": {"kind": "last", "epochs": 10},
        }
    )
