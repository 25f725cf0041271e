"""What every trick is: a frozen value, and a pure function that serves one member or many.

A slot of a recipe holds one of several kinds of trick, `Dropout = Off | Bernoulli | ...`: the union is the registry. When
members are trained together, `segments` cuts the member axis into runs of one kind and turns their doses into tensors with a
leading member axis, so the same function acts on a plain tensor with a float dose and on a stack with a tensor of doses.

Axes in names: k member, b row of a batch, f feature, c code column or class, p parameter.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeAlias, TypeVar, get_args, get_origin

import torch
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import PydanticCustomError, core_schema
from torch import Tensor

from titrant.space import Range, doses

Value: TypeAlias = float | Tensor
"""A dose as a behaviour meets it: a number, or one number per member, shaped to broadcast."""

DataKind = Literal["table", "image", "series", "text"]
"""The kinds of data that recipes are for."""


class Trick(BaseModel):
    """One technique and its doses, immutable and comparable.

    Class attributes:
        unit: what the receipt counts.
        searched: False keeps the kind out of the default search (a `--space` file can still name it).
        reads: the kinds of data that it acts on.
        nuisances: paths of doses whose best value hangs on this trick; a comparison with and without it tunes them anew in both
            arms, besides the learning rate and the optimizer's decay.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    unit: ClassVar[str] = "steps"
    searched: ClassVar[bool] = True
    reads: ClassVar[tuple[DataKind, ...]] = ("table", "image", "series", "text")
    nuisances: ClassVar[tuple[str, ...]] = ()
    kind: str

    @classmethod
    def name(cls) -> str:
        """The word that selects this kind in a recipe."""
        return str(cls.model_fields["kind"].default)

    def values(self) -> dict[str, Any]:
        """The doses by name.

        Example:
            >>> from titrant.tricks.dropout import Bernoulli
            >>> Bernoulli(p=0.3).values()
            {'p': 0.3}
        """
        return {name: getattr(self, name) for name in type(self).model_fields if name != "kind"}

    @property
    def is_off(self) -> bool:
        """True if this trick does nothing: its kind is off, or a dose stands at its off value."""
        if self.kind == "off":
            return True
        marks = {dose.name: dose.mark for dose in doses(type(self))}
        return any(
            isinstance(mark, Range) and mark.off is not None and getattr(self, name) == mark.off for name, mark in marks.items()
        )


class Off(Trick):
    """The trick is absent."""

    kind: Literal["off"] = "off"


