"""Pictures from raw files to predictions, as a person meets them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import titrant
from titrant.cli import app
from titrant.errors import RecipeError
from titrant.record import Evaluation

QUICK = {
    "model": {"kind": "cnn", "width": 4},
    "augment": {"flip": "flip", "shift": "shift", "views": "mirror"},
    "normalize": "batch",
    "batch": {"kind": "fixed", "size": 16},
    "learning_rate": {"peak": 0.01},
    "stop": {"kind": "last", "epochs": 4},
}


def photos(root: Path, count: int = 30) -> Path:
    """Dark and bright noise, of two sizes."""
    random = np.random.default_rng(0)
    for name, low in (("dark", 0), ("bright", 90)):
        (root / name).mkdir(parents=True)
        for number in range(count):
            side = 9 + number % 2
            noise = random.integers(low, low + 160, (side, side, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    photos(root / "photos")
    titrant.fit(root / "photos", budget=120, members=1, recipe=QUICK, out=root / "run")
    return root


def test_predictions_name_their_pictures(folder: Path) -> None:
    (folder / "photos" / "dark" / "broken.png").write_bytes(b"")
    out = folder / "predictions.csv"
    result = CliRunner().invoke(app, ["predict", str(folder / "run"), str(folder / "photos"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "dark/broken.png (it is empty)" in result.stderr
    table = pl.read_csv(out)
    assert table.columns == ["path", "prediction", "probability_bright", "probability_dark"]
    assert table.height == 60
    assert table["path"][0] == "bright/0.png"
    np.testing.assert_allclose(table["probability_bright"] + table["probability_dark"], 1)


def test_a_loaded_model_takes_raw_pixels(folder: Path) -> None:
    run = titrant.load(folder / "run")
    pixels = np.random.default_rng(1).integers(0, 160, (5, 9, 9, 3), dtype=np.uint8)
    channels_first = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    size = run.predictor.schema.blank()[0].shape
    assert size[1] == 3
    assert run.predict(pixels).shape == (5,)
    if tuple(channels_first.shape[1:]) == tuple(size[1:]):
        found = run.predictor(channels_first)
        np.testing.assert_allclose(found.numpy(), run.predict_proba(pixels), atol=1e-6)
    one = folder / "photos" / "dark" / "0.png"
    assert run.predict(one).tolist() in (["dark"], ["bright"])


def test_the_report_shows_pictures(folder: Path) -> None:
    evaluation = Evaluation.read(folder / "run" / "evaluation.json")
    assert len(evaluation.samples) == 8
    assert {sample.label for sample in evaluation.samples} == {"dark", "bright"}
    assert all(sample.augmented and sample.picture.startswith("iVBOR") for sample in evaluation.samples)
    assert any(sample.picture not in sample.augmented for sample in evaluation.samples)
    wrong = sum(map(sum, evaluation.confusion)) - sum(row[place] for place, row in enumerate(evaluation.confusion))
    assert len(evaluation.mistakes) == min(wrong, 8) or wrong > 8
    page = (folder / "run" / "report.html").read_text()
    assert "Training pictures" in page
    assert evaluation.samples[0].picture in page


def test_a_network_of_ones_own(folder: Path) -> None:
    def make(channels: int, classes: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(channels, 3, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(3, classes))

    recipe = {**QUICK, "normalize": "off", "augment": {"views": "mirror"}, "model": "custom"}
    run = titrant.fit(folder / "photos", budget=120, members=1, model=make, recipe=recipe)
    assert run.recipe.model.kind == "custom"
    assert run.predict(folder / "photos").shape == (60,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda photos: titrant.fit(photos, recipe={"model": "mlp"}), "model: mlp is for table, series or text data"),
        (
            lambda photos: titrant.fit(photos, recipe={**QUICK, "augment": {"swap": "swap"}}),
            "augment.swap: swap is for table data",
        ),
        (
            lambda photos: titrant.fit({"x": [0.5 * row for row in range(40)], "y": ["a", "b"] * 20}, "y", recipe=QUICK),
            "is for image data",
        ),
    ],
)
def test_tricks_for_other_data_are_refused(folder: Path, call: Callable[[Path], object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        call(folder / "photos")
