"""Windows of a table's series: where they stand in time, what they hold, and which tables cannot be forecast."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from titrant.data.forecast import ForecastSchema, read_forecast
from titrant.data.learnable import folds_of, read_again, read_data, source_of
from titrant.data.series import Series
from titrant.errors import DataError
from titrant.train.kinds import problem_of


def daily(days: int = 200, shops: int = 2) -> pl.DataFrame:
    """Sales that name their shop and day: 1000 · shop + day."""
    start = pl.date_range(pl.date(2024, 1, 1), pl.date(2025, 12, 31), eager=True)[:days]
    frames = [
        pl.DataFrame({"day": start, "shop": f"s{shop}", "sold": 1000.0 * shop + np.arange(days), "open": ["yes"] * days})
        for shop in range(shops)
    ]
    return pl.concat(frames).sample(fraction=1, shuffle=True, seed=0)


def read(table: object, **options: Any) -> tuple[Series[ForecastSchema], list[str]]:
    notes: list[str] = []
    asked: dict[str, Any] = {"target": "sold", "horizon": 7, "by": "shop", "time": "day"} | options
    return read_forecast(table, notes=notes, **asked), notes


def test_what_follows_a_window_is_its_target_and_no_part_sees_anothers_steps() -> None:
    found, notes = read(daily())
    assert notes == ["Columns that are no numbers are left out: 'open'."]
    own = found.series[:, 0]
    torch.testing.assert_close(found.target, own[:, -1:] + torch.arange(1.0, 8.0))
    assert found.values is not None
    np.testing.assert_allclose(found.values, found.target.numpy())
    last = {part: found.target[getattr(found.split, part)] % 1000 for part in ("train", "validation", "test")}
    assert float(last["train"].max()) < float(last["validation"].min())
    assert float(last["validation"].max()) < float(last["test"].min())
    assert float(last["test"].max()) == 199
    assert set(found.names) == {"s0", "s1"}
    assert found.groups is not None
    assert len(found.groups.unique()) >= 8


def test_cycles_are_channels_that_turn_with_the_week() -> None:
    found, _ = read(daily())
    assert found.schema.channels == ("sold", "in the week, sine", "in the week, cosine")
    phase = torch.atan2(found.series[:, 1], found.series[:, 2])
    same = (found.target[:, 0] % 7 == found.target[0, 0] % 7) & (found.target[:, 0] < 1000)
    torch.testing.assert_close(phase[same], phase[0].expand(int(same.sum()), -1), atol=1e-3, rtol=0)


def test_without_times_and_ids_rows_stand_in_order() -> None:
    found, _ = read({"sold": [float(x % 5) for x in range(80)]}, by=None, time=None, horizon=3)
    assert found.schema.grid.unit == "rows"
    newest = found.schema.newest({"sold": [1.0, 2.0, 3.0]}, [])
    assert newest.names.to_list() == ["series"]
    assert newest.windows[0, 0, -3:].tolist() == [1, 2, 3]
    assert newest.windows[0, 0, :-3].isnan().all()
    table = found.schema.laid_out(np.array([[4.0, 5.0, 6.0]]), newest)
    assert table.to_dict(as_series=False) == {"step": [3, 4, 5], "prediction": [4.0, 5.0, 6.0]}


def test_the_moments_of_a_forecast_follow_the_newest_of_each_series() -> None:
    found, _ = read(daily())
    newer = daily(230).filter((pl.col("shop") == "s1") | (pl.col("day") < pl.date(2024, 7, 1)))
    newest = found.schema.newest(newer, [])
    assert newest.names.to_list() == ["s0", "s1"]
    assert (newest.windows[:, 0, -1] % 1000).tolist() == [181, 229]
    table = found.schema.laid_out(np.zeros((2, 7)), newest)
    assert table.columns == ["shop", "day", "prediction"]
    assert table["day"].to_list()[::7] == ["2024-07-01", "2024-08-18"]


def test_months_are_steps_however_long_they_are() -> None:
    months = pl.date_range(pl.date(2010, 1, 1), pl.date(2019, 12, 1), "1mo", eager=True)
    found, _ = read({"month": months, "sold": [float(x) for x in range(120)]}, by=None, time="month", horizon=4)
    assert (found.schema.grid.unit, found.schema.grid.step, found.schema.grid.cycles) == ("months", 1, ("year",))
    assert following(found, {"month": months, "sold": [float(x) for x in range(120)]}, "month")[:2] == [
        "2020-01-01", "2020-02-01",
    ]  # fmt: skip


def following(found: Series[ForecastSchema], table: object, time: str = "day") -> list[Any]:
    """The moments that are predicted after a table."""
    newest = found.schema.newest(table, [])
    return found.schema.laid_out(np.zeros((len(newest.names), found.schema.horizon or 0)), newest)[time].to_list()


def steps(dates: pl.Series | Sequence[Any]) -> dict[str, Any]:
    return {"day": dates, "sold": np.sin(np.arange(len(dates)))}


def every(interval: str, count: int, start: date = date(2022, 1, 3)) -> pl.Series:
    return pl.date_range(start, date(2060, 1, 1), interval, eager=True)[:count]


def test_rows_on_some_days_of_the_week_are_forecast_on_those() -> None:
    days = every("1d", 300)
    work = days.filter(days.dt.weekday() <= 5)
    found, _ = read(steps(work), by=None, horizon=8)
    grid = found.schema.grid
    assert (grid.unit, grid.week, grid.cycles) == ("weekdays", "1111100", ("week",))
    assert not found.series[:, 0].isnan().any()
    ends = work[-1]
    expected = [day for day in every("1d", 20, ends + timedelta(days=1)) if day.weekday() < 5][:8]
    assert following(found, steps(work)) == [str(day) for day in expected]
    monday = np.datetime64("2022-01-03")
    phase = np.arctan2(*found.schema.newest(steps(work), []).windows[0, 1:3].numpy())
    days_on = (work[-found.schema.steps :].to_numpy() - monday).astype("timedelta64[D]").astype(int) % 7
    np.testing.assert_allclose(np.diff(phase) % (2 * np.pi), np.diff(days_on) % 7 * 2 * np.pi / 7, atol=1e-3)


@pytest.mark.parametrize(
    ("dates", "unit", "then"),
    [
        (every("4w", 60), "seconds", ["2026-08-10", "2026-09-07"]),
        (every("30d", 60, date(2022, 1, 15)), "seconds", ["2026-12-20", "2027-01-19"]),
        (every("1mo", 49, date(2022, 1, 1)).dt.month_end(), "months", ["2026-02-28", "2026-03-31"]),
        (every("1mo", 49, date(2022, 1, 15)), "months", ["2026-02-15", "2026-03-15"]),
        (every("1q", 39, date(2020, 1, 15)), "months", ["2029-10-15", "2030-01-15"]),
        (every("1y", 39, date(1990, 7, 1)), "months", ["2029-07-01", "2030-07-01"]),
    ],
)
def test_what_is_a_number_of_days_is_no_month(dates: pl.Series, unit: str, then: list[str]) -> None:
    found, _ = read(steps(dates), by=None, horizon=2)
    assert found.schema.grid.unit == unit
    assert following(found, steps(dates)) == then


def test_a_session_on_a_saturday_makes_no_week_of_six_days_and_times_of_day_stay() -> None:
    days = every("1d", 300)
    work = days.filter((days.dt.weekday() <= 5) | (days == date(2022, 3, 5))).cast(pl.Datetime) + timedelta(hours=16)
    found, notes = read(steps(work), by=None, horizon=8)
    assert found.schema.grid.week == "1111100"
    assert notes == ["1 rows on days of the week that have hardly any are left out."]
    assert following(found, steps(work[:-1]))[0] == str(work[-1])
    with pytest.raises(DataError, match="1 of 1 rows lie between the steps of the model"):
        found.schema.newest(steps([datetime(2023, 1, 7, 16)]), [])
    some = days.filter(days.dt.weekday().is_in([1, 3, 5]))
    assert read(steps(some), by=None, horizon=2)[0].schema.grid.week == "1010100"


def test_a_few_rows_between_the_steps_count_for_the_nearest_in_training_and_later() -> None:
    shops = {f"s{shop}": every("1d", 60).cast(pl.Datetime) + timedelta(hours=6 * (shop == 0)) for shop in range(30)}
    frames = [pl.DataFrame({"shop": name, "day": day, "sold": np.arange(60.0)}) for name, day in shops.items()]
    found, _ = read(pl.concat(frames), horizon=2)
    notes: list[str] = []
    newest = found.schema.newest(pl.concat(frames), notes)
    assert len(newest.names) == 30
    assert not newest.windows[:, 0].isnan().any()
    assert notes == ["60 rows lie between the steps of the model; they count for the nearest one."]


@pytest.mark.parametrize("hertz", [1_000, 10_000])
def test_steps_of_parts_of_a_second_stay_even(hertz: int) -> None:
    moments = pl.Series(np.datetime64("2024-05-06T00:00:00", "us") + np.arange(6_000) * (1_000_000 // hertz))
    found, notes = read(steps(moments), by=None, horizon=2)
    assert (found.schema.grid.unit, found.schema.grid.step, notes) == ("seconds", 1 / hertz, [])
    assert not found.series.isnan().any()


def test_days_written_as_whole_numbers_are_days() -> None:
    days = every("1d", 60, date(2024, 1, 25))
    found, _ = read(steps(days.dt.strftime("%Y%m%d").cast(pl.Int64)), by=None, horizon=2)
    assert (found.schema.grid.unit, found.schema.form) == ("seconds", "%Y%m%d")
    assert following(found, steps([20250227.0, 20250228.0, None])) == ["2025-03-01", "2025-03-02"]
    assert following(found, steps(["20250227.0", "20250228.0", None]))[0] == "2025-03-01"
    counter, _ = read(steps(range(20_000_000, 20_000_400)), by=None, horizon=2)
    assert (counter.schema.grid.unit, counter.schema.form) == ("numbers", "number")
    assert following(counter, steps([20_000_201, 20_000_202])) == [20_000_203, 20_000_204]


def test_dates_are_read_as_in_training() -> None:
    days = every("1d", 60, date(2024, 1, 25))
    found, notes = read(steps(days.dt.strftime("%d/%m/%Y")), by=None, horizon=2)
    assert found.schema.form == "%d/%m/%Y"
    assert notes == []
    assert following(found, steps(["01/03/2024", "02/03/2024", "03/03/2024"])) == ["2024-03-04", "2024-03-05"]
    assert following(found, steps(every("1d", 3))) == ["2022-01-06", "2022-01-07"]
    assert following(found, steps(["2024-03-01", "2024-03-02"]))[0] == "2024-03-03"  # in no way that could be mistaken
    with pytest.raises(DataError, match="cannot be read as times or numbers in 1 rows, such as '2024-03-02'"):
        found.schema.newest(steps(["01/03/2024", "2024-03-02"]), [])
    with pytest.raises(DataError, match="holds numbers; the model was trained with dates"):
        found.schema.newest(steps([1, 2, 3]), [])


@pytest.mark.parametrize(
    ("texts", "order", "next_"),
    [
        ([f"01/{month:02}/{year}" for year in range(2019, 2025) for month in range(1, 13)], "day before month", "2025-01-01"),
        ([f"{month:02}/01/{year}" for year in range(2019, 2025) for month in range(1, 13)], "month before day", "2025-01-01"),
        ([f"{month:02}/01/2019" for month in range(1, 13)] * 4, "month before day", "2020-01-01"),
    ],
)
def test_a_guess_at_day_and_month_is_the_more_even_one_and_told(texts: list[str], order: str, next_: str) -> None:
    shops = ["a", "b", "c", "d"] if len(set(texts)) < len(texts) else ["a"]
    table = steps(texts) | {"shop": np.repeat(shops, len(texts) // len(shops))}
    found, notes = read(table, horizon=1)
    assert notes == [f"Column 'day': dates such as '01/01/2019' are read with the {order}."]
    assert following(found, table)[0] == next_


def test_rows_beside_the_model_s_steps_keep_their_own_dates() -> None:
    found, _ = read(steps(every("1w", 60)), by=None, horizon=2)
    sundays = every("1w", 9, date(2023, 1, 1))
    notes: list[str] = []
    newest = found.schema.newest(steps(sundays), notes)
    assert "beside those that the model was trained on" in notes[0]
    assert not newest.windows[0, 0, -9:].isnan().any()
    assert following(found, steps(sundays)) == ["2023-03-05", "2023-03-12"]
    mondays = every("1w", 9)
    astray = steps([*mondays[:6], *(day + timedelta(days=3) for day in mondays[6:])])
    with pytest.raises(DataError, match="3 of 9 rows lie between the steps of the model, which follow each other like"):
        found.schema.newest(astray, [])


def test_a_model_of_irregular_times_reads_new_rows_in_their_order() -> None:
    times = np.random.default_rng(0).exponential(size=90).cumsum()
    found, _ = read({"t": times, "sold": np.arange(90.0)}, by=None, time="t", horizon=3)
    newest = found.schema.newest({"t": [9.0, 2.5, 7.0], "sold": [3.0, 1.0, 2.0]}, [])
    assert newest.windows[0, 0, -3:].tolist() == [1, 2, 3]
    assert found.schema.laid_out(np.zeros((1, 3)), newest).columns == ["step", "prediction"]


@pytest.mark.parametrize(("days", "horizon"), [(200, 14), (400, 7), (120, 3)])
def test_folds_of_forecasts_share_no_step_to_predict(days: int, horizon: int) -> None:
    found, _ = read(daily(days), horizon=horizon)
    assert found.origins is not None
    rows = found.split.development
    pairs = folds_of(found, rows, 8, seed=1)
    assert sorted(row for _, held in pairs for row in held.tolist()) == sorted(rows.tolist())
    for train, held in pairs:
        taught = {int(at) + step for at in found.origins[train] for step in range(horizon)}
        judged = {int(at) + step for at in found.origins[held] for step in range(horizon)}
        assert not taught & judged
        assert len(train) > len(rows) / 4


def test_a_stretch_too_short_for_folds_has_none() -> None:
    found, _ = read(daily(140, shops=3), horizon=30)
    assert folds_of(found, found.split.development, 8, seed=1) == []


def test_gaps_duplicates_and_disorder_are_treated_as_documented() -> None:
    table = daily(shops=1).filter(pl.col("sold") != 50)
    doubled = pl.concat([table, table.filter(pl.col("sold") == 60).with_columns(pl.col("sold") + 10)])
    found, notes = read(doubled)
    assert "1 rows share series and time with another one; their values are averaged." in notes
    own = found.series[:, 0]
    assert own.isnan().any()
    assert not found.target.isnan().any()
    assert 65.0 in own
    assert 50.0 not in own[~own.isnan()]


def test_a_model_knows_whether_windows_may_end_in_a_gap() -> None:
    gap = daily(60, shops=1).filter(pl.col("sold") != 30)
    whole = {"sold": [float(x) for x in range(80)]}
    found, _ = read(gap.with_columns(pl.col("day").to_physical()), horizon=3)
    assert found.schema.ragged
    assert problem_of(found, found.split.train, torch.device("cpu")).ragged  # type: ignore[attr-defined]  # of series
    assert not read(whole, by=None, time=None, horizon=3)[0].schema.ragged


def test_irregular_times_are_an_order_only() -> None:
    times = np.random.default_rng(0).exponential(size=90).cumsum()
    found, notes = read({"t": times, "sold": np.arange(90.0)}, by=None, time="t", horizon=3)
    assert notes == ["The times are irregular; rows count as equal steps, in the order of time."]
    torch.testing.assert_close(found.target[:, 0], found.series[:, 0, -1] + 1)


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (daily(30), {"horizon": 14}, "longest series has 30 steps; a horizon of 14 needs at least 64"),
        (daily(), {"horizon": 0}, "at least 1 step"),
        (daily(), {"target": None}, "Name the column to forecast"),
        (daily(), {"target": "slod"}, "'slod' is not in the data. Did you mean 'sold'"),
        (daily(), {"target": "open"}, "is no column of numbers"),
        (daily(), {"time": "shop"}, "cannot have two roles"),
        (daily().with_columns(pl.lit(3.0).alias("sold")), {}, "never changes"),
        (daily().with_columns(pl.lit("soon").alias("day")), {}, "cannot be read as times"),
        ({"day": [*range(79), np.inf], "sold": np.arange(80.0)}, {"by": None}, "cannot be read as times or numbers in 1 rows"),
        (daily().with_columns(pl.lit(None, pl.Float64).alias("sold")), {}, "holds no number"),
    ],
)
def test_tables_that_cannot_be_forecast(table: object, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(table, **options)


def test_options_that_mean_nothing_for_forecasts_are_refused_and_the_rest_is_read_again() -> None:
    with pytest.raises(DataError, match="A group column cannot be given with a horizon"):
        read_data(daily(), "sold", horizon=7, by="shop", time="day", group="open", notes=[])
    source = source_of(daily(), "sold", None, horizon=7, by="shop", time="day")
    again = read_again(source, [], data=daily())
    assert isinstance(again, Series)
    assert again.schema.horizon == 7


def test_a_model_of_dates_refuses_numbers() -> None:
    found, _ = read(daily())
    with pytest.raises(DataError, match="holds numbers; the model was trained with dates"):
        found.schema.newest(daily().with_columns(pl.int_range(pl.len()).alias("day")), [])
    with pytest.raises(DataError, match="is not in the data"):
        found.schema.newest(daily().drop("sold"), [])


def test_a_missing_value_beside_one_of_the_same_moment_takes_nothing_from_it() -> None:
    table = daily(shops=1)
    empty = table.filter(pl.col("sold") == 60).with_columns(pl.lit(None, pl.Float64).alias("sold"))
    found, notes = read(pl.concat([table.with_columns(pl.col("sold").cast(pl.Float64)), empty]))
    assert any("averaged" in note for note in notes)
    assert 60.0 in found.series[:, 0]
    assert not found.series[:, 0].isnan().any()
