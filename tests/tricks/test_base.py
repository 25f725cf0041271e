"""What every trick shares: frozen values, the short forms of a slot, and stacks of members cut into segments."""

from itertools import groupby
from typing import Annotated, Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from titrant.space import Range
from titrant.tricks.base import Off, Options, Segment, Trick, by_segment, options, segments
from titrant.tricks.dropout import Alpha, Bernoulli, Dropout


class Plain(Trick):
    kind: Literal["plain"] = "plain"
    strength: Annotated[float, Range(0.0, 10.0, off=0.0)] = 1.0
    shared: Annotated[int, Range(1, 4, shared=True)] = 1
    mode: Literal["near", "far"] = "near"


class Sturdy(Trick):
    kind: Literal["sturdy"] = "sturdy"


class Other(Trick):
    kind: Literal["other"] = "other"


Lone = Annotated[Off | Plain, Options()]
Mandatory = Annotated[Sturdy | Other, Options()]

DROPOUT: TypeAdapter[Any] = TypeAdapter(Dropout)
LONE: TypeAdapter[Any] = TypeAdapter(Lone)
MANDATORY: TypeAdapter[Any] = TypeAdapter(Mandatory)

plains = st.builds(Plain, strength=st.floats(0, 10, width=32), shared=st.integers(1, 2), mode=st.sampled_from(["near", "far"]))
populations = st.lists(st.just(Off()) | st.just(Sturdy()) | plains, min_size=2, max_size=12)


def error_of(adapter: TypeAdapter[Any], value: object) -> Any:
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python(value)
    (error,) = caught.value.errors()
    return error


def test_a_trick_is_a_frozen_comparable_value() -> None:
    trick = Bernoulli(p=0.3)
    assert trick == Bernoulli(p=0.3) != Bernoulli(p=0.4)
    assert hash(trick) == hash(Bernoulli(p=0.3))
    assert Bernoulli.name() == "bernoulli"
    with pytest.raises(ValidationError, match="frozen"):
        trick.p = 0.5


@given(st.one_of(st.just(Off()), plains))
def test_a_trick_survives_plain_data(trick: Trick) -> None:
    assert LONE.validate_python(trick.model_dump()) == trick
    assert LONE.validate_json(trick.model_dump_json()) == trick


def test_a_trick_is_off_by_its_kind_or_by_a_dose() -> None:
    assert Off().is_off
    assert Plain(strength=0.0).is_off
    assert not Plain(strength=1e-9).is_off
    assert not Sturdy().is_off


@pytest.mark.parametrize("short", ["off", None, False, "none", {"kind": "off"}, {"kind": False}, Off()])
def test_every_word_for_nothing_means_off(short: object) -> None:
    assert DROPOUT.validate_python(short) == Off()


@pytest.mark.parametrize(
    ("short", "trick"),
    [
        ("bernoulli", Bernoulli()),
        ({"kind": "bernoulli"}, Bernoulli()),
        ({"kind": "alpha", "p": 0.25}, Alpha(p=0.25)),
        (Alpha(p=0.25), Alpha(p=0.25)),
    ],
)
def test_short_forms_mean_the_long_one(short: object, trick: Trick) -> None:
    assert DROPOUT.validate_python(short) == trick


def test_a_lone_kind_needs_no_name() -> None:
    assert LONE.validate_python({"strength": 3.0}) == Plain(strength=3.0)
    assert LONE.validate_python({}) == Plain()


@pytest.mark.parametrize("value", [True, 3, 0.2, ["bernoulli"], ("alpha", 0.2)])
def test_what_is_no_trick_is_refused_with_the_kinds(value: object) -> None:
    error = error_of(DROPOUT, value)
    assert error["type"] == "trick_form"
    kinds = "off, bernoulli, alpha, variational, zoneout"
    assert error["msg"] == f"{value} is neither a kind nor a mapping of doses; kinds: {kinds}"


@pytest.mark.parametrize("value", [{"p": 0.1}, {}])
def test_a_missing_kind_is_asked_for(value: object) -> None:
    assert error_of(DROPOUT, value)["msg"] == "says no kind; choose one of off, bernoulli, alpha, variational, zoneout"


