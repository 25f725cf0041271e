"""Rules about what goes in: inputs, targets, their order and their split."""

import math

import numpy as np

from titrant.doctor.case import Case
from titrant.doctor.finding import Finding
from titrant.doctor.rules.reading import (
    CLASS_LOSSES,
    NUMBER_LOSSES,
    class_counts,
    constant_loss,
    explained,
    g,
    grave,
    in_call_order,
    poor,
    well,
)
from titrant.doctor.table import finding, limit
from titrant.texts import say

_SCALERS = ("BatchNorm", "LayerNorm", "GroupNorm", "Normalization", "Rescaling", "InstanceNorm", "Standardize")


def _scaled_by_the_model(case: Case) -> bool:
    """True if the first layer scales, or looks up: then the size of the inputs does not matter."""
    layers = [layer for layer in in_call_order(case) if layer.family != "dropout" and layer.kind not in ("Flatten", "Reshape")]
    return bool(layers) and (layers[0].family in ("normalisation", "embedding") or layers[0].kind.startswith(_SCALERS))


def nonfinite_input(case: Case) -> Finding | None:
    """Missing or infinite values in inputs or targets."""
    for inputs in case.inputs:
        if inputs.not_finite:
            found = say("{share:.2%} of the input values are not finite.", share=inputs.not_finite)
            return finding("nonfinite_input", "problem", inputs.name, found)
    if case.targets is not None and case.targets.not_finite:
        found = say("{share:.2%} of the target values are not finite.", share=case.targets.not_finite)
        return finding("nonfinite_input", "problem", say("targets"), found)
    return None


def label_out_of_range(case: Case) -> Finding | None:
    """Class numbers without an output, or binary labels that are not 0 and 1."""
    targets, objective = case.targets, case.objective
    if targets is None or targets.not_finite:
        return None
    low, high, loss = targets.low, targets.high, objective.loss
    if loss in ("bce", "bce_logits") and (low < 0 or high > 1) and targets.whole:
        found = say("Labels reach from {low:g} to {high:g}; binary cross-entropy takes 0 to 1.", low=low, high=high)
        return finding("label_out_of_range", "problem", say("targets"), found)
    whole_classes = loss == "sparse_categorical" or (loss in ("cross_entropy", "nll") and targets.integer)
    if whole_classes and objective.output_shape and not targets.one_hot:
        units = objective.output_shape[1] if len(objective.output_shape) > 1 else objective.output_shape[0]
        passed_over = (-100, objective.ignored)
        if (high >= units and high not in passed_over) or (low < 0 and low not in passed_over):
            found = say(
                "Classes reach from {low:g} to {high:g}, and the last layer has {units} units: 0 to {last} is possible.",
                low=low,
                high=high,
                units=units,
                last=units - 1,
            )
            return finding("label_out_of_range", "problem", say("targets"), found)
    return None


def unscaled_inputs(case: Case) -> Finding | None:
    """Inputs of a size that networks are not made for."""
    if _scaled_by_the_model(case):
        return None
    for inputs in case.inputs:
        if inputs.integer and len(inputs.shape) <= 1 and any(layer.family == "embedding" for layer in case.layers):
            continue
        bound = limit("unscaled_inputs", "mean_abs")
        if inputs.mean_abs >= bound:
            found = say(
                "Inputs reach from {low:.4g} to {high:.4g}, with a mean size of {mean:.4g}.",
                low=inputs.low,
                high=inputs.high,
                mean=inputs.mean_abs,
            )
            return finding("unscaled_inputs", grave(case), inputs.name, found, "mean_abs")
        spreads = np.asarray(inputs.feature_std)
        moving = spreads[spreads > 0]
        if len(moving) > 1 and moving.max() > bound and moving.max() / moving.min() > limit("unscaled_inputs", "spread"):
            found = say(
                "Standard deviations of the features reach from {low:.3g} to {high:.3g} (feature {feature}).",
                low=float(moving.min()),
                high=float(moving.max()),
                feature=int(spreads.argmax()),
            )
            return finding("unscaled_inputs", grave(case), inputs.name, found, "spread")
    return None


def double_scaled_inputs(case: Case) -> Finding | None:
    """Inputs that are nearly nothing."""
    if _scaled_by_the_model(case):
        return None
    for inputs in case.inputs:
        largest = max(abs(inputs.low), abs(inputs.high))
        if not inputs.integer and inputs.rows >= 8 and largest < limit("double_scaled_inputs", "high"):
            found = say("No input value is larger than {largest:.3g}.", largest=largest)
            return finding("double_scaled_inputs", grave(case), inputs.name, found)
    return None


def unscaled_targets(case: Case) -> Finding | None:
    """Numbers to predict that are far from where outputs start."""
    targets = case.targets
    if (
        targets is None
        or case.objective.loss not in NUMBER_LOSSES
        or case.objective.activation in ("softmax", "sigmoid", "tanh")
    ):
        return None
    size = max(abs(targets.mean), targets.std)
    learned = explained(case)
    if size < limit("unscaled_targets", "size") or (learned is not None and learned > 0.7):
        return None
    found = say(
        "Targets have the mean {mean:.4g} and the standard deviation {std:.4g}; the loss began at {loss}.",
        mean=targets.mean,
        std=targets.std,
        loss=g(case.losses[0] if case.losses else None),
    )
    return finding("unscaled_targets", grave(case, "note" if well(case) else "warning"), say("targets"), found)


