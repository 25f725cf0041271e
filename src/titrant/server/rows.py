"""The rows of a request, as what a model's schema reads: whatever comes is data, and never a place on this machine."""

import base64
import binascii
import json
from typing import Any

import numpy as np
import polars as pl

from titrant.data.images import ImageSchema
from titrant.data.learnable import AnySchema
from titrant.data.schema import Schema
from titrant.data.series import SeriesSchema
from titrant.data.text import TextSchema
from titrant.errors import DataError
from titrant.texts import say

IMAGE, SERIES = "image", "series"
"""The fields of a row that hold a picture in base64, and a series as lists of numbers, channel by channel."""


def parsed(body: bytes, most: int) -> list[dict[str, Any]]:
    """The rows of a body: `{"rows": [{"column": value, ...}, ...]}`.

    Args:
        body: JSON.
        most: rows that a request may hold.

    Raises:
        DataError: it is something else, or holds no rows or too many.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = say("nested too deeply") if isinstance(error, RecursionError) else " ".join(str(error).split())[:200]
        raise DataError(say("The body is no JSON: {reason}", reason=reason)) from None
    rows = content.get("rows") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(say('The body must be an object with rows: {{"rows": [{{"column": value, ...}}, ...]}}.'))
    if len(rows) > most:
        raise DataError(say("{count:,} rows are more than the {most:,} of one request.", count=len(rows), most=most))
    return rows


def readable(schema: AnySchema, rows: list[dict[str, Any]]) -> object:
    """Rows as `schema.rows` takes them.

    Raises:
        DataError: a value is of a kind that the model cannot read.
    """
    if isinstance(schema, ImageSchema):
        return pl.DataFrame({IMAGE: [_decoded(row, place) for place, row in enumerate(rows)]}, schema={IMAGE: pl.Binary})
    if isinstance(schema, SeriesSchema) and schema.by is None:
        return {"x": _stacked([_numbers(row, place) for place, row in enumerate(rows)])}
    wanted = known_columns(schema)
    names = dict.fromkeys(name for row in rows for name in row)
    return pl.DataFrame([_column(name, [row.get(name) for row in rows], name in wanted) for name in names])


def known_columns(schema: AnySchema) -> set[str]:
    """The columns of a table that a model reads; empty where it takes what it finds."""
    if isinstance(schema, Schema):
        return {column.name for column in schema.columns}
    return {schema.column} if isinstance(schema, TextSchema) else set()


def _column(name: str, values: list[Any], wanted: bool) -> pl.Series:
    """Values as numbers or truth values where all are, else as text."""
    strange = next((value for value in values if not isinstance(value, str | int | float | bool | None)), None)
    if strange is not None and wanted:
        raise DataError(say("Column {name!r} holds {kind}, where single values are expected.", name=name, kind=_kind(strange)))
    there = [value for value in values if value is not None]
    if there and all(isinstance(value, bool) for value in there):
        return pl.Series(name, values, dtype=pl.Boolean)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in there):
        if all(isinstance(value, int) and abs(value) < 2**63 for value in there):
            return pl.Series(name, values, dtype=pl.Int64)
        return pl.Series(name, [None if value is None else _as_float(value) for value in values], dtype=pl.Float64)
    return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of four hundred digits
        return float("inf") if value > 0 else float("-inf")


def _kind(value: object) -> str:
    return say("a list") if isinstance(value, list) else say("an object")


def _decoded(row: dict[str, Any], place: int) -> bytes:
    text = row.get(IMAGE)
    try:
        if isinstance(text, str) and text:
            return base64.b64decode(text.removeprefix("data:").rpartition(",")[2], validate=True)
    except (ValueError, binascii.Error):
        pass
    raise DataError(say("Row {place} holds no picture in base64 in its field {name!r}.", place=place, name=IMAGE))


def _numbers(row: dict[str, Any], place: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A series [c, t]; null is missing."""
    given = row.get(SERIES)
    try:
        found = np.array(given, dtype=np.float32)  # null becomes not-a-number
    except (TypeError, ValueError, OverflowError):
        found = np.zeros(0, np.float32)
    found = found[None] if found.ndim == 1 else found
    if found.ndim != 2 or not found.size:
        raise DataError(
            say("Row {place} holds no series in its field {name!r}: numbers or null, or such a list for each channel, "
                "equally long.", place=place, name=SERIES)
        )  # fmt: skip
    return found


def _stacked(series: list[np.ndarray[Any, np.dtype[np.float32]]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Series of unequal length [n, c, t], padded at their end."""
    channels = {len(one) for one in series}
    if len(channels) > 1:
        raise DataError(say("The series of a request have different numbers of channels: {found}.", found=sorted(channels)))
    found = np.full((len(series), channels.pop(), max(one.shape[1] for one in series)), np.nan, np.float32)
    for row, one in zip(found, series, strict=True):
        row[:, : one.shape[1]] = one
    return found
