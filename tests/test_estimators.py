"""The estimators keep scikit-learn's contract, and take tables as people have them."""

import pickle
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from sklearn.datasets import make_classification, make_regression
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from titrant import Classifier, Recipe, Regressor, load
from titrant.errors import DataError, RecipeError, TitrantError

QUICK = {
    "model": {"kind": "mlp", "width": 32, "depth": 1},
    "learning_rate": {"peak": 0.02},
    "stop": {"kind": "last", "epochs": 30},
}
FAST: dict[str, Any] = {"budget": "5m", "members": 2, "recipe": QUICK, "random_state": 0}


@parametrize_with_checks([Classifier(**FAST), Regressor(**FAST)])
def test_scikit_learn_accepts_the_estimators(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def classes() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    return make_classification(120, 4, n_informative=3, n_redundant=0, random_state=0)


@pytest.fixture(scope="module")
def values() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return make_regression(120, 3, noise=0.1, random_state=0)


def test_a_search_with_a_number_of_members_repeats_itself_bit_for_bit(classes: Any) -> None:
    x, y = classes
    settings = FAST | {
        "members": 4,
        "space": {"dropout": ["off", "bernoulli"], "learning_rate.peak": {"low": 0.001, "high": 0.1}},
    }
    first, second = (Classifier(**settings).fit(x, y) for _ in range(2))
    assert first.recipe_ == second.recipe_
    assert first.run_.summary.n_members == 4
    np.testing.assert_array_equal(first.predict_proba(x), second.predict_proba(x))


def test_another_random_state_gives_another_model(classes: Any) -> None:
    x, y = classes
    first, second = (Classifier(**FAST | {"random_state": state}).fit(x, y) for state in (1, np.random.RandomState(2)))
    assert np.abs(first.predict_proba(x) - second.predict_proba(x)).max() > 1e-4


@pytest.mark.parametrize(
    "labels",
    [["no", "yes"], [False, True], [-7, 3], [0.5, 1.5], pd.Categorical.from_codes([0, 1], ["b", "a"])],
    ids=["text", "truth values", "whole numbers", "halves", "categories"],
)
def test_labels_come_back_as_they_were_given(classes: Any, labels: Any) -> None:
    x, codes = classes
    if isinstance(labels, list) and isinstance(labels[0], float):
        with pytest.raises(ValueError, match="continuous"):  # scikit-learn's rule for classifiers
            Classifier(**FAST).fit(x, np.asarray(labels)[codes])
        return
    y = np.asarray(labels)[codes]
    model = Classifier(**FAST).fit(x, y)
    assert model.classes_.tolist() == sorted(set(y.tolist()))
    assert model.predict(x).dtype == y.dtype
    assert model.score(x, y) > 0.8
    assert model.predict_proba(x)[:, list(model.classes_).index(y[0])].shape == (120,)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "pyarrow"])
def test_frames_with_categories_dates_and_gaps_are_taken_as_they_are(make: Any) -> None:
    rows = 80
    colour = ["red", "green", None, "blue"] * (rows // 4)
    table = {
        "size": [None if row % 7 == 0 else float(row) for row in range(rows)],
        "colour": colour,
        "day": pd.date_range("2024-01-01", periods=rows).to_numpy(),
        "y": [0.0] * rows,  # a column by the name that the target would take
    }
    y = np.asarray(["warm" if name == "red" else "cold" for name in colour])
    model = Classifier(**FAST).fit(make(table), y)
    assert model.score(make(table), y) > 0.9
    assert model.n_features_in_ == 4
    assert list(model.feature_names_in_) == ["size", "colour", "day", "y"]


def test_columns_of_a_frame_must_be_those_of_fit(classes: Any) -> None:
    frame = pd.DataFrame(classes[0], columns=list("abcd"))
    model = Classifier(**FAST).fit(frame, classes[1])
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["a", "b", "d", "c"]])
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns={"a": "z"}))


def test_pipelines_and_cross_validation(values: Any) -> None:
    x, y = values
    pipeline = make_pipeline(StandardScaler(), Regressor(**FAST))
    assert cross_val_score(pipeline, x, y, cv=2).min() > 0.8


def test_a_grid_of_recipes(classes: Any) -> None:
    x, y = classes
    poor = QUICK | {"learning_rate": {"peak": 1e-5}}
    search = GridSearchCV(Classifier(**FAST), {"recipe": [poor, Recipe.of(QUICK)]}, cv=2).fit(x, y)
    assert search.best_params_["recipe"] == Recipe.of(QUICK)
    assert search.best_estimator_.run_.report().is_file()


def test_predictions_do_not_depend_on_the_rows_beside_them(values: Any) -> None:
    x, y = values
    model = Regressor(**FAST).fit(x, y)
    alone = np.concatenate([model.predict(x[row : row + 1]) for row in range(20)])
    np.testing.assert_allclose(alone, model.predict(x)[:20], rtol=1e-12)


def test_a_fitted_estimator_travels_by_pickle_without_its_files(values: Any) -> None:
    x, y = values
    model = Regressor(**FAST).fit(x, y)
    expected = model.predict(x)
    content = pickle.dumps(model)
    del model
    other = pickle.loads(content)
    np.testing.assert_array_equal(other.predict(x), expected)
    with pytest.raises(TitrantError, match="gone"):
        other.run_.save("elsewhere")


def test_a_saved_run_predicts_as_the_estimator_does(values: Any, tmp_path: Any) -> None:
    x, y = values
    model = Regressor(**FAST).fit(x, y)
    run = load(model.run_.save(tmp_path / "run"))
    named = {f"x{place}": column for place, column in enumerate(x.T)}
    np.testing.assert_allclose(run.predict(named), model.predict(x), rtol=1e-4, atol=1e-3)
    assert run.summary == model.run_.summary
    assert run.recipe == model.recipe_ == Recipe.of(QUICK)


def test_before_fit_there_is_nothing_to_predict_with() -> None:
    for estimator in (Classifier(), Regressor()):
        with pytest.raises(NotFittedError):
            estimator.predict([[1.0]])


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"metric": "r2"}, TitrantError, "not a metric for binary"),
        ({"recipe": {"droput": "off"}}, RecipeError, "Did you mean dropout"),
        ({"budget": "soon"}, TitrantError, "90s, 10m"),
        ({"kinds": {"height": "number"}}, DataError, "height"),
    ],
)
def test_wrong_settings_are_named(classes: Any, settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Classifier(**FAST | settings).fit(*classes)


def test_targets_that_cannot_be_learned_are_refused(classes: Any) -> None:
    x, y = classes
    with pytest.raises(ValueError, match="one class"):
        Classifier(**FAST).fit(x, np.zeros(len(x)))
    with pytest.raises(ValueError, match="target y is None"):
        Classifier(**FAST).fit(x, None)
    with pytest.raises(ValueError, match="Input y contains infinity"):
        Regressor(**FAST).fit(x, np.where(y, np.inf, 0.0))
    with pytest.raises(ValueError, match="inconsistent numbers"):
        Regressor(**FAST).fit(x, y[:-1])
    with pytest.raises(DataError, match="only one"):
        Regressor(**FAST).fit(x, np.ones(len(x)))
