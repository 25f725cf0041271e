import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from titrant.data.kinds import date_format, infer, number_format

ROWS = 200
DAYS = [dt.date(2023, 1, 1) + dt.timedelta(days=3 * day) for day in range(ROWS)]


def column(values: object, name: str = "c") -> pl.Series:
    return pl.Series(name, values)


def cycle(*values: object) -> list[object]:
    return [values[row % len(values)] for row in range(ROWS)]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (cycle(0, 1), "number"),
        (cycle(0.5, None, 2.0), "number"),
        ([row * row for row in range(ROWS)], "number"),
        (cycle(True, False, None), "boolean"),
        (cycle("Yes", "no", "NO"), "boolean"),
        (cycle("t", "f"), "boolean"),
        (cycle("yes", "no", "unknown"), "category"),
        (cycle("yes", None), "category"),
        (cycle("a", "b", None), "category"),
        (cycle("1. Never Married", "2. Married"), "category"),
        (cycle("12", "7", "1e3", "-.5"), "number"),
        (cycle("012", "007", "123"), "category"),
        (cycle("1,5", "2,25", "7"), "number"),
        (cycle("1,500", "12,250", "7"), "number"),
        (DAYS, "date"),
        (cycle(dt.time(8), dt.time(9, 30)), "date"),
        (cycle("08:00", "9:30"), "date"),
        ([day.isoformat() for day in DAYS], "date"),
        ([day.strftime("%d.%m.%Y 10:15") for day in DAYS], "date"),
        ([day.strftime("%b %d, %Y") for day in DAYS], "date"),
        ([dt.timedelta(hours=row) for row in range(ROWS)], "number"),
    ],
)
def test_kinds_in_a_text_file(values: list[object], kind: str) -> None:
    assert infer(column(values), written=True).kind == kind


@pytest.mark.parametrize(
    ("values", "name", "why"),
    [
        (list(range(ROWS)), "c", "row numbers"),
        ([3 * ROWS - row for row in range(ROWS)], "c", "row numbers"),
        ([row * 1000 for row in range(ROWS)], "PassengerId", "identifier"),
        ([row * 1000 for row in range(ROWS)], "customer_id", "identifier"),
        ([str(row) for row in range(ROWS)], "c", "row numbers"),
        ([f"{row:08x}-ab" for row in range(ROWS)], "c", "identifier"),
        ([f"ticket {row % 150}" for row in range(ROWS)], "c", "too many values"),
        ([f"the quick brown fox number {row} jumps" for row in range(ROWS)], "c", "free text"),
        ([[row] for row in range(ROWS)], "c", "type List"),
        ([{"a": row} for row in range(ROWS)], "c", "type Struct"),
    ],
)
def test_columns_that_a_model_should_not_see(values: list[object], name: str, why: str) -> None:
    finding = infer(column(values, name), written=True)
    assert finding.kind is None
    assert why in finding.why


def test_floats_and_spread_out_integers_are_never_identifiers() -> None:
    assert infer(column([float(row) for row in range(ROWS)], "id"), written=False).kind == "number"
    assert infer(column([row * 7 for row in range(ROWS)], "pixel"), written=False).kind == "number"
    assert infer(column(cycle(1, 2, 3), "id"), written=False).kind == "number"
    assert infer(column([row * 7 for row in range(ROWS)], "paid"), written=False).kind == "number"


def test_digits_kept_as_text_in_a_typed_source_are_categories() -> None:
    series = column(cycle("0", "1", "2"))
    assert infer(series, written=True).kind == "number"
    finding = infer(series, written=False)
    assert (finding.kind, finding.digits) == ("category", True)
    assert infer(column(cycle("0.5", "1", "2")), written=False).kind == "number"


def test_a_few_strange_cells_do_not_make_numbers_text() -> None:
    numbers = [str(row * row) for row in range(ROWS)]
    assert infer(column(["broken"] * 9 + numbers[9:]), written=True).kind == "number"
    assert infer(column(["broken"] * 11 + numbers[11:]), written=True).kind is None


def test_what_commas_mean() -> None:
    assert number_format(column(["1", "2.5"])) == ""
    assert number_format(column(["1,5", "22,75"])) == "decimal"
    assert number_format(column(["1,500", "22"])) == "thousands"
    assert number_format(column(["1,500,000.25"])) == "thousands"
    assert number_format(column(["a, b", "1,5"])) == ""
    assert "decimal" in infer(column(cycle("1,5", "2,25")), written=True).note
    assert "thousands" in infer(column(cycle("1,500", "2,250")), written=True).note


def test_day_and_month_are_told_apart_or_the_guess_is_said() -> None:
    months = [day.strftime("%m/%d/%Y") for day in DAYS]
    days = [day.strftime("%d/%m/%Y") for day in DAYS]
    assert date_format(column(months))[0] == "%m/%d/%Y"
    assert date_format(column(days))[0] == "%d/%m/%Y"
    assert infer(column(days), written=True).note == ""
    finding = infer(column(cycle("01/02/2024", "03/04/2024")), written=True)
    assert finding.form == "%m/%d/%Y"
    assert "month before day" in finding.note


@given(st.lists(st.integers(1, 10**6), min_size=30, max_size=60, unique=True))
def test_row_numbers_are_judged_by_how_they_fill_their_range(values: list[int]) -> None:
    dense = len(values) >= 0.5 * (max(values) - min(values) + 1)
    assert (infer(column(values), written=False).kind is None) == dense


@given(st.lists(st.none() | st.text(max_size=12), min_size=1), st.booleans())
def test_any_text_has_a_kind_or_a_reason(values: list[str | None], written: bool) -> None:
    series = column([*values, "x"])
    finding = infer(series, written)
    assert finding.kind is not None or finding.why


def test_a_kind_is_judged_by_shares_not_by_order() -> None:
    values = [str(value) for value in np.random.default_rng(0).permutation(1000)] + ["n"] * 20
    assert infer(column(values), written=True) == infer(column(values[::-1]), written=True)
