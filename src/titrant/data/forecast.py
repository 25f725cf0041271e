"""Forecasting as learning: windows of a table's series, each with the steps that follow it.

    table → a grid of moments common to all series → windows [n, c, history] and what follows on the target [n, horizon]
          → divided by time: the newest moments test, those before validate, and no window stands on both sides of a cut

A moment is a multiple of the commonest step between rows: of seconds, of whole months, of the days of the week on which there
are rows at all, of a unit of its own where times are numbers, or a row where there are none or they are irregular. The target's
own past is the first channel; other columns of numbers, and where in the day, the week and the year a step lies, are further
ones.
"""

from calendar import monthrange
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from titrant.data import cells
from titrant.data.schema import Rows
from titrant.data.sequences import SERIES
from titrant.data.series import Series, Stepped
from titrant.data.sources import listed, near, open_frame
from titrant.data.split import SHARE, STRETCHES, Split
from titrant.data.summary import summary_of
from titrant.data.times import Times, gaps_of, read_times
from titrant.errors import DataError
from titrant.record import Record
from titrant.texts import say

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Unit = Literal["seconds", "weekdays", "months", "numbers", "rows"]

_DAY = 86_400.0
_CYCLES = {"day": _DAY, "week": 7 * _DAY, "year": 365.2425 * _DAY}
_WINDOWS = 30_000  # to learn from at most; of more, evenly spaced ones
_TESTED = 5_000  # to be judged on at most
_BYTES = 1 << 28  # of all windows
_LARGEST = 1 << 32  # bytes of the grid
_FEWEST = 16  # windows to learn from
_BESIDE = 0.1  # of a step, from which a row lies beside the grid
_STRAY = 0.05  # of the rows that may
_MOMENT = pl.from_epoch((pl.col("time") * 1e6).cast(pl.Int64), "us")
_FIRST = np.datetime64("0001-01-01")  # from which weekdays are counted


class Grid(Record):
    """The moments that series share: `start` + `step` · 0, 1, 2, ...

    Attributes:
        unit: of both: seconds since 1970; days of the calendar that are in `week`; months since January 1970; numbers as in
            the time column; or rows of a series, in their order.
        start, step: in that unit.
        cycles: that are long enough to see, and seen at least twice.
        week: the weekdays on which there are rows, from Monday, such as 1111100.
        day: of the month on which there are rows, or its last one where it is shorter.
        clock: the time of all rows on days of the week, in seconds.
    """

    unit: Unit
    start: float
    step: float
    cycles: tuple[str, ...] = ()
    week: str = "1111111"
    day: int = 1
    clock: float = 0.0

    def places(self, times: Floats) -> Floats:
        """Where times (seconds or numbers, as they were read) stand on the grid, not yet rounded; NaN stays."""
        return (self._moments(times) - self.start) / self.step

    def _moments(self, times: Floats) -> Floats:
        """Times in the grid's unit; a day that is not in the week lies between others."""
        if self.unit not in {"months", "weekdays"}:
            return times
        there = ~np.isnan(times)
        found = np.full(len(times), np.nan)
        days = np.floor(times[there] / _DAY).astype(np.int64).astype("datetime64[D]")
        if self.unit == "months":
            found[there] = days.astype("datetime64[M]").astype(np.int64)
        else:
            found[there] = np.busday_count(_FIRST, days, self.week) + 0.5 * ~np.is_busday(days, self.week)
        return found

    def moved(self, places: Floats) -> "Grid":
        """The grid itself, or, where all places lie beside it by the same part of a step, one that goes through them."""
        there = places[~np.isnan(places)]
        if len(there) == 0 or self.unit in {"rows", "weekdays"}:  # there are no days between days
            return self
        turn = np.exp(2j * np.pi * there).mean()
        beside = float(np.angle(turn)) / (2 * np.pi)
        if abs(turn) < 0.99 or abs(beside) <= _BESIDE:
            return self
        start = self.start + beside * self.step
        return self.model_copy(update={"start": float(round(start)) if self.unit == "months" else start})

    def phases(self, at: Integers) -> Floats:
        """Sine and cosine of where in each cycle grid points lie [2 · cycles, n]."""
        moment = self.start + self.step * at
        match self.unit:
            case "months":
                seconds = moment * (_CYCLES["year"] / 12)
            case "weekdays":
                seconds = self._days(moment).astype(np.int64) * _DAY
            case _:
                seconds = moment
        turns = [2 * np.pi * seconds / _CYCLES[cycle] for cycle in self.cycles]
        return np.array([wave(turn) for turn in turns for wave in (np.sin, np.cos)]).reshape(-1, len(at))

    def _days(self, moment: NDArray[np.floating[Any]]) -> NDArray[np.datetime64]:
        return np.asarray(np.busday_offset(_FIRST, np.round(moment).astype(np.int64), "forward", self.week))

    def steps(self, cycle: str) -> float:
        """Steps of a cycle."""
        match self.unit:
            case "months":
                return 12 / self.step
            case "weekdays":
                return _CYCLES[cycle] / _DAY * self.week.count("1") / 7
            case _:
                return _CYCLES[cycle] / self.step

    def written(self, at: int) -> str | float | int:
        """A grid point as a person reads it."""
        moment = self.start + self.step * at
        match self.unit:
            case "rows":
                return at
            case "numbers":
                return float(f"{moment:.12g}")
            case "months":
                year, month = divmod(round(moment), 12)
                return f"{1970 + year:04}-{month + 1:02}-{min(self.day, monthrange(1970 + year, month + 1)[1]):02}"
            case "weekdays":
                return _moment(self._days(np.array([moment])).astype(np.int64)[0] * _DAY + self.clock, whole=self.clock == 0)
            case "seconds":
                return _moment(moment, whole=self.step % _DAY == 0 and moment % _DAY == 0)


