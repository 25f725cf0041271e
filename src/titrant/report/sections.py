"""What stands in each section of the report, worked out from the records; the templates only lay it out."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from titrant.record import (
    ALWAYS_ON,
    Asked,
    ColumnSummary,
    DataSummary,
    Direction,
    Evaluation,
    Fan,
    Line,
    MemberRecord,
    Receipt,
    Source,
    Summary,
)
from titrant.report.run import Run
from titrant.report.words import by_trick, differences, duration, gain, number
from titrant.texts import say
from titrant.train.metrics import METRICS

_BEST = 15
_CURVES = 3
_MOST_CLASSES = 40
_MOST_CONFUSIONS = 10
_TABLE_FILES = {".csv", ".tsv", ".txt", ".parquet", ".arrow", ".feather", ".ipc"}


@dataclass(frozen=True)
class Stage:
    """One score on the way from the search to the held-out rows; positions are per cent of the panel's width."""

    name: str
    note: str
    score: float
    position: float
    interval: tuple[float, float] | None
    plain: bool
    """True for the baseline, which is drawn as another shape."""


def stages(summary: Summary) -> list[Stage]:
    """Validation, refit, held-out and baseline scores on one scale."""
    interval, baseline = summary.score_test_interval, say("Baseline")
    searched = say("the winner, on the rows that chose it: flattered by the choice")
    rows = [
        (say("Validation"), searched, summary.score_validation, None),
        (say("Refit"), say("the final model, each row scored by networks that never saw it"), summary.score_refit, None),
        (say("Held-out"), say("the final model, on rows that no choice has seen"), summary.score_test, interval),
        (baseline, say("the plain baseline, on the same held-out rows"), summary.baseline_score_test, None),
    ]
    values = [value for _, _, score, bounds in rows if score is not None for value in (score, *(bounds or ()))]
    low, high = min(values, default=0.0), max(values, default=1.0)

    def place(value: float) -> float:
        return 50.0 if high == low else 3 + 94 * (value - low) / (high - low)

    return [
        Stage(name, note, score, place(score), (place(bounds[0]), place(bounds[1])) if bounds else None, name == baseline)
        for name, note, score, bounds in rows
        if score is not None
    ]


def gap_sentence(summary: Summary) -> str:
    """What the difference between the search's score and the held-out score means."""
    searched, tested = summary.score_validation, summary.score_test
    if searched is None or tested is None:
        return say("The gap cannot be told: one of the two scores is missing.")
    lost = -gain(summary, tested, searched)
    size = number(abs(lost), 2)
    if lost > 0:
        return say("The held-out score is {size} worse than the validation score that chose this recipe.", size=size)
    return say("The held-out score is no worse than the validation score that chose this recipe.")


@dataclass(frozen=True)
class Place:
    """One row of the leaderboard."""

    rank: int | None
    member: MemberRecord
    changes: list[tuple[str, str]]
    """What differs from the baseline: (trick, its doses)."""
    winner: bool


def ranked(members: Sequence[MemberRecord], direction: Direction) -> list[MemberRecord]:
    """Searched members from the best validation score to the worst; refits compete with nobody and are left out."""
    sign = -1 if direction == "maximize" else 1
    scored = [member for member in members if member.score_validation is not None and member.origin != "refit"]
    return sorted(scored, key=lambda member: (sign * (member.score_validation or 0), member.number))


def leaderboard(run: Run, direction: Direction) -> list[Place]:
    """The best members, and the winner and the baseline wherever they stand."""
    order, baseline = ranked(run.members, direction), run.baseline
    reference = run.plain
    winner = next((member.number for member in order if member.recipe == run.recipe), None)
    if winner is None:  # finals may train for longer or shorter than the search did
        winner = next((member.number for member in order if _timeless(member.recipe) == _timeless(run.recipe)), None)
    shown = [
        Place(rank, member, by_trick(differences(member.recipe, reference)) if reference else [], member.number == winner)
        for rank, member in enumerate(order, 1)
        if rank <= _BEST or member is baseline or member.number == winner
    ]
    if baseline and all(place.member is not baseline for place in shown):
        shown.append(Place(None, baseline, [], winner=False))
    return shown


def _timeless(recipe: Mapping[str, Any] | None) -> dict[str, Any]:
    """A recipe without how long it trains."""
    return {slot: doses for slot, doses in (recipe or {}).items() if slot != "stop"}


