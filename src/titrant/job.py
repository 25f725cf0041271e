"""One job from data to run folder: read, search, judge, write, report; all within the budget.

The clock runs from the start of the command. What comes after the search (judging on test rows, writing, the report) has a
reserve of its own, so that the command ends in time. The best network so far is saved now and then in the same form as the
result, so that a killed process leaves a usable run.
"""

import math
import shutil
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from titrant.clock import Clock, Interrupt, seconds
from titrant.data.decode import Progress
from titrant.data.learnable import Learnable, digest_of, read_again, read_data, source_of
from titrant.errors import BudgetError, OutputError, TitrantError
from titrant.folders import free_place, new_folder, writing
from titrant.logs import Logs, checked
from titrant.models.network import Factory
from titrant.predictor import Predictor
from titrant.recipe import Recipe
from titrant.record import Asked, Source, Summary
from titrant.report.html import write_report
from titrant.report.terminal import QuietView
from titrant.results import Before, Results, before_in, tried
from titrant.search.study import Outcome, Study
from titrant.texts import say
from titrant.train.cluster import Cluster
from titrant.train.hardware import device_of, free_memory, prepare, threads
from titrant.train.metrics import Metric, metric_for
from titrant.train.team import Leader
from titrant.train.workers import LARGEST, Workers
from titrant.view import View
from titrant.wanted import check_search, processes, recipe_and_limits, region_for, with_factory, workers_wanted

if TYPE_CHECKING:
    from titrant.search.shared import SharedStudy

_HANDED_IN = 10.0  # seconds that a shared study has at most to take up what is left


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

    def __repr__(self) -> str:
        """One line: what was fitted, how well, and where it stands."""
        score = "-" if self.summary.score_test is None else f"{self.summary.score_test:.4g}"
        return f"Run({self.summary.task}, {self.summary.metric} {score} on held-out rows, {str(self.folder)!r})"

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
        """Copies the run folder; without a folder of its own, a run's files vanish with its last reference.

        Raises:
            OutputError: the place is in use or cannot be written, or the run's own folder is gone.
        """
        target = free_place(Path(folder))
        if not self.folder.is_dir():
            raise OutputError(say("The run's own folder {folder} is gone; nothing can be copied.", folder=self.folder))
        with writing(target):
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
            problem = " ".join(str(error).split())[:300]
            raise OutputError(
                say("{folder} holds a model but no readable summary.json: {problem}", folder=place, problem=problem)
            ) from None
        return cls(place, predictor, summary)


