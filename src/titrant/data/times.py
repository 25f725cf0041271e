"""Reads a column of times, the same way wherever one is needed: dates in any format, or numbers of any meaning."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from titrant.data import cells
from titrant.data.kinds import date_format, rival_note
from titrant.errors import DataError
from titrant.texts import say

_DAYS = (19_000_101, 21_001_231)  # between which whole numbers that are all days of the calendar are taken for days
_DAY_FORM = "%Y%m%d"


@dataclass(frozen=True)
class Times:
    """Moments as numbers.

    Attributes:
        values: float64 [n]: of dates the seconds since 1970, otherwise the numbers themselves; NaN where there is none.
        dates: whether they are dates.
        form: the format in which dates as text, or as whole numbers such as 20240331, are written; empty for others.
    """

    values: NDArray[np.float64]
    dates: bool
    form: str


def read_times(series: pl.Series, notes: list[str], form: str = "") -> Times:
    """Reads times.

    Args:
        series: the column.
        notes: is told where the order of day and month is a guess. Of two orders the one in which moments follow each other
            more evenly is taken.
        form: the format of dates that is known from other rows of the column; found if empty.

    Raises:
        DataError: there are cells that are neither empty nor a time.

    Example:
        >>> found = read_times(pl.Series("day", ["31/03/2024", None]), [])
        >>> found.form, found.values.tolist()
        ('%d/%m/%Y', [1711843200.0, nan])
        >>> read_times(pl.Series("day", [20240331]), []).dates, read_times(pl.Series("step", [7]), []).dates
        (True, False)
    """
    numbers = cells.number(series)
    if series.dtype.is_float() and (form == _DAY_FORM or (not form and _are_days(numbers))):
        series = series.cast(pl.Int64, strict=False)  # whole numbers become fractions where some are missing
    if not form and _are_days(numbers):
        form = _DAY_FORM
    dates = bool(form) or numbers.null_count() == len(numbers)
    if dates:
        if not form and series.dtype == pl.String:
            texts = series.drop_nulls().unique(maintain_order=True)
            form, _, rival = date_format(texts)
            if rival and _unevenness(texts, rival) < 0.5 * _unevenness(texts, form):
                form, rival = rival, form
            if note := rival_note(series.name, form, rival, texts):
                notes.append(note)
        values = cells.moment(series, form).dt.epoch("us").cast(pl.Float64) / 1e6
    else:
        values = numbers.set(numbers.is_infinite(), None)
    strange = series.filter(values.is_null() & series.is_not_null() & ~_not_a_number(series))
    if len(strange):
        raise DataError(
            say(
                "The time column {name!r} cannot be read as times or numbers in {count} rows, such as {example!r}. Mend them, "
                "or write times as 2024-03-31 18:00.",
                name=series.name,
                count=len(strange),
                example=strange[0],
            )
        )
    written = form if series.dtype == pl.String or series.dtype.is_integer() else ""
    return Times(values.fill_null(np.nan).to_numpy().astype(np.float64), dates, written if dates else "")


def _unevenness(texts: pl.Series, form: str) -> float:
    """How much the steps from one moment to the next vary, in parts of their mean."""
    moments = cells.moment(texts, form).drop_nulls().unique().sort().dt.epoch("s").to_numpy()
    gaps = np.diff(moments)
    return float(gaps.std() / gaps.mean()) if len(gaps) else 0.0


def _are_days(numbers: pl.Series) -> bool:
    """Whether numbers are days of the calendar, written as 20240331."""
    there = numbers.drop_nulls()
    if len(there) == 0 or not ((there >= _DAYS[0]) & (there <= _DAYS[1]) & (there == there.floor())).all():
        return False
    return cells.moment(there.cast(pl.Int64), _DAY_FORM).null_count() == 0


def _not_a_number(series: pl.Series) -> pl.Series:
    return series.is_nan() if series.dtype.is_float() else pl.repeat(False, len(series), eager=True)
