"""Rules about loss, last activation and metrics: whether they belong together."""

import math

from titrant.doctor.case import Case
from titrant.doctor.finding import Finding
from titrant.doctor.rules.reading import CLASS_LOSSES, NUMBER_LOSSES, explained, g, grave, listed, well
from titrant.doctor.table import finding, limit
from titrant.texts import say

_CATEGORICAL = frozenset({"categorical", "sparse_categorical"})  # they take probabilities; torch's cross_entropy takes logits
_RANGES = {
    "sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "relu": (0.0, math.inf),
    "softplus": (0.0, math.inf),
    "hard_sigmoid": (0.0, 1.0),
}
_UNBOUNDED = frozenset({"linear", "relu", "tanh", "leaky_relu", "elu", "gelu", "silu", "selu", "softplus"})


def _loss(case: Case) -> str:
    """The loss as the program calls it."""
    return case.objective.called or case.objective.loss


def _units(case: Case) -> int:
    shape = case.objective.output_shape
    return shape[-1] if len(shape) > 1 else 1


def broadcast_target(case: Case) -> Finding | None:
    """Shapes that were stretched to fit."""
    shapes = case.wiring.broadcast
    if shapes is None:
        return None
    found = say("Shapes of output and target: {shapes}.", shapes=shapes)
    return finding("broadcast_target", "problem", _loss(case), found)


def single_softmax(case: Case) -> Finding | None:
    """One unit and a softmax."""
    if case.objective.activation not in ("softmax", "log_softmax") or _units(case) != 1 or not case.objective.output_shape:
        return None
    found = say("The output has the shape {shape} and ends with softmax.", shape=case.objective.output_shape)
    return finding("single_softmax", "problem", say("last layer"), found)


def softmax_over_rows(case: Case) -> Finding | None:
    """A softmax along the wrong axis."""
    if not case.objective.over_rows:
        return None
    found = say("The softmax before {loss} acts on axis 0 of {shape}.", loss=_loss(case), shape=case.objective.output_shape)
    return finding("softmax_over_rows", "problem", say("last layer"), found)


def softmax_twice(case: Case) -> Finding | None:
    """Probabilities where logits belong."""
    if case.objective.loss != "cross_entropy" or case.objective.activation != "softmax" or _units(case) == 1:
        return None
    found = say("The output ends with softmax, and {loss} applies another.", loss=_loss(case))
    return finding("softmax_twice", "problem", say("last layer"), found)


def sigmoid_twice(case: Case) -> Finding | None:
    """Probabilities where logits belong, for two classes."""
    if case.objective.loss != "bce_logits" or case.objective.activation != "sigmoid":
        return None
    found = say("The output ends with sigmoid, and {loss} applies another.", loss=_loss(case))
    return finding("sigmoid_twice", "problem", say("last layer"), found)


def logits_as_probabilities(case: Case) -> Finding | None:
    """Logits where probabilities belong."""
    objective = case.objective
    if objective.activation not in _UNBOUNDED or objective.loss not in ("bce", "nll", *_CATEGORICAL):
        return None
    expects = say("log-probabilities") if objective.loss == "nll" else say("probabilities")
    found = say(
        "The output ends with {activation}, and {loss} expects {expects}.",
        activation=objective.activation,
        loss=_loss(case),
        expects=expects,
    )
    return finding("logits_as_probabilities", "problem", say("last layer"), found)


def activation_of_the_wrong_loss(case: Case) -> Finding | None:
    """Sigmoid with a categorical loss, softmax with a binary one, categorical loss on one unit."""
    loss, activation, units = case.objective.loss, case.objective.activation, _units(case)
    if not case.objective.output_shape:
        return None
    if (
        loss in ("categorical", "cross_entropy")
        and units == 1
        and activation != "softmax"
        and len(case.objective.output_shape) < 3
    ):
        found = say("{loss} on a single output is 0 whatever the output is: there is only one class.", loss=_loss(case))
        return finding("activation_of_the_wrong_loss", "problem", say("last layer"), found)
    if loss == "kl" and case.framework != "keras" and activation in ("softmax", "linear", "sigmoid"):
        found = say("{loss} expects log-probabilities, and the output ends with {activation}: use log_softmax.",
                    loss=_loss(case), activation=activation)  # fmt: skip
        return finding("activation_of_the_wrong_loss", "problem", say("last layer"), found)
    bounded = activation in ("relu", "tanh", "hardtanh", "softplus")
    if loss in ("cross_entropy", "bce_logits") and bounded and not (activation == "tanh" and well(case)):
        found = say("{loss} takes any number, and the output ends with {activation}: what it cannot give is lost.",
                    loss=_loss(case), activation=activation)  # fmt: skip
        return finding("activation_of_the_wrong_loss", "warning" if well(case) else "problem", say("last layer"), found)
    if loss == "nll" and activation == "softmax":
        found = say("nll_loss expects log-probabilities, and the output ends with softmax: use log_softmax.")
        return finding("activation_of_the_wrong_loss", "problem", say("last layer"), found)
    sigmoid = loss in ("categorical", "sparse_categorical", "cross_entropy") and activation in ("sigmoid", "hard_sigmoid")
    softmax = loss in ("bce", "bce_logits") and activation == "softmax" and units > 1
    if not (sigmoid or softmax):
        return None
    found = say(
        "The output ends with {activation} over {units} units, and the loss is {loss}.",
        activation=activation,
        units=units,
        loss=_loss(case),
    )
    level = "problem" if loss == "bce_logits" or loss == "cross_entropy" else grave(case)
    return finding("activation_of_the_wrong_loss", level, say("last layer"), found)