def fit(
    data: object,
    target: str | None = None,
    *,
    budget: str | float = "10m",
    out: str | Path | None = None,
    metric: str | None = None,
    seed: int = 0,
    task: str | None = None,
    kinds: dict[str, str] | None = None,
    recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
    space: Mapping[str, Any] | str | Path | None = None,
    test: object = None,
    split_column: str | None = None,
    group: str | None = None,
    by: str | None = None,
    time: str | None = None,
    horizon: int | None = None,
    text: str | None = None,
    size: int | None = None,
    model: Factory | None = None,
    surgery: Sequence[str] = (),
    members: int | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    study: str | None = None,
    log: Sequence[str] = (),
    device: str = "auto",
    hold_out: bool = True,
    ensemble: bool = True,
    search: str = "mixed",
    folds: int | None = None,
    repeats: int = 1,
    view: View | None = None,
    started: float | None = None,
) -> Run:
    """Finds the best model that the time allows, with its recipe and a report.

    Args:
        data: a table, as a file (CSV, TSV, Parquet, Arrow, Feather) or a frame (polars, pandas, pyarrow, numpy, a dict of
            columns); or series, as an array [n, channels, time], an `.npz` or `.ts` file, or a table whose rows are their steps
            (see `titrant.data.sequences.find_series`); or pictures, as a folder with a folder for each class, a table with a
            column of paths or bytes, an `.npz` file, or arrays (see `titrant.data.pictures.find_pictures`).
        target: the column to predict; None for pictures whose labels can be found.
        budget: wall clock for everything, such as "90s", "10m", "1h30m"; a number counts seconds.
        out: a new or empty folder for the run; None keeps it in a temporary one that vanishes with the result.
        metric: what to optimise: accuracy (default for classes), balanced_accuracy, f1, log_loss, roc_auc; rmse (default for
            values), mae, r2. Where the rows that compare recipes are few, the log loss has a say beside accuracy,
            balanced_accuracy and f1, which are rough there.
        seed: of all random choices.
        task: binary, multiclass or regression; inferred if None.
        kinds: by column, number, category, boolean, date or ignore, instead of what would be inferred.
        recipe: a recipe, a mapping of its slots, or its YAML file. Alone it is trained as it stands; with `space` the search
            varies it.
        space: what to search, a mapping or its YAML file; see `titrant.search.region.Region`.
        test: rows to judge the final model on; by default a fifth of the data is set aside.
        split_column: a column that says train, validation or test for each row.
        group: a column whose equal values never straddle parts.
        by: of a table whose rows are steps of series, the column that says which series a row belongs to.
        time: a column that orders the rows; the newest are tested on. Of series: the column that orders their steps.
        text: the column of texts that alone is learned from; if None, the only usable column if it holds texts.
        horizon: forecast so many steps of the target that follow; the data are a table whose rows are steps, of one series or
            (`by`) of several.
        size: pixels of the longer side at which pictures are trained; their median, 64 at most, if None.
        model: a factory `make_model(inputs, outputs)` of an `nn.Module` of your own, in place of the built-in networks; further
            arguments whose annotation is a range or a choice are searched (see `titrant.tricks.model.Custom`).
        surgery: slots that reach into that network: normalize, activation, dropout, initialize; see `titrant.surgery`.
        members: the most recipes to try; with it the result does not depend on the clock unless the budget ends first.
        workers: processes of this machine that train at the same time, each with one thread; one for each core if None.
        cluster: train on a Ray cluster instead: its address, such as "ray://head:10001", "auto" for the one that this machine
            belongs to, or "local" to start one here; with `workers` on so many of its processors.
        study: the address of a database, such as "postgresql://user@host/name", through which several `fit` on several machines
            search together; all need the same data, options and seed. See `titrant.search.shared.SharedStudy`.
        log: where else the run is written as it goes: mlflow, tensorboard; see `titrant.logs`.
        device: auto, cpu, cuda, cuda:1, mps.
        hold_out: False sets no test rows aside, and then no held-out score is reported.
        ensemble: True averages networks of several recipes where that scores better and there is time to train them; False
            keeps to one recipe.
        search: who proposes recipes: mixed (known good recipes, then a model of what worked, mutations of the best and an even
            cover), doctor (mixed, but sick recipes end early, and remedies for the best come first), grid (of a `space`),
            random, sobol, or a sampler of Optuna: tpe, gp, cmaes.
        folds: compares recipes by a cross-validation over so many folds of the train and validation rows, from 2, instead of by
            the validation rows alone; groups and stretches of time are held out as a whole. A recipe then takes so many times
            as long, and is judged by all these rows. The finals take so many folds, too, cut anew.
        repeats: of the cross-validation, with the rows cut anew each time, from 1.
        view: watches the run.
        started: when the budget began, on the scale of `time.monotonic`; now if None.

    Returns:
        The run.

    Raises:
        TitrantError: the data, a recipe, the budget or the folder cannot be used; the message says what to do.
        KeyboardInterrupt: Ctrl-C before any network was scored, or a second time. The first one later on ends the search, and
            the run holds the best so far.

    Example:
        >>> import titrant
        >>> table = {"x": [i / 60 for i in range(60)], "y": ["low"] * 30 + ["high"] * 30}
        >>> run = titrant.fit(table, target="y", budget="20s", members=2)
        >>> run.predict({"x": [0.01, 0.99]}).tolist()
        ['low', 'high']
    """
    check_search(search, space)
    if folds is not None and folds < 2:
        raise TitrantError(say("folds = {count}: a cross-validation needs two folds at least.", count=folds))
    if repeats < 1 or (repeats > 1 and folds is None):
        raise TitrantError(
            say("repeats = {count}: only a cross-validation (folds) can be repeated, once or more.", count=repeats)
        )
    if cluster is not None and device not in {"auto", "cpu"}:
        raise TitrantError(
            say(
                "A cluster trains on its own GPUs, or its processors if it has none; leave out --device {device}.",
                device=device,
            )
        )
    if cluster is not None and model is not None:
        raise TitrantError(say("A network of your own is trained in this process; it cannot be sent to a cluster."))
    if workers is not None and workers < 1:
        raise TitrantError(say("workers = {count}: at least one process must train.", count=workers))
    given, limits = recipe_and_limits(recipe, space)
    if study is not None and (search == "grid" or (given is not None and limits is None)):
        raise TitrantError(
            say("A shared study is for a search; a grid, or one recipe alone, is walked through by one command.")
        )
    asked = Asked(
        metric=metric, seed=seed, recipe=None if given is None else given.plain(), space=limits, members=members,
        ensemble=ensemble, search=search, folds=folds, repeats=repeats, device=device, surgery=list(surgery), workers=workers,
        cluster=cluster, study=_without_password(study), log=checked(log),
    )  # fmt: skip
    reading: dict[str, Any] = {
        "task": task, "split_column": split_column, "group": group, "by": by, "time": time, "horizon": horizon, "text": text,
        "seed": seed, "hold_out": hold_out, "size": size,
    }  # fmt: skip

    def read(notes: list[str], progress: Progress) -> tuple[Learnable, Source]:
        dataset = read_data(data, target, test=test, kinds=kinds, **reading, notes=notes, progress=progress)
        return dataset, source_of(data, target, test, kinds=kinds or {}, **reading, digest=digest_of(dataset))

    place = None if out is None else free_place(Path(out))
    return _carried_out(asked, read, budget, place, model, None, view or QuietView(), started, _Places(cluster, study))


