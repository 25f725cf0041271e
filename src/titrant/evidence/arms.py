"""Arms: recipes that differ in one trick, and what is tuned again in each of them.

    leave one out   the recipe, and the recipe without the trick
    add one         the plain baseline with the trick, and the baseline

A trick that the recipe does not have is tried the other way round: the recipe with it, and the recipe as it is. Doses whose
best value hangs on the trick (nuisances: the learning rate first) are tuned in both arms, from the same candidates, before the
arms are compared (Godbole et al. 2023, "Deep learning tuning playbook").
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from titrant.errors import RecipeError, TitrantError
from titrant.recipe import Recipe, near, slots
from titrant.search.doses import mark_of, value_of, within
from titrant.search.region import check_fits, check_suits, fitted
from titrant.texts import say
from titrant.tricks.base import Off, Trick
from titrant.tricks.optimizer import OptimizerTrick

RECIPE, BASELINE = "recipe", "baseline"
"""The two arms that are there in every study."""

NUISANCES = ("learning_rate.peak", "optimizer.decay")
"""What is always tuned again."""

_BY_NAME = ("model", "batch", "stop", "data.categories", "data.numbers")
"""Slots that are compared only if they are named: networks, batches, lengths and encodings of data rather than tricks."""

_FACTOR = 4.0  # by which a dose on a log scale is varied, either way
_REACH = 0.25  # share of its range by which another dose is varied, either way


@dataclass(frozen=True)
class Comparison:
    """One trick, and the arms that show what it is worth.

    Args:
        trick: the slot's path.
        kind: of the trick.
        instead: the kind that stands in its place without it.
        present, absent: names of the arms with it and without it.
        added: name of the arm that adds it to the plain baseline; None if the baseline has it, or its network cannot use it.
    """

    trick: str
    kind: str
    instead: str
    present: str
    absent: str
    added: str | None


def comparisons(
    recipe: Recipe, baseline: Recipe, tricks: Sequence[str] | None, reads: str
) -> tuple[list[Comparison], dict[str, Recipe]]:
    """What to compare, and every arm's recipe by name.

    Args:
        recipe: whose tricks are in question.
        baseline: the plain baseline for these data.
        tricks: paths of slots, or of groups of slots such as `augment`; None for all in which the recipe differs from the
            baseline, but for networks, batches, lengths and encodings.
        reads: the kind of data.

    Raises:
        RecipeError: a name is no slot, or a trick is for other data.
        TitrantError: there is nothing to compare.

    Example:
        >>> recipe = Recipe().replace("dropout", "bernoulli").replace("clip", "norm")
        >>> found, arms = comparisons(recipe, Recipe(), None, "table")
        >>> [one.trick for one in found], list(arms)[:4]
        (['dropout', 'clip'], ['recipe', 'baseline', 'without dropout', 'baseline with dropout'])
    """
    arms = {RECIPE: recipe, BASELINE: baseline}
    found = []
    for path in _paths(recipe, baseline, tricks, reads):
        absent = left_out(recipe, baseline, path)
        if absent == recipe:  # it is off: what would it be worth?
            kind = _first_kind(path, reads)
            present, base = f"with {path}", RECIPE
            arms[present] = at_own_rate(recipe.replace(path, kind.name()), recipe)
            check_fits(arms[present])
            instead = recipe.at(path).kind
        else:
            present, base = RECIPE, f"without {path}"
            arms[base] = absent
            instead = absent.at(path).kind
        trick = arms[present].at(path)
        added = at_own_rate(baseline.replace(path, trick.model_dump()), baseline)
        name = f"baseline with {path}" if added != baseline and fitted(added) == added else None
        if name is not None:
            arms[name] = added
        found.append(Comparison(path, trick.kind, instead, present, base, name))
    if not found:
        raise TitrantError(
            say("The recipe has no trick to leave out: it is the plain baseline but for its network. Name tricks (--tricks).")
        )
    return found, arms


def left_out(recipe: Recipe, baseline: Recipe, path: str) -> Recipe:
    """The recipe with the plain baseline's trick in place of its own; off, if that is of the same kind.

    Another optimizer gets the learning rate on its own scale; features go with the network that reads them.

    Example:
        >>> silu = Recipe().replace("activation", "silu")
        >>> left_out(silu, Recipe(), "activation").activation.kind, left_out(Recipe(), Recipe(), "activation").activation.kind
        ('relu', 'off')
    """
    if path == "stop":
        return recipe.replace("stop", {"kind": "last", "epochs": recipe.stop.epochs})
    plain = baseline.at(path)
    if plain.kind == recipe.at(path).kind:
        return recipe.without(path)
    return fitted(at_own_rate(recipe.replace(path, plain.model_dump()), recipe))


def _paths(recipe: Recipe, baseline: Recipe, tricks: Sequence[str] | None, reads: str) -> list[str]:
    known = [path for path in slots() if path != "hardware" and not path.startswith("hardware.")]
    if tricks is None:
        return [
            path
            for path in known
            if path not in _BY_NAME and not recipe.at(path).is_off and recipe.at(path) != baseline.at(path)
        ]  # fmt: skip
    chosen: list[str] = []
    for name in tricks:
        inside = [path for path in known if path == name or path.startswith(f"{name}.")]
        if not inside:
            raise RecipeError(
                say("There is no trick {name!r}.{hint} Tricks are named by their slot: {known}.",
                    name=name, hint=near(name, known), known=", ".join(known))
            )  # fmt: skip
        if len(inside) > 1 or inside[0] != name:  # of a group, what there is
            inside = [path for path in inside if not recipe.at(path).is_off]
            if not inside:
                raise RecipeError(
                    say("No trick of the group {name!r} is on in this recipe. Name one of its slots to see what it would do.",
                        name=name)
                )  # fmt: skip
        for path in inside:
            check_suits(path, type(recipe.at(path)), reads)
        chosen += [path for path in inside if path not in chosen]
    return chosen


def _first_kind(path: str, reads: str) -> type[Trick]:
    """What stands for a trick that the recipe does not have: the first kind of its slot."""
    for kind in slots()[path]:
        if kind is not Off and reads in kind.reads:
            return kind
    raise RecipeError(say("{path} has no kind for these data.", path=path))


def nuisances(arms: Sequence[Recipe], studied: Sequence[str]) -> list[str]:
    """Paths of the doses that a study tunes again in every arm that has them.

    Args:
        arms: the recipes that are compared.
        studied: paths of the slots or doses in question, which are never tuned.

    Example:
        >>> decayed = Recipe().replace("regularize.decay", "decay").replace("dropout", "bernoulli")
        >>> nuisances([decayed.replace("dropout.p", 0.1), decayed.replace("dropout.p", 0.3)], ["dropout.p"])
        ['learning_rate.peak', 'regularize.decay.rate']
    """
    paths = dict.fromkeys(NUISANCES)
    for place in studied:
        slot = place if place in slots() else place.rpartition(".")[0]
        kinds = {type(arm.at(slot)) for arm in arms} if slot in slots() else set()
        paths |= dict.fromkeys(path for kind in slots().get(slot, ()) if kind in kinds for path in kind.nuisances)
    return [
        path
        for path in paths
        if not {path, path.rpartition(".")[0]} & set(studied) and any(value_of(arm, path) is not None for arm in arms)
    ]


def candidates(arm: Recipe, paths: Sequence[str], count: int, seed: int) -> list[Recipe]:
    """The arm with its nuisance doses as they are, and varied: by the same factors in every arm that has them.

    Args:
        arm: the recipe.
        paths: of the doses.
        count: how many, the arm itself among them.
        seed: of the factors.

    Example:
        >>> [round(one.learning_rate.peak, 5) for one in candidates(Recipe(), ["learning_rate.peak"], 3, seed=1)]
        [0.001, 0.00307, 0.00107]
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the sequence's balance at powers of two does not matter here
        units = qmc.Sobol(max(1, len(paths)), rng=np.random.default_rng(seed)).random(count)
    found = [arm]
    for row in units[1:]:
        varied = arm
        for path, unit in zip(paths, row, strict=False):
            value = value_of(arm, path)
            if value is not None:
                varied = varied.replace(path, _varied(path, arm, value, float(unit)))
        found.append(varied)
    return found


def at_own_rate(arm: Recipe, like: Recipe) -> Recipe:
    """The arm with its learning rate on the scale of its optimizer, where `like`, whose rate it has, has another one."""
    if type(arm.optimizer) is type(like.optimizer):
        return arm
    ours, theirs = type(arm.optimizer), type(like.optimizer)
    assert issubclass(ours, OptimizerTrick)
    assert issubclass(theirs, OptimizerTrick)
    peak = arm.learning_rate.peak * ours.typical_rate / theirs.typical_rate
    return arm.replace("learning_rate.peak", within(mark_of(arm, "learning_rate.peak"), peak))


def _varied(path: str, arm: Recipe, value: float, unit: float) -> float:
    mark = mark_of(arm, path)
    if mark.log:
        return within(mark, value * _FACTOR ** (2 * unit - 1))
    low, high = mark.search or (mark.low, mark.high)
    return within(mark, value + (2 * unit - 1) * _REACH * (high - low))
