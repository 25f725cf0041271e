"""`titrant diagnose` and `titrant explain` as a person meets them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from titrant.cli import app
from titrant.doctor.table import TABLE

PROGRAM = """
import sys
import torch
from torch import nn

print("the program's own words")
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=float(sys.argv[1]))
x = torch.randn(64, 4)
for _ in range(60):
    loss = ((model(x)[:, 0] - x[:, 0]) ** 2).mean()
    loss.backward()
    optimizer.step()
"""


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(PROGRAM)


def test_json_on_stdout_and_a_page_on_the_disk() -> None:
    done = CliRunner().invoke(app, ["diagnose", "train.py", "--json", "--html", "page.html", "--", "0.001"])
    assert done.exit_code == 0, done.output
    findings = json.loads(done.stdout)["findings"]
    assert findings[0]["rule"] == "missing_zero_grad"
    assert {"rule", "level", "where", "evidence", "threshold", "source", "cause", "remedy"} <= set(findings[0])
    assert Path("page.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.py"], "There is no file missing.py"),
        (["train.py", "--html", "no/such/page.html", "--quiet", "--", "0.001"], "There is no folder no/such"),
        ([".", "--quiet"], "holds no finished run"),
    ],
)
def test_what_cannot_be_done_is_one_message(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["diagnose", *arguments])
    assert done.exit_code == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_explain_lists_every_rule_and_describes_one() -> None:
    listed = CliRunner().invoke(app, ["explain"]).stdout
    assert all(name in listed for name in TABLE)
    told = CliRunner().invoke(app, ["explain", "vanishing_gradient"]).stdout
    assert "Threshold ratio: 0.001" in told
    assert "AutoTrainer" in told


def test_names_of_other_tools_and_misspellings() -> None:
    assert "exploding_gradient" in CliRunner().invoke(app, ["explain", "ExplodingTensor"]).stdout
    done = CliRunner().invoke(app, ["explain", "vanishing_gradiant"])
    assert done.exit_code == 2
    assert "Did you mean vanishing_gradient" in done.stderr
