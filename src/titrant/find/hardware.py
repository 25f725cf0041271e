"""What hardware settings are worth for a recipe on this machine: each is timed, its loss compared with that of float32, and its
memory counted.

Sides that are compared take turns, round after round, and the median of each counts, because machines are shared. What cannot
run here, such as half precision on a processor without the instructions for it, is named with the reason.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch

from titrant.errors import BudgetError, TitrantError
from titrant.find.prepared import Prepared, prepared
from titrant.models.network import Factory
from titrant.recipe import Recipe
from titrant.record import Record
from titrant.studies import Asking
from titrant.texts import say
from titrant.train.cohort import Cohort
from titrant.train.hardware import free_memory, prepare, threads
from titrant.tricks.hardware import Hardware
from titrant.view import View

_ROUNDS = 5
_STEPS = 4  # timed at a time, at most
_LONG = 0.25  # seconds of a step from which on one is timed at a time
_LOSS_STEPS = 20  # after which losses are compared
_AGREES = 0.05  # relative difference of the mean loss of these steps, up to which numbers count as alike
_STACKS = (4, 16, 64)
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
        memory: bytes that its networks take in training, the data apart.
        note: why it did not run.
    """

    name: str
    steps: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    rounds: int = 0
    loss: float | None = None
    agrees: bool | None = None
    memory: int | None = None
    note: str = ""


class Memory(Record):
    """The memory that one training takes.

    Attributes:
        data: bytes of the rows on the device, as they came and encoded.
        carried: of weights, their best state, and what optimizer and averages carry.
        step: of a step, its gradient and the activations for it among them.
        rows: of such a step at a time.
        total: of all of it.
    """

    data: int
    carried: int
    step: int
    rows: int
    total: int


