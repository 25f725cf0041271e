"""Marks on fields: the one declaration that validation, search, help, documentation and conformance tests all read.

A dose is a field of a trick annotated with a `Range`:

    p: Annotated[float, Range(0.0, 0.9, off=0.0)] = 0.2

The mark refuses values outside the range when the trick is made, tells the search where to look, and knows the off value at
which the trick does nothing. A field whose type is a `Literal` is a choice and needs no mark.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError, core_schema


@dataclass(frozen=True)
class Range:
    """The values that a dose may take.

    Args:
        low, high: the ends; both are allowed.
        off: the value at which the trick does nothing, allowed even where it lies outside the ends; None if there is none.
        log: True if equal ratios matter rather than equal differences.
        search: the narrower part that the default search visits; None: all of it.
        unit: what is counted, for help texts.
        raising: what a higher value does, in a few words.
        shared: members trained in one stack must agree on this value (it changes shapes or control flow).
    """

    low: float
    high: float
    off: float | None = None
    log: bool = False
    search: tuple[float, float] | None = None
    unit: str = ""
    raising: str = ""
    shared: bool = False

    def __post_init__(self) -> None:
        """Refuses a mark that contradicts itself."""
        inner = self.search or (self.low, self.high)
        if not self.low <= inner[0] <= inner[1] <= self.high or (self.log and inner[0] <= 0):
            raise ValueError(f"{self} is no range: it needs low <= search <= high, and a positive search on a log scale")

    def __contains__(self, value: float) -> bool:
        """True for an allowed value."""
        return (self.low <= value <= self.high or value == self.off) and math.isfinite(value)

    def __str__(self) -> str:
        """The range as people write it."""
        ends = f"{self.low:g} to {self.high:g}"
        return ends if self.off is None or self.low <= self.off <= self.high else f"{ends}, or {self.off:g} (off)"

    def _checked(self, value: float) -> float:
        if value not in self:
            raise PydanticCustomError("dose_range", "{value} is outside {range}", {"value": value, "range": str(self)})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Adds the check to the field's own validation."""
        number = core_schema.no_info_before_validator_function(_no_truth, handler(source))
        return core_schema.no_info_after_validator_function(self._checked, number)

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Writes the ends into the JSON schema, so that editors can check a recipe."""
        described = handler(schema)
        described["minimum"] = self.low if self.off is None else min(self.low, self.off)
        described["maximum"] = self.high if self.off is None else max(self.high, self.off)
        if self.raising:
            described["description"] = f"Raising it: {self.raising}."
        return described


def _no_truth(value: Any) -> Any:
    """Refuses true and false, which Python would take for 1 and 0."""
    if isinstance(value, bool):
        raise PydanticCustomError("dose_range", "{value} is not a number", {"value": str(value)})
    return value


@dataclass(frozen=True)
class Dose:
    """One variable number or choice inside a trick.

    Args:
        name: the field's name.
        mark: its `Range`, or a tuple of choices.
        integer: True if only whole numbers are meaningful.
        default: the value it has when nobody sets it.
    """

    name: str
    mark: Range | tuple[Any, ...]
    integer: bool
    default: Any


def doses(kind: type[BaseModel]) -> Iterator[Dose]:
    """The doses that a trick's class declares, in the order of its fields."""
    for name, field in kind.model_fields.items():
        if name == "kind":
            continue
        mark = _mark(field)
        if mark is not None:
            yield Dose(name, mark, field.annotation is int, field.default)


def _mark(field: FieldInfo) -> Range | tuple[Any, ...] | None:
    for entry in field.metadata:
        if isinstance(entry, Range):
            return entry
    if get_origin(field.annotation) is Literal:
        return get_args(field.annotation)
    if field.annotation is bool:
        return (False, True)
    return None


def at(mark: Range | tuple[Any, ...], unit: float, *, integer: bool = False) -> Any:
    """The value at `unit`, a point of [0, 1), on the searched part of a mark; the inverse of nothing, the way in for samplers.

    Example:
        >>> at(Range(1e-4, 1.0, log=True), 0.5)
        0.01
    """
    if isinstance(mark, tuple):
        return mark[min(int(unit * len(mark)), len(mark) - 1)]
    low, high = mark.search or (mark.low, mark.high)
    if integer:
        high = high + 1
    value = low * (high / low) ** unit if mark.log else low + (high - low) * unit
    return min(int(value), int(high) - 1) if integer else rounded_into(value, low, high)


def rounded_into(value: float, low: float, high: float) -> float:
    """The value to six digits, inside the ends to their last digit.

    Example:
        >>> rounded_into(0.123456789, 0.1, 0.2), rounded_into(0.3, 0.1, 0.123456789)
        (0.123457, 0.123456789)
    """
    return min(max(float(f"{value:.6g}"), low), high)


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as one level of dotted paths.

    Example:
        >>> flatten({"dropout": {"kind": "bernoulli", "p": 0.2}})
        {'dropout.kind': 'bernoulli', 'dropout.p': 0.2}
    """
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        path = f"{prefix}{key}"
        flat.update(flatten(value, f"{path}.") if isinstance(value, Mapping) else {path: value})
    return flat
