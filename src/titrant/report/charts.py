"""The report's charts as Plotly figures in plain data; colours are names of CSS variables, resolved in the browser.

So a chart follows the light and the dark theme like the text around it, and building one needs no import of Plotly.
"""

from collections.abc import Sequence
from html import escape
from itertools import accumulate
from typing import Any

import numpy as np

from titrant.record import Direction, Evaluation, MemberRecord
from titrant.report.words import metric_name, number
from titrant.texts import say

Figure = dict[str, Any]

# Shape and colour both tell the origin, for those who see no difference in hue.
_ORIGINS = {
    "quasi-random": ("var(--grey)", "circle"),
    "forest": ("var(--blue)", "diamond"),
    "tpe": ("var(--blue)", "diamond"),
    "remedy": ("var(--green)", "diamond"),
    "portfolio": ("var(--ochre)", "square"),
    "given": ("var(--purple)", "cross"),
    "baseline": ("var(--vermilion)", "star"),
}
_CURVES = ("var(--blue)", "var(--green)", "var(--purple)")
_MOST_POINTS = 2000


def history(members: Sequence[MemberRecord], direction: Direction, metric: str) -> Figure | None:
    """Validation score against the second it was reached, one marker a member, and the best so far; None without scores."""
    reached = []
    for member in members:
        second, score = _best_point(member, direction)
        if score is not None:
            reached.append((second, score, member))
    reached.sort(key=lambda found: found[0])
    if not reached:
        return None
    traces = []
    for origin in sorted({member.origin for _, _, member in reached}, key=lambda name: [*_ORIGINS, name].index(name)):
        colour, symbol = _ORIGINS.get(origin, ("var(--grey)", "x"))
        own = [found for found in reached if found[2].origin == origin]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": escape(origin),
                "x": [second for second, _, _ in own],
                "y": [score for _, score, _ in own],
                "text": [say("recipe {number}, {state}", number=member.number, state=member.state) for _, _, member in own],
                "hovertemplate": "%{text}<br>%{y:.5g}, %{x:.1f} s<extra>" + escape(origin) + "</extra>",
                "marker": {"color": colour, "symbol": symbol, "size": 13 if origin == "baseline" else 8, "opacity": 0.85},
            }
        )
    better = max if direction == "maximize" else min
    scores = [score for _, score, _ in reached]
    best = {
        "type": "scatter",
        "mode": "lines",
        "name": say("best so far"),
        "x": [second for second, _, _ in reached],
        "y": list(accumulate(scores, better)),
        "line": {"color": "var(--ink)", "width": 1.5, "shape": "hv"},
        "hoverinfo": "skip",
    }
    measured = say("validation {metric}", metric=metric_name(metric))
    chart = figure([best, *traces], say("seconds since the command began"), measured, legend=True)
    chart["layout"]["yaxis"]["range"] = _useful_range(scores, direction)
    return chart


def learning_curves(members: Sequence[tuple[str, MemberRecord]], metric: str) -> tuple[Figure, Figure]:
    """Loss and validation score against epochs, for members with their labels; the member labelled first is the best."""
    losses: list[dict[str, Any]] = []
    scores: list[dict[str, Any]] = []
    values: list[float] = []
    for index, (label, member) in enumerate(members):
        colour = "var(--vermilion)" if member.origin == "baseline" else _CURVES[index % len(_CURVES)]
        name, solid, dotted = escape(label), {"color": colour, "width": 2}, {"color": colour, "width": 1.5, "dash": "dot"}
        curve = member.curve
        common: dict[str, Any] = {
            "type": "scatter",
            "mode": "lines" if len(curve) > 1 else "markers",  # one point makes no line
            "x": [point.epoch for point in curve],
            "legendgroup": str(member.number),
        }
        losses += [
            common | {"name": name, "y": [point.loss_validation for point in curve], "line": solid},
            common
            | {
                "name": say("{member}, train", member=name),
                "y": [point.loss_train for point in curve],
                "line": dotted,
                "showlegend": False,
            },
        ]
        scores.append(common | {"name": name, "y": [point.score_validation for point in curve], "line": solid})
        values += [loss for point in curve for loss in (point.loss_train, point.loss_validation) if loss is not None]
    loss = figure(losses, say("epoch"), say("loss"), legend=True)
    if values and min(values) > 0 and max(values) > 30 * min(values):
        loss["layout"]["yaxis"]["type"] = "log"
    return loss, figure(scores, say("epoch"), say("validation {metric}", metric=metric_name(metric)), legend=True)


