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
_STEPS = 4  # timed at a time
_LOSS_STEPS = 20  # after which losses are compared
_AGREES = 0.05  # relative difference of the mean loss of these steps, up to which numbers count as alike
_STACKS = (1, 4, 16, 64)
_GAIN = 1.05  # what a setting must be worth to be recommended
_COMPILING = 60.0  # seconds that must be left before compiling is tried


class Setting(Record):
    """One setting that was tried.

    Attributes:
        name: what it is.
        steps: member-steps per second, the median of the rounds; None where it did not run.
        ratio: against the plain setting; None likewise.
        low, high: the least and greatest ratio of the rounds.
        loss: mean training loss of the first steps.
        agrees: whether that is the loss of the plain setting, to five percent.
        note: why it did not run, or what it costs once.
    """

    name: str
    steps: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
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
        for side in sides:
            if found and job.clock.left < (_COMPILING if side.once else 1.0):
                found.append(Setting(name=side.name, note=say("not tried: the time was over")))
                continue
            tried = _begun(job, plain, side)
            found.append(tried if isinstance(tried, Setting) else Setting(name=side.name))
            if not isinstance(tried, Setting):
                running.append((side, *tried))
        rounds = _timed(job, running)
        job.refuse_interrupt()
    if not rounds or not rounds[0]:
        raise BudgetError(say("The budget of {budget} ended before anything was timed. Give more time.", budget=budget))
    by_name = {side.name: (side, rates, loss) for (side, _, loss), rates in zip(running, rounds, strict=True) if rates}
    base, base_loss = rounds[0], running[0][2]
    settings = [_judged(one, *by_name[one.name][1:], base, base_loss) if one.name in by_name else one for one in found]
    best = _best(settings, {name: side for name, (side, _, _) in by_name.items()})
    advised = job.recipe.replace("hardware", {**job.recipe.hardware.model_dump(), **best})
    return HardwareFound(device=str(place), settings=settings, best=best, recipe=advised.plain(), free=free_memory(place))


def _sides(device: torch.device, recipe: Recipe) -> list[_Side]:
    """Everything that may be worth a try here; the plain setting first."""
    most = torch.get_num_threads()
    found = [_Side(say("float32, one network"), Hardware())]
    if device.type == "cpu":
        counts = sorted({1, most // 2, most} - {0})
        found += [_Side(say("{count} threads", count=count), Hardware(threads=count)) for count in counts if most > 1]
    if device.type == "cuda":  # the plain setting lets matrix products use TF32
        found.append(_Side(say("float32 without TF32"), Hardware(precision="fp32")))
    found.append(_Side(say("bfloat16"), Hardware(precision="bf16")))
    if recipe.model.kind in {"cnn", "resnet", "convnext"}:
        found += [_Side(layout, Hardware(layout=layout)) for layout in ("contiguous", "channels_last")]
    found += [_Side(say("{count} networks side by side", count=count), Hardware(), count) for count in _STACKS[1:]]
    return [*found, _Side(say("torch.compile"), Hardware(compile=True), once=True)]


def _begun(job: Prepared, plain: Recipe, side: _Side) -> tuple[Cohort, float] | Setting:
    """A cohort after its first steps, with their mean loss; or what kept it from running."""
    recipe = plain.replace("hardware", side.hardware.model_dump())
    try:
        with threads(side.hardware.threads or torch.get_num_threads()):
            prepare(side.hardware.model_copy(update={"threads": 0}), job.problem.device)
            cohort = job.cohort([job.member(recipe, number) for number in range(side.members)])
            cohort.train(_LOSS_STEPS if side.members == 1 else 2, job.clock)
    except (TitrantError, RuntimeError, NotImplementedError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        return Setting(name=side.name, note=said[0])
    return cohort, cohort.mean_losses()[0] if side.members == 1 else float("nan")


def _timed(job: Prepared, running: list[tuple[_Side, Cohort, float]]) -> list[list[float]]:
    """Member-steps per second of each side, in turns."""
    rates: list[list[float]] = [[] for _ in running]
    for _ in range(_ROUNDS):
        for place, (side, cohort, _) in enumerate(running):
            if job.clock.left <= 0 or cohort.step + _STEPS > cohort.steps:
                return rates
            with threads(side.hardware.threads or torch.get_num_threads()):
                before, begun = cohort.step, time.monotonic()
                cohort.train(cohort.step + _STEPS, job.clock)
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
            "steps": median(rates), "ratio": median(ratios), "low": min(ratios), "high": max(ratios),
            "loss": loss if known else None,
            "agrees": abs(loss - base_loss) <= _AGREES * max(abs(base_loss), 1e-12) if known else None,
        }
    )  # fmt: skip


def _best(settings: list[Setting], sides: Mapping[str, _Side]) -> dict[str, Any]:
    """What is worth writing into a recipe: the fastest of single networks whose loss agrees, if that is worth anything."""
    able = [
        one for one in settings
        if one.name in sides and sides[one.name].members == 1 and one.agrees and one.low is not None and one.low > 1.0
    ]  # fmt: skip
    top = max(able, key=lambda one: one.ratio or 0.0, default=None)
    if top is None or (top.ratio or 0.0) < _GAIN:
        return {}
    changed = sides[top.name].hardware.model_dump()
    return {name: value for name, value in changed.items() if value != Hardware().model_dump()[name]}
