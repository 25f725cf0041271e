import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plotly.offline import get_plotlyjs

from titrant.errors import OutputError
from titrant.record import ColumnSummary, read_members, write_members
from titrant.report.html import render, write_report
from titrant.report.run import Run

KINDS = ("binary", "multiclass", "regression", "hostile", "studied")
PARTS = ("summary.json", "members.jsonl", "data.json", "evaluation.json", "recipe.yaml")
VOID = {"meta", "link", "br", "rect", "img", "input"}


PLOTLY = get_plotlyjs()


class Page(HTMLParser):
    """A report as a reader has it: text by section, table rows, elements and attributes; the chart library is cut out."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.sections: dict[str, str] = {}
        self.scripts: list[str] = []
        self._open: list[str] = []
        self._section = "head"
        self.feed(text.replace(PLOTLY, ""))
        self.close()
        assert self._open == [], "an element is not closed"

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag in ("section", "header", "footer"):
            self._section = attributes.get("id", tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        if "script" in self._open:
            self.scripts[-1] += data
            return
        self.sections[self._section] = self.sections.get(self._section, "") + data
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data

    def row(self, *start: str) -> list[str]:
        """The first table row whose first cells are these."""
        rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]
        return next(row for row in rows if tuple(row[: len(start)]) == start)

    @property
    def figures(self):
        return json.loads(self.scripts[0])


@pytest.fixture(scope="module", params=KINDS)
def report(request, made, tmp_path_factory):
    """A kind of run, and its report."""
    folder = made.folder(tmp_path_factory.mktemp("run"), request.param)
    path = write_report(folder)
    assert path == folder / "report.html"
    return request.param, path


def test_every_report_is_one_file_that_asks_for_nothing(report):
    page = Page(report[1].read_text(encoding="utf-8"))
    links = [
        attributes[name]
        for _, attributes in page.elements
        for name in ("src", "href", "srcset", "action")
        if name in attributes
    ]
    assert all(link.startswith("#") or link == "data:," for link in links)
    policy = next(
        attributes["content"] for tag, attributes in page.elements if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy
    assert "</script" not in PLOTLY.lower()
    assert report[1].read_text(encoding="utf-8").count(PLOTLY) == 1
    assert report[1].stat().st_size < len(PLOTLY) + 500_000


def test_every_report_can_be_reached_without_eyes(report):
    page = Page(report[1].read_text(encoding="utf-8"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["href"][1:] for tag, attributes in page.elements if tag == "a"} <= set(ids)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(deeper - level <= 1 for level, deeper in pairwise(levels))
    for _, attributes in page.elements:
        if attributes.get("role") in ("img", "region"):
            assert attributes["aria-label"]
    assert ("html", {"lang": "en"}) in page.elements
    assert set(page.figures) == {attributes["id"] for _, attributes in page.elements if attributes.get("class") == "chart"}


def test_no_value_becomes_markup(report, made):
    page = Page(report[1].read_text(encoding="utf-8"))
    assert len(page.scripts) == 3
    assert not any(tag in ("img", "b") and "style" not in attributes and attributes for tag, attributes in page.elements)
    if report[0] == "hostile":
        for name in made.hostile:
            assert page.row(name)[0] == name
            assert name in page.sections["header"]
        assert page.row(made.hostile[0], made.hostile[1])[4] == made.hostile[2]


def test_what_a_report_of_two_classes_says(made, tmp_path):
    page = Page(write_report(made.folder(tmp_path, "binary")).read_text(encoding="utf-8"))
    assert "ROC AUC 0.9158 on held-out rows" in page.sections["header"]
    assert "Budget kept: 58.2 s of 1 min." in page.sections["header"]
    assert "0.0073 worse" in page.sections["scores"]
    assert page.row("1", "28 tpe winner")[2] == "0.9243"
    assert "the reference" in page.sections["leaderboard"]
    assert page.row("learning_rate") == ["learning_rate", "constant", "one_cycle"]
    assert page.row("dropout", "bernoulli") == ["dropout", "bernoulli", "182,331", "911,872", "units", "20.0%"]
    assert page.row("clip.norm")[-1] == "⚠ never acted"
    assert page.row("accuracy") == ["accuracy", "0.8573", "0.8432"]
    assert page.row("row_id")[1] == "every value is different: an identifier"
    assert page.row("workclass")[:4] == ["workclass", "category", "412 (8.6%)", "8"]
    assert "kind: resnet" in page.sections["recipe"]
    assert "--target income" in page.sections["repeat"]
    assert "torch" in page.sections["repeat"]
    assert set(page.figures) == {"history", "loss-curves", "score-curves", "reliability"}


def test_what_a_report_of_many_classes_says(made, tmp_path):
    evaluation = made.evaluation("multiclass", 26)
    page = Page(write_report(made.folder(tmp_path, "multiclass")).read_text(encoding="utf-8"))
    header = ["truth \\ prediction", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    assert header in page.rows
    row = page.rows[page.rows.index(header) + 3]
    shares = [count / sum(evaluation.confusion[2]) for count in evaluation.confusion[2]]
    shown = [f"{count}{share:.1%}" if count else "0" for count, share in zip(evaluation.confusion[2], shares, strict=True)]
    assert row == ["C", *shown]
    assert "Most frequent mistakes" in page.sections["evaluation"]


def test_what_a_report_of_numbers_says(made, tmp_path):
    page = Page(write_report(made.folder(tmp_path, "regression")).read_text(encoding="utf-8"))
    assert page.row("R squared") == ["R squared", "0.8610", "-"]
    assert {"predicted", "residuals"} < set(page.figures)
    assert "Confusion" not in page.sections["evaluation"]
    assert "Class balance" not in page.sections["data"]


@pytest.mark.parametrize("name", PARTS)
def test_an_interrupted_run_says_what_is_missing(made, tmp_path, name):
    folder = made.folder(tmp_path, "binary", interrupted=True)
    (folder / name).unlink()
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert any(f"The run left no {name}" in text for text in page.sections.values())


@pytest.mark.parametrize("name", PARTS)
def test_one_part_alone_still_makes_a_report(made, tmp_path, name):
    folder = made.folder(tmp_path, "binary")
    for other in set(PARTS) - {name}:
        (folder / other).unlink()
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert sum("The run left no" in text for text in page.sections.values()) >= 3


def test_a_run_without_scores_has_a_report(made, tmp_path):
    names = ("score_validation", "score_refit", "score_test", "baseline_score_test", "score_test_interval")
    folder = made.folder(tmp_path, "binary", receipts=[], interrupted=True, **dict.fromkeys(names))
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "interrupted before its model was scored" in page.sections["header"]
    assert "No score was reached." in page.sections["scores"]


def test_no_run_means_no_report(tmp_path):
    with pytest.raises(OutputError):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


anything = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)


@settings(max_examples=15)
@given(name=anything, note=anything)
def test_any_text_is_shown_as_it_stands(made, tmp_path_factory, name, note):
    column = ColumnSummary(
        name=name, kind="category", missing=0, distinct=1, note=note, example=note, histogram=[1], labels=[name]
    )
    data = made.data("binary").model_copy(update={"columns": [column], "source": name, "target": note})
    page = Page(render(Run(tmp_path_factory.getbasetemp(), data=data)))
    assert [name, "category", "0", "1"] == page.rows[-1][:4]
    assert page.rows[-1][-2:] == [note, note]
    titles = [attributes["aria-label"] for tag, attributes in page.elements if tag == "svg"]
    assert titles == [f"commonest values: {name}"]


def test_a_folder_whose_name_is_not_unicode_has_a_report(made, tmp_path):
    folder = made.folder(tmp_path / "b\udcffd", "binary")
    assert "b?d" in write_report(folder).read_text(encoding="utf-8")


def test_what_a_report_says_of_studies(made, tmp_path):
    page = Page(write_report(made.folder(tmp_path, "studied")).read_text(encoding="utf-8"))
    assert {"forest", "response-1", "response-2", "response-3"} <= set(page.figures)
    assert "trick.0 helped; trick.1 hurt" in page.sections["evidence"]
    assert page.row("trick.1", "on", "off")[3:7] == ["-0.040", "-0.050 to -0.030", "0.020", "hurts"]
    assert page.row("trick.2", "on", "off")[8] == "-"
    assert page.row("trick.4")[6] == "never acted"
    assert page.row("inputs")[1] == "data.scale"
    assert page.row("dropout × mix")[1] == "-0.010"
    assert page.row("baseline", "0.9000")[2] == "8 1 diverged"
    assert "O'Brien-Fleming" in page.sections["evidence"]
    assert "dropout.p is best at 0.2" in page.sections["evidence"]
    assert "activation scores best at relu" in page.sections["evidence"]
    assert page.figures["response-3"]["layout"]["xaxis"]["type"] == "category"
    assert [trace["name"] for trace in page.figures["arm-curves"]["data"]] == ["recipe", "baseline"]
    assert "Holm 1979" in page.sections["evidence"]
    assert "Kingma & Ba 2015" in page.sections["evidence"]


def test_a_report_shows_what_the_doctor_says_of_its_best_member(made, tmp_path):
    folder = made.folder(tmp_path, "binary")
    assert "Nothing that was observed" in Page(write_report(folder).read_text(encoding="utf-8")).sections["health"]
    members = read_members(folder / "members.jsonl")
    best = max(members, key=lambda member: (len(member.curve), member.score_validation or 0))
    rising = [
        point.model_copy(update={"loss_validation": 0.3 + 0.05 * abs(place - 6), "loss_train": 0.3 / (1 + place)})
        for place, point in enumerate(best.curve)
    ]
    write_members(folder / "members.jsonl", [best.model_copy(update={"curve": rising})])
    assert "overfit" in Page(write_report(folder).read_text(encoding="utf-8")).sections["health"]


def test_a_study_without_a_run_has_a_page_of_its_own(made, tmp_path):
    made.ablation().write(tmp_path / "ablation.json")
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert set(page.figures) == {"forest", "arm-curves"}
    assert "trick.0 helped" in page.sections["header"]
    assert "scores" not in page.sections


def browsed(path, tmp_path, *flags):
    """The page's elements after its scripts ran, and what the browser's console said."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if browser is None:
        pytest.skip("there is no chromium on the PATH, and charts are drawn by a browser")
    switches = (
        "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update"
    )
    command = [browser, *(f"--{switch}" for switch in switches.split()), "--disable-sync", "--enable-logging=stderr", "--v=0"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    page = [*command, profile, "--virtual-time-budget=3000", "--dump-dom", *flags, path.as_uri()]
    done = subprocess.run(page, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_a_browser_draws_every_chart_and_complains_of_nothing(report, tmp_path):
    # Headless Chromium opens no window narrower than 500.
    width, theme = {
        "binary": (1400, "light"),
        "multiclass": (500, "dark"),
        "regression": (700, "dark"),
        "hostile": (500, "light"),
        "studied": (900, "dark"),
    }[report[0]]
    text = report[1].read_text(encoding="utf-8")
    # The policy makes the browser refuse every request and say so on the console. The page reports whether it is too wide.
    probe = "<script>document.body.dataset.wide = document.documentElement.scrollWidth > innerWidth;</script>"
    probed = tmp_path / "probed.html"
    probed.write_text(text.replace("</body>", f"{probe}</body>"), encoding="utf-8")
    dark = ["--blink-settings=preferredColorScheme=0"] if theme == "dark" else []
    dom, console = browsed(probed, tmp_path, f"--window-size={width},2000", *dark)
    assert console == []
    assert 'data-wide="false"' in dom
    assert dom.count('class="user-select-none svg-container"') == len(Page(text).figures)
    ink = "rgb(230, 233, 236)" if theme == "dark" else "rgb(28, 33, 38)"
    assert ink in dom
