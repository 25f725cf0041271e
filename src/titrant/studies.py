"""Studies of a run, or of data: `ablate`, `dose` and `cure`, from reading to report, all within the budget.

A run says which data it had, how they were divided and by which recipe its model was trained; its test rows, which no choice
has seen, judge the arms. Without a run, a recipe that is known to be strong takes the place of the found one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from titrant.clock import Clock, Interrupt, seconds
from titrant.data.learnable import Learnable, read_again, read_data, source_of
from titrant.errors import BudgetError, OutputError, RecipeError, TitrantError
from titrant.evidence.ablation import Study
from titrant.evidence.contest import REPLICATES
from titrant.evidence.cure import REPLICATES as TRIES
from titrant.evidence.cure import Treatment
from titrant.evidence.importance import importances
from titrant.evidence.records import Ablation, Cure, Response, Studied
from titrant.evidence.response import LEVELS, Titration
from titrant.evidence.training import Trainings
from titrant.folders import free_place, new_folder, writing
from titrant.job import Run
from titrant.models.network import Factory
from titrant.models.own import declared
from titrant.recipe import Recipe
from titrant.record import Source, Summary, versions
from titrant.report.html import write_report
from titrant.report.terminal import QuietView
from titrant.results import PACKAGES, machine
from titrant.search.kinds import start_for
from titrant.search.pace import Pace
from titrant.texts import say
from titrant.train.hardware import device_of, prepare
from titrant.train.lanes import lanes
from titrant.train.metrics import metric_for
from titrant.train.workers import LARGEST, Workers
from titrant.tricks.model import Custom
from titrant.view import View
from titrant.wanted import recipe_of, region_for, with_factory, workers_wanted

Result = TypeVar("Result", bound=Studied)
Watch = Callable[[str, int, int], None]


def ablate(
    subject: object,
    target: str | None = None,
    *,
    tricks: Sequence[str] | None = None,
    budget: str | float = "20m",
    out: str | Path | None = None,
    recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
    metric: str | None = None,
    replicates: int = REPLICATES,
    smallest: float | None = None,
    pairs: int = 0,
    shares: bool = False,
    data: object = None,
    seed: int = 0,
    model: Factory | None = None,
    device: str = "auto",
    view: View | None = None,
    started: float | None = None,
    **reading: Any,
) -> Ablation:
    """Measures what each trick of a recipe is worth on some data.

    Each trick is left out of the recipe, and added to the plain baseline. Arms are tuned alike (learning rate, weight decay,
    and what else hangs on the tricks), trained on the same rows with the same seeds again and again, for the same time, and
    judged on held-out rows. Effects come in the metric's own unit with 95 % intervals; see `titrant.evidence.ablation`.

    Args:
        subject: a run (`Run`, or its folder), or data as `titrant.fit` takes them.
        target: for data, the column to predict.
        tricks: slots such as `dropout` or groups such as `augment`; all in which the recipe differs from the plain baseline, if
            None. One that the recipe does not have is tried in its default form.
        budget: wall clock for everything.
        out: where `ablation.json` and the report go: by default into the run's folder; None for data writes nothing.
        recipe: whose tricks; the run's own, or one that is known to be strong, if None.
        metric: of the effects; the run's own, or the task's usual one, if None.
        replicates: of each arm at most, from 2.
        smallest: the smallest difference that matters, in the metric's unit; 2 % of the baseline's error if None.
        pairs: of tricks, whose interaction is measured: those that mattered most in the run's search, or the first ones.
        shares: whether the whole gain is divided among groups of tricks (Shapley values), which takes a third of the time.
        data: the run's data, where they were in memory or have moved.
        seed: of all random choices.
        model: the factory of a network of your own.
        device: auto, cpu, cuda, cuda:1, mps.
        view: watches.
        started: when the budget began, on the scale of `time.monotonic`; now if None.
        reading: for data, arguments of `titrant.fit` that say how to read them: task, kinds, test, split_column, group, by,
            time, horizon, text, size.

    Returns:
        What was found; `effects` holds one entry for each trick.

    Raises:
        TitrantError: there is no such run or trick, the data cannot be read, or the time is too short.

    Example:
        >>> import titrant
        >>> table = {"x": [i / 200 for i in range(200)], "y": ["low"] * 100 + ["high"] * 100}
        >>> found = titrant.ablate(table, "y", tricks=["dropout"], budget="20s", replicates=3)
        >>> [(effect.trick, effect.without.count) for effect in found.effects]
        [('dropout', 3)]
    """
    if replicates < 2:
        raise TitrantError(say("A comparison needs at least 2 replicates; {count} were asked for.", count=replicates))

    def study(asked: "AskedStudy", trainings: Trainings, watch: Watch) -> Ablation:
        start = start_for(asked.dataset)
        plain = start.baseline(len(trainings.development))
        if isinstance(asked.recipe.model, Custom):
            plain = plain.replace("model", asked.recipe.model.model_dump())
        importance = importances(asked.folder / "study.db") if pairs and asked.folder is not None else {}
        return Study(
            trainings, asked.recipe, plain, tricks, start.reads, watch, replicates, smallest, pairs, importance, shares
        ).run()  # fmt: skip

    asking = Asking(subject, target, recipe, metric, data, seed, model, device, reading)
    return _studied(asking, study, budget, out, "ablation.json", view, started)


def dose(
    subject: object,
    path: str,
    target: str | None = None,
    *,
    levels: int = LEVELS,
    budget: str | float = "10m",
    out: str | Path | None = None,
    recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
    metric: str | None = None,
    replicates: int = REPLICATES,
    data: object = None,
    seed: int = 0,
    model: Factory | None = None,
    device: str = "auto",
    view: View | None = None,
    started: float | None = None,
    **reading: Any,
) -> Response:
    """Measures the response to one dose: the score at each of its levels, everything else tuned alike at each.

    Args:
        subject, target, out, recipe, metric, replicates, data, seed, model, device, view, started, reading: as for `ablate`.
        path: of the dose, such as `dropout.p`, or a slot such as `activation`, whose kinds are then the levels; of a network
            of your own `model.doses.NAME`, for an argument of its factory that is a dose.
        levels: steps over the range, from 2; the off value and the recipe's own are added.
        budget: wall clock for everything.

    Raises:
        TitrantError: as for `ablate`.

    Example:
        >>> import titrant
        >>> table = {"x": [i / 200 for i in range(200)], "y": ["low"] * 100 + ["high"] * 100}
        >>> found = titrant.dose(table, "dropout.p", "y", levels=2, budget="20s", replicates=2)
        >>> [level.value for level in found.levels]
        [0.0, 0.15, 0.6]
    """
    if levels < 2 or replicates < 2:
        raise TitrantError(say("A response needs at least 2 levels and 2 replicates."))

    def study(asked: "AskedStudy", trainings: Trainings, watch: Watch) -> Response:
        reads = start_for(asked.dataset).reads
        own = () if model is None else declared(model)
        return Titration(trainings, asked.recipe, path, reads, watch, replicates, levels, own).run()

    asking = Asking(subject, target, recipe, metric, data, seed, model, device, reading)
    return _studied(asking, study, budget, out, f"dose-{path}.json", view, started)


def cure(
    subject: object,
    target: str | None = None,
    *,
    budget: str | float = "5m",
    out: str | Path | None = None,
    recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
    metric: str | None = None,
    replicates: int = TRIES,
    data: object = None,
    seed: int = 0,
    model: Factory | None = None,
    device: str = "auto",
    view: View | None = None,
    started: float | None = None,
    **reading: Any,
) -> Cure:
    """Finds what ails the training of a recipe, mends it one remedy at a time, and proves the cure.

    The recipe is trained under the doctor's eye. The remedy for the gravest finding is tried: both recipes are trained again
    and again with the same rows and seeds, and the remedy is kept only if it is shown to help. What was kept is proved with
    fresh seeds on rows that chose nothing; see `titrant.evidence.cure`.

    Args:
        subject, target, recipe, metric, data, seed, model, device, view, started, reading: as for `ablate`.
        budget: wall clock for everything.
        out: where `cure.json`, the cured recipe (`cured.yaml`) and the report go: by default into the run's folder; None for
            data writes nothing.
        replicates: of each arm at most, from 6; the proof takes twice as many.

    Raises:
        TitrantError: as for `ablate`.

    Example:
        >>> import titrant
        >>> table = {"x": [i / 200 for i in range(200)], "y": ["low"] * 100 + ["high"] * 100}
        >>> slow = titrant.Recipe().replace("learning_rate.peak", 1e-6).replace("stop.epochs", 10.0)
        >>> found = titrant.cure(table, "y", recipe=slow, budget="60s")
        >>> found.before[0].rule, found.remedies[0].kept
        ('learning_rate_too_low', True)
    """
    if replicates < 6:
        raise TitrantError(say("A remedy is judged by at least 6 replicates; {count} were asked for.", count=replicates))

    def study(asked: "AskedStudy", trainings: Trainings, watch: Watch) -> Cure:
        return Treatment(trainings, asked.recipe, start_for(asked.dataset).reads, watch, replicates).run()

    asking = Asking(subject, target, recipe, metric, data, seed, model, device, reading)
    return _studied(asking, study, budget, out, "cure.json", view, started)


# ------------------------------------------------------------------- what all do


@dataclass(frozen=True)
class Asking:
    """The arguments that say what is studied."""

    subject: object
    target: str | None
    recipe: Recipe | Mapping[str, Any] | str | Path | None
    metric: str | None
    data: object
    seed: int
    model: Factory | None
    device: str
    reading: Mapping[str, Any]


@dataclass(frozen=True)
class AskedStudy:
    """What they come to: the data, the recipe, and the run's folder if there is a run."""

    dataset: Learnable
    source: Source
    recipe: Recipe
    metric: str | None
    folder: Path | None


