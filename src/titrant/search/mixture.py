"""Who proposes what in a search: known recipes, an even cover, a model of what has worked and mutations of the best, in turn.

Nothing here knows data or training, so that the same proposals can be judged on tabulated problems (`benchmarks/search.py`).
"""

from collections.abc import Callable, Mapping, Sequence

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from titrant.recipe import Recipe
from titrant.search.forest import Forest
from titrant.search.proposers import MODELS, Bayesian, Grid, Mutation, QuasiRandom, Random, distribution
from titrant.search.region import Region
from titrant.tricks.acting import derived_seed

Proposal = tuple[Recipe, str, Trial | None]
"""A recipe, its origin, and the trial that waits for its score."""

MIXED = ("mixed", "doctor")
"""Searches in which the proposers take turns; in the second one the doctor's remedies come first."""

PARENTS = 4
"""Recipes that are mutated; before so many are judged, no further bracket begins."""

TURNS = ("forest", "forest", "mutation", "forest", "forest", "forest", "mutation", "quasi-random")
"""Who proposes in turn, once something is known.

Of 9 tabulated problems for development with 3 seeds, the median normalised regret after 25, 50 and 100 full trainings is 0.18,
0.09 and 0.04; with four of eight turns, and two of them the cover's, it is 0.19, 0.10 and 0.05 (`benchmarks/search.py`). With
Optuna's TPE in the forest's place and the base's shape for most of the first bracket it was 0.36, 0.16 and 0.09.
"""

_SHAPED = 4  # recipes of a first bracket in one shape, where no shape is known to be good


class Mixture:
    """The proposers of a search, and whose turn it is.

    Args:
        region: what may be visited.
        study: where the model of what has worked learns, see `learn`.
        seed, turn: of all random choices; another turn of the same seed draws others.
        search: who proposes: one of `titrant.search.proposers.SEARCHES`.
        bearable: of a recipe and one that it would train beside: False if it would cost too many times as much.
    """

    def __init__(
        self,
        region: Region,
        study: optuna.Study,
        seed: int,
        turn: Sequence[str | int] = (),
        search: str = "mixed",
        bearable: Callable[[Recipe, Recipe], bool] = lambda recipe, shape: True,
    ) -> None:
        self.region = region
        self.search = search
        self._bearable = bearable
        self._random = QuasiRandom(region, derived_seed(seed, "quasi-random", *turn))
        self._bayesian = Bayesian(region, study)
        self._mutation = Mutation(region, derived_seed(seed, "mutation", *turn))
        self._chance = Random(region, derived_seed(seed, "random", *turn))
        self._grid = Grid(region)
        self._forest = Forest(region, study, derived_seed(seed, "forest", *turn))
        self._turn = 0

    def first(self, wanted: int, shapes: Sequence[Recipe]) -> list[Proposal]:
        """Before anything is known: mutations of known good recipes and an even cover of the region, in stacks of few shapes.

        Args:
            wanted: how many.
            shapes: known recipes. If there are none, one of four recipes of the cover brings a shape of its own and the others
                have the last one's. With the base's shape for three of four, and the forest's new shapes for one recipe each,
                regret after 25 trainings was 0.39 where it is 0.19 (`benchmarks/search.py`, 9 problems for development).
        """
        proposals: list[Proposal] = []
        shape = self.region.base
        for turn in range(wanted):
            if not shapes:
                shape = self._covering(shape, anywhere=turn % _SHAPED == 0)
                proposals.append((shape, "quasi-random", None))
                continue
            shape = shapes[turn // 2 % len(shapes)]
            if turn % 2 == 0 and not self.region.only:
                proposals.append((self._mutation.propose(shape), "mutation", None))
            else:
                proposals.append((self._covering(shape, anywhere=turn % 4 == 3), "quasi-random", None))
        return proposals

    def later(self, wanted: int, leaders: Sequence[Recipe]) -> list[Proposal]:
        """Most from the model of what worked, the rest mutations of the best and an even cover, in stacks of few shapes.

        Args:
            wanted: how many.
            leaders: recipes that have been judged, the best first.
        """
        if self.search not in MIXED:
            return self.one_kind(wanted)
        best = list(leaders[:PARENTS]) or [self.region.base]
        parents = list(best)
        proposals: list[Proposal] = []
        for _ in range(wanted):
            turn, self._turn = self._turn % len(TURNS), self._turn + 1
            parent = best[turn % len(best)]
            recipe: Recipe | None = None
            if (origin := TURNS[turn]) == "forest":
                recipe = self._forested(parents, anywhere=turn == 0)
            elif origin == "mutation":
                recipe = self._mutation.propose(parent)
            if recipe is None:
                recipe, origin = self._covering(parent, anywhere=turn != 3), "quasi-random"
            proposals.append((recipe, origin, None))
        return proposals

    def _forested(self, parents: list[Recipe], *, anywhere: bool) -> Recipe | None:
        """The forest's next recipe: in a parent's shapes, or anywhere, and then it is a parent for the rest of the bracket."""
        if anywhere:
            recipe = self._forest.propose(parents)
            if recipe is not None and self._bearable(recipe, parents[0]):
                parents.append(recipe)
                return recipe
        return self._forest.propose(parents, anywhere=False)

    def one_kind(self, wanted: int) -> list[Proposal]:
        """Recipes of the one proposer that a person named; fewer where a grid ends."""
        proposals: list[Proposal] = []
        for _ in range(wanted):
            recipe: Recipe | None
            trial = None
            if self.search in MODELS:
                recipe, trial = self._bayesian.propose()
            elif self.search == "grid":
                recipe = self._grid.propose()
            else:
                recipe = self._random.propose() if self.search == "sobol" else self._chance.propose()
            if recipe is None:
                break
            proposals.append((recipe, self.search, trial))
        return proposals

    def _covering(self, shape: Recipe, *, anywhere: bool) -> Recipe:
        """The next recipe of an even cover: of the whole region, or with a given recipe's shapes.

        One whose network would take many times the parent's time gives way to one of the parent's shapes: it would cost as much
        as a whole stack, while everybody waits for it at the end of the rung.
        """
        if anywhere:
            recipe = self._random.propose(None)
            if self._bearable(recipe, shape):
                return recipe
        return self._random.propose(shape)


def learned(
    region: Region | None, recipe: Recipe, score: float, rung: int, state: TrialState, attributes: Mapping[str, str | int]
) -> FrozenTrial:
    """A member as proposers learn from it: what lies in the region, and its score at the rung that it has reached."""
    point = region.point(recipe) if region is not None else None
    return create_trial(
        state=state,
        value=score if state is TrialState.COMPLETE else None,
        intermediate_values={} if state is TrialState.FAIL else {rung: score},
        params={axis.name: value for axis, value in (point or {}).items()},
        distributions={axis.name: distribution(axis) for axis in point or {}},
        user_attrs=dict(attributes),
    )


def learn(study: optuna.Study, trial: Trial | None, found: FrozenTrial) -> None:
    """Tells a study what has become of a proposal; `trial` is the one that waits for it, if any."""
    if trial is None:
        study.add_trial(found)
        return
    for name, value in found.user_attrs.items():
        trial.set_user_attr(name, value)
    for rung, score in found.intermediate_values.items():
        trial.report(score, rung)
    study.tell(trial, found.value, state=found.state)