def _moment(seconds: float, *, whole: bool) -> str:
    """A date, with its time unless days are whole."""
    found = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return found.strftime("%Y-%m-%d" if whole else "%Y-%m-%d %H:%M:%S")


@dataclass(frozen=True)
class Newest:
    """The end of each series, whose future is to be predicted.

    Attributes:
        windows: float32 [n, c, t] the last steps of each; series that are shorter begin with missing values.
        names: of the series.
        ends: int64 [n] where on the grid each ends.
        grid: what steps mean: the model's, moved where the data lie beside it.
    """

    windows: Tensor
    names: pl.Series
    ends: Integers
    grid: Grid


class ForecastSchema(Stepped):
    """The windows that a model reads and the steps that it predicts."""

    kind: Literal["forecast"] = "forecast"
    grid: Grid

    def rows(self, data: object, notes: list[str]) -> Rows:
        """The newest window of each series, whose future is to be predicted; each row's name is its series' name."""
        found = self.newest(data, notes)
        return Rows((found.windows,), found.names)

    def newest(self, data: object, notes: list[str]) -> Newest:
        """The last `steps` steps of each series.

        Raises:
            DataError: columns are missing, times do not lie on the model's grid, or nothing can be read.
        """
        own = tuple(name for name in self.channels if not name.startswith(_CYCLE))
        table = _read(data, self.target, self.by, self.time, notes, _Known(self.grid, self.form, own))
        ends, grid = table.last, table.grid
        at = ends[:, None] + np.arange(1 - self.steps, 1)
        rows = np.arange(len(ends))[:, None]
        inside = at >= 0
        values = np.where(inside[:, None], table.values[rows, :, at.clip(min=0)].transpose(0, 2, 1), np.nan)
        phases = np.stack([grid.phases(row + table.offset) for row in at]) if grid.cycles else values[:, :0]
        windows = np.concatenate([values, phases], 1).astype(np.float32)
        return Newest(torch.from_numpy(windows), pl.Series(SERIES, table.names), ends + table.offset, grid)

    def laid_out(
        self, predicted: Floats, newest: Newest, low: Floats | None = None, high: Floats | None = None
    ) -> pl.DataFrame:
        """Forecasts [n, h] as a table: series, moment, prediction, `low_10` and `high_90`; one row for each step.

        Moments stand in the time column's name; where rows count as equal steps, in `step`.

        Args:
            predicted: [n, h].
            newest: what they follow.
            low, high: the band in which 80 % of values should lie [n, h].
        """
        count, ahead = predicted.shape
        columns = {} if self.by is None else {self.by: newest.names.to_numpy().repeat(ahead)}
        when = "step" if self.time is None or newest.grid.unit == "rows" else self.time
        columns[when if when not in columns else f"{when} ahead"] = np.array(
            [newest.grid.written(int(end) + step) for end in newest.ends for step in range(1, ahead + 1)]
        )
        columns["prediction"] = predicted.reshape(count * ahead)
        for name, edge in (("low_10", low), ("high_90", high)):
            if edge is not None:
                columns[name] = edge.reshape(count * ahead)
        return pl.DataFrame(columns)


