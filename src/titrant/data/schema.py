"""What a run knows of its table: the columns, how their cells become numbers and codes, and the classes of the target.

A schema is learned from development rows once (`titrant.data.dataset.read`), travels with the model as JSON, and encodes any
later table in the same way.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr
from torch import Tensor

from titrant.data import cells
from titrant.data.kinds import Kind
from titrant.data.sources import near, open_frame
from titrant.errors import DataError
from titrant.record import Record, Task
from titrant.texts import say

Part = Literal["year", "month", "day", "weekday", "day_of_year", "hour", "minute", "second"]
Label = StrictBool | StrictInt | StrictFloat | StrictStr

PARTS: dict[Part, Callable[[pl.Series], pl.Series]] = {
    "year": lambda moments: moments.dt.year(),
    "month": lambda moments: moments.dt.month(),
    "day": lambda moments: moments.dt.day(),
    "weekday": lambda moments: moments.dt.weekday(),
    "day_of_year": lambda moments: moments.dt.ordinal_day(),
    "hour": lambda moments: moments.dt.hour(),
    "minute": lambda moments: moments.dt.minute(),
    "second": lambda moments: moments.dt.second(),
}
"""Parts of a date that become number columns; weekday counts from Monday = 1."""

UNSEEN, MISSING, KNOWN = 0, 1, 2
"""The code of a category that the schema does not know, of a missing cell, and of the first category that it knows."""

_EXACT = 2**53  # up to which float64 holds each whole number
LARGEST_TARGET = 1e30  # regression targets must fit float32 with room to spare
LIMIT = 1e15  # encoded numbers beyond this are cut off, so that their squares stay far inside float32


class Column(Record):
    """One input column.

    Example:
        >>> Column(name="size", kind="category", vocabulary=("S", "XL")).codes(pl.Series("size", ["XL", None, "M"])).to_list()
        [3, 1, 0]
    """

    model_config = ConfigDict(frozen=True)

    name: str
    kind: Kind
    vocabulary: tuple[str, ...] = Field(default=(), description="known categories, commonest first; code 2 is the first")
    offset: float = Field(default=0.0, description="subtracted in float64, where float32 would blur the column's differences")
    scale: float = Field(default=1.0, description="divided by in float64, where float32 would overflow or vanish")
    comma: cells.Comma = Field(default="", description="what a comma in a number written as text means")
    form: str = Field(default="", description="strftime format of a date written as text")
    parts: tuple[Part, ...] = Field(default=(), description="the parts of a date that vary, each one a number column")
    note: str = ""

    @property
    def number_names(self) -> list[str]:
        """Names of the number columns that this column becomes: none for a category, one per part for a date."""
        if self.kind == "category":
            return []
        return [f"{self.name}.{part}" for part in self.parts] if self.kind == "date" else [self.name]

    def values(self, series: pl.Series) -> pl.Series:
        """The cells as their kind reads them, float64, datetime or text; those that cannot be read are null."""
        match self.kind:
            case "number":
                return cells.number(series, self.comma)
            case "boolean":
                return cells.boolean(series)
            case "date":
                return cells.moment(series, self.form)
            case "category":
                return cells.text(series)

    def codes(self, values: pl.Series) -> pl.Series:
        """Codes (int32) of a category column's `values`: 0 not in the vocabulary, 1 missing, 2 and up the vocabulary."""
        known = {word: code for code, word in enumerate(self.vocabulary, KNOWN)}
        return values.replace_strict(known, default=UNSEEN, return_dtype=pl.Int32).set(values.is_null(), MISSING)

    def numbers(self, values: pl.Series) -> list[pl.Series]:
        """Number columns (float32, missing is null) of the other kinds' `values`, in the order of `number_names`."""
        if self.kind == "date":
            return [PARTS[part](values).cast(pl.Float32) for part in self.parts]
        finite = values.set(values.is_infinite(), None)
        if self.offset or self.scale != 1.0:
            finite = (finite - self.offset) / self.scale
        return [finite.clip(-LIMIT, LIMIT).cast(pl.Float32)]