def winner_sentence(places: Sequence[Place], summary: Summary | None) -> str:
    """Why the winner is not the one with the best validation score; empty where it is."""
    won = next((place for place in places if place.winner and (place.rank or 0) > 1), None)
    if won is None or summary is None:
        return ""
    counts = summary.metric in METRICS and METRICS[summary.metric].counts
    if summary.final == "checkpoint":  # no finals: the loss alone may have changed the order
        return say(
            "The winner has rank {rank}: log loss has a say beside the score, the more the fewer rows judge.", rank=won.rank
        ) if counts else ""  # fmt: skip
    finals = say(
        "The winner has rank {rank}: finals on folds of all rows outside the test decide between the best recipes.",
        rank=won.rank,
    )
    if not counts:
        return finals
    return finals + " " + say("Log loss has a say beside the score, the more the fewer rows there are.")


def states(members: Sequence[MemberRecord]) -> str:
    """How many recipes were tried and how they ended, in words."""
    words = {
        "finished": say("finished"),
        "stopped": say("stopped early as weak"),
        "diverged": say("diverged"),
        "interrupted": say("interrupted"),
    }
    tried = [member for member in members if member.origin != "refit"]
    counts = {state: sum(member.state == state for member in tried) for state in words}
    return ", ".join(f"{count:,} {words[state]}" for state, count in counts.items() if count)


def curve_members(run: Run, direction: Direction) -> list[MemberRecord]:
    """The best few members that have a curve, then the baseline."""
    best = [member for member in ranked(run.members, direction) if member.curve and member.origin != "baseline"][:_CURVES]
    return best + [member for member in [run.baseline] if member and member.curve]


@dataclass(frozen=True)
class Act:
    """A receipt with its share, None where nothing was seen."""

    receipt: Receipt
    share: float | None


def acts(receipts: Sequence[Receipt]) -> list[Act]:
    """Receipts with the share of units that each trick acted on; not of slots that are always filled and had nothing to do."""
    told = [receipt for receipt in receipts if not (receipt.never_acted and receipt.trick in ALWAYS_ON)]
    return [Act(receipt, min(1.0, receipt.acted / receipt.seen) if receipt.seen else None) for receipt in told]


@dataclass(frozen=True)
class Sparkline:
    """A small histogram: bar heights from 0 to 1 and what it shows in words."""

    bars: list[float]
    title: str


def sparkline(column: ColumnSummary) -> Sparkline | None:
    """The column's histogram, None if it has none."""
    top = max(column.histogram, default=0)
    if top <= 0:
        return None
    labels = column.labels
    if len(labels) == len(column.histogram) + 1:
        title = say("from {low} to {high}", low=labels[0], high=labels[-1])
    else:
        title = say("commonest values: {values}", values=", ".join(labels[:6]))
    return Sparkline([count / top for count in column.histogram], title)


@dataclass(frozen=True)
class ClassRow:
    """How one class fared on held-out rows; a share is None where it would be 0 / 0."""

    name: str
    rows: int
    recall: float | None
    precision: float | None


@dataclass(frozen=True)
class Confusion:
    """Counts and row shares; `matrix` is None where there are too many classes to show it."""

    classes: list[ClassRow]
    matrix: list[list[tuple[int, float]]] | None
    commonest: list[tuple[str, str, int, float]]
    """(truth, prediction, rows, share of the truth's rows), the most frequent mistakes first"""


def confusion(evaluation: Evaluation, data: DataSummary | None) -> Confusion | None:
    """The confusion matrix and what follows from it, None if the run has none."""
    counts = evaluation.confusion
    if not counts:
        return None
    names = data.classes if data and len(data.classes) == len(counts) else [str(index) for index in range(len(counts))]
    truths = [sum(row) for row in counts]
    predictions = [sum(column) for column in zip(*counts, strict=True)]
    shares = [[(count, count / rows if rows else 0.0) for count in row] for row, rows in zip(counts, truths, strict=True)]
    mistakes = [
        (names[i], names[j], count, share)
        for i, row in enumerate(shares)
        for j, (count, share) in enumerate(row)
        if i != j and count
    ]
    return Confusion(
        classes=[
            ClassRow(
                name,
                truths[i],
                counts[i][i] / truths[i] if truths[i] else None,
                counts[i][i] / predictions[i] if predictions[i] else None,
            )
            for i, name in enumerate(names)
        ],
        matrix=shares if len(counts) <= _MOST_CLASSES else None,
        commonest=sorted(mistakes, key=lambda mistake: -mistake[2])[:_MOST_CONFUSIONS],
    )


@dataclass(frozen=True)
class Stroke:
    """One channel of a series, as the points of a line in a box of 200 × 60."""

    points: str
    channel: int
    own: bool
    """True for the series as it is, False for an augmented version."""