_CYCLE = "in the "


@dataclass(frozen=True)
class _Known:
    """What a model knows of its data.

    Attributes:
        grid: that its series share.
        form: how times are written, see `titrant.data.times.Times`; None if that was not kept.
        channels: that it reads, the target first.
    """

    grid: Grid
    form: str | None
    channels: tuple[str, ...]


@dataclass(frozen=True)
class _Table:
    """Series on the grid.

    Attributes:
        names: of the series.
        values: [s, c, t], the target first; NaN where there is no row.
        last: the last step of each series at which the target is there.
        grid: what steps mean.
        channels: names of c.
        offset: where on the grid the first step lies.
        form: how times are written, see `titrant.data.times.Times`; None without times.
    """

    names: list[str]
    values: Floats
    last: Integers
    grid: Grid
    channels: tuple[str, ...]
    offset: int
    form: str | None


def read_forecast(
    data: object,
    target: str | None,
    horizon: int,
    *,
    by: str | None = None,
    time: str | None = None,
    hold_out: bool = True,
    notes: list[str],
) -> Series[ForecastSchema]:
    """Reads a table whose rows are steps of one or more series, and cuts it into windows.

    Args:
        data: what `open_frame` takes.
        target: the column to forecast.
        horizon: steps to forecast.
        by: the column that says which series a row belongs to; None for a single series.
        time: the column of moments; rows stand in order if None.
        hold_out: False draws no test windows.
        notes: receives warnings for the person.

    Raises:
        DataError: the table cannot be read or used as asked; the message says what, where and what to do.

    Example:
        >>> table = {"day": list(range(120)), "sold": [float(day % 7) for day in range(120)]}
        >>> found = read_forecast(table, "sold", 3, time="day", notes=[])
        >>> found.schema.horizon, found.schema.channels, tuple(found.target.shape[1:])
        (3, ('sold',), (3,))
    """
    if target is None:
        raise DataError(say("Name the column to forecast (--target)."))
    if horizon < 1:
        raise DataError(say("The horizon is {horizon}; it must be at least 1 step.", horizon=horizon))
    table = _read(data, target, by, time, notes)
    lengths = table.last + 1 - np.array([int(np.flatnonzero(~np.isnan(row))[0]) for row in table.values[:, 0]])
    longest = int(lengths.max())
    if longest < 4 * horizon + 8:
        raise DataError(
            say(
                "The longest series has {longest} steps; a horizon of {horizon} needs at least {needed}, to learn from, to "
                "choose by and to be judged on. Choose a shorter horizon, or give longer series.",
                longest=longest,
                horizon=horizon,
                needed=4 * horizon + 8,
            )
        )
    history = _history(table.grid, horizon, longest)
    names = (*table.channels, *(f"{_CYCLE}{cycle}, {wave}" for cycle in table.grid.cycles for wave in ("sine", "cosine")))
    row, at = _starts(table, history, horizon, hold_out)
    origin = at + history  # the first step that is predicted
    split, groups = _divided(origin, horizon, table.values.shape[2], hold_out)
    steps = at[:, None] + np.arange(history)
    windows = np.empty((len(row), len(names), history), np.float32)
    windows[:, : len(table.channels)] = table.values[row[:, None], :, steps].transpose(0, 2, 1)
    phases = table.grid.phases(np.arange(table.values.shape[2]) + table.offset).astype(np.float32)
    windows[:, len(table.channels) :] = phases[:, steps].transpose(1, 0, 2)
    future = table.values[row[:, None], 0, origin[:, None] + np.arange(horizon)]
    if (future[split.train.numpy()] == future[split.train.numpy()].flat[0]).all():
        raise DataError(
            say("The target {name!r} never changes in the time to learn from. There is nothing to learn.", name=target)
        )
    schema = ForecastSchema(
        task="regression", target=target, channels=names, steps=history, horizon=horizon, by=by, time=time, grid=table.grid,
        form=table.form, ragged=bool(np.isnan(windows[:, :, -1]).all(1).any()),
    )  # fmt: skip
    targets = torch.from_numpy(future.astype(np.float32))
    return Series(
        schema=schema,
        series=torch.from_numpy(windows),
        names=pl.Series(SERIES, [table.names[place] for place in row]),
        target=targets,
        split=split,
        groups=torch.from_numpy(groups),
        summary=summary_of(data, say("series in memory"), schema, split, targets, series=_shape(schema, len(table.names))),
        values=future,
        origins=torch.from_numpy(origin),
    )


