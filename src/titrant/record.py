"""What a run leaves behind: plain values without torch, written as JSON, read by the report, by scripts and by the doctor.

A run folder holds

    recipe.yaml        the winning recipe: everything needed to train again
    summary.json       one `Summary`
    members.jsonl      one `MemberRecord` a line, one line for each recipe that was tried
    data.json          one `DataSummary`
    source.json        one `Source`: how to read the same data again
    asked.json         one `Asked`: what a person asked for, beyond the data
    evaluation.json    one `Evaluation`: what the final model did on held-out rows
    model/             weights (safetensors) and their description (JSON)
    study.db           the Optuna study (SQLite)
    report.html        everything above for the eye

Files are written beside their place and renamed into it, so that a reader never meets half a file.
"""

import math
import os
import platform
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from titrant.errors import OutputError
from titrant.texts import say

ALWAYS_ON = frozenset({"data.categories", "data.numbers", "data.scale", "data.tokens", "stop"})
"""Slots that every recipe fills, whatever the data: it is no news if one of them never acted."""

Task = Literal["binary", "multiclass", "regression"]
Direction = Literal["maximize", "minimize"]


class Record(BaseModel):
    """A value that is written as JSON and read back unchanged; numbers that JSON lacks (NaN, infinity) are written as null."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="null")

    def write(self, path: Path) -> None:
        """Writes the record to `path`, whole or not at all."""
        write_text(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a record that `write` has written."""
        return cls.model_validate_json(path.read_text(encoding="utf-8"))


class Point(Record):
    """One evaluation of a member while it trains."""

    step: int
    epoch: float
    seconds: float | None = Field(description="since the command began")
    loss_train: float | None = Field(description="mean training loss since the last point")
    loss_validation: float | None
    score_validation: float | None = Field(description="the metric on validation rows")
    learning_rate: float | None


class Receipt(Record):
    """What one trick really did in one run: it acted on `acted` of `seen` units."""

    trick: str = Field(description="the slot's path, e.g. dropout or regularize.l1")
    kind: str
    acted: float
    seen: float
    unit: str = Field(description="units, batches, steps, rows, weights, ...")

    @property
    def never_acted(self) -> bool:
        """True if the trick was switched on and changed nothing."""
        return self.acted == 0


class MemberRecord(Record):
    """One recipe that was tried."""

    number: int
    origin: str = Field(
        description="baseline, portfolio, quasi-random, forest, mutation, remedy, refit, given, or a search's name"
    )
    recipe: dict[str, Any]
    parameters: int = Field(description="learned numbers")
    seed: int
    state: Literal["finished", "stopped", "diverged", "interrupted"] = Field(
        description="stopped: dropped at a rung; interrupted: the clock or a person ended it"
    )
    rung: int = Field(description="the last rung that it reached, from 0")
    steps: int
    epochs: float
    seconds: float = Field(description="its share of the cohort's training time")
    score_validation: float | None = Field(
        description="best over its curve; the mean of the folds' best under cross-validation"
    )
    loss_validation: float | None = Field(
        default=None, description="the plain loss where the score was best; the mean over folds"
    )
    folds: list[float | None] = Field(default=[], description="the scores of which `score_validation` is the mean")
    curve: list[Point] = Field(description="means over folds")
    receipts: list[Receipt]
    shared: str | None = Field(default=None, description="its name in a study that several commands share")
    parts: int = Field(default=1, description="in which each batch was computed, because memory did not hold it whole")


class ColumnSummary(Record):
    """One column as the run understood it."""

    name: str
    kind: str = Field(description="number, category, boolean, date, or left out")
    missing: int
    distinct: int | None
    note: str = ""
    example: str = ""
    histogram: list[float] = Field(default=[], description="counts in equal bins (numbers) or of the commonest values")
    labels: list[str] = Field(default=[], description="bin edges or values")


class DataSummary(Record):
    """The data as the run understood it."""

    source: str
    target: str
    task: Task
    rows_train: int
    rows_validation: int
    rows_test: int
    classes: list[str] = Field(default=[], description="in the order of the model's outputs")
    class_counts: list[int] = []
    split: str = Field(description="how the rows were divided, in words")
    columns: list[ColumnSummary]
    picture: str = Field(default="", description="size and colours of pictures, in words; empty for other data")
    series: str = Field(default="", description="length and channels of series, in words; empty for other data")
    text: str = Field(default="", description="length of texts and size of their vocabulary, in words; empty for other data")
    text_column: str = Field(default="", description="that holds the texts")


class Source(Record):
    """Where the data came from and how they were read, so that the same rows can be read and divided again.

    See `titrant.data.learnable.read_data` for what the fields mean.
    """

    data: str | None = Field(description="the file or folder, absolute; None for data that were in memory")
    test: str | None = Field(default=None, description="the file of test rows, absolute")
    target: str | None = None
    task: str | None = None
    kinds: dict[str, str] = {}
    split_column: str | None = None
    group: str | None = None
    by: str | None = None
    time: str | None = None
    horizon: int | None = None
    text: str | None = None
    seed: int = 0
    hold_out: bool = True
    size: int | None = None
    digest: str = Field(default="", description="of the rows as they were read; empty if that was not kept")


