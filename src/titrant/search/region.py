"""The region of recipes that a search visits: for each slot its kinds, for each dose its range.

Every number that a proposer chooses has one full name: `dropout` chooses a kind, `dropout.bernoulli.p` a dose of that kind,
`learning_rate.adamw.peak` the peak for that optimizer. Doses that exist only under one kind are thus kept apart.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from titrant.errors import RecipeError
from titrant.recipe import Recipe, near, slots
from titrant.space import Dose, Range, at, doses
from titrant.texts import say
from titrant.tricks.base import Off, Trick
from titrant.tricks.learning_rate import LearningRate
from titrant.tricks.model import Custom, SequenceTrick
from titrant.tricks.optimizer import OptimizerTrick

PEAK_SPREAD = 10.0
"""The default search visits learning rates from a tenth of to ten times what is typical of an optimizer."""

SHAPES = (
    "model",
    "batch",
    "data.categories",
    "data.numbers",
    "data.whiten",
    "data.channels",
    "data.differences",
    "data.gaps",
    "data.features",
    "data.tokens",
    "augment.resize",
)
"""Slots that decide the shapes of tensors: members that agree on them train in one stack."""

_NEEDED = ("data.scale", "activation")  # off is allowed here, and never worth a try


def check_suits(path: str, kind: type[Trick], reads: str) -> None:
    """Refuses a kind of trick that does not act on this kind of data.

    Raises:
        RecipeError: it does not; the message names those that do.
    """
    kinds = slots()[path]
    if reads not in kind.reads and len(kinds) > 1:  # a slot of one kind has no other to choose
        fitting = ", ".join(one.name() for one in kinds if reads in one.reads)
        *others, last = kind.reads
        wanted = say("{others} or {last}", others=", ".join(others), last=last) if others else last
        raise RecipeError(
            say("{path}: {kind} is for {wanted} data, and these are {reads} data. Choose of {fitting}.",
                path=path, kind=kind.name(), wanted=wanted, reads=reads, fitting=fitting)
        )  # fmt: skip


def check_fits(recipe: Recipe) -> None:
    """Refuses a recipe whose slots contradict one another.

    Raises:
        RecipeError: its network reads steps, and its features leave none.
    """
    if fitted(recipe) != recipe:
        raise RecipeError(
            say("model: {model} reads one step or token after another, and data.features: {features} leaves none. Choose "
                "model: linear or mlp, or data.features: off.", model=recipe.model.kind, features=recipe.data.features.kind)
        )  # fmt: skip


def fitted(recipe: Recipe) -> Recipe:
    """The recipe without features, where its network reads one step or token after another and features leave none.

    Example:
        >>> fitted(Recipe().replace("model", "gru").replace("data.features", "hydra")).data.features.kind
        'off'
    """
    clash = isinstance(recipe.model, SequenceTrick) and not isinstance(recipe.data.features, Off)
    return recipe.without("data.features") if clash else recipe


@dataclass(frozen=True)
class Axis:
    """One choice of a proposer.

    Args:
        name: its full name.
        mark: a range, or the choices.
        integer: True for whole numbers.
    """

    name: str
    mark: Range | tuple[Any, ...]
    integer: bool = False

    @property
    def shapes(self) -> bool:
        """True if the choice decides shapes of tensors."""
        return self.name.startswith(SHAPES) and not self.name.endswith(("sigma", "epsilon"))

    @property
    def ends(self) -> tuple[float, float]:
        """Lowest and highest value visited on a range."""
        assert isinstance(self.mark, Range)
        return self.mark.search or (self.mark.low, self.mark.high)


Chooser = Callable[[Axis], Any]
"""Chooses a value on an axis; asked in the order in which choices depend on one another."""


class Region:
    """What may be visited around a base recipe.

    Args:
        base: slots and doses that are not searched stay as they are here.
        limits: by path, what the person wants searched instead of the default: a list of choices, `{low, high}` with
            an optional `log`, or one fixed value. Paths are slots (`dropout: [off, bernoulli]`) or doses (`dropout.p: {low: 0,
            high: 0.5}`).
        only: True searches the paths in `limits` and nothing else.
        reads: the kind of data; kinds of trick for others are not searched.
        numbers, categories, classes: whether the data has such columns, and classes to tell apart; slots for what is absent
            are not searched.
        absent: further slots that have nothing to act on.
        own: the doses that the factory of `model: custom` declares; their paths are `model.doses.NAME`.

    Raises:
        RecipeError: a path is unknown, or a limit lies outside what its dose allows.

    Example:
        >>> region = Region(Recipe(), {"dropout": ["bernoulli"], "dropout.p": {"low": 0.1, "high": 0.3}}, only=True)
        >>> region.make(lambda axis: at(axis.mark, 0.5)).dropout
        Bernoulli(kind='bernoulli', p=0.2)
    """

    def __init__(
        self,
        base: Recipe,
        limits: Mapping[str, Any] | None = None,
        *,
        only: bool = False,
        reads: str = "table",
        numbers: bool = True,
        categories: bool = True,
        classes: bool = True,
        absent: Sequence[str] = (),
        own: Sequence[Dose] = (),
    ) -> None:
        self.base = base
        self._own = list(own)
        self._slots: dict[tuple[str, type[Trick]], tuple[dict[str, Any], _Axes, _Axes]] = {}
        self._rates: dict[type[Trick], _Axes] = {}
        self.limits = dict(limits or {})
        self.only = only
        self.reads = reads
        self._absent = [
            *absent,
            *([] if numbers else ["data.scale", "data.numbers", "augment.noise"]),
            *([] if categories else ["data.categories"]),
            *([] if classes else ["regularize.label_smoothing", "regularize.focal", "regularize.class_weights"]),
        ]
        self._check()

    def make(self, choose: Chooser) -> Recipe:
        """The recipe that a chooser's answers make."""
        values = self.base.plain()
        for path, held in self._chosen(self._kinds_by_slot, choose):
            *way, last = path.split(".")
            place = values
            for key in way:
                place = place[key]
            place[last] = place[last] | held if path == "learning_rate" else held
        # Features are for networks that read rows; choosing a network comes after choosing what it reads.
        return fitted(Recipe.of(values))

    def answers(self, choose: Chooser) -> dict[str, Any]:
        """A chooser's answers by name of axis, without the recipe that they would make, which takes ten times as long."""
        found: dict[str, Any] = {}

        def noted(axis: Axis) -> Any:
            found[axis.name] = choose(axis)
            return found[axis.name]

        for _ in self._chosen(self._asking, noted):
            pass
        return found

    def nearest(self, recipe: Recipe) -> Recipe:
        """A recipe of the region that takes from another whatever the region allows."""

        def choose(axis: Axis) -> Any:
            value = held(recipe, axis)
            return at(axis.mark, 0.5, integer=axis.integer) if value is None else value

        return self.make(choose)

    def suited(self, recipe: Recipe) -> Recipe:
        """The recipe without tricks that have nothing to act on in these data."""
        for path in self._absent:
            recipe = recipe.without(path)
        return recipe

    def varies(self, path: str) -> bool:
        """Whether there is anything to choose in a slot."""
        return path in self._varying

    @cached_property
    def _varying(self) -> set[str]:
        def has_axis(path: str, kind: type[Trick]) -> bool:
            return any(isinstance(self._axis(f"{path}.{dose.name}", dose.name, dose), Axis) for dose in doses(kind))

        return {path for path, kinds in self._kinds_by_slot.items() if len(kinds) > 1 or has_axis(path, kinds[0])}

    def point(self, recipe: Recipe) -> dict[Axis, Any] | None:
        """The choices that would make `recipe`, by axis; None if it lies outside the region.

        The length of training does not count: the search shortens it where time is short.
        """
        chosen: dict[Axis, Any] = {}

        def choose(axis: Axis) -> Any:
            value = held(recipe, axis)
            if value is None:
                raise LookupError(axis.name)
            chosen[axis] = value
            return value

        try:
            return chosen if self.make(choose).replace("stop", recipe.stop.model_dump()) == recipe else None
        except LookupError:
            return None

    # ------------------------------------------------------------------------

    @cached_property
    def _kinds_by_slot(self) -> dict[str, list[type[Trick]]]:
        """Slots with the kinds to choose from."""
        return {path: self._kinds(path, kinds) for path, kinds in slots().items()}

    def _kinds(self, path: str, kinds: tuple[type[Trick], ...]) -> list[type[Trick]]:
        here = type(self.base.at(path))
        if path in self.limits:
            named = self.limits[path] if isinstance(self.limits[path], list) else [self.limits[path]]
            names = ["off" if name in (False, None) else name for name in named]
            found = [kind for kind in kinds if kind.name() in names]
            for kind in found:
                check_suits(path, kind, self.reads)
            return found
        if self.only or path in self._absent or path == "stop":
            return [here]
        fitting = [kind for kind in kinds if self.reads in kind.reads]
        return [kind for kind in fitting if kind.searched and not (kind is Off and path in _NEEDED)] or [here]

    @cached_property
    def _asking(self) -> dict[str, list[type[Trick]]]:
        """Slots of which a chooser is asked something, with their kinds."""

        def asks(path: str, kind: type[Trick]) -> bool:
            _, axes, own = self._slot(path, kind)
            return any(isinstance(axis, Axis) for _, axis in [*axes, *own])

        return {path: kinds for path, kinds in self._kinds_by_slot.items() if len(kinds) > 1 or asks(path, kinds[0])}

    def _chosen(self, kinds_by_slot: Mapping[str, list[type[Trick]]], choose: Chooser) -> Iterator[tuple[str, dict[str, Any]]]:
        """Path by path, what a slot holds by a chooser's answers; last, the searched doses of the learning rate."""
        optimizer = self._kinds_by_slot["optimizer"][0]
        for path, kinds in kinds_by_slot.items():
            kind = self._chosen_kind(path, kinds, choose)
            optimizer = kind if path == "optimizer" else optimizer
            yield path, self._doses(path, kind, choose)
        yield "learning_rate", self._learning_rate(optimizer, choose)

    def _chosen_kind(self, path: str, kinds: list[type[Trick]], choose: Chooser) -> type[Trick]:
        if len(kinds) == 1:
            return kinds[0]
        name = choose(Axis(path, tuple(kind.name() for kind in kinds)))
        return next(kind for kind in kinds if kind.name() == name)

    def _doses(self, path: str, kind: type[Trick], choose: Chooser) -> dict[str, Any]:
        """A slot's kind with its doses."""
        held, axes, own = self._slot(path, kind)
        values = dict(held)
        for name, axis in axes:
            values[name] = axis.value if isinstance(axis, _Fixed) else choose(axis)
        if own:
            values["doses"] = values["doses"] | {
                name: axis.value if isinstance(axis, _Fixed) else choose(axis) for name, axis in own
            }
        return values

    def _slot(self, path: str, kind: type[Trick]) -> "tuple[dict[str, Any], _Axes, _Axes]":
        """What a slot's kind holds by default, its doses that are set or searched, and those of a person's own network.

        It is found once: a proposal walks through some seventy slots.
        """
        if (path, kind) not in self._slots:
            here = self.base.at(path)
            held: dict[str, Any] = here.model_dump() if type(here) is kind else {"kind": kind.name()}
            # what does not act is not searched
            acting = [dose for dose in doses(kind) if self.reads in kind.reads or f"{path}.{dose.name}" in self.limits]
            axes = [
                (dose.name, self._axis(f"{path}.{dose.name}", f"{path}.{kind.name()}.{dose.name}", dose)) for dose in acting
            ]
            own = [(dose.name, self._own_axis(dose)) for dose in self._own] if kind is Custom else []
            self._slots[path, kind] = (
                held, [(name, axis) for name, axis in axes if axis], [(name, axis) for name, axis in own if axis],
            )  # fmt: skip
        return self._slots[path, kind]

    def _axis(self, path: str, name: str, dose: Dose) -> "Axis | _Fixed | None":
        """How a dose is searched: as the person says, as its mark says, or not at all (None)."""
        if path in self.limits:
            return _limited(name, dose, self.limits[path])
        if self.only or path.startswith("stop.") or not isinstance(dose.mark, Range):
            return None
        low, high = dose.mark.search or (dose.mark.low, dose.mark.high)
        return Axis(name, dose.mark, dose.integer) if low < high else None

    def _own_axis(self, dose: Dose) -> "Axis | _Fixed | None":
        """How a dose of a person's own network is searched; choices are searched too, because they were declared for that."""
        path, name = f"model.doses.{dose.name}", f"model.custom.{dose.name}"
        if isinstance(dose.mark, tuple) and path not in self.limits and not self.only:
            return Axis(name, dose.mark)
        return self._axis(path, name, dose)

    def _learning_rate(self, optimizer: type[Trick], choose: Chooser) -> dict[str, Any]:
        """Doses of the learning rate; the range of its peak hangs on the optimizer."""
        if optimizer not in self._rates:
            self._rates[optimizer] = list(self._rate_axes(optimizer))
        return {name: axis.value if isinstance(axis, _Fixed) else choose(axis) for name, axis in self._rates[optimizer]}

    def _rate_axes(self, optimizer: type[Trick]) -> "Iterator[tuple[str, Axis | _Fixed]]":
        assert issubclass(optimizer, OptimizerTrick)
        marks = {dose.name: dose for dose in doses(LearningRate)}
        typical = optimizer.typical_rate
        mark = marks["peak"].mark
        assert isinstance(mark, Range)
        search = (max(mark.low, typical / PEAK_SPREAD), min(mark.high, typical * PEAK_SPREAD))
        peak = Dose("peak", Range(mark.low, mark.high, log=True, search=search), False, typical)
        for dose, name in ((peak, f"learning_rate.{optimizer.name()}.peak"), (marks["warmup"], "learning_rate.warmup")):
            axis = self._axis(f"learning_rate.{dose.name}", name, dose)
            if axis is not None:
                yield dose.name, axis

    def _check(self) -> None:
        """Refuses limits that no recipe could follow."""
        known = slots()
        paths = {"learning_rate.peak", "learning_rate.warmup"}
        for slot, kinds in known.items():
            paths |= {slot, *(f"{slot}.{dose.name}" for kind in kinds for dose in doses(kind))}
        own = {f"model.doses.{dose.name}": dose for dose in self._own}
        paths |= set(own)
        for path, limit in self.limits.items():
            if path not in paths:
                raise RecipeError(
                    say(
                        "The search space names {path!r}, which no recipe has.{hint} `titrant recipe show` lists every path.",
                        path=path,
                        hint=near(str(path), sorted(paths)),
                    )
                )
            if path in own:
                _limited(path, own[path], limit)
            elif path in known:
                self._check_kinds(path, known[path], limit)
            else:
                slot, _, name = path.rpartition(".")
                holders = [LearningRate] if slot == "learning_rate" else self._kinds(slot, known[slot])
                if not any(dose.name == name for kind in holders for dose in doses(kind)):
                    holders = [kind for kind in known.get(slot, ()) if any(dose.name == name for dose in doses(kind))]
                for dose in (dose for kind in holders for dose in doses(kind) if dose.name == name):
                    _limited(path, dose, limit)

    def _check_kinds(self, path: str, kinds: tuple[type[Trick], ...], limit: Any) -> None:
        names = [kind.name() for kind in kinds]
        if limit == []:
            raise RecipeError(_nothing(path))
        for name in limit if isinstance(limit, list) else [limit]:
            if ("off" if name in (False, None) else name) not in names:
                raise RecipeError(
                    say("The search space gives {path} the kind {name!r}; it can be one of {names}.",
                        path=path, name=name, names=", ".join(names))
                )  # fmt: skip