# ------------------------------------------------------------------ reading


def _read(
    data: object,
    target: str,
    by: str | None,
    time: str | None,
    notes: list[str],
    known: _Known | None = None,
) -> _Table:
    """A table on a grid: a known one, or the one that its times have."""
    frame = open_frame(data, notes)
    for role, asked in (("target", target), ("id column", by), ("time column", time)):
        if asked is not None and asked not in frame.columns:
            raise DataError(
                say("The {role} {name!r} is not in the data.{hint}", role=role, name=asked, hint=near(asked, frame.columns))
            )
    if len({target, by, time} - {None}) < 1 + (by is not None) + (time is not None):
        raise DataError(say("One column cannot have two roles: the target, the id and the time must be different columns."))
    name = pl.Series("name", ["series"] * frame.height) if by is None else cells.text(frame[by]).alias("name")
    times = None if time is None else read_times(frame[time], notes, None if known is None else known.form)
    kept = name.is_not_null().to_numpy() & (True if times is None else ~np.isnan(times.values))
    if not kept.all():
        notes.append(say("{count} rows without an id or a time are left out.", count=int((~kept).sum())))
        frame, name = frame.filter(kept), name.filter(kept)
        times = None if times is None else replace(times, values=times.values[kept])
    if frame.height == 0:
        raise DataError(say("No row has both an id and a time."))
    grid, place = _placed(times, time, name, notes, known)
    numbers = _numbers(frame, target, by, time, notes, None if known is None else known.channels)
    frame = pl.DataFrame({"name": name, "at": place.round(), **numbers}).filter(~np.isnan(place))
    frame = frame.with_columns(pl.col("at").cast(pl.Int64))
    own = list(numbers)
    doubled = frame.height - frame.select("name", "at").n_unique()
    if doubled:
        notes.append(say("{count} rows share series and time with another one; their values are averaged.", count=doubled))
        frame = frame.group_by("name", "at").agg(pl.col(own).fill_nan(None).mean().fill_null(np.nan))
    frame = frame.sort("name", "at")
    offset = int(frame["at"].min())  # type: ignore[arg-type]  # whole numbers
    names = frame["name"].unique(maintain_order=True).to_list()
    steps = int(frame["at"].max()) - offset + 1  # type: ignore[arg-type]  # whole numbers
    if 8 * len(names) * len(own) * steps > _LARGEST:
        raise DataError(
            say("{count} series over {steps} steps would take more than 4 GB. Choose a coarser time, or fewer series.",
                count=len(names), steps=steps)
        )  # fmt: skip
    values = np.full((len(names), len(own), steps), np.nan)
    row = frame["name"].replace_strict({one: number for number, one in enumerate(names)}, return_dtype=pl.Int64).to_numpy()
    at = frame["at"].to_numpy() - offset
    for number, column in enumerate(own):
        values[row, number, at] = frame[column].to_numpy()
    there = ~np.isnan(values[:, 0])
    empty = ~there.any(1)
    if empty.any():
        lost = [repr(one) for one, without in zip(names, empty, strict=True) if without]
        notes.append(say("Series without any value of the target are left out: {names}.", names=listed(lost)))
        names = [one for one, without in zip(names, empty, strict=True) if not without]
        values, there = values[~empty], there[~empty]
    if not names:
        raise DataError(say("The target {name!r} holds no number.", name=target))
    last = there.shape[1] - 1 - there[:, ::-1].argmax(1)
    return _Table(names, values, last, grid, tuple(own), offset, None if times is None else times.form)


