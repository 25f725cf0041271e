"""The first look at a search: slots that decided the score come first."""

from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from titrant.evidence.importance import importances, likely_pairs


def search(path: Path, trials: int) -> Path:
    """A search in which dropout decides, and the learning rate a little; half of the trials were dropped at a rung."""
    study = optuna.create_study(storage=f"sqlite:///{path}", study_name="titrant", direction="maximize")
    random = np.random.default_rng(0)
    kinds, rates = CategoricalDistribution(("off", "bernoulli")), FloatDistribution(0.0, 1.0)
    for number in range(trials):
        kind, rate, clip = random.choice(["off", "bernoulli"]), float(random.random()), random.choice(["off", "bernoulli"])
        score = float(kind == "bernoulli") + 0.2 * rate
        dropped = number % 2 == 1
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if dropped else TrialState.COMPLETE,
                value=None if dropped else score,
                intermediate_values={0: score},
                params={"dropout": str(kind), "learning_rate.adam.peak": rate, "clip": str(clip)},
                distributions={"dropout": kinds, "learning_rate.adam.peak": rates, "clip": kinds},
            )
        )
    return path


def test_what_decided_counts_for_more(tmp_path: Path) -> None:
    found = importances(search(tmp_path / "study.db", 60))
    assert found["dropout"] > 5 * found["clip"]
    assert likely_pairs(found, ["clip", "learning_rate.schedule", "dropout"], 1) == [("clip", "dropout")]


def test_a_short_search_or_none_tells_nothing(tmp_path: Path) -> None:
    assert importances(tmp_path / "none.db") == {}
    assert importances(search(tmp_path / "study.db", 8)) == {}
