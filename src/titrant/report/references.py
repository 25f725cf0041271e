"""References: where the tricks of a recipe, and the methods of a study, come from.

A trick names its source in its docstring, in a paragraph that begins with "Source:"; so the lists below hold what is in use
and nothing else.
"""

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

from titrant.errors import RecipeError
from titrant.evidence.records import Ablation
from titrant.recipe import Recipe, slots
from titrant.texts import say
from titrant.tricks.base import Off
from titrant.tricks.learning_rate import LearningRate

_AFTER = re.compile(r"\b(Departures?|Interactions)\b.*", re.DOTALL)  # what a docstring says after its source


def of_recipe(recipe: Mapping[str, Any], besides: Sequence[str] = ()) -> list[str]:
    """The sources of a recipe's tricks, each once, with the tricks that come from it.

    Args:
        recipe: as it is written; one that cannot be read, such as that of a newer version, has no sources.
        besides: `slot.kind` of tricks that the recipe has not, such as those that a study put in.

    Example:
        >>> of_recipe({"dropout": {"kind": "bernoulli", "p": 0.2}}, ["augment.hue.hue"])[1]
        'Haeberli 1993, "Matrix operations for image processing" (augment.hue: hue)'
    """
    try:
        known = Recipe.of(recipe)
    except RecipeError:
        return []
    used: dict[str, list[str]] = {}
    for path, kinds in slots().items():
        if len(kinds) == 1:
            continue  # no choice, and there whatever the data are
        for kind in kinds:
            if kind is not Off and (known.at(path).kind == kind.name() or f"{path}.{kind.name()}" in besides):
                used.setdefault(source(kind), []).append(f"{path}: {kind.name()}")
    used.setdefault(source(LearningRate), []).append("learning_rate")
    return [f"{text} ({', '.join(names)})" for text, names in sorted(used.items()) if text]


def of_study(study: Ablation) -> list[str]:
    """The sources of the methods of a study and of the tricks that it compared."""
    compared = [f"{effect.trick}.{effect.kind}" for effect in study.effects]
    return [*of_methods(study), *of_recipe(study.recipe, compared)]


def of_methods(study: Ablation) -> list[str]:
    """The sources of what a study did, as `titrant.report.evidence.methods` tells it."""
    found = [
        (say("doses tuned alike in all arms"), True, 'Godbole et al. 2023, "Deep learning tuning playbook"'),
        (say("interval"), not study.shared, 'Nadeau and Bengio 2003, "Inference for the generalization error"'),
        (say("interval"), study.shared, 'Efron 1979, "Bootstrap methods: another look at the jackknife"'),
        (
            say("looks"),
            len(study.looks) > 1,
            'O\'Brien and Fleming 1979, "A multiple testing procedure for clinical trials"; Lan and DeMets 1983, "Discrete '
            'sequential boundaries for clinical trials"',
        ),
        (say("several tricks"), True, 'Holm 1979, "A simple sequentially rejective multiple test procedure"'),
        (
            say("equivalence"),
            True,
            'Schuirmann 1987, "A comparison of the two one-sided tests procedure and the power approach for assessing the '
            'equivalence of average bioavailability"',
        ),
        (say("shares"), bool(study.shares), 'Shapley 1953, "A value for n-person games"'),
    ]
    return sorted(f"{text} ({used_for})" for used_for, applies, text in found if applies)


def source(kind: type) -> str:
    """What a trick's docstring names as its source; empty if it names none.

    Example:
        >>> from titrant.tricks.clip import Adaptive
        >>> source(Adaptive)
        'Brock et al. 2021, "High-performance large-scale image recognition without normalization"'
    """
    paragraphs = (inspect.getdoc(kind) or "").split("\n\n")
    found = next((part.removeprefix("Source:") for part in paragraphs if part.startswith("Source:")), "")
    return " ".join(_AFTER.sub("", found).split()).rstrip(".;, ")