def constant_features(case: Case) -> Finding | None:
    """Columns of a table that never change."""
    for inputs in case.inputs:
        spreads, means = np.asarray(inputs.feature_std), np.asarray(inputs.feature_mean)
        if inputs.rows < 50 or not 1 < len(spreads) <= 100:
            continue
        constant = np.flatnonzero(spreads <= 1e-9 * np.maximum(1, np.abs(means)))
        if len(constant):
            shown = ", ".join(map(str, constant[:10]))
            found = say("{count} of {all} features never change: {which}.", count=len(constant), all=len(spreads), which=shown)
            return finding("constant_features", "note", inputs.name, found)
    return None


def class_imbalance(case: Case) -> Finding | None:
    """A rare class."""
    targets, counts = case.targets, class_counts(case)
    if targets is None or case.objective.loss not in CLASS_LOSSES or not 2 <= len(counts) <= 20 or targets.rows < 100:
        return None
    common, rare = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
    ratio = counts[common] / counts[rare]
    if ratio < limit("class_imbalance", "ratio"):
        return None
    found = say(
        "Class {common} has {ratio:.0f} times the rows of class {rare} ({many} and {few} of the {rows} rows looked at).",
        common=common,
        rare=rare,
        ratio=ratio,
        many=counts[common],
        few=counts[rare],
        rows=targets.rows,
    )
    return finding("class_imbalance", "warning", say("targets"), found)


def no_shuffling(case: Case) -> Finding | None:
    """Batches of one or few classes out of several, or of numbers that are all alike."""
    batches, targets = [batch for batch in case.batches if batch.rows >= 8], case.targets
    if targets is None or len(batches) < 3 or case.wiring.optimizers > 1:
        return None  # adversaries are shown real rows and made ones in turn, each with one label
    where = say("order of the training rows")
    spreads = [batch.spread for batch in batches if batch.spread is not None]
    if case.objective.loss in NUMBER_LOSSES:
        if len(spreads) < 3 or not targets.std or np.median(spreads) >= limit("no_shuffling", "spread") * targets.std:
            return None
        found = say(
            "Within a batch the targets have a standard deviation of {inner}; over all rows, of {all}.",
            inner=g(float(np.median(spreads))),
            all=g(targets.std),
        )
        return finding("no_shuffling", grave(case), where, found, "spread")
    shares = np.asarray(list(targets.classes.values()), dtype=np.float64)
    if len(shares) < 2 or spreads or shares.max() / shares.sum() > 0.8:
        return None
    pure = sum(batch.commonest > limit("no_shuffling", "commonest") for batch in batches)
    expected = [float((1 - (1 - shares / shares.sum()) ** batch.rows).sum()) for batch in batches]
    variety = sum(batch.classes for batch in batches) / sum(expected)
    if pure > len(batches) / 2:
        found = say(
            "{pure} of {all} batches hold one class; the data have {classes}.", pure=pure, all=len(batches), classes=len(shares)
        )
        return finding("no_shuffling", "problem", where, found, "commonest")
    if variety < limit("no_shuffling", "variety"):
        found = say("Batches hold {share:.0%} of the classes that rows drawn at random would have.", share=variety)
        return finding("no_shuffling", "problem", where, found, "variety")
    return None


def sorted_split(case: Case) -> Finding | None:
    """A validation part with other classes."""
    share = case.loader.class_shift
    if share is None or share <= limit("sorted_split", "share"):
        return None
    found = say("{share:.0%} of the validation rows belong to classes that are rarer, or missing, in training.", share=share)
    return finding("sorted_split", "problem", say("validation split"), found)


def train_validation_overlap(case: Case) -> Finding | None:
    """Validation rows that were trained on."""
    overlap, repeats = case.loader.overlap, case.loader.repeats or 0.0
    if overlap is None or overlap - 2 * repeats <= limit("train_validation_overlap", "share"):
        return None
    found = say("About {share:.0%} of the evaluation rows are also training rows.", share=overlap)
    return finding("train_validation_overlap", "warning", say("validation split"), found)


def unrelated_labels(case: Case) -> Finding | None:
    """Neighbours agree no more than chance would have it, and the run generalises no better."""
    neighbours = case.neighbours
    if neighbours is None or neighbours.rows < 100:
        return None
    chance = neighbours.chance
    noise = 2 * math.sqrt((chance * (1 - chance) if neighbours.classes else 1) / neighbours.rows)
    if neighbours.agreement - chance > max(noise, limit("unrelated_labels", "gain")):
        return None
    reference = constant_loss(case)
    evaluated = [entry.loss for entry in case.evaluations if entry.loss is not None and math.isfinite(entry.loss)]
    generalises = bool(evaluated) and reference is not None and min(evaluated) < 0.9 * reference
    if generalises or not (poor(case) or evaluated):
        return None
    if neighbours.classes:
        found = say(
            "Of {rows} rows, {agreement:.1%} have the label of their nearest neighbour; chance alone gives {chance:.1%}.",
            rows=neighbours.rows,
            agreement=neighbours.agreement,
            chance=chance,
        )
    else:
        found = say(
            "Over {rows} rows, the correlation of a target with that of the nearest neighbour is {agreement:.2f}.",
            rows=neighbours.rows,
            agreement=neighbours.agreement,
        )
    return finding("unrelated_labels", "problem" if evaluated else "warning", say("targets"), found)
