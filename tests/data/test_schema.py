import datetime as dt

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from titrant.data.schema import Column, Schema
from titrant.errors import DataError

SCHEMA = Schema(
    task="multiclass",
    target="y",
    classes=("a", "b", "c"),
    columns=(
        Column(name="size", kind="number"),
        Column(name="far", kind="number", offset=1e9),
        Column(name="tiny", kind="number", scale=1e-20),
        Column(name="flag", kind="boolean"),
        Column(name="day", kind="date", form="%Y-%m-%d", parts=("month", "weekday")),
        Column(name="town", kind="category", vocabulary=("Graz", "Wien")),
    ),
    left_out={"id": "an identifier"},
)
FRAME = pl.DataFrame(
    {
        "size": [1.5, None, -2.0],
        "far": [1e9 + 0.25, 1e9, None],
        "tiny": [1e-20, -3e-20, 0.0],
        "flag": ["yes", "no", None],
        "day": ["2024-01-01", None, "2024-12-31"],
        "town": ["Wien", "Linz", None],
    }
)
NUMBERS = [
    [1.5, 0.25, 1, 1, 1, 1],
    [np.nan, 0, -3, 0, np.nan, np.nan],
    [-2, np.nan, 0, np.nan, 12, 2],
]


def test_encodes_numbers_dates_and_codes() -> None:
    numbers, codes = SCHEMA.encode(FRAME, [])
    assert numbers.dtype == torch.float32
    assert codes.dtype == torch.int32
    np.testing.assert_allclose(numbers, np.array(NUMBERS, np.float32), rtol=1e-6)
    assert codes.tolist() == [[3], [0], [1]]
    assert SCHEMA.number_names == ["size", "far", "tiny", "flag", "day.month", "day.weekday"]
    assert SCHEMA.code_names == ["town"]
    assert SCHEMA.cardinalities == [4]


def test_order_and_extra_columns_do_not_matter() -> None:
    expected = SCHEMA.encode(FRAME, [])
    notes: list[str] = []
    other = FRAME.select(reversed(FRAME.columns)).with_columns(id=pl.lit(1), y=pl.lit("a"), new=pl.lit(2))
    numbers, codes = SCHEMA.encode(other, notes)
    assert torch.equal(numbers.nan_to_num(-9), expected[0].nan_to_num(-9))
    assert torch.equal(codes, expected[1])
    assert [note for note in notes if "ignored" in note] == ["Columns that the model does not know are ignored: 'new'."]


def test_missing_columns_are_named_with_the_likeliest_match() -> None:
    frame = FRAME.rename({"town": "Town"}).drop("far", "flag")
    with pytest.raises(DataError, match=r"3 of the columns.*'far', 'flag', 'town'. Did you mean 'Town'\?"):
        SCHEMA.encode(frame, [])


def test_strange_cells_count_as_missing_with_notes() -> None:
    notes: list[str] = []
    frame = FRAME.with_columns(
        size=pl.Series(["1.5", "wide", "-inf"]), flag=pl.Series([1, 0, 7]), day=pl.Series([1.0, 2.0, 3.0])
    )
    numbers, _ = SCHEMA.encode(frame, notes)
    np.testing.assert_array_equal(numbers[:, 0], [1.5, np.nan, np.nan])
    np.testing.assert_array_equal(numbers[:, 3], [1, 0, np.nan])
    assert numbers[:, 4].isnan().all()
    said = "\n".join(notes)
    assert "'size': 1 cells cannot be read as number and count as missing, such as 'wide'" in said
    assert "'size': 1 infinite cells" in said
    assert "'flag': 1 cells cannot be read as boolean and count as missing, such as 7" in said
    assert "'day': 3 cells" in said
    assert "'town': 1 cells hold categories that the model does not know, such as 'Linz'" in said


def test_types_may_change_between_training_and_prediction() -> None:
    schema = Schema(
        task="regression",
        target="y",
        columns=(Column(name="a", kind="category", vocabulary=("3", "7")), Column(name="b", kind="number")),
    )
    as_text = schema.encode(pl.DataFrame({"a": ["3", "7"], "b": ["1", "0"]}), [])
    for a, b in (([3, 7], [True, False]), ([3.0, 7.0], [1.0, 0.0])):
        other = schema.encode(pl.DataFrame({"a": a, "b": b}), [])
        assert all(torch.equal(left, right) for left, right in zip(as_text, other, strict=True))