class Rows(NamedTuple):
    """Rows that were read for a model: what its encoder takes, and a name for each where rows have names."""

    inputs: tuple[Tensor, ...]
    names: pl.Series | None = None


class Outputs(Record):
    """What a model predicts, whatever it reads. Frozen; written and read as JSON."""

    model_config = ConfigDict(frozen=True)

    task: Task
    target: str
    classes: tuple[Label, ...] = Field(default=(), description="labels as they stood in the data, in the order of the outputs")

    def encode_target(self, frame: pl.DataFrame) -> Tensor:
        """The target: int64 [N] positions in `classes`, -1 for a label that is not among them; in regression float32 [N], NaN
        for what is no number within ±1e30.
        """
        if self.task == "regression":
            return torch.from_numpy(self.target_values(frame).astype(np.float32))
        series = self._target_of(frame)
        labels: list[float] | list[str]
        if all(isinstance(label, bool) for label in self.classes):
            values, labels = cells.boolean(series), [float(label) for label in self.classes]
        elif any(isinstance(label, str) or (isinstance(label, int) and abs(label) > _EXACT) for label in self.classes):
            values, labels = cells.text(series), [str(label) for label in self.classes]
        else:
            values, labels = cells.number(series), [float(label) for label in self.classes]
        index = values.replace_strict(labels, range(len(labels)), default=-1, return_dtype=pl.Int64)
        return torch.from_numpy(index.fill_null(-1).to_numpy(writable=True))

    def target_values(self, frame: pl.DataFrame) -> NDArray[np.float64]:
        """A regression target, float64 [N], NaN for what is no number within ±1e30."""
        values = cells.number(self._target_of(frame)).to_numpy(writable=True)
        values[~(np.abs(values) <= LARGEST_TARGET)] = np.nan
        return values

    def labels(self, index: NDArray[np.integer]) -> NDArray[np.generic]:
        """The classes at these positions, as they stood in the data: whole numbers, floats, truth values or text.

        Example:
            >>> Schema(task="binary", target="y", classes=(3, 7), columns=()).labels(np.array([1, 0])).tolist()
            [7, 3]
        """
        labels: NDArray[np.generic] = np.asarray(self.classes)
        if labels.tolist() != list(self.classes):  # whole numbers beyond 64 bits
            labels = np.asarray(self.classes, dtype=object)
        chosen: NDArray[np.generic] = labels[index]
        return chosen

    def _target_of(self, frame: pl.DataFrame) -> pl.Series:
        if self.target not in frame.columns:
            raise DataError(
                say("The target {name!r} is not a column.{hint}", name=self.target, hint=near(self.target, frame.columns))
            )
        return frame[self.target]


