"""Models in TensorFlow and LiteRT, for any number of rows; that every family predicts there the same, `test_exports` tests."""

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import titrant
from titrant.errors import OutputError
from titrant.exports import CLOSE, export

tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
litert = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")

RECIPE = {"model": {"kind": "mlp", "width": 8}, "stop": {"kind": "last", "epochs": 3}}
SIZE, PLACE = "size (mm²)", "size_mm_"


def table(rows: int = 90) -> pl.DataFrame:
    """Columns whose names TensorFlow does not take, with gaps, a category of two words and numbers far from zero."""
    at = np.arange(rows)
    return pl.DataFrame(
        {
            SIZE: [None if row % 9 == 0 else 1e9 + row for row in at.tolist()],
            "size_mm__": np.sin(at / 7),
            "größe": [["klein", "sehr groß", None][row % 3] for row in at.tolist()],
            "self": at % 5 / 4,
            "kind": np.where(at < rows // 2, "low", "high"),
        }
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tensorflow") / "run"
    recipe = RECIPE | {"data": {"categories": "embed"}}
    titrant.fit(table(), "kind", budget="60s", recipe=recipe, out=folder)
    return folder


def test_a_saved_model_takes_the_columns_of_a_table(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    found = export(run, "tensorflow", tmp_path / "out", data=table())
    assert capfd.readouterr() == ("", "")
    assert found.files == ("saved_model", "inputs.json")
    about = json.loads((found.folder / "inputs.json").read_text())
    served = tf.saved_model.load(str(found.folder / "saved_model")).signatures[about["signature"]]
    model = titrant.load(run)
    assert len({one["name"].lower() for one in about["inputs"]}) == len(about["inputs"]) == 4
    for count in (1, 4, 90):
        rows = table().head(count).with_columns(pl.col("größe").replace({"klein": "nie gesehen"}))
        fed = {
            one["name"]: tf.constant(rows[one["column"]].fill_null("").to_list())
            if one["type"] == "string"
            else tf.constant(rows[one["column"]].cast(pl.Float64).fill_null(float("nan")).to_list(), tf.float64)
            for one in about["inputs"]
        }
        probability = served(**fed)[about["output"]["name"]].numpy()
        np.testing.assert_allclose(probability, model.predict_proba(rows), atol=CLOSE)


def test_a_litert_file_takes_any_number_of_rows(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    found = export(run, "litert", tmp_path / "out", data=table())
    assert capfd.readouterr() == ("", "")
    assert found.files == ("model.tflite", "inputs.json")
    about = json.loads((found.folder / "inputs.json").read_text())
    numbers, codes = about["inputs"]
    frame = table()
    # As inputs.json says: reduced and divided in double precision, then single; codes by their lists.
    exact = np.stack([frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in numbers["columns"]], 1)
    exact = (exact - numbers["offset"]) / numbers["scale"]
    coded = [[1 if word is None else known.index(word) + 1 for word in frame[known[0]]] for known in codes["columns"]]
    fed = {"numbers": exact.astype(np.float32), "codes": np.array(coded, np.int32).T}
    expected = titrant.load(run).predict_proba(frame)
    interpreter = litert.Interpreter(model_path=str(found.folder / "model.tflite"))
    runner = interpreter.get_signature_runner(about["signature"])
    for count in (90, 1, 7):
        probability = runner(**{name: values[:count] for name, values in fed.items()})["probabilities"]
        assert probability.dtype == np.dtype(about["output"]["type"])
        np.testing.assert_allclose(probability, expected[:count], atol=CLOSE)


def test_values_in_double_and_single_precision(tmp_path: Path) -> None:
    at = np.arange(60)
    for name, values in (("near", 20 + np.sin(at / 9)), ("far", 1e9 + 500 * np.sin(at / 9))):
        data = {"x": (at / 60).tolist(), "y": values.tolist()}
        titrant.fit(data, "y", budget="60s", recipe=RECIPE, out=tmp_path / name)
        found = export(tmp_path / name, "tensorflow", tmp_path / f"{name}-tensorflow", data=data)
        served = tf.saved_model.load(str(found.folder / "saved_model")).signatures["serving_default"]
        assert served(x=tf.constant([0.5], tf.float64))["values"].dtype == tf.float64
    found = export(tmp_path / "near", "litert", tmp_path / "near-litert")
    assert json.loads((found.folder / "inputs.json").read_text())["output"]["type"] == "float32"
    with pytest.raises(OutputError, match=r"single precision, and the values of y are too alike.*around 1e\+09"):
        export(tmp_path / "far", "litert", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__
    for form, gone, extra in (("tensorflow", "tensorflow", "tensorflow"), ("litert", "ai_edge_litert", "litert")):

        def without(name: str, *args: Any, gone: str = gone) -> Any:
            if name.split(".")[0] == gone:
                raise ImportError("gone", name=gone)
            return plain(name, *args)

        with monkeypatch.context() as patched:
            patched.setattr(builtins, "__import__", without)
            with pytest.raises(OutputError, match=rf"need.* the package {gone}.*titrant\[{extra}\]"):
                export(run, form, tmp_path / "out", data=table())
        assert not (tmp_path / "out").exists()
