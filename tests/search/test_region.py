"""The region: whatever a chooser answers, the recipe stays inside; its point makes it again; limits mean what they say."""

import random
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from titrant.errors import RecipeError
from titrant.recipe import Recipe, kinds, slots
from titrant.search.pictures import portfolio as pictures
from titrant.search.portfolio import baseline, portfolio, start
from titrant.search.region import PEAK_SPREAD, Axis, Chooser, Region, held, unit_chooser
from titrant.space import Range, at, doses
from titrant.tricks.base import Off
from titrant.tricks.learning_rate import LearningRate
from titrant.tricks.optimizer import Muon

ROWS = 300

LIMITS: list[dict[str, Any]] = [
    {},
    {"dropout": ["off", "alpha"], "dropout.p": {"low": 0.05, "high": 0.1}},
    {"optimizer": "muon", "learning_rate.peak": {"low": 0.001, "high": 0.002, "log": False}, "learning_rate.warmup": 0.3},
    {"batch": "fixed", "batch.size": [16, 32, 48], "model": ["mlp"], "model.depth": {"low": 1, "high": 2}},
    {"clip": ["norm", "value"], "clip.max_norm": [0.5, 2.0], "average": "off", "data.numbers": False, "mix": None},
    {"stop": "last", "stop.epochs": {"low": 1, "high": 5}, "regularize.decay": ["decay"], "regularize.decay.rate": 0},
    {"dropout": "bernoulli", "dropout.p": {"low": 0.123456789, "high": 0.1234567899}},
    {"average": "ema", "average.decay": {"low": 0.9, "high": 0.99999}},
]


def chooser(generator: random.Random) -> Chooser:
    """Any of the choices; an end of a range, or a point between."""

    def choose(axis: Axis) -> Any:
        if isinstance(axis.mark, tuple):
            return generator.choice(axis.mark)
        between = at(axis.mark, generator.random(), integer=axis.integer)
        return generator.choice([between, *(int(end) if axis.integer else end for end in axis.ends)])

    return choose


def within(limit: Any, value: Any) -> bool:
    if isinstance(limit, dict):
        return bool(limit["low"] <= value <= limit["high"])
    return value in (limit if isinstance(limit, list) else [limit])


def words(limit: Any) -> list[str]:
    """Kinds as a person may name them."""
    return ["off" if name in (None, False) else name for name in (limit if isinstance(limit, list) else [limit])]


def visited(mark: Range, value: float) -> bool:
    low, high = mark.search or (mark.low, mark.high)
    return low <= value <= high


def assert_inside(recipe: Recipe, base: Recipe, limits: dict[str, Any]) -> None:
    """What the documentation promises of the default search with limits, read off the recipe."""
    for path, trick in recipe.tricks():
        here = base.at(path)
        if path in limits:
            assert trick.kind in words(limits[path]), path
        else:
            assert type(trick) is type(here) if path == "stop" else trick.searched, path
        for dose in doses(type(trick)):
            value, full = getattr(trick, dose.name), f"{path}.{dose.name}"
            kept = getattr(here, dose.name) if type(here) is type(trick) else dose.default
            if full in limits:
                assert within(limits[full], value), full
            elif isinstance(dose.mark, Range) and path != "stop":
                assert value == kept or visited(dose.mark, value), full
            else:
                assert value == kept, full
    typical = type(recipe.optimizer).typical_rate
    spread = {"low": typical / PEAK_SPREAD, "high": typical * PEAK_SPREAD}
    assert within(limits.get("learning_rate.peak", spread), recipe.learning_rate.peak)
    assert within(limits.get("learning_rate.warmup", {"low": 0.0, "high": 0.2}), recipe.learning_rate.warmup)
    assert recipe.hardware == base.hardware


