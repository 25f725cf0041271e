"""The response to a dose: the score at each of its levels, everything else tuned alike at each.

Levels are the dose's off value, the recipe's own value and steps over the range that the search visits; of a slot, its kinds.
All levels are arms of one contest, so that each is tuned from the same candidates and meets the same replicates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from titrant.errors import BudgetError, RecipeError
from titrant.evidence.arms import at_own_rate, nuisances
from titrant.evidence.contest import REPLICATES, Contest, Plan, difference
from titrant.evidence.records import Level, Response
from titrant.evidence.statistics import LEVEL, holm
from titrant.evidence.training import Trainings
from titrant.recipe import Recipe, near, slots
from titrant.record import finite
from titrant.search.doses import doses_at
from titrant.search.region import check_fits, check_suits, fitted
from titrant.space import Dose, doses, rounded_into
from titrant.texts import say
from titrant.tricks.base import Off
from titrant.tricks.learning_rate import LearningRate
from titrant.tricks.model import Custom

LEVELS = 7
"""Steps over a range."""

OWN = "model.doses"
"""Where the doses of a person's own network stand."""


@dataclass(frozen=True)
class Dosing:
    """The levels of one dose, and the recipe at each.

    Args:
        path: of the dose, or of a slot.
        unit: what is counted.
        log: the levels are evenly spaced by ratios.
        arms: recipes by level, in order.
        off: the level at which the trick does nothing, if there is one.
        here: the recipe's own level; None if the recipe has not this kind of trick.
    """

    path: str
    unit: str
    log: bool
    arms: dict[Any, Recipe]
    off: Any
    here: Any


def dosing(recipe: Recipe, path: str, reads: str, levels: int = LEVELS, own: Sequence[Dose] = ()) -> Dosing:
    """The levels of a dose of a recipe.

    Args:
        recipe: around which the dose is varied.
        path: `dropout.p`, `learning_rate.peak`, a slot such as `activation`, or `model.doses.NAME`.
        reads: the kind of data.
        levels: steps over the range.
        own: the doses that the factory of the recipe's `model: custom` declares.

    Raises:
        RecipeError: there is no such dose, or it is for other data.

    Example:
        >>> found = dosing(Recipe(), "dropout.p", "table", levels=4)
        >>> list(found.arms), found.off
        ([0.0, 0.2, 0.4, 0.6], 0.0)
        >>> found.arms[0.2].dropout
        Bernoulli(kind='bernoulli', p=0.2)
    """
    if path in slots() and path != "hardware":
        return _of_kinds(recipe, path, reads)
    slot, _, name = path.rpartition(".")
    base, here = recipe, None
    if slot == OWN and isinstance(recipe.model, Custom):
        found = next((dose for dose in own if dose.name == name), None)
        here = recipe.model.doses.get(name)
    elif slot == "learning_rate":
        found = next((dose for dose in doses(LearningRate) if dose.name == name), None)
        here = getattr(recipe.learning_rate, name, None)
    else:
        held = type(recipe.at(slot)) if slot in slots() else Off
        kinds = [kind for kind in (held, *slots().get(slot, ())) if any(dose.name == name for dose in doses(kind))]
        found = next((dose for kind in kinds[:1] for dose in doses(kind) if dose.name == name), None)
        if kinds:
            check_suits(slot, kinds[0], reads)
            base = recipe if kinds[0] is held else recipe.replace(slot, kinds[0].name())
            check_fits(base)
            here = getattr(recipe.at(slot), name) if kinds[0] is held else None
    if found is None:
        raise RecipeError(_no_dose(path, own))
    if isinstance(found.mark, tuple):
        return Dosing(path, "", False, {value: base.replace(path, value) for value in found.mark}, None, here)
    mark = found.mark
    low, high = mark.search if mark.search and mark.search[0] < mark.search[1] else (mark.low, mark.high)
    steps = [place / (levels - 1) for place in range(levels)]
    values = [low * (high / low) ** step if mark.log else low + (high - low) * step for step in steps]
    values = [round(value) if found.integer else rounded_into(float(f"{value:.3g}"), low, high) for value in values]
    extra = [value for value in (mark.off, here) if value is not None]
    chosen = sorted(dict.fromkeys([*(int(value) if found.integer else float(value) for value in extra), *values]))
    arms = {value: base.replace(path, value) for value in chosen}
    return Dosing(path, mark.unit, mark.log, arms, mark.off, here)


