"""Runs side by side, as lines for the terminal."""

from pathlib import Path

from titrant.record import DataSummary, Summary, is_held
from titrant.report.words import duration, metric_name, number
from titrant.texts import say


def listed(folder: Path) -> list[str]:
    """A heading and a line for each run in a folder, the newest first; the folder itself if it is a run; nothing if none is."""
    places = [folder] if _is_run(folder) else [place for place in folder.iterdir() if place.is_dir() and _is_run(place)]
    places.sort(key=lambda place: place.stat().st_mtime, reverse=True)
    rows = [_row(place) for place in places]
    if not rows:
        return []
    heading = (say("run"), say("data"), say("score"), say("baseline"), say("recipes"), say("time"), say("state"))
    widths = [max(len(row[column]) for row in (heading, *rows)) for column in range(len(heading))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (heading, *rows)]


def _is_run(place: Path) -> bool:
    return (place / "summary.json").is_file() or (place / "model").is_dir() or is_held(place)


def _row(place: Path) -> tuple[str, ...]:
    state = say("running") if is_held(place) else ""
    try:
        summary, data = Summary.read(place / "summary.json"), DataSummary.read(place / "data.json")
    except (OSError, ValueError):
        return (str(place), "-", "-", "-", "-", "-", state or say("damaged"))
    whole = (place / "report.html").is_file()
    ended = say("interrupted") if summary.interrupted else say("finished")
    score = f"{metric_name(summary.metric)} {number(summary.score_test)}"
    return (
        str(place),
        Path(data.source).name,
        score,
        number(summary.baseline_score_test),
        str(summary.n_members),
        duration(summary.seconds_total),
        state or (ended if whole else say("cut off")),
    )
