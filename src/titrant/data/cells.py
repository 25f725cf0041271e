"""Reads the cells of one column as numbers, truth values, points in time or text, whatever type the column came in.

Every function takes a polars series whose missing cells are null and returns one of equal length in which cells that cannot be
read are null too. Nothing here looks at other rows, so that a cell reads the same in training and in prediction.
"""

from datetime import datetime
from typing import Literal

import polars as pl

Comma = Literal["", "decimal", "thousands"]
"""What a comma inside a number means: nothing (such a cell is no number), the decimal sign, or a separator of thousands."""

TRUE = ("true", "yes", "t", "y")
FALSE = ("false", "no", "f", "n")

# Day first and month first cannot always be told apart; the earlier format wins where both read equally many cells.
_DATES = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y"),
    *("%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y", "%d-%b-%y"),
)
_TIMES = ("", " %H:%M", " %H:%M:%S%.f", " %I:%M %p", " %I:%M:%S %p")
FORMATS = (*(date + time for date in _DATES for time in _TIMES), "%Y%m%d")
"""Formats of points in time that are tried on text, in the notation of strftime."""


def is_plain(series: pl.Series) -> bool:
    """True if each cell is a single value: no list, record, Python object, or bytes that are no text."""
    return not (series.dtype.is_nested() or series.dtype in (pl.Object, pl.Binary))


def text(series: pl.Series) -> pl.Series:
    """Cells as text: whole floats without their `.0`, so that 3 and 3.0 are the same category; durations as seconds."""
    if series.dtype == pl.Duration:
        series = number(series)
    if series.dtype == pl.Float64:
        whole = series.cast(pl.Int64, strict=False)
        as_whole = (whole.cast(pl.Float64) == series).fill_null(False)
        return whole.cast(pl.String).zip_with(as_whole, series.cast(pl.String))
    return series.cast(pl.String, strict=False)


def number(series: pl.Series, comma: Comma = "") -> pl.Series:
    """Cells as float64; truth values are 0 and 1, durations are seconds. Infinities stay."""
    if series.dtype == pl.String:
        if comma:
            series = series.str.replace_all(",", "." if comma == "decimal" else "", literal=True)
        return series.cast(pl.Float64, strict=False).fill_nan(None)
    if series.dtype == pl.Duration:
        return series.dt.total_microseconds().cast(pl.Float64) / 1e6
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        return series.cast(pl.Float64, strict=False).fill_nan(None)
    return pl.Series(series.name, [None] * len(series), dtype=pl.Float64)


def missing(series: pl.Series) -> int:
    """How many cells hold nothing, or what is not a number."""
    return series.null_count() + (int(series.is_nan().sum()) if series.dtype.is_float() else 0)


def boolean(series: pl.Series) -> pl.Series:
    """Cells as 0.0 and 1.0: truth values, the numbers 0 and 1, and the words in `TRUE` and `FALSE` in any case."""
    if series.dtype == pl.String:
        words = series.str.strip_chars().str.to_lowercase()
        known = dict.fromkeys((*TRUE, "1"), 1.0) | dict.fromkeys((*FALSE, "0"), 0.0)
        return words.replace_strict(known, default=None, return_dtype=pl.Float64)
    values = number(series)
    return values.set(~values.is_in([0.0, 1.0]), None)


def moment(series: pl.Series, form: str) -> pl.Series:
    """Cells as datetimes in the wall-clock time that they state; a zone is dropped.

    `form` (strftime) is used for text and for whole numbers such as 20240331.

    Years before 1000 count as unreadable: they come from two digits read as four.
    """
    if series.dtype == pl.String or series.dtype.is_integer():
        series = _plain_moments(series.cast(pl.String)).str.to_datetime(form, strict=False, exact=True, ambiguous="earliest")
    elif series.dtype == pl.Time:
        series = series.cast(pl.Duration) + datetime(2000, 1, 1)
    elif series.dtype == pl.Datetime:
        series = series.dt.replace_time_zone(None)
    elif series.dtype == pl.Date:
        series = series.cast(pl.Datetime)
    else:
        return pl.Series(series.name, [None] * len(series), dtype=pl.Datetime)
    return series.cast(pl.Datetime("us")).set(series.dt.year() < 1000, None)


def _plain_moments(series: pl.Series) -> pl.Series:
    """Text without zone and `T`; a bare time of day gets a day, the same for all."""
    return (
        series.str.replace(r"^(\d{4}-\d{2}-\d{2})[Tt]", "$1 ")
        .str.replace(r"(:\d{2}(?:\.\d+)?) ?(?:[Zz]|UTC|[+-]\d{2}:?\d{2})$", "$1")
        .str.replace(r"^(\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?)$", "2000-01-01 $1")
    )