def output_range(case: Case) -> Finding | None:
    """Targets that the last activation cannot give."""
    objective, targets = case.objective, case.targets
    if targets is None or targets.not_finite or objective.activation not in _RANGES or objective.loss in CLASS_LOSSES:
        return None
    low, high = _RANGES[objective.activation]
    span = (targets.high - targets.low) or abs(targets.high) or 1.0
    beyond = max(low - targets.low, targets.high - high, 0.0) / span
    if beyond > limit("output_range", "share"):
        found = say(
            "{activation} gives values from {low:g} to {high:g}; targets reach from {least:.4g} to {most:.4g}.",
            activation=objective.activation,
            low=low,
            high=high,
            least=targets.low,
            most=targets.high,
        )
        return finding("output_range", "problem", say("last layer"), found)
    if objective.activation == "relu" and not well(case):
        found = say("The output ends with relu: where it is 0 it gets no gradient, and may stay 0 for good.")
        return finding("output_range", grave(case), say("last layer"), found)
    return None


def regression_loss_on_classes(case: Case) -> Finding | None:
    """Squared error on classes."""
    objective, targets = case.objective, case.targets
    if targets is None or objective.loss not in NUMBER_LOSSES or targets.not_finite:
        return None
    binary = targets.whole and targets.low == 0 and targets.high == 1 and len(targets.classes) == 2
    judged_as_classes = any("acc" in metric for metric in objective.metrics)
    codes = targets.whole and 2 < len(targets.classes) <= 20 and targets.low >= 0
    if targets.one_hot or objective.activation in ("softmax", "log_softmax"):
        found = say(
            "The targets are classes ({activation} output), and the loss is {loss}.",
            activation=objective.activation,
            loss=_loss(case),
        )
    elif (binary and math.prod(targets.shape) == 1) or (codes and judged_as_classes):
        found = say("The targets are {count} classes, and the loss is {loss}.", count=len(targets.classes), loss=_loss(case))
    else:
        return None
    return finding(
        "regression_loss_on_classes", grave(case, "note" if (explained(case) or 0) > 0.7 else "warning"), _loss(case), found
    )


def classification_loss_on_numbers(case: Case) -> Finding | None:
    """Cross-entropy on numbers."""
    objective, targets = case.objective, case.targets
    if targets is None or objective.loss not in CLASS_LOSSES or targets.not_finite:
        return None
    if targets.whole or (targets.low >= 0 and targets.high <= 1):
        return None
    found = say(
        "Targets reach from {low:.4g} to {high:.4g} in fractions, and the loss is {loss}.",
        low=targets.low,
        high=targets.high,
        loss=_loss(case),
    )
    return finding("classification_loss_on_numbers", "problem", _loss(case), found)


def accuracy_on_numbers(case: Case) -> Finding | None:
    """Accuracy of numbers."""
    objective, targets = case.objective, case.targets
    if targets is None or objective.loss not in NUMBER_LOSSES or not any("acc" in metric for metric in objective.metrics):
        return None
    if targets.one_hot or (targets.whole and len(targets.classes) in range(1, 21)):
        return None
    found = say("The loss is {loss}, and accuracy is among the metrics.", loss=_loss(case))
    return finding("accuracy_on_numbers", "warning", say("metrics"), found)


def accuracy_contradicts_loss(case: Case) -> Finding | None:
    """Loss and accuracy both fall."""
    told = [
        (entry.training_loss, accuracy)
        for entry in case.evaluations
        if entry.training_loss is not None
        for name, accuracy in entry.metrics.items()
        if "acc" in name and not name.startswith("val_")
    ]
    if len(told) < 3 or case.objective.loss in NUMBER_LOSSES:
        return None
    (first_loss, first_accuracy), (last_loss, last_accuracy) = told[0], told[-1]
    if not (last_loss < 0.9 * first_loss and last_accuracy < first_accuracy - limit("accuracy_contradicts_loss", "change")):
        return None
    found = say(
        "The training loss went from {first} to {last}, and the accuracy from {before:.3f} to {after:.3f}.",
        first=g(first_loss),
        last=g(last_loss),
        before=first_accuracy,
        after=last_accuracy,
    )
    return finding("accuracy_contradicts_loss", "warning", say("metrics"), found)


def missing_activation(case: Case) -> Finding | None:
    """Linear upon linear."""
    objective = case.objective
    if objective.weighted_layers < 2 or not objective.linear_pairs:
        return None
    share = len(objective.linear_pairs) / (objective.weighted_layers - 1)
    pairs = [say("{earlier} to {later}", earlier=earlier, later=later) for earlier, later in objective.linear_pairs]
    found = say(
        "{count} of {all} hidden layers have nothing nonlinear behind them: {pairs}.",
        count=len(pairs),
        all=objective.weighted_layers - 1,
        pairs=listed(pairs),
    )
    # Some designs (low-rank layers, separable convolutions) leave out an activation here and there on purpose.
    level = grave(case) if share >= limit("missing_activation", "share") else ("note" if well(case) else "warning")
    return finding("missing_activation", level, objective.linear_pairs[0][0], found)