def _of_kinds(recipe: Recipe, path: str, reads: str) -> Dosing:
    fitting = [kind for kind in slots()[path] if reads in kind.reads and kind.name() != "custom"]
    arms = {
        kind.name(): recipe if type(recipe.at(path)) is kind else at_own_rate(recipe.replace(path, kind.name()), recipe)
        for kind in fitting
    }
    if path == "model":  # features go with the networks that read them
        arms = {name: fitted(arm) for name, arm in arms.items()}
    arms = {name: arm for name, arm in arms.items() if fitted(arm) == arm}
    if len(arms) < 2:
        raise RecipeError(say("{path} has one kind only that this recipe can use: there is nothing to vary.", path=path))
    return Dosing(path, "", False, arms, "off" if Off in fitting else None, recipe.at(path).kind)


def _no_dose(path: str, own: Sequence[Dose]) -> str:
    known = [f"{slot}.{dose.name}" for slot, kinds in slots().items() for kind in kinds for dose in doses(kind)]
    known = list(dict.fromkeys([*(f"learning_rate.{dose.name}" for dose in doses(LearningRate)), *known, *slots()]))
    known += [f"{OWN}.{dose.name}" for dose in own]
    if path.startswith(f"{OWN}.") and not own:
        return say("There is no dose {path!r}: no factory was given that declares doses (--model, model=...).", path=path)
    return say("There is no dose {path!r}.{hint} `titrant recipe show` lists every path.", path=path, hint=near(path, known))


@dataclass
class Titration:
    """The measurement of a response.

    Args:
        trainings: trains and judges.
        recipe: around which the dose is varied.
        path: of the dose.
        reads: the kind of data.
        watch: is told (phase, arms, trainings done).
        replicates: of each level at most.
        levels: steps over the range.
        own: the doses that the factory of the recipe's `model: custom` declares.
    """

    trainings: Trainings
    recipe: Recipe
    path: str
    reads: str
    watch: Callable[[str, int, int], None]
    replicates: int = REPLICATES
    levels: int = LEVELS
    own: Sequence[Dose] = ()

    def run(self) -> Response:
        """Trains, judges and concludes.

        Raises:
            BudgetError: there is no time, or it ended before every level was judged twice.
        """
        found = dosing(self.recipe, self.path, self.reads, self.levels, self.own)
        names = {value: f"{self.path} = {value}" for value in found.arms}
        arms = {names[value]: arm for value, arm in found.arms.items()}
        contest = Contest(self.trainings, arms, self.watch)
        contest.measure()
        paths = nuisances(list(arms.values()), [self.path])
        plan = contest.tune(paths, contest.plan(self.replicates))
        contest.compare(list(arms), range(plan.replicates))
        reference = found.here if found.off is None else found.off
        reference = next(iter(names)) if reference is None else reference
        if any(len(contest.common(name, names[reference])) < 2 for name in names.values()):
            raise BudgetError(
                say("The time ended before every level was trained and judged twice. Give more time, or fewer levels.")
            )
        return self._concluded(found, contest, plan, names, paths, reference)

    def _concluded(
        self, found: Dosing, contest: Contest, plan: Plan, names: dict[Any, str], paths: list[str], reference: Any
    ) -> Response:
        gains = {value: contest.over(name, names[reference]) for value, name in names.items()}
        best = max(names, key=lambda value: gains[value].mean)
        others = [value for value in names if value != reference]
        adjusted = dict(zip(others, holm([gains[value].p for value in others]), strict=True))
        return Response(
            **contest.described(plan, paths),
            dose=found.path,
            unit=found.unit,
            log=found.log,
            reference=reference,
            levels=[
                Level(
                    value=value,
                    off=value == found.off,
                    here=value == found.here,
                    score=finite(contest.score(name).mean),
                    gain=difference(gains[value]),
                    tuned=doses_at(contest.tuned[name], paths),
                )
                for value, name in names.items()
            ],
            best=best,
            certain=best != reference and adjusted[best] <= LEVEL,
        )