class Asked(Record):
    """What a person asked of a fit, beyond the data: what a resumed run needs to go on alike."""

    metric: str | None = None
    seed: int = 0
    recipe: dict[str, Any] | None = Field(default=None, description="the person's own, whole")
    space: dict[str, Any] | None = Field(default=None, description="what to search, by path")
    members: int | None = None
    ensemble: bool = True
    search: str = "mixed"
    folds: int | None = Field(default=None, description="of a cross-validation by which recipes are compared")
    repeats: int = Field(default=1, description="of that, with the rows cut anew")
    device: str = "auto"
    workers: int | None = Field(default=None, description="processes that train at the same time")
    cluster: str | None = Field(default=None, description="the address of a Ray cluster that trains")
    study: str | None = Field(default=None, description="the address of a study that several commands share, without password")
    log: list[str] = Field(default=[], description="where else the run is written: mlflow, tensorboard")
    surgery: list[str] = Field(default=[], description="slots that reach into a network of the person's own")


class Sample(Record):
    """A training picture, and what training sees of it."""

    name: str
    label: str
    picture: str = Field(description="a PNG file in base64, as the following")
    augmented: list[str]


class Line(Record):
    """A training series, and what training sees of it; null where a value is missing."""

    name: str
    label: str
    values: list[list[float | None]] = Field(description="of each channel, at most a few hundred steps")
    augmented: list[list[list[float | None]]]


class Fan(Record):
    """A forecast of held-out steps: what came before, what came, and what was predicted."""

    name: str
    history: list[float | None] = Field(description="the newest steps before")
    truth: list[float]
    predicted: list[float]
    low: list[float] = Field(default=[], description="below which a tenth of values should lie")
    high: list[float] = Field(default=[], description="above which a tenth of values should lie")


class Mistake(Record):
    """A held-out picture or text that the final model takes for something else."""

    name: str
    truth: str
    predicted: str
    probability: float = Field(description="that the model gives to its prediction")
    picture: str = Field(default="", description="a PNG file in base64")
    text: str = ""


class Passage(Record):
    """A training text, and what training sees of it."""

    label: str
    text: str
    augmented: list[str] = []


class Evaluation(Record):
    """What the final model and the plain baseline did on held-out rows."""

    metrics: dict[str, float | None] = Field(description="every metric that fits the task, for the final model")
    metrics_baseline: dict[str, float | None] = {}
    recipe_baseline: dict[str, Any] | None = Field(default=None, description="the plain baseline's, if it was trained")
    confusion: list[list[int]] = Field(default=[], description="[truth][prediction], classification")
    truth: list[float] = Field(default=[], description="a sample of targets, regression")
    predicted: list[float] = Field(default=[], description="their predictions, regression")
    reliability: list[tuple[float, float, int]] = Field(
        default=[], description="(mean confidence, share right, rows) per bin, classification"
    )
    samples: list[Sample] = Field(default=[], description="training pictures, and how the winning recipe augments them")
    fans: list[Fan] = Field(default=[], description="forecasts of held-out windows, evenly spaced over them")
    coverage: float | None = Field(default=None, description="share of held-out values inside the band that should hold 80 %")
    lines: list[Line] = Field(default=[], description="training series, and how the winning recipe augments them")
    mistakes: list[Mistake] = Field(default=[], description="held-out pictures or texts, the commonest kinds of mistakes first")
    passages: list[Passage] = Field(default=[], description="training texts")


class Summary(Record):
    """The headline of a run."""

    task: Task
    metric: str
    direction: Direction
    score_validation: float | None = Field(description="of the winner, on the rows that chose it: flattered by the choice")
    score_refit: float | None = Field(description="of the final model, each row scored by networks that never saw it")
    score_test: float | None = Field(description="of the final model, on rows that no choice has seen")
    baseline_score_test: float | None = Field(description="of the plain baseline, on the same rows")
    score_test_interval: tuple[float, float] | None = Field(default=None, description="95 %, bootstrap over the test rows")
    gain_interval: tuple[float, float] | None = Field(
        default=None,
        description="95 %, of the score's gain over the baseline's, positive where better: both on the same resampled rows",
    )
    final: Literal["refit", "checkpoint"]
    n_members: int
    n_networks: int = Field(description="networks whose predictions the final model averages")
    n_recipes: int = Field(default=1, description="recipes that these networks were trained by; the best one is `recipe.yaml`")
    seconds_total: float
    budget_seconds: float
    interrupted: bool = False
    receipts: list[Receipt]
    warnings: list[str]
    versions: dict[str, str]
    machine: dict[str, str | int | float]
    seed: int


def finite(value: float | None) -> float | None:
    """The value, None for what JSON lacks."""
    return value if value is not None and math.isfinite(value) else None


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of Python and of the named packages; those that are missing are left out."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write_text(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all: to a temporary neighbour first, then renamed into place."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file, whole or not at all: to a temporary neighbour first, then renamed into place."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_members(path: Path, members: Iterable[MemberRecord]) -> None:
    """Writes one member a line (JSON Lines)."""
    write_text(path, "".join(member.model_dump_json() + "\n" for member in members))


def read_members(path: Path) -> list[MemberRecord]:
    """Reads what `write_members` has written."""
    return [MemberRecord.model_validate_json(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def is_held(folder: Path) -> bool:
    """Whether another command is working in a folder."""
    try:
        with held(folder):
            return False
    except OutputError:
        return True


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps other commands out of a folder, by a lock on the folder itself, which ends with this process however it ends.

    Raises:
        OutputError: another command is working there.
    """
    try:
        import fcntl
    except ImportError:  # a system without such locks
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                say("Another command is working in {folder}. Wait for its end, or stop it first.", folder=folder)
            ) from None
        yield
    finally:
        os.close(handle)
