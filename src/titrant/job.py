"""One job from data to run folder: read, search, judge, write, report; all within the budget.

The clock runs from the start of the command. What comes after the search (judging on test rows, writing, the report) has a
reserve of its own, so that the command ends in time.
"""

import math
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from titrant.clock import Clock, Interrupt, seconds
from titrant.data.dataset import Dataset, read
from titrant.errors import OutputError
from titrant.models.table import Factory
from titrant.predictor import Predictor
from titrant.recipe import Recipe, read_yaml
from titrant.record import DataSummary, Evaluation, MemberRecord, Receipt, Summary, versions, write_members
from titrant.report.html import write_report
from titrant.report.terminal import QuietView
from titrant.search.portfolio import start, suited_batch
from titrant.search.region import Region
from titrant.search.study import Outcome, Study
from titrant.texts import say
from titrant.train.hardware import device_of, prepare
from titrant.train.metrics import Metric, fitting_metrics, metric_for
from titrant.tricks.model import Custom
from titrant.view import View

_PACKAGES = ("titrant", "torch", "numpy", "polars", "optuna", "scikit-learn")
_RESAMPLES = 500
_SAMPLE = 2000  # test rows drawn in the report's scatter plot
_BINS = 10


@dataclass(frozen=True)
class Run:
    """The result of a fit: a model that predicts, its recipe, and a report.

    Args:
        folder: what was written; see `titrant.record`.
        predictor: the model, an `nn.Module`.
        summary: the headline.
    """

    folder: Path
    predictor: Predictor
    summary: Summary
    _kept: "tempfile.TemporaryDirectory[str] | None" = None

    @property
    def recipe(self) -> Recipe:
        """The winning recipe."""
        return self.predictor.recipes[0]

    def predict(self, data: object) -> NDArray[Any]:
        """Labels as they stood in the data, or values, for a file or a frame."""
        return self.predictor.predict(data)

    def predict_proba(self, data: object) -> NDArray[np.float64]:
        """Class probabilities [n, classes] in the order of `run.predictor.schema.classes`."""
        return self.predictor.predict_proba(data)

    def report(self) -> Path:
        """The HTML report; written anew if it is not there."""
        path = self.folder / "report.html"
        return path if path.exists() else write_report(self.folder)

    def save(self, folder: str | Path) -> Path:
        """Copies the run folder; without a folder of its own, a run vanishes with its last reference.

        Raises:
            OutputError: the place is in use.
        """
        target = _free(Path(folder))
        shutil.copytree(self.folder, target, dirs_exist_ok=True)
        return target

    @classmethod
    def load(cls, folder: str | Path, model: Factory | None = None) -> "Run":
        """Opens a run folder. Nothing in it is executed.

        Args:
            folder: what `titrant fit` wrote.
            model: the factory of a run with a network of your own.

        Raises:
            OutputError: there is no run, or it is damaged.
        """
        place = Path(folder)
        predictor = Predictor.load(place / "model", model)
        try:
            summary = Summary.read(place / "summary.json")
        except (OSError, ValueError) as error:
            raise OutputError(
                say("{folder} holds a model but no readable summary.json: {error}", folder=place, error=error)
            ) from None
        return cls(place, predictor, summary)