@dataclass(frozen=True)
class _Fixed:
    value: Any


_Axes = list[tuple[str, Axis | _Fixed]]


def _limited(name: str, dose: Dose, limit: Any) -> Axis | _Fixed:
    """A person's limit on a dose, checked against what the dose allows."""
    if limit == []:
        raise RecipeError(_nothing(name))
    if isinstance(limit, list):
        for value in limit:
            _allowed(name, dose, value)
        return Axis(name, tuple(limit))
    if not isinstance(limit, Mapping):
        _allowed(name, dose, limit)
        return _Fixed(limit)
    if set(limit) - {"low", "high", "log"} or not {"low", "high"} <= set(limit) or not isinstance(dose.mark, Range):
        raise RecipeError(
            say("The search space writes {name} as {limit}; write one value, a list of values, or {{low: ..., high: ...}}.",
                name=name, limit=dict(limit))
        )  # fmt: skip
    low, high = limit["low"], limit["high"]
    for value in (low, high):
        _allowed(name, dose, value, within=True)
    log = bool(limit.get("log", dose.mark.log and low > 0))
    if low > high or (log and low <= 0):
        raise RecipeError(
            say("The search space for {name} runs from {low} to {high}; low must not exceed high, a log scale starts above 0.",
                name=name, low=low, high=high)
        )  # fmt: skip
    if low == high:
        return _Fixed(low)
    return Axis(name, Range(dose.mark.low, dose.mark.high, off=dose.mark.off, log=log, search=(low, high)), dose.integer)


