"""Studies of runs and of data: what they write, what they refuse, and how they end."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import titrant
from titrant import samples
from titrant.cli import app
from titrant.errors import BudgetError, DataError, OutputError, RecipeError, TitrantError
from titrant.evidence import contest
from titrant.evidence.records import Ablation, Response
from titrant.report.evidence import ablation_headline, ablation_lines, forest, methods, response_curve, response_headline

PENGUINS = samples.path("penguins")
RECIPE = {
    "model": {"kind": "mlp", "width": 16, "depth": 1},
    "dropout": {"kind": "bernoulli", "p": 0.2},
    "learning_rate": {"peak": 0.02},
    "stop": {"kind": "last", "epochs": 6},
}
QUICK: dict[str, Any] = {"budget": "60s", "replicates": 2, "tricks": ["dropout"]}


@pytest.fixture(scope="module", autouse=True)
def _two_candidates() -> Iterator[None]:
    """Each arm is tuned with two candidates, which shows as much as six."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("titrant.evidence.contest._PLANS", [(1.0, 1.0, 2, 2), *contest._PLANS])
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studied") / "run"
    titrant.fit(PENGUINS, "species", budget="60s", recipe=RECIPE, out=folder)
    return folder


@pytest.fixture(scope="module")
def study(run: Path) -> Ablation:
    return titrant.ablate(run, **QUICK)


@pytest.fixture(scope="module")
def response(run: Path) -> Response:
    return titrant.dose(run, "dropout.p", budget="60s", levels=2, replicates=2)


def test_a_run_is_judged_on_its_own_test_rows_and_keeps_what_was_found(run: Path, study: Ablation) -> None:
    assert study.rows_judged == json.loads((run / "data.json").read_text())["rows_test"]
    assert study.recipe == titrant.Recipe.load(run / "recipe.yaml").plain()
    kept = Ablation.read(run / "ablation.json")
    assert kept == study
    assert {arm.name for arm in study.arms} >= {"recipe", "baseline", "without dropout", "baseline with dropout"}
    assert "What each trick was worth" in (run / "report.html").read_text(encoding="utf-8")


def test_a_response_has_a_level_for_off_and_for_the_recipe(run: Path, response: Response) -> None:
    assert [level.value for level in response.levels] == [0.0, 0.2, 0.6]
    assert [level.off for level in response.levels] == [True, False, False]
    assert [level.here for level in response.levels] == [False, True, False]
    assert response.levels[0].gain.mean == 0
    assert Response.read(run / "dose-dropout.p.json") == response


def test_the_same_seed_gives_the_same_study(run: Path, study: Ablation) -> None:
    again = titrant.ablate(PENGUINS, "species", recipe=RECIPE, **QUICK)
    assert [arm.score for arm in again.arms[:4]] == [arm.score for arm in study.arms[:4]]
    assert again.effects[0].without_epochs == study.effects[0].without_epochs


def test_data_alone_are_studied_with_a_strong_recipe_and_written_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("titrant.evidence.contest._PLANS", [(0.2, 1.0, 1, 2)])  # its network is large
    found = titrant.ablate(
        {"x": [i / 99 for i in range(100)], "y": [i / 50 for i in range(100)]},
        "y",
        out=tmp_path / "new",
        **QUICK,
    )
    assert (found.metric, found.direction) == ("rmse", "minimize")
    assert {file.name for file in (tmp_path / "new").iterdir()} == {
        "ablation.json", "data.json", "recipe.yaml", "report.html", "source.json",
    }  # fmt: skip
    assert titrant.ablate(
        tmp_path / "new", data={"x": [i / 99 for i in range(100)], "y": [i / 50 for i in range(100)]}, **QUICK
    )


def test_without_held_out_rows_each_replicate_has_its_own_and_a_warning_says_so() -> None:
    found = titrant.ablate(PENGUINS, "species", recipe=RECIPE, hold_out=False, **QUICK)
    assert not found.shared
    assert any("no held-out rows" in warning for warning in found.warnings)
    assert "corrected for their overlap" in methods(found)


def test_what_is_said_of_a_study(study: Ablation, response: Response) -> None:
    words = "\n".join(line for line, _ in ablation_lines(study))
    assert "dropout" in words
    assert ablation_headline(study) == "None of 1 tricks made a difference to accuracy that is certain."
    assert "dropout.p" in response_headline(response)
    text = methods(study)
    assert "learning_rate.peak" in text
    assert str(study.rows_judged) in text
    figure = forest(study)
    assert [trace["y"] for trace in figure["data"]] == [["dropout"], ["dropout"]]
    assert len(response_curve(response)["data"][0]["y"]) == 3