@pytest.mark.parametrize("limits", LIMITS)
@given(generator=st.randoms(use_true_random=False))
def test_every_answer_stays_inside_and_its_point_makes_it_again(limits: dict[str, Any], generator: random.Random) -> None:
    region = Region(start(ROWS), limits)
    answers: dict[Axis, Any] = {}
    choose = chooser(generator)

    def noted(axis: Axis) -> Any:
        assert axis not in answers, f"{axis.name} was asked twice"
        answers[axis] = choose(axis)
        return answers[axis]

    recipe = region.make(noted)
    assert_inside(recipe, region.base, limits)
    assert region.point(recipe) == answers
    assert len({axis.name for axis in answers}) == len(answers)
    assert region.make(lambda axis: answers[axis]) == recipe


@pytest.mark.parametrize("limits", LIMITS)
@given(unit=st.floats(0, 1, exclude_max=True))
def test_a_unit_chooser_stays_inside(limits: dict[str, Any], unit: float) -> None:
    region = Region(start(ROWS), limits)
    assert_inside(region.make(unit_chooser(lambda name: unit)), region.base, limits)


@given(st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0, 1, exclude_max=True))
def test_a_persons_ends_are_kept_to_the_last_digit(one: float, other: float, unit: float) -> None:
    low, high = sorted([one, other])
    region = Region(Recipe(), {"dropout": "bernoulli", "dropout.p": {"low": low, "high": high}}, only=True)
    recipe = region.make(unit_chooser(lambda name: unit))
    assert low <= recipe.at("dropout").model_dump()["p"] <= high
    assert region.point(recipe) is not None


def test_a_unit_chooser_gives_off_half_of_the_unit() -> None:
    choose = unit_chooser({"low": 0.49, "middle": 0.5, "end": 0.99}.__getitem__)
    assert [choose(Axis(name, ("off", "a", "b"))) for name in ("low", "middle", "end")] == ["off", "a", "b"]
    assert [choose(Axis(name, ("off", "a"))) for name in ("low", "end")] == ["off", "a"]
    assert [choose(Axis(name, ("a", "b"))) for name in ("low", "end")] == ["a", "b"]


# --------------------------------------------------------------------- point


def test_a_recipe_outside_has_no_point() -> None:
    region = Region(start(ROWS), {"dropout": ["bernoulli"], "dropout.p": {"low": 0.1, "high": 0.3}}, only=True)
    inside = start(ROWS).replace("dropout", {"kind": "bernoulli", "p": 0.2})
    assert {axis.name: value for axis, value in (region.point(inside) or {}).items()} == {"dropout.bernoulli.p": 0.2}
    assert region.point(inside.replace("dropout.p", 0.31)) is None
    assert region.point(inside.replace("dropout", "alpha")) is None
    assert region.point(inside.replace("model.width", 17)) is None


