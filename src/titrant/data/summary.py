"""The data as the report shows it."""

from collections.abc import Sequence
from os import PathLike

import numpy as np
import polars as pl
from torch import Tensor, cat

from titrant.data import cells
from titrant.data.schema import LIMIT, Column, Outputs, Schema
from titrant.data.split import Split
from titrant.record import ColumnSummary, DataSummary
from titrant.texts import say


def summarize(data: object, schema: Schema, frame: pl.DataFrame, split: Split, targets: Tensor) -> DataSummary:
    """The data for the report; what it shows of columns and classes is of development rows."""
    known = {column.name: column for column in schema.columns}
    columns = [
        _column_summary(series, known.get(series.name), schema.left_out.get(series.name, ""))
        for series in frame
        if series.name != schema.target
    ]
    return summary_of(data, say("a table in memory"), schema, split, targets, columns=columns)


def summary_of(
    data: object,
    in_memory: str,
    schema: Outputs,
    split: Split,
    targets: Tensor,
    *,
    columns: Sequence[ColumnSummary] = (),
    **about: str,
) -> DataSummary:
    """What the report shows of data of any kind.

    Args:
        data: as they were given.
        in_memory: what to call data that are no file or folder.
        schema: of the data.
        split: of their rows.
        targets: of all rows; counted in development rows, where there are classes.
        columns: of a table.
        about: what else the kind tells, by the field of `DataSummary`.
    """
    shown = targets[cat([split.train, split.validation])]
    return DataSummary(
        source=str(data) if isinstance(data, str | PathLike) else in_memory,
        target=schema.target,
        task=schema.task,
        rows_train=len(split.train),
        rows_validation=len(split.validation),
        rows_test=len(split.test),
        classes=[str(label) for label in schema.classes],
        class_counts=shown.bincount(minlength=len(schema.classes)).tolist() if schema.classes else [],
        split=split.words,
        columns=list(columns),
        **about,
    )


def _column_summary(series: pl.Series, column: Column | None, reason: str) -> ColumnSummary:
    present = series.drop_nulls()
    counts, labels = ([], []) if column is None else _histogram(column, column.values(series).drop_nulls())
    return ColumnSummary(
        name=series.name,
        kind="left out" if column is None else column.kind,
        missing=series.null_count(),
        distinct=present.n_unique() if cells.is_plain(series) else None,
        note=reason if column is None else column.note,
        example=str(present[0])[:80] if len(present) else "",
        histogram=counts,
        labels=labels,
    )


def _histogram(column: Column, values: pl.Series) -> tuple[list[float], list[str]]:
    """Counts and bin edges of 20 bins (numbers, dates), or counts and names of the 10 commonest values."""
    if column.kind in ("category", "boolean"):
        table = values.alias("cell").value_counts(name="count").sort("count", "cell", descending=[True, False]).head(10)
        names = {0.0: say("no"), 1.0: say("yes")} if column.kind == "boolean" else {}
        return table["count"].cast(pl.Float64).to_list(), [str(names.get(cell, cell)) for cell in table["cell"]]
    numbers = values.dt.epoch("s").cast(pl.Float64) if column.kind == "date" else values
    offset, scale = (0.0, 1.0) if column.kind == "date" else (column.offset, column.scale)
    counts, edges = np.histogram(
        ((numbers - offset) / scale).filter(numbers.is_finite()).clip(-LIMIT, LIMIT).to_numpy(), bins=20
    )
    marks = edges * scale + offset
    words = (
        [str(np.datetime64(int(mark), "s")) for mark in marks] if column.kind == "date" else [f"{mark:.6g}" for mark in marks]
    )
    return counts.astype(float).tolist(), words
