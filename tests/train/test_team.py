"""One cohort on several processes: the same losses as one process with the whole batch, and nothing lost when one ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import nn

import titrant
from titrant import samples
from titrant.clock import Clock
from titrant.errors import TitrantError
from titrant.recipe import Recipe
from titrant.record import Summary, read_members
from titrant.train.cohort import Cohort
from titrant.train.lanes import may_share
from titrant.train.member import Member
from titrant.train.metrics import METRICS
from titrant.train.tables import TableProblem
from titrant.train.team import Leader, Team, here
from titrant.tricks.acting import Streams

CPU = torch.device("cpu")
QUICK = (
    Recipe().replace("model.width", 16).replace("batch.size", 31).replace("stop.epochs", 8).replace("learning_rate.peak", 0.01)
)
PLAIN = QUICK.replace("dropout", "off").replace("normalize", "layer")

MakeProblem = Callable[..., TableProblem]


@pytest.fixture(scope="class")
def team() -> Iterator[Leader]:
    with Leader(2, CPU) as found:
        yield found


def endless() -> Clock:
    return Clock.of(3600.0)


def cohort_of(problem: TableProblem, recipe: Recipe, members: int = 1) -> Cohort:
    made = [Member(k, recipe, 5 + k, "test", problem.rows, torch.arange(64, 96)) for k in range(members)]
    return Cohort(problem, made, METRICS["accuracy"], endless())


def alone(cohort: Cohort) -> Cohort:
    """Trained by this process, whatever team there is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("titrant.train.cohort.here", lambda: None)
        assert cohort.advance(cohort.steps, endless())
    return cohort


def assert_same_curves(one: Cohort, other: Cohort) -> None:
    assert one.step == other.step
    for mine, theirs in zip(one.histories, other.histories, strict=True):
        assert [point.step for point in mine.curve] == [point.step for point in theirs.curve]
        for name in ("loss_train", "loss_validation"):
            found = [[getattr(point, name) for point in history.curve] for history in (mine, theirs)]
            assert found[0] == pytest.approx(found[1], rel=1e-4)
    torch.testing.assert_close(one.weights.flat, other.weights.flat, rtol=1e-3, atol=1e-5)


class TestTogether:
    """Two processes that meet once."""

    @pytest.mark.parametrize("members", [1, 3])
    @pytest.mark.parametrize(
        "changes",
        [
            {"optimizer": "sgd"},
            {"optimizer": "adamw", "clip": "norm", "average": "ema"},
            {"optimizer": "muon", "regularize.label_smoothing": "label_smoothing", "activation": "silu"},
        ],
        ids=lambda changes: changes["optimizer"],
    )
    def test_the_loss_curve_is_that_of_one_process_with_the_whole_batch(
        self, members: int, changes: dict[str, Any], team: Leader, make_problem: MakeProblem
    ) -> None:
        problem, recipe = make_problem(), PLAIN
        for path, value in changes.items():
            recipe = recipe.replace(path, value)
        many = cohort_of(problem, recipe, members)
        assert here() is team
        assert many.advance(many.steps, endless())
        assert many.step == many.steps
        assert_same_curves(many, alone(cohort_of(problem, recipe, members)))

    def test_a_batch_of_fewer_rows_than_processes_is_everybodys(self, team: Leader, make_problem: MakeProblem) -> None:
        problem = make_problem()
        recipe = PLAIN.replace("batch.size", 1).replace("stop.epochs", 1)
        many = cohort_of(problem, recipe)
        assert many.advance(many.steps, endless())
        assert_same_curves(many, alone(cohort_of(problem, recipe)))

    def test_all_stop_after_the_same_step_when_the_clock_rings(self, team: Leader, make_problem: MakeProblem) -> None:
        problem = make_problem()
        long = cohort_of(problem, PLAIN.replace("stop.epochs", 2000))
        assert not long.advance(long.steps, Clock.of(1.0))
        assert 0 < long.step < long.steps
        # nobody waits for anybody: the next cohort is trained as if nothing had been
        again = cohort_of(problem, PLAIN)
        assert again.advance(again.steps, endless())
        assert_same_curves(again, alone(cohort_of(problem, PLAIN)))
        assert not may_share(CPU)  # one cohort at a time


