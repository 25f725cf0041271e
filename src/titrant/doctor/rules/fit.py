"""Rules about how far the run got, and when it ended."""

import math
import re

import numpy as np

from titrant.doctor.case import Case
from titrant.doctor.finding import Finding, Level
from titrant.doctor.rules.reading import (
    agreement,
    constant_loss,
    epochs,
    explained,
    falling,
    finite_losses,
    first_loss,
    g,
    grave,
    last_loss,
    median,
    poor,
    weights,
    well,
)
from titrant.doctor.table import finding, limit
from titrant.texts import say

_HIGHER = {
    "acc", "accuracy", "auc", "auroc", "f1", "precision", "recall", "r2", "iou", "dice", "map", "bleu", "rouge", "kappa", "mcc",
}  # fmt: skip
_LOWER = {"loss", "error", "err", "mse", "mae", "rmse", "nll", "perplexity", "ppl", "wer", "cer"}


def strong_weight_decay(case: Case) -> Finding | None:
    """Weights that melt away."""
    left = [
        parameter.samples[-1].weight / parameter.samples[0].weight
        for parameter in weights(case)
        if parameter.trainable and len(parameter.samples) >= 3 and parameter.samples[0].weight > 0
    ]
    share = median(left)
    if case.weight_decay <= 0 or share is None or share >= limit("strong_weight_decay", "left"):
        return None
    found = say(
        "Weight decay is {decay}; weights have {share:.0%} of the size that they began with.",
        decay=g(case.weight_decay),
        share=share,
    )
    return finding("strong_weight_decay", grave(case), say("optimiser"), found)


def not_learning(case: Case) -> Finding | None:
    """No better than a constant, and not on the way."""
    learned, last = explained(case), last_loss(case)
    if learned is None or len(case.losses) < 20 or learned >= limit("not_learning", "explained"):
        return None
    if falling(case) > 0.02:
        return None  # slow is not stuck
    reference = constant_loss(case)
    if reference is None:
        found = say("The loss was {first} at first and {last} at last.", first=g(first_loss(case)), last=g(last))
        return finding("not_learning", "warning", say("loss"), found)
    found = say(
        "The training loss ends at {last}; predicting the same for every row has {constant}.",
        last=g(last),
        constant=g(reference),
    )
    return finding("not_learning", "problem", say("loss"), found)


def cannot_memorise(case: Case) -> Finding | None:
    """One batch, and it does not go in."""
    if case.memorised is None:
        return None
    before, after = case.memorised
    if math.isfinite(after) and after < limit("cannot_memorise", "left") * before:
        return None
    found = say("Trained on one batch alone, the loss went from {before} to {after}.", before=g(before), after=g(after))
    return finding("cannot_memorise", "problem", say("model"), found)


def too_few_epochs(case: Case) -> Finding | None:
    """Stopped on the way down, or after a handful of steps."""
    fall, learned, passes, steps = falling(case), explained(case), epochs(case), case.wiring.steps
    if case.crash is not None or case.wiring.optimizers > 1 or len(finite_losses(case)) < 5:
        return None
    arrived = learned is None or learned >= 0.9
    short = passes is not None and passes <= limit("too_few_epochs", "epochs") and steps < 500
    slow = fall > 0.02 and learned is not None and learned < limit("not_learning", "explained")
    if fall > limit("too_few_epochs", "fall") or slow:
        found, crossed = say("Over the last quarter of the run the training loss fell by {fall:.0%}.", fall=fall), "fall"
    elif (short or steps < 50) and not arrived and learned != -math.inf:
        found, crossed = (
            say("The run took {steps} steps; the loss ended at {last}.", steps=steps, last=g(last_loss(case))),
            "epochs",
        )
    else:
        return None
    if passes is not None:
        found += say(" Epochs: {count}.", count=g(passes))
    level: Level = "note" if case.cut_short or (crossed == "fall" and (learned or 0) > 0.8) else grave(case)
    return finding("too_few_epochs", level, say("end of the run"), found, crossed)


def stopped_early(case: Case) -> Finding | None:
    """Early stopping without patience."""
    losses = [entry.loss for entry in case.evaluations if entry.loss is not None]
    if case.patience is None or case.patience >= limit("stopped_early", "patience") or not losses:
        return None
    if case.epochs_planned is not None and len(case.evaluations) >= case.epochs_planned:
        return None
    found = say(
        "Patience {patience}: training ended after {epochs} epochs.", patience=case.patience, epochs=len(case.evaluations)
    )
    return finding("stopped_early", "note" if well(case) else "warning", say("early stopping"), found)