def _studied(
    asking: Asking,
    study: Callable[[AskedStudy, Trainings, Watch], Result],
    budget: str | float,
    out: str | Path | None,
    name: str,
    view: View | None,
    started: float | None,
) -> Result:
    """Reads, has the arms trained, and writes what was found."""
    limit = seconds(budget)
    place = None if out is None else free_place(Path(out))
    watcher = view or QuietView()
    notes: list[str] = []
    with Interrupt() as interrupt, watcher:
        clock = Clock.of(limit, started, interrupt)
        device = device_of(asking.device)
        with Workers(workers_wanted(device, None, asking.model, None), interrupt) as workers:
            asked = read_asked(asking, notes, watcher)
            prepare(asked.recipe.hardware, device)
            if sum(tensor.nbytes for tensor in asked.dataset.inputs) > LARGEST:
                workers.close()
            metric = metric_for(asked.dataset.schema.task, asked.metric)
            watcher.start(say("study of {source}", source=asked.dataset.summary.source), limit, asked.dataset.summary)
            for note in notes:
                watcher.note(note)
            trainings = Trainings(
                dataset=asked.dataset,
                metric=metric,
                seed=asking.seed,
                device=device,
                clock=clock.before_end(min(0.2 * limit, 3.0 + 0.01 * limit)),
                pace=Pace(lanes(device, [asked.recipe]), workers=workers),
                factory=asking.model,
            )

            def watch(phase: str, arms: int, done: int) -> None:
                watcher.studying(phase, arms, done, max(0.0, clock.left))

            found = _found(study, asked, trainings, watch)
        found = found.model_copy(
            update={
                "title": asked.dataset.summary.source,
                "seconds_total": clock.elapsed,
                "budget_seconds": limit,
                "versions": versions(*PACKAGES),
                "machine": machine(device),
                "warnings": [*notes, *found.warnings] if asked.folder is None else found.warnings,
            }
        )
        _write(found, asked, place, name)
        return found


