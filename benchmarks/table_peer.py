"""The other sides of `tables.py`: each learns from the same rows within the same wall clock and writes its predictions.

    python benchmarks/table_peer.py catboost train.parquet blind.parquet --budget 60 --seed 0 --out predictions.csv

- catboost, lightgbm, xgboost: the library's defaults, with its own treatment of categories and missing values. They know no
  time limit and run to their end.
- catboost_tuned, lightgbm_tuned: Optuna's TPE over the usual space (learning rate, depth or leaves, sampling, penalties), each
  trial with early stopping on a fifth of the training rows, scored by accuracy or RMSE there; the best is then trained on all
  rows with its best number of trees. Twice what the best trial took is kept for that.
- realmlp, tabm: pytabkit's RealMLP-TD and TabM-D, the tuned defaults of their authors, on the CPU; missing numbers
  become the median with an indicator. They know no time limit.
- autogluon_medium, autogluon_best: AutoGluon's presets, with the budget as its time limit and with the models that its extras
  catboost, lightgbm and xgboost bring. Where its look whether stacking overfits (`dynamic_stacking`) makes it fail, it goes on
  without.
- mlp: scikit-learn's MLP, tuned within the budget; `mlp_peer.py` says how.

Dates written as text become year, month, day, weekday and day of the year; other text is a category.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from mlp_peer import REFIT, Columns, Job, run
from series_peer import Predict, parser_of, trained, write

BEGUN = time.monotonic()
TREES = 5000  # at most, in a tuned model that stops early
PATIENCE = 50  # trees without a better score


@dataclass
class Task:
    """Rows to learn from and to predict.

    Args:
        train, blind: the columns, without the target.
        y: float64 [n] values, or int64 [n] positions in `labels`.
        labels: of the classes; empty where values are predicted.
        end: when training must be over, on the scale of `time.monotonic`.
        seed: of all random choices.
    """

    train: pl.DataFrame
    blind: pl.DataFrame
    y: Any
    labels: Any
    end: float
    seed: int

    @property
    def classes(self) -> bool:
        """Whether classes are predicted."""
        return len(self.labels) > 0

    def frames(self) -> tuple[Any, Any, list[str]]:
        """Both sets of rows for pandas, categories of the training rows in their own type; with the names of these columns."""
        import pandas as pd

        columns = Columns.of(self.train)
        found = []
        for frame in (self.train, self.blind):
            cells = columns.cells(frame)
            rows = pd.DataFrame(cells[:, : columns.width].astype(np.float64))
            rows.columns = [f"number_{place}" for place in range(columns.width)]
            for place in range(len(columns.texts)):
                known = found[0][f"text_{place}"].cat.categories if found else None
                rows[f"text_{place}"] = pd.Categorical(cells[:, columns.width + place].astype(str), categories=known)
            found.append(rows)
        return found[0], found[1], [f"text_{place}" for place in range(len(columns.texts))]

    def predictor(self, model: Any, blind: Any) -> Predict:
        """Probabilities or values of a fitted model with scikit-learn's methods."""
        return lambda: model.predict_proba(blind) if self.classes else model.predict(blind)


def catboost(task: Task) -> Predict:
    """See above."""
    train, blind, texts = task.frames()
    train, blind = _filled(train, texts), _filled(blind, texts)
    model = _catboost(task, texts)
    return task.predictor(model.fit(train, task.y), blind)


def lightgbm(task: Task) -> Predict:
    """See above."""
    train, blind, _ = task.frames()
    return task.predictor(_lightgbm(task).fit(train, task.y), blind)


def xgboost(task: Task) -> Predict:
    """See above."""
    import xgboost as package

    kind = package.XGBClassifier if task.classes else package.XGBRegressor
    train, blind, _ = task.frames()
    model = kind(enable_categorical=True, random_state=task.seed)
    return task.predictor(model.fit(train, task.y), blind)