def resume(
    run: str | Path,
    *,
    budget: str | float = "10m",
    data: object = None,
    model: Factory | None = None,
    cluster: str | None = None,
    study: str | None = None,
    view: View | None = None,
    started: float | None = None,
) -> Run:
    """Goes on with a run: after a crash, after an interrupt, or for longer.

    What was tried before counts: recipes are proposed from it, and the best of all meet in the finals. The rows are divided as
    they were, by the same seed. Until the end the run's model stays as it is; it gives way only to one that scores better on
    rows that neither learned from.

    Args:
        run: a folder that `fit` wrote, whole or not.
        budget: wall clock for everything that is done now.
        data: the run's data, where they were in memory or have moved.
        model: the factory of a run with a network of your own.
        cluster, study: a Ray cluster to train on, and a shared study, as for `fit`. What the run had before is not contacted
            unless it is named again: the folder may come from anybody.
        view, started: as for `fit`.

    Raises:
        TitrantError: there is no such run, its data cannot be read, or another command is working in its folder.
        KeyboardInterrupt: as for `fit`; the run stays as it was.

    Example:
        >>> import tempfile, titrant
        >>> table = {"x": [i / 60 for i in range(60)], "y": ["low"] * 30 + ["high"] * 30}
        >>> run = titrant.fit(table, target="y", budget="20s", members=2, out=Path(tempfile.mkdtemp()) / "run")
        >>> titrant.resume(run.folder, data=table, budget="10s").summary.n_members > 2
        True
    """
    folder = Path(run)
    before = before_in(folder)
    asked = before.asked.model_copy(update={"members": None, "metric": before.summary.metric})
    again = {"cluster": cluster, "study": _without_password(study)}
    asked = asked.model_copy(update={name: address for name, address in again.items() if address is not None})

    def read(notes: list[str], progress: Progress) -> tuple[Learnable, Source]:
        return read_again(before.source, notes, data, progress), before.source

    return _carried_out(asked, read, budget, folder, model, before, view or QuietView(), started, _Places(cluster, study))


@dataclass(frozen=True)
class _Places:
    """Addresses that this command may contact."""

    cluster: str | None = None
    study: str | None = None


Reading = Callable[[list[str], Progress], tuple[Learnable, Source]]
"""Reads the data: takes notes, and is told how many pictures are decoded."""


