"""What hardware settings are worth: measured here, and what is advised."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from titrant import samples
from titrant.cli.app import app
from titrant.find.hardware import Setting, _best, _Side, _sides
from titrant.recipe import Recipe
from titrant.tricks.hardware import Hardware


def test_only_what_is_faster_with_the_same_loss_is_advised() -> None:
    sides = {
        "plain": _Side("plain", Hardware()), "one thread": _Side("one thread", Hardware(threads=1)),
        "bfloat16": _Side("bfloat16", Hardware(precision="bf16")), "stack": _Side("stack", Hardware(), 16),
    }  # fmt: skip

    def settings(thread: float, half: float, *, agrees: bool) -> list[Setting]:
        return [
            Setting(name="plain", steps=1, ratio=1.0, low=1.0, high=1.0, rounds=5, loss=1.0, agrees=True),
            Setting(name="one thread", steps=1, ratio=thread, low=thread - 0.01, high=thread, rounds=5, loss=1.0, agrees=True),
            Setting(name="bfloat16", steps=1, ratio=half, low=half - 0.01, high=half, rounds=5, loss=1.0, agrees=agrees),
            Setting(name="stack", steps=1, ratio=9.0, low=8.0, high=9.0, rounds=5),
        ]

    assert _best(settings(1.3, 2.0, agrees=True), sides) == {"precision": "bf16"}
    assert _best(settings(1.3, 2.0, agrees=False), sides) == {"threads": 1}
    assert _best(settings(1.02, 0.1, agrees=True), sides) == {}
    hasty = [one.model_copy(update={"rounds": 2}) for one in settings(1.3, 2.0, agrees=True)]
    assert _best(hasty, sides) == {}


def test_layouts_are_tried_for_convolutions_alone() -> None:
    def names(model: str) -> list[str]:
        return [side.name for side in _sides(torch.device("cpu"), Recipe().replace("model", model))]

    assert "convolutions read channels first" in names("resnet")
    assert "convolutions read channels first" not in names("mlp")
    assert names("mlp")[0] == "float32, one network"
    assert "blocks computed again" in names("mlp")


def test_the_command_measures_and_writes_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("titrant.cli.hardware.process_started", time.monotonic)
    asked: list[Any] = ["hardware", str(samples.path("penguins")), "--target", "species", "--budget", "50s"]
    done = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "faster.yaml")])
    assert done.exit_code == 0, done.output
    assert "float32, one network" in done.output
    assert "64 networks side by side" in done.output
    assert "Memory: a training takes about" in done.output
    assert "torch.compile              not tried: the time was over" in done.output
    written = Recipe.load(tmp_path / "faster.yaml")
    told = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert told["settings"][0]["ratio"] == 1.0
    assert all(one["steps"] is None or one["steps"] > 0 for one in told["settings"])
    took = {one["name"]: one["memory"] for one in told["settings"]}
    assert took["blocks computed again"] <= took["float32, one network"]
    assert told["memory"]["total"] == sum(told["memory"][part] for part in ("data", "carried", "step"))
    assert written.hardware.device == Recipe.of(told["recipe"]).hardware.device
