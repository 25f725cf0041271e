"""The report: everything a run folder holds, as one HTML file that works offline, on paper, and in the dark."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from titrant.doctor.rules import diagnose
from titrant.doctor.runs import case_of
from titrant.record import write_text
from titrant.report import charts, evidence, references, sections, words
from titrant.report.charts import Figure
from titrant.report.run import Run, read_run
from titrant.texts import say


def write_report(folder: Path) -> Path:
    """Writes `report.html` into a run folder, from the records that stand there; parts that are missing are said to be.

    The file is self-contained: scripts and styles inline, and a content security policy that forbids every request.

    Returns:
        The path of the report.

    Raises:
        OutputError: `folder` does not exist or holds no run.
    """
    path = folder / "report.html"
    # A path that is not valid Unicode must not stop the report.
    write_text(path, render(read_run(folder)).encode("utf-8", "replace").decode("utf-8"))
    return path


def render(run: Run) -> str:
    """The report of a run as HTML text."""
    environment = templates()
    environment.globals.update(words=words, sections=sections, evidence=evidence, references=references)
    figures, outside = _figures(run)
    study = run.summary is None and not run.members and (run.ablation is not None or run.responses or run.cure is not None)
    return environment.get_template("study.html" if study else "report.html").render(
        run=run,
        summary=run.summary,
        data=run.data,
        evaluation=run.evaluation,
        figures=figures,
        outside=outside,
        plotly=Markup(get_plotlyjs()),
        **_tables(run),
    )


def templates() -> Environment:
    """The pages' templates, with `say` for their words."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["say"] = say
    return environment


def _tables(run: Run) -> dict[str, Any]:
    summary, plain = run.summary, run.plain
    direction = summary.direction if summary else "maximize"
    case = case_of(run.members, summary, run.data) if summary and run.data else None
    return {
        "leaderboard": sections.leaderboard(run, direction) if summary else [],
        "confusion": sections.confusion(run.evaluation, run.data) if run.evaluation else None,
        "findings": None if case is None else diagnose(case),
        "changes": words.differences(run.recipe, plain) if run.recipe is not None and plain else None,
    }


def _figures(run: Run) -> tuple[dict[str, Figure], int]:
    """Charts by the id of their place in the page, and how many recipes lie outside the first view of the history."""
    figures: dict[str, Figure] = {}
    outside = 0
    summary, evaluation = run.summary, run.evaluation
    if summary:
        history = charts.history(
            [member for member in run.members if member.origin != "refit"], summary.direction, summary.metric
        )
        if history:
            figures["history"], outside = history, charts.outside(history)
        if shown := sections.curve_members(run, summary.direction):
            labelled = [(charts.label_of(member), member) for member in shown]
            figures["loss-curves"], figures["score-curves"] = charts.learning_curves(labelled, summary.metric)
    if evaluation and evaluation.truth:
        figures["predicted"], figures["residuals"] = charts.predicted_against_truth(evaluation)
    if evaluation and evaluation.reliability:
        figures["reliability"] = charts.reliability(evaluation)
    if run.ablation is not None:
        figures["forest"] = evidence.forest(run.ablation)
        if curves := evidence.arm_curves(run.ablation):
            figures["arm-curves"] = curves
    for place, response in enumerate(run.responses, 1):
        figures[f"response-{place}"] = evidence.response_curve(response)
    return figures, outside