def catboost_tuned(task: Task) -> Predict:
    """See above."""
    train, blind, texts = task.frames()
    train, blind = _filled(train, texts), _filled(blind, texts)

    def fit(settings: dict[str, Any], trees: int, rows: Any, check: Any | None) -> tuple[Any, int]:
        model = _catboost(task, texts, iterations=trees, **settings)
        if check is None:
            return model.fit(train.iloc[rows], task.y[rows]), trees
        model.fit(train.iloc[rows], task.y[rows], eval_set=(train.iloc[check], task.y[check]), early_stopping_rounds=PATIENCE)
        return model, model.tree_count_

    def space(trial: Any) -> dict[str, Any]:
        return {
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
            "depth": trial.suggest_int("depth", 3, 10),
            "l2_leaf_reg": trial.suggest_float("l2_leaf_reg", 0.1, 10.0, log=True),
            "bagging_temperature": trial.suggest_float("bagging_temperature", 0.0, 1.0),
            "leaf_estimation_iterations": trial.suggest_int("leaf_estimation_iterations", 1, 10),
        }

    return task.predictor(_tuned(task, train, space, fit), blind)


def lightgbm_tuned(task: Task) -> Predict:
    """See above."""
    import lightgbm as package

    train, blind, _ = task.frames()

    def fit(settings: dict[str, Any], trees: int, rows: Any, check: Any | None) -> tuple[Any, int]:
        model = _lightgbm(task, n_estimators=trees, **settings)
        if check is None:
            return model.fit(train.iloc[rows], task.y[rows]), trees
        held = [(train.iloc[check], task.y[check])]
        stop = [package.early_stopping(PATIENCE, verbose=False)]
        model.fit(train.iloc[rows], task.y[rows], eval_set=held, callbacks=stop)
        return model, max(1, model.best_iteration_)

    def space(trial: Any) -> dict[str, Any]:
        return {
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
            "num_leaves": trial.suggest_int("num_leaves", 4, 256, log=True),
            "min_child_samples": trial.suggest_int("min_child_samples", 2, 100, log=True),
            "subsample": trial.suggest_float("subsample", 0.5, 1.0),
            "subsample_freq": 1,
            "colsample_bytree": trial.suggest_float("colsample_bytree", 0.5, 1.0),
            "reg_alpha": trial.suggest_float("reg_alpha", 1e-8, 10.0, log=True),
            "reg_lambda": trial.suggest_float("reg_lambda", 1e-8, 10.0, log=True),
        }

    return task.predictor(_tuned(task, train, space, fit), blind)


def realmlp(task: Task) -> Predict:
    """See above."""
    from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor

    return _pytabkit(task, RealMLP_TD_Classifier, RealMLP_TD_Regressor)


def tabm(task: Task) -> Predict:
    """See above."""
    from pytabkit import TabM_D_Classifier, TabM_D_Regressor

    return _pytabkit(task, TabM_D_Classifier, TabM_D_Regressor)


def autogluon_medium(task: Task) -> Predict:
    """See above."""
    return _autogluon(task, "medium_quality")


def autogluon_best(task: Task) -> Predict:
    """See above."""
    return _autogluon(task, "best_quality")


def mlp(task: Task) -> Predict:
    """See above."""
    columns = Columns.of(task.train)
    job = Job(columns, columns.cells(task.train), task.y, task.classes, task.seed)
    return task.predictor(run(job, task.end, task.end - BEGUN), columns.cells(task.blind))


def _filled(frame: Any, texts: list[str]) -> Any:
    """CatBoost wants categories as text, among them those that were missing or never seen."""
    return frame.assign(**{name: frame[name].astype(object).fillna("missing").astype(str) for name in texts})


def _catboost(task: Task, texts: list[str], **settings: Any) -> Any:
    import catboost as package

    kind = package.CatBoostClassifier if task.classes else package.CatBoostRegressor
    return kind(cat_features=texts, random_seed=task.seed, allow_writing_files=False, verbose=False, **settings)


def _lightgbm(task: Task, **settings: Any) -> Any:
    import lightgbm as package

    kind = package.LGBMClassifier if task.classes else package.LGBMRegressor
    return kind(random_state=task.seed, verbose=-1, **settings)


