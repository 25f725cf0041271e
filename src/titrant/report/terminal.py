"""The views of a run in a terminal. Progress goes to stderr, the result to stdout, so that either can be piped away."""

import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from titrant.errors import OutputError
from titrant.record import DataSummary, Summary
from titrant.report.run import read_run
from titrant.report.words import by_trick, differences, duration, effort, headline, metric_name, number, task_name
from titrant.texts import say

_REFRESHES_PER_SECOND = 4
_PLAIN_LINES = 12
"""Progress lines in a log file over the whole budget, apart from one for each new phase."""
_MOST_TRICKS = 8
_MOST_WARNINGS = 4
_PATIENCE = 1.0  # seconds that pictures may be decoded before a person is told


@dataclass(frozen=True)
class _Progress:
    phase: str
    details: list[str]
    deadline: float

    @property
    def lines(self) -> list[str]:
        left = duration(max(0, round(self.deadline - time.monotonic())))
        return [say("{phase}, {left} left", phase=self.phase, left=left), *self.details]


class QuietView:
    """Shows nothing at all; a `View`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def reading(self, done: int, every: int) -> None:
        """Shows nothing."""

    def start(self, title: str, budget: float, data_summary: DataSummary) -> None:
        """Shows nothing."""

    def update(
        self,
        phase: str,
        rung: int,
        members_alive: int,
        members_total: int,
        best_score: float | None,
        metric: str,
        seconds_left: float,
    ) -> None:
        """Shows nothing."""

    def studying(self, phase: str, arms: int, trainings: int, seconds_left: float) -> None:
        """Shows nothing."""

    def note(self, text: str) -> None:
        """Shows nothing."""

    def finish(self, summary: Summary, folder: Path | None = None) -> None:
        """Shows nothing."""


class JsonView(QuietView):
    """Shows only the result, as one JSON document on stdout: the fields of `Summary`, and `folder` if the run was written."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout

    def finish(self, summary: Summary, folder: Path | None = None) -> None:
        """Writes the document."""
        document = summary.model_dump(mode="json") | ({} if folder is None else {"folder": str(folder)})
        # Pure ASCII passes through every locale.
        self._out.write(json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n")
        self._out.flush()


class LiveView:
    """A live view on stderr, a few plain lines if stderr is no terminal, and the result on stdout; a `View`.

    Args:
        err: where progress goes, `sys.stderr` by default.
        out: where the result goes, `sys.stdout` by default.
    """

    def __init__(self, err: TextIO | None = None, out: TextIO | None = None) -> None:
        self._err = _console(err or sys.stderr)
        self._out = _console(out or sys.stdout)
        self._live: Live | None = None
        self._title = ""
        self._budget = 1.0
        self._progress: _Progress | None = None
        self._phases_shown: set[str] = set()
        self._next_line = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def reading(self, done: int, every: int) -> None:
        """Prints a line now and then; none where all is done in a moment."""
        now = time.monotonic()
        self._next_line = self._next_line or now + _PATIENCE
        if now >= self._next_line:
            self._next_line = now + (_PATIENCE if self._err.is_interactive else 10 * _PATIENCE)
            _print(self._err, say("decoding pictures: {done:,} of {every:,}", done=done, every=every))

    def start(self, title: str, budget: float, data_summary: DataSummary) -> None:
        """Shows what the data are and begins to refresh."""
        self._title, self._budget, self._next_line = title, budget, 0.0
        _print(self._err, say("{title}, budget {budget}", title=title, budget=duration(budget)), style="bold")
        _print(self._err, _describe(data_summary))
        if self._err.is_interactive:
            # A thread of Rich redraws, so `update` only stores what is to be drawn.
            self._live = Live(
                console=self._err,
                get_renderable=self._render,
                refresh_per_second=_REFRESHES_PER_SECOND,
                transient=True,
                redirect_stdout=False,
            )
            self._live.start()

    def update(
        self,
        phase: str,
        rung: int,
        members_alive: int,
        members_total: int,
        best_score: float | None,
        metric: str,
        seconds_left: float,
    ) -> None:
        """Stores the state for the next redraw; without a terminal, prints a line now and then."""
        details = [
            say("leader's validation {metric} {score}", metric=metric_name(metric), score=number(best_score)),
            say("members alive {alive}, tried {total}", alive=members_alive, total=members_total),
        ]
        self._advance(phase, say("{phase}, rung {rung}", phase=phase, rung=rung), details, seconds_left)

    def studying(self, phase: str, arms: int, trainings: int, seconds_left: float) -> None:
        """Stores the state for the next redraw; without a terminal, prints a line now and then."""
        self._advance(phase, phase, [say("arms {arms}, trainings done {done:,}", arms=arms, done=trainings)], seconds_left)

    def _advance(self, phase: str, title: str, details: list[str], seconds_left: float) -> None:
        now = time.monotonic()
        self._progress = _Progress(title, details, now + seconds_left)
        if self._live is None and (now >= self._next_line or phase not in self._phases_shown):
            self._phases_shown.add(phase)
            self._next_line = now + self._budget / _PLAIN_LINES
            _print(self._err, ", ".join(self._progress.lines))

    def note(self, text: str) -> None:
        """Prints one line above the live view."""
        _print(self._err, say("Note: {text}", text=_one_line(text)), style="yellow")

    def finish(self, summary: Summary, folder: Path | None = None) -> None:
        """Ends the live view and prints the result."""
        self._stop()
        print_lines(_result(summary, folder), self._out)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _render(self) -> RenderableType:
        progress = self._progress
        if progress is None:
            return Text(say("starting"), style="dim")
        left = max(0.0, progress.deadline - time.monotonic())
        view = Table.grid()
        view.add_row(ProgressBar(total=self._budget, completed=self._budget - left, width=min(60, self._err.width)))
        for line in progress.lines:
            view.add_row(Text(_printable(line, self._err), overflow="ellipsis", no_wrap=True))
        return view


def print_lines(lines: Iterable[tuple[str, str]], out: Console | None = None) -> None:
    """Prints lines, each with its Rich style, to stdout by default."""
    console = out or _console(sys.stdout)
    for line, style in lines:
        _print(console, line, style)
    console.file.flush()


def _console(stream: TextIO) -> Console:
    return Console(file=stream, highlight=False, markup=False, emoji=False, force_jupyter=False)


def _print(console: Console, text: str, style: str = "") -> None:
    console.print(Text(_printable(text, console), style=style), soft_wrap=True)


def _printable(text: str, console: Console) -> str:
    """`text` without control characters and without what the stream cannot encode: data may hold either."""
    encoding = getattr(console.file, "encoding", None) or "utf-8"
    blank = {True: " ", False: "\N{REPLACEMENT CHARACTER}"}
    harmless = "".join(symbol if symbol.isprintable() else blank[symbol.isspace()] for symbol in text)
    return harmless.encode(encoding, "replace").decode(encoding, "replace")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _describe(data: DataSummary) -> str:
    used = sum(column.kind != "left out" for column in data.columns)
    rows = say(
        "{task} of {target!r}; rows: {train:,} train, {validation:,} validation, {test:,} test",
        task=task_name(data.task),
        target=data.target,
        train=data.rows_train,
        validation=data.rows_validation,
        test=data.rows_test,
    )
    if data.picture:
        return say("{rows}; pictures: {picture}", rows=rows, picture=data.picture)
    if data.series:
        return say("{rows}; series: {series}", rows=rows, series=data.series)
    if data.text:
        return say("{rows}; texts: {text}", rows=rows, text=data.text)
    return say("{rows}; columns: {used:,} used, {left_out:,} left out", rows=rows, used=used, left_out=len(data.columns) - used)


def _result(summary: Summary, folder: Path | None) -> list[tuple[str, str]]:
    """The result block: lines with their Rich style."""
    lines = [(headline(summary), "bold"), (effort(summary), "")]
    if folder is not None:
        lines += [(line, "") for line in _changes(folder)]
    if summary.warnings:
        lines.append((say("Warnings"), "yellow"))
        lines += [(f"  {_one_line(warning)}", "") for warning in summary.warnings[:_MOST_WARNINGS]]
        if len(summary.warnings) > _MOST_WARNINGS:
            lines.append((say("  and {more} more, see the report", more=len(summary.warnings) - _MOST_WARNINGS), ""))
    if folder is not None:
        lines += [
            (say("Report   {path}", path=folder / "report.html"), ""),
            (say("Model    {path}", path=folder / "model"), ""),
            (say("Recipe   {path}", path=folder / "recipe.yaml"), ""),
        ]
    return lines


def _changes(folder: Path) -> list[str]:
    """What the winning recipe changed against the plain baseline; nothing if the folder cannot tell."""
    try:
        run = read_run(folder)
    except OutputError:
        return []
    if run.recipe is None or run.plain is None:
        return []
    found = by_trick(differences(run.recipe, run.plain))
    if not found:
        return [say("The winning recipe is the plain baseline.")]
    shown = found[:_MOST_TRICKS]
    width = max(len(trick) for trick, _ in shown)
    lines = [say("Changed against the plain baseline"), *(f"  {trick:<{width}}  {doses}" for trick, doses in shown)]
    if len(found) > len(shown):
        lines.append(say("  and {more} more, see the report", more=len(found) - len(shown)))
    return lines