def fit(
    data: object,
    target: str,
    *,
    budget: str | float = "10m",
    out: str | Path | None = None,
    metric: str | None = None,
    seed: int = 0,
    task: str | None = None,
    kinds: dict[str, str] | None = None,
    recipe: Recipe | str | Path | None = None,
    space: Mapping[str, Any] | str | Path | None = None,
    test: object = None,
    split_column: str | None = None,
    group: str | None = None,
    time: str | None = None,
    model: Factory | None = None,
    members: int | None = None,
    device: str = "auto",
    hold_out: bool = True,
    view: View | None = None,
    started: float | None = None,
) -> Run:
    """Finds the best model that the time allows, with its recipe and a report.

    Args:
        data: a file (CSV, TSV, Parquet, Arrow, Feather) or a frame (polars, pandas, pyarrow, numpy, a dict of columns).
        target: the column to predict.
        budget: wall clock for everything, such as "90s", "10m", "1h30m"; a number counts seconds.
        out: a new or empty folder for the run; None keeps it in a temporary one that vanishes with the result.
        metric: what to optimise: accuracy (default for classes), balanced_accuracy, f1, log_loss, roc_auc; rmse (default for
            values), mae, r2.
        seed: of all random choices.
        task: binary, multiclass or regression; inferred if None.
        kinds: by column, number, category, boolean, date or ignore, instead of what would be inferred.
        recipe: a recipe or its YAML file. Alone it is trained as it stands; with `space` the search varies it.
        space: what to search, a mapping or its YAML file; see `titrant.search.region.Region`.
        test: rows to judge the final model on; by default a fifth of the data is set aside.
        split_column: a column that says train, validation or test for each row.
        group: a column whose equal values never straddle parts.
        time: a column that orders the rows; the newest are tested on.
        model: a factory `make_model(inputs, outputs)` of an `nn.Module` of your own, in place of the built-in networks.
        members: the most recipes to try; with it the result does not depend on the clock unless the budget ends first.
        device: auto, cpu, cuda, cuda:1, mps.
        hold_out: False sets no test rows aside, and then no held-out score is reported.
        view: watches the run.
        started: when the budget began, on the scale of `time.monotonic`; now if None.

    Returns:
        The run.

    Raises:
        TitrantError: the data, a recipe, the budget or the folder cannot be used; the message says what to do.

    Example:
        >>> import titrant
        >>> table = {"x": [i / 60 for i in range(60)], "y": ["low"] * 30 + ["high"] * 30}
        >>> run = titrant.fit(table, target="y", budget="20s", members=2)
        >>> run.predict({"x": [0.01, 0.99]}).tolist()
        ['low', 'high']
    """
    limit = seconds(budget)
    place = None if out is None else _free(Path(out))
    watcher = view or QuietView()
    notes: list[str] = []
    with Interrupt() as interrupt, watcher:
        clock = Clock.of(limit, started, interrupt)
        given, limits = _given(recipe, space)
        used = device_of(device if device != "auto" or given is None else given.hardware.device)
        dataset = read(
            data, target, task=task, kinds=kinds, test=test, split_column=split_column, group=group, time=time, seed=seed,
            hold_out=hold_out, notes=notes,
        )  # fmt: skip
        goal = metric_for(dataset.schema.task, metric)
        region = _region(dataset, given, limits, model)
        if given is not None and model is not None:
            given = given.replace("model", {"kind": "custom", "factory": _name(model)})
        prepare(given.hardware if given is not None else Recipe().hardware, used)
        watcher.start(say("fit {source}", source=dataset.summary.source), limit, dataset.summary)
        for note in notes:
            watcher.note(note)
        keeper = tempfile.TemporaryDirectory(prefix="titrant-") if place is None else None
        folder = Path(keeper.name) if keeper is not None else _made(place)
        try:
            study = Study(
                dataset, region, goal, clock.before_end(_reserve(limit, dataset)), seed, used, folder,
                lambda phase, rung, alive, tried, best: watcher.update(
                    phase, rung, alive, tried, best, goal.name, max(0.0, clock.end - _now())
                ),
                given=given, members=members, factory=model,
            )  # fmt: skip
            outcome = study.run()
            watcher.update("evaluation", 0, 0, len(outcome.records), outcome.score_validation, goal.name, max(0.0, clock.left))
            predictor, summary = _written(folder, dataset, goal, outcome, study, notes, limit, clock, seed)
        except BaseException:
            if place is not None:
                shutil.rmtree(place, ignore_errors=True)
            raise
        watcher.finish(summary, place)
    return Run(folder, predictor, summary, keeper)


