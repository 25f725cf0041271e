"""Texts from end to end: fit, what it leaves, predictions, and the commands."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from torch import nn
from typer.testing import CliRunner

import titrant
from titrant.cli.app import app
from titrant.errors import RecipeError
from titrant.job import Run, fit

QUICK: dict[str, Any] = {
    "model": {"kind": "text_cnn", "width": 8},
    "data": {"tokens": {"size": 8}},
    "augment": {"token_drop": {"p": 0.1}, "token_swap": {"reach": 2}, "token_unknown": {"p": 0.05}},
    "mix": {"kind": "mixup", "alpha": 0.1},
    "batch": {"kind": "fixed", "size": 16},
    "stop": {"kind": "last", "epochs": 12},
    "learning_rate": {"peak": 0.02},
}


def sayings(rows: int = 160, seed: int = 0) -> dict[str, list[str]]:
    """Texts in which "not" turns a kind word into an unkind one, so that the order of two words counts."""
    random = np.random.default_rng(seed)
    said, kind = [], []
    for _ in range(rows):
        good, turned = random.integers(2, size=2)
        word = random.choice(["good", "fine", "lovely"] if good else ["bad", "awful", "poor"])
        filler = random.choice(["the food", "this place", "their service", "it all"])
        said.append(f"{filler} was {'not' if turned else 'very'} {word}{random.choice(['.', '!', ' today'])}")
        kind.append("kind" if good != turned else "unkind")
    return {"said": said, "tone": kind}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("text")
    pl.DataFrame(sayings()).write_csv(folder / "sayings.csv")
    return fit(folder / "sayings.csv", "tone", text="said", budget="120s", recipe=QUICK, out=folder / "run")


def test_a_network_learns_texts_and_predicts_them_again_after_loading(run: Run) -> None:
    assert run.summary.score_test is not None
    assert run.summary.score_test > 0.9
    new = sayings(60, seed=1)
    again = Run.load(run.folder)
    probability = again.predict_proba({"said": new["said"]})
    np.testing.assert_allclose(probability, run.predict_proba({"said": new["said"]}), atol=1e-6)
    assert (again.predict(new) == np.array(new["tone"])).mean() > 0.85
    assert len(again.predict({"said": ["", None, "words that nobody has seen"]})) == 3


def test_the_run_and_its_report_know_that_these_are_texts(run: Run) -> None:
    assert "tokens each" in json.loads((run.folder / "data.json").read_text())["text"]
    receipts = {receipt.trick: receipt for receipt in run.summary.receipts}
    for name in ("token_drop", "token_swap", "token_unknown"):
        assert receipts[f"augment.{name}"].acted > 0
        assert receipts[f"augment.{name}"].unit == "texts"
    assert receipts["data.scale"].never_acted
    page = run.report().read_text()
    assert "tokens each" in page
    assert "--text said" in page
    evaluation = json.loads((run.folder / "evaluation.json").read_text())
    assert len(evaluation["passages"]) == 6
    assert all(passage["text"] and len(passage["augmented"]) == 2 for passage in evaluation["passages"])
    assert any(passage["augmented"][0] not in ("", passage["text"].lower()) for passage in evaluation["passages"])
    assert "Training texts" in page


def test_mistakes_are_shown_as_they_were_written(tmp_path: Path) -> None:
    data = sayings()
    data["tone"] = [tone if row % 3 else "kind" for row, tone in enumerate(data["tone"])]  # a third is mislabelled
    found = fit(data, "tone", text="said", budget="120s", recipe=QUICK, out=tmp_path / "run")
    shown = json.loads((found.folder / "evaluation.json").read_text())["mistakes"]
    assert shown
    assert all(mistake["text"] in data["said"] and mistake["truth"] != mistake["predicted"] for mistake in shown)
    assert "Most confused texts" in (found.folder / "report.html").read_text()


@pytest.mark.parametrize("features", ["off", "ngrams"])
@pytest.mark.parametrize("model", ["linear", "mlp"])
def test_bags_learn_as_well(features: str, model: str, tmp_path: Path) -> None:
    recipe = {
        "model": model,
        "data": {"features": features},
        "batch": {"kind": "fixed", "size": 16},
        "learning_rate": {"peak": 0.05},
        "stop": {"kind": "last", "epochs": 15},
    }
    found = fit(sayings(), "tone", text="said", budget="120s", recipe=recipe, out=tmp_path / "run")
    assert found.summary.score_test is not None
    if features == "ngrams":  # single words cannot tell
        assert found.summary.score_test > 0.9
    new = sayings(30, seed=2)
    np.testing.assert_allclose(Run.load(found.folder).predict_proba(new), found.predict_proba(new), atol=1e-6)


def test_a_search_tries_bags_and_networks_that_read_on() -> None:
    found = fit(sayings(), "tone", text="said", budget="120s", members=4)
    kinds = [json.loads(line)["recipe"] for line in (found.folder / "members.jsonl").read_text().splitlines()]
    assert {recipe["model"]["kind"] for recipe in kinds} >= {"linear", "mlp", "text_cnn"}
    assert found.summary.score_test is not None
    assert found.summary.score_test > 0.9


def test_a_value_for_each_text_is_a_regression() -> None:
    data = sayings()
    values = [float(len(text)) + 0.25 for text in data["said"]]
    found = fit({"said": data["said"], "size": values}, "size", text="said", budget="120s", recipe=QUICK)
    assert found.summary.metric == "rmse"
    assert np.isfinite(found.predict(data)).all()


def test_a_network_of_ones_own_reads_vectors_of_tokens() -> None:
    def make(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Conv1d(inputs, 6, 2), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(6, outputs))

    found = fit(sayings(), "tone", text="said", budget="120s", model=make, members=1)
    assert found.recipe.model.kind == "custom"


def test_a_recipe_for_something_else_is_refused() -> None:
    for recipe, said in (
        (QUICK | {"model": "inception"}, "inception is for series data, and these are text data"),
        (QUICK | {"augment": {"jitter": {"std": 0.1}}}, "jitter is for series data, and these are text data"),
        (QUICK | {"data": {"features": "ngrams"}}, r"data\.features: ngrams leaves none"),
    ):
        with pytest.raises(RecipeError, match=said):
            fit(sayings(), "tone", text="said", budget="60s", recipe=recipe)


def test_what_word_order_is_worth_is_measured(run: Run) -> None:
    found = titrant.ablate(run.folder, tricks=["augment.token_drop"], budget="40s", replicates=2)
    assert [effect.trick for effect in found.effects] == ["augment.token_drop"]


def test_the_commands_work_on_a_table_of_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("titrant.cli.fit.process_started", time.monotonic)
    pl.DataFrame(sayings()).write_csv(tmp_path / "sayings.csv")
    options = ["--target", "tone", "--text", "said", "--budget", "120s", "--members", "1", "--quiet"]
    done = CliRunner().invoke(app, ["fit", str(tmp_path / "sayings.csv"), *options, "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["predict", str(tmp_path / "run"), str(tmp_path / "sayings.csv")])
    assert done.exit_code == 0, done.output
    found = pl.read_csv(done.stdout.encode())
    assert found.columns == ["prediction", "probability_kind", "probability_unkind"]
    assert found.height == 160