def _carried_out(
    asked: Asked,
    read: Reading,
    budget: str | float,
    place: Path | None,
    model: Factory | None,
    before: Before | None,
    watcher: View,
    started: float | None,
    places: _Places,
) -> Run:
    """The job from its start to its end; `before` is what the folder holds already."""
    limit = seconds(budget)
    notes = _not_contacted(asked, places)
    with Interrupt() as interrupt, watcher, new_folder(place) as folder, ExitStack() as ending:
        clock = Clock.of(limit, started, interrupt)
        given, limits = None if asked.recipe is None else Recipe.of(asked.recipe), asked.space
        device = asked.device
        if places.cluster is not None:
            device = "cpu"  # training is for the cluster, and its GPUs if it has any
        used = device_of(device if device != "auto" or given is None else given.hardware.device)
        prepare(given.hardware if given is not None else Recipe().hardware, used)
        if asked.workers is not None and places.cluster is None:
            ending.enter_context(threads(asked.workers))
        cluster = None
        together, team = processes(given), None
        if together > 1:
            if places.cluster is not None:
                raise TitrantError(
                    say("{count} processes are to train together, and a cluster is to train as well; leave out --cluster, or "
                        "hardware.processes and torchrun.", count=together)
                )  # fmt: skip
            team = ending.enter_context(Leader(together, used))
        if places.cluster is None:
            count = workers_wanted(used, given, model, None if asked.workers else asked.members)
            workers = ending.enter_context(Workers(count, interrupt))  # they start meanwhile
        else:
            cluster = ending.enter_context(Cluster(places.cluster))
            count = min(cluster.count, asked.workers or cluster.count)
            awaited = clock if cluster.gpus else None  # this process would take many times as long
            workers = ending.enter_context(Workers(count, interrupt, cluster.worker, awaited))

        def decoding(done: int, every: int) -> None:
            watcher.reading(done, every)
            if interrupt.asked:
                raise KeyboardInterrupt(say("Interrupted while the pictures were decoded; nothing is kept."))
            if clock.left <= 0:
                raise BudgetError(
                    say("The budget of {budget} ended after {done} of {every} pictures were decoded. Give more time.",
                        budget=budget, done=done, every=every)
                )  # fmt: skip

        dataset, source = read(notes, decoding)
        large = sum(tensor.nbytes for tensor in dataset.inputs) > LARGEST
        if large and places.cluster is None:
            workers.close()
        goal = metric_for(dataset.schema.task, asked.metric)
        region = region_for(dataset, given, limits, model, asked.surgery)
        if given is not None and model is not None:
            given = with_factory(given, model, asked.surgery)
        title = say("fit {source}", source=dataset.summary.source)
        watcher.start(title if before is None else say("{title}, resumed", title=title), limit, dataset.summary)
        for note in notes:
            watcher.note(note)

        def tell(note: str) -> None:
            """Something that a person should know now and find in the report; once is enough."""
            if note not in notes:
                notes.append(note)
                watcher.note(note)

        def progress(phase: str, rung: int, alive: int, tried: int, best: float | None) -> None:
            watcher.update(phase, rung, alive, tried, best, goal.name, max(0.0, clock.end - monotonic()))
            logs.follow(study.records, mine)
            for trouble in logs.troubles():
                tell(trouble)
            if place is not None:
                try:
                    results.keep()
                except OutputError as error:  # there may be room again at the end
                    tell(str(error))

        shared = None if places.study is None else _shared(places.study, asked, dataset, goal)
        mine = (lambda _: True) if shared is None else shared.mine
        facts = {
            "data": dataset.summary.source, "target": dataset.schema.target, "task": dataset.schema.task, "metric": goal.name,
            "budget": str(budget), "seed": str(asked.seed), "folder": str(folder),
        }  # fmt: skip
        known = 0 if before is None else len(before.records)
        logs = ending.enter_context(Logs(asked.log, folder, folder.name, facts, known))
        study = Study(
            dataset, region, goal, clock.before_end(_reserve(limit, dataset)), asked.seed, used, folder, progress,
            given=given, narrowed=limits is not None or model is not None, members=asked.members, factory=model,
            workers=None if large and places.cluster is None else workers, ensemble=asked.ensemble, search=asked.search,
            folds=asked.folds, repeats=asked.repeats, before=[] if before is None else before.records, shared=shared,
        )  # fmt: skip
        about = [*_about(study), *(_about_memory(study) if places.cluster is None and together == 1 else [])]
        for note in about:
            tell(note)
        results = Results(folder, dataset, source, asked, study, notes, limit, clock, before)
        outcome = _searched(study, budget, clock, interrupt)
        notes += study.notes
        if team is not None and team.lost:
            lost = say("One of the {count} processes that trained together was lost; this one went on alone.", count=together)
            notes.append(lost)
        if cluster is not None and cluster.lost:
            notes.append(
                say("Lost: {lost} of {count} workers on the Ray cluster at {address}; what they had begun was trained again.",
                    lost=cluster.lost, count=count, address=places.cluster)
            )  # fmt: skip
        if shared is not None:
            notes += shared.close(min(_HANDED_IN, 0.5 * max(0.0, clock.end - monotonic())))
        progress("evaluation", 0, 0, tried(outcome.records), outcome.score_validation)
        predictor, summary = results.finish(outcome, model, report=place is not None)
        for problem in logs.close(folder, summary):
            watcher.note(problem)
        watcher.finish(summary, place)
    run = Run(folder, predictor, summary)
    if place is None:
        weakref.finalize(run, shutil.rmtree, folder, ignore_errors=True)
    return run


