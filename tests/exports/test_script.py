"""Exported scripts: they train the very network that a fit trains, with nothing of this project loaded."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tests.doctor.test_attach_recipe import QUICK, data

import titrant
from titrant import samples
from titrant.clock import Clock
from titrant.data.learnable import Learnable
from titrant.errors import OutputError
from titrant.exports import CLOSE, export, script
from titrant.predictor import Predictor
from titrant.recipe import Recipe, slots
from titrant.record import Summary
from titrant.train.cohort import Cohort
from titrant.train.kinds import problem_of
from titrant.train.member import Member
from titrant.train.metrics import metric_for
from titrant.tricks.base import Trick
from titrant.tricks.model import SequenceTrick

READS = ("table", "image", "series", "text")
SMALL = {"width": 8, "depth": 1, "heads": 2, "views": 2, "count": 84, "groups": 2, "size": 8}


def choices(reads: Any) -> dict[str, list[type[Trick]]]:
    """By slot, the kinds for a kind of data."""
    found = {
        path: [kind for kind in kinds if reads in kind.reads and kind.name() != "custom"]
        for path, kinds in slots().items()
        if not path.startswith("hardware")
    }
    return {path: kinds for path, kinds in found.items() if kinds}


def recipes(reads: Any) -> list[Recipe]:
    """As few recipes as hold every kind of every slot."""
    kinds = choices(reads)
    found = []
    for turn in range(max(len(several) for several in kinds.values())):
        recipe = QUICK.replace("stop.epochs", 3.0)
        for path, several in kinds.items():
            kind = several[turn % len(several)]
            recipe = recipe.replace(path, kind.name())
            for dose in SMALL.keys() & kind.model_fields.keys():
                recipe = recipe.replace(f"{path}.{dose}", 32 if (path, dose) == ("batch", "size") else SMALL[dose])
        if isinstance(recipe.model, SequenceTrick):  # it reads steps, no features
            recipe = recipe.replace("data.features", "off")
        found.append(recipe.replace("stop.epochs", 3.0))
    return found


CASES = [(reads, place, recipe) for reads in READS for place, recipe in enumerate(recipes(reads))]
SUMMARY = {
    "task": "binary", "metric": "accuracy", "direction": "maximize", "score_validation": None, "score_refit": None,
    "score_test": 0.5, "baseline_score_test": None, "final": "refit", "n_members": 1, "n_networks": 1, "seconds_total": 0.0,
    "budget_seconds": 0.0, "receipts": [], "warnings": [], "versions": {}, "machine": {}, "seed": 0,
}  # fmt: skip


def cohort(dataset: Learnable, recipe: Recipe) -> Cohort:
    """One member that learns from training rows; nothing looks at test rows."""
    rows = torch.cat([dataset.split.train, dataset.split.validation]).sort().values
    problem = problem_of(dataset, rows, torch.device("cpu"), rows)
    member = Member(0, recipe, 3, "test", dataset.split.train, dataset.split.validation)
    return Cohort(problem, [member], metric_for(dataset.schema.task), Clock.of(600))


def loaded(text: str, place: Path) -> ModuleType:
    """A script as a module."""
    place.write_text(text)
    spec = importlib.util.spec_from_file_location("exported", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["exported"] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


def again(module: ModuleType, predictor: Predictor, dataset: Learnable, summary: Summary) -> tuple[Any, Any]:
    """What the script trains."""
    assert predictor.origins is not None
    rows = module.KIND(script.kept(predictor, dataset, predictor.origins, summary), module.MODEL, torch.device("cpu"))
    train, validation = dataset.split.train, dataset.split.validation
    encoder, network = module.trained(module.MODEL.members[0], rows, train, validation, len(train))
    predicted = module.averaged(module.MODEL, [(encoder, network)], rows, torch.arange(len(rows.raw[0])))
    return network.state_dict(), predicted


def _counts(bias: str, state: dict[str, Any]) -> bool:
    """Whether nothing can take a bias away again: those of the output and of normalisations."""
    return bias == "head.bias" or f"{bias.removesuffix('bias')}gain" in state


@pytest.mark.parametrize(("reads", "place", "recipe"), CASES, ids=[f"{reads}-{place}" for reads, place, _ in CASES])
def test_every_trick_acts_in_a_script_as_in_a_fit(reads: str, place: int, recipe: Recipe, tmp_path: Path) -> None:
    dataset = data(reads)
    trained = cohort(dataset, recipe)
    begun = trained.layout.views(trained.flat.detach()[0].clone())
    trained.advance(trained.steps, Clock.of(600))
    original = trained.trained(0)
    predictor = Predictor.of(dataset.schema, [original], trained.problem)
    summary = Summary.model_validate(SUMMARY)
    text = script.script_of(predictor, dataset, summary)
    assert "titrant" not in text.partition("from __future__")[2]
    state, predicted = again(loaded(text, tmp_path / "train.py"), predictor, dataset, summary)
    expected = original.network.state_dict()
    assert state.keys() == expected.keys()
    # Adam and its kin make steps of gradients that are nothing but rounding, as of a layer's bias before a normalisation; what
    # these do stands in the predictions.
    names = [entry.name for entry in trained.layout.entries if not entry.name.endswith("bias") or _counts(entry.name, state)]
    start, mine, theirs = (torch.cat([one[name].flatten() for name in names]) for one in (begun, state, expected))
    way = (theirs - start).norm()
    assert way > 0
    assert (mine - theirs).norm() < 0.02 * way
    torch.testing.assert_close(predicted, predictor.raw(*dataset.inputs), rtol=1e-3, atol=3e-3)


def test_a_training_that_was_cut_short_ends_there(tmp_path: Path) -> None:
    dataset = data("table")
    trained = cohort(dataset, QUICK.replace("stop.epochs", 20.0))
    trained.advance(trained.steps // 3, Clock.of(600))
    predictor = Predictor.of(dataset.schema, [trained.trained(0)], trained.problem)
    summary = Summary.model_validate(SUMMARY)
    module = loaded(script.script_of(predictor, dataset, summary), tmp_path / "train.py")
    assert module.MODEL.members[0].steps == trained.step < trained.steps
    _, predicted = again(module, predictor, dataset, summary)
    torch.testing.assert_close(predicted, predictor.raw(*dataset.inputs), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("reads", READS)
def test_every_kind_has_a_recipe(reads: Any) -> None:
    made = recipes(reads)
    for path, kinds in choices(reads).items():
        assert {type(recipe.at(path)) for recipe in made} >= {kind for kind in kinds if path != "data.features"}


def test_a_script_trains_alone_and_says_its_score(tmp_path: Path) -> None:
    recipe = {
        "model": {"kind": "mlp", "width": 16},
        "stop": {"kind": "last", "epochs": 5},
        "dropout": {"kind": "bernoulli", "p": 0.1},
    }
    run = titrant.fit(samples.path("penguins"), "species", budget="60s", recipe=recipe, out=tmp_path / "run")
    found = export(tmp_path / "run", "script", tmp_path / "script")
    assert found.files == ("train.py", "rows.pt", "weights.pt")
    assert found.rows > 300
    assert found.difference <= CLOSE
    score = f"{run.summary.score_test:.4f}"
    aside = tmp_path / "aside"
    aside.mkdir()
    for arguments in (["--weights", str(found.folder / "weights.pt")], []):
        done = subprocess.run(
            [sys.executable, "-I", str(found.folder / "train.py"), *arguments],
            cwd=aside,
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"held-out rows: {score} (the exported model: {score})" in done.stdout
    trained, original = torch.load(aside / "trained.pt"), torch.load(found.folder / "weights.pt")
    for mine, theirs in zip(trained, original, strict=True):
        for name, tensor in theirs["network"].items():
            torch.testing.assert_close(mine["network"][name], tensor, rtol=1e-2, atol=1e-3)


def test_values_and_forecasts_are_trained_in_their_own_unit(tmp_path: Path) -> None:
    rows = [row / 20 for row in range(160)]
    recipe = {"model": {"kind": "mlp", "width": 8}, "stop": {"kind": "early", "epochs": 5}}
    table = {"x": rows, "y": [1e6 + 500 * x for x in rows]}
    run = titrant.fit(table, "y", budget="60s", recipe=recipe, out=tmp_path / "run")
    with pytest.raises(OutputError, match=r"trains on the rows of the run.*--data"):
        export(tmp_path / "run", "script", tmp_path / "script")
    found = export(tmp_path / "run", "script", tmp_path / "script", data=table)
    assert found.difference <= CLOSE
    sales = {"day": list(range(160)), "units": [10 + row % 7 + row / 50 for row in range(160)]}
    titrant.fit(sales, "units", time="day", horizon=3, budget="60s", members=1, out=tmp_path / "sales")
    assert export(tmp_path / "sales", "script", tmp_path / "sales-script", data=sales).difference <= CLOSE
    assert run.summary.final == "refit"


def test_what_a_script_cannot_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"x": [row / 60 for row in range(60)], "y": ["low"] * 30 + ["high"] * 30}
    titrant.fit(table, "y", budget="60s", members=1, recipe={"stop": {"kind": "last", "epochs": 1}}, out=tmp_path / "run")
    model = tmp_path / "run" / "model" / "model.json"
    kept = model.read_text()
    model.write_text(re.sub(r'"origins": \[.*?\]', '"origins": null', kept, flags=re.DOTALL))
    with pytest.raises(OutputError, match="did not keep the seeds"):
        export(tmp_path / "run", "script", tmp_path / "script", data=table)
    model.write_text(kept)
    monkeypatch.setattr(script, "script_of", lambda *_: "import nowhere")
    with pytest.raises(OutputError, match="does not run: ModuleNotFoundError: No module named 'nowhere'"):
        export(tmp_path / "run", "script", tmp_path / "script", data=table)
    assert not (tmp_path / "script").exists()
