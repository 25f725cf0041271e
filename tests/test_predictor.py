"""A saved model is read back exactly, never runs code, and says when it is damaged."""

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

import titrant
from titrant.errors import DataError, OutputError, TitrantError
from titrant.predictor import FORMAT, Network, Predictor

ROWS = 60
TABLE = {
    "x": [None if row % 11 == 0 else row / ROWS for row in range(ROWS)],
    "colour": [["red", "green", "blue"][row % 3] for row in range(ROWS)],
    "y": ["low"] * (ROWS // 2) + ["high"] * (ROWS // 2),
}
HEADS = "networks.0.body.body.heads"
RECIPE = {
    "data": {"scale": "quantile", "categories": "embed", "numbers": {"kind": "piecewise_linear", "bins": 4}},
    "model": {"kind": "ensemble", "width": 8, "depth": 1, "views": 2},
    "normalize": "batch",
    "stop": {"kind": "last", "epochs": 3},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fitted") / "run"
    titrant.fit(TABLE, "y", budget="5m", recipe=RECIPE, out=folder)
    return folder / "model"


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    """A model that may be damaged."""
    return Path(shutil.copytree(model, tmp_path / "run" / "model"))


def described(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "model.json").read_text())
    return content


def describe(folder: Path, content: object) -> None:
    (folder / "model.json").write_text(json.dumps(content))


def replace_weights(folder: Path, content: bytes) -> None:
    """Other weights, with a description that vouches for them."""
    values = described(folder)
    (folder / values["weights"]).write_bytes(content)
    describe(folder, values | {"digest": hashlib.sha256(content).hexdigest()})


def test_saving_again_changes_nothing_and_leaves_one_file_of_weights(copy: Path) -> None:
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    Predictor.load(copy).save(copy)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    assert len(before) == 2


def test_predictions_are_the_mean_of_the_networks(model: Path) -> None:
    predictor = Predictor.load(model)
    numbers, codes = predictor.encode(TABLE, [])
    with torch.no_grad():
        each = np.stack([network(numbers, codes).double().numpy() for network in predictor.networks])
    assert len(each) > 1
    np.testing.assert_allclose(predictor.predict_proba(TABLE), each.mean(0), atol=1e-6)


def test_probabilities_sum_to_one_in_double_precision(model: Path) -> None:
    np.testing.assert_allclose(Predictor.load(model).predict_proba(TABLE).sum(1), 1, rtol=1e-15)


def test_many_rows_are_predicted_in_pieces_with_the_same_result(model: Path) -> None:
    predictor = Predictor.load(model)
    many = pl.concat([pl.DataFrame(TABLE)] * 200)
    np.testing.assert_allclose(
        predictor.predict_proba(many), np.tile(predictor.predict_proba(TABLE), (200, 1)), rtol=1e-5, atol=1e-7
    )


def test_a_column_name_of_a_class_never_hides_the_prediction(tmp_path: Path) -> None:
    labels = ["prediction", "probability_x"]
    run = titrant.fit(TABLE | {"y": [labels[row < 30] for row in range(ROWS)]}, "y", budget="5m", recipe=RECIPE)
    columns = run.predictor.table(TABLE, []).columns
    assert columns == ["prediction", "probability_prediction", "probability_probability_x"]


def test_values_have_no_probabilities() -> None:
    run = titrant.fit({"a": TABLE["colour"], "y": [row / 7 for row in range(ROWS)]}, "y", budget="5m", recipe=RECIPE)
    with pytest.raises(TitrantError, match="values"):
        run.predict_proba(TABLE)
    assert run.predictor.table({"a": ["red"]}, []).columns == ["prediction"]


def test_a_row_unlike_all_others_is_predicted_near_the_training_values(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal(80)
    recipe = {"data": {"scale": "off"}, "model": {"kind": "mlp", "width": 8, "depth": 1}, "stop": {"kind": "last", "epochs": 5}}
    titrant.fit({"x": x, "y": 3 * x + 100}, "y", budget="5m", recipe=recipe, task="regression", out=tmp_path / "run")
    predictor = Predictor.load(tmp_path / "run" / "model")
    values = predictor.predict({"x": [-1e12, 1e12]})
    room = 1.5 * (x.max() - x.min())  # half the range of y
    assert 100 + 3 * x.min() - room < values.min() < values.max() < 100 + 3 * x.max() + room
    for network in predictor.networks:
        network.reach = None
    assert np.abs(predictor.predict({"x": [-1e12, 1e12]})).max() > 1e6


def test_rows_that_lack_a_column_are_refused(model: Path) -> None:
    with pytest.raises(DataError, match="'colour'"):
        Predictor.load(model).predict({"x": [1.0]})


# ------------------------------------------------------------------ damage


def _without(*names: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        describe(folder, {name: value for name, value in described(folder).items() if name not in names})

    return act


def _with(**values: Any) -> Callable[[Path], None]:
    return lambda folder: describe(folder, described(folder) | values)


def _columns(**values: Any) -> Callable[[Path], None]:
    return lambda folder: describe(folder, described(folder) | {"columns": described(folder)["columns"] | values})


def _tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        tensors = load((folder / described(folder)["weights"]).read_bytes())
        change(tensors)
        replace_weights(folder, save(tensors))

    return act


def _weights(act: Callable[[Path], object]) -> Callable[[Path], None]:
    return lambda folder: (act(folder / described(folder)["weights"]), None)[1]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(lambda folder: (folder / "model.json").unlink(), r"model/model\.json is missing", id="no description"),
        pytest.param(lambda folder: (folder / "model.json").write_bytes(b"\xff\xfe"), "damaged", id="no text"),
        pytest.param(lambda folder: (folder / "model.json").write_text("{"), "damaged", id="half a description"),
        pytest.param(lambda folder: describe(folder, []), "damaged", id="a list"),
        pytest.param(_without("digest"), "digest", id="no digest"),
        pytest.param(_with(code="import os"), "code", id="something unknown"),
        pytest.param(_with(format=FORMAT + 1), "newer", id="a later format"),
        pytest.param(_with(weights="../../secret.safetensors"), "missing", id="a path that leaves the folder"),
        pytest.param(_with(weights=""), "damaged|missing", id="no file name"),
        pytest.param(_with(networks=[]), "networks", id="no networks"),
        pytest.param(_with(networks=[{"droput": "off"}]), "droput", id="a misspelt recipe"),
        pytest.param(
            _with(networks=[{"model": {"kind": "custom", "factory": "os:system"}}]), "factory", id="somebody's network"
        ),
        pytest.param(_with(networks=[{}, {}, {}]), "damaged", id="other recipes"),
        pytest.param(_with(centre="nowhere"), "centre", id="no number"),
        pytest.param(_columns(classes=["a", "b", "c"]), "damaged", id="more classes than outputs"),
        pytest.param(_columns(columns=[]), "damaged", id="no columns"),
        pytest.param(_columns(task="ranking"), "task", id="an unknown task"),
        pytest.param(_weights(Path.unlink), "missing", id="no weights"),
        pytest.param(_weights(lambda path: path.write_bytes(b"")), "not those", id="empty weights"),
        pytest.param(lambda folder: replace_weights(folder, b""), "damaged", id="empty weights, vouched for"),
        pytest.param(lambda folder: replace_weights(folder, b"\xff" * 100), "damaged", id="noise, vouched for"),
        pytest.param(_tensors(dict.popitem), "damaged", id="a tensor less"),
        pytest.param(_tensors(lambda tensors: tensors.update(more=torch.zeros(1))), "damaged", id="a tensor more"),
        pytest.param(
            _tensors(lambda tensors: tensors.update({"networks.0.encoder.gaps": torch.tensor([99])})),
            "damaged",
            id="wrong places",
        ),
        pytest.param(
            _tensors(lambda tensors: tensors.update({HEADS: tensors[HEADS][..., :1].clone()})),
            "damaged",
            id="a smaller tensor",
        ),
    ],
)
def test_damage_is_named(copy: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(copy)
    with pytest.raises(OutputError, match=words) as caught:
        Predictor.load(copy)
    assert str(copy.parent) in str(caught.value) or "factory" in words
    assert "\n" not in str(caught.value)


class _Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("hacked"),))


