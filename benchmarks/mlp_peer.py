"""The side "mlp" of `table_peer.py`: scikit-learn's MLPClassifier or MLPRegressor, tuned within a budget.

It is tuned as a careful person would do it with scikit-learn alone:

- **Pipeline.** Numbers: median imputation with an indicator of what was missing, then standardisation. Text: one-hot, where a
  missing cell is a category of its own and an unknown one is ignored. Dates written as text: their parts (year, month, day,
  weekday, day of the year) as numbers. A regression target is standardised (`TransformedTargetRegressor`).
- **Search.** scikit-learn's defaults first, then random draws from `space`, with early stopping throughout. Each candidate is
  trained on four fifths of the training rows and scored on the last fifth (accuracy, or RMSE). There are two processes of one
  thread each, so that two cores are busy. A candidate may take a quarter of the budget; if that ends it, its best epoch counts.
- **Refit.** The best candidate on all training rows, with every thread. Time for it is set aside during the search: twice what
  the candidate took. If the deadline ends it, its best epoch counts.

Training is stopped by the interrupt that scikit-learn itself handles ("Training interrupted by user."):
it leaves the loop and restores the weights of the best epoch.
"""

import signal
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
import polars as pl
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.impute import SimpleImputer
from sklearn.metrics import accuracy_score, root_mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

PROCESSES = 2
MOST = 0.25  # of the budget for one candidate
REFIT = 2.0  # times what the best candidate took is kept for the refit
SPARE = 1.0  # seconds kept at the end
_DATES = ("%d/%m/%Y", "%Y-%m-%d")
_PARTS = ("year", "month", "day", "weekday", "ordinal_day")

Parameters = dict[str, Any]


def space(random: np.random.Generator) -> Parameters:
    """One draw: 1 to 3 equal layers of 32 to 256 units, activation, rate and decay on log scales, batch size."""
    return {
        "hidden_layer_sizes": (int(np.round(2 ** random.uniform(5, 8))),) * int(random.integers(1, 4)),
        "activation": str(random.choice(["relu", "tanh"])),
        "alpha": float(10 ** random.uniform(-6, -0.5)),
        "learning_rate_init": float(10 ** random.uniform(-3.5, -2)),
        "batch_size": int(random.choice([32, 64, 128, 256, 512])),
    }


def candidates(seed: int) -> Iterator[Parameters]:
    """scikit-learn's defaults, then draws without end."""
    yield {}
    random = np.random.default_rng(seed)
    while True:
        yield space(random)


@dataclass(frozen=True)
class Columns:
    """How the columns of a table are used: numbers and truth values, dates written as text, other text."""

    numbers: list[str]
    dates: list[str]
    texts: list[str]

    @classmethod
    def of(cls, frame: pl.DataFrame) -> "Columns":
        """Sorts the columns of the training rows; a text column of which every cell is a date is one of dates."""
        numbers = [name for name in frame.columns if frame[name].dtype.is_numeric() or frame[name].dtype == pl.Boolean]
        texts = [name for name in frame.columns if name not in numbers]
        dates = [name for name in texts if frame[name].count() and _dates(frame[name]).count() == frame[name].count()]
        return cls(numbers, dates, [name for name in texts if name not in dates])

    @property
    def width(self) -> int:
        """How many of the columns of `cells` are numbers; they come first."""
        return len(self.numbers) + len(_PARTS) * len(self.dates)

    def cells(self, frame: pl.DataFrame) -> np.ndarray:
        """[n, columns] of objects: floats, NaN where one is missing, then text."""
        columns = [frame[name].cast(pl.Float64).fill_null(np.nan) for name in self.numbers]
        for name in self.dates:
            days = _dates(frame[name])
            columns += [getattr(days.dt, part)().cast(pl.Float64).fill_null(np.nan) for part in _PARTS]
        columns += [frame[name].cast(pl.String).fill_null("missing") for name in self.texts]
        found = np.empty((len(frame), len(columns)), dtype=object)
        for place, column in enumerate(columns):
            found[:, place] = column.to_list()
        return found


def _dates(column: pl.Series) -> pl.Series:
    """The cells as dates, null where one is none."""
    if column.dtype != pl.String:
        return pl.Series(column.name, [None] * len(column), dtype=pl.Date)
    read = [pl.col(column.name).str.to_date(form, strict=False) for form in _DATES]
    return column.to_frame().select(pl.coalesce(read)).to_series()


