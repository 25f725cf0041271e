"""How cohorts are laid out, and the measurement behind it."""

import pytest
import torch
from tests.search.conftest import MakeMembers, MakeProblem

from titrant.clock import Clock
from titrant.recipe import Recipe
from titrant.search.pace import Pace, measured, step_seconds
from titrant.train.cohort import Cohort
from titrant.train.member import Member
from titrant.train.metrics import METRICS
from titrant.train.tables import TableProblem
from titrant.train.workers import Workers

CPU = torch.device("cpu")


class Making:
    """Makes cohorts, and remembers of how many members."""

    def __init__(self, problem: TableProblem) -> None:
        self.problem = problem
        self.made: list[int] = []

    def __call__(self, members: list[Member]) -> Cohort:
        self.made.append(len(members))
        return Cohort(self.problem, members, METRICS["accuracy"], Clock.of(3600.0))


@pytest.mark.parametrize("left", [0.0, 3600.0])
def test_the_measurement_says_what_it_found_and_trains_nobody(
    left: float, make_problem: MakeProblem, make_members: MakeMembers, small: Recipe
) -> None:
    (member,) = make_members([small])
    make = Making(make_problem())
    pace = measured(make, member, 3, Pace(2), Clock.of(left))
    assert pace.lanes == 2
    made = make.made
    assert made[:2] == [1, 1]
    assert made == sorted(made)
    if left:
        assert pace.seconds is not None
        assert 0 < pace.seconds < 60
        assert pace.stack_size(member, 3) in {1, *made}
        assert len(set(made)) >= 2
    else:
        assert set(made) == {1}


def test_lanes_in_processes_of_their_own_are_measured_alone(
    make_problem: MakeProblem, make_members: MakeMembers, small: Recipe
) -> None:
    (member,) = make_members([small])
    make = Making(make_problem())
    with Workers(0) as workers:
        pace = measured(make, member, 3, Pace(2, workers=workers), Clock.of(0.0))
    assert make.made == [1]
    assert (pace.lanes, pace.workers) == (2, workers)


def test_more_views_and_wider_layers_make_smaller_stacks(make_members: MakeMembers, small: Recipe) -> None:
    pace = Pace(1)
    plain, views = make_members(
        [small.replace("model.width", 256), small.replace("model", {"kind": "ensemble", "width": 256, "views": 64})]
    )
    assert 1 <= pace.stack_size(views, 3) < pace.stack_size(plain, 3)
    assert pace.stack_size(plain, 1 << 20) == 1


def test_a_module_of_ones_own_is_trained_by_one_thread(make_members: MakeMembers, small: Recipe) -> None:
    (own,) = make_members([small.replace("model", {"kind": "custom", "factory": "here:make"})])
    assert Pace.usual(CPU, [own.recipe]).lanes == 1


def test_steps_that_grow_are_paced_by_their_average(monkeypatch: pytest.MonkeyPatch) -> None:
    class Growing:
        """Steps of one row, then as many of nine, each row of which takes a second."""

        steps, step, now = 200, 0, 0.0
        paced = Cohort.paced

        def work(self, begin: int, end: int) -> float:
            return sum(1.0 if step < 100 else 9.0 for step in range(begin, end))

        def train(self, until: int, clock: Clock) -> bool:
            self.now += self.work(self.step, until)
            self.step = until
            return True

    cohort = Growing()
    monkeypatch.setattr("titrant.search.pace.time.monotonic", lambda: cohort.now)
    assert step_seconds(lambda: cohort, Clock.of(3600.0)) == pytest.approx(5.0)  # type: ignore[arg-type, return-value]
