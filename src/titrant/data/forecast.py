"""Forecasting as learning: windows of a table's series, each with the steps that follow it.

    table → a grid of moments common to all series → windows [n, c, history] and what follows on the target [n, horizon]
          → divided by time: the newest moments test, those before validate, and no window stands on both sides of a cut

A moment is a multiple of the commonest step between rows: of seconds, of whole months, of a unit of its own where times are
numbers, or a row where there are none. The target's own past is the first channel; other columns of numbers, and where in the
day, the week and the year a step lies, are further ones.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from titrant.data import cells
from titrant.data.kinds import date_format
from titrant.data.schema import Rows
from titrant.data.sequences import SERIES
from titrant.data.series import Series, Stepped
from titrant.data.sources import listed, near, open_frame
from titrant.data.split import SHARE, STRETCHES, Split
from titrant.data.summary import summary_of
from titrant.errors import DataError
from titrant.record import Record
from titrant.texts import say

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Unit = Literal["seconds", "months", "numbers", "rows"]

_DAY = 86_400.0
_CYCLES = {"day": _DAY, "week": 7 * _DAY, "year": 365.2425 * _DAY}
_WINDOWS = 30_000  # to learn from at most; of more, evenly spaced ones
_TESTED = 5_000  # to be judged on at most
_BYTES = 1 << 28  # of all windows
_LARGEST = 1 << 32  # bytes of the grid
_FEWEST = 16  # windows to learn from


class Grid(Record):
    """The moments that series share: `start` + `step` · 0, 1, 2, ..."""

    unit: Unit
    start: float
    step: float
    cycles: tuple[str, ...] = ()

    def moments(self, frame: pl.DataFrame, time: str | None, name: pl.Series) -> Floats:
        """Where rows stand on the grid, not yet rounded; NaN where a time cannot be read."""
        if time is None or self.unit == "rows":
            rows = pl.DataFrame({"name": name}).select(pl.int_range(pl.len()).over("name"))
            return rows.to_series().cast(pl.Float64).to_numpy()
        times, temporal = _times(frame[time], time)
        if temporal == (self.unit == "numbers"):
            raise DataError(
                say("The time column {name!r} holds {found}; the model was trained with {known}.", name=time,
                    found=say("dates") if temporal else say("numbers"), known=say("numbers") if temporal else say("dates"))
            )  # fmt: skip
        return ((_months(times) if self.unit == "months" else times) - self.start) / self.step

    def phases(self, at: Integers) -> Floats:
        """Sine and cosine of where in each cycle grid points lie [2 · cycles, n]."""
        moment = self.start + self.step * at
        seconds = moment * (_CYCLES["year"] / 12) if self.unit == "months" else moment
        turns = [2 * np.pi * seconds / _CYCLES[cycle] for cycle in self.cycles]
        return np.array([wave(turn) for turn in turns for wave in (np.sin, np.cos)]).reshape(-1, len(at))

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
                return f"{1970 + year:04}-{month + 1:02}-01"
            case "seconds":
                found = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=moment)
                return found.strftime("%Y-%m-%d" if self.step % _DAY == 0 and moment % _DAY == 0 else "%Y-%m-%d %H:%M:%S")


class ForecastSchema(Stepped):
    """The windows that a model reads and the steps that it predicts."""

    kind: Literal["forecast"] = "forecast"
    grid: Grid

    def rows(self, data: object, notes: list[str]) -> Rows:
        """The newest window of each series, whose future is to be predicted; each row's name is its series' name."""
        windows, names, _ = self.newest(data, notes)
        return Rows((windows,), names)

    def newest(self, data: object, notes: list[str]) -> tuple[Tensor, pl.Series, Integers]:
        """The last `steps` steps of each series [n, c, t], the names of the series, and where on the grid each ends.

        Series that are shorter begin with missing values.

        Raises:
            DataError: columns are missing, or nothing can be read.
        """
        own = [name for name in self.channels if not name.startswith(_CYCLE)]
        table = _read(data, self.target, self.by, self.time, notes, self.grid, own)
        ends = table.last
        at = ends[:, None] + np.arange(1 - self.steps, 1)
        rows = np.arange(len(ends))[:, None]
        inside = at >= 0
        values = np.where(inside[:, None], table.values[rows, :, at.clip(min=0)].transpose(0, 2, 1), np.nan)
        phases = np.stack([self.grid.phases(row + table.offset) for row in at]) if self.grid.cycles else values[:, :0]
        windows = np.concatenate([values, phases], 1).astype(np.float32)
        return torch.from_numpy(windows), pl.Series(SERIES, table.names), ends + table.offset

    def laid_out(
        self,
        predicted: Floats,
        names: pl.Series,
        ends: Integers,
        low: Floats | None = None,
        high: Floats | None = None,
    ) -> pl.DataFrame:
        """Forecasts [n, h] as a table: series, moment, prediction, `low_10` and `high_90`; one row for each step.

        Args:
            predicted: [n, h].
            names: of the series [n].
            ends: where on the grid each series ends [n].
            low, high: the band in which 80 % of values should lie [n, h].
        """
        count, ahead = predicted.shape
        moments = [self.grid.written(int(end) + step) for end in ends for step in range(1, ahead + 1)]
        columns = {} if self.by is None else {self.by: names.to_numpy().repeat(ahead)}
        columns[self.time or "step"] = np.array(moments)
        columns["prediction"] = predicted.reshape(count * ahead)
        for name, edge in (("low_10", low), ("high_90", high)):
            if edge is not None:
                columns[name] = edge.reshape(count * ahead)
        return pl.DataFrame(columns)


_CYCLE = "in the "


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
    """

    names: list[str]
    values: Floats
    last: Integers
    grid: Grid
    channels: tuple[str, ...]
    offset: int


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
        ragged=bool(np.isnan(windows[:, :, -1]).all(1).any()),
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
    )


