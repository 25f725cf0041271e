"""A diagnosis as one HTML file: the findings, and pictures of activations, gradients and updates by layer and step."""

import math
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from titrant.doctor.case import Case
from titrant.doctor.finding import Finding
from titrant.record import write_text
from titrant.report.charts import Figure, figure
from titrant.report.html import templates
from titrant.texts import say

_COLOURS = [[0, "var(--blue)"], [0.5, "var(--paper)"], [1, "var(--vermilion)"]]
_SHARES = [[0, "var(--paper)"], [1, "var(--vermilion)"]]


def write_diagnosis(case: Case, findings: Sequence[Finding], title: str, path: Path) -> None:
    """Writes the page of a diagnosis; self-contained, like every report.

    Args:
        case: what was recorded.
        findings: what the rules said of it.
        title: what was diagnosed, such as the program's name.
        path: the file to write.

    Raises:
        OSError: the file cannot be written.
    """
    page = (
        templates()
        .get_template("diagnosis.html")
        .render(title=title, case=case, findings=findings, figures=figures(case), plotly=Markup(get_plotlyjs()))
    )
    write_text(path, page.encode("utf-8", "replace").decode("utf-8"))


def figures(case: Case) -> dict[str, Figure]:
    """Charts by the id of their place in the page; those for which nothing was recorded are left out."""
    layers = sorted(case.layers, key=lambda layer: layer.order)
    activations = [(layer.name, [(sample.step, sample.std) for sample in layer.samples]) for layer in layers]
    dead = [
        (layer.name, [(sample.step, max(sample.silent, sample.saturated, sample.constant)) for sample in layer.samples])
        for layer in layers
    ]
    places = {layer.name: layer.order for layer in layers}
    matrices = sorted(
        (parameter for parameter in case.parameters if parameter.matrix),
        key=lambda parameter: places.get(parameter.layer, parameter.order),
    )
    gradients = [
        (parameter.name, [(sample.step, sample.gradient) for sample in parameter.samples if sample.gradient is not None])
        for parameter in matrices
    ]
    updates = [
        (
            parameter.name,
            [
                (sample.step, sample.update / sample.weight)
                for sample in parameter.samples
                if sample.update is not None and sample.weight > 0
            ],
        )
        for parameter in matrices
    ]
    drawn = {
        "loss": _losses(case),
        "activations": _heat(activations, say("standard deviation"), _COLOURS, _power),
        "lost-units": _heat(dead, say("share"), _SHARES, float),
        "gradients": _heat(gradients, say("root mean square"), _COLOURS, _power),
        "updates": _heat(updates, say("change in one step"), _COLOURS, _power),
    }
    return {name: chart for name, chart in drawn.items() if chart is not None}


def _losses(case: Case) -> Figure | None:
    points = [(step, loss) for step, loss in zip(case.loss_steps, case.losses, strict=True) if math.isfinite(loss)]
    if not points:
        return None
    every = -(-len(points) // 1000)
    training = {
        "type": "scatter",
        "mode": "lines",
        "name": say("training, batch by batch"),
        "x": [step for step, _ in points[::every]],
        "y": [loss for _, loss in points[::every]],
        "line": {"color": "var(--blue)", "width": 1},
    }
    held = [(entry.step, entry.loss) for entry in case.evaluations if entry.loss is not None and math.isfinite(entry.loss)]
    evaluated = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": say("evaluation"),
        "x": [step for step, _ in held],
        "y": [loss for _, loss in held],
        "line": {"color": "var(--vermilion)", "width": 2},
    }
    chart = figure([training, evaluated] if held else [training], say("step"), say("loss"), legend=bool(held))
    values = [loss for _, loss in points]
    if min(values) > 0 and max(values) > 30 * min(values):
        chart["layout"]["yaxis"]["type"] = "log"
    return chart


def _power(value: float) -> float | None:
    return round(math.log10(value), 3) if value > 0 and math.isfinite(value) else None


def _heat(
    rows: list[tuple[str, list[tuple[int, float]]]],
    unit: str,
    colours: list[list[Any]],
    scale: Callable[[float], float | None],
) -> Figure | None:
    """One row of tiles for each layer, the first at the top, and one column for each step that was looked at."""
    steps = sorted({step for _, samples in rows for step, _ in samples})
    if not steps:
        return None
    values = [[_or_none(scale, dict(samples).get(step)) for step in steps] for _, samples in rows]
    powers = scale is _power
    tiles = {
        "type": "heatmap",
        "x": [str(step) for step in steps],
        "y": [escape(name) for name, _ in rows],
        "z": values,
        "colorscale": colours,
        "colorbar": {"title": {"text": escape(say("{unit}, power of ten", unit=unit) if powers else unit), "side": "right"}},
        "hovertemplate": "%{y}<br>"
        + escape(say("step"))
        + " %{x}: "
        + ("10^%{z}" if powers else "%{z:.2f}")
        + "<extra></extra>",
        "xgap": 1,
        "ygap": 1,
    }
    if powers:
        tiles["zmid"] = _middle(values)
    else:
        tiles |= {"zmin": 0, "zmax": 1}
    chart = figure([tiles], say("step"), "")
    chart["layout"]["xaxis"] |= {"type": "category", "nticks": 12}
    chart["layout"]["yaxis"] |= {"autorange": "reversed", "type": "category", "tickfont": {"size": 11}}
    return chart


def _or_none(scale: Callable[[float], float | None], value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else scale(value)


def _middle(values: list[list[float | None]]) -> float:
    found = sorted(value for row in values for value in row if value is not None)
    return found[len(found) // 2] if found else 0.0
