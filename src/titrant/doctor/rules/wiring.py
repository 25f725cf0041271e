"""Rules about the loop: what is called when, on what, and in which mode."""

import math
import re
from itertools import pairwise

from titrant.doctor.case import Case, Parameter
from titrant.doctor.finding import Finding
from titrant.doctor.rules.reading import ADAPTIVE, g, grave, in_call_order, listed, weighted_layers, weights
from titrant.doctor.table import finding, limit
from titrant.texts import say

# Well-known messages, with what is usually behind them.
_ERRORS = (
    (r"mat1 and mat2 shapes cannot be multiplied|expected axis -1 of input shape|incompatible with the layer",
     say("A layer expects another number of inputs than the layer before it (or the data) gives."),
     say("Compare the two numbers of the message; after convolutions, flatten and count, or use a lazy layer.")),
    (r"[Tt]arget \S+ is out of bounds|index out of range|out of bounds for dimension",
     say("A class or token number is as large as the number of classes or tokens, or larger."),
     say("Count classes from 0 and give the last layer (or the embedding) one unit for each.")),
    (r"does not require grad and does not have a grad_fn",
     say("The loss is cut off from the weights: detach(), numpy(), item(), argmax or torch.tensor(...) on its way."),
     say("Compute the loss from the model's output itself, in torch, with gradients enabled.")),
    (r"backward through the graph a second time",
     say("A tensor of an earlier step is part of this step's loss, such as a recurrent state that was kept."),
     say("Detach what is carried from step to step: state = state.detach(). Sum losses with loss.item().")),
    (r"Expected all tensors to be on the same device|should be the same",
     say("Model and data are on different devices or of different types."),
     say("Move both: model.to(device), x = x.to(device), and convert inputs with x.float().")),
    (r"out of memory", say("The batch and its activations do not fit into memory."),
     say("Use smaller batches with accumulation, or mixed precision.")),
    (r"expected scalar type|must have the same dtype|Found dtype",
     say("Inputs, targets or weights have different number types."),
     say("Convert inputs to float32 (x.float()), class numbers to int64 (y.long()).")),
    (r"Target size .* must be the same as input size|[Ss]hapes? .* (incompatible|must be|mismatch)|must have the same shape",
     say("Output and target differ in shape."),
     say("Give the last layer the shape of the targets, or code the targets to fit (one-hot, or an extra axis).")),
    (r"between 0 and 1", say("The loss takes probabilities and got something else."),
     say("End with a sigmoid, or use nn.BCEWithLogitsLoss.")),
    (r"Expected more than 1 value per channel",
     say("Batch normalisation got a batch of one row."), say("Drop the last incomplete batch: drop_last=True.")),
    (r"Argument\(s\) not recognized|unexpected keyword argument|[Uu]nrecognized keyword arguments"
     r"|No module named '(tensorflow\.)?keras\.|cannot import name",
     say("The program was written for another version of the library: a name or an argument has changed."),
     say("In Keras 3: learning_rate for lr, epochs for nb_epoch, keras.utils for keras.utils.np_utils.")),
    (r"No module named", say("A package is missing."), say("Install it in the environment that runs the program.")),
)  # fmt: skip


def crash(case: Case) -> Finding | None:
    """An error ended the program."""
    ended = case.crash
    if ended is None:
        return None
    where = ended.place if ended.layer is None else say("{place}, in layer {layer}", place=ended.place, layer=ended.layer)
    found = f"{ended.error}: {ended.message}" if ended.message else ended.error
    for pattern, cause, remedy in _ERRORS:
        if re.search(pattern, ended.message):
            return finding("crash", "problem", where, found, cause=cause, remedy=remedy)
    return finding("crash", "problem", where, found)


def missing_zero_grad(case: Case) -> Finding | None:
    """Old gradients under the new ones."""
    old, clean = case.wiring.uncleared, case.wiring.cleared
    if old < 3 or case.wiring.optimizers > 1 or old / (old + clean) < limit("missing_zero_grad", "share"):
        return None
    found = say(
        "{old} of {all} backward passes that followed a step added to the gradients of that step.", old=old, all=old + clean
    )
    return finding("missing_zero_grad", "problem", say("training loop"), found)


def detached_loss(case: Case) -> Finding | None:
    """Backward passes that reach nothing."""
    sampled = [parameter for parameter in weights(case) if parameter.trainable and len(parameter.samples) >= 2]
    if not sampled or not case.wiring.backwards:
        return None
    if case.wiring.wasted or any(sample.gradient is not None for parameter in sampled for sample in parameter.samples):
        return None
    found = say("{count} backward passes left every weight of the model without a gradient.", count=case.wiring.backwards)
    return finding("detached_loss", "problem", say("between the model's output and the loss"), found)