def _numbers(
    frame: pl.DataFrame, target: str, by: str | None, time: str | None, notes: list[str], channels: tuple[str, ...] | None
) -> dict[str, pl.Series]:
    """The target and other columns of numbers."""
    wanted = channels or [target, *(name for name in frame.columns if name not in {target, by, time})]
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise DataError(
            say("The data lack columns that the model reads: {names}.", names=listed([repr(one) for one in missing]))
        )
    found, strange = {}, []
    for name in wanted:
        numbers = cells.number(frame[name]) if cells.is_plain(frame[name]) else None
        if numbers is not None and (channels or numbers.null_count() <= frame[name].null_count() + 0.05 * frame.height):
            finite = numbers.cast(pl.Float64)
            found[name] = finite.set(finite.is_infinite(), None).fill_null(np.nan)
        else:
            strange.append(name)
    if target in strange:
        raise DataError(say("The target {name!r} is no column of numbers, so that it cannot be forecast.", name=target))
    if strange:
        notes.append(say("Columns that are no numbers are left out: {names}.", names=listed([repr(one) for one in strange])))
    return found


def _placed(
    times: Times | None, time: str | None, name: pl.Series, notes: list[str], known: _Known | None
) -> tuple[Grid, Floats]:
    """The grid, and where on it rows stand; NaN for those that stand on none of its steps."""
    rows = Grid(unit="rows", start=0, step=1)
    if times is None:
        return rows, _in_order(name, np.zeros(len(name)))
    if known is not None and known.grid.unit != "rows" and times.dates == (known.grid.unit == "numbers"):
        raise DataError(
            say("The time column {name!r} holds {found}; the model was trained with {known}.", name=time,
                found=say("dates") if times.dates else say("numbers"), known=say("numbers") if times.dates else say("dates"))
        )  # fmt: skip
    grid = _grid(times, name) if known is None else known.grid
    if grid.unit == "rows":
        return rows, _in_order(name, times.values)
    place = grid.places(times.values)
    if known is not None and (moved := grid.moved(place)) != grid:
        notes.append(
            say("The times lie beside those that the model was trained on, all by the same part of a step. Its steps are "
                "counted from them.")
        )  # fmt: skip
        grid, place = moved, moved.places(times.values)
    stray = np.abs(place - place.round()) > _BESIDE
    count = int(stray.sum())
    if count <= _STRAY * len(place):
        if count and grid.unit == "weekdays":
            notes.append(say("{count} rows on days of the week that have hardly any are left out.", count=count))
            place = np.where(stray, np.nan, place)
        elif count and known is not None:
            notes.append(say("{count} rows lie between the steps of the model; they count for the nearest one.", count=count))
        return grid, place
    if known is not None:
        raise DataError(
            say(
                "The time column {name!r}: {count} of {rows} rows lie between the steps of the model, which follow each other "
                "like {first} and {second}. Give rows at such times, or train again on data like these.",
                name=time, count=count, rows=len(place), first=grid.written(0), second=grid.written(1),
            )
        )  # fmt: skip
    notes.append(say("The times are irregular; rows count as equal steps, in the order of time."))
    return rows, _in_order(name, times.values)


