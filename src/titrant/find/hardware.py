"""What hardware settings are worth for a recipe on this machine: each is timed, and its loss compared with that of float32.

Sides that are compared take turns, round after round, and the median of each counts, because machines are shared. Nothing is
assumed of a processor: half precision without the instructions for it is measured for a moment, and is 20 to 40 times slower.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from titrant.errors import BudgetError, TitrantError
from titrant.find.batch import free_memory
from titrant.find.prepared import Prepared, prepared
from titrant.models.network import Factory
from titrant.recipe import Recipe
from titrant.record import Record
from titrant.studies import Asking
from titrant.texts import say
from titrant.train.cohort import Cohort
from titrant.train.hardware import prepare, threads
from titrant.tricks.hardware import Hardware
from titrant.view import View

_ROUNDS = 5
_STEPS = 4  # timed at a time, at most
_LONG = 0.25  # seconds of a step from which on one is timed at a time
_LOSS_STEPS = 20  # after which losses are compared
_AGREES = 0.05  # relative difference of the mean loss of these steps, up to which numbers count as alike
_STACKS = (1, 4, 16, 64)
_ENOUGH = 3  # rounds, without which nothing is recommended
_GAIN = 1.05  # what a setting must be worth to be recommended
_COMPILING = 60.0  # seconds that must be left before compiling is tried


class Setting(Record):
    """One setting that was tried.

    Attributes:
        name: what it is.
        steps: member-steps per second, the median of the rounds; None where it did not run.
        ratio: against the plain setting; None likewise.
        low, high: the least and greatest ratio of the rounds.
        rounds: how many there were.
        loss: mean training loss of the first steps.
        agrees: whether that is the loss of the plain setting, to five percent.
        note: why it did not run, or what it costs once.
    """

    name: str
    steps: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    rounds: int = 0
    loss: float | None = None
    agrees: bool | None = None
    note: str = ""


class HardwareFound(Record):
    """What hardware settings are worth.

    Attributes:
        device: where it was measured.
        settings: in the order in which they were tried; the first is the plain one.
        best: the settings of the recipe's `hardware` slot that are recommended.
        recipe: the recipe with these.
        free: bytes that are free on the device.
    """

    device: str
    settings: list[Setting]
    best: dict[str, Any]
    recipe: dict[str, Any]
    free: int | None


@dataclass(frozen=True)
class _Side:
    """A setting to try.

    Args:
        name: what it is.
        hardware: settings of the slot.
        members: trained side by side.
        once: True where it is compiled first.
    """

    name: str
    hardware: Hardware
    members: int = 1
    once: bool = False


def find_hardware(
    subject: object,
    target: str | None = None,
    *,
    budget: str | float = "2m",
    recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
    data: object = None,
    seed: int = 0,
    model: Factory | None = None,
    device: str = "auto",
    view: View | None = None,
    started: float | None = None,
    **reading: Any,
) -> HardwareFound:
    """Measures what threads, precision, memory layout, compiling and stacking are worth for a recipe on this machine.

    Args:
        subject, target, recipe, data, seed, model, device, view, started, reading: as for `titrant.ablate`.
        budget: wall clock for everything. `torch.compile` is tried where more than a minute is left.

    Raises:
        TitrantError: as for `titrant.ablate`.

    Example:
        >>> import titrant
        >>> table = {"x": [i / 200 for i in range(200)], "y": ["low"] * 100 + ["high"] * 100}
        >>> found = titrant.find_hardware(table, "y", budget="20s")
        >>> found.settings[0].ratio
        1.0
    """
    asking = Asking(subject, target, recipe, None, data, seed, model, device, reading)
    with prepared(asking, budget, view, started) as job:
        plain = job.recipe.replace("hardware", {"device": "auto"}).replace("stop", {"kind": "last", "epochs": 400.0})
        place = job.problem.device
        sides = _sides(place, plain)
        found: list[Setting] = []
        running: list[tuple[_Side, Cohort, float]] = []
        first, steps = 0.0, _LOSS_STEPS  # seconds of a plain step, and after how many of them losses are compared
        for side in sides:
            left = job.clock.left - _ROUNDS * first * sum(one.members for one, _, _ in running)  # beside the rounds to come
            allowed = left / (len(sides) - len(found))
            if found and (left < _COMPILING if side.once else (2 + _ROUNDS) * first * side.members > allowed):
                found.append(Setting(name=side.name, note=say("not tried: the time was over")))
                continue
            begun = time.monotonic()
            tried = _begun(job, plain, side, steps, allowed)
            if isinstance(tried, Setting):
                found.append(tried)
                continue
            if not running:
                steps = max(1, tried[0].step)
                first = (time.monotonic() - begun) / steps
            found.append(Setting(name=side.name))
            running.append((side, *tried))
        rounds = _timed(job, running)
        job.refuse_interrupt()
    if not rounds or not rounds[0]:
        raise BudgetError(say("The budget of {budget} ended before anything was timed. Give more time.", budget=budget))
    by_name = {side.name: (side, rates, loss) for (side, _, loss), rates in zip(running, rounds, strict=True) if rates}
    base, base_loss = rounds[0], running[0][2]
    late = say("not timed: the time was over")
    settings = [
        _judged(one, *by_name[one.name][1:], base, base_loss)
        if one.name in by_name
        else one.model_copy(update={"note": one.note or late})
        for one in found
    ]
    best = _best(settings, {name: side for name, (side, _, _) in by_name.items()})
    advised = job.recipe.replace("hardware", {**job.recipe.hardware.model_dump(), **best})
    return HardwareFound(device=str(place), settings=settings, best=best, recipe=advised.plain(), free=free_memory(place))


def _sides(device: torch.device, recipe: Recipe) -> list[_Side]:
    """Everything that may be worth a try here; the plain setting first."""
    most = torch.get_num_threads()
    found = [_Side(say("float32, one network"), Hardware())]
    if device.type == "cpu":
        counts = sorted({1, most // 2} - {0, most})
        found += [_Side(say("threads: {count}", count=count), Hardware(threads=count)) for count in counts]
    if device.type == "cuda":  # the plain setting lets matrix products use TF32
        found.append(_Side(say("float32 without TF32"), Hardware(precision="fp32")))
    found.append(_Side(say("bfloat16"), Hardware(precision="bf16")))
    if recipe.model.kind in {"cnn", "resnet", "convnext"}:
        found += [_Side(layout, Hardware(layout=layout)) for layout in ("contiguous", "channels_last")]
    found += [_Side(say("{count} networks side by side", count=count), Hardware(), count) for count in _STACKS[1:]]
    return [*found, _Side(say("torch.compile"), Hardware(compile=True), once=True)]


def _begun(job: Prepared, plain: Recipe, side: _Side, steps: int, allowed: float) -> tuple[Cohort, float] | Setting:
    """A cohort after its first steps, with their mean loss (NaN where it took fewer); or what kept it from running."""
    recipe = plain.replace("hardware", side.hardware.model_dump())
    clock = job.clock if side.once else job.clock.before_end(max(0.0, job.clock.left - allowed))
    try:
        with threads(side.hardware.threads or torch.get_num_threads()):
            prepare(side.hardware.model_copy(update={"threads": 0}), job.problem.device)
            cohort = job.cohort([job.member(recipe, number) for number in range(side.members)])
            cohort.train(1, job.clock)
            cohort.train(steps if side.members == 1 else 2, clock)
    except (TitrantError, RuntimeError, NotImplementedError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        return Setting(name=side.name, note=said[0])
    whole = side.members == 1 and (cohort.step == steps or steps == _LOSS_STEPS)
    return cohort, cohort.mean_losses()[0] if whole else float("nan")


def _timed(job: Prepared, running: list[tuple[_Side, Cohort, float]]) -> list[list[float]]:
    """Member-steps per second of each side, in turns."""
    rates: list[list[float]] = [[] for _ in running]
    for _ in range(_ROUNDS):
        for place, (side, cohort, _) in enumerate(running):
            if job.clock.left <= 0 or cohort.step + _STEPS > cohort.steps:
                return rates
            count = _STEPS if not rates[0] or rates[0][0] * _LONG > 1 else 1
            with threads(side.hardware.threads or torch.get_num_threads()):
                before, begun = cohort.step, time.monotonic()
                cohort.train(cohort.step + count, job.clock)
                if job.problem.device.type == "cuda":
                    torch.cuda.synchronize(job.problem.device)
                spent = time.monotonic() - begun
            if cohort.step > before:
                rates[place].append(side.members * (cohort.step - before) / max(spent, 1e-9))
    return rates


def _judged(one: Setting, rates: list[float], loss: float, base: list[float], base_loss: float) -> Setting:
    """A setting with its ratios, round by round, to the plain one."""
    ratios = [mine / theirs for mine, theirs in zip(rates, base, strict=False)]
    known = loss == loss
    return one.model_copy(
        update={
            "steps": median(rates), "ratio": median(ratios), "low": min(ratios), "high": max(ratios), "rounds": len(ratios),
            "loss": loss if known else None,
            "agrees": abs(loss - base_loss) <= _AGREES * max(abs(base_loss), 1e-12) if known else None,
        }
    )  # fmt: skip


def _best(settings: list[Setting], sides: Mapping[str, _Side]) -> dict[str, Any]:
    """What is worth writing into a recipe: the fastest of single networks whose loss agrees, if that is worth anything."""
    able = [
        one for one in settings
        if one.name in sides and sides[one.name].members == 1 and one.agrees and one.rounds >= _ENOUGH and (one.low or 0) > 1.0
    ]  # fmt: skip
    top = max(able, key=lambda one: one.ratio or 0.0, default=None)
    if top is None or (top.ratio or 0.0) < _GAIN:
        return {}
    changed = sides[top.name].hardware.model_dump()
    return {name: value for name, value in changed.items() if value != Hardware().model_dump()[name]}
