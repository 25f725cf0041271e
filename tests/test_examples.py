"""The examples run."""

from importlib import import_module
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))


def test_foreign_networks_are_fitted_with_surgery(capsys: pytest.CaptureFixture[str]) -> None:
    import_module("foreign").main(count=40, budget="5m", members=1)
    said = capsys.readouterr().out
    assert "small_resnet: accuracy" in said
    assert "SmallTransformer: accuracy" in said


def test_the_tricks_in_a_plain_loop(capsys: pytest.CaptureFixture[str]) -> None:
    assert import_module("own_loop").main(epochs=4) > 0.8
    said = capsys.readouterr().out
    assert "activation: 2: ReLU → GELU" in said
    assert "average acted in" in said


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")  # of Lightning itself
def test_the_tricks_in_lightning(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lightning")
    assert import_module("lightning_loop").main(epochs=3) > 0.8
    assert "held-out digits" in capsys.readouterr().out


@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)  # of Transformers itself
def test_the_tricks_in_the_trainer_of_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    assert import_module("transformers_loop").main(epochs=6, count=1000) > 0.8
