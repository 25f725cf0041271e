"""Rules about the length of steps and their schedule."""

import math

import numpy as np

from titrant.doctor.case import Case
from titrant.doctor.finding import Finding, Level
from titrant.doctor.rules.reading import (
    ADAPTIVE,
    constant_loss,
    explained,
    finite_losses,
    first_loss,
    g,
    grave,
    last_loss,
    median,
    poor,
    updates,
    weights,
)
from titrant.doctor.table import finding, limit
from titrant.texts import say


def _rate(case: Case) -> float | None:
    return max(case.rates) if case.rates else None


def _late_updates(case: Case) -> list[float]:
    """For each weight matrix the usual change in one step, over the later half of the samples."""
    late = [median(updates(parameter)[len(updates(parameter)) // 2 :]) for parameter in weights(case) if parameter.trainable]
    return [value for value in late if value is not None]


def learning_rate_too_high(case: Case) -> Finding | None:
    """A loss that climbs, swings, or stays up under long steps."""
    losses = finite_losses(case)
    first, last = first_loss(case), last_loss(case)
    broken = not np.isfinite(case.losses).all()
    if first is None or last is None or (len(losses) < 8 and not broken) or case.wiring.optimizers > 1:
        return None
    reference = constant_loss(case) or first
    moves, rate = _late_updates(case), _rate(case)
    long = bool(moves) and (median(moves) or 0.0) > limit("learning_rate_too_high", "update")
    adaptive = (case.optimizer or "").lower() in ADAPTIVE
    bound = "adaptive" if adaptive else "plain"
    high_rate = rate is not None and rate > limit("learning_rate_too_high", bound)
    extreme = rate is not None and adaptive and rate >= limit("learning_rate_too_high", "extreme")
    # Over twenty stretches of the later half, so that a batch of few rows is no swing.
    late = [float(part.mean()) for part in np.array_split(losses[len(losses) // 2 :], 20) if len(part)]
    swing = float(np.abs(np.diff(late)).mean() / max(reference, 1e-12)) if len(late) > 3 else 0.0
    rise = last / first if first > 0 else 1.0
    rising = rise > limit("learning_rate_too_high", "rise") and last > reference
    swinging = swing > limit("learning_rate_too_high", "swing") and not (explained(case) or 0) > 0.3
    if rising:
        found, crossed = say("The loss went from {first} to {last}.", first=g(first), last=g(last)), "rise"
    elif broken and (high_rate or long or losses.max() > 10 * first):
        found, crossed = say("The loss reached {most} and then was no longer finite.", most=g(float(losses.max()))), "rise"
    elif swinging:
        found, crossed = say("Late in the run the loss still swings by {swing:.2g} times its level.", swing=swing), "swing"
    elif poor(case) and high_rate:
        found, crossed = say("The run learns poorly with the learning rate {rate}.", rate=g(rate)), bound
    elif poor(case) and long:
        found, crossed = say("Each step changes the weights by {share:.0%}.", share=median(moves)), "update"
    elif extreme:
        found, crossed = say("The learning rate is {rate}.", rate=g(rate)), "extreme"
    else:
        return None
    rated = "" if rate is None else say(" Learning rate: {rate}, {optimizer}.", rate=g(rate), optimizer=case.optimizer)
    # A loss that swings under steps of usual length has other causes, such as a batch of few rows.
    # Nor is the first loss a measure where the loss of a constant is unknown: sums over episodes grow as these get longer.
    rising = rising and (constant_loss(case) is not None or high_rate)
    level: Level = "problem" if rising or broken or long or (high_rate and (explained(case) or 0) < 0.5) else "warning"
    return finding("learning_rate_too_high", level, say("learning rate"), found + rated, crossed)


def learning_rate_too_low(case: Case) -> Finding | None:
    """Weights that hardly move, in a run that has not arrived."""
    matrices = [parameter for parameter in weights(case) if parameter.trainable and parameter.moved is not None]
    moved = [parameter.moved for parameter in matrices if parameter.moved is not None and math.isfinite(parameter.moved)]
    moves = _late_updates(case)
    learned = explained(case)
    if len(case.losses) < 10 or not moved or not moves or max(moves) == 0 or learned is None or learned > 0.5:
        return None
    if max(moved) >= limit("learning_rate_too_low", "moved") or max(moves) >= limit("learning_rate_too_low", "update"):
        return None
    found = say(
        "Weights moved by {moved:.2g} of their size in {steps} steps, by {move:.2g} in one. Learning rate {rate}, {optimizer}.",
        moved=max(moved),
        steps=case.wiring.steps,
        move=max(moves),
        rate=g(_rate(case)),
        optimizer=case.optimizer,
    )
    return finding("learning_rate_too_low", "problem", say("learning rate"), found, "moved")


def idle_schedule(case: Case) -> Finding | None:
    """A schedule that never moves."""
    if not case.wiring.schedulers or case.wiring.scheduler_steps or case.wiring.steps < 20 or case.cut_short:
        return None
    names = ", ".join(sorted(set(case.wiring.schedulers)))
    found = say("{names} was made, and not once stepped in {steps} steps.", names=names, steps=case.wiring.steps)
    return finding("idle_schedule", "warning", names, found)


def schedule_ends_early(case: Case) -> Finding | None:
    """A rate of nothing, with much of the run to go."""
    rates, steps = np.asarray(case.rates), np.asarray(case.rate_steps)
    total = case.wiring.steps
    if len(rates) < 3 or total < 30 or rates.max() <= 0:
        return None
    alive = np.flatnonzero(rates >= limit("schedule_ends_early", "rate") * rates.max())
    if alive[-1] == len(rates) - 1 or steps[alive[-1] + 1] > limit("schedule_ends_early", "part") * total:
        return None
    found = say(
        "From step {step} of {total} on, the learning rate is {rate}; its peak was {peak}.",
        step=int(steps[alive[-1] + 1]),
        total=total,
        rate=g(float(rates[alive[-1] + 1])),
        peak=g(float(rates.max())),
    )
    return finding("schedule_ends_early", grave(case), say("learning rate"), found, "part")