def _tuned(task: Task, train: Any, space: Callable[[Any], dict[str, Any]], fit: Callable[..., tuple[Any, int]]) -> Any:
    """The best of Optuna's trials, trained on all rows.

    Args:
        task: what to learn.
        train: its rows.
        space: the settings of a trial.
        fit: (settings, trees at most, rows, rows to stop by or None) to (model, its number of trees).
    """
    import optuna
    from sklearn.metrics import accuracy_score, root_mean_squared_error
    from sklearn.model_selection import train_test_split

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    strata = task.y if task.classes and np.bincount(task.y).min() >= 2 else None
    rows, check = train_test_split(np.arange(len(train)), test_size=0.2, stratify=strata, random_state=task.seed)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=task.seed, multivariate=True))
    took = 0.0
    while not study.trials or time.monotonic() + took * (1 + REFIT) < task.end:
        begun = time.monotonic()
        trial = study.ask()
        settings = space(trial)
        model, trees = fit(settings, TREES, rows, check)
        guess = model.predict(train.iloc[check]).reshape(-1)
        goodness = accuracy_score(task.y[check], guess) if task.classes else -root_mean_squared_error(task.y[check], guess)
        trial.set_user_attr("found", (settings, trees))
        study.tell(trial, float(goodness))
        if study.best_trial.number == trial.number:
            took = time.monotonic() - begun
    settings, trees = study.best_trial.user_attrs["found"]
    return fit(settings, trees, np.arange(len(train)), None)[0]


def _pytabkit(task: Task, classifier: Any, regressor: Any) -> Predict:
    train, blind, texts = task.frames()
    holed = [name for name in train if name not in texts and (train[name].isna().any() or blind[name].isna().any())]
    middles = train[holed].median().fillna(0.0)  # the library refuses missing numbers
    train, blind = (
        frame.assign(**{f"{name}_missing": frame[name].isna().astype(float) for name in holed}).fillna(middles)
        for frame in (train, blind)
    )
    model = (classifier if task.classes else regressor)(device="cpu", random_state=task.seed, n_threads=2, verbosity=0)
    model.fit(train, task.y, cat_col_names=texts)
    return task.predictor(model, blind)


def _autogluon(task: Task, presets: str) -> Predict:
    from autogluon.tabular import TabularPredictor

    train, blind, _ = task.frames()
    problem = "regression" if not task.classes else "binary" if len(task.labels) == 2 else "multiclass"
    rows = train.assign(target=task.y)

    def fitted(**settings: Any) -> Any:
        model = TabularPredictor("target", path=tempfile.mkdtemp(), problem_type=problem, verbosity=0)
        return model.fit(rows, presets=presets, time_limit=task.end - time.monotonic(), **settings)

    try:
        model = fitted()
    except AssertionError:  # where its look whether stacking overfits has used up the time, it fails
        model = fitted(dynamic_stacking=False)
    return lambda: (model.predict_proba(blind) if task.classes else model.predict(blind)).to_numpy()


PEERS: dict[str, Callable[[Task], Predict]] = {
    peer.__name__: peer
    for peer in (
        catboost, lightgbm, xgboost, catboost_tuned, lightgbm_tuned, realmlp, tabm, autogluon_medium, autogluon_best, mlp,
    )
}  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    return parser_of(__doc__ or "", PEERS, "rows")


def main() -> None:
    """Trains and predicts."""
    given = parser().parse_args()
    seen = pl.read_parquet(given.train)
    target = seen["target"].to_numpy()
    classes = seen["target"].dtype == pl.String
    labels, places = np.unique(target.astype(str), return_inverse=True) if classes else (np.array([]), target)
    task = Task(seen.drop("target"), pl.read_parquet(given.blind), places, labels, BEGUN + given.budget, given.seed)
    write(trained(PEERS[given.peer], task, BEGUN)(), labels, given.out)


if __name__ == "__main__":
    main()
