"""The examination: a sound model, a sick one, and tables and factories that do not fit."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from torch import nn

from titrant.doctor.checkup import examine, factory, rows
from titrant.doctor.rules import diagnose
from titrant.errors import DataError


def sound(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, outputs))


def zeros(inputs: int, outputs: int) -> nn.Module:
    model = sound(inputs, outputs)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


def table(classes: bool = True) -> pl.DataFrame:
    x = torch.randn(400, 3)
    y = ["yes" if value > 0 else "no" for value in x[:, 0]] if classes else (x[:, 0] + 0.1).tolist()
    return pl.DataFrame({"a": x[:, 0].tolist(), "b": x[:, 1].tolist(), "c": x[:, 2].tolist(), "word": ["w"] * 400, "y": y})


@pytest.mark.parametrize("classes", [True, False])
def test_a_sound_model_has_no_findings_and_a_rate(classes: bool) -> None:
    found = examine(sound, *rows(table(classes), "y"))
    assert [finding for finding in diagnose(found.case) if finding.level != "note"] == []
    assert found.rate is not None
    assert 1e-5 < found.rate < 0.5
    before, after = found.case.memorised or (0.0, 1.0)
    assert after < 0.3 * before


def test_a_sick_model_cannot_memorise_a_batch() -> None:
    rules = {finding.rule for finding in diagnose(examine(zeros, *rows(table(), "y")).case)}
    assert {"constant_initialisation", "cannot_memorise"} <= rules


def test_random_numbers_of_the_caller_stay_as_they_are() -> None:
    x, y = rows(table(), "y")
    torch.manual_seed(3)
    examine(sound, x, y)
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(5, 2), "cannot take rows of 3 numbers"),
        (lambda: nn.Linear(3, 1), None),
        (lambda a, b, c: nn.Linear(3, 2), "needs 3 arguments"),
        (lambda: "no model", "gave str"),
    ],
)
def test_factories_that_do_not_fit(make: Callable[..., nn.Module], message: str | None) -> None:
    if message is None:
        examine(make, *rows(table(), "y"))  # one output does for two classes
        return
    with pytest.raises(DataError, match=message):
        examine(make, *rows(table(), "y"))


def test_tables_that_do_not_fit() -> None:
    with pytest.raises(DataError, match="no column 'z'"):
        rows(table(), "z")
    with pytest.raises(DataError, match="holds numbers"):
        rows(table().select("word", "y"), "y")


def test_names_of_factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_here.py").write_text("def make():\n    return 1\n\nvalue = 3\n")
    monkeypatch.chdir(tmp_path)
    assert factory("made_here:make")() == 1
    for wrong, message in (
        ("made_here", "names no function"),
        ("made_here:none", "cannot be imported"),
        ("made_here:value", "no function"),
    ):
        with pytest.raises(DataError, match=message):
            factory(wrong)
