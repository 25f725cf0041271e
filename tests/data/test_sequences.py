"""Series of every kind of source, whole and broken, made here."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from titrant.data.sequences import Sequences, are_series, find_series
from titrant.errors import DataError

HEADER = "@problemName toy\n@timeStamps false\n@classLabel true a b\n@data\n"


def found(data: object, **options: Any) -> tuple[Sequences, list[str]]:
    notes: list[str] = []
    asked = {"target": None, "split": None, "by": None, "time": None} | options
    return find_series(data, **asked, notes=notes), notes


def waves(rows: int = 6, channels: int = 2, steps: int = 9) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(rows, channels, steps)).astype(np.float32)


def put(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# ------------------------------------------------------------------- arrays


def test_arrays_with_what_is_known_of_each_series(tmp_path: Path) -> None:
    x, y, split = waves(), np.array(["a", "b"] * 3), np.array(["train", "test"] * 3)
    np.savez(tmp_path / "toy.npz", x=x, y=y, split=split, group=np.arange(6) // 2, about=np.array(["one note"]))
    series, notes = found(tmp_path / "toy.npz")
    np.testing.assert_array_equal(series.values, x)
    assert series.frame.to_dict(as_series=False) == {
        "series": ["0", "1", "2", "3", "4", "5"],
        "label": y.tolist(),
        "split": split.tolist(),
        "group": [0, 0, 1, 1, 2, 2],
    }
    assert (series.channels, series.target, series.split, notes) == (("x0", "x1"), "label", "split", [])


def test_two_axes_are_one_channel_and_class_names_are_taken() -> None:
    series, _ = found({"x": waves()[:, 0], "y": np.array([0, 1] * 3), "classes": np.array(["down", "up"])})
    assert series.values.shape == (6, 1, 9)
    assert series.frame["label"].to_list() == ["down", "up"] * 3


def test_infinite_values_and_empty_parts_are_told() -> None:
    x = waves(4, 3, 5)
    x[0, 0, 0], x[1], x[:, 2] = np.inf, np.nan, np.nan
    x[3] = 1.0
    x[3, 2] = np.nan
    series, notes = found({"x": x, "y": np.arange(4) / 2})
    assert series.values.shape == (3, 2, 5)
    assert np.isnan(series.values[0, 0, 0])
    assert series.frame["series"].to_list() == ["0", "2", "3"]
    assert [note.split(",")[0].split(":")[0] for note in notes] == [
        "1 infinite values count as missing.",
        "Channels without any value are left out",
        "1 series without any value are left out.",
        "1 of 3 series never change",
    ]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"x": np.zeros((2, 3, 4, 5))}, "x must be an array of numbers"),
        ({"x": np.array([["a"]])}, "x must be an array of numbers"),
        ({"x": waves(), "y": np.zeros(5)}, "y has shape .*, but there are 6 series"),
        ({"x": np.zeros((0, 1, 4))}, "there must be series with steps"),
        ({"x": np.full((3, 1, 4), np.nan), "y": np.arange(3)}, "hold no values"),
        ({"y": np.zeros(3)}, "found none"),
    ],
)
def test_what_cannot_be_series_is_refused(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        found(parts)


def test_a_file_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", x=np.array([{"a": 1}], dtype=object), y=np.zeros(1))
    with pytest.raises(DataError, match="cannot be read"):
        found(tmp_path / "bad.npz")


def test_a_quick_look_tells_series_from_tables_and_pictures(tmp_path: Path) -> None:
    np.savez(tmp_path / "series.npz", x=waves(), y=np.zeros(6))
    np.savez(tmp_path / "flat.npz", x=waves()[:, 0], y=np.zeros(6))
    np.savez(tmp_path / "pictures.npz", x=np.zeros((6, 8, 8), np.uint8), y=np.zeros(6))
    np.save(tmp_path / "stack.npy", waves())
    put(tmp_path / "table.csv", "a,b\n1,2\n")
    yes = [tmp_path / "series.npz", tmp_path / "flat.npz", tmp_path / "stack.npy", put(tmp_path / "a.ts", HEADER), waves()]
    no = [tmp_path / "pictures.npz", tmp_path / "table.csv", tmp_path / "nothing.npz", np.zeros((3, 4)), tmp_path]
    assert [are_series(data) for data in yes] == [True] * len(yes)
    assert [are_series(data) for data in no] == [False] * len(no)
    assert are_series(tmp_path / "table.csv", by="a")


# ----------------------------------------------------------------- .ts files


def test_a_ts_file_with_ragged_series_and_gaps(tmp_path: Path) -> None:
    series, _ = found(put(tmp_path / "toy.ts", "# about\n" + HEADER + "1,2,3:4,?,6:a\n\n7,8:9,NaN:b\n"))
    nan = np.nan
    np.testing.assert_array_equal(series.values, [[[1, 2, 3], [4, nan, 6]], [[7, 8, nan], [9, nan, nan]]])
    assert series.frame["label"].to_list() == ["a", "b"]
    assert (series.target, series.written) == ("label", True)


def test_a_ts_file_with_stamps_and_a_target(tmp_path: Path) -> None:
    text = "@timeStamps true\n@targetLabel true\n@data\n(2024-01-01 10:00:00,1.5),(2024-01-01 11:00:00,?):0.25\n(0,2),(1,3):7\n"
    series, _ = found(put(tmp_path / "toy.ts", text))
    np.testing.assert_array_equal(series.values, [[[1.5, np.nan]], [[2, 3]]])
    assert series.frame["label"].to_list() == ["0.25", "7"]


def test_a_folder_of_two_ts_files_is_one_divided_set(tmp_path: Path) -> None:
    put(tmp_path / "Toy_TRAIN.ts", HEADER + "1,2:a\n3,4:b\n")
    put(tmp_path / "Toy_TEST.ts", HEADER + "5,6,7:a\n")
    assert are_series(tmp_path)
    series, _ = found(tmp_path)
    assert sorted(zip(series.frame["series"], series.frame["split"], strict=True)) == [
        ("test 0", "test"),
        ("train 0", "train"),
        ("train 1", "train"),
    ]
    assert series.values.shape == (3, 1, 3)
    _, notes = found(tmp_path / "Toy_TRAIN.ts")
    assert notes == ["There is Toy_TEST.ts beside these data: name it with --test to be judged on it."]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@classLabel true a\n1,2:a\n", "line 2: expected a line that begins with @"),
        ("@classLabel true a\n", "has no line @data"),
        (HEADER, "has no series behind @data"),
        (HEADER + "1,two:a\n", "line 5: 'two' is no number"),
        (HEADER + "1,2:3,4:a\n1,2:a\n", "line 6: found 1 channels, expected 2"),
        (HEADER + "1,2\n", "line 5: expected channels and a label"),
        (HEADER + "1\0:a\n", "is a binary file"),
        ("", "is empty"),
    ],
)
def test_a_broken_ts_file_says_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        found(put(tmp_path / "bad.ts", text))


def test_a_missing_file_and_a_foreign_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no file"):
        found(tmp_path / "gone.ts")
    with pytest.raises(DataError, match=r"must hold NAME_TRAIN\.ts"):
        found(tmp_path)


# ------------------------------------------------------------------- tables


def table(**columns: Any) -> dict[str, Any]:
    return {"shop": ["a", "a", "a", "b", "b"], "day": [1, 2, 3, 1, 2], "sold": [1.0, 2, 3, 4, 5], **columns}


def test_a_table_of_steps() -> None:
    series, notes = found(table(open=["yes"] * 3 + ["no"] * 2, size=[7] * 3 + [9] * 2), by="shop", time="day", target="size")
    np.testing.assert_array_equal(series.values, [[[1, 2, 3]], [[4, 5, np.nan]]])
    assert series.frame.to_dict(as_series=False) == {"series": ["a", "b"], "open": ["yes", "no"], "size": [7, 9]}
    assert (series.channels, series.target, notes) == (("sold",), "size", [])


def test_steps_are_sorted_doubled_ones_averaged_and_gaps_filled_with_missing_values() -> None:
    data = {"id": ["a"] * 5 + ["b"] * 3, "t": [3, 1, 2, 2, 5, 10, 11, 12], "x": [3.0, 1, 2, 4, 5, 6, 7, 8]}
    series, notes = found(data, by="id", time="t")
    np.testing.assert_array_equal(series.values, [[[1, 3, 3, np.nan, 5]], [[6, 7, 8, np.nan, np.nan]]])
    assert [note.split(" ")[:2] for note in notes] == [["The", "steps"], ["1", "steps"], ["1", "steps"]]


def test_dates_as_text_are_times() -> None:
    days = ["2024-01-01", "2024-01-02", "2024-01-04"]
    series, _ = found({"id": ["a"] * 3, "t": days, "x": [1.0, 2, 3]}, by="id", time="t")
    np.testing.assert_array_equal(series.values, [[[1, 2, np.nan, 3]]])


def test_irregular_times_are_an_order_only() -> None:
    series, notes = found({"id": ["a"] * 4, "t": [0.0, 0.7, 2.9, 9.1], "x": [1.0, 2, 3, 5]}, by="id", time="t")
    np.testing.assert_array_equal(series.values, [[[1, 2, 3, 5]]])
    assert notes == ["The times of the series are irregular; only their order is used."]


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({}, {"by": "shpo"}, "id column 'shpo' is not in the data. Did you mean 'shop'"),
        ({}, {"by": "shop", "time": "when"}, "time column 'when'"),
        ({}, {"by": "shop", "target": "sold"}, "'sold' changes inside the series 'a'"),
        ({"day": ["x"] * 5}, {"by": "shop", "time": "day"}, "cannot be read as times"),
        ({"sold": [1] * 3 + [2] * 2, "day": [1] * 5}, {"by": "shop"}, "nothing to follow in time"),
        ({}, {"by": "shop", "time": "shop"}, "cannot have two roles"),
        ({"shop": [None] * 5}, {"by": "shop"}, "No row has both"),
    ],
)
def test_a_table_that_cannot_be_read_as_series(columns: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        found(table(**columns), **options)


def test_a_time_far_away_does_not_blow_series_up() -> None:
    data = {"id": ["a"] * 5, "t": [0, 1, 2, 3, 10_000_000], "x": [1.0, 2, 3, 4, 6]}
    series, notes = found(data, by="id", time="t")
    assert series.values.shape == (1, 1, 5)
    assert "gaps that are longer" in notes[-1]


@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=6), min_size=1, max_size=5), st.randoms())
@settings(max_examples=40, deadline=None)
def test_a_shuffled_table_gives_back_its_series(rows: list[list[float]], random: Any) -> None:
    rows = [[*row, row[0] + 1] for row in rows]  # changes somewhere
    steps = [(f"s{number}", step, value) for number, row in enumerate(rows) for step, value in enumerate(row)]
    random.shuffle(steps)
    data = {"id": [s for s, _, _ in steps], "t": [t for _, t, _ in steps], "x": [x for _, _, x in steps]}
    series, _ = found(pl.DataFrame(data, schema_overrides={"x": pl.Float64}), by="id", time="t")
    for name, values in zip(series.frame["series"], series.values[:, 0], strict=True):
        expected = np.float32(rows[int(name[1:])])
        np.testing.assert_array_equal(values[: len(expected)], expected)
        assert np.isnan(values[len(expected) :]).all()