class HardwareFound(Record):
    """What hardware settings are worth.

    Attributes:
        device: where it was measured.
        settings: in the order in which they were tried; the first is the plain one.
        best: the settings of the recipe's `hardware` slot that are recommended.
        recipe: the recipe with these.
        memory: that its training takes.
        free: bytes that are free on the device.
    """

    device: str
    settings: list[Setting]
    best: dict[str, Any]
    recipe: dict[str, Any]
    memory: Memory
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
    """Measures what threads, precision, memory layout, compiling and stacking are worth for a recipe on this machine, and what
    computing blocks again saves of memory.

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
        tried = _tried(job)
        running = [one for one in tried if isinstance(one, _Running)]
        _time(job, running)
        job.refuse_interrupt()
    if not running or not running[0].rates:
        raise BudgetError(say("The budget of {budget} ended before anything was timed. Give more time.", budget=budget))
    settings = [one.judged(running[0]) if isinstance(one, _Running) else one for one in tried]
    best = _best(settings, {one.side.name: one.side for one in running})
    advised = job.recipe.replace("hardware", {**job.recipe.hardware.model_dump(), **best})
    place, needs = job.problem.device, job.needs(advised)
    taken = Memory(
        data=needs.data, carried=needs.carried, step=needs.step(), rows=needs.rows, total=needs.total
    )  # fmt: skip
    return HardwareFound(
        device=str(place), settings=settings, best=best, recipe=advised.plain(), memory=taken, free=free_memory(place)
    )


@dataclass
class _Running:
    """A setting that runs: its networks in training, the mean loss of their first steps, and member-steps per second."""

    side: _Side
    cohort: Cohort
    loss: float
    memory: int
    rates: list[float] = field(default_factory=list)

    def judged(self, base: "_Running") -> Setting:
        """Its ratios, round by round, to the plain setting."""
        if not self.rates:
            return Setting(name=self.side.name, memory=self.memory, note=say("not timed: the time was over"))
        ratios = [mine / theirs for mine, theirs in zip(self.rates, base.rates, strict=False)]
        known = math.isfinite(self.loss)
        return Setting(
            name=self.side.name, steps=median(self.rates), ratio=median(ratios), low=min(ratios), high=max(ratios),
            rounds=len(ratios), loss=self.loss if known else None,
            agrees=abs(self.loss - base.loss) <= _AGREES * max(abs(base.loss), 1e-12) if known else None,
            memory=self.memory,
        )  # fmt: skip


def _tried(job: Prepared) -> list[Setting | _Running]:
    """Begins with every setting that there is time for; the plain one is the first."""
    plain = job.recipe.replace("hardware", {"device": "auto"}).replace("stop", {"kind": "last", "epochs": 400.0})
    sides = _sides(job.problem.device, plain)
    found: list[Setting | _Running] = []
    first, steps = 0.0, _LOSS_STEPS  # seconds of a plain step, and after how many of them losses are compared
    for side in sides:
        rounds = _ROUNDS * first * sum(one.side.members for one in found if isinstance(one, _Running))  # still to come
        left = job.clock.left - rounds
        allowed = left / (len(sides) - len(found))
        if found and (left < _COMPILING if side.once else (2 + _ROUNDS) * first * side.members > allowed):
            found.append(Setting(name=side.name, note=say("not tried: the time was over")))
            continue
        begun = time.monotonic()
        found.append(_begun(job, plain, side, steps, allowed))
        if len(found) == 1 and isinstance(found[0], _Running):
            steps = max(1, found[0].cohort.step)
            first = (time.monotonic() - begun) / steps
    return found


def _sides(device: torch.device, recipe: Recipe) -> list[_Side]:
    """Everything that may be worth a try here; the plain setting first."""
    most = torch.get_num_threads()
    found = [_Side(say("float32, one network"), Hardware())]
    if device.type == "cpu":
        counts = sorted({1, most // 2} - {0, most})
        found += [_Side(say("threads: {count}", count=count), Hardware(threads=count)) for count in counts]
    if device.type == "cuda":  # the plain setting lets matrix products use TF32
        found.append(_Side(say("float32 without TF32"), Hardware(precision="fp32")))
    found += [_Side(say("bfloat16"), Hardware(precision="bf16")), _Side(say("float16, scaled"), Hardware(precision="fp16"))]
    if recipe.model.kind in {"cnn", "resnet", "convnext"}:
        found.append(_Side(say("convolutions read channels first"), Hardware(layout="contiguous")))
    found.append(_Side(say("blocks computed again"), Hardware(checkpoint=True)))
    found += [_Side(say("{count} networks side by side", count=count), Hardware(), count) for count in _STACKS]
    return [*found, _Side(say("torch.compile"), Hardware(compile=True), once=True)]


def _begun(job: Prepared, plain: Recipe, side: _Side, steps: int, allowed: float) -> Setting | _Running:
    """A cohort after its first steps, with their mean loss (NaN where it took fewer); or what kept it from running."""
    recipe = plain.replace("hardware", side.hardware.model_dump())
    clock = job.clock if side.once else job.clock.before_end(max(0.0, job.clock.left - allowed))
    try:
        with threads(side.hardware.threads or torch.get_num_threads()):
            prepare(side.hardware.model_copy(update={"threads": 0}), job.problem.device)
            cohort = job.cohort([job.member(recipe, number) for number in range(side.members)])
            cohort.train(1, job.clock)
            cohort.train(steps if side.members == 1 else 2, clock)
            needs = job.needs(recipe)
    except (TitrantError, RuntimeError, NotImplementedError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        return Setting(name=side.name, note=said[0])
    whole = side.members == 1 and (cohort.step == steps or side.hardware == Hardware())  # the plain one sets how many
    memory = side.members * (needs.carried + needs.step())
    return _Running(side, cohort, cohort.mean_losses()[0] if whole else math.nan, memory)


def _time(job: Prepared, running: list[_Running]) -> None:
    """Times a few steps of each setting, in turns."""
    for _ in range(_ROUNDS):
        for one in running:
            if job.clock.left <= 0 or one.cohort.step + _STEPS > one.cohort.steps:
                return
            count = _STEPS if not running[0].rates or running[0].rates[0] * _LONG > 1 else 1
            with threads(one.side.hardware.threads or torch.get_num_threads()):
                before, begun = one.cohort.step, time.monotonic()
                one.cohort.train(one.cohort.step + count, job.clock)
                if job.problem.device.type == "cuda":
                    torch.cuda.synchronize(job.problem.device)
                spent = time.monotonic() - begun
            if one.cohort.step > before:
                one.rates.append(one.side.members * (one.cohort.step - before) / max(spent, 1e-9))


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