def reliability(evaluation: Evaluation) -> Figure:
    """Share that was right against mean confidence per bin; on the diagonal, a probability means what it says."""
    bins = evaluation.reliability
    most = max(rows for _, _, rows in bins)
    points = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": say("final model"),
        "x": [confidence for confidence, _, _ in bins],
        "y": [right for _, right, _ in bins],
        "text": [say("{rows:,} rows", rows=rows) for _, _, rows in bins],
        "hovertemplate": "%{x:.3f} / %{y:.3f}<br>%{text}<extra></extra>",
        "marker": {"color": "var(--blue)", "size": [6 + 14 * (rows / max(most, 1)) ** 0.5 for _, _, rows in bins]},
        "line": {"color": "var(--blue)", "width": 1.5},
    }
    return figure([_diagonal(0, 1), points], say("mean confidence"), say("share that was right"))


def predicted_against_truth(evaluation: Evaluation) -> tuple[Figure, Figure]:
    """Predictions against the truth, and the residuals (truth minus prediction) as a histogram."""
    step = -(-len(evaluation.truth) // _MOST_POINTS)
    truth, predicted = evaluation.truth[::step], evaluation.predicted[::step]
    both = truth + predicted
    points = {
        "type": "scatter",
        "mode": "markers",
        "name": say("held-out rows"),
        "x": truth,
        "y": predicted,
        "hovertemplate": "%{x:.5g} / %{y:.5g}<extra></extra>",
        "marker": {"color": "var(--blue)", "size": 5, "opacity": 0.45},
    }
    scatter = figure([_diagonal(min(both), max(both)), points], say("truth"), say("prediction"))
    counts, edges = np.histogram(np.subtract(evaluation.truth, evaluation.predicted), bins=40)
    bars = {
        "type": "bar",
        "x": ((edges[1:] + edges[:-1]) / 2).tolist(),
        "y": counts.tolist(),
        "width": float(edges[1] - edges[0]),
        "marker": {"color": "var(--blue)", "line": {"color": "var(--paper)", "width": 1}},
        "hovertemplate": "%{x:.4g}: %{y}<extra></extra>",
    }
    residuals = figure([bars], say("truth minus prediction"), say("held-out rows"))
    return scatter, residuals


def _best_point(member: MemberRecord, direction: Direction) -> tuple[float, float | None]:
    """The second and the score of a member's best evaluation that has both."""
    sign = 1 if direction == "maximize" else -1
    timed = [
        (point.seconds, point.score_validation)
        for point in member.curve
        if point.seconds is not None and point.score_validation is not None
    ]
    return max(timed, key=lambda found: sign * found[1], default=(0.0, None))


def _useful_range(scores: Sequence[float], direction: Direction) -> list[float] | None:
    """From the best score to a little beyond the lower quartile, so that one bad recipe does not flatten the rest."""
    best = max(scores) if direction == "maximize" else min(scores)
    poor = float(np.percentile(scores, 20 if direction == "maximize" else 80))
    if poor == best:
        return None
    far = poor - (best - poor) * 0.6
    return sorted((far, best + (best - poor) * 0.15))


def outside(chart: Figure) -> int:
    """How many markers lie outside the range that is shown at first."""
    shown = chart["layout"]["yaxis"].get("range")
    if shown is None:
        return 0
    low, high = shown
    return sum(not low <= value <= high for trace in chart["data"] if trace["mode"] == "markers" for value in trace["y"])


def _diagonal(low: float, high: float) -> dict[str, Any]:
    line = {"color": "var(--grey)", "width": 1, "dash": "dash"}
    return {"type": "scatter", "mode": "lines", "x": [low, high], "y": [low, high], "line": line, "hoverinfo": "skip"}


def figure(traces: list[dict[str, Any]], x: str, y: str, *, legend: bool = False) -> Figure:
    """Traces in the look that all charts share, with the words at their axes."""
    axis = {"gridcolor": "var(--line)", "zeroline": False, "linecolor": "var(--line)", "automargin": True}
    return {
        "data": traces,
        "layout": {
            "font": {"family": "system-ui, sans-serif", "size": 13, "color": "var(--ink)"},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
            "xaxis": axis | {"title": {"text": escape(x), "standoff": 8, "font": {"size": 13}}},
            "yaxis": axis | {"title": {"text": escape(y), "standoff": 8, "font": {"size": 13}}},
            "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
            "hoverlabel": {"bgcolor": "var(--paper)", "font": {"color": "var(--ink)"}, "bordercolor": "var(--line)"},
            "hovermode": "closest",
            "showlegend": legend,
        },
    }


def label_of(member: MemberRecord) -> str:
    """How a member is called in a chart."""
    if member.origin == "baseline":
        return say("baseline")
    return say("recipe {number} ({score})", number=member.number, score=number(member.score_validation))
