"""What every test stands on: one thread for each process, fixed seeds, and the same effort of hypothesis everywhere."""

import os

# Set before torch is loaded, and inherited by the commands that tests start: with one thread in each process, test workers do
# not compete for cores, and sums are added up in the same order on every machine.
os.environ["OMP_NUM_THREADS"] = "1"

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)

# Without a deadline, because a busy machine is no fault of the code; derandomised on a CI server, so that a change is never
# blamed for a rare input that was there before it, while every run at a desk looks at new inputs.
settings.register_profile("titrant", deadline=None, max_examples=50, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("titrant")

ROOT = Path(__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules with slow tests come first, so that no worker is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Every test starts from the same random numbers, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of larger data sets beside the checkout, which are not distributed with the project."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the larger data sets are not distributed with the project, and there is no folder {folder}")
    return folder