def step_without_backward(case: Case) -> Finding | None:
    """Steps that use nothing new."""
    idle, steps = case.wiring.idle_steps, case.wiring.steps_looked_at
    if steps < 3 or idle / steps <= limit("step_without_backward", "share"):
        return None
    found = say("{idle} of the {steps} steps looked at found no gradient of a backward pass.", idle=idle, steps=steps)
    return finding("step_without_backward", "problem", say("training loop"), found)


def backward_without_step(case: Case) -> Finding | None:
    """Gradients that nobody uses."""
    backwards = case.wiring.backwards
    if case.wiring.steps or case.wiring.steps_by_hand or case.framework == "keras":
        return None
    if backwards < limit("backward_without_step", "backwards"):
        return None
    found = say("{count} backward passes, and no step of an optimiser.", count=backwards)
    return finding("backward_without_step", "problem", say("training loop"), found)


def discarded_gradients(case: Case) -> Finding | None:
    """Gradients that are cleared before a step uses them."""
    wiring, bound = case.wiring, limit("discarded_gradients", "passes")
    if (
        wiring.wasted >= 3
        and wiring.optimizers <= 1
        and wiring.wasted > limit("discarded_gradients", "share") * wiring.steps_looked_at
    ):
        return finding(
            "discarded_gradients",
            "problem",
            say("training loop"),
            say("{wasted} of the {steps} steps looked at found the gradients of the backward pass before them cleared.",
                wasted=wiring.wasted, steps=wiring.steps_looked_at),
            "share",
            cause=say("zero_grad() is called between backward() and step()."),
            remedy=say("Call zero_grad() before backward() or after step(), never between the two."),
        )  # fmt: skip
    if wiring.discarded < 3 or wiring.optimizers > 1 or wiring.backwards < bound * max(1, wiring.steps):
        return None
    found = say(
        "{passes} backward passes and {steps} steps; {discarded} of those looked at found the gradients before them cleared.",
        passes=wiring.backwards,
        steps=wiring.steps,
        discarded=wiring.discarded,
    )
    return finding("discarded_gradients", "problem", say("training loop"), found)


def foreign_parameters(case: Case) -> Finding | None:
    """The optimiser works elsewhere."""
    own = [parameter for parameter in case.parameters if parameter.held is not None and parameter.trainable]
    if not own or any(parameter.held for parameter in own) or not case.wiring.foreign:
        return None
    found = say(
        "None of the model's {own} weight tensors is in the optimiser, which holds {foreign} others.",
        own=len(own),
        foreign=case.wiring.foreign,
    )
    return finding("foreign_parameters", "problem", say("optimiser"), found)


def unregistered_parameter(case: Case) -> Finding | None:
    """Layers that the model does not know of."""
    shapes = case.wiring.unregistered
    if not shapes:
        return None
    found = say(
        "The loss depends on {count} parameters that belong to no module and stand in no optimiser; shapes: {shapes}.",
        count=len(shapes),
        shapes=listed(shapes),
    )
    return finding("unregistered_parameter", "problem", say("model"), found)


def mixed_rows(case: Case) -> Finding | None:
    """Rows of a batch as steps of a sequence."""
    layer = case.wiring.mixed_rows
    if layer is None:
        return None
    found = say("{layer} is given [rows, steps, features] and takes the first axis for steps.", layer=layer)
    return finding("mixed_rows", "problem", layer, found)


def unused_parameter(case: Case) -> Finding | None:
    """Weights without a gradient."""
    sampled = [parameter for parameter in case.parameters if parameter.trainable and len(parameter.samples) >= 3]
    unused = [parameter.name for parameter in sampled if all(sample.gradient is None for sample in parameter.samples)]
    if not unused or len(unused) == len(sampled):
        return None
    found = say(
        "{count} of {all} weight tensors never got a gradient: {names}.",
        count=len(unused),
        all=len(sampled),
        names=listed(unused),
    )
    return finding("unused_parameter", "warning", unused[0], found)


def never_updated(case: Case) -> Finding | None:
    """Weights that stand still in spite of a gradient."""
    sampled = [
        parameter
        for parameter in case.parameters
        if parameter.trainable and len(parameter.samples) >= 3 and any(sample.gradient for sample in parameter.samples)
    ]
    still = [parameter.name for parameter in sampled if parameter.held is False or _unmoved(case, parameter)]
    if not still or case.wiring.steps < 3 or (case.wiring.foreign and len(still) == len(sampled)):
        return None
    found = say(
        "{count} of {all} weight tensors never changed: {names}.", count=len(still), all=len(sampled), names=listed(still)
    )
    return finding("never_updated", "problem" if len(still) == len(sampled) else grave(case), still[0], found)