@pytest.mark.parametrize("rows", [100, 4000, 100_000])
def test_known_good_recipes_lie_in_the_default_region(rows: int) -> None:
    size = start(rows).batch.model_dump()["size"]
    region = Region(start(rows), {"batch": "fixed", "batch.size": [size // 2, size, size * 2]})
    for recipe in portfolio(rows):
        answers = {axis.name: held(recipe, axis) for axis in region.point(recipe) or {}}
        assert answers["model"] == recipe.model.kind
        assert answers[f"learning_rate.{recipe.optimizer.kind}.peak"] == recipe.learning_rate.peak


# -------------------------------------------------------------------- limits


def axes_of(region: Region) -> dict[str, Axis]:
    """All axes that are ever asked for: as many turns as a slot has kinds, so that each slot takes each of its kinds."""
    found: dict[str, Axis] = {}
    for turn in range(max(len(names) for names in slots().values())):

        def choose(axis: Axis, turn: int = turn) -> Any:
            found[axis.name] = axis
            return (
                axis.mark[turn % len(axis.mark)] if isinstance(axis.mark, tuple) else at(axis.mark, 0.5, integer=axis.integer)
            )

        region.make(choose)
    return found


def test_by_default_every_searched_kind_and_dose_has_an_axis_of_its_own() -> None:
    axes = axes_of(Region(start(ROWS)))
    for path, found in kinds().items():
        searched = [kind for kind in found if kind.searched and "table" in kind.reads]
        if path == "stop":
            assert not any(name.startswith("stop") for name in axes)
            continue
        off = () if path in {"data.scale", "activation"} or Off not in slots()[path] else ("off",)
        if len(searched) + len(off) > 1:
            assert axes[path].mark == (*off, *(kind.name() for kind in searched))
        for kind in searched:
            for dose in doses(kind):
                if isinstance(dose.mark, Range):
                    low, high = dose.mark.search or (dose.mark.low, dose.mark.high)
                    name = f"{path}.{kind.name()}.{dose.name}"
                    assert (name in axes) == (low < high)
                    assert name not in axes or (axes[name].ends, axes[name].integer) == ((low, high), dose.integer)


def test_the_learning_rate_hangs_on_the_optimizer() -> None:
    axes = axes_of(Region(start(ROWS)))
    for kind in [kind for kind in kinds()["optimizer"] if kind.searched]:
        low, high = axes[f"learning_rate.{kind.name()}.peak"].ends
        assert high / low == pytest.approx(PEAK_SPREAD**2)
        assert (low * high) ** 0.5 == pytest.approx(kind.typical_rate)
    assert axes["learning_rate.warmup"].ends == (0.0, 0.2)


def test_limits_become_axes() -> None:
    limits = {
        "optimizer": "muon",
        "learning_rate.peak": {"low": 1e-3, "high": 1e-1},
        "dropout": ["off", "bernoulli"],
        "dropout.p": [0.1, 0.5],
        "model.width": {"low": 8, "high": 16},
        "model.depth": {"low": 2, "high": 4, "log": True},
        "clip": "norm",
        "clip.max_norm": {"low": 2.0, "high": 2.0},
    }
    axes = axes_of(Region(Recipe(), limits, only=True))
    assert axes == {
        "learning_rate.muon.peak": Axis("learning_rate.muon.peak", Range(1e-6, 10.0, log=True, search=(1e-3, 1e-1))),
        "dropout": Axis("dropout", ("off", "bernoulli")),
        "dropout.bernoulli.p": Axis("dropout.bernoulli.p", (0.1, 0.5)),
        "model.mlp.width": Axis("model.mlp.width", Range(1, 4096, log=True, search=(8, 16)), True),
        "model.mlp.depth": Axis("model.mlp.depth", Range(1, 32, log=True, search=(2, 4)), True),
    }


def test_fixed_values_are_set_without_being_asked_for() -> None:
    limits = {"optimizer": ["muon"], "optimizer.momentum": 0.9, "learning_rate.peak": 0.05, "dropout": False, "stop.epochs": 7}
    recipe = Region(start(ROWS), limits, only=True).make(lambda axis: pytest.fail(f"{axis.name} was asked for"))
    assert recipe == (
        start(ROWS)
        .replace("optimizer", Muon(momentum=0.9))
        .replace("learning_rate.peak", 0.05)
        .replace("dropout", "off")
        .replace("stop.epochs", 7)
    )


@given(generator=st.randoms(use_true_random=False))
def test_only_the_named_paths_are_touched(generator: random.Random) -> None:
    limits = {"dropout": ["off", "bernoulli", "alpha"], "learning_rate.peak": {"low": 1e-4, "high": 1e-2}}
    for base in (start(ROWS), baseline(ROWS), *portfolio(ROWS)):
        recipe = Region(base, limits, only=True).make(chooser(generator))
        touched = {path for path in base.diff(recipe) if not path.startswith("dropout.")}
        assert touched <= {"learning_rate.peak"}
        assert 1e-4 <= recipe.learning_rate.peak <= 1e-2


def test_only_without_limits_is_the_base_itself() -> None:
    for base in (baseline(ROWS), *portfolio(ROWS)):
        assert Region(base, only=True).make(lambda axis: pytest.fail(f"{axis.name} was asked for")) == base


def test_a_kind_that_the_default_search_leaves_out_can_be_named() -> None:
    axes = axes_of(Region(start(ROWS)))
    hidden = [(path, kind) for path, found in kinds().items() for kind in found if not kind.searched]
    assert hidden
    for path, kind in hidden:
        assert path not in axes or kind.name() not in axes[path].mark
        region = Region(Recipe(), {path: kind.name()}, reads=kind.reads[0])
        assert isinstance(region.make(unit_chooser(lambda name: 0.5)).at(path), kind)


def test_kinds_for_other_data_are_refused_and_never_visited() -> None:
    with pytest.raises(RecipeError, match=r"cnn is for image data, and these are table data. Choose of linear, mlp, residual"):
        axes_of(Region(start(ROWS), {"model": ["mlp", "cnn"]}))
    axes = axes_of(Region(pictures(ROWS)[0], numbers=False, categories=False, reads="image"))
    assert axes["model"].mark == ("cnn", "resnet")
    assert not [name for name in axes if name.startswith(("augment.swap", "augment.mask", "data.n", "data.scale"))]
    searched = {name for name in axes if name.startswith("augment.")}
    assert searched == {
        "augment.flip", "augment.shift", "augment.shift.shift.share", "augment.policy", "augment.policy.trivial.strength",
        "augment.erase", "augment.erase.cutout.side", "augment.views", "augment.resize", "augment.resize.progressive.low",
        "augment.resize.progressive.hold", "augment.resize.progressive.until",
    }  # fmt: skip


def test_doses_of_a_kind_may_use_its_own_range() -> None:
    """Kinds of one slot may have doses of the same name with different ranges: what counts are the kinds that are visited."""
    limits = {"optimizer": "adam", "optimizer.beta2": {"low": 0.9999, "high": 0.99999}}
    recipe = Region(Recipe(), limits, only=True).make(lambda axis: axis.ends[1])
    assert recipe.at("optimizer").model_dump()["beta2"] == 0.99999


@pytest.mark.parametrize(
    ("absent", "paths"),
    [("numbers", ["data.scale", "data.numbers", "augment.noise"]), ("categories", ["data.categories"])],
)
def test_slots_for_absent_columns_are_not_searched(absent: str, paths: list[str]) -> None:
    everywhere = axes_of(Region(start(ROWS)))
    axes = axes_of(Region(start(ROWS), numbers=absent != "numbers", categories=absent != "categories"))
    assert set(everywhere) - set(axes) >= set(paths)
    assert set(axes) < set(everywhere)
    for path in paths:
        assert path in everywhere
        assert path not in axes


def test_shapes_are_what_the_names_say() -> None:
    axes = axes_of(Region(start(ROWS)))
    shapes = {name for name, axis in axes.items() if axis.shapes}
    assert shapes >= {"model", "model.mlp.width", "data.numbers", "data.numbers.piecewise_linear.bins", "data.categories"}
    assert shapes.isdisjoint({"dropout", "data.scale", "data.numbers.periodic.sigma", "optimizer", "learning_rate.adam.peak"})


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"dropot": "off"}, ["'dropot'", "which no recipe has", "Did you mean dropout?", "titrant recipe show"]),
        ({"dropout.q": 0.1}, ["'dropout.q'"]),
        ({"regularize": "off"}, ["'regularize'"]),
        ({"dropout.bernoulli.p": 0.1}, ["'dropout.bernoulli.p'"]),
        ({1: 2}, ["1", "which no recipe has"]),
        ({"dropout": "bernouli"}, ["dropout", "'bernouli'", "off, bernoulli, alpha"]),
        ({"dropout": ["off", "bernouli"]}, ["dropout", "'bernouli'", "off, bernoulli, alpha"]),
        ({"dropout": 0.3}, ["dropout", "0.3", "off, bernoulli, alpha"]),
        ({"dropout": {"low": 0.1, "high": 0.2}}, ["dropout", "off, bernoulli, alpha"]),
        ({"dropout": []}, ["dropout"]),
        ({"optimizer": "off"}, ["optimizer", "'off'", "sgd, nesterov"]),
        ({"dropout.p": 0.95}, ["dropout.p", "0.95", "0 to 0.9"]),
        ({"dropout.p": [0.1, 0.95]}, ["dropout.p", "0.95", "0 to 0.9"]),
        ({"dropout.p": []}, ["dropout.p"]),
        ({"dropout.p": {"low": 0.1, "high": 0.95}}, ["dropout.p", "0.95", "0 to 0.9"]),
        ({"dropout.p": {"low": 0.3, "high": 0.2}}, ["dropout.p", "0.3 to 0.2", "low must not exceed high"]),
        ({"dropout.p": {"low": 0, "high": 0.2, "log": True}}, ["dropout.p", "log scale starts above 0"]),
        ({"dropout.p": {"low": 0.1}}, ["dropout.p", "{'low': 0.1}", "{low: ..., high: ...}"]),
        ({"dropout.p": {"low": 0.1, "high": 0.2, "lgo": True}}, ["dropout.p", "lgo"]),
        ({"dropout.p": True}, ["dropout.p", "True"]),
        ({"dropout.p": "much"}, ["dropout.p", "'much'"]),
        ({"dropout.p": None}, ["dropout.p", "None"]),
        ({"dropout.p": float("nan")}, ["dropout.p", "nan"]),
        ({"dropout.p": {"low": "a", "high": 0.2}}, ["dropout.p", "'a'"]),
        ({"model.depth": 2.5}, ["model.depth", "2.5", "1 to 32"]),
        ({"model.depth": [2, float("inf")]}, ["model.depth", "inf", "1 to 32"]),
        ({"learning_rate.peak": 11}, ["learning_rate.peak", "11", "1e-06 to 10"]),
        ({"regularize.decay.rate": {"low": 0, "high": 0.1}}, ["regularize.decay.rate", "0"]),
    ],
)
def test_limits_that_no_recipe_could_follow_are_refused(limits: dict[str, Any], expected: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        Region(Recipe(), limits)
    for word in expected:
        assert word in str(caught.value)


plain = st.none() | st.booleans() | st.integers(-3, 5) | st.floats() | st.sampled_from(["off", "bernoulli", "adamw", "x"])
limit = plain | st.lists(plain, max_size=3) | st.fixed_dictionaries({"low": plain, "high": plain}, optional={"log": plain})
PATHS = [
    "dropout",
    "dropout.p",
    "optimizer",
    "optimizer.decay",
    "learning_rate.peak",
    "model.depth",
    "data.scale",
    "batch.size",
]


@given(st.dictionaries(st.sampled_from(PATHS), limit, max_size=3), st.randoms(use_true_random=False), st.booleans())
def test_any_limits_are_a_region_or_a_clear_error(limits: dict[str, Any], generator: random.Random, only: bool) -> None:
    try:
        region = Region(start(ROWS), limits, only=only)
    except RecipeError:
        return
    assert region.point(region.make(chooser(generator))) is not None


def test_every_limit_of_the_learning_rate_is_known() -> None:
    for dose in doses(LearningRate):
        assert Region(Recipe(), {f"learning_rate.{dose.name}": dose.default}, only=True).make(lambda axis: 0) == Recipe()


def _answer(answers: dict[str, Any], axis: Axis) -> Any:
    return answers[axis.name]


@pytest.mark.parametrize("base", [start(300), Recipe()], ids=["start", "baseline"])
def test_answers_are_those_that_make_the_recipe(base: Recipe) -> None:
    region = Region(base)
    draw = random.Random(0)
    for _ in range(20):
        answers = region.answers(unit_chooser(lambda _: draw.random()))
        point = region.point(region.make(partial(_answer, answers)))
        assert point is not None
        assert {axis.name: value for axis, value in point.items()} == answers