def wrong_direction(case: Case) -> Finding | None:
    """A callback that takes a worse score for a better one."""
    for monitor in case.monitors:
        words = {word.lower() for word in re.split(r"[^A-Za-z0-9]+|(?<=[a-z])(?=[A-Z])", monitor.name)}
        rises, falls = bool(words & _HIGHER), bool(words & _LOWER)
        if rises != falls and rises == (monitor.mode == "min"):
            found = say("It waits for {name}, with mode {mode!r}.", name=monitor.name, mode=monitor.mode)
            return finding("wrong_direction", "problem", monitor.by, found)
    return None


def overfitting(case: Case) -> Finding | None:
    """Validation turns up, training goes on down."""
    curve = [(entry.step, entry.loss) for entry in case.evaluations if entry.loss is not None and math.isfinite(entry.loss)]
    if len(curve) < 3:
        return None
    values = np.asarray([loss for _, loss in curve])
    best = int(values.argmin())
    last = float(np.median(values[-max(1, len(values) // 5) :]))
    if values[best] <= 0 or last / values[best] < limit("overfitting", "rise") or best >= len(values) - 2:
        return None
    at_best = [loss for step, loss in zip(case.loss_steps, case.losses, strict=True) if step <= curve[best][0]]
    at_end = last_loss(case)
    if not at_best or at_end is None or at_end >= float(np.median(at_best[-max(3, len(at_best) // 10) :])):
        return None
    constant = constant_loss(case)
    found = say(
        "The validation loss was {best} at step {step} and ended at {last}; the training loss ended at {training}.",
        best=g(float(values[best])),
        step=curve[best][0],
        last=g(last),
        training=g(at_end),
    )
    ruined = constant is not None and last > constant and last > 2 * values[best]
    return finding("overfitting", "problem" if ruined else "warning", say("validation loss"), found)


def underfitting(case: Case) -> Finding | None:
    """Stuck, not far below a constant prediction."""
    learned, constant = explained(case), constant_loss(case)
    bound = limit("underfitting", "explained")
    if (
        learned is None
        or constant is None
        or len(case.losses) < 50
        or not limit("not_learning", "explained") <= learned < bound
    ):
        return None
    if falling(case) > 0.02:
        return None
    found = say(
        "The training loss ends at {last}; predicting the same for every row has {constant}.",
        last=g(last_loss(case)),
        constant=g(constant),
    )
    return finding("underfitting", "warning", say("loss"), found)


def batch_size(case: Case) -> Finding | None:
    """One step an epoch, or a row or two a step."""
    rows, batch = case.loader.rows, case.loader.batch
    if not rows or not batch or rows < 200:
        return None
    steps = math.ceil(rows / batch)
    if steps < limit("batch_size", "steps") and not (explained(case) or 0) > 0.7:
        found = say("Batches of {batch} out of {rows} rows: {steps} steps per epoch.", batch=batch, rows=rows, steps=steps)
        return finding("batch_size", "warning", say("batches"), found, "steps")
    if batch <= limit("batch_size", "rows"):
        found = say("Batches of {batch} rows.", batch=batch)
        return finding("batch_size", "note" if well(case) else "warning", say("batches"), found, "rows")
    return _far_from_noise(case, batch * max(1, round(case.wiring.backwards / max(1, case.wiring.steps))))


def _far_from_noise(case: Case, batch: int) -> Finding | None:
    """Batches whose gradients are nearly the same, or have next to nothing in common.

    With a noise scale of N rows, gradients of two batches of B rows agree by B / (B + N).
    """
    found = agreement(case)
    if found is None:
        return None
    share, error = found
    level: Level = "warning" if poor(case) else "note"
    much, little = limit("batch_size", "wasted"), limit("batch_size", "noisy")
    agreed = say(
        "Gradients of successive batches of {batch} rows agree by {share:.0%} (1 if they were the same, 0 if only noise).",
        batch=batch,
        share=share,
    )
    if share - error > 1 / (1 + much):
        fewer = max(1, round(batch * (1 - share) / share))
        remedy = say(
            "Use smaller batches: about {fewer} rows would tell half of what a very large batch tells, and a step costs less.",
            fewer=fewer,
        )
        return finding("batch_size", level, say("batches"), agreed, "wasted", remedy=remedy)
    if 0 < share + error < 1 / (1 + little):
        remedy = say("Use batches of {more} rows or more, or a lower learning rate.", more=round(batch * little))
        return finding("batch_size", level, say("batches"), agreed, "noisy", remedy=remedy)
    return None
