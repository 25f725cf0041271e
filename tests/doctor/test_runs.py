"""The doctor on run folders of `titrant fit`."""

from pathlib import Path

import pytest

import titrant
from titrant import samples
from titrant.doctor.rules import diagnose
from titrant.doctor.runs import case_of_run
from titrant.errors import OutputError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one recipe."""
    folder = tmp_path_factory.mktemp("run") / "run"
    recipe = {"learning_rate": {"peak": 0.01}, "stop": {"kind": "last", "epochs": 20}}
    titrant.fit(samples.path("penguins"), target="species", budget="30s", recipe=recipe, out=folder)
    return folder


def test_a_run_folder_has_a_case(run: Path) -> None:
    case = case_of_run(run)
    assert case.framework == "titrant"
    assert len(case.losses) >= 5
    assert case.losses[-1] < case.losses[0]
    assert sum((case.targets.classes if case.targets else {}).values()) > 200
    assert [found for found in diagnose(case) if found.level == "problem"] == []


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="holds no finished run"):
        case_of_run(tmp_path)
