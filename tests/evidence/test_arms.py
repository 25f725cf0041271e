"""Arms: what is left out, what is put in its place, and what is tuned again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from titrant.errors import RecipeError, TitrantError
from titrant.evidence.arms import BASELINE, RECIPE, candidates, comparisons, left_out, nuisances
from titrant.evidence.contest import planned, tuning_trainings
from titrant.evidence.response import dosing
from titrant.recipe import Recipe, slots
from titrant.search.doses import doses_at
from titrant.search.region import check_fits

STRONG = (
    Recipe()
    .replace("dropout", "bernoulli")
    .replace("activation", "silu")
    .replace("optimizer", "adamw")
    .replace("regularize.label_smoothing", "label_smoothing")
)


def test_each_trick_is_left_out_and_added_alone() -> None:
    found, arms = comparisons(STRONG, Recipe(), None, "table")
    assert [one.trick for one in found] == ["activation", "dropout", "optimizer", "regularize.label_smoothing"]
    assert arms[RECIPE] == STRONG
    assert arms[BASELINE] == Recipe()
    for one in found:
        assert arms[one.present] == STRONG
        assert list(STRONG.diff(arms[one.absent])) != []
        assert arms[one.absent].replace(one.trick, STRONG.at(one.trick).model_dump()) == STRONG
        assert one.added is not None
        assert arms[one.added].replace(one.trick, Recipe().at(one.trick).model_dump()) == Recipe()
    assert [one.instead for one in found] == ["relu", "off", "adam", "off"]


def test_a_trick_that_the_recipe_lacks_is_put_in() -> None:
    (one,), arms = comparisons(STRONG, Recipe(), ["normalize"], "table")
    assert (one.present, one.absent, one.kind, one.instead) == ("with normalize", RECIPE, "batch", "off")
    assert arms["with normalize"].normalize.kind == "batch"


def test_a_group_stands_for_what_is_on_in_it() -> None:
    found, _ = comparisons(STRONG, Recipe(), ["regularize"], "table")
    assert [one.trick for one in found] == ["regularize.label_smoothing"]
    with pytest.raises(RecipeError, match="No trick of the group 'augment' is on"):
        comparisons(STRONG, Recipe(), ["augment"], "table")


@pytest.mark.parametrize(
    ("name", "message"),
    [("dropot", "Did you mean dropout"), ("augment.flip", "for image data"), ("hardware", "There is no trick 'hardware'")],
)
def test_names_that_cannot_be_compared_are_refused(name: str, message: str) -> None:
    recipe = STRONG.replace("augment.flip", {"kind": "flip", "p": 0.5}) if name == "augment.flip" else STRONG
    with pytest.raises(RecipeError, match=message):
        comparisons(recipe, Recipe(), [name], "table")


def test_the_baseline_has_nothing_to_leave_out() -> None:
    with pytest.raises(TitrantError, match="no trick to leave out"):
        comparisons(Recipe(), Recipe(), None, "table")


@pytest.mark.parametrize("path", [path for path in slots() if path not in {"hardware", "model", "batch"}])
def test_every_slot_can_be_left_out_of_the_baseline_itself(path: str) -> None:
    assert left_out(Recipe(), Recipe(), path) == Recipe().without(path) or path == "stop"


@given(st.integers(1, 8), st.integers(0, 5))
def test_arms_are_tuned_from_the_same_factors(count: int, seed: int) -> None:
    other = STRONG.without("dropout").replace("learning_rate.peak", 0.004)
    paths = ["learning_rate.peak", "optimizer.decay"]
    one, two = candidates(STRONG, paths, count, seed), candidates(other, paths, count, seed)
    assert (one[0], two[0]) == (STRONG, other)
    assert len(one) == count
    for a, b in zip(one, two, strict=True):
        ratio = a.learning_rate.peak / STRONG.learning_rate.peak
        assert b.learning_rate.peak / 0.004 == pytest.approx(ratio, rel=1e-4)
        assert 0.24 < ratio < 4.01
        assert doses_at(a, paths)["optimizer.decay"] == doses_at(b, paths)["optimizer.decay"]
        assert set(STRONG.diff(a)) <= set(paths)


def test_the_learning_rate_follows_the_optimizer() -> None:
    muon = Recipe().replace("optimizer", "muon").replace("learning_rate.peak", 0.02)
    plain = left_out(muon, Recipe(), "optimizer")
    (first,) = candidates(plain, ["learning_rate.peak"], 1, 0)
    scale = type(plain.optimizer).typical_rate / type(muon.optimizer).typical_rate
    assert first.learning_rate.peak == pytest.approx(0.02 * scale)


def test_what_a_trick_hangs_on_is_tuned_too_unless_it_is_in_question() -> None:
    recipe = STRONG.replace("mix", "mixup")
    found, arms = comparisons(recipe, Recipe(), ["mix"], "table")
    assert nuisances(list(arms.values()), [one.trick for one in found]) == [
        "learning_rate.peak", "optimizer.decay", "regularize.label_smoothing.epsilon", "dropout.p",
    ]  # fmt: skip
    found, arms = comparisons(recipe, Recipe(), ["mix", "dropout"], "table")
    assert "dropout.p" not in nuisances(list(arms.values()), [one.trick for one in found])


@given(st.floats(1, 1e5), st.lists(st.floats(0.01, 5), min_size=2, max_size=30))
def test_a_plan_fits_its_time(seconds: float, each: list[float]) -> None:
    try:
        plan = planned(seconds, each)
    except TitrantError as error:
        assert "Compare less at once" in str(error)  # noqa: PT017  # either outcome is right
        return
    used = sum(each) * plan.length * plan.share * (plan.replicates + tuning_trainings(plan.candidates))
    assert used <= seconds
    assert plan.replicates >= 3


def test_more_time_gives_a_more_careful_plan() -> None:
    plans = [planned(seconds, [1.0] * 10) for seconds in (40, 100, 300, 1000)]
    assert [plan.length for plan in plans] == sorted(plan.length for plan in plans)
    assert [plan.candidates for plan in plans] == sorted(plan.candidates for plan in plans)
    assert plans[-1].replicates == 32


def test_levels_of_a_dose_hold_off_and_the_recipes_own() -> None:
    recipe = Recipe().replace("dropout", {"kind": "bernoulli", "p": 0.25})
    found = dosing(recipe, "dropout.p", "table", levels=3)
    assert list(found.arms) == [0.0, 0.25, 0.3, 0.6]
    assert (found.off, found.here) == (0.0, 0.25)
    assert [arm.at("dropout").model_dump()["p"] for arm in found.arms.values()] == [0.0, 0.25, 0.3, 0.6]


def test_levels_of_a_slot_are_its_kinds() -> None:
    found = dosing(Recipe(), "activation", "table")
    assert (found.off, found.here) == ("off", "relu")
    assert {arm.activation.kind for arm in found.arms.values()} == set(found.arms)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("dropout.q", "There is no dose 'dropout.q'"),
        ("droput", "Did you mean dropout"),
        ("augment.flip.p", "for image data"),
        ("hardware", "There is no dose 'hardware'"),
    ],
)
def test_doses_that_cannot_be_varied_are_refused(path: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        dosing(Recipe(), path, "table")


def test_every_arm_with_another_optimizer_has_the_rate_of_its_own_scale() -> None:
    muon = Recipe().replace("optimizer", "muon").replace("learning_rate.peak", 0.02).replace("dropout", "bernoulli")
    scale = type(Recipe().optimizer).typical_rate / type(muon.optimizer).typical_rate
    _, arms = comparisons(muon, Recipe(), None, "table")
    assert arms["without optimizer"].learning_rate.peak == pytest.approx(0.02 * scale)
    assert arms["baseline with optimizer"].learning_rate.peak == pytest.approx(0.001 / scale)
    assert arms["without dropout"].learning_rate.peak == 0.02
    levels = dosing(muon, "optimizer", "table").arms
    assert levels["adam"].learning_rate.peak == pytest.approx(0.02 * scale)
    assert levels["muon"] == muon


@pytest.mark.parametrize(("reads", "plain", "features"), [("series", "fcn", "hydra"), ("text", "text_cnn", "ngrams")])
def test_features_go_with_the_networks_that_read_them(reads: str, plain: str, features: str) -> None:
    recipe = Recipe().replace("model", "linear").replace("data.features", features)
    baseline = Recipe().replace("model", plain)
    found, arms = comparisons(recipe, baseline, ["data.features", "model"], reads)
    assert [one.added for one in found] == [None, "baseline with model"]  # convolutions cannot read features
    for arm in arms.values():
        check_fits(arm)
    assert arms["without model"].data.features.kind == "off"
    with pytest.raises(RecipeError, match="leaves none"):
        comparisons(baseline, baseline, ["data.features"], reads)
    levels = dosing(recipe, "model", reads, levels=3)
    for arm in levels.arms.values():
        check_fits(arm)
    with pytest.raises(RecipeError, match="one kind only that this recipe can use"):
        dosing(baseline, "data.features", reads, levels=3)
