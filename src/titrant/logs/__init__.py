"""Logs: a run written down where other tools show it, `--log mlflow` and `--log tensorboard`.

    the run's members -- follow --> a thread for each log --> an MLflow server, files for TensorBoard

The run folder holds everything already; a log is a copy of it for a place where other runs are compared. It never holds up
training (`titrant.background`), and what it could not take is said at the end.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, Self

from titrant.background import Background
from titrant.errors import TitrantError
from titrant.record import MemberRecord, Point, Summary
from titrant.texts import say

LOGS = {"mlflow": "mlflow", "tensorboard": "tensorboard"}
"""Known logs, and the package that each needs."""

_HANDED_IN = 10.0  # seconds that a log has at most to take what is left at the end


class Log(Protocol):
    """Where a run is written; every method may fail and be called again, and does nothing twice."""

    def begin(self, name: str, facts: Mapping[str, str]) -> None:
        """A run begins.

        Args:
            name: of the run.
            facts: what it is about: data, target, metric, budget, seed.
        """
        ...

    def member(self, record: MemberRecord) -> None:
        """A member has left training."""
        ...

    def end(self, folder: Path, summary: Summary) -> None:
        """The run has ended.

        Args:
            folder: the run, whole.
            summary: its headline.
        """
        ...

    def fail(self) -> None:
        """The run has ended without a result."""
        ...


class Logs:
    """All logs that a person wants of one run; a context manager, so that they learn of a run that fails.

    Args:
        names: of `LOGS`.
        folder: the run's.
        name: of the run.
        facts: see `Log.begin`.
        told: members that were logged in an earlier part of the run.

    Raises:
        TitrantError: there is no such log, or its package is missing.
    """

    def __init__(self, names: Sequence[str], folder: Path, name: str, facts: Mapping[str, str], told: int = 0) -> None:
        self._told = told
        self._writers = [_Writer(kind, import_module(f"titrant.logs.{kind}").make(folder)) for kind in checked(names)]
        self._give(lambda log: log.begin(name, facts))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._give(lambda log: log.fail())
            self._close()

    def follow(self, records: Sequence[MemberRecord], mine: Callable[[MemberRecord], bool] = lambda _: True) -> None:
        """Takes over what has come since the last call.

        Args:
            records: all members of the run so far, in the order in which they left.
            mine: whether this command has trained a member.
        """
        for record in records[self._told :]:
            if mine(record):
                self._give(partial(_tell, record))
        self._told = max(self._told, len(records))

    def troubles(self) -> list[str]:
        """Which logs cannot be written at the moment, and why."""
        return [
            say("The log {name} cannot be written at the moment ({reason}). The run goes on, and tries again.",
                name=writer.name, reason=writer.lost)
            for writer in self._writers if writer.lost is not None
        ]  # fmt: skip

    def close(self, folder: Path, summary: Summary) -> list[str]:
        """Hands in the result and ends.

        Returns:
            What a person should know: which log lacks what.
        """
        self._give(lambda log: log.end(folder, summary))
        return self._close()

    def _give(self, entry: Callable[[Log], None]) -> None:
        for writer in self._writers:
            writer.give(entry)

    def _close(self) -> list[str]:
        return [problem for writer in self._writers for problem in writer.close(_HANDED_IN)]


def _tell(record: MemberRecord, log: Log) -> None:
    log.member(record)


class _Writer:
    """One log and the thread that writes it."""

    def __init__(self, name: str, log: Log) -> None:
        self.name = name
        self._log = log
        self._waiting: deque[Callable[[Log], None]] = deque()
        # whatever a server, a disk or a package of others raises, it is no reason to lose a run
        self._thread = Background(f"log {name}", self._write, lambda: bool(self._waiting), (Exception,), reason)

    @property
    def lost(self) -> str | None:
        """Why it cannot be written at the moment, or None."""
        return self._thread.lost

    def give(self, entry: Callable[[Log], None]) -> None:
        """Something to write."""
        self._waiting.append(entry)
        self._thread.wake()

    def close(self, seconds: float) -> list[str]:
        """Ends once everything is written, or the time is over."""
        self._thread.close(seconds)
        if not self._waiting:
            return []
        return [
            say("The log {name} could not be written to its end ({reason}); {count} of its entries are missing. Everything is "
                "in the run folder.", name=self.name, reason=self.lost or say("there was no time"), count=len(self._waiting))
        ]  # fmt: skip

    def _write(self) -> None:
        while self._waiting:
            self._waiting[0](self._log)
            self._waiting.popleft()


def checked(names: Sequence[str]) -> list[str]:
    """Names of logs, each once.

    Raises:
        TitrantError: there is no such log, or its package is missing.

    Example:
        >>> checked(["wandb"])
        Traceback (most recent call last):
        titrant.errors.TitrantError: There is no log 'wandb'. Choose of mlflow, tensorboard.
    """
    for name in names:
        if name not in LOGS:
            raise TitrantError(say("There is no log {name!r}. Choose of {known}.", name=name, known=", ".join(LOGS)))
        if find_spec(LOGS[name]) is None:
            raise TitrantError(
                say("The log {name} needs one more package: pip install 'titrant[{name}]'", name=name)
            )  # fmt: skip
    return list(dict.fromkeys(names))


# ----------------------------------------------------------------- for each log


def doses(recipe: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str | float | bool]]:
    """The doses of a recipe by their full paths.

    Example:
        >>> dict(doses({"batch": {"kind": "fixed", "size": 64}}))
        {'batch.kind': 'fixed', 'batch.size': 64}
    """
    for name, value in recipe.items():
        place = f"{path}.{name}" if path else name
        if isinstance(value, Mapping):
            yield from doses(value, place)
        elif isinstance(value, str | int | float | bool):
            yield place, value
        elif value is not None:
            yield place, ", ".join(map(str, value)) if isinstance(value, Sequence) else str(value)


def curve(point: Point) -> dict[str, float]:
    """What is known at a point of a member's training; values that are missing or not finite are left out."""
    known = {
        "loss/train": point.loss_train,
        "loss/validation": point.loss_validation,
        "score/validation": point.score_validation,
        "learning_rate": point.learning_rate,
        "epoch": point.epoch,
    }
    return {name: value for name, value in known.items() if value is not None and math.isfinite(value)}


def scores(summary: Summary) -> dict[str, float]:
    """The scores of a run."""
    known = {
        "score/test": summary.score_test,
        "score/validation": summary.score_validation,
        "score/refit": summary.score_refit,
        "score/test_of_the_baseline": summary.baseline_score_test,
        "members": float(summary.n_members),
        "seconds": summary.seconds_total,
    }
    return {name: value for name, value in known.items() if value is not None}


def member_name(record: MemberRecord) -> str:
    """A member's name, which sorts by its number.

    Example:
        >>> member_name(MemberRecord(number=7, origin="tpe", recipe={}, parameters=1, seed=0, state="finished", rung=2, steps=9,
        ...                          epochs=1.0, seconds=1.0, score_validation=0.5, curve=[], receipts=[]))
        'member-0007'
    """
    return f"{'refit' if record.origin == 'refit' else 'member'}-{record.number:04d}"


def reason(error: BaseException) -> str:
    """An error in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:200]


def artifacts(folder: Path) -> list[Path]:
    """Files of a run that a person wants to find beside its scores."""
    return [folder / name for name in ("report.html", "recipe.yaml", "summary.json") if os.access(folder / name, os.R_OK)]