def test_the_report_of_a_run_shows_studies_and_is_one_file(run: Path, study: Ablation, response: Response) -> None:
    page = (titrant.Run.load(run).folder / "report.html").read_text(encoding="utf-8")
    figures = json.loads(page.partition('<script type="application/json" id="figures">')[2].partition("</script>")[0])
    assert {"forest", "response-1"} <= set(figures)
    for name in ("forest", "response-1"):
        assert f'id="{name}"' in page


# ------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tricks": ["dropot"]}, RecipeError, "Did you mean dropout"),
        ({"replicates": 1}, TitrantError, "at least 2"),
        ({"budget": "0s"}, BudgetError, "longer than nothing"),
        ({"budget": "0.01s"}, BudgetError, "no time|ended"),
        ({"metric": "rmse"}, TitrantError, "not a metric"),
        ({"target": "species"}, TitrantError, "is a run"),
    ],
)
def test_what_cannot_be_studied_is_refused(run: Path, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        titrant.ablate(run, **{**QUICK, **options})


def test_a_run_that_does_not_know_its_data_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text((run / "recipe.yaml").read_text())
    with pytest.raises(OutputError, match=r"source\.json"):
        titrant.ablate(tmp_path, **QUICK)


def test_data_that_have_moved_are_asked_for(run: Path, tmp_path: Path) -> None:
    for name in ("recipe.yaml", "summary.json"):
        (tmp_path / name).write_text((run / name).read_text())
    source = json.loads((run / "source.json").read_text()) | {"data": str(tmp_path / "gone.csv")}
    (tmp_path / "source.json").write_text(json.dumps(source))
    with pytest.raises(DataError, match=r"gone\.csv"):
        titrant.ablate(tmp_path, **QUICK)
    assert titrant.ablate(tmp_path, data=PENGUINS, **QUICK).trainings > 0


# ------------------------------------------------------------------- commands


def test_the_commands_print_what_was_found(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("titrant.cli.studies.process_started", time.monotonic)
    runner = CliRunner()
    shown = runner.invoke(app, ["ablate", str(run), "--tricks", "dropout", "--budget", "60s", "--replicates", "2"])
    assert shown.exit_code == 0, shown.output
    assert "What each trick is worth" in shown.stdout
    assert "report.html" in shown.stdout
    shown = runner.invoke(
        app, ["dose", str(run), "dropout.p", "--levels", "2", "--budget", "60s", "--replicates", "2", "--json"]
    )
    assert [level["value"] for level in json.loads(shown.stdout)["levels"]] == [0.0, 0.2, 0.6]
    shown = runner.invoke(app, ["report", str(run)])
    assert shown.stdout.strip() == str(run / "report.html")
    shown = runner.invoke(app, ["report", str(run / "nothing")])
    assert shown.exit_code == 2
    assert "does not exist" in shown.stderr


def interrupted(phase: str, *arguments: str) -> tuple[int, str, str]:
    """Runs a command until it is in a phase, interrupts it, and returns its exit code, what it printed and what it said."""
    program = [sys.executable, "-m", "titrant", *arguments]
    process = subprocess.Popen(program, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if re.search(phase, line):
            break
    process.send_signal(signal.SIGINT)
    printed, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    return process.returncode, printed, said


def test_ctrl_c_before_anything_was_judged_keeps_nothing(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    code, _, said = interrupted("measuring", "ablate", str(PENGUINS), "--target", "species", "--budget", "120s", "--out", out)
    assert code == 130
    assert "nothing is kept" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [["ablate", "--tricks", "dropout"], ["dose", "dropout.p", "--levels", "2"]])
def test_ctrl_c_concludes_from_what_there_is(command: list[str], tmp_path: Path) -> None:
    titrant.Recipe.of(RECIPE).save(tmp_path / "recipe.yaml")
    name, *rest = command
    options = ["--recipe", str(tmp_path / "recipe.yaml"), "--replicates", "100000", "--budget", "180s"]
    out = tmp_path / "out"
    code, printed, _ = interrupted(
        r"comparing.* done \d,?\d{2}", name, str(PENGUINS), *rest, "--target", "species", "--out", str(out), *options
    )
    assert code == 0
    assert "Interrupted" in printed
    kept = Ablation.read(out / "ablation.json") if name == "ablate" else Response.read(out / "dose-dropout.p.json")
    assert kept.interrupted
    assert kept.trainings >= 100
    assert (out / "report.html").exists()