def _in_order(name: pl.Series, times: Floats) -> Floats:
    """The number of each row in its series, in the order of time; rows of one time in the order of the table."""
    table = pl.DataFrame({"name": name, "time": times}).with_row_index("row").sort("name", "time", maintain_order=True)
    table = table.with_columns(pl.int_range(pl.len()).over("name").alias("at")).sort("row")
    return table["at"].cast(pl.Float64).to_numpy()


def _grid(times: Times, name: pl.Series) -> Grid:
    """The grid on which most neighbouring rows of a series are one step apart."""
    unit: Unit = "seconds" if times.dates else "numbers"
    table = pl.DataFrame({"name": name, "time": times.values}).unique().sort("name", "time")
    gaps = gaps_of(table.select(pl.col("time").diff().over("name")).to_series().drop_nulls().to_numpy(), times.dates)
    start = float(times.values.min())
    if len(gaps) == 0:
        return Grid(unit=unit, start=start, step=1)
    sizes, counts = np.unique(gaps, return_counts=True)
    step = float(sizes[counts.argmax()])
    span = float(times.values.max()) - start
    if times.dates and _follow_months(table, gaps, step):
        months = max(1, round(step / (_CYCLES["year"] / 12)))
        cycles: tuple[str, ...] = ("year",) if months < 12 else ()
        grid = Grid(unit="months", start=0, step=months, cycles=cycles, day=_day_of_month(table))
        return grid.model_copy(update={"start": grid.places(np.array([start]))[0] * months})
    week = _week(table["time"].to_numpy()) if times.dates and step % _DAY == 0 and step < 7 * _DAY else "1111111"
    shortest = _DAY if "0" in week else step
    cycles = tuple(c for c, long in _CYCLES.items() if times.dates and 2 * shortest <= long and span >= 2 * long)
    if "0" not in week or span < 28 * _DAY:
        return Grid(unit=unit, start=start, step=step, cycles=cycles)
    clocks = np.unique(times.values % _DAY)
    grid = Grid(unit="weekdays", start=0, step=1, cycles=cycles, week=week, clock=float(clocks[0]) if len(clocks) == 1 else 0.0)
    return grid.model_copy(update={"start": float(np.floor(grid.places(np.array([start]))[0]))})


def _week(times: Floats) -> str:
    """The days of the week, from Monday, on which there are more than a few rows, as 0 and 1."""
    rows = np.bincount((np.floor(times / _DAY).astype(np.int64) + 3) % 7, minlength=7)  # 1970 began with a Thursday
    return "".join("1" if count >= _STRAY * rows.max() else "0" for count in rows)


def _follow_months(table: pl.DataFrame, gaps: Floats, step: float) -> bool:
    """Whether rows follow each other by months, which are not equally long, rather than by a number of days."""
    if step < 28 * _DAY:
        return False
    even = np.abs(gaps / step - (gaps / step).round()) < 1e-6
    if len(gaps) > 3 and even.mean() > 0.95:  # months that follow each other are never all equally long
        return False
    month = _MOMENT.dt.truncate("1mo").alias("month")
    return int(table.select(pl.struct("name", month).n_unique()).item()) >= 0.95 * table.height


def _day_of_month(table: pl.DataFrame) -> int:
    """The day on which all rows stand, 31 for the last of each month; the first if they stand on several."""
    day, last = (table.select(found).to_series() for found in (_MOMENT.dt.day(), _MOMENT.dt.month_end().dt.day()))
    latest = int(day.max())  # type: ignore[arg-type]  # whole numbers
    return latest if bool((day == last.clip(upper_bound=latest)).all()) else 1