def test_a_misspelt_kind_gets_a_hint() -> None:
    assert error_of(DROPOUT, "bernouli")["msg"].endswith("alpha, variational, zoneout; did you mean bernoulli?")
    assert error_of(DROPOUT, {"kind": "zzz"})["msg"].startswith("zzz is not a kind; choose one of off, bernoulli, alpha, ")


@pytest.mark.parametrize("kind", [True, 3, ["bernoulli"], {"p": 0.1}])
def test_a_kind_that_is_no_word_is_refused(kind: object) -> None:
    assert error_of(DROPOUT, {"kind": kind})["type"] == "trick_kind"


@pytest.mark.parametrize("value", ["off", None, False, Bernoulli()])
def test_a_slot_that_cannot_be_off_says_so(value: object) -> None:
    assert "sturdy, other" in error_of(MANDATORY, value)["msg"]


def test_doses_are_refused_with_their_path() -> None:
    outside = error_of(DROPOUT, {"kind": "bernoulli", "p": 0.95})
    assert (outside["loc"], outside["msg"]) == (("bernoulli", "p"), "0.95 is outside 0 to 0.9")
    unknown = error_of(DROPOUT, {"kind": "bernoulli", "q": 0.1})
    assert (unknown["loc"], unknown["type"]) == (("bernoulli", "q"), "extra_forbidden")


def test_options_are_the_kinds_in_order() -> None:
    assert options(Dropout)[:3] == options(Off | Bernoulli | Alpha) == (Off, Bernoulli, Alpha)
    assert options(Mandatory) == (Sturdy, Other)
    assert options(Sturdy) == (Sturdy,)


@given(populations, st.integers(0, 3))
def test_segments_are_runs_of_one_kind_with_stacked_doses(tricks: list[Trick], axes: int) -> None:
    parts = segments(tricks, axes=axes)
    runs = [list(run) for _, run in groupby(tricks, lambda t: (t.kind, getattr(t, "shared", 0), getattr(t, "mode", "")))]
    assert [len(part) for part in parts] == [len(run) for run in runs]
    assert [member for part in parts for member in range(part.start, part.stop)] == list(range(len(tricks)))
    for part, run in zip(parts, runs, strict=True):
        assert all(type(trick) is part.kind for trick in run)
        if isinstance(run[0], Plain):
            strength = part.values["strength"]
            assert strength.dtype == torch.float32
            assert strength.shape == (len(run), *[1] * axes)
            assert strength.flatten().tolist() == [trick.strength for trick in run]
            assert (part.values["shared"], part.values["mode"]) == (run[0].shared, run[0].mode)
        else:
            assert part.values == {}


def test_a_single_member_keeps_plain_numbers() -> None:
    (part,) = segments([Plain(strength=2.5)], axes=2)
    assert part == Segment(Plain, 0, 1, {"strength": 2.5, "shared": 1, "mode": "near"})


def act(part: Segment[Any], x: Tensor) -> Tensor:
    """A behaviour for the kinds above: scales by the strength, or squares."""
    if part.kind is Off:
        return x
    return x * x if part.kind is Sturdy else x * part.values["strength"]


@given(populations)
def test_by_segment_equals_each_member_alone(tricks: list[Trick]) -> None:
    x = torch.randn(len(tricks), 3, 2, requires_grad=True)
    alone = x.detach().clone().requires_grad_()
    stacked = by_segment(segments(tricks, axes=2), x, act)
    single = torch.stack([act(segments([trick])[0], row) for trick, row in zip(tricks, alone, strict=True)])
    assert torch.equal(stacked, single)
    weights = torch.randn(stacked.shape)
    stacked.backward(weights)
    single.backward(weights)
    assert torch.equal(x.grad, alone.grad)


def test_one_kind_for_all_needs_no_copy() -> None:
    x = torch.randn(3, 2)
    assert by_segment(segments([Off(), Off(), Off()]), x, act) is x
