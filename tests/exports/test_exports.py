"""Models for other programs: every family of networks predicts there what it predicts here."""

import builtins
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest
import torch
from tests.doctor.test_attach_recipe import QUICK, cohort, data
from typer.testing import CliRunner

import titrant
from titrant import samples
from titrant.cli.app import app
from titrant.clock import Clock
from titrant.errors import OutputError
from titrant.exports import CLOSE, export
from titrant.exports.described import described
from titrant.exports.onnx import write as write_onnx
from titrant.exports.operations import core
from titrant.exports.program import traced
from titrant.exports.program import write as write_torch
from titrant.exports.rows import rows_of
from titrant.exports.tensorflow import write as write_tensorflow
from titrant.exports.tensorflow import write_lite
from titrant.predictor import Predictor
from titrant.recipe import slots
from titrant.tricks.runtimes import at_most, erfinv, quantile

CASES: list[tuple[str, dict[str, Any]]] = [
    (reads, {"model": kind.name()})
    for reads in ("table", "image", "series", "text")
    for kind in slots()["model"]
    if reads in kind.reads and kind.name() != "custom"
]
CASES += [
    *(("table", {"data.numbers": kind}) for kind in ("piecewise_linear", "periodic")),
    *(("table", {"data.scale": kind}) for kind in ("quantile", "robust", "off")),
    ("table", {"data.categories": "embed", "normalize": "batch", "activation": "prelu"}),
    ("series", {"model": "linear", "data.features": "minirocket", "data.features.count": 84}),
    ("series", {"model": "linear", "data.features": "rocket_hydra", "data.features.count": 84, "data.features.groups": 2}),
    ("series", {"model": "linear", "data.features": "minirocket", "data.features.count": 336, "data.features.pools": "four"}),
    ("series", {"model": "rnn", "model.direction": "both", "model.depth": 2, "normalize": "layer", "activation": "prelu"}),
    ("series", {"model": "lstm", "model.direction": "both", "dropout": "zoneout", "model.pool": "attention"}),
    ("series", {"model": "fcn", "data.instance": "robust", "data.differences": "beside"}),
    ("text", {"model": "linear", "data.features": "ngrams"}),
    ("image", {"model": "cnn", "augment.views": "mirror", "normalize": "group"}),
    ("image", {"model": "convnext", "weights": "scaled"}),
    ("image", {"model": "cnn", "data.whiten": "patches"}),
    ("grey", {"model": "resnet", "weights": "standardized"}),
]


def predictor(reads: str, changes: dict[str, Any]) -> tuple[Any, Predictor]:
    recipe = QUICK.replace("stop.epochs", 1.0)
    for path, value in changes.items():
        recipe = recipe.replace(path, value)
    dataset = data(reads)
    trained = cohort(dataset, recipe)
    trained.advance(3, Clock.of(60))
    trained.evaluate()
    return dataset, Predictor.of(dataset.schema, [trained.trained(0)], trained.problem)