@dataclass(frozen=True)
class Options:
    """Marks a slot's union: chooses the class by `kind`, and accepts the short forms that people write.

    `dropout: bernoulli` and `dropout: {kind: bernoulli}` mean the same; `off`, `false`, `none` and null (YAML 1.1 reads a bare
    `off` as false) mean `Off`; where a slot has one kind besides `Off`, a mapping of doses needs no `kind`.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """A tagged union behind the short forms."""
        kinds = {kind.name(): kind for kind in options(source)}
        union = core_schema.tagged_union_schema(
            {name: handler.generate_schema(kind) for name, kind in kinds.items()},
            discriminator="kind",
        )
        return core_schema.no_info_before_validator_function(lambda value: _expand(value, kinds), union)


def options(union: Any) -> tuple[type[Trick], ...]:
    """The kinds of trick that a slot may hold, in the order of their declaration."""
    if isinstance(union, type):
        return (union,)
    parts = get_args(union)[:1] if get_origin(union) is Annotated else get_args(union)
    return tuple(kind for part in parts for kind in options(part))


def _expand(value: Any, kinds: Mapping[str, type[Trick]]) -> Any:
    if isinstance(value, Trick):
        value = value.model_dump()
    if value is None or value is False or value == "none":
        value = "off" if "off" in kinds else value
    if isinstance(value, str):
        value = {"kind": value}
    if not isinstance(value, Mapping):
        raise PydanticCustomError(
            "trick_form",
            "{value} is neither a kind nor a mapping of doses; kinds: {kinds}",
            {"value": str(value), "kinds": ", ".join(kinds)},
        )
    chosen = value.get("kind")
    if chosen is False:
        chosen = "off"
    if "kind" not in value:
        named = [name for name in kinds if name != "off"]
        if len(named) != 1:
            raise PydanticCustomError("trick_kind", "says no kind; choose one of {kinds}", {"kinds": ", ".join(kinds)})
        chosen = named[0]
    if not isinstance(chosen, str) or chosen not in kinds:
        near = get_close_matches(str(chosen), kinds, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise PydanticCustomError(
            "trick_kind",
            "{value} is not a kind; choose one of {kinds}{hint}",
            {"value": str(chosen), "kinds": ", ".join(kinds), "hint": hint},
        )
    return {**value, "kind": chosen}


T = TypeVar("T", bound=Trick)


@dataclass(frozen=True)
class Segment(Generic[T]):
    """Consecutive members that hold the same kind of trick.

    Args:
        kind: the class whose behaviour acts.
        start, stop: the members, a slice of the member axis.
        values: the doses by name: a float where a single member stands, else a float32 tensor [stop - start] with as many
            trailing axes of length one as `segments` was asked for. Choices and shared doses stay plain values.
    """

    kind: type[T]
    start: int
    stop: int
    values: dict[str, Any]

    def __len__(self) -> int:
        return self.stop - self.start


def segments(tricks: Sequence[T], *, axes: int = 0, device: torch.device | str = "cpu") -> list[Segment[T]]:
    """Cuts the member axis into runs of one kind, with their doses stacked.

    Args:
        tricks: one for each member.
        axes: how many axes follow the member axis in the tensors that the doses will meet.
        device: where the doses shall live.

    Example:
        >>> from titrant.tricks.dropout import Bernoulli
        >>> [(s.kind.name(), s.start, s.stop) for s in segments([Off(), Bernoulli(p=0.1), Bernoulli(p=0.2)])]
        [('off', 0, 1), ('bernoulli', 1, 3)]
    """
    cuts = [0, *(i for i in range(1, len(tricks)) if _stack_key(tricks[i]) != _stack_key(tricks[i - 1])), len(tricks)]
    return [
        Segment(type(tricks[start]), start, stop, _stacked(tricks[start:stop], axes, device, alone=len(tricks) == 1))
        for start, stop in pairwise(cuts)
    ]


def active_segments(tricks: Sequence[T], *, axes: int = 0, device: torch.device | str = "cpu") -> list[Segment[T]]:
    """The segments of `segments` without those in which the trick is absent."""
    return [part for part in segments(tricks, axes=axes, device=device) if part.kind is not Off]


def _stackable(kind: type[Trick]) -> list[str]:
    return [dose.name for dose in doses(kind) if isinstance(dose.mark, Range) and not dose.mark.shared]


def _stack_key(trick: Trick) -> tuple[Any, ...]:
    free = set(_stackable(type(trick)))
    return (type(trick), *((name, getattr(trick, name)) for name in type(trick).model_fields if name not in free))


def _stacked(tricks: Sequence[Trick], axes: int, device: torch.device | str, *, alone: bool) -> dict[str, Any]:
    first = tricks[0]
    values = first.values()
    if not alone:
        for name in _stackable(type(first)):
            column = torch.tensor([float(getattr(trick, name)) for trick in tricks], device=device)
            values[name] = column.reshape(-1, *[1] * axes)
    return values


def by_segment(parts: Sequence[Segment[T]], x: Tensor, act: Callable[[Segment[T], Tensor], Tensor]) -> Tensor:
    """Applies each segment's behaviour to its members' part of `x` [k, ...].

    One kind for all needs no copy; several cost one concatenation. `split` rather than slicing, because its gradient is one
    concatenation too, where each slice would allocate and add a whole zero-padded tensor.
    """
    if len(parts) == 1:
        return act(parts[0], x)
    pieces = torch.split(x, [len(part) for part in parts])
    return torch.cat([act(part, piece) for part, piece in zip(parts, pieces, strict=True)])