# ------------------------------------------------------------------ windows


def _history(grid: Grid, horizon: int, longest: int) -> int:
    """Steps that a window looks back: two cycles or four horizons, as far as a quarter of the longest series allows."""
    wanted = max(16, 4 * horizon)
    for cycle in grid.cycles:
        if (steps := grid.steps(cycle)) <= 200:
            wanted = max(wanted, round(2 * steps))
    return max(1, min(wanted, 512, (longest - 2 * horizon) // 4))


def _starts(table: _Table, history: int, horizon: int, hold_out: bool) -> tuple[Integers, Integers]:
    """Series and first step of each window whose future is all there and whose past has begun."""
    target = table.values[:, 0]
    there = ~np.isnan(target)
    steps = target.shape[1]
    begun = np.maximum.accumulate(there, 1)
    runs = np.concatenate([np.zeros((len(there), 1), np.int64), there.cumsum(1)], 1)
    starts = np.arange(max(0, steps - history - horizon + 1))
    whole = (runs[:, starts + history + horizon] - runs[:, starts + history]) == horizon
    known = (runs[:, starts + history] - runs[:, starts]) >= max(1, history // 2)
    row, at = np.nonzero(whole & known & begun[:, starts + history - 1])
    newest = at + history >= steps - max(horizon, round(SHARE * steps)) if hold_out else np.zeros(len(at), bool)
    most = max(_FEWEST, min(_WINDOWS, _BYTES // (4 * table.values.shape[1] * (history + horizon))))
    order = np.argsort(at, kind="stable")
    row, at, newest = row[order], at[order], newest[order]
    chosen = np.zeros(len(at), bool)
    for part, limit in ((~newest, most), (newest, _TESTED)):
        places = np.flatnonzero(part)
        chosen[places[:: max(1, -(-len(places) // limit))]] = True
    return row[chosen], at[chosen]


def _divided(origin: Integers, horizon: int, steps: int, hold_out: bool) -> tuple[Split, Integers]:
    """Windows by time, and the stretch of time that each belongs to; windows that a cut would run through are in no part."""
    test = steps - max(horizon, round(SHARE * steps)) if hold_out else steps
    validate = test - max(horizon, round(SHARE * test))
    end = origin + horizon
    train = np.flatnonzero(end <= validate)
    if len(train) < _FEWEST:
        raise DataError(
            say(
                "Only {count} windows of {horizon} steps without a gap lie in the time to learn from; at least {fewest} are "
                "needed. Choose a shorter horizon, give longer or more series, or fill the gaps; where gaps mean nothing, "
                "leave out --time, and rows count as equal steps.",
                count=len(train),
                horizon=horizon,
                fewest=_FEWEST,
            )
        )
    chosen, judged = np.flatnonzero((origin >= validate) & (end <= test)), np.flatnonzero(origin >= test)
    if len(chosen) == 0 or (hold_out and len(judged) == 0):
        raise DataError(say("The newest steps lack values of the target, so that no window can be judged. Fill or cut them."))
    words = say("Windows were divided by time, the newest last; none has steps to predict on both sides of a cut.")
    first = int(origin[train].min())
    stretches = min(STRETCHES, max(1, (test - first) // (2 * horizon)))  # longer than what their neighbours must give up
    block = (origin - first) * stretches // max(1, test - first)
    return Split(torch.from_numpy(train), torch.from_numpy(chosen), torch.from_numpy(judged), words), block.astype(np.int64)


def _shape(schema: ForecastSchema, count: int) -> str:
    return say(
        "{count} series in windows of {steps} steps of {channels} channels, {horizon} steps ahead",
        count=count, steps=schema.steps, channels=len(schema.channels), horizon=schema.horizon,
    )  # fmt: skip
