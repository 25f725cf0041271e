import inspect
import io
import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from titrant.record import Summary
from titrant.report.terminal import JsonView, LiveView, QuietView
from titrant.view import View

STATE = {"members_alive": 12, "members_total": 40, "best_score": 0.91234, "metric": "roc_auc"}


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


def ascii_stream():
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")


def run_through(view, made, folder, **changes):
    """What `fit` tells a view."""
    with view:
        view.start("fit adult.csv", 60, made.data("binary"))
        for step in range(2000):
            view.update(phase="search", rung=step // 900, seconds_left=60 - step / 40, **STATE)
        view.note("column 'größe' is constant")
        view.update(phase="refit", rung=0, seconds_left=4, **STATE)
        view.finish(made.summary("binary", **changes), folder)


@pytest.fixture
def folder(made, tmp_path):
    return made.folder(tmp_path, "binary")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.mark.parametrize("view", [QuietView, JsonView, LiveView])
def test_every_view_keeps_the_protocol(view):
    for name, method in vars(View).items():
        if inspect.isfunction(method) and name in ("__enter__", "__exit__", "start", "update", "note", "finish"):
            assert inspect.signature(getattr(view, name)) == inspect.signature(method), name


def test_without_a_terminal_a_few_plain_lines_appear(made, folder):
    err, out = io.StringIO(), io.StringIO()
    run_through(LiveView(err, out), made, folder)
    lines = err.getvalue().splitlines()
    assert lines[0] == "fit adult.csv, budget 1 min"
    assert lines[1].startswith(
        "binary classification of 'income'; rows: 3,400 train, 600 validation, 800 test; columns: 4 used, 1 left out"
    )
    assert lines[2].startswith("search, rung 0, 1 min left, leader's validation ROC AUC 0.9123, members alive 12, tried 40")
    assert lines[-1].startswith("refit, rung 0, 4 s left")
    assert len(lines) + len(out.getvalue().splitlines()) <= 25
    assert "\x1b" not in err.getvalue() + out.getvalue()


def test_a_long_run_without_a_terminal_stays_short(made, monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    err = io.StringIO()
    view = LiveView(err, io.StringIO())
    view.start("fit", 3600, made.data("binary"))
    for now in range(3600):
        view.update(phase=("search", "proposing")[now % 2], rung=0, seconds_left=3600 - now, **STATE)
    assert 10 <= len(err.getvalue().splitlines()) <= 18


def test_the_result_says_what_was_found_and_where(made, folder):
    out = io.StringIO()
    LiveView(io.StringIO(), out).finish(made.summary("binary"), folder)
    text = out.getvalue()
    assert text.startswith("ROC AUC 0.9158 on held-out rows (95% interval 0.9101 to 0.9214; higher is better), better than")
    assert "Budget kept: 58.2 s of 1 min." in text
    assert "\n  model          resnet, width 64, depth 3\n" in text
    assert "\n  dropout        bernoulli, p 0.496\n" in text
    assert "The column 'row_id' looks like an identifier" in text
    for name in ("report.html", "model", "recipe.yaml"):
        assert str(folder / name) in text


def test_many_warnings_and_differences_are_cut(made, folder):
    recipe = made.recipe(**{f"trick{number}": {"kind": "new"} for number in range(30)})
    (folder / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    out = io.StringIO()
    LiveView(io.StringIO(), out).finish(made.summary("binary", warnings=["two\nlines"] * 90), folder)
    assert len(out.getvalue().splitlines()) <= 25
    assert "  two lines\n" in out.getvalue()
    assert "and 86 more, see the report" in out.getvalue()
    assert "and 22 more, see the report" in out.getvalue()


def test_a_result_without_a_folder_or_with_an_empty_one(made, tmp_path):
    for folder in (None, tmp_path):
        out = io.StringIO()
        LiveView(io.StringIO(), out).finish(made.summary("binary"), folder)
        assert "Changed" not in out.getvalue()


def test_a_winner_that_is_the_baseline_is_named_so(made, folder):
    (folder / "recipe.yaml").write_text(json.dumps(made.recipe()), encoding="utf-8")
    out = io.StringIO()
    LiveView(io.StringIO(), out).finish(made.summary("binary"), folder)
    assert "The winning recipe is the plain baseline." in out.getvalue()


def test_a_terminal_is_redrawn_by_the_clock_and_left_in_order(made, folder):
    err, out = Terminal(), io.StringIO()
    with LiveView(err, out) as view:
        view.start("fit", 60, made.data("binary"))
        before = err.getvalue().count("search")
        for _ in range(20_000):
            view.update(phase="search", rung=1, seconds_left=30, **STATE)
        seconds_at_most = 30
        assert err.getvalue().count("search") - before <= 4 * seconds_at_most
        assert "\x1b[?25l" in err.getvalue()
    assert err.getvalue().rstrip().endswith(("\x1b[?25h", "\x1b[2K"))
    assert "\x1b[?25h" in err.getvalue()


def test_the_terminal_is_restored_when_the_run_breaks(made):
    err = Terminal()

    def broken():
        with LiveView(err, io.StringIO()) as view:
            view.start("fit", 60, made.data("binary"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert err.getvalue().count("\x1b[?25l") == err.getvalue().count("\x1b[?25h") == 1


@pytest.mark.parametrize("width", ["1", "20", "400"])
def test_narrow_and_wide_terminals(made, folder, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    err, out = Terminal(), Terminal()
    run_through(LiveView(err, out), made, folder)
    assert str(folder / "report.html") in out.getvalue()


def test_no_color_is_respected(made, folder, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal()
    run_through(LiveView(Terminal(), out), made, folder)
    assert "\x1b[3" not in out.getvalue()
    assert "\x1b[9" not in out.getvalue()


@pytest.mark.parametrize("view", [LiveView, JsonView])
def test_an_ascii_locale_gets_ascii(made, folder, view):
    err, out = ascii_stream(), ascii_stream()
    shown = view(err, out) if view is LiveView else view(out)
    run_through(shown, made, folder, warnings=["größe 価格 → ✓"])
    for stream in (err, out):
        stream.flush()
        stream.buffer.getvalue().decode("ascii")


def test_an_ascii_terminal_gets_an_ascii_bar(made):
    class Old(io.TextIOWrapper):
        def isatty(self):
            return True

    err = Old(io.BytesIO(), encoding="ascii", errors="strict")
    with LiveView(err, io.StringIO()) as view:
        view.start("größe", 60, made.data("binary"))
        view.update(phase="search", rung=1, seconds_left=30, **STATE)
    err.flush()
    # The last picture: a bar, then a line for each part of the state.
    written = err.buffer.getvalue().decode("ascii").splitlines()
    last = max(number for number, line in enumerate(written) if "members alive" in line)
    bar, state, best, members = written[last - 3 : last + 1]
    assert "---" in bar
    assert state.strip() == "search, rung 1, 30 s left"
    assert best.strip() == "leader's validation ROC AUC 0.9123"
    assert members.startswith("members alive 12, tried 40")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40))
def test_data_cannot_steer_the_terminal(made, text):
    err, out = io.StringIO(), io.StringIO()
    view = LiveView(err, out)
    view.note(text + "\x1b[2J")
    view.finish(made.summary("binary", warnings=[text + "\x1b]0;title\x07"]))
    for stream in (err, out):
        assert all(symbol.isprintable() or symbol == "\n" for symbol in stream.getvalue())


def test_json_is_the_summary_and_nothing_else(made, folder):
    out = io.StringIO()
    run_through(JsonView(out), made, folder)
    document = json.loads(out.getvalue())
    assert document.pop("folder") == str(folder)
    assert Summary.model_validate(document) == made.summary("binary")


def test_a_quiet_view_prints_nothing(made, folder, capfd):
    run_through(QuietView(), made, folder)
    assert capfd.readouterr() == ("", "")


def test_progress_goes_to_stderr_and_the_result_to_stdout(made, folder, capsys):
    run_through(LiveView(), made, folder)
    captured = capsys.readouterr()
    assert "rung 0" in captured.err
    assert captured.out.startswith("ROC AUC 0.9158")