def _not_contacted(asked: Asked, places: _Places) -> list[str]:
    """What a run was connected with before and is not now."""
    found = []
    if asked.cluster is not None and places.cluster is None:
        found.append(
            say("This run trained on the Ray cluster {address}; now it trains here. To go on there: --cluster {address}",
                address=asked.cluster)
        )  # fmt: skip
    if asked.study is not None and places.study is None:
        found.append(
            say("This run searched together with others at {address}; now it searches alone. To go on together: "
                "--study {address}", address=asked.study)
        )  # fmt: skip
    return found


def _without_password(address: str | None) -> str | None:
    """The address of a shared study as a run may keep it."""
    if address is None:
        return None
    from titrant.search.shared import without_password

    return without_password(address)


def _shared(address: str, asked: Asked, dataset: Learnable, goal: Metric) -> "SharedStudy":
    """This command's part in a shared study, in which all must mean the same rows and the same search."""
    from titrant.search.shared import SharedStudy, as_json, digest

    split = dataset.split
    rows = [part.numpy().tobytes() for part in (split.train, split.validation, split.test, dataset.target)]
    folds = [] if asked.folds is None else [f"{asked.repeats} times {asked.folds} folds".encode()]
    about = {
        "rows": digest([*rows, str(asked.seed).encode()]),
        "metric": goal.name,
        "search": digest([as_json(asked.recipe), as_json(asked.space), *folds]),
    }
    name = f"titrant {Path(dataset.summary.source).name} {dataset.schema.target}"  # wherever the file lies on each machine
    return SharedStudy(address, name, goal.direction, about)


def _about(study: Study) -> list[str]:
    """What a person should know of how their own network is treated.

    Raises:
        TitrantError: it does not suit the data.
    """
    own = study.own_network()
    found = []
    if own is not None and own.in_turn:
        found.append(say("Your networks are trained one after another, not side by side: {reason}.", reason=own.in_turn))
    if own is not None:
        found += [say("Surgery: {refusal}.", refusal=refusal) for refusal in own.operation.refusals]
    return found


def _about_memory(study: Study) -> list[str]:
    """What a person should know of the memory that their own recipe or network takes, before it runs out.

    Raises:
        TitrantError: the device has no room for the weights.
    """
    needs, free = study.needs(), free_memory(study.device)
    if needs is None or free is None:
        return []
    one, rows = needs.carried + needs.step(), needs.rows
    if one > free:
        return [
            say("A training takes about {taken:.3g} GiB, {step:.3g} GiB of them for a step of {rows:,} rows; {free:.3g} GiB "
                "are free on {device}. To take less: batch.accumulate (parts of a batch one after another), "
                "hardware.checkpoint: true, a smaller batch.size or model.width.",
                taken=one / 2**30, step=needs.step() / 2**30, rows=rows, free=free / 2**30, device=study.device)
        ]  # fmt: skip
    if study.lanes > 1 and study.lanes * one > free:
        return [
            say("Up to {count} networks are trained at the same time; they take about {taken:.3g} GiB, and {free:.3g} GiB are "
                "free. To take less: --workers {fewer}, hardware.checkpoint: true, or a smaller batch.size.",
                count=study.lanes, taken=study.lanes * one / 2**30, free=free / 2**30, fewer=free // one)
        ]  # fmt: skip
    return []


def _reserve(limit: float, dataset: Learnable) -> float:
    """Seconds kept for judging, writing and the report."""
    return min(0.25 * limit, 2.0 + 0.01 * limit + dataset.judging)


def _searched(study: Study, budget: str | float, clock: Clock, interrupt: Interrupt) -> Outcome:
    """Runs the search, and says in the person's terms why nothing came of it."""
    begun = clock.elapsed
    try:
        outcome = study.run()
    except BudgetError:
        if interrupt.asked:
            raise KeyboardInterrupt(say("Interrupted before any network was trained and scored; nothing is kept.")) from None
        raise BudgetError(
            say(
                "The budget of {budget} ended before any network was trained and scored; starting and reading the data took "
                "{begun:.1f} s of it. Give at least {needed}s.",
                budget=budget,
                begun=begun,
                needed=10 * math.ceil((2 * clock.elapsed + 5) / 10),
            )
        ) from None
    outcome.interrupted = outcome.interrupted or interrupt.asked
    return outcome
