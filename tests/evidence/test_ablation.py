"""Studies that are cut off anywhere: nothing is concluded from arms that were not judged twice, and records stay readable."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from titrant import samples
from titrant.clock import Clock
from titrant.data.learnable import read_data
from titrant.errors import BudgetError
from titrant.evidence.ablation import Study
from titrant.evidence.records import Ablation
from titrant.evidence.training import Costs, Job, Outcome, Trainings
from titrant.recipe import Recipe
from titrant.record import Receipt
from titrant.search.pace import Pace
from titrant.train.metrics import metric_for

DATA = read_data(samples.path("penguins"), "species", notes=[])
RECIPE = (
    Recipe()
    .replace("optimizer", "muon")
    .replace("learning_rate.peak", 0.01)
    .replace("dropout", "bernoulli")
    .replace("clip", "norm")
)


class Untrained(Trainings):
    """Trainings whose outcomes are drawn by chance; `lost` says which of them, in their order, the clock cuts off."""

    lost: Callable[[int], bool]

    def settle(self, recipe: Recipe) -> None:
        """Nothing to measure."""

    def cost(self, recipe: Recipe) -> Costs:
        """Muon costs three times as much, so that it gets references that train as long."""
        return Costs(3e-6 if recipe.optimizer.kind == "muon" else 1e-6, 1e-6, 10, 1000)

    def run(self, jobs: Sequence[Job], watch: Callable[[int], None], clock: Clock | None = None) -> list[Outcome | None]:
        """Outcomes without training."""
        found: list[Outcome | None] = []
        for _ in jobs:
            self.done += 1
            random = np.random.default_rng(self.done)
            resampled = torch.from_numpy(random.normal(0.9, 0.01, 64))
            receipts = [Receipt(trick="clip", kind="norm", acted=0, seen=10, unit="steps")]
            made = Outcome(0.9, 0.1, float(random.normal(0.9, 0.01)), resampled, False, receipts, [])
            found.append(None if self.lost(self.done) else made)
        return found


def study(lost: Callable[[int], bool], **options: object) -> Study:
    cpu = torch.device("cpu")
    trainings = Untrained(DATA, metric_for("multiclass"), 0, cpu, Clock.of(60.0), Pace.usual(cpu, [RECIPE]))
    trainings.lost = lost
    return Study(trainings, RECIPE, Recipe(), None, "table", lambda *_: None, 4, **options)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 400), st.integers(0, 10), st.randoms(use_true_random=False))
def test_a_study_that_is_cut_off_can_be_read_or_is_none(tmp_path: Path, until: int, spared: int, random: object) -> None:
    try:
        found = study(lambda number: number > until and number % 11 > spared, pairs=2).run()
    except BudgetError:
        assert until < 400
        return
    found.write(tmp_path / "ablation.json")
    assert Ablation.read(tmp_path / "ablation.json") == found
    assert all(effect.without.count >= 2 for effect in found.effects)


def test_pairs_and_references_of_equal_time_keep_the_rate_of_their_optimizer() -> None:
    asked = study(lambda _: False, pairs=3, importance={"optimizer": 1.0, "dropout": 0.5})
    found = asked.run()
    arms = {arm.name: arm.recipe for arm in found.arms}
    scale = type(Recipe().optimizer).typical_rate / type(RECIPE.optimizer).typical_rate
    rates = {
        name: recipe["learning_rate"]["peak"] for name, recipe in asked.contest.arms.items() for recipe in [recipe.plain()]
    }
    assert {(pair.first, pair.second) for pair in found.pairs} == {
        ("dropout", "optimizer"),
        ("dropout", "clip"),
        ("optimizer", "clip"),
    }
    assert rates["without dropout and optimizer"] == pytest.approx(0.01 * scale)
    assert rates["without optimizer"] == pytest.approx(0.01 * scale)
    longer = [name for name in arms if name.startswith("without optimizer, ")]
    assert longer == ["without optimizer, 3.0 times as long"]
    assert rates[longer[0]] == pytest.approx(0.01 * scale)
    assert next(effect for effect in found.effects if effect.trick == "clip").verdict == "never acted"


def test_tuning_that_takes_longer_than_planned_ends_alike_for_all_arms_and_leaves_time_to_judge() -> None:
    first = study(lambda done: done == 3)  # in the first round of tuning
    found = first.run()
    assert found.candidates == 1
    assert all(first.contest.tuned[name] == recipe for name, recipe in first.contest.arms.items())
    assert any("ended early" in warning for warning in found.warnings)
    later = study(lambda done: done == 6 * len(first.contest.arms) + 3)  # in the second: the first has chosen
    found = later.run()
    assert found.candidates == 6
    assert any("ended early" in warning for warning in found.warnings)
    assert not any("ended early" in warning for warning in study(lambda done: False).run().warnings)
