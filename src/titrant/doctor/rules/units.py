"""Rules about activations: units that are dead, saturated or always the same."""

from titrant.doctor.case import NONLINEAR, WEIGHTED, Case
from titrant.doctor.finding import Finding
from titrant.doctor.rules.reading import grave, hidden, in_call_order, listed, poor, weighted_layers, well
from titrant.doctor.table import finding, limit
from titrant.texts import say


def dead_relu(case: Case) -> Finding | None:
    """Units at 0 for every row of several samples."""
    layers = [layer for layer in in_call_order(case) if layer.family == "relu" and layer.samples and layer.units >= 4]
    if not layers:
        return None
    worst = max(layers, key=lambda layer: layer.samples[-1].silent)
    share, many = worst.samples[-1].silent, limit("dead_relu", "most")
    if share < limit("dead_relu", "share"):
        return None
    since = next(sample.step for sample in worst.samples if sample.silent >= limit("dead_relu", "share"))
    found = say(
        "{share:.0%} of the {units} units of {layer} were 0 for every row; more than half since step {step}.",
        share=share,
        units=worst.units,
        layer=worst.name,
        step=since,
    )
    level = grave(case) if share >= many else ("note" if well(case) else "warning")
    return finding("dead_relu", level, worst.name, found, "most" if share >= many else "share")


def saturated_units(case: Case) -> Finding | None:
    """Sigmoid or tanh at their flat ends, but for the output, where that is certainty."""
    layers = [layer for layer in hidden(case) if layer.family in ("sigmoid", "tanh") and layer.samples]
    layers = [layer for layer in layers if layer.samples[-1].saturated > limit("saturated_units", "share")]
    if not layers:
        return None
    worst = max(layers, key=lambda layer: layer.samples[-1].saturated)
    found = say(
        "{share:.0%} of the values of {layer} ({kind}) lie at the flat ends.",
        share=worst.samples[-1].saturated,
        layer=worst.name,
        kind=worst.kind,
    )
    return finding("saturated_units", grave(case), worst.name, found)


def collapsed_activations(case: Case) -> Finding | None:
    """Layers that ignore their input."""
    layers = [
        layer
        for layer in in_call_order(case)
        if layer.family in WEIGHTED or layer.family in NONLINEAR or layer.family == "recurrent"
    ]
    share = limit("collapsed_activations", "share")
    collapsed = [
        layer for layer in layers if len(layer.samples) >= 2 and all(sample.constant >= share for sample in layer.samples[-2:])
    ]
    if not collapsed or (case.objective.activation == "softmax" and case.objective.output_shape[-1:] == [1]):
        return None
    first = collapsed[0]
    since = next(
        sample.step
        for place, sample in enumerate(first.samples)
        if all(later.constant >= share for later in first.samples[place:])
    )
    found = say(
        "From step {step} on, {names} gave the same for every row of a batch.",
        step=since,
        names=listed([layer.name for layer in collapsed]),
    )
    output = bool(weighted_layers(case)) and weighted_layers(case)[-1] in collapsed
    return finding("collapsed_activations", "problem" if output and poor(case) else grave(case), first.name, found)
