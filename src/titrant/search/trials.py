"""Members as trials of an ordinary Optuna study: what a dashboard shows of a search.

The study by which proposers learn (`titrant.search.study`) holds what lies in the searched region. These trials are for people:
each has every choice of its recipe that is searched or differs from the baseline, known recipes included, its whole curve, and
the times at which it was trained.
"""

import math
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState, create_trial

from titrant.clock import Clock
from titrant.recipe import Recipe, slots
from titrant.record import MemberRecord
from titrant.search.region import Region
from titrant.space import Dose, Range, doses
from titrant.tricks.learning_rate import LearningRate

Choice = str | float | int | bool


def trial_of(record: MemberRecord, region: Region | None, clock: Clock | None = None) -> FrozenTrial:
    """A member's trial.

    Args:
        record: what is kept of it.
        region: what the search visits; None shows what differs from the baseline.
        clock: that of the command which has trained it; None where another one has, whose times are not known.

    Example:
        >>> from titrant.record import MemberRecord
        >>> recipe = Recipe().replace("dropout", {"kind": "bernoulli", "p": 0.2})
        >>> record = MemberRecord(number=3, origin="tpe", recipe=recipe.plain(), parameters=9, seed=0, state="finished",
        ...                       rung=2, steps=4, epochs=1.0, seconds=0.1, score_validation=0.5, curve=[], receipts=[])
        >>> trial_of(record, None).params
        {'dropout': 'bernoulli', 'dropout.bernoulli.p': 0.2}
    """
    score, state = record.score_validation, state_of(record)
    shown = dict(choices(Recipe.of(record.recipe), region))
    curve = {point.step: point.score_validation for point in record.curve if point.score_validation is not None}
    if state is TrialState.PRUNED and not curve and score is not None:
        curve = {record.steps: score}
    found = create_trial(
        state=state,
        value=score,  # also of what was dropped, as Optuna itself does
        intermediate_values={} if state is TrialState.FAIL else curve,
        params={name: value for name, (_, value) in shown.items()},
        distributions={name: kind for name, (kind, _) in shown.items()},
        user_attrs={"member": record.number, "origin": record.origin, "state": record.state, "rung": record.rung},
    )
    last = record.curve[-1].seconds if record.curve else None
    if clock is not None and last is not None:
        ended = datetime.now() - timedelta(seconds=max(0.0, clock.elapsed - last))
        found.datetime_start, found.datetime_complete = ended - timedelta(seconds=record.seconds), ended
    return found


def state_of(record: MemberRecord) -> TrialState:
    """A member without a score has failed, one that left early was pruned."""
    if record.score_validation is None:
        return TrialState.FAIL
    return TrialState.COMPLETE if record.state == "finished" else TrialState.PRUNED


def name_metric(study: optuna.Study, name: str) -> None:
    """Says what the value of a trial is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([name])


def choices(recipe: Recipe, region: Region | None) -> Iterator[tuple[str, tuple[BaseDistribution, Choice]]]:
    """By name, what may be chosen and what the recipe has chosen; the same name has the same kind of range in all trials."""
    base = Recipe()
    for path, kinds in slots().items():
        trick = recipe.at(path)
        if trick == base.at(path) and (region is None or not region.varies(path)):
            continue
        if len(kinds) > 1:
            yield path, (CategoricalDistribution([kind.name() for kind in kinds]), trick.kind)
        for dose in doses(type(trick)):
            yield from _shown(f"{path}.{trick.kind}.{dose.name}", dose, getattr(trick, dose.name))
    for dose in doses(LearningRate):
        names = {"peak": f"learning_rate.{recipe.optimizer.kind}.peak", "warmup": "learning_rate.warmup"}
        if dose.name in names and (region is not None or recipe.learning_rate != base.learning_rate):
            yield from _shown(names[dose.name], dose, getattr(recipe.learning_rate, dose.name))


def _shown(name: str, dose: Dose, value: Choice) -> Iterator[tuple[str, tuple[BaseDistribution, Choice]]]:
    if not isinstance(dose.mark, Range):
        if value in dose.mark:
            yield name, (CategoricalDistribution(dose.mark), value)
        return
    log = dose.mark.log and dose.mark.low > 0
    if isinstance(value, str | bool) or not math.isfinite(value) or (log and value <= 0):
        return
    low, high = min(dose.mark.low, value), max(dose.mark.high, value)
    if dose.integer:
        yield name, (IntDistribution(int(low), int(high), log=log), int(value))
    else:
        yield name, (FloatDistribution(low, high, log=log), float(value))
