"""Numbers, times, recipe differences and the headline as words: one builder for the report and for the terminal."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from titrant.record import Summary, Task
from titrant.space import flatten
from titrant.texts import say

_ABSENT = object()


def number(value: float | None, digits: int = 4) -> str:
    """A measured value with `digits` significant digits, trailing zeros kept; a dash where there is none.

    Example:
        >>> number(0.5), number(12345.6), number(0.0000123), number(None)
        ('0.5000', '12,346', '1.230e-05', '-')
    """
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    # Rounding first decides the magnitude: 0.99996 is shown as 1.000, not as 1.0000.
    magnitude = int(f"{value:.{digits - 1}e}".partition("e")[2])
    if -4 <= magnitude < 15:
        return f"{value:,.{max(0, digits - 1 - magnitude)}f}"
    return f"{value:.{digits - 1}e}"


def dose(value: object) -> str:
    """A dose as it would be written in a recipe, floats shortened to four significant digits.

    Example:
        >>> dose(0.30000000000000004), dose(None), dose(True), dose([64, 64])
        ('0.3', 'null', 'true', '[64, 64]')
    """
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def duration(seconds: float) -> str:
    """A time as people say it.

    Example:
        >>> duration(9.87), duration(59.98), duration(600), duration(3725)
        ('9.9 s', '1 min', '10 min', '1 h 2 min')
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    parts = ((whole // 3600, "h"), (whole % 3600 // 60, "min"), (whole % 60, "s"))
    return " ".join(f"{count} {unit}" for count, unit in parts[: 2 if whole >= 3600 else 3] if count)


def metric_name(metric: str) -> str:
    """A metric's usual written form.

    Example:
        >>> metric_name("roc_auc"), metric_name("balanced_accuracy")
        ('ROC AUC', 'balanced accuracy')
    """
    usual = {
        "roc_auc": "ROC AUC",
        "rmse": "RMSE",
        "mae": "MAE",
        "mse": "MSE",
        "r2": "R squared",
        "f1": "F1",
        "f1_macro": "macro F1",
    }
    return usual.get(metric, metric.replace("_", " "))


def task_name(task: Task) -> str:
    """The task in words."""
    return {
        "binary": say("binary classification"),
        "multiclass": say("multiclass classification"),
        "regression": say("regression"),
    }[task]


def direction_note(summary: Summary) -> str:
    """Which way is good."""
    return say("higher is better") if summary.direction == "maximize" else say("lower is better")


def gain(summary: Summary, new: float, old: float) -> float:
    """How much better `new` is than `old`, positive whichever way the metric runs."""
    return new - old if summary.direction == "maximize" else old - new


def headline(summary: Summary) -> str:
    """The result in one sentence: the held-out score with its interval, against the plain baseline.

    For example: "Accuracy 0.8800 on held-out rows (95% interval 0.8700 to 0.8900; higher is better), better than the plain
    baseline's 0.8500 by 0.030 (0.021 to 0.039)." The last interval is that of the gain, from both models on the same rows.
    """
    score, baseline, interval = summary.score_test, summary.baseline_score_test, summary.score_test_interval
    name = metric_name(summary.metric)
    name = name[:1].upper() + name[1:]
    if score is None:
        if summary.interrupted:
            return say("The run was interrupted before its model was scored on held-out rows.")
        return say("The final model has no {metric} score on held-out rows.", metric=name)
    if interval is None:
        measured = say(
            "{metric} {score} on held-out rows ({direction})",
            metric=name,
            score=number(score),
            direction=direction_note(summary),
        )
    else:
        measured = say(
            "{metric} {score} on held-out rows (95% interval {low} to {high}; {direction})",
            metric=name,
            score=number(score),
            low=number(interval[0]),
            high=number(interval[1]),
            direction=direction_note(summary),
        )
    if baseline is None:
        return say("{measured}; the plain baseline was not scored.", measured=measured)
    plain = number(baseline)
    if score == baseline:
        return say("{measured}, the same as the plain baseline.", measured=measured)
    gained, ends = gain(summary, score, baseline), summary.gain_interval
    if ends is None:
        if gained < 0:
            return say("{measured}, worse than the plain baseline's {baseline}.", measured=measured, baseline=plain)
        return say("{measured}, better than the plain baseline's {baseline}.", measured=measured, baseline=plain)
    low, high = number(ends[0], 2), number(ends[1], 2)
    if ends[0] > 0:
        return say(
            "{measured}, better than the plain baseline's {baseline} by {gain} ({low} to {high}).",
            measured=measured, baseline=plain, gain=number(gained, 2), low=low, high=high,
        )  # fmt: skip
    if ends[1] < 0:
        return say(
            "{measured}, worse than the plain baseline's {baseline} by {loss} ({low} to {high}).",
            measured=measured, baseline=plain, loss=number(-gained, 2), low=number(-ends[1], 2), high=number(-ends[0], 2),
        )  # fmt: skip
    return say(
        "{measured}; the gain over the plain baseline's {baseline} is {gain} ({low} to {high}), so it is not certain.",
        measured=measured, baseline=plain, gain=number(gained, 2), low=low, high=high,
    )  # fmt: skip


def effort(summary: Summary) -> str:
    """Time against budget, recipes tried and what the final model is, in one or two sentences."""
    used, budget = summary.seconds_total, summary.budget_seconds
    if summary.interrupted:
        time = say("Interrupted after {used} of a {budget} budget.", used=duration(used), budget=duration(budget))
    elif used <= budget:
        time = say("Budget kept: {used} of {budget}.", used=duration(used), budget=duration(budget))
    else:
        over = duration(used - budget)
        time = say("Budget exceeded by {over}: {used} of {budget}.", over=over, used=duration(used), budget=duration(budget))
    final = say("the best checkpoints of the search")
    if summary.final == "refit":
        several = say("{count} refitted recipes, the best of which is named here", count=summary.n_recipes)
        final = say("the refitted recipe") if summary.n_recipes == 1 else several
    return say(
        "{time} Recipes tried: {members}. Networks in the final model: {networks} ({final}).",
        time=time,
        members=summary.n_members,
        networks=summary.n_networks,
        final=final,
    )


@dataclass(frozen=True)
class Difference:
    """One dose, or the kind of a trick, in which a recipe differs from another; None where it has no such dose."""

    path: str
    kind: bool
    old: str | None
    new: str | None


def differences(recipe: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[Difference]:
    """The doses in which `recipe` differs from `baseline`, in the order of `recipe`, doses that it lacks last.

    Doses that vanish because the kind of their trick changed are left out: the change of kind says it.

    Example:
        >>> for difference in differences({"dropout": {"kind": "bernoulli", "p": 0.2}}, {"dropout": {"kind": "off"}}):
        ...     print(difference)
        Difference(path='dropout', kind=True, old='off', new='bernoulli')
        Difference(path='dropout.p', kind=False, old=None, new='0.2')
    """
    new, old = flatten(recipe), flatten(baseline)
    changed = {path: (old.get(path, _ABSENT), value) for path, value in new.items() if old.get(path, _ABSENT) != value}
    switched = tuple(path.removesuffix("kind") for path in changed if path.endswith(".kind"))
    gone = {
        path: (value, _ABSENT) for path, value in old.items() if path not in new and not path.startswith(switched or ("\0",))
    }
    return [
        Difference(
            path.removesuffix(".kind"), path.endswith(".kind"), *(None if value is _ABSENT else dose(value) for value in pair)
        )
        for path, pair in (changed | gone).items()
    ]


def by_trick(found: Iterable[Difference]) -> list[tuple[str, str]]:
    """Differences gathered for each trick: its path, and its kind (if that changed) and doses in words.

    Example:
        >>> by_trick(differences({"dropout": {"kind": "bernoulli", "p": 0.2}}, {"dropout": {"kind": "off"}}))
        [('dropout', 'bernoulli, p 0.2')]
    """
    gathered: dict[str, list[str]] = {}
    for difference in found:
        new = "-" if difference.new is None else difference.new
        if difference.kind:
            gathered.setdefault(difference.path, []).append(new)
        else:
            trick, _, name = difference.path.rpartition(".")
            gathered.setdefault(trick or name, []).append(f"{name} {new}" if trick else new)
    return [(trick, ", ".join(doses)) for trick, doses in gathered.items()]
