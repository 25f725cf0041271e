"""Series with their schema: division, classes, and what a model reads later."""

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from titrant.data.learnable import read_data
from titrant.data.series import Series, SeriesSchema, read_series
from titrant.errors import DataError

X = np.random.default_rng(1).normal(size=(60, 2, 10)).astype(np.float32)
Y = np.array(["up", "down"] * 30)


def test_series_are_divided_as_their_split_says() -> None:
    split = np.array(["train"] * 40 + ["test"] * 20)
    found = read_data({"x": X, "y": Y, "split": split}, None, notes=[])
    assert isinstance(found, Series)
    assert found.split.test.tolist() == list(range(40, 60))
    assert len(found.split.train) + len(found.split.validation) == 40
    assert (found.schema.task, found.schema.classes, found.schema.ragged) == ("binary", ("down", "up"), False)
    assert found.summary.series == "10 steps of 2 channels"


def test_values_make_a_regression() -> None:
    found = read_data({"x": X, "y": X[:, 0].sum(1)}, None, notes=[])
    assert found.schema.task == "regression"
    assert found.values is not None
    np.testing.assert_allclose(found.values, X[:, 0].sum(1), rtol=1e-6)


def test_test_series_may_be_longer_and_stand_in_another_file() -> None:
    longer = np.concatenate([X, X[:, :, :3]], 2)
    found = read_data({"x": X, "y": Y}, None, test={"x": longer, "y": Y}, notes=[])
    assert isinstance(found, Series)
    assert found.series.shape == (120, 2, 13)
    assert found.schema.ragged
    assert found.split.test.tolist() == list(range(60, 120))


def test_new_series_are_cut_or_padded_to_what_the_model_knows() -> None:
    found = read_data({"x": X, "y": Y}, None, notes=[])
    notes: list[str] = []
    (short,) = found.schema.rows({"x": X[:3, :, :4]}, notes).inputs
    (long,) = found.schema.rows({"x": np.concatenate([X, X], 2)[:3]}, notes).inputs
    assert short.shape == long.shape == (3, 2, 10)
    assert short[:, :, 4:].isnan().all()
    torch.testing.assert_close(long, torch.from_numpy(X[:3]))
    assert notes == ["3 series are longer than the 10 steps that the model knows; they are cut there."]
    with pytest.raises(DataError, match="reads the channels x0, x1; the data have x"):
        found.schema.rows({"x": X[:3, :1]}, [])


def steps(**changes: Any) -> pl.DataFrame:
    """A long table of forty series of six days, with channels `level` and `load`."""
    made = np.random.default_rng(3).normal(size=(2, 240))
    columns = {
        "id": np.arange(240) // 6,
        "day": [f"{13 + step}/0{1 + series % 9}/2024" for series in range(40) for step in range(6)],
        "level": made[0],
        "load": made[1],
        "kind": np.array(["up", "down"] * 20).repeat(6),
    }
    return pl.DataFrame(columns | changes)


def read_steps(data: pl.DataFrame, **options: Any) -> Series[SeriesSchema]:
    return read_series(data, "kind", by="id", time="day", notes=[], **options)


def test_new_rows_are_read_by_the_channels_of_the_model_not_by_what_changes_in_them() -> None:
    schema = read_steps(steps()).schema
    assert schema.channels == ("level", "load")
    new = steps(level=np.full(240, 2.0)).select("kind", "load", "day", "id", "level")
    (values,) = schema.rows(new, []).inputs
    assert values[:, 0].unique().tolist() == [2.0]
    torch.testing.assert_close(values[0, 1], torch.tensor(new["load"][:6].to_list()))
    with pytest.raises(DataError, match="lack columns that the model reads: 'load'"):
        schema.rows(new.drop("load"), [])
    notes: list[str] = []
    schema.rows(new.with_columns(load=pl.lit("high")), notes)
    assert "Column 'load': 240 cells are no numbers; they count as missing." in notes


def test_test_series_are_read_like_the_others() -> None:
    test = steps(load=np.full(240, 3.0)).select("load", "level", "kind", "day", "id")
    found = read_steps(steps(), test=test)
    assert found.series[found.split.test, 1].unique().tolist() == [3.0]


