"""Titrant's side of the comparison of searches on tabulated problems: the search's own proposers and rules, without networks.

`titrant.search.mixture` proposes, `titrant.search.halving` says who goes on, `titrant.search.starts` how many begin.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import Trial, TrialState

from surrogates import Ledger, Point, Problem
from titrant.recipe import Recipe
from titrant.search.halving import RUNGS, going_on
from titrant.search.mixture import Mixture, Proposal, learn, learned
from titrant.search.portfolio import portfolio
from titrant.search.proposers import sampler
from titrant.search.region import Region
from titrant.search.starts import Plan
from titrant.space import Range, at

ROWS = 10_000
"""Rows for which known recipes are taken: the surrogates do not say how many their tables had."""


def region_of(problem: Problem) -> Region:
    """The problem's hyperparameters as paths of a recipe, around the middle of each."""
    base = Recipe().replace("optimizer", "sgd").replace("dropout", "bernoulli").replace("regularize.decay", "decay")
    base = base.replace("regularize.l2", "l2")
    limits = {}
    for one in problem.space.values():
        low, high = one.low * one.scale, one.high * one.scale
        limits[one.path] = {"low": int(low) if one.integer else low, "high": int(high) if one.integer else high, "log": one.log}
        middle = at(Range(low, high, log=one.log), 0.5, integer=one.integer)
        base = base.replace(one.path, middle)
    return Region(base, limits, only=True)


def point_of(problem: Problem, recipe: Recipe) -> Point:
    """The problem's point that a recipe stands for."""
    found = {}
    for name, one in problem.space.items():
        slot, _, dose = one.path.rpartition(".")
        value = getattr(recipe.learning_rate if slot == "learning_rate" else recipe.at(slot), dose) / one.scale
        found[name] = min(max(value, one.low), one.high)
    return found


@dataclass
class Judged:
    """A member after its last rung: its best score, and where it stands among others."""

    recipe: Recipe
    score: float


def titrant(
    ledger: Ledger,
    seed: int,
    *,
    rungs: Sequence[float] = RUNGS,
    first: int | None = None,
    later: int | None = None,
    known: bool = False,
) -> None:
    """Bracket after bracket until the budget is spent.

    Args:
        ledger: trains and counts.
        seed: of all random choices.
        rungs: shares of a training at which members are compared.
        first, later: members of the first bracket and of later ones; the search's own plan if None.
        known: whether the first bracket holds the recipes that every search on tables begins with, as near as they come.
    """
    problem, plan = ledger.problem, Plan()
    rungs = rungs if problem.epochs > 1 else (1.0,)
    region = region_of(problem)
    study = optuna.create_study(direction="maximize", sampler=sampler("mixed", seed))
    mixture = Mixture(region, study, seed)
    judged: list[Judged] = []
    begins = [region.nearest(recipe) for recipe in portfolio(ROWS)] if known else []
    begins = [recipe for place, recipe in enumerate(begins) if recipe not in begins[:place]]
    first, later = first or plan.first, later or plan.later
    proposals: list[Proposal] = [(recipe, "portfolio", None) for recipe in begins][:first]
    proposals += mixture.first(first - len(proposals), begins)
    while True:
        _bracket(ledger, study, region, proposals, rungs, judged)
        judged.sort(key=lambda one: -one.score)
        proposals = mixture.later(later, [one.recipe for one in judged])


def _bracket(
    ledger: Ledger,
    study: optuna.Study,
    region: Region,
    proposals: Sequence[Proposal],
    rungs: Sequence[float],
    judged: list[Judged],
) -> None:
    """One round of successive halving."""
    alive: list[tuple[Recipe, Trial | None, float]] = [(recipe, trial, -math.inf) for recipe, _, trial in proposals]
    for rung, share in enumerate(rungs):
        epochs = math.ceil(share * ledger.problem.epochs)
        alive = [
            (recipe, trial, max(score, ledger.train(point_of(ledger.problem, recipe), epochs)))
            for recipe, trial, score in alive
        ]
        last = rung == len(rungs) - 1
        staying = [] if last else going_on([(-score, 0.0) for _, _, score in alive])
        for place, (recipe, trial, score) in enumerate(alive):
            if place not in staying:
                judged.append(Judged(recipe, score))
                state = TrialState.COMPLETE if last else TrialState.PRUNED
                learn(study, trial, learned(region, recipe, score, rung, state, {}))
        alive = [alive[place] for place in sorted(staying)]