def _found(
    study: Callable[[AskedStudy, Trainings, Watch], Result], asked: AskedStudy, trainings: Trainings, watch: Watch
) -> Result:
    interrupt = trainings.clock.interrupt
    try:
        return study(asked, trainings, watch)
    except BudgetError:
        if interrupt is not None and interrupt.asked:
            raise KeyboardInterrupt(say("Interrupted before every arm was judged twice; nothing is kept.")) from None
        raise


def _write(found: Result, asked: AskedStudy, place: Path | None, name: str) -> None:
    """Writes the findings and the report: into a new folder, or beside the run that they are about."""
    if place is None and asked.folder is None:
        return
    if place is None:
        assert asked.folder is not None
        with writing(asked.folder):
            _write_found(found, asked.folder, name)
            write_report(asked.folder)
        return
    with new_folder(place) as folder, writing(folder):
        asked.recipe.save(folder / "recipe.yaml")
        asked.dataset.summary.write(folder / "data.json")
        asked.source.write(folder / "source.json")
        _write_found(found, folder, name)
        write_report(folder)


def _write_found(found: Studied, folder: Path, name: str) -> None:
    found.write(folder / name)
    if isinstance(found, Cure) and found.cured != found.recipe:
        Recipe.of(found.cured).save(folder / "cured.yaml")


