"""Runs that go on: after they ended, after they were killed, and never two at a time."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import titrant
from titrant import samples
from titrant.cli.app import app
from titrant.errors import DataError, OutputError, TitrantError
from titrant.job import Run
from titrant.record import Asked, Summary, held, read_members
from titrant.report.runs import listed
from titrant.results import Results
from titrant.texts import say

PENGUINS = samples.path("penguins")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resumed") / "run"
    titrant.fit(PENGUINS, "species", budget="60s", members=3, out=folder, seed=4)
    return folder


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def test_a_resumed_run_learns_from_what_was_tried(run: Path) -> None:
    before, first = Summary.read(run / "summary.json"), read_members(run / "members.jsonl")
    again = titrant.resume(run, budget="12s")
    records = read_members(run / "members.jsonl")
    assert [record.model_dump() for record in records[: len(first)]] == [record.model_dump() for record in first]
    numbers = [record.number for record in records if record.origin != "refit"]
    assert len(set(numbers)) == len(numbers) == again.summary.n_members > before.n_members
    recipes = {json.dumps(record.recipe, sort_keys=True): record.origin for record in first}
    later = [record for record in records[len(first) :] if record.origin != "refit"]
    twice = [record.origin for record in later if json.dumps(record.recipe, sort_keys=True) in recipes]
    assert len(twice) <= 1, twice  # what was tried is no news
    assert again.summary.seed == 4
    assert again.summary.seconds_total > before.seconds_total
    assert again.summary.budget_seconds == 72
    assert again.summary.score_refit is not None
    assert before.score_refit is not None
    assert again.summary.score_refit >= before.score_refit  # never worse on rows that neither learned from
    frame = pl.read_csv(PENGUINS)
    np.testing.assert_allclose(Run.load(run).predict_proba(frame), again.predict_proba(frame), atol=1e-6)
    assert (run / "report.html").stat().st_size > 0


def test_what_was_asked_for_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = {"dropout": ["bernoulli"], "dropout.p": {"low": 0.1, "high": 0.2}}
    titrant.fit(PENGUINS, "species", budget="60s", members=2, out=tmp_path / "run", metric="log_loss", space=space)
    assert Asked.read(tmp_path / "run" / "asked.json").space == space
    asked = Asked.read(tmp_path / "run" / "asked.json")
    foreign = {"cluster": "ray://127.0.0.1:9", "study": "postgresql://me@127.0.0.1:9/searches"}
    asked.model_copy(update=foreign).write(tmp_path / "run" / "asked.json")
    for better in (True, False):  # the model of before is replaced, or stays
        monkeypatch.setattr(Results, "_better", lambda *_, better=better: better)
        found = titrant.resume(tmp_path / "run", budget="10s")
        assert found.summary.metric == "log_loss"
        named = [warning for warning in found.summary.warnings if any(address in warning for address in foreign.values())]
        assert len(named) == 2, "addresses of a folder are told, and not contacted"
        kept = say("Going on with the search found nothing better; the model is that of before.")
        assert (kept in found.summary.warnings) is not better
    assert Asked.read(tmp_path / "run" / "asked.json").study == foreign["study"]
    recipes = [record.recipe for record in read_members(tmp_path / "run" / "members.jsonl") if record.origin != "baseline"]
    assert all(0.1 <= recipe["dropout"]["p"] <= 0.2 for recipe in recipes)


def test_what_cannot_go_on_says_why_and_stays_as_it_was(run: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"holds no run to go on with: summary\.json is missing"):
        titrant.resume(tmp_path / "nothing", budget="10s")
    table = {"x": [row / 60 for row in range(60)], "y": ["low", "high"] * 30}
    titrant.fit(table, "y", budget="60s", members=1, out=tmp_path / "memory")
    with pytest.raises(TitrantError, match="in memory"):
        titrant.resume(tmp_path / "memory", budget="10s")
    content = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    rows = pl.read_csv(PENGUINS)
    for other in (rows[:-1], rows.reverse(), rows.with_columns(pl.col("bill_length_mm") + 1)):
        with pytest.raises(DataError, match="these are not the rows of this run"):
            titrant.resume(run, budget="10s", data=other)
    with held(run), pytest.raises(OutputError, match="Another command is working in"):
        titrant.resume(run, budget="10s")
    (run / "members.jsonl").write_text("{}\n")
    with pytest.raises(OutputError, match="holds no run to go on with"):
        titrant.resume(run, budget="10s")
    (run / "members.jsonl").write_bytes(content[run / "members.jsonl"])
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == content


def test_options_of_another_search_are_refused(run: Path) -> None:
    done = CliRunner().invoke(app, ["fit", "--resume", str(run), "--seed", "3", "--metric", "f1"])
    assert done.exit_code == 2
    assert "so --metric, --seed cannot be given with --resume" in done.output
    done = CliRunner().invoke(app, ["fit"])
    assert done.exit_code == 2
    assert "titrant fit --resume RUN" in done.output


def test_runs_are_listed_with_their_state(run: Path, tmp_path: Path) -> None:
    (tmp_path / "broken" / "model").mkdir(parents=True)
    (tmp_path / "no run").mkdir()
    done = CliRunner().invoke(app, ["runs", str(tmp_path)])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["run", "data", "score", "baseline", "recipes", "time", "state"]
    states = {line.split()[0]: line.split()[-1] for line in lines[1:]}
    assert states == {str(run): "finished", str(tmp_path / "broken"): "damaged"}
    with held(run):
        assert listed(run)[1].endswith("running")
    done = CliRunner().invoke(app, ["runs", str(tmp_path / "no run")])
    assert done.exit_code == 2
    assert "There are no runs in" in done.output
