"""Members as trials for people: every choice under one name and one kind of range, curves, times."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState
from tests.test_recipe import recipes

from titrant.clock import Clock
from titrant.recipe import Recipe
from titrant.record import MemberRecord, Point
from titrant.search.portfolio import portfolio
from titrant.search.region import Region
from titrant.search.trials import choices, name_metric, trial_of


def record(recipe: Recipe, **changes: Any) -> MemberRecord:
    found = MemberRecord(
        number=3, origin="portfolio", recipe=recipe.plain(), parameters=9, seed=0, state="finished", rung=2, steps=40,
        epochs=1.0, seconds=4.0, score_validation=0.5, curve=[], receipts=[],
    )  # fmt: skip
    return found.model_copy(update=changes)


def point(step: int, seconds: float, score: float | None) -> Point:
    return Point(
        step=step, epoch=1.0, seconds=seconds, loss_train=0.1, loss_validation=0.1, score_validation=score, learning_rate=0.1
    )  # fmt: skip


@given(st.lists(recipes, min_size=2, max_size=4))
def test_any_recipes_stand_in_one_study(found: list[Recipe]) -> None:
    """Optuna refuses a parameter whose range is of another kind than in an earlier trial."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    for recipe in found:
        study.add_trial(trial_of(record(recipe), None))
        study.add_trial(trial_of(record(recipe), Region(Recipe())))
    assert [trial.params for trial in study.trials[::2]] == [
        {name: value for name, (_, value) in choices(recipe, None)} for recipe in found
    ]  # fmt: skip


def test_known_recipes_show_their_doses_though_the_search_may_not_visit_them() -> None:
    region = Region(Recipe(), {"dropout": ["off", "bernoulli"]}, only=True)
    for recipe in portfolio(1000):
        shown = trial_of(record(recipe), region).params
        if recipe.model != Recipe().model:
            assert shown["model"] == recipe.model.kind
        assert shown["dropout"] == recipe.dropout.kind
        assert shown[f"learning_rate.{recipe.optimizer.kind}.peak"] == recipe.learning_rate.peak
    assert trial_of(record(Recipe()), region).params["dropout"] == "off"
    assert trial_of(record(Recipe()), None).params == {}


def test_a_trial_has_the_curve_and_the_times_of_its_training() -> None:
    clock = Clock.of(100.0)
    curve = [point(10, -30.0, 0.3), point(20, -25.0, None), point(40, -20.0, 0.5)]
    found = trial_of(record(Recipe(), curve=curve), None, clock)
    assert found.intermediate_values == {10: 0.3, 40: 0.5}
    assert (found.state, found.value) == (TrialState.COMPLETE, 0.5)
    assert found.datetime_complete is not None
    assert found.datetime_start is not None
    assert found.datetime_complete - found.datetime_start == timedelta(seconds=4)
    assert abs(datetime.now() - timedelta(seconds=20) - found.datetime_complete) < timedelta(seconds=5)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"state": "stopped"}, TrialState.PRUNED),
        ({"state": "interrupted"}, TrialState.PRUNED),
        ({"state": "diverged", "score_validation": None}, TrialState.FAIL),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_left_early_is_pruned_and_what_has_no_score_has_failed(
    changes: dict[str, Any], state: TrialState, tmp_path: Path
) -> None:
    address = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(storage=address, study_name="s")
    name_metric(study, "accuracy")
    study.add_trial(trial_of(record(Recipe(), **changes), None))
    (kept,) = optuna.load_study(study_name="s", storage=address).trials
    assert (kept.state, kept.user_attrs["state"]) == (state, changes["state"])
    assert list(kept.intermediate_values.values()) == ([] if state is TrialState.FAIL else [0.5])
    assert kept.value == (None if state is TrialState.FAIL else 0.5)
    assert study.metric_names == ["accuracy"]