def _unmoved(case: Case, parameter: Parameter) -> bool:
    """No step changed it, though a step of this rate and gradient is larger than the rounding of its numbers."""
    steps = [sample for sample in parameter.samples if sample.update is not None]
    if not steps or any(sample.update for sample in steps):
        return False
    rate = max(case.rates, default=1.0)
    size = 1.0 if (case.optimizer or "").lower() in ADAPTIVE else max(sample.gradient or 0.0 for sample in steps)
    return rate == 0 or rate * size > 1e-6 * max(sample.weight for sample in steps)


def frozen_layers(case: Case) -> Finding | None:
    """Weights that are not to learn."""
    matrices = weights(case)
    frozen = [parameter for parameter in matrices if not parameter.trainable]
    if not frozen:
        return None
    share = sum(map(_size, frozen)) / sum(map(_size, matrices))
    names = [parameter.layer for parameter in frozen]
    found = say("{share:.0%} of the weights are frozen: {names}.", share=share, names=listed(names))
    much = share >= limit("frozen_layers", "share") or len(frozen) == len(matrices)
    return finding("frozen_layers", grave(case, "note") if much else "note", names[0], found)


def _size(parameter: Parameter) -> int:
    return math.prod(parameter.shape)


def evaluation_mode_in_training(case: Case) -> Finding | None:
    """Training in evaluation mode."""
    frozen, passes = case.wiring.frozen_forwards, case.wiring.training_forwards
    if frozen < 3 or frozen / passes <= limit("evaluation_mode_in_training", "share"):
        return None
    found = say("{frozen} of {all} training passes ran in evaluation mode.", frozen=frozen, all=passes)
    return finding("evaluation_mode_in_training", "problem", say("training loop"), found)


def training_mode_in_evaluation(case: Case) -> Finding | None:
    """Evaluation in training mode."""
    live, evaluations = case.wiring.live_evaluations, case.wiring.evaluations
    if case.wiring.optimizers > 1:
        return None  # adversaries are asked for samples as they are
    if live < 2 or live / evaluations <= limit("training_mode_in_evaluation", "share"):
        return None
    found = say("{live} of {all} passes without gradients ran in training mode.", live=live, all=evaluations)
    return finding("training_mode_in_evaluation", "problem", say("evaluation"), found)


def batch_of_one(case: Case) -> Finding | None:
    """Batch normalisation over one row."""
    layers = [layer.name for layer in case.layers if layer.kind.startswith("BatchNorm")]
    single = case.wiring.single_row_batches
    if not layers or single < 3:
        return None
    found = say("{count} of the batches that were looked at hold one row.", count=single)
    return finding("batch_of_one", "problem", layers[0], found)


def dropout_before_normalisation(case: Case) -> Finding | None:
    """Dropout, then batch normalisation."""
    layers = [layer for layer in in_call_order(case) if layer.family not in ("relu", "activation", "other")]
    for earlier, later in pairwise(layers):
        if earlier.family == "dropout" and later.kind.startswith("BatchNorm") and (earlier.rate or 0) > 0:
            found = say("{dropout} is followed by {norm}.", dropout=earlier.name, norm=later.name)
            return finding("dropout_before_normalisation", "warning", earlier.name, found)
    return None


def strong_dropout(case: Case) -> Finding | None:
    """Most units dropped."""
    layers = [
        layer for layer in case.layers if layer.family == "dropout" and (layer.rate or 0) > limit("strong_dropout", "rate")
    ]
    if not layers:
        return None
    worst = max(layers, key=lambda layer: layer.rate or 0)
    extreme = (worst.rate or 0) >= limit("strong_dropout", "extreme")
    found = say("{layer} drops {rate:.0%} of its inputs.", layer=worst.name, rate=worst.rate or 0)
    return finding("strong_dropout", grave(case) if extreme else "warning", worst.name, found, "extreme" if extreme else "rate")


def dropout_at_the_output(case: Case) -> Finding | None:
    """Predictions that are dropped."""
    weighted = weighted_layers(case)
    if not weighted:
        return None
    behind = [layer for layer in in_call_order(case) if layer.order > weighted[-1].order]
    dropout = next((layer for layer in behind if layer.family == "dropout" and (layer.rate or 0) > 0), None)
    if dropout is None or any(layer.family in ("normalisation", "attention", "recurrent") for layer in behind):
        return None
    found = say(
        "{dropout} (rate {rate}) stands behind {last}, the last weighted layer.",
        dropout=dropout.name,
        rate=g(dropout.rate),
        last=weighted[-1].name,
    )
    return finding("dropout_at_the_output", grave(case), dropout.name, found)
