"""The examples run."""

from importlib import import_module
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))


def test_foreign_networks_are_fitted_with_surgery(capsys: pytest.CaptureFixture[str]) -> None:
    import_module("foreign").main(count=60, budget="5m", members=1)
    said = capsys.readouterr().out
    assert "small_resnet: accuracy" in said
    assert "SmallTransformer: accuracy" in said