def _nothing(name: str) -> str:
    return say("The search space gives {name} no value to choose from; write at least one.", name=name)


def _allowed(name: str, dose: Dose, value: Any, *, within: bool = False) -> None:
    """Refuses a value that the dose cannot take; `within` refuses an off value that lies outside the range too."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(dose.mark, Range):
        inside = number and value in dose.mark and (not within or dose.mark.low <= value <= dose.mark.high)
    else:
        inside = value in dose.mark
    if not inside or (dose.integer and number and value != int(value)):
        raise RecipeError(
            say("The search space gives {name} the value {value!r}, which is outside {range}.",
                name=name, value=value, range=dose.mark if isinstance(dose.mark, Range) else ", ".join(map(str, dose.mark)))
        )  # fmt: skip


@cache
def slot_of(name: str) -> str:
    """The slot of an axis, or of a dose or a kind in it; the name itself where no slot holds it, as of `learning_rate.peak`.

    Example:
        >>> slot_of("dropout.bernoulli.p"), slot_of("regularize.l2")
        ('dropout', 'regularize.l2')
    """
    return max((path for path in slots() if f"{name}.".startswith(f"{path}.")), key=len, default=name)


def held(recipe: Recipe, axis: Axis) -> Any:
    """What a recipe holds on an axis; None if it has no such dose or holds a value that the axis does not visit."""
    *_, dose = axis.name.split(".")
    if axis.name in slots():
        value: Any = recipe.at(axis.name).kind
    elif axis.name.startswith("learning_rate.") and dose in {"peak", "warmup"}:
        ours = axis.name in {"learning_rate.warmup", f"learning_rate.{recipe.optimizer.kind}.peak"}
        value = getattr(recipe.learning_rate, dose) if ours else None
    else:
        slot = slot_of(axis.name)
        trick = recipe.at(slot)
        holder = {**trick.model_dump(), **trick.doses} if isinstance(trick, Custom) else trick.model_dump()
        value = holder[dose] if axis.name == f"{slot}.{trick.kind}.{dose}" else None
    if value is None or isinstance(axis.mark, tuple):
        return value if isinstance(axis.mark, tuple) and value in axis.mark else None
    low, high = axis.ends
    return value if low <= value <= high else None


def unit_chooser(units: Callable[[str], float]) -> Chooser:
    """Chooses by a number in [0, 1) for each name. Where off is a choice it gets half of the unit interval."""

    def choose(axis: Axis) -> Any:
        unit = units(axis.name)
        if isinstance(axis.mark, tuple) and Off.name() in axis.mark and len(axis.mark) > 2:
            others = tuple(kind for kind in axis.mark if kind != "off")
            return "off" if unit < 0.5 else at(others, (unit - 0.5) * 2)
        return at(axis.mark, unit, integer=axis.integer)

    return choose
