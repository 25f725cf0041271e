"""Rules about the weights before training, and about the first pass through them."""

import math

from titrant.doctor.case import Case
from titrant.doctor.finding import Finding
from titrant.doctor.rules.reading import (
    CLASS_LOSSES,
    constant_loss,
    explained,
    first_loss,
    g,
    grave,
    listed,
    poor,
    size_at_start,
    weighted_layers,
    weights,
    well,
)
from titrant.doctor.table import finding, limit
from titrant.texts import say


def constant_initialisation(case: Case) -> Finding | None:
    """Equal weights."""
    matrices = [parameter for parameter in weights(case) if math.prod(parameter.shape) > 1 and parameter.trainable]
    equal = [parameter for parameter in matrices if parameter.start_std <= 1e-5 * abs(parameter.start_mean)]
    if not equal:
        return None
    names = [parameter.name for parameter in equal]
    found = say("All weights of {names} start at {value}.", names=listed(names), value=g(equal[0].start_mean))
    # A last layer of zeros is a known good start: it learns at once, from the units below it.
    only_last = equal == [matrices[-1]] and len(matrices) > 1
    alone = len(matrices) == 1
    # So is one of zeros at the end of each block, as in adapters (LoRA) and residual networks, beside others that are drawn.
    ends = 2 * len(equal) <= len(matrices) and all(parameter.start_mean == 0 for parameter in equal) and well(case)
    harmless = (only_last and not poor(case)) or alone or ends
    return finding("constant_initialisation", "note" if harmless else "problem", names[0], found)


def large_initialisation(case: Case) -> Finding | None:
    """Weights that blow signals up."""
    large = [parameter for parameter in weights(case) if size_at_start(parameter) > limit("large_initialisation", "gain")]
    if not large:
        return None
    worst = max(large, key=size_at_start)
    found = say(
        "{name} starts with a standard deviation of {std} for {fan} inputs: a gain of {gain}.",
        name=worst.name,
        std=g(worst.start_std),
        fan=worst.fan_in,
        gain=g(size_at_start(worst)),
    )
    return finding("large_initialisation", grave(case), worst.name, found)


def small_initialisation(case: Case) -> Finding | None:
    """Weights that let signals die."""
    matrices = [parameter for parameter in weights(case) if parameter.start_std > 0]
    small = [parameter for parameter in matrices if size_at_start(parameter) < limit("small_initialisation", "gain")]
    if not small or (len(small) == 1 and small[0] is matrices[-1] and len(matrices) > 1):
        return None
    worst = min(small, key=size_at_start)
    found = say(
        "{count} of {all} layers start with a gain below the bound; {name} with {gain}.",
        count=len(small),
        all=len(matrices),
        name=worst.name,
        gain=g(size_at_start(worst)),
    )
    arrived = (explained(case) or 0) > 0.9
    return finding("small_initialisation", grave(case, "note" if arrived else "warning"), worst.name, found)


def activation_drift(case: Case) -> Finding | None:
    """Scales that change with depth."""
    scales = [
        (layer.name, layer.samples[0].std) for layer in weighted_layers(case)[:-1] if layer.samples and layer.samples[0].finite
    ]
    scales = [(name, std) for name, std in scales if std > 0]
    if len(scales) < 3:
        return None
    (first, begin), (last, end) = scales[0], scales[-1]
    # Over the whole depth, in powers: what one layer does by chance, many do not.
    ratio = (max(begin, end) / min(begin, end)) ** (2 / (len(scales) - 1))
    if ratio <= limit("activation_drift", "ratio"):
        return None
    found = say(
        "At first the standard deviation goes from {begin} ({first}) to {end} ({last}): {ratio} in variance each layer.",
        begin=g(begin),
        end=g(end),
        first=first,
        last=last,
        ratio=g(ratio),
    )
    return finding("activation_drift", grave(case, "note" if well(case) else "warning"), last, found)


def initial_loss(case: Case) -> Finding | None:
    """A start far worse than a guess."""
    guess, first = constant_loss(case), first_loss(case)
    if guess is None or first is None or case.objective.loss not in CLASS_LOSSES or case.objective.loss == "bce":
        return None
    ratio = first / guess
    if ratio <= limit("initial_loss", "ratio") or first < 1:
        return None
    found = say("The first loss is {first}; guessing by class shares has {guess}.", first=g(first), guess=g(guess))
    return finding("initial_loss", "note" if (explained(case) or 0) > 0.5 else "warning", say("loss"), found)