def _run_of(subject: object) -> Path | None:
    """The folder of a run, if the subject is one."""
    if isinstance(subject, Run):
        return subject.folder
    if isinstance(subject, str | Path) and (Path(subject) / "recipe.yaml").is_file():
        return Path(subject)
    return None


def read_asked(asking: Asking, notes: list[str], view: View) -> AskedStudy:
    """What the arguments come to: a run's own data and recipe, or data as `titrant.fit` takes them."""
    folder = _run_of(asking.subject)
    if folder is None:
        return _read_data(asking, notes, view)
    if asking.target is not None or asking.reading:
        raise TitrantError(
            say("{folder} is a run, which knows its target and how its data were read; leave these options out.", folder=folder)
        )
    try:
        source = Source.read(folder / "source.json")
        metric = Summary.read(folder / "summary.json").metric if (folder / "summary.json").exists() else None
    except (OSError, ValueError):
        raise OutputError(
            say("{folder} does not say where its data came from (source.json). Fit anew, or name the data instead of the run.",
                folder=folder)
        ) from None  # fmt: skip
    recipe = _with_model(recipe_of(asking.recipe) or Recipe.load(folder / "recipe.yaml"), asking.model)
    return AskedStudy(read_again(source, notes, asking.data, view.reading), source, recipe, asking.metric or metric, folder)


def _read_data(asking: Asking, notes: list[str], view: View) -> AskedStudy:
    if asking.data is not None:
        raise TitrantError(say("Data are named twice. Give them in place of a run, or beside one."))
    reading = {"seed": asking.seed, **asking.reading}
    test, kinds = reading.pop("test", None), reading.pop("kinds", None)
    dataset = read_data(
        asking.subject, asking.target, test=test, kinds=kinds, **reading, notes=notes, progress=view.reading
    )  # fmt: skip
    source = source_of(asking.subject, asking.target, test, kinds=kinds or {}, **reading)
    recipe = recipe_of(asking.recipe)
    if recipe is None:
        region = region_for(dataset, None, None, asking.model)
        assert region is not None
        recipe = region.suited(region.base)
    return AskedStudy(dataset, source, _with_model(recipe, asking.model), asking.metric, None)


def _with_model(recipe: Recipe, model: Factory | None) -> Recipe:
    """The recipe, checked against the network of one's own that is given or missing."""
    if model is not None:
        return with_factory(recipe, model)
    if isinstance(recipe.model, Custom):
        raise RecipeError(say("The recipe's network is one of your own; give its factory (model=...)."))
    return recipe