def test_dates_and_steps_mean_what_they_meant_in_training() -> None:
    schema = read_steps(steps()).schema
    assert (schema.form, schema.step) == ("%d/%m/%Y", 86_400)
    few = pl.DataFrame(
        {"id": [1] * 3, "day": ["01/03/2024", "03/03/2024", "05/03/2024"], "level": [1.0, 2, 3], "load": [0.0] * 3}
    )
    (values,) = schema.rows(few, []).inputs
    np.testing.assert_array_equal(values[0, 0], [1, np.nan, 2, np.nan, 3, np.nan])
    unknown = schema.model_copy(update={"step": 0.0, "form": None})  # as kept by earlier versions
    days = few.with_columns(day=pl.Series([1, 2, 4]))
    np.testing.assert_array_equal(unknown.rows(days, []).inputs[0][0, 0, :4], [1, 2, np.nan, 3])


def test_each_new_series_is_judged_by_itself() -> None:
    schema = read_steps(steps()).schema
    days = [[1, 3, 5], [1, 2.5, 4]]
    table = pl.DataFrame({"id": [0] * 3 + [1] * 3, "level": [1.0, 2, 3] * 2, "load": [0.0] * 6})
    table = table.with_columns(day=pl.datetime(2024, 3, 1) + pl.duration(hours=pl.Series(np.ravel(days)) * 24))
    notes: list[str] = []
    (values,) = schema.rows(table, notes).inputs
    np.testing.assert_array_equal(values[:, 0, :5], [[1, np.nan, 2, np.nan, 3], [1, 2, 3, np.nan, np.nan]])
    assert "1 series have times that do not follow each other by the 86400 that the model knows" in notes[0]


def test_series_without_a_value_keep_their_place_when_predicting() -> None:
    found = read_series({"x": X, "y": Y}, notes=[])
    new = X[:3].copy()
    new[1] = np.nan
    notes: list[str] = []
    rows = found.schema.rows({"x": new}, notes)
    assert rows.inputs[0].isnan().all((1, 2)).tolist() == [False, True, False]
    assert rows.names is not None
    assert rows.names.to_list() == ["0", "1", "2"]
    assert notes == ["1 series hold no value: what is predicted of them rests on nothing."]


def test_a_channel_without_values_moves_no_other() -> None:
    gone = X.copy()
    gone[:, 0] = np.nan
    notes: list[str] = []
    found = read_series({"x": X, "y": Y}, test={"x": gone, "y": Y}, notes=notes)
    assert found.series[60:, 0].isnan().all()
    torch.testing.assert_close(found.series[60:, 1], torch.from_numpy(X[:, 1]))
    assert notes == ["Channels hold no value: 'x0'."]


def test_options_for_other_data_are_refused() -> None:
    with pytest.raises(DataError, match="A size in pixels cannot be given with series"):
        read_data({"x": X, "y": Y}, None, size=32, notes=[])
    with pytest.raises(DataError, match=r"\(--id\) is for tables|id column"):
        read_data({"x": [1.0, 2.0]}, "x", by="shop", notes=[])
    with pytest.raises(DataError, match="There are no labels for the series"):
        read_data(X, None, notes=[])


def test_whole_numbers_beside_arrays_are_classes_however_many() -> None:
    labels = np.arange(60) % 22
    found = read_data({"x": X, "y": labels}, None, notes=[])
    assert (found.schema.task, len(found.schema.classes)) == ("multiclass", 22)
    assert read_data({"x": X, "y": labels.astype(float) + 0.5}, None, notes=[]).schema.task == "regression"
    pictures = np.zeros((60, 8, 8), np.uint8)
    assert read_data({"x": pictures, "y": labels}, None, notes=[]).schema.task == "multiclass"


@pytest.mark.parametrize(("y", "task"), [([0.0, 1.0], "binary"), ([0.5, 1.25, 3.0, 7.5], "regression")])
def test_series_whose_label_is_not_a_number_are_left_out(y: list[float], task: str) -> None:
    labels = np.array((y * 40)[:40]) + (np.arange(40) / 100 if task == "regression" else 0)
    labels[3] = np.nan
    notes: list[str] = []
    found = read_series({"x": np.random.default_rng(0).normal(size=(40, 1, 12)), "y": labels}, notes=notes)
    assert (found.schema.task, len(found.target)) == (task, 39)
    assert any("1 of 40" in note for note in notes)