# ------------------------------------------------------------------ before


def _given(
    recipe: Recipe | str | Path | None, space: Mapping[str, Any] | str | Path | None
) -> tuple[Recipe | None, dict[str, Any] | None]:
    given = recipe if isinstance(recipe, Recipe) or recipe is None else Recipe.load(recipe)
    limits = read_yaml(Path(space)) if isinstance(space, str | Path) else dict(space) if space is not None else None
    return given, limits


def _region(dataset: Dataset, given: Recipe | None, limits: dict[str, Any] | None, model: Factory | None) -> Region | None:
    """What to search: nothing for a recipe alone, the named paths for a recipe with a space, else the default with limits."""
    rows = len(dataset.split.train)
    size = suited_batch(rows)
    default = {"batch": "fixed", "batch.size": sorted({max(16, size // 2), size, size * 2})}
    if given is not None and limits is None:
        return None
    base = given or start(rows)
    if model is not None:
        base = base.replace("model", Custom(factory=_name(model)).model_dump())
        default["model"] = "custom"
    wanted = {**default, **(limits or {})} if given is None else dict(limits or {})
    return Region(
        base,
        wanted,
        only=given is not None,
        numbers=dataset.numbers.shape[1] > 0,
        categories=dataset.codes.shape[1] > 0,
    )


def _name(factory: Factory) -> str:
    return f"{getattr(factory, '__module__', '?')}:{getattr(factory, '__qualname__', type(factory).__qualname__)}"


def _free(place: Path) -> Path:
    """The folder for a run, refused if anything is in it."""
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise OutputError(say("The output folder {folder} is in use. Name a new one, or empty it.", folder=place))
    return place


def _made(place: Path | None) -> Path:
    assert place is not None
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            say("The output folder {folder} cannot be made: {error}", folder=place, error=error.strerror)
        ) from None
    return place


def _reserve(limit: float, dataset: Dataset) -> float:
    """Seconds kept for judging, writing and the report."""
    cells = len(dataset.split.test) * max(1, dataset.numbers.shape[1] + dataset.codes.shape[1])
    return min(0.25 * limit, 2.0 + 0.01 * limit + cells / 1e6)


def _now() -> float:
    import time

    return time.monotonic()


# ------------------------------------------------------------------- after


def _written(
    folder: Path,
    dataset: Dataset,
    metric: Metric,
    outcome: Outcome,
    study: Study,
    notes: list[str],
    limit: float,
    clock: Clock,
    seed: int,
) -> tuple[Predictor, Summary]:
    """Judges the final model on test rows and writes the run folder."""
    problem = study.final_problem(outcome)
    predictor = Predictor.of(dataset.schema, outcome.final, problem)
    baseline = Predictor.of(dataset.schema, [outcome.baseline], study.development_problem()) if outcome.baseline else None
    evaluation, interval = _evaluated(dataset, metric, predictor, baseline)
    outcome.recipe.save(folder / "recipe.yaml")
    predictor.save(folder / "model")
    write_members(folder / "members.jsonl", outcome.records)
    data_summary: DataSummary = dataset.summary
    data_summary.write(folder / "data.json")
    evaluation.write(folder / "evaluation.json")
    receipts = outcome.final[0].receipts
    warnings = [*notes, *_warnings(outcome, receipts)]
    summary = Summary(
        task=dataset.schema.task,
        metric=metric.name,
        direction=metric.direction,
        score_validation=_finite(outcome.score_validation),
        score_refit=_finite(outcome.score_refit),
        score_test=evaluation.metrics.get(metric.name),
        baseline_score_test=evaluation.metrics_baseline.get(metric.name),
        score_test_interval=interval,
        final="refit" if outcome.kind == "refit" else "checkpoint",
        n_members=_tried(outcome.records),
        n_networks=len(outcome.final),
        seconds_total=clock.elapsed,
        budget_seconds=limit,
        interrupted=outcome.interrupted,
        receipts=receipts,
        warnings=warnings,
        versions=versions(*_PACKAGES),
        machine=machine(study.device),
        seed=seed,
    )
    summary.write(folder / "summary.json")
    write_report(folder)
    summary = summary.model_copy(update={"seconds_total": clock.elapsed})
    summary.write(folder / "summary.json")
    return predictor, summary


def _tried(records: list[MemberRecord]) -> int:
    return sum(1 for record in records if record.origin != "refit")


def _evaluated(
    dataset: Dataset, metric: Metric, predictor: Predictor, baseline: Predictor | None
) -> tuple[Evaluation, tuple[float, float] | None]:
    rows = dataset.split.test
    if len(rows) == 0:
        return Evaluation(metrics={}), None
    target = dataset.target if dataset.values is None else torch.as_tensor(dataset.values)
    truth = target[rows]
    predicted = predictor.raw(dataset.numbers[rows], dataset.codes[rows])
    plain = None if baseline is None else baseline.raw(dataset.numbers[rows], dataset.codes[rows])
    evaluation = Evaluation(
        metrics=_scores(predicted, truth, dataset),
        metrics_baseline={} if plain is None else _scores(plain, truth, dataset),
    )
    if predictor.classifies:
        classes = len(dataset.schema.classes)
        hit = predicted.argmax(1)
        counts = torch.bincount(truth * classes + hit, minlength=classes**2).view(classes, classes)
        evaluation = evaluation.model_copy(update={"confusion": counts.tolist(), "reliability": _reliability(predicted, truth)})
    else:
        shown = torch.linspace(0, len(rows) - 1, min(len(rows), _SAMPLE)).long()
        evaluation = evaluation.model_copy(update={"truth": truth[shown].tolist(), "predicted": predicted[shown].tolist()})
    return evaluation, _interval(metric, predicted, truth)


def _scores(predicted: Tensor, truth: Tensor, dataset: Dataset) -> dict[str, float | None]:
    return {metric.name: _finite(float(metric.score(predicted, truth))) for metric in fitting_metrics(dataset.schema.task)}


def _reliability(predicted: Tensor, truth: Tensor) -> list[tuple[float, float, int]]:
    """(mean confidence, share right, rows) in equal bins of confidence."""
    confidence, hit = predicted.max(1)
    bins = (confidence * _BINS).long().clamp(max=_BINS - 1)
    found = []
    for place in range(_BINS):
        mine = bins == place
        if mine.any():
            found.append((float(confidence[mine].mean()), float((hit == truth)[mine].float().mean()), int(mine.sum())))
    return found


def _interval(metric: Metric, predicted: Tensor, truth: Tensor) -> tuple[float, float] | None:
    """95 % percentile bootstrap over the test rows; fewer resamples where rows are many and the interval is narrow."""
    generator = torch.Generator().manual_seed(0)
    resamples = max(100, min(_RESAMPLES, 4_000_000 // max(1, predicted.numel())))
    found = []
    for _ in range(resamples):
        drawn = torch.randint(len(truth), (len(truth),), generator=generator)
        found.append(float(metric.score(predicted[drawn], truth[drawn])))
    finite = [score for score in found if math.isfinite(score)]
    if len(finite) < resamples // 2:
        return None
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def _warnings(outcome: Outcome, receipts: list[Receipt]) -> list[str]:
    found = [
        say("{trick} ({kind}) was on and never acted.", trick=receipt.trick, kind=receipt.kind)
        for receipt in receipts
        if receipt.never_acted and receipt.trick not in {"data.categories", "data.numbers", "data.scale", "stop"}
    ]
    if outcome.kind == "checkpoint" and not outcome.interrupted:
        found.append(say("There was no time to train the best recipe again; the model is the best network of the search."))
    return found


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def machine(device: torch.device) -> dict[str, str | int | float]:
    """What ran here."""
    found: dict[str, str | int | float] = {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "device": str(device),
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found