def pipeline(columns: Columns, classes: bool, parameters: Parameters, seed: int) -> Pipeline:
    """The whole model; fitted and applied on `columns.cells(frame)`."""
    impute = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    width = columns.width
    preparation = ColumnTransformer(
        [
            ("numbers", make_pipeline(impute, StandardScaler()), list(range(width))),
            ("texts", OneHotEncoder(handle_unknown="ignore"), list(range(width, width + len(columns.texts)))),
        ]
    )
    kind = MLPClassifier if classes else MLPRegressor
    network = kind(early_stopping=True, max_iter=100_000, random_state=seed, **parameters)
    if not classes:
        network = TransformedTargetRegressor(regressor=network, transformer=StandardScaler())
    return Pipeline([("preparation", preparation), ("network", network)])


def trained(model: Pipeline, x: np.ndarray, y: np.ndarray, limit: float) -> Pipeline | None:
    """Fits for `limit` seconds at most; None if not one epoch was finished."""
    if limit <= 0:
        return None
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(x, y)
    except KeyboardInterrupt:
        return None  # before the training loop, where scikit-learn does not handle it
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    network = model[-1].regressor_ if isinstance(model[-1], TransformedTargetRegressor) else model[-1]
    return model if network.validation_scores_ else None


@dataclass(frozen=True)
class Job:
    """The training rows and how they are divided; each process of the search holds one copy."""

    columns: Columns
    cells: np.ndarray
    target: np.ndarray
    classes: bool
    seed: int

    def divided(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows to train candidates on and rows to score them on; stratified where every class has two rows."""
        strata = None
        if self.classes and np.unique(self.target, return_counts=True)[1].min() >= 2:
            strata = self.target
        fit, score = train_test_split(np.arange(len(self.target)), test_size=0.2, stratify=strata, random_state=self.seed)
        return fit, score


_job: Job


def _start(job: Job) -> None:
    global _job
    _job = job
    threadpool_limits(1)


def _try(parameters: Parameters, limit: float) -> tuple[float | None, float]:
    """(goodness, seconds) of a candidate; None for one that did not finish an epoch or diverged."""
    begun = time.monotonic()
    fit, score = _job.divided()
    model = pipeline(_job.columns, _job.classes, parameters, _job.seed)
    model = trained(model, _job.cells[fit], _job.target[fit], limit)
    goodness = None
    if model is not None:
        guess = model.predict(_job.cells[score])
        if _job.classes:
            goodness = float(accuracy_score(_job.target[score], guess))
        elif np.isfinite(guess).all():
            goodness = -float(root_mean_squared_error(_job.target[score], guess))
    return goodness, time.monotonic() - begun


@dataclass
class Best:
    """The best candidate so far."""

    parameters: Parameters
    goodness: float
    seconds: float


def search(job: Job, deadline: float, budget: float) -> Best:
    """Tries candidates until what is left is needed for the refit."""
    best = Best({}, -np.inf, MOST * budget / 2)
    draws = candidates(job.seed)
    running: dict[Future[tuple[float | None, float]], Parameters] = {}
    # Forked processes start at once; they use no Polars, which does not survive a fork.
    with ProcessPoolExecutor(PROCESSES, get_context("fork"), _start, (job,)) as pool:
        while True:
            limit = min(MOST * budget, deadline - time.monotonic() - SPARE - REFIT * best.seconds)
            while len(running) < PROCESSES and limit > 0.01 * budget:
                parameters = next(draws)
                running[pool.submit(_try, parameters, limit)] = parameters
            if not running:
                return best
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                parameters = running.pop(future)
                goodness, seconds = future.result()
                if goodness is not None and goodness > best.goodness:
                    best = Best(parameters, goodness, seconds)


def run(job: Job, deadline: float, budget: float) -> Pipeline:
    """Searches and refits until a deadline, on the scale of `time.monotonic`, of a budget of so many seconds."""
    best = search(job, deadline, budget)
    model = pipeline(job.columns, job.classes, best.parameters, job.seed)
    fitted = trained(model, job.cells, job.target, deadline - time.monotonic() - SPARE / 2)
    if fitted is None:
        raise SystemExit("The budget ended before one epoch was trained; give more time.")
    return fitted
