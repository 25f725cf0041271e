"""How the whole gain of a recipe divides among groups of its tricks: Shapley values by sampled orders.

v(S) is the score of the recipe with the tricks of the groups in S, and without the others. In one order of the groups, each is
worth what the score gains when it joins those before it; its share is the mean over orders. An order is a replicate: all its
networks share rows and seeds. Orders come in pairs, each with its reverse, which evens out who comes early.

In every coalition the learning rate is tuned anew, from the same three factors, by the tuning rows of the same replicate.

Source: Shapley 1953; sampled orders as in Castro et al. 2009, "Polynomial calculation of the Shapley value based on sampling".
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from titrant.evidence.contest import difference
from titrant.evidence.records import Share
from titrant.evidence.training import Job, Outcome, Trainings
from titrant.recipe import Recipe
from titrant.search.region import fitted
from titrant.texts import say

_FACTORS = (1.0, 0.5, 2.0)  # of the learning rate
_FEWEST = 4  # orders, below which shares tell nothing


def groups(tricks: Sequence[str]) -> dict[str, list[str]]:
    """Tricks by the part of training that they change.

    Example:
        >>> groups(["dropout", "regularize.l2", "optimizer", "clip"])
        {'dropout': ['dropout'], 'optimisation': ['optimizer', 'clip'], 'penalties': ['regularize.l2']}
    """
    known = {
        say("inputs"): ("data",),
        say("augmentation"): ("augment", "mix"),
        say("network"): ("model", "weights", "normalize", "activation", "initialize"),
        say("dropout"): ("dropout", "regularize.stochastic_depth"),
        say("optimisation"): ("optimizer", "learning_rate", "clip", "average", "batch", "stop"),
        say("penalties"): ("regularize",),
    }
    found: dict[str, list[str]] = {name: [] for name in known}
    for trick in tricks:
        homes = [(len(root), name) for name, roots in known.items() for root in roots if f"{trick}.".startswith(f"{root}.")]
        found[max(homes)[1]].append(trick)
    return {name: own for name, own in found.items() if own}


def shares(
    trainings: Trainings, recipe: Recipe, absent: Mapping[str, Recipe], seconds: float, watch: Callable[[int], None]
) -> list[Share]:
    """The share of each group of tricks; none if there is one group only, or no time for them.

    Args:
        trainings: trains and judges.
        recipe: with all the tricks.
        absent: for each trick, a recipe that has in its slot what stands there without the trick.
        seconds: that one training takes in one lane, about.
        watch: is told how many trainings are done.
    """
    parts = groups(list(absent))
    each = (len(parts) + 1) * len(_FACTORS) * seconds / trainings.pace.lanes
    orders = min(32, int(0.85 * trainings.clock.left / max(each, 1e-9))) // 2 * 2
    if len(parts) < 2 or orders < _FEWEST:
        return []
    drawn = _orders(list(parts), orders, trainings.seed)
    coalitions = [(place, order[:size]) for place, order in enumerate(drawn) for size in range(len(parts) + 1)]
    jobs = [
        Job(_tuned(_with(recipe, absent, parts, present), factor), place, seconds)
        for place, present in coalitions
        for factor in _FACTORS
    ]
    outcomes = trainings.run(jobs, watch)
    chosen: dict[tuple[int, int], Outcome] = {}
    for index, (place, present) in enumerate(coalitions):
        found = [one for one in outcomes[len(_FACTORS) * index : len(_FACTORS) * (index + 1)] if one is not None]
        if len(found) == len(_FACTORS):
            chosen[place, len(present)] = min(found, key=lambda one: trainings.metric.as_loss(one.tuned))
    divided = [_share(trainings, name, tricks, drawn, chosen) for name, tricks in parts.items()]
    return divided if min(share.value.count for share in divided) >= 2 else []


def _orders(names: list[str], count: int, seed: int) -> list[list[str]]:
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count // 2):
        order = [names[place] for place in random.permutation(len(names))]
        found += [order, order[::-1]]
    return found


def _with(recipe: Recipe, absent: Mapping[str, Recipe], parts: Mapping[str, list[str]], present: Sequence[str]) -> Recipe:
    for name, tricks in parts.items():
        for trick in tricks if name not in present else ():
            recipe = fitted(recipe.replace(trick, absent[trick].at(trick).model_dump()))
    return recipe


def _tuned(recipe: Recipe, factor: float) -> Recipe:
    return recipe if factor == 1 else recipe.replace("learning_rate.peak", min(10.0, recipe.learning_rate.peak * factor))


def _share(
    trainings: Trainings,
    name: str,
    tricks: list[str],
    orders: Sequence[Sequence[str]],
    chosen: Mapping[tuple[int, int], Outcome],
) -> Share:
    sizes = [order.index(name) for order in orders]
    steps = [
        ((chosen[place, size + 1], 1.0), (chosen[place, size], -1.0))
        for place, size in enumerate(sizes)
        if {(place, size), (place, size + 1)} <= chosen.keys()
    ]
    return Share(group=name, tricks=tricks, value=difference(trainings.contrast(steps)))