class Schema(Outputs):
    """The columns that a model reads and the target that it predicts."""

    columns: tuple[Column, ...]
    left_out: dict[str, str] = Field(default={}, description="columns that the model does not see, and why")

    @cached_property
    def number_names(self) -> list[str]:
        """Names of the encoded number columns; the parts of a date are called `column.part`."""
        return [name for column in self.columns for name in column.number_names]

    @cached_property
    def code_names(self) -> list[str]:
        """Names of the encoded category columns."""
        return [column.name for column in self.columns if column.kind == "category"]

    @cached_property
    def cardinalities(self) -> list[int]:
        """How many codes each category column may take, the two for unseen and missing among them."""
        return [len(column.vocabulary) + KNOWN for column in self.columns if column.kind == "category"]

    def encode(self, frame: pl.DataFrame, notes: list[str], *, known: bool = False) -> tuple[Tensor, Tensor]:
        """Encodes a table that `open_frame` has opened.

        Columns may stand in any order; columns that the schema does not know are ignored with a note, cells that cannot be read
        count as missing with a note, and so do categories that the schema does not know, as code 0.

        Args:
            frame: N rows with at least the schema's columns.
            notes: receives warnings for the person.
            known: these rows are the ones that the schema was learned from; what it left out of them is no news.

        Returns:
            numbers: float32 [N, F], NaN for missing, in the order of `number_names`.
            codes: int32 [N, C], in the order of `code_names`: 0 unseen, 1 missing, 2 and up the vocabulary.

        Raises:
            DataError: columns are missing.
        """
        self._check_columns(frame.columns, notes)
        numbers: list[pl.Series] = []
        codes: list[pl.Series] = []
        for column in self.columns:
            cells_ = frame[column.name]
            values = column.values(cells_)
            _note_unreadable(column, cells_, values, notes)
            if column.kind == "category":
                codes.append(column.codes(values))
                if not known:
                    _note_unseen(column, values, codes[-1], notes)
            else:
                numbers += column.numbers(values)
                if column.kind == "number":
                    _note_cut(column, numbers[-1], notes)
        return (
            torch.from_numpy(_matrix(numbers, frame.height, np.dtype(np.float32))),
            torch.from_numpy(_matrix(codes, frame.height, np.dtype(np.int32))),
        )

    def rows(self, data: object, notes: list[str]) -> Rows:
        """Opens a file or a frame, and encodes its rows."""
        return Rows(self.encode(open_frame(data, notes), notes))

    def blank(self) -> tuple[Tensor, ...]:
        """One row in which everything is missing, as `encode` gives it."""
        return torch.full((1, len(self.number_names)), torch.nan), torch.full(
            (1, len(self.cardinalities)), MISSING, dtype=torch.int32
        )

    def _check_columns(self, present: list[str], notes: list[str]) -> None:
        known = [column.name for column in self.columns]
        extra = [name for name in present if name not in {*known, *self.left_out, self.target}]
        absent = [name for name in known if name not in present]
        if absent:
            shown = ", ".join(f"{name!r}.{hint}" if (hint := near(name, extra)) else repr(name) for name in absent[:20])
            raise DataError(
                say("The data lacks {count} of the columns that the model reads: {names}", count=len(absent), names=shown)
            )
        if extra:
            notes.append(
                say("Columns that the model does not know are ignored: {names}.", names=", ".join(map(repr, extra[:20])))
            )


def _matrix(columns: list[pl.Series], rows: int, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Columns side by side, row-major [rows, columns]; null becomes NaN."""
    matrix: NDArray[np.generic] = np.empty((rows, len(columns)), dtype)
    for place, column in enumerate(columns):
        matrix[:, place] = column.to_numpy()
    return matrix


def _examples(series: pl.Series) -> str:
    return ", ".join(repr(cell) for cell in series.unique(maintain_order=True).head(3).to_list())


def _note_unreadable(column: Column, series: pl.Series, values: pl.Series, notes: list[str]) -> None:
    if values.null_count() > series.null_count():
        strange = series.filter(values.is_null() & series.is_not_null())
        notes.append(
            say(
                "Column {name!r}: {count} cells cannot be read as {kind} and count as missing, such as {examples}.",
                name=column.name,
                count=len(strange),
                kind=column.kind,
                examples=_examples(strange),
            )
        )
    if column.kind == "number" and (count := int(values.is_infinite().sum())):
        notes.append(say("Column {name!r}: {count} infinite cells count as missing.", name=column.name, count=count))


def _note_cut(column: Column, encoded: pl.Series, notes: list[str]) -> None:
    if count := int((encoded.abs() >= LIMIT).sum()):
        notes.append(
            say(
                "Column {name!r}: {count} cells are beyond {limit:.0e} times what is common and are cut off there.",
                name=column.name,
                count=count,
                limit=LIMIT,
            )
        )


def _note_unseen(column: Column, values: pl.Series, codes: pl.Series, notes: list[str]) -> None:
    unseen = values.filter(codes == UNSEEN)
    if len(unseen):
        notes.append(
            say(
                "Column {name!r}: {count} cells hold categories that the model does not know, such as {examples}; they are "
                "treated alike.",
                name=column.name,
                count=len(unseen),
                examples=_examples(unseen),
            )
        )