def drawn(line: Line) -> list[Stroke]:
    """A series and its versions on one scale, versions first so that they lie behind it; gaps end a stroke."""
    shown = [*((version, False) for version in line.augmented), (line.values, True)]
    values = [value for series, _ in shown for channel in series for value in channel if value is not None]
    low, high = min(values, default=0.0), max(values, default=1.0)
    height = (high - low) or 1.0
    strokes = []
    for series, own in shown:
        for place, channel in enumerate(series):
            across = 200 / max(1, len(channel) - 1)
            run: list[str] = []
            for step, value in enumerate([*channel, None]):
                if value is not None:
                    run.append(f"{step * across:.1f},{57 - 54 * (value - low) / height:.1f}")
                elif run:
                    strokes.append(Stroke(" ".join(run), place, own))
                    run = []
    return strokes


@dataclass(frozen=True)
class Fanned:
    """A forecast as points in a box of 200 × 60."""

    history: list[str]
    truth: str
    predicted: str
    band: str


def fanned(fan: Fan) -> Fanned:
    """A forecast on one scale: its past, what came, what was predicted, and the band around that."""
    past = len(fan.history)
    values = [value for value in (*fan.history, *fan.truth, *fan.predicted, *fan.low, *fan.high) if value is not None]
    low, high = min(values), max(values)
    height = (high - low) or 1.0
    across = 200 / max(1, past + len(fan.truth) - 1)

    def point(step: int, value: float) -> str:
        return f"{step * across:.1f},{57 - 54 * (value - low) / height:.1f}"

    def ahead(line: Sequence[float]) -> list[str]:
        return [point(past + step, value) for step, value in enumerate(line)]

    runs: list[list[str]] = [[]]
    for step, value in enumerate(fan.history):
        if value is None:
            runs.append([])
        else:
            runs[-1].append(point(step, value))
    band = " ".join([*ahead(fan.high), *reversed(ahead(fan.low))])
    start = runs[-1][-1:]  # what came goes on from the last step that is known
    past_lines = [" ".join(run) for run in runs if run]
    return Fanned(past_lines, " ".join([*start, *ahead(fan.truth)]), " ".join(ahead(fan.predicted)), band)


def commands(run: Run) -> list[tuple[str, str]]:
    """What to run to repeat the search, to train the winner again, and to predict: (purpose, command)."""
    folder = shlex.quote(str(run.folder))
    found = [(say("Predict new rows"), f"titrant predict {folder} NEW_DATA --out predictions.csv")]
    summary, data = run.summary, run.data
    if summary is None or data is None:
        return found
    in_memory = data.source in {say("pictures in memory"), say("series in memory")}
    if in_memory or (not data.picture and not data.series and Path(data.source).suffix.lower() not in _TABLE_FILES):
        options = f"budget={summary.budget_seconds:g}, metric={summary.metric!r}, seed={summary.seed}"
        call = f"titrant.fit(frame, target={data.target!r}, {options})"
        return [(say("Repeat the search, in Python"), call), *found]
    reading = Source(data=data.source, target=data.target, text=data.text_column or None) if run.source is None else run.source
    searching = [] if run.asked is None else _searching(run.asked)
    named = ["titrant", "fit", data.source, *_reading(reading), *searching, "--metric", summary.metric]
    base = shlex.join([*named, "--budget", f"{summary.budget_seconds:g}s", "--seed", str(summary.seed)])
    again = f"{base} --recipe {shlex.quote(str(run.folder / 'recipe.yaml'))}"
    return [(say("Repeat the search"), base), (say("Start from the winning recipe"), again), *found]


def _reading(source: Source) -> list[str]:
    """The options of `titrant fit` that read the same data again."""
    given = {
        "--target": source.target, "--test": source.test, "--task": source.task, "--split-column": source.split_column,
        "--group": source.group, "--id": source.by, "--time": source.time, "--horizon": source.horizon, "--text": source.text,
        "--size": source.size,
    }  # fmt: skip
    found = [part for name, value in given.items() if value is not None for part in (name, str(value))]
    found += [part for column, kind in source.kinds.items() for part in ("--kind", f"{column}={kind}")]
    return found if source.hold_out else [*found, "--no-hold-out"]


def _searching(asked: Asked) -> list[str]:
    """The options of `titrant fit` that search in the same way, as far as no file is needed for them."""
    usual = Asked()
    given = {
        "--search": (asked.search, usual.search), "--folds": (asked.folds, usual.folds),
        "--repeats": (asked.repeats, usual.repeats), "--members": (asked.members, usual.members),
    }  # fmt: skip
    found = [part for name, (value, default) in given.items() if value != default for part in (name, str(value))]
    return found if asked.ensemble else [*found, "--no-ensemble"]


def facts(summary: Summary) -> list[tuple[str, str]]:
    """Seed, machine and versions, for whoever repeats the run."""
    return [
        (say("seed"), str(summary.seed)),
        (say("budget"), duration(summary.budget_seconds)),
        (say("time used"), duration(summary.seconds_total)),
        *((name.replace("_", " "), str(value)) for name, value in summary.machine.items()),
        *summary.versions.items(),
    ]