def test_each_process_draws_its_own_numbers_in_the_same_order() -> None:
    def drawn(rank: int | None, step: int = 0) -> tuple[list[int], list[float]]:
        streams = Streams([3], CPU)
        streams.uniform("dropout", (2,), 0, 1)
        torch.randperm(5, generator=streams.of("order")[0])
        if rank is not None:
            streams.part(rank, step)
        order = torch.randperm(9, generator=streams.of("order")[0]).tolist()
        return order, streams.uniform("dropout", (2,), 0, 1).flatten().tolist()

    found = [drawn(None), drawn(1), drawn(2), drawn(1, 5)]
    assert len({tuple(order) for order, _ in found}) == 1
    assert len({tuple(numbers) for _, numbers in found}) == 4


def test_the_mean_is_weighted_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes of 2 and 1 rows; the sum that the exchange gives is made by hand."""
    first, second = Team(0, 2, CPU), Team(1, 2, CPU)
    rows = torch.arange(3).unsqueeze(0)
    assert [one.part(rows).tolist() for one in (first, second)] == [[[0, 1]], [[2]]]
    sent: list[torch.Tensor] = []
    monkeypatch.setattr("titrant.train.team.distributed.all_reduce", lambda given: sent.append(given.clone()))
    for one, loss in ((first, 4.0), (second, 1.0)):
        one.mean(torch.tensor([loss]), torch.tensor([[3 * loss, 0.0]]), one.part(rows).shape[1], 3)
    assert sum(sent).tolist() == pytest.approx([9.0, 0.0, 3.0, 0.0])  # type: ignore[union-attr]


def test_when_a_process_is_lost_this_one_goes_on(make_problem: MakeProblem) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    problem = make_problem()
    with Leader(2, CPU) as team:
        (helper,) = {child.pid for child in psutil.Process().children(recursive=True)} - before
        cohort = cohort_of(problem, PLAIN)
        assert cohort.advance(cohort.steps // 2, endless())
        os.kill(helper, signal.SIGKILL)
        time.sleep(0.5)
        assert cohort.advance(cohort.steps, endless())
        assert team.lost
        assert here() is None
    assert_same_curves(cohort, alone(cohort_of(problem, PLAIN)))
    assert not psutil.pid_exists(helper) or psutil.Process(helper).status() == psutil.STATUS_ZOMBIE


class Own(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layers(x)
        return found


def make_own(inputs: int, outputs: int) -> nn.Module:
    return Own(inputs, outputs)


RECIPE: dict[str, Any] = {"model": "mlp", "stop": {"kind": "last", "epochs": 20}, "hardware": {"processes": 2}}


@pytest.mark.parametrize("model", [None, make_own])
def test_a_recipe_is_fitted_by_several_processes(model: Any, tmp_path: Path) -> None:
    recipe = RECIPE if model is None else {**RECIPE, "model": "custom"}
    run = titrant.fit(samples.path("penguins"), "species", budget="60s", recipe=recipe, model=model, out=tmp_path / "run")
    assert (run.summary.score_test or 0) > 0.75
    assert {record.state for record in read_members(run.folder / "members.jsonl")} == {"finished"}
    assert not [child for child in psutil.Process().children() if "team" in " ".join(child.cmdline())]
    assert not torch.distributed.is_initialized()


def test_torchrun_starts_the_processes(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("{model: mlp, stop: {kind: last, epochs: 10}}")
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "titrant", "fit"),
        *(samples.path("penguins"), "--target", "species", "--budget", "60s", "--recipe", recipe, "--out", tmp_path / "run"),
    ]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert (Summary.read(tmp_path / "run" / "summary.json").score_test or 0) > 0.9
    assert done.stdout.count("held-out rows") == 1


def test_what_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    recipe = {**RECIPE, "model": "custom"}
    own: Any = lambda inputs, outputs: Own(inputs, outputs)  # noqa: E731  # what cannot travel
    with pytest.raises(TitrantError, match="a module that each of them can import"):
        titrant.fit(samples.path("penguins"), "species", budget="60s", recipe=recipe, model=own, out=tmp_path / "run")
    assert here() is None
    with pytest.raises(TitrantError, match="leave out --cluster"):
        titrant.fit(samples.path("penguins"), "species", budget="20s", recipe=RECIPE, cluster="local", out=tmp_path / "other")