def test_loading_runs_no_code(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    replace_weights(copy, pickle.dumps(_Hostile()))
    with pytest.raises(OutputError, match="damaged"):
        Predictor.load(copy)
    torch.save({"a": _Hostile()}, tmp_path / "weights.pt")
    replace_weights(copy, (tmp_path / "weights.pt").read_bytes())
    with pytest.raises(OutputError, match="damaged"):
        Predictor.load(copy)
    assert not Path("hacked").exists()


@given(data=st.data())
def test_a_flipped_byte_anywhere_is_an_error_or_a_model_that_predicts(model: Path, data: st.DataObject) -> None:
    files = {path.name: path.read_bytes() for path in model.iterdir()}
    name = data.draw(st.sampled_from(sorted(files)))
    place = data.draw(st.integers(0, len(files[name]) - 1))
    value = data.draw(st.integers(1, 255))
    damaged = bytearray(files[name])
    damaged[place] ^= value
    folder = model.parent / "damaged"
    shutil.copytree(model, folder, dirs_exist_ok=True)
    (folder / name).write_bytes(damaged)
    try:
        predictor = Predictor.load(folder)
    except OutputError:
        return
    assert name == "model.json"  # the digest vouches for every byte of the weights
    try:
        assert len(predictor.predict(TABLE)) == ROWS
    except DataError:
        return  # a column has another name now


def test_shares_and_temperatures_act_and_are_kept(model: Path, tmp_path: Path) -> None:
    plain = Predictor.load(model)
    shares = [1 / 2**place for place in range(1, len(plain.networks))]
    shares.append(1 - sum(shares))
    networks = [network for network in Predictor.load(model).networks if isinstance(network, Network)]
    for place, network in enumerate(networks):
        network.temperature = 1.0 + place  # the first one's is left as it is
    given = Predictor(plain.schema, networks, plain.recipes, shares=shares)
    given.save(tmp_path / "run" / "model")
    found = Predictor.load(tmp_path / "run" / "model")
    numbers, codes = plain.encode(TABLE, [])
    parts = torch.stack([network(numbers, codes) for network in plain.networks]).double()
    powers = parts ** (1 / torch.arange(1.0, len(parts) + 1, dtype=torch.float64)).view(-1, 1, 1)
    told = powers / powers.sum(-1, keepdim=True)
    expected = (torch.tensor(shares, dtype=torch.float64).view(-1, 1, 1) * told).sum(0)
    torch.testing.assert_close(found.raw(numbers, codes).double(), expected, rtol=1e-5, atol=1e-6)
    assert (found.shares, found.temperatures) == (shares, [1.0 + place for place in range(len(networks))])


def test_a_model_whose_probabilities_were_scaled_together_is_refused(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "model"
    shutil.copytree(model, folder)
    described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    described.pop("temperatures")
    before = Predictor.load(model).predict_proba(TABLE)
    (folder / "model.json").write_text(json.dumps(described | {"format": 3, "temperature": 1.0}), encoding="utf-8")
    assert Predictor.load(folder).predict_proba(TABLE).shape == before.shape
    (folder / "model.json").write_text(json.dumps(described | {"format": 3, "temperature": 2.0}), encoding="utf-8")
    with pytest.raises(OutputError, match=r"earlier version, which scaled probabilities in another way. Fit again"):
        Predictor.load(folder)
