"""Marks on fields: what they accept, what they refuse, and where the search finds its values."""

import json
import math
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError, create_model

from titrant.space import Dose, Range, at, doses, flatten


class Sample(BaseModel):
    kind: Literal["sample"] = "sample"
    share: Annotated[float, Range(0.0, 0.9, off=0.0, raising="more of it")] = 0.2
    mode: Literal["near", "far"] = "near"
    count: Annotated[int, Range(1, 8)] = 2
    switch: bool = False
    note: str = ""


thousandths = st.integers(-5000, 5000).map(lambda n: n / 1000)
units = st.floats(0.0, 1.0, exclude_max=True)


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    low, inner_low, inner_high, high = sorted(draw(st.lists(thousandths, min_size=4, max_size=4)))
    return Range(
        low,
        high,
        off=draw(st.none() | thousandths),
        log=inner_low > 0 and draw(st.booleans()),
        search=draw(st.sampled_from([None, (inner_low, inner_high)])) if low > 0 else (inner_low, inner_high),
    )


def holder(mark: Range, of: type = float) -> type[BaseModel]:
    """A model whose dose lies one step down, at `slot.dose`."""
    fields: dict[str, Any] = {"dose": (Annotated[of, mark], ...)}
    inner = create_model("Inner", **fields)
    return create_model("Outer", slot=(inner, ...))


@pytest.mark.parametrize(
    "wrong",
    [
        {"low": 1.0, "high": 0.0},
        {"low": 0.0, "high": 1.0, "search": (0.5, 2.0)},
        {"low": 0.0, "high": 1.0, "search": (-0.5, 0.5)},
        {"low": 0.0, "high": 1.0, "search": (0.6, 0.5)},
        {"low": 0.0, "high": 1.0, "log": True},
        {"low": math.nan, "high": 1.0},
    ],
)
def test_a_mark_that_contradicts_itself_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is no range"):
        Range(**wrong)


@given(ranges(), st.floats(0.0, 1.0))
def test_every_value_inside_is_accepted(mark: Range, part: float) -> None:
    value = min(max(mark.low + part * (mark.high - mark.low), mark.low), mark.high)
    for accepted in (value, mark.low, mark.high, *([] if mark.off is None else [mark.off])):
        assert accepted in mark
        assert holder(mark)(slot={"dose": accepted}).model_dump() == {"slot": {"dose": accepted}}


@given(ranges(), st.floats())
def test_every_value_outside_is_refused_with_its_path(mark: Range, value: float) -> None:
    assume(not mark.low <= value <= mark.high and value != mark.off)
    assert value not in mark
    with pytest.raises(ValidationError) as caught:
        holder(mark)(slot={"dose": value})
    (error,) = caught.value.errors()
    assert error["loc"] == ("slot", "dose")
    assert error["type"] == "dose_range"
    assert error["msg"].endswith(f"is outside {mark}")


@pytest.mark.parametrize("value", ["much", None, [0.1], {"p": 0.1}])
def test_what_is_no_number_is_refused_with_its_path(value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        holder(Range(0.0, 1.0))(slot={"dose": value})
    assert caught.value.errors()[0]["loc"] == ("slot", "dose")


@pytest.mark.parametrize("value", [0, 9, -1, 10**400, -(10**400)], ids=["zero", "above", "below", "huge", "-huge"])
def test_whole_numbers_outside_are_refused_however_large(value: int) -> None:
    with pytest.raises(ValidationError) as caught:
        holder(Range(1, 8), int)(slot={"dose": value})
    assert caught.value.errors()[0]["loc"] == ("slot", "dose")


def test_a_range_reads_as_people_write_it() -> None:
    assert str(Range(0.0, 0.9, off=0.0)) == "0 to 0.9"
    assert str(Range(1e-4, 1.0)) == "0.0001 to 1"
    assert str(Range(0.1, 5.0, off=0.0)) == "0.1 to 5, or 0 (off)"


def test_the_json_schema_carries_the_ends() -> None:
    share = Sample.model_json_schema()["properties"]["share"]
    assert (share["minimum"], share["maximum"], share["description"]) == (0.0, 0.9, "Raising it: more of it.")
    below = holder(Range(0.1, 5.0, off=0.0)).model_json_schema()["$defs"]["Inner"]["properties"]["dose"]
    assert (below["minimum"], below["maximum"]) == (0.0, 5.0)
    assert "description" not in below
    json.dumps(Sample.model_json_schema(), allow_nan=False)


def test_doses_are_the_marked_fields_in_order() -> None:
    assert list(doses(Sample)) == [
        Dose("share", Range(0.0, 0.9, off=0.0, raising="more of it"), False, 0.2),
        Dose("mode", ("near", "far"), False, "near"),
        Dose("count", Range(1, 8), True, 2),
        Dose("switch", (False, True), False, False),
    ]


@given(ranges(), units)
def test_at_stays_in_the_searched_part(mark: Range, unit: float) -> None:
    low, high = mark.search or (mark.low, mark.high)
    assert low <= at(mark, unit) <= high


@given(ranges(), units, units)
def test_at_rises_with_the_unit(mark: Range, one: float, other: float) -> None:
    assert at(mark, min(one, other)) <= at(mark, max(one, other))


@given(units)
def test_at_spreads_evenly_on_the_scale_of_the_mark(unit: float) -> None:
    linear, log = Range(0.0, 1.0, search=(0.2, 0.7)), Range(1e-5, 1.0, log=True, search=(1e-4, 1e-2))
    assert at(linear, unit) == pytest.approx(np.interp(unit, [0, 1], [0.2, 0.7]), rel=1e-5)
    assert math.log10(at(log, unit)) == pytest.approx(np.interp(unit, [0, 1], [-4, -2]), abs=1e-5)


def test_at_gives_whole_numbers_and_choices_equal_shares() -> None:
    grid = (np.arange(600) + 0.5) / 600
    for mark, integer, values in (
        (Range(1, 8, search=(2, 4)), True, (2, 3, 4)),
        (("near", "far", "off"), False, ("near", "far", "off")),
    ):
        drawn = [at(mark, unit, integer=integer) for unit in grid]
        assert [drawn.count(value) for value in values] == [200, 200, 200]


@given(units)
def test_at_on_a_log_scale_of_whole_numbers(unit: float) -> None:
    value = at(Range(1, 64, log=True, search=(2, 16)), unit, integer=True)
    assert isinstance(value, int)
    assert value == math.floor(2 * 8.5**unit)


def test_a_search_of_one_point_is_that_point() -> None:
    assert {at(Range(0.1, 3.0, log=True, search=(1.0, 1.0)), unit) for unit in (0.0, 0.3, 0.999)} == {1.0}


def test_flatten_names_every_leaf() -> None:
    nested = {"a": 1, "b": {"c": None, "d": {"e": [1, {"f": 2}]}}, "g": {}}
    assert flatten(nested) == {"a": 1, "b.c": None, "b.d.e": [1, {"f": 2}]}
