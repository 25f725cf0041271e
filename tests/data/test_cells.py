import datetime as dt

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from titrant.data import cells


@given(st.lists(st.floats() | st.none()))
def test_numbers_written_as_text_read_like_the_numbers(values: list[float | None]) -> None:
    written = pl.Series([None if value is None else repr(value) for value in values], dtype=pl.String)
    assert cells.number(written).equals(cells.number(pl.Series(values, dtype=pl.Float64)))


def test_number_reads_every_type_that_counts() -> None:
    assert cells.number(pl.Series([True, False, None])).to_list() == [1, 0, None]
    assert cells.number(pl.Series([1, -2], dtype=pl.UInt8, strict=False)).to_list() == [1, None]
    assert cells.number(pl.Series([dt.timedelta(seconds=90)])).to_list() == [90]
    assert cells.number(pl.Series([dt.date(2024, 1, 1)])).to_list() == [None]
    assert cells.number(pl.Series(["1_000", "0x1", "1e3", "+.5", "nan", "ten", "inf"])).to_list() == [
        *(None, None, 1000, 0.5, None, None, float("inf"))
    ]


def test_commas_in_numbers() -> None:
    series = pl.Series(["1,5", "-1,234"])
    assert cells.number(series).to_list() == [None, None]
    assert cells.number(series, "decimal").to_list() == [1.5, -1.234]
    assert cells.number(series, "thousands").to_list() == [15, -1234]


def test_boolean_reads_words_and_digits_in_any_case() -> None:
    words = ["TRUE", "yes", "T", "y", "1", "False", "NO", "f", "N", "0", "maybe", None]
    assert cells.boolean(pl.Series(words)).to_list() == [1] * 5 + [0] * 5 + [None, None]
    assert cells.boolean(pl.Series([0, 1, 2, None])).to_list() == [0, 1, None, None]
    assert cells.boolean(pl.Series([True, None])).to_list() == [1, None]


def test_text_of_a_number_does_not_depend_on_its_type() -> None:
    assert cells.text(pl.Series([3.0, 0.5, None, -2.0])).to_list() == ["3", "0.5", None, "-2"]
    assert cells.text(pl.Series([3])).to_list() == ["3"]


@pytest.mark.parametrize("form", cells.FORMATS)
@settings(max_examples=5)
@given(moment=st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2068, 12, 31)))
def test_every_format_reads_what_it_writes(form: str, moment: dt.datetime) -> None:
    moment = moment.replace(microsecond=0, fold=0)
    if "%S" not in form:
        moment = moment.replace(second=0)
    if "%M" not in form:
        moment = moment.replace(hour=0, minute=0)
    written = moment.strftime(form.replace("%S%.f", "%S"))
    assert cells.moment(pl.Series([written]), form).to_list() == [moment]


@pytest.mark.parametrize(
    "written",
    ["2024-03-31T18:05:06Z", "2024-03-31 18:05:06.25+02:00", "2024-03-31 18:05:06", "2024-03-31T18:05:06.123456-0500"],
)
def test_iso_times_keep_their_wall_clock(written: str) -> None:
    (read,) = cells.moment(pl.Series([written]), "%Y-%m-%d %H:%M:%S%.f").to_list()
    assert read.replace(microsecond=0) == dt.datetime(2024, 3, 31, 18, 5, 6)


def test_moment_reads_temporal_types_and_whole_numbers() -> None:
    zoned = pl.Series([dt.datetime(2024, 3, 31, 16)]).dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Vienna")
    assert cells.moment(zoned, "").to_list() == [dt.datetime(2024, 3, 31, 18)]
    assert cells.moment(pl.Series([dt.date(2024, 3, 31)]), "").to_list() == [dt.datetime(2024, 3, 31)]
    assert cells.moment(pl.Series([dt.time(18, 5)]), "").to_list() == [dt.datetime(2000, 1, 1, 18, 5)]
    assert cells.moment(pl.Series(["18:05"]), "%Y-%m-%d %H:%M").to_list() == [dt.datetime(2000, 1, 1, 18, 5)]
    assert cells.moment(pl.Series([20240331]), "%Y%m%d").to_list() == [dt.datetime(2024, 3, 31)]
    assert cells.moment(pl.Series([1.5]), "%Y").to_list() == [None]


def test_two_digits_are_no_year() -> None:
    assert cells.moment(pl.Series(["1/2/20"]), "%m/%d/%Y").to_list() == [None]
    assert cells.moment(pl.Series(["1/2/20"]), "%m/%d/%y").to_list() == [dt.datetime(2020, 1, 2)]
