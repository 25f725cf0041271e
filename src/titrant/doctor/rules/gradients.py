"""Rules about gradients and what they do to weights."""

import math

import numpy as np

from titrant.doctor.case import Case
from titrant.doctor.finding import Finding
from titrant.doctor.rules.reading import (
    ADAPTIVE,
    explained,
    g,
    grave,
    in_call_order,
    median,
    poor,
    updates,
    weights,
    well,
)
from titrant.doctor.table import finding, limit
from titrant.texts import say


def nonfinite_values(case: Case) -> Finding | None:
    """The first step and place with values that are not finite."""
    losses = [step for step, loss in zip(case.loss_steps, case.losses, strict=True) if not math.isfinite(loss)]
    layers = [
        (sample.step, layer.order, layer.name) for layer in in_call_order(case) for sample in layer.samples if not sample.finite
    ]
    stored = [
        (sample.step, parameter.order, parameter.name)
        for parameter in case.parameters
        for sample in parameter.samples
        if not math.isfinite(sample.weight)
    ]
    if not losses and not stored and not layers:
        return None
    if not losses and not stored and case.losses:
        return None  # a layer may mask with infinities on purpose, as attention does
    parts = []
    if losses:
        before = [loss for step, loss in zip(case.loss_steps, case.losses, strict=True) if step < losses[0]]
        parts.append(
            say(
                "The loss is not finite from step {step} on ({before} before).",
                step=losses[0],
                before=g(before[-1] if before else None),
            )
        )
    if stored:
        step, _, name = min(stored)
        parts.append(say("Of the weights, {name} was seen first, at step {step}.", name=name, step=step))
    if layers:
        step, _, name = min(layers)
        parts.append(say("Of the layers, {name} was seen first, at step {step}.", name=name, step=step))
    where = min(layers)[2] if layers else (min(stored)[2] if stored else say("loss"))
    return finding("nonfinite_values", "problem", where, " ".join(parts))


def exploding_gradient(case: Case) -> Finding | None:
    """Gradients that grow over the run, or dwarf the weights."""
    growths, relatives = [], []
    for parameter in weights(case):
        sizes = [sample.gradient for sample in parameter.samples if sample.gradient is not None]
        finite = [size for size in sizes if math.isfinite(size)]
        if len(finite) < 4:
            continue
        early, late = (
            float(np.median(finite[: max(2, len(finite) // 5)])),
            float(np.median(finite[-max(2, len(finite) // 5) :])),
        )
        if early > 0:
            growths.append((late / early, parameter.name))
        ratio = median(
            [
                sample.gradient / sample.weight
                for sample in parameter.samples
                if sample.gradient is not None and sample.weight > 0
            ]
        )
        if ratio is not None:
            relatives.append((ratio, parameter.name))
    if growths and max(growths)[0] > limit("exploding_gradient", "growth") and not well(case):
        size, name = max(growths)
        found = say("The gradient of {name} ends {size} times as large as it began.", name=name, size=g(size))
        return finding("exploding_gradient", grave(case), name, found, "growth")
    if relatives and max(relatives)[0] > limit("exploding_gradient", "relative") and not well(case):
        size, name = max(relatives)
        found = say("The gradient of {name} is {size} times as large as the weights.", name=name, size=g(size))
        return finding("exploding_gradient", grave(case), name, found, "relative")
    return None


def vanishing_gradient(case: Case) -> Finding | None:
    """Gradients that fade towards the input, or everywhere."""
    if (explained(case) or 0) > 0.7:
        return None  # an error that has gone leaves no gradient either
    sizes = [
        (parameter.name, size)
        for parameter in weights(case)
        if parameter.trainable
        and (size := median([sample.gradient for sample in parameter.samples if sample.gradient is not None])) is not None
    ]
    if not sizes:
        return None
    (first, smallest), (last, largest) = sizes[0], sizes[-1]
    ratio = smallest / largest if largest > 0 else 1.0
    if len(sizes) >= 3 and largest > 0 and ratio < limit("vanishing_gradient", "ratio"):
        found = say(
            "The gradient of {first} is {ratio} of that of {last} (median over the run).",
            first=first,
            last=last,
            ratio=g(ratio),
        )
        return finding("vanishing_gradient", grave(case, "note" if well(case) else "warning"), first, found, "ratio")
    everywhere = max(size for _, size in sizes)
    if everywhere < limit("vanishing_gradient", "absolute") and poor(case) and case.wiring.steps >= 3:
        found = say("No weight tensor has a gradient above {size} (median over the run).", size=g(everywhere))
        return finding("vanishing_gradient", "problem", first, found, "absolute")
    return None


def constant_clipping(case: Case) -> Finding | None:
    """Gradients that are cut at nearly every step, and far."""
    sizes = np.asarray([size for size in case.clipping if math.isfinite(size)])
    if len(sizes) < 8:
        return None
    share, usual = float((sizes > 1).mean()), float(np.median(sizes))
    if share < limit("constant_clipping", "share") or usual < limit("constant_clipping", "usual"):
        return None
    found = say(
        "The norm of the gradient was cut at {share:.0%} of the steps looked at; usually it is {usual} times the limit.",
        share=share,
        usual=g(usual),
    )
    harmless = well(case) or (case.optimizer or "").lower() in ADAPTIVE  # which divide by the gradient's size anyway
    return finding("constant_clipping", "note" if harmless else grave(case), say("clipping"), found, "usual")


def weight_update_ratio(case: Case) -> Finding | None:
    """Layers that learn at very different speeds."""
    speeds = [
        (speed, parameter.name)
        for parameter in weights(case)
        if parameter.trainable and (speed := median(updates(parameter))) is not None and speed > 0
    ]
    if len(speeds) < 2:
        return None
    (slow, slowest), (fast, fastest) = min(speeds), max(speeds)
    if fast / slow <= limit("weight_update_ratio", "spread") or well(case):
        return None
    found = say(
        "In one step {fastest} changes by {fast} of its size, and {slowest} by {slow}.",
        fastest=fastest,
        slowest=slowest,
        fast=g(fast),
        slow=g(slow),
    )
    return finding("weight_update_ratio", "warning", slowest, found)
