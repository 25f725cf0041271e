"""A cheap first look at interactions: which tricks mattered in the search that a run has left behind.

Optuna's PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255) says for each choice of the search how much it tells the best
third of the recipes from all of them. Recipes that were dropped at a rung count with the score that they had there. Two tricks
that both mattered are worth a look as a pair; arms confirm or refute it.
"""

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, create_trial

from titrant.errors import OutputError
from titrant.search.region import slot_of
from titrant.texts import say

_FEWEST = 12  # trials, below which nothing can be told


def importances(study: Path) -> dict[str, float]:
    """How much each slot mattered in a search; empty where the search was too short.

    Args:
        study: the `study.db` of a run.

    Raises:
        OutputError: it is damaged.
    """
    if not study.is_file():
        return {}
    from titrant.search.storage import TROUBLES, opened, reason

    try:
        with opened(f"sqlite:///{study}") as storage:
            kept = optuna.load_study(study_name="titrant", storage=storage)
            trials = [trial for trial in kept.get_trials() if trial.params and _score(trial) is not None]
            direction = kept.direction
    except TROUBLES as error:
        raise OutputError(
            say("{file} is no study of a run, or damaged ({reason}). Without it (remove the file) pairs are those of the first "
                "tricks.", file=study, reason=reason(error))
        ) from None  # fmt: skip
    if len(trials) < _FEWEST:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    shared = set.intersection(*(set(trial.params) for trial in trials))
    view = optuna.create_study(direction=direction)
    for trial in trials:
        view.add_trial(
            create_trial(
                value=_score(trial),
                params={name: trial.params[name] for name in shared},
                distributions={name: trial.distributions[name] for name in shared},
            )
        )
    by_slot: dict[str, float] = defaultdict(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        found = PedAnovaImportanceEvaluator(target_quantile=0.3).evaluate(view)
    for name, value in found.items():
        by_slot[slot_of(name)] += value
    return dict(by_slot)


def _score(trial: FrozenTrial) -> float | None:
    """The score of a trial; of one that was dropped at a rung, its score there."""
    reached = trial.intermediate_values
    return trial.value if trial.value is not None else reached[max(reached)] if reached else None


def likely_pairs(importance: Mapping[str, float], tricks: Sequence[str], count: int) -> list[tuple[str, str]]:
    """The pairs of tricks that are worth a look: those whose importances have the largest product.

    Example:
        >>> likely_pairs({"dropout": 0.5, "mix": 0.3, "clip": 0.1}, ["clip", "dropout", "mix"], 1)
        [('dropout', 'mix')]
    """
    pairs = combinations(tricks, 2)
    worth = {pair: importance.get(pair[0], 0.0) * importance.get(pair[1], 0.0) for pair in pairs}
    return sorted(worth, key=lambda pair: -worth[pair])[:count]