@pytest.mark.parametrize(
    ("reads", "changes"), CASES, ids=[f"{reads}-{'-'.join(map(str, made.values()))}" for reads, made in CASES]
)
def test_every_family_predicts_the_same_elsewhere(
    reads: str, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, model = predictor(reads, changes)
    rows, told = rows_of(model, dataset.inputs), described(model)
    assert rows.count > 160
    program = traced(model, rows)  # once for all, because it takes as long as anything else
    for module in ("program", "onnx"):
        monkeypatch.setattr(f"titrant.exports.{module}.traced", lambda *_: program)
    assert rows.difference(write_torch(model, told, rows, tmp_path / "model.pt2")) <= CLOSE
    assert rows.difference(write_onnx(model, told, rows, tmp_path / "model.onnx")) <= CLOSE
    if find_spec("tensorflow") is None or find_spec("ai_edge_litert") is None:
        pytest.skip("tensorflow and ai-edge-litert are not installed")
    plain = core(program)
    monkeypatch.setattr("titrant.exports.tensorflow.traced", lambda *_: plain)
    monkeypatch.setattr("titrant.exports.tensorflow.core", lambda program: program)
    assert rows.difference(write_tensorflow(model, told, rows, tmp_path / "saved_model")) <= CLOSE
    assert rows.difference(write_lite(model, told, rows, tmp_path / "model.tflite")) <= CLOSE


@pytest.fixture(scope="module")
def penguins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a table with numbers, categories and gaps."""
    folder = tmp_path_factory.mktemp("exports") / "run"
    recipe = {"model": {"kind": "mlp", "width": 16}, "data": {"categories": "embed"}, "stop": {"kind": "last", "epochs": 5}}
    titrant.fit(samples.path("penguins"), "species", budget="60s", recipe=recipe, out=folder)
    return folder


def test_onnx_takes_the_columns_of_a_table_as_they_are(penguins: Path, tmp_path: Path) -> None:
    found = export(penguins, "onnx", tmp_path / "onnx")
    assert found.files == ("model.onnx", "inputs.json")
    assert found.difference <= CLOSE
    assert found.notes == ()
    about = json.loads((found.folder / "inputs.json").read_text())
    frame = pl.read_csv(samples.path("penguins"), null_values=["NA", ""]).head(40)
    frame = frame.with_columns(island=pl.when(pl.int_range(40) % 3 == 0).then(pl.lit("Nowhere")).otherwise(pl.col("island")))
    fed = {
        one["name"]: np.array(frame[one["name"]].fill_null("").to_list(), dtype=object)
        if one["type"] == "string"
        else frame[one["name"]].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        for one in about["inputs"]
    }
    session = onnxruntime.InferenceSession(str(found.folder / "model.onnx"))
    (probability,) = session.run(None, fed)
    run = titrant.load(penguins)
    expected = run.predict_proba(frame)
    assert about["output"]["classes"] == list(run.predictor.schema.classes)
    np.testing.assert_allclose(probability, expected, atol=CLOSE)


def test_torch_needs_nothing_of_ours(penguins: Path, tmp_path: Path) -> None:
    found = export(penguins, "torch", tmp_path / "torch")
    module = torch.export.load(found.folder / "model.pt2").module()
    predictor = titrant.load(penguins).predictor
    for count in (1, 5, 300):
        inputs = predictor.encode(pl.read_csv(samples.path("penguins")).head(count), [])
        torch.testing.assert_close(module(*inputs), predictor(*inputs))


def test_values_and_forecasts_come_out_in_their_own_unit(tmp_path: Path) -> None:
    table = {"x": [row / 60 for row in range(60)], "y": [1e6 + 500 * np.sin(row / 9) for row in range(60)]}
    recipe = {"model": {"kind": "mlp", "width": 8}, "stop": {"kind": "last", "epochs": 3}}
    titrant.fit(table, "y", budget="60s", recipe=recipe, out=tmp_path / "run")
    found = export(tmp_path / "run", "onnx", tmp_path / "onnx", data=table)
    session = onnxruntime.InferenceSession(str(found.folder / "model.onnx"))
    (values,) = session.run(None, {"x": np.array([0.5])})
    assert values.dtype == np.float64
    assert 9.9e5 < values[0] < 1.01e6
    sales = pl.DataFrame({"day": list(range(120)), "units": [10 + row % 7 for row in range(120)]})
    titrant.fit(sales, "units", time="day", horizon=3, budget="60s", members=1, out=tmp_path / "sales")
    found = export(tmp_path / "sales", "onnx", tmp_path / "sales-onnx")
    assert len(found.notes) == 1  # the data were in memory
    session = onnxruntime.InferenceSession(str(found.folder / "model.onnx"))
    assert session.run(None, {"series": np.ones((2, *session.get_inputs()[0].shape[1:]), np.float32)})[0].shape == (2, 3)


def test_the_command_says_where_and_how_close(penguins: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", str(penguins), "--to", "torch", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("Checked on ")
    assert done.stdout.splitlines()[1:] == [str(tmp_path / "out" / "model.pt2"), str(tmp_path / "out" / "inputs.json")]


def test_what_cannot_be_done_leaves_nothing(penguins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError, match=r"no form 'coreml'\. Choose of onnx, torch"):
        export(penguins, "coreml", tmp_path / "out")
    with pytest.raises(OutputError, match="There is no model"):
        export(tmp_path / "nothing", "torch", tmp_path / "out")
    with pytest.raises(OutputError, match="is in use"):
        export(penguins, "torch", penguins)
    monkeypatch.setattr("titrant.exports.CLOSE", -1.0)
    with pytest.raises(OutputError, match="predicts otherwise than the original"):
        export(penguins, "torch", tmp_path / "out")
    plain = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError("gone", name=name)
        return plain(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(OutputError, match=r"needs the package onnxruntime.*titrant\[onnx\]"):
        export(penguins, "onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_operations_are_spelled_out_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    random = torch.Generator().manual_seed(0)
    knots = torch.rand(3, 37, generator=random).sort(-1).values
    knots[1, 5:9] = knots[1, 5]
    x = torch.cat([torch.rand(3, 50, generator=random), knots, torch.tensor([[-1.0, 2.0]] * 3)], 1)
    expected = at_most(knots, x), at_most(knots[0], x), erfinv(2 * x[:, :50] - 1)
    holes = torch.where(torch.rand(5, 20, generator=random) < 0.3, torch.nan, torch.rand(5, 20, generator=random))
    holes[4] = torch.nan
    for level in (0.0, 0.25, 0.5, 1.0):
        torch.testing.assert_close(quantile(holes, level), holes.nanquantile(level, -1, keepdim=True), equal_nan=True)
    monkeypatch.setattr("titrant.tricks.runtimes.exporting", lambda: True)
    assert torch.equal(at_most(knots, x), expected[0])
    assert torch.equal(at_most(knots[0], x), expected[1])
    torch.testing.assert_close(erfinv(2 * x[:, :50] - 1), expected[2], rtol=2e-6, atol=2e-6)