# ------------------------------------------------------------------ reading


def _times(series: pl.Series, name: str) -> tuple[Floats, bool]:
    """Moments as numbers, dates as seconds since 1970; and whether they are dates. NaN where there is none."""
    values = cells.number(series)
    temporal = values.null_count() == len(values)
    if temporal:
        form = "" if series.dtype != pl.String else date_format(series.drop_nulls().unique(maintain_order=True))[0]
        values = cells.moment(series, form).dt.epoch("us").cast(pl.Float64) / 1e6
    strange = series.filter(values.is_null() & series.is_not_null())
    if len(strange):
        raise DataError(
            say("The time column {name!r} cannot be read as times or numbers in {count} rows, such as {example!r}. Mend them, "
                "or write times as 2024-03-31 18:00.", name=name, count=len(strange), example=strange[0])
        )  # fmt: skip
    return values.to_numpy(writable=True).astype(np.float64), temporal


def _months(seconds: Floats) -> Floats:
    """Months since January 1970."""
    there = ~np.isnan(seconds)
    found = np.full(len(seconds), np.nan)
    found[there] = seconds[there].astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)
    return found


def _read(
    data: object,
    target: str,
    by: str | None,
    time: str | None,
    notes: list[str],
    grid: Grid | None = None,
    channels: list[str] | None = None,
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
    found = grid or _grid(frame, time, name)
    place = found.moments(frame, time, name)
    kept = ~np.isnan(place) & name.is_not_null().to_numpy()
    if not kept.all():
        notes.append(say("{count} rows without an id or a time are left out.", count=int((~kept).sum())))
    if not kept.any():
        raise DataError(say("No row has both an id and a time."))
    off = np.abs(place[kept] - place[kept].round())
    if (off > 0.1).mean() > 0.05:
        notes.append(say("The times are irregular; rows count as equal steps, in the order of time."))
        found = Grid(unit="rows", start=0, step=1)
        order = pl.DataFrame({"name": name, "place": place}).with_row_index("row").sort("name", "place")
        order = order.with_columns(pl.int_range(pl.len()).over("name").alias("at")).sort("row")
        place = order["at"].cast(pl.Float64).to_numpy()
    numbers = _numbers(frame, target, by, time, notes, channels)
    frame = pl.DataFrame({"name": name, "at": place.round(), **numbers}).filter(kept).with_columns(pl.col("at").cast(pl.Int64))
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
    return _Table(names, values, last, found, tuple(own), offset)


def _numbers(
    frame: pl.DataFrame, target: str, by: str | None, time: str | None, notes: list[str], channels: list[str] | None
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


def _grid(frame: pl.DataFrame, time: str | None, name: pl.Series) -> Grid:
    """The grid on which most neighbouring rows of a series are one step apart."""
    if time is None:
        return Grid(unit="rows", start=0, step=1)
    times, temporal = _times(frame[time], time)
    table = pl.DataFrame({"name": name, "time": times}).filter(~pl.col("time").is_nan()).unique().sort("name", "time")
    gaps = table.select(pl.col("time").diff().over("name")).to_series().drop_nulls().to_numpy()
    start = float(np.nanmin(times)) if len(table) else 0.0
    if len(gaps) == 0:
        return Grid(unit="seconds" if temporal else "numbers", start=start, step=1)
    sizes, counts = np.unique(gaps, return_counts=True)
    step = float(sizes[counts.argmax()])
    if temporal and step >= 28 * _DAY:
        months = max(1, round(step / (_CYCLES["year"] / 12)))
        first = float(_months(np.array([start]))[0])
        return Grid(unit="months", start=first, step=months, cycles=("year",) if months < 12 else ())
    span = float(np.nanmax(times)) - start
    cycles = tuple(c for c, long in _CYCLES.items() if temporal and 2 * step <= long and span >= 2 * long)
    return Grid(unit="seconds" if temporal else "numbers", start=start, step=step, cycles=cycles)


# ------------------------------------------------------------------ windows


def _history(grid: Grid, horizon: int, longest: int) -> int:
    """Steps that a window looks back: two cycles or four horizons, as far as a quarter of the longest series allows."""
    wanted = max(16, 4 * horizon)
    for cycle in grid.cycles:
        steps = 12 / grid.step if grid.unit == "months" else _CYCLES[cycle] / grid.step
        if steps <= 200:
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
                "Only {count} windows of {horizon} steps lie in the time to learn from; at least {fewest} are needed. Choose a "
                "shorter horizon, or give longer or more series.",
                count=len(train),
                horizon=horizon,
                fewest=_FEWEST,
            )
        )
    chosen, judged = np.flatnonzero((origin >= validate) & (end <= test)), np.flatnonzero(origin >= test)
    if len(chosen) == 0 or (hold_out and len(judged) == 0):
        raise DataError(say("The newest steps lack values of the target, so that no window can be judged. Fill or cut them."))
    words = say("Windows were divided by time, the newest last; none has steps to predict on both sides of a cut.")
    block = origin * STRETCHES // max(1, test)
    return Split(torch.from_numpy(train), torch.from_numpy(chosen), torch.from_numpy(judged), words), block.astype(np.int64)


def _shape(schema: ForecastSchema, count: int) -> str:
    return say(
        "{count} series in windows of {steps} steps of {channels} channels, {horizon} steps ahead",
        count=count, steps=schema.steps, channels=len(schema.channels), horizon=schema.horizon,
    )  # fmt: skip
