"""Reads a column of times, the same way wherever one is needed: dates in any format, or numbers of any meaning."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from titrant.data import cells
from titrant.data.kinds import date_format, rival_note
from titrant.errors import DataError
from titrant.texts import say

Floats = NDArray[np.float64]

NUMBERS = "number"
"""The form of times that are no dates."""

_DAYS = (19_000_101, 21_001_231)  # between which whole numbers that are all days of the calendar are taken for days
_DAY_FORM = "%Y%m%d"
_UNEVEN = 0.1  # as months are not, whose lengths differ by a few days


@dataclass(frozen=True)
class Times:
    """Moments as numbers.

    Attributes:
        values: float64 [n]: of dates the seconds since 1970, otherwise the numbers themselves; NaN where there is none.
        dates: whether they are dates.
        form: how they are written: the format of dates as text or as whole numbers such as 20240331; `number` for times that
            are no dates; empty for a column whose type says that it holds dates.
    """

    values: Floats
    dates: bool
    form: str


def read_times(series: pl.Series, notes: list[str], form: str | None = None) -> Times:
    """Reads times.

    Args:
        series: the column.
        notes: is told where the order of day and month is a guess. Of two orders the one in which moments follow each other
            more evenly is taken.
        form: how earlier rows of the column were written; None if there were none, or it was not kept. Where no cell is written
            so, the column is read by itself.

    Raises:
        DataError: there are cells that are neither empty nor a time.

    Example:
        >>> found = read_times(pl.Series("day", ["31/03/2024", None]), [])
        >>> found.form, found.values.tolist()
        ('%d/%m/%Y', [1711843200.0, nan])
        >>> read_times(pl.Series("day", [20240331]), []).form, read_times(pl.Series("step", [7]), []).form
        ('%Y%m%d', 'number')
    """
    found = form or _form(series, notes)
    values = _read(series, found)
    if form and values.null_count() == len(values):
        found = _form(series, notes)
        values = _read(series, found)
    missing = series.is_null() | (series.is_nan() if series.dtype.is_float() else pl.repeat(False, len(series), eager=True))
    strange = series.filter(values.is_null() & ~missing)
    if len(strange):
        raise DataError(
            say(
                "The time column {name!r} cannot be read as times or numbers in {count} rows, such as {example!r}. Mend them, "
                "or write times as 2024-03-31 18:00, all in one way.",
                name=series.name,
                count=len(strange),
                example=strange[0],
            )
        )
    return Times(values.fill_null(np.nan).to_numpy().astype(np.float64), found != NUMBERS, found)


def gaps_of(gaps: Floats, dates: bool) -> Floats:
    """Differences of times without what floating point adds to them: seconds to the microsecond, numbers to nine digits."""
    if dates or len(gaps) == 0:
        return gaps.round(6)
    scale = float(np.median(np.abs(gaps))) or 1.0
    return (gaps / scale).round(9) * scale


def _form(series: pl.Series, notes: list[str]) -> str:
    """How times are written, judged by this column alone."""
    numbers = cells.number(series)
    if _are_days(numbers):
        return _DAY_FORM
    if numbers.null_count() < len(numbers):
        return NUMBERS
    if series.dtype != pl.String:
        return ""
    texts = series.drop_nulls().unique(maintain_order=True)
    form, _, rival = date_format(texts)
    if rival and (uneven := _unevenness(texts, form)) > _UNEVEN and _unevenness(texts, rival) < 0.5 * uneven:
        form, rival = rival, form
    if note := rival_note(series.name, form, rival, texts):
        notes.append(note)
    return form


def _read(series: pl.Series, form: str) -> pl.Series:
    """Cells as numbers, null where they are not written so."""
    if form == NUMBERS:
        numbers = cells.number(series)
        return numbers.set(numbers.is_infinite(), None)
    if form == _DAY_FORM:  # whole numbers become fractions where some are missing
        series = cells.number(series).cast(pl.Int64, strict=False)
    return cells.moment(series, form).dt.epoch("us").cast(pl.Float64) / 1e6


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
