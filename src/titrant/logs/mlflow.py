"""A run in MLflow: a run with its scores and report, and one nested run for each member. The only file that imports `mlflow`.

Where to is MLflow's own affair: MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME, and the experiment `titrant` without them.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from titrant.logs import artifacts, curve, doses, member_name, scores
from titrant.record import MemberRecord, Summary

_PARAMS, _METRICS = 100, 1000
"""Entries of one request at most, as MLflow sets them."""


def make(folder: Path) -> "MlflowLog":
    """The log of a run, which MLflow keeps where it is told to."""
    return MlflowLog()


class MlflowLog:
    """Writes runs through MLflow's client; see `titrant.logs.Log`."""

    def __init__(self) -> None:
        self._client: Any = None  # made by the thread that writes: the package takes seconds to import
        self._experiment = ""
        self._runs: dict[str, str] = {}
        self._name = ""

    def begin(self, name: str, facts: Mapping[str, str]) -> None:
        """Opens the run."""
        from mlflow import MlflowClient

        with _quiet():
            self._client = MlflowClient()
            wanted = os.environ.get("MLFLOW_EXPERIMENT_NAME", "titrant")
            found = self._client.get_experiment_by_name(wanted)
            if found is None:
                with suppress(Exception):  # another command was first
                    self._client.create_experiment(wanted)
                found = self._client.get_experiment_by_name(wanted)
            self._experiment, self._name = found.experiment_id, name
            self._write(self._run(name, {"mlflow.source.name": "titrant fit"}), params=facts)

    def member(self, record: MemberRecord) -> None:
        """A nested run with a member's doses and curves."""
        tags = {"mlflow.parentRunId": self._runs[self._name], "origin": record.origin, "state": record.state}
        run = self._run(member_name(record), tags)
        values = [(name, value, point.step) for point in record.curve for name, value in curve(point).items()]
        if record.score_validation is not None:
            values.append(("best/score_validation", record.score_validation, 0))
        self._write(run, {name: str(value) for name, value in doses(record.recipe)}, values)
        self._client.set_terminated(run, "FAILED" if record.state == "diverged" else "FINISHED")

    def end(self, folder: Path, summary: Summary) -> None:
        """The scores of the run and its report."""
        run = self._runs[self._name]
        self._write(run, values=[(name, value, 0) for name, value in scores(summary).items()])
        for file in artifacts(folder):
            self._client.log_artifact(run, str(file))
        self._client.set_terminated(run, "KILLED" if summary.interrupted else "FINISHED")

    def fail(self) -> None:
        """Marks the run as failed."""
        self._client.set_terminated(self._runs[self._name], "FAILED")

    def _run(self, name: str, tags: Mapping[str, str]) -> str:
        """The identity of a run, which is opened if it is new."""
        if name not in self._runs:
            self._runs[name] = self._client.create_run(self._experiment, run_name=name, tags=dict(tags)).info.run_id
        return self._runs[name]

    def _write(self, run: str, params: Mapping[str, str] | None = None, values: Sequence[tuple[str, float, int]] = ()) -> None:
        from mlflow.entities import Metric, Param

        now = int(1000 * time.time())
        for some in _some([Param(name, value) for name, value in (params or {}).items()], _PARAMS):
            self._client.log_batch(run, params=some)
        for some in _some([Metric(name, value, now, step) for name, value, step in values], _METRICS):
            self._client.log_batch(run, metrics=some)


def _some(entries: Sequence[Any], most: int) -> Iterator[list[Any]]:
    rest = iter(entries)
    while some := list(islice(rest, most)):
        yield some


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the lines about a new database, which would stand in the middle of the progress."""
    logger = logging.getLogger("mlflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