def test_numbers_beyond_float32_are_cut_off_with_a_note() -> None:
    schema = Schema(task="regression", target="y", columns=(Column(name="x", kind="number"),))
    notes: list[str] = []
    numbers, codes = schema.encode(pl.DataFrame({"x": [1.0, 1e300, -1e40]}), notes)
    np.testing.assert_allclose(numbers[:, 0], [1, 1e15, -1e15])
    assert "2 cells" in notes[0]
    assert codes.shape == (3, 0)


@pytest.mark.parametrize(
    ("classes", "cells", "kind"),
    [
        (("no", "yes"), ["yes", "no", "yes"], "U"),
        ((3, 7), [7, 3, 7], "i"),
        ((-1.5, 0.5), [0.5, -1.5, 0.5], "f"),
        ((0.0, 2.0**63), [2.0**63, 0.0, 2.0**63], "f"),
        ((False, True), [True, False, True], "b"),
    ],
)
def test_labels_come_back_as_they_stood_also_after_a_round_trip(classes: tuple, cells: list, kind: str) -> None:
    schema = Schema(task="binary", target="y", classes=classes, columns=())
    again = Schema.model_validate_json(schema.model_dump_json())
    index = again.encode_target(pl.DataFrame({"y": cells}))
    assert index.tolist() == [1, 0, 1]
    assert index.dtype == torch.int64
    labels = again.labels(index.numpy())
    assert labels.tolist() == cells
    assert [type(label) for label in again.classes] == [type(label) for label in classes]
    assert labels.dtype.kind == kind
    written = pl.DataFrame({"y": [str(cell) for cell in cells]})
    assert again.encode_target(written).tolist() == [1, 0, 1]


def test_unknown_labels_are_minus_one_and_large_integers_stay_apart() -> None:
    schema = Schema(task="binary", target="y", classes=(2**53, 2**53 + 1), columns=())
    assert schema.encode_target(pl.DataFrame({"y": [2**53 + 1, 2**53, 5, None]})).tolist() == [1, 0, -1, -1]


def test_regression_targets() -> None:
    schema = Schema(task="regression", target="y", columns=())
    frame = pl.DataFrame({"y": ["1.5", "x", "inf", "16777217"]})
    np.testing.assert_array_equal(schema.target_values(frame), [1.5, np.nan, np.nan, 16777217.0])
    np.testing.assert_array_equal(schema.encode_target(frame), np.array([1.5, np.nan, np.nan, 16777216.0], np.float32))
    with pytest.raises(DataError, match="Did you mean 'Y'"):
        schema.encode_target(frame.rename({"y": "Y"}))


def test_round_trip_as_json() -> None:
    again = Schema.model_validate_json(SCHEMA.model_dump_json())
    assert again == SCHEMA
    assert torch.equal(again.encode(FRAME, [])[0].nan_to_num(), SCHEMA.encode(FRAME, [])[0].nan_to_num())


def test_date_parts_agree_with_the_standard_library() -> None:
    parts = ("year", "month", "day", "weekday", "day_of_year", "hour", "minute", "second")
    schema = Schema(task="regression", target="y", columns=(Column(name="t", kind="date", parts=parts),))
    moments = [dt.datetime(2024, 2, 29, 23, 59, 58), dt.datetime(1999, 12, 31)]
    numbers, _ = schema.encode(pl.DataFrame({"t": moments}), [])
    expected = [[m.year, m.month, m.day, m.isoweekday(), m.timetuple().tm_yday, m.hour, m.minute, m.second] for m in moments]
    assert numbers.tolist() == expected


@given(st.lists(st.none() | st.sampled_from(["a", "b", "c", "d", ""]), min_size=1))
def test_codes_are_positions_in_the_vocabulary(cells: list[str | None]) -> None:
    column = Column(name="x", kind="category", vocabulary=("b", "", "a"))
    known = {None: 1, "b": 2, "": 3, "a": 4}
    assert column.codes(pl.Series(cells, dtype=pl.String)).to_list() == [known.get(cell, 0) for cell in cells]
