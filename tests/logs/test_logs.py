"""Runs written into MLflow and TensorBoard, and read back with their own tools; and a log that cannot be written."""

import math
import os
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from tests.light import LIGHT

import titrant
from titrant import logs, samples
from titrant.errors import TitrantError
from titrant.logs import Logs, checked, doses
from titrant.record import MemberRecord, Point, Summary, read_members

PENGUINS = samples.path("penguins")
pytestmark = [pytest.mark.filterwarnings("ignore")]  # of the packages themselves, in threads


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow on a database of its own."""
    mlflow = pytest.importorskip("mlflow")
    place = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.chdir(tmp_path)  # where MLflow keeps files
    return mlflow.MlflowClient(tracking_uri=place)


def record(number: int = 0, **changes: object) -> MemberRecord:
    point = Point(step=3, epoch=1.5, seconds=1.0, loss_train=0.5, loss_validation=math.nan, score_validation=None,
                  learning_rate=0.1)  # fmt: skip
    known = {
        "number": number, "origin": "tpe", "recipe": {"batch": {"kind": "fixed", "size": 64}}, "parameters": 1, "seed": 0,
        "state": "finished", "rung": 2, "steps": 9, "epochs": 1.0, "seconds": 1.0, "score_validation": 0.5, "curve": [point],
        "receipts": [],
    }  # fmt: skip
    return MemberRecord.model_validate({**known, **changes})


def test_mlflow_shows_the_run_and_each_member_with_its_doses_and_curves(server: Any, tmp_path: Path) -> None:
    run = titrant.fit(PENGUINS, "species", budget="60s", members=3, log=["mlflow"], out=tmp_path / "run", **LIGHT)
    assert run.summary.warnings == []
    experiment = server.get_experiment_by_name("titrant")
    found = server.search_runs([experiment.experiment_id])
    (parent,) = (one for one in found if "mlflow.parentRunId" not in one.data.tags)
    children = {one.info.run_name: one for one in found if one is not parent}
    records = read_members(run.folder / "members.jsonl")
    assert sorted(children) == sorted(logs.member_name(one) for one in records)
    assert parent.data.metrics["score/test"] == pytest.approx(run.summary.score_test)
    assert parent.data.params["target"] == "species"
    assert {parent.info.status} | {child.info.status for child in children.values()} == {"FINISHED"}
    for one in records:
        child = children[logs.member_name(one)]
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.data.params["batch.size"] == str(one.recipe["batch"]["size"])
        if one.score_validation is not None:
            assert child.data.metrics["best/score_validation"] == pytest.approx(one.score_validation)
        history = server.get_metric_history(child.info.run_id, "loss/train")
        assert [entry.step for entry in history] == [point.step for point in one.curve if point.loss_train is not None]
    assert {file.path for file in server.list_artifacts(parent.info.run_id)} == {"report.html", "recipe.yaml", "summary.json"}


def test_tensorboard_shows_curves_and_the_table_of_doses(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    accumulator = import_module("tensorboard.backend.event_processing.event_accumulator")
    run = titrant.fit(PENGUINS, "species", budget="60s", members=3, log=["tensorboard"], out=tmp_path / "run", **LIGHT)
    assert run.summary.warnings == []
    records = read_members(run.folder / "members.jsonl")
    assert {place.name for place in (run.folder / "tensorboard").iterdir()} == {"run", *map(logs.member_name, records)}
    for one in records:
        events = accumulator.EventAccumulator(str(run.folder / "tensorboard" / logs.member_name(one))).Reload()
        written = [(event.step, event.value) for event in events.Scalars("loss/train")]
        expected = [(point.step, point.loss_train) for point in one.curve if point.loss_train is not None]
        assert written == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected]
        if one.score_validation is not None:
            doses = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
            assert b"batch.size" in doses
            assert b"learning_rate" in doses
    events = accumulator.EventAccumulator(str(run.folder / "tensorboard" / "run")).Reload()
    assert events.Scalars("score/test")[0].value == pytest.approx(run.summary.score_test)


def test_a_resumed_run_logs_only_what_is_new(server: Any, tmp_path: Path) -> None:
    titrant.fit(PENGUINS, "species", budget="60s", members=2, log=["mlflow"], out=tmp_path / "run", **LIGHT)
    before = len(read_members(tmp_path / "run" / "members.jsonl"))
    again = titrant.resume(tmp_path / "run", budget="15s")
    assert not [warning for warning in again.summary.warnings if "log" in warning]
    found = server.search_runs([server.get_experiment_by_name("titrant").experiment_id])
    parents = [one for one in found if "mlflow.parentRunId" not in one.data.tags]
    assert len(parents) == 2
    assert len(found) - len(parents) == len(read_members(tmp_path / "run" / "members.jsonl")) > before


def test_a_run_that_fails_is_marked_as_failed(server: Any, tmp_path: Path) -> None:
    with pytest.raises(TitrantError, match="ended before any network"):
        titrant.fit(PENGUINS, "species", budget=0.01, log=["mlflow"], out=tmp_path / "run")
    found = server.search_runs([server.get_experiment_by_name("titrant").experiment_id])
    (parent,) = (one for one in found if "mlflow.parentRunId" not in one.data.tags)
    assert parent.info.status == "FAILED"


class Away:
    """A log whose place is away until it is called often enough."""

    def __init__(self, failures: int) -> None:
        self.left, self.members, self.threads = failures, list[int](), set[str]()

    def begin(self, name: str, facts: object) -> None:
        self.threads.add(threading.current_thread().name)
        self.left -= 1
        if self.left >= 0:
            raise ConnectionError("nobody is there\nat all")

    def member(self, record: MemberRecord) -> None:
        self.members.append(record.number)

    def end(self, folder: Path, summary: Summary) -> None:
        self.members.append(-1)

    def fail(self) -> None:
        self.members.append(-2)


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Away:
    log = Away(1)
    monkeypatch.setattr(logs, "import_module", lambda _: type("Module", (), {"make": lambda folder: log}))
    return log


def test_a_log_that_is_back_gets_everything_once_and_training_never_waits(away: Away, tmp_path: Path) -> None:
    with Logs(["tensorboard"], tmp_path, "run", {}, told=1) as found:
        deadline = time.monotonic() + 20
        while not found.troubles() and time.monotonic() < deadline:
            time.sleep(0.01)
        records = [record(number) for number in range(4)]
        found.follow(records[:3], lambda one: one.number != 2)
        found.follow(records)
        found.follow(records)
        assert found.close(tmp_path, None) == []  # type: ignore[arg-type]
    assert away.members == [1, 3, -1]
    assert away.threads == {"log tensorboard"}


def test_a_log_that_stays_away_is_said_and_nothing_else_happens(away: Away, tmp_path: Path) -> None:
    away.left = 99
    found = titrant.fit(PENGUINS, "species", budget="60s", members=1, log=["tensorboard"], out=tmp_path / "run", **LIGHT)
    (warning,) = (one for one in found.summary.warnings if "log tensorboard" in one)
    assert "nobody is there" in warning
    assert "at all" not in warning
    assert Summary.read(tmp_path / "run" / "summary.json") == found.summary
    assert away.members == []


def test_doses_have_full_paths_and_plain_values() -> None:
    found = dict(doses(titrant.Recipe().plain()))
    assert found["batch.kind"] == "fixed"
    assert all(isinstance(value, str | int | float | bool) for value in found.values())
    assert all(name.count(".") >= 1 for name in found)


def test_curves_hold_finite_values_only() -> None:
    assert logs.curve(record().curve[0]) == {"loss/train": 0.5, "learning_rate": 0.1, "epoch": 1.5}


def test_a_missing_package_is_said_before_anything_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(logs, "find_spec", lambda _: None)
    with pytest.raises(TitrantError, match=r"pip install 'titrant\[mlflow\]'"):
        titrant.fit(PENGUINS, "species", log=["mlflow"], out=tmp_path / "run")
    assert os.listdir(tmp_path) == []  # noqa: PTH208
    with pytest.raises(TitrantError, match="There is no log 'wandb'"):
        checked(["wandb"])
