"""What several rules read off a case: the level of the loss, how much was learned, and the layers in order."""

import math

import numpy as np

from titrant.doctor.case import WEIGHTED, Case, Layer, Parameter
from titrant.doctor.finding import Level

CLASS_LOSSES = frozenset({"cross_entropy", "nll", "bce", "bce_logits", "categorical", "sparse_categorical"})
NUMBER_LOSSES = frozenset({"mse", "mae", "huber", "log_cosh", "msle", "mape"})
ADAPTIVE = frozenset({"adam", "adamw", "nadam", "radam", "adamax", "rmsprop", "lion"})


def finite_losses(case: Case) -> np.ndarray:
    """The training losses that are finite, in order."""
    losses = np.asarray(case.losses, dtype=np.float64)
    return losses[np.isfinite(losses)]


def first_loss(case: Case) -> float | None:
    """The loss before anything was learned: of the very first steps."""
    losses = finite_losses(case)
    if not len(losses):
        return None
    start = float(losses[: max(1, min(5, len(losses) // 20))].mean())
    return start if start < 3 * abs(losses[0]) else float(losses[0])  # it may leap with the very first step


def last_loss(case: Case) -> float | None:
    """The loss at the end: the median over the last tenth of the steps."""
    losses = finite_losses(case)
    return float(np.median(losses[-max(3, len(losses) // 10) :])) if len(losses) else None


def constant_loss(case: Case) -> float | None:
    """The loss of the best prediction that ignores the inputs; None where loss or targets are not known well enough."""
    targets, loss = case.targets, case.objective.loss
    if case.objective.weighted or case.objective.several:
        return None
    if targets is None or targets.rows < 4 or targets.not_finite:
        return None
    counts = np.asarray(list(class_counts(case).values()), dtype=np.float64)
    if loss in ("cross_entropy", "nll", "categorical", "sparse_categorical"):
        return _entropy(counts / counts.sum()) if len(counts) > 1 else None
    if loss in ("bce", "bce_logits"):
        return _entropy(np.asarray([targets.mean, 1 - targets.mean])) if 0 < targets.mean < 1 else None
    if loss == "mse":
        return targets.std**2 or None
    if loss == "mae":
        return targets.mean_deviation or None
    return None


def class_counts(case: Case) -> dict[str, int]:
    """How many of the rows looked at are of each class; without one that the loss passes over."""
    if case.targets is None:
        return {}
    passed_over = {"-100", *([] if case.objective.ignored is None else [f"{case.objective.ignored:g}"])}
    return {name: count for name, count in case.targets.classes.items() if name not in passed_over}


def _entropy(shares: np.ndarray) -> float:
    return float(-(shares * np.log(shares)).sum())


def explained(case: Case) -> float | None:
    """Share of the constant prediction's loss that training removed: 1 is perfect, 0 is nothing, below 0 is worse than nothing.

    Where the constant prediction's loss is unknown, the first loss stands for it. None if there are too few losses to say, or
    several optimisers pull at different losses.
    """
    losses, last = finite_losses(case), last_loss(case)
    if case.losses and len(losses) < 0.8 * len(case.losses):
        return -math.inf
    if len(losses) < 5 or last is None or case.wiring.optimizers > 1:
        return None
    evaluated = [evaluation.loss for evaluation in case.evaluations if evaluation.loss is not None]
    if evaluated and math.isfinite(evaluated[-1]):
        last = min(last, evaluated[-1])  # dropout holds the training loss up
    reference = constant_loss(case) or first_loss(case)
    return 1 - last / reference if reference and reference > 0 else None


def poor(case: Case) -> bool:
    """True if the run is known to have learned next to nothing."""
    learned = explained(case)
    return learned is not None and learned < 0.1


def well(case: Case) -> bool:
    """True if the run is known to have learned a good part of what there was."""
    learned = explained(case)
    return learned is not None and learned >= 0.3


def grave(case: Case, otherwise: Level = "warning") -> Level:
    """The level of a suspicion: a problem where the run learns poorly."""
    return "problem" if poor(case) or case.crash is not None else otherwise


def epochs(case: Case) -> float | None:
    """Passes over the training rows, as planned or as counted; None if unknown."""
    if case.epochs_planned is not None:
        return case.epochs_planned
    rows, batch = case.loader.rows, case.loader.batch
    return case.wiring.steps / math.ceil(rows / batch) if rows and batch else None


def falling(case: Case) -> float:
    """How far the loss fell over the last quarter of the run, relative to the constant prediction's loss or the first."""
    losses = finite_losses(case)
    reference = constant_loss(case) or first_loss(case)
    if len(losses) < 12 or not reference or reference <= 0:
        return 0.0
    width = max(3, len(losses) // 10)
    middle = int(len(losses) * 0.75)
    before, after = losses[max(0, middle - width) : middle], losses[-width:]
    noise = float(np.hypot(before.std(), after.std()) / math.sqrt(width))
    fall = float(before.mean() - after.mean())
    # Relative to where it stands: a loss far above the constant prediction's is judged by its own size.
    on_the_way = fall > 2 * noise and after.mean() < 1.5 * losses[0]  # and not on its way back from a leap
    return fall / max(reference, float(before.mean())) if on_the_way else 0.0


def agreement(case: Case) -> tuple[float, float] | None:
    """How far the gradients of successive batches agree over the run: the mean, and twice its standard error.

    None where it is unknown: fewer than eight pairs, several optimisers, or gradients that pile up.
    """
    shares = [found.share for found in case.agreements if math.isfinite(found.share)]
    if len(shares) < 8 or case.wiring.optimizers > 1 or case.wiring.uncleared:
        return None
    return float(np.mean(shares)), 2 * float(np.std(shares, ddof=1)) / math.sqrt(len(shares))


def in_call_order(case: Case) -> list[Layer]:
    """Layers as the first forward pass met them."""
    return sorted(case.layers, key=lambda layer: layer.order)


def weighted_layers(case: Case) -> list[Layer]:
    """Linear and convolutional layers in call order."""
    return [layer for layer in in_call_order(case) if layer.family in WEIGHTED]


def hidden(case: Case) -> list[Layer]:
    """Layers before the last weighted one, which makes the output."""
    weighted = weighted_layers(case)
    end = weighted[-1].order if weighted else -1
    return [layer for layer in in_call_order(case) if layer.order < end]


def weights(case: Case) -> list[Parameter]:
    """The weight matrices of linear, convolutional and recurrent layers, in call order."""
    known = {layer.name: layer for layer in case.layers if layer.family in WEIGHTED or layer.family == "recurrent"}
    found = [parameter for parameter in case.parameters if parameter.matrix and (not case.layers or parameter.layer in known)]
    return sorted(found, key=lambda parameter: known[parameter.layer].order if parameter.layer in known else parameter.order)


def size_at_start(parameter: Parameter) -> float:
    """Root mean square of the entries at the start, times the square root of the fan-in: the gain of a layer."""
    return math.hypot(parameter.start_mean, parameter.start_std) * math.sqrt(parameter.fan_in)


def median(values: list[float]) -> float | None:
    """The median of those that are finite."""
    good = [value for value in values if math.isfinite(value)]
    return float(np.median(good)) if good else None


def updates(parameter: Parameter) -> list[float]:
    """Changes in one step relative to the weights, over the samples that saw a step."""
    return [
        sample.update / sample.weight
        for sample in parameter.samples
        if sample.update is not None and sample.weight > 0 and math.isfinite(sample.update)
    ]


def g(value: float | None) -> str:
    """A number with three significant digits."""
    return "-" if value is None else f"{value:.3g}"


def listed(names: list[str], most: int = 3) -> str:
    """Some names, and how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown}, ... ({len(names)})" if len(names) > most else shown
