"""scikit-learn estimators around `titrant.fit`, for pipelines, cross-validation and all that speaks that interface."""

from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, column_or_1d, validate_data

from titrant.data.sources import open_frame
from titrant.data.split import FEWEST
from titrant.job import Run, fit
from titrant.models.network import Factory
from titrant.recipe import Recipe
from titrant.texts import say

_FRAMES = {"pandas", "polars", "pyarrow"}


def load(folder: str | Path, model: Factory | None = None) -> Run:
    """Opens the folder of an earlier run; nothing in it is executed. See `Run.load`."""
    return Run.load(folder, model)


class _Estimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """What both estimators share."""

    def __init__(
        self,
        budget: str | float = "60s",
        *,
        members: int | None = None,
        metric: str | None = None,
        recipe: Recipe | dict[str, Any] | str | None = None,
        space: dict[str, Any] | str | None = None,
        kinds: dict[str, str] | None = None,
        folds: int | None = None,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.budget = budget
        self.members = members
        self.metric = metric
        self.recipe = recipe
        self.space = space
        self.kinds = kinds
        self.folds = folds
        self.device = device
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        """Missing values and categories are welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags

    def _fit(self, frame: pl.DataFrame, y: NDArray[Any], task: str) -> None:
        target = "y"
        while target in frame.columns:
            target += "_"
        self.run_ = fit(
            frame.with_columns(pl.Series(target, y)),
            target,
            budget=self.budget,
            metric=self.metric,
            seed=_seed(self.random_state),
            task=task,
            kinds={**{name: "number" for name in frame.columns if frame[name].dtype.is_numeric()}, **(self.kinds or {})},
            recipe=self.recipe,
            space=self.space,
            members=self.members,
            folds=self.folds,
            device=self.device,
            hold_out=False,
        )
        # In double precision a row's prediction is the same, to many digits, whatever rows are predicted with it.
        self.run_.predictor.double()
        self.recipe_ = self.run_.recipe

    def _frame(self, x: Any, *, reset: bool) -> pl.DataFrame:
        """Frames keep their columns and kinds; arrays are checked as scikit-learn does."""
        if type(x).__module__.split(".")[0] in _FRAMES:
            validate_data(self, x, reset=reset, skip_check_array=True)
            return open_frame(x, [])
        fewest = FEWEST if reset else 1
        array = validate_data(self, x, reset=reset, dtype=None, ensure_all_finite="allow-nan", ensure_min_samples=fewest)
        return open_frame({f"x{place}": column for place, column in enumerate(array.T)}, [])


class Classifier(ClassifierMixin, _Estimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Finds the best classifier that the time allows.

    Args:
        budget: wall clock of `fit`, such as "60s".
        members: the most recipes to try. With it (and a `random_state`) the same data give the same model.
        metric: accuracy (default), balanced_accuracy, f1, log_loss, roc_auc.
        recipe: a recipe, a mapping of its slots, or its file; alone it is trained as it stands.
        space: what to search, a mapping or its file.
        kinds: by column, number, category, boolean, date or ignore.
        folds: of a cross-validation by which recipes are compared; None compares them by a fifth of the rows.
        device: auto, cpu, cuda, mps.
        random_state: of all random choices.

    Attributes:
        classes_: the labels.
        recipe_: the winning recipe.
        run_: the `titrant.Run`.

    Example:
        >>> import numpy as np
        >>> x = np.linspace(0, 1, 60)[:, None]
        >>> model = Classifier(budget="20s", members=2, random_state=0).fit(x, np.arange(60) >= 30)
        >>> model.predict([[0.0], [1.0]]).tolist()
        [False, True]
    """

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803  # scikit-learn's names
        """Searches and trains on rows X and labels y.

        Raises:
            ValueError: the data cannot be learned from; the message says why.
        """
        frame = self._frame(X, reset=True)
        labels = _column(y, len(frame), type(self).__name__)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                say("Classifier can't be trained on one class: y holds only {label!r}. Give rows of at least two classes.",
                    label=self.classes_[0] if len(self.classes_) else None)
            )  # fmt: skip
        self._fit(frame, codes, "binary" if len(self.classes_) == 2 else "multiclass")
        return self

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Labels [n]."""
        probability = self.predict_proba(X)
        return np.asarray(self.classes_[probability.argmax(1)])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Class probabilities [n, classes], in the order of `classes_`."""
        check_is_fitted(self)
        found = self.run_.predict_proba(self._frame(X, reset=False))
        ordered = np.zeros((len(found), len(self.classes_)))
        ordered[:, np.asarray(self.run_.predictor.schema.classes, dtype=int)] = found
        return ordered


class Regressor(RegressorMixin, _Estimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Finds the best regressor that the time allows; arguments as for `Classifier`, with the metrics rmse (default), mae, r2.

    Example:
        >>> import numpy as np
        >>> x = np.linspace(0, 1, 80)[:, None]
        >>> model = Regressor(budget="20s", members=2, random_state=0).fit(x, 3 * x[:, 0])
        >>> bool(abs(model.predict([[0.5]])[0] - 1.5) < 0.3)
        True
    """

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        """Searches and trains on rows X and values y.

        Raises:
            ValueError: the data cannot be learned from; the message says why.
        """
        frame = self._frame(X, reset=True)
        self._fit(frame, _column(y, len(frame), type(self).__name__).astype(np.float64), "regression")
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Values [n]."""
        check_is_fitted(self)
        return np.asarray(self.run_.predict(self._frame(X, reset=False)))


def _column(y: Any, rows: int, name: str) -> NDArray[Any]:
    """The target as one column without missing or infinite values, as long as the data."""
    if y is None:
        raise ValueError(say("{name} requires y to be passed, but the target y is None.", name=name))
    column = column_or_1d(check_array(y, ensure_2d=False, dtype=None, input_name="y"), warn=True)
    check_consistent_length(column, np.empty(rows))
    return np.asarray(column)


def _seed(state: Any) -> int:
    if isinstance(state, int | np.integer):
        return int(state)
    return int(check_random_state(state).randint(2**31 - 1))
