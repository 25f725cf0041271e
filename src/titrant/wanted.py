"""What a person asks to be searched, as the search takes it: a recipe, limits, a network of their own, processes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from titrant.data.learnable import Learnable
from titrant.errors import TitrantError
from titrant.models.network import Factory
from titrant.models.own import declared, factory_name
from titrant.recipe import Recipe, near, read_yaml
from titrant.search.kinds import start_for
from titrant.search.proposers import SEARCHES
from titrant.search.region import Region, check_fits, check_suits
from titrant.surgery import SLOTS
from titrant.texts import say
from titrant.train.lanes import lanes
from titrant.train.team import launched
from titrant.tricks.model import Custom

_IN_OURS = ("data.whiten", "augment.resize", "regularize.stochastic_depth")  # what acts in networks of Titrant's own alone


def recipe_and_limits(
    recipe: Recipe | Mapping[str, Any] | str | Path | None, space: Mapping[str, Any] | str | Path | None
) -> tuple[Recipe | None, dict[str, Any] | None]:
    """A recipe and a search space as a person gives them, as Python has them."""
    limits = read_yaml(Path(space)) if isinstance(space, str | Path) else dict(space) if space is not None else None
    return recipe_of(recipe), limits


def recipe_of(recipe: Recipe | Mapping[str, Any] | str | Path | None) -> Recipe | None:
    """A recipe as a person gives it: as it is, as a mapping of its slots, or as its YAML file."""
    if isinstance(recipe, str | Path):
        return Recipe.load(recipe)
    return Recipe.of(recipe) if isinstance(recipe, Mapping) else recipe


def with_factory(recipe: Recipe, factory: Factory, surgery: Sequence[str] = ()) -> Recipe:
    """The recipe with a network of one's own, known by the name of what makes it.

    Slots that do not reach into it are as in the plain baseline: what does not act shall not stand in a recipe.

    Args:
        recipe: the rest; one that holds a network of one's own keeps its doses and surgery.
        factory: makes the network.
        surgery: slots that reach into it.

    Raises:
        TitrantError: a slot of the surgery is unknown, or the factory declares a dose wrongly.
    """
    unknown = [slot for slot in surgery if slot not in SLOTS]
    if unknown:
        known = ", ".join(SLOTS)
        raise TitrantError(
            say("surgery: {slot!r} cannot reach into a network; choose of {known}.", slot=unknown[0], known=known)
        )  # fmt: skip
    own = {dose.name: dose.default for dose in declared(factory)}
    reached = [slot for slot in SLOTS if slot in surgery]
    if isinstance(recipe.model, Custom):
        own |= {name: value for name, value in recipe.model.doses.items() if name in own}
        reached = reached or list(recipe.model.surgery)
    recipe = recipe.replace("model", {"kind": "custom", "factory": factory_name(factory), "doses": own, "surgery": reached})
    for slot in (*(slot for slot in SLOTS if slot not in reached), *_IN_OURS):
        recipe = recipe.replace(slot, Recipe().at(slot).model_dump())
    return recipe


def check_search(search: str, space: Mapping[str, Any] | str | Path | None) -> None:
    """Refuses a search that is not known.

    Raises:
        TitrantError: there is no such search, or it is a grid over everything.
    """
    if search not in SEARCHES:
        known = ", ".join(SEARCHES)
        raise TitrantError(
            say(
                "There is no search {search!r}.{hint} Choose of {known}.",
                search=search,
                hint=near(search, SEARCHES),
                known=known,
            )
        )
    if search == "grid" and space is None:
        raise TitrantError(
            say("A grid over all tricks would never end. Name what it shall cross in a search space (--space), or use random.")
        )


def processes(given: Recipe | None) -> int:
    """Processes that train each cohort together: as many as `torchrun` has started, or as the recipe says."""
    if (started := launched()) is not None:
        return started[1]
    return 1 if given is None else given.hardware.processes


def workers_wanted(device: torch.device, given: Recipe | None, model: Factory | None, members: int | None) -> int:
    """Worker processes that train beside this one: one for each further thread; none for a search of a few members."""
    if members is not None or model is not None:
        return 0
    return lanes(device, [] if given is None else [given]) - 1


def region_for(
    dataset: Learnable,
    given: Recipe | None,
    limits: dict[str, Any] | None,
    model: Factory | None,
    surgery: Sequence[str] = (),
) -> Region | None:
    """What to search: nothing for a recipe alone, the named paths for a recipe with a space, else the default with limits."""
    rows, known = len(dataset.split.train), start_for(dataset)
    size = known.batch(rows)
    default: dict[str, Any] = {"batch": "fixed", "batch.size": sorted({max(16, size // 2), size, size * 2})}
    for path, trick in given.tricks() if given is not None else ():
        check_suits(path, type(trick), known.reads)
    if given is not None:
        check_fits(given)
    if given is not None and limits is None:
        return None
    base = given or known.portfolio(rows)[0]
    if model is not None:
        base = with_factory(base, model, surgery).without("data.features")
        reached = base.model.surgery if isinstance(base.model, Custom) else ()
        fixed = [*(slot for slot in SLOTS if slot not in reached), *_IN_OURS, "data.features", "model"]
        default |= {slot: base.at(slot).kind for slot in fixed}
        if "dropout" in reached:
            default["dropout"] = ["off", "bernoulli"]
    wanted = {**default, **(limits or {})} if given is None else dict(limits or {})
    return Region(
        base,
        wanted,
        only=given is not None,
        reads=known.reads,
        numbers=dataset.has_numbers,
        categories=dataset.has_categories,
        classes=dataset.schema.task != "regression",
        absent=dataset.absent,
        own=() if model is None else declared(model),
    )
