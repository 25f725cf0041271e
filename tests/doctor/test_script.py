"""Programs under observation: each runs in a process of its own, as `titrant diagnose` starts it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from titrant.doctor.rules import diagnose
from titrant.doctor.script import observe
from titrant.errors import DataError

LOOP = """
import sys
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x = torch.randn(320, 6)
y = (x[:, 0] > 0).long()
model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2){tail})
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
print("arguments", *sys.argv[1:])
for epoch in range(10):
    for inputs, targets in DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True):
        optimizer.zero_grad()
        cross_entropy(model(inputs), targets).backward()
        optimizer.step()
{end}
"""


def program(folder: Path, tail: str = "", end: str = "") -> Path:
    path = folder / "train.py"
    path.write_text(LOOP.format(tail=tail, end=end))
    return path


def test_an_unedited_program_gets_its_findings(tmp_path: Path) -> None:
    case = observe(program(tmp_path, tail=", nn.Softmax(1)"), show=False)
    assert case.wiring.steps == 100
    assert [found.rule for found in diagnose(case)][:1] == ["softmax_twice"]
    assert (case.loader.rows, case.loader.batch, case.loader.shuffled) == (320, 32, True)


def test_its_own_arguments_are_handed_on_and_epochs_are_cut(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    case = observe(program(tmp_path), ["--lr", "0.1"], epochs=2)
    assert "arguments --lr 0.1" in capfd.readouterr().err
    assert case.cut_short
    assert case.wiring.steps == 20


def test_a_program_that_crashes_gets_its_findings(tmp_path: Path) -> None:
    case = observe(program(tmp_path, tail=", nn.Softmax(1)", end="model(torch.randn(2, 7))"), show=False)
    assert case.crash is not None
    assert case.crash.place.startswith("train.py:19: model(torch.randn(2, 7))")
    rules = [found.rule for found in diagnose(case)]
    assert rules[0] == "crash"
    assert "softmax_twice" in rules


def test_a_program_that_is_killed_gets_what_was_written_so_far(tmp_path: Path) -> None:
    end = "import os, time\ntime.sleep(0.1)\nos.kill(os.getpid(), 9)"
    path = program(tmp_path, end=end)
    with pytest.raises(DataError, match="ended with code -9"):
        observe(path, show=False)


def test_a_program_that_trains_nothing_is_said_to(tmp_path: Path) -> None:
    path = tmp_path / "nothing.py"
    path.write_text("print(1)\n")
    with pytest.raises(DataError, match="trained nothing"):
        observe(path, show=False)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*missing\.py"):
        observe(tmp_path / "missing.py")


def test_an_interrupted_program_gets_its_findings(tmp_path: Path) -> None:
    """As a person sees it: Ctrl-C ends the program, not the diagnosis."""
    path = program(tmp_path, tail=", nn.Softmax(1)", end="import time\nprint('asleep', flush=True)\ntime.sleep(60)")
    command = [sys.executable, "-m", "titrant", "diagnose", str(path), "--json"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what it puts into the background deaf to Ctrl-C, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while "asleep" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["findings"][0]["rule"] == "softmax_twice"
