"""Series with their schema: division, classes, and what a model reads later."""

import numpy as np
import pytest
import torch

from titrant.data.learnable import read_data
from titrant.data.series import Series, read_series
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
