"""Cures: remedies as recipes, and patients whose sickness is known."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import titrant
from titrant import samples
from titrant.cli import app
from titrant.doctor.table import TABLE
from titrant.errors import BudgetError, TitrantError
from titrant.evidence.cure import changes
from titrant.evidence.records import Cure
from titrant.recipe import Recipe
from titrant.report.evidence import cure_headline, cure_lines
from titrant.report.html import write_report
from titrant.search.remedies import remedied

HEALTHY: dict[str, Any] = {
    "model": {"kind": "mlp", "width": 16, "depth": 1},
    "batch": {"kind": "fixed", "size": 32},
    "learning_rate": {"peak": 0.01},
    "stop": {"kind": "last", "epochs": 10},
}


def table(rows: int = 500) -> dict[str, list[Any]]:
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, 4))
    return {f"x{place}": x[:, place].tolist() for place in range(4)} | {
        "y": ["yes" if one else "no" for one in x[:, 0] + x[:, 1] > 0]
    }


def treated(**changes: Any) -> Cure:
    return titrant.cure(table(), "y", recipe=HEALTHY | changes, budget="60s", replicates=8)


@pytest.fixture(scope="module")
def slow() -> Cure:
    return treated(learning_rate={"peak": 1e-6})


def test_a_rate_that_is_far_too_low_is_raised_and_the_cure_proved(slow: Cure) -> None:
    assert slow.before[0].rule == "learning_rate_too_low"
    first = slow.remedies[0]
    assert first.kept
    assert first.gain.p <= first.allowed
    assert first.change["learning_rate.peak"] > 1e-6
    assert slow.gain is not None
    assert slow.gain.low is not None
    assert slow.gain.low > 0
    assert slow.score_before is not None
    assert slow.score_after is not None
    assert slow.score_after - slow.score_before == pytest.approx(slow.gain.mean)
    assert Recipe.of(slow.cured).learning_rate.peak == first.change["learning_rate.peak"]


def test_one_sickness_beneath_another_is_cured_too() -> None:
    found = treated(learning_rate={"peak": 1.0}, activation={"kind": "sigmoid"}, model={"kind": "mlp", "width": 16, "depth": 6})
    kept = [remedy.rule for remedy in found.remedies if remedy.kept]
    assert kept
    assert found.gain is not None
    assert found.gain.mean > 0.1


def test_what_is_healthy_is_left_alone() -> None:
    found = treated()
    assert not [one for one in found.before if one.level == "problem"]
    assert found.remedies == []
    assert found.cured == found.recipe
    assert found.score_after is not None
    assert found.score_after == found.score_before


def test_a_remedy_that_does_nothing_is_not_kept() -> None:
    random = np.random.default_rng(1)
    noise = table() | {"y": random.permutation(["yes", "no"] * 250).tolist()}
    found = titrant.cure(noise, "y", recipe=HEALTHY | {"learning_rate": {"peak": 1e-6}}, budget="60s", replicates=8)
    assert found.gain is None or (found.gain.low or 0.0) <= 0


@pytest.mark.parametrize("rule", [rule for rule in TABLE.values() if rule.change], ids=lambda rule: rule.name)
@pytest.mark.parametrize("reads", ["table", "image", "series", "text"])
def test_every_remedy_changes_a_recipe_that_can_be_written(rule: Any, reads: str) -> None:
    worst = (
        Recipe()
        .replace("activation", "tanh")
        .replace("dropout", {"kind": "bernoulli", "p": 0.8})
        .replace("data.scale", "off")
        .replace("batch.size", 4)
        .replace("clip", {"kind": "norm", "max_norm": 0.001})
        .replace("regularize.decay", {"kind": "decay", "rate": 1.0})
    )
    ways = [list(remedied(worst, change, reads)) for change in (rule.change, rule.otherwise) if change]
    assert all(ways) or reads != "table"
    for one in (one for found in ways for one in found):
        assert one != worst
        assert Recipe.of(one.plain()) == one
        assert changes(worst, one)


def test_a_dose_at_its_end_has_no_remedy() -> None:
    assert list(remedied(Recipe().replace("stop.epochs", 10_000.0), {"stop.epochs": "* 3"}, "table")) == []


def test_what_is_said(slow: Cure, tmp_path: Path) -> None:
    assert cure_headline(slow).startswith("Cured of learning_rate_too_low")
    assert any("learning_rate.peak" in line for line, _ in cure_lines(slow))
    slow.write(tmp_path / "cure.json")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "Cured of learning_rate_too_low" in page
    healthy = slow.model_copy(update={"before": [], "remedies": [], "gain": None})
    assert "Nothing" in cure_headline(healthy)
    assert "No remedy" in cure_headline(slow.model_copy(update={"remedies": [], "gain": None}))
    assert "no time for a proof" in cure_headline(slow.model_copy(update={"gain": None}))


def test_too_little_time_and_too_few_replicates_are_refused() -> None:
    with pytest.raises(TitrantError, match="at least 6"):
        titrant.cure(table(), "y", recipe=HEALTHY, replicates=2)
    with pytest.raises(BudgetError, match="no time"):
        titrant.cure(table(), "y", recipe=HEALTHY | {"learning_rate": {"peak": 1e-6}}, budget="0.3s")


def test_the_command_cures_a_recipe_and_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("titrant.cli.diagnose.process_started", time.monotonic)
    Recipe.of(HEALTHY | {"learning_rate": {"peak": 1e-6}}).save(tmp_path / "sick.yaml")
    options = ["--cure", "--data", str(samples.path("penguins")), "--target", "species", "--budget", "60s"]
    shown = CliRunner().invoke(
        app, ["diagnose", str(tmp_path / "sick.yaml"), *options, "--out", str(tmp_path / "o"), "--quiet"]
    )
    assert shown.exit_code == 0, shown.output
    assert "Cured of learning_rate_too_low" in shown.stdout
    assert Recipe.load(tmp_path / "o" / "cured.yaml").learning_rate.peak > 1e-6
    assert Cure.read(tmp_path / "o" / "cure.json").remedies
    shown = CliRunner().invoke(app, ["diagnose", str(tmp_path / "sick.yaml"), *options, "--json"])
    assert json.loads(shown.stdout)["remedies"][0]["kept"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train.py", "--cure"], "neither a folder"),
        (["recipe.yaml", "--cure"], "needs data"),
        (["recipe.yaml", "--cure", "--epochs", "3"], "does not go with --cure"),
        (["train.py", "--target", "y"], "go with --cure"),
    ],
)
def test_what_cannot_be_cured_is_refused(arguments: list[str], message: str) -> None:
    shown = CliRunner().invoke(app, ["diagnose", *arguments])
    assert shown.exit_code != 0
    assert message in (str(shown.exception) + shown.output)
