"""The response to doses of a person's own network, and the ablation of a recipe around one."""

import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import pytest
from torch import nn
from typer.testing import CliRunner

import titrant
from titrant.cli.app import app
from titrant.errors import RecipeError
from titrant.evidence.records import Response
from titrant.evidence.response import dosing
from titrant.models.own import declared
from titrant.recipe import Recipe
from titrant.space import Range
from titrant.wanted import with_factory

TABLE = {"x": [i / 90 for i in range(90)], "y": ["low"] * 45 + ["high"] * 45}
RECIPE = Recipe().replace("stop", {"kind": "last", "epochs": 3.0}).replace("learning_rate.peak", 0.02)
QUICK: dict[str, Any] = {"budget": "2m", "replicates": 2, "recipe": RECIPE}


def make_model(
    inputs: int,
    outputs: int,
    width: Annotated[int, Range(4, 16, log=True, unit="units")] = 8,
    squash: Literal["tanh", "relu"] = "tanh",
    wide: bool = False,
) -> nn.Module:
    hidden = width * (2 if wide else 1)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh() if squash == "tanh" else nn.ReLU(), nn.Linear(hidden, outputs))


def levels(path: str) -> list[Any]:
    recipe = with_factory(Recipe(), make_model)
    found = dosing(recipe, path, "table", levels=3, own=declared(make_model))
    assert all(arm.at("model").doses[path.rpartition(".")[2]] == value for value, arm in found.arms.items())  # type: ignore[attr-defined]
    assert found.here == recipe.at("model").doses[path.rpartition(".")[2]]  # type: ignore[attr-defined]
    return list(found.arms)


def test_levels_are_those_that_the_factory_declares() -> None:
    assert levels("model.doses.width") == [4, 8, 16]
    assert levels("model.doses.squash") == ["tanh", "relu"]
    assert levels("model.doses.wide") == [False, True]


def test_a_dose_that_it_does_not_declare_is_refused() -> None:
    recipe = with_factory(Recipe(), make_model)
    with pytest.raises(RecipeError, match=r"no dose 'model\.doses\.widht'\. Did you mean model\.doses\.width"):
        dosing(recipe, "model.doses.widht", "table", own=declared(make_model))
    with pytest.raises(RecipeError, match=r"no factory was given that declares doses \(--model, model=\.\.\.\)"):
        dosing(Recipe(), "model.doses.width", "table")


def test_the_response_is_measured_around_the_network() -> None:
    found = titrant.dose(TABLE, "model.doses.width", "y", levels=2, model=make_model, **QUICK)
    assert [(level.value, level.here) for level in found.levels] == [(4, False), (8, True), (16, False)]
    assert (found.unit, found.log, found.reference) == ("units", True, 8)
    assert all("learning_rate.peak" in level.tuned for level in found.levels)


def test_an_ablation_keeps_the_network_in_every_arm() -> None:
    found = titrant.ablate(TABLE, "y", tricks=["clip"], model=make_model, **QUICK)
    assert [effect.trick for effect in found.effects] == ["clip"]
    assert found.recipe["model"]["kind"] == "custom"


def test_the_command_takes_the_function_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("own_networks")
    module.make_model = make_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_networks", module)
    (tmp_path / "table.csv").write_text("x,y\n" + "\n".join(f"{x},{y}" for x, y in zip(TABLE["x"], TABLE["y"], strict=True)))
    monkeypatch.setattr("titrant.cli.studies.process_started", time.monotonic)
    RECIPE.save(tmp_path / "recipe.yaml")
    asked = [
        str(tmp_path / "table.csv"),
        "--target",
        "y",
        "--recipe",
        str(tmp_path / "recipe.yaml"),
        "--budget",
        "2m",
        "--json",
    ]
    asked += ["--model", "own_networks:make_model", "--replicates", "2"]
    out = ["--out", str(tmp_path / "found")]
    done = CliRunner().invoke(app, ["dose", asked[0], "model.doses.squash", *asked[1:], *out])
    assert done.exit_code == 0, done.output
    assert {level["value"] for level in json.loads(done.stdout)["levels"]} == {"tanh", "relu"}
    assert Response.read(tmp_path / "found" / "dose-model.doses.squash.json").dose == "model.doses.squash"
    assert "model.doses.squash" in (tmp_path / "found" / "report.html").read_text(encoding="utf-8")
    done = CliRunner().invoke(app, ["ablate", *asked, "--tricks", "clip"])
    assert done.exit_code == 0, done.output
    wrong = CliRunner().invoke(app, ["dose", asked[0], "model.doses.squash", "--target", "y", "--model", "no_such:thing"])
    assert "no_such:thing cannot be imported" in str(wrong.exception) + wrong.output
