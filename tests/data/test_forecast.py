"""Windows of a table's series: where they stand in time, what they hold, and which tables cannot be forecast."""

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from titrant.data.forecast import ForecastSchema, read_forecast
from titrant.data.learnable import read_again, read_data, source_of
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
    asked = {"target": "sold", "horizon": 7, "by": "shop", "time": "day"} | options
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
    windows, names, ends = found.schema.newest({"sold": [1.0, 2.0, 3.0]}, [])
    assert names.to_list() == ["series"]
    assert windows[0, 0, -3:].tolist() == [1, 2, 3]
    assert windows[0, 0, :-3].isnan().all()
    table = found.schema.laid_out(np.array([[4.0, 5.0, 6.0]]), names, ends)
    assert table.to_dict(as_series=False) == {"step": [3, 4, 5], "prediction": [4.0, 5.0, 6.0]}


def test_the_moments_of_a_forecast_follow_the_newest_of_each_series() -> None:
    found, _ = read(daily())
    newer = daily(230).filter((pl.col("shop") == "s1") | (pl.col("day") < pl.date(2024, 7, 1)))
    windows, names, ends = found.schema.newest(newer, [])
    assert names.to_list() == ["s0", "s1"]
    assert (windows[:, 0, -1] % 1000).tolist() == [181, 229]
    table = found.schema.laid_out(np.zeros((2, 7)), names, ends)
    assert table.columns == ["shop", "day", "prediction"]
    assert table["day"].to_list()[::7] == ["2024-07-01", "2024-08-18"]


def test_months_are_steps_however_long_they_are() -> None:
    months = pl.date_range(pl.date(2010, 1, 1), pl.date(2019, 12, 1), "1mo", eager=True)
    found, _ = read({"month": months, "sold": [float(x) for x in range(120)]}, by=None, time="month", horizon=4)
    assert (found.schema.grid.unit, found.schema.grid.step, found.schema.grid.cycles) == ("months", 1, ("year",))
    _, names, ends = found.schema.newest({"month": months, "sold": [float(x) for x in range(120)]}, [])
    assert found.schema.laid_out(np.zeros((1, 4)), names, ends)["month"].to_list()[:2] == ["2020-01-01", "2020-02-01"]


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
        (daily().with_columns(pl.lit(None, pl.Float64).alias("sold")), {}, "holds no number"),
    ],
)
def test_tables_that_cannot_be_forecast(table: pl.DataFrame, options: dict[str, Any], message: str) -> None:
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
