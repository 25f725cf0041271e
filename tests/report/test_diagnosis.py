"""The page of a diagnosis: findings in words, pictures by layer, no request to any network, names that could be markup."""

import json
import re
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

import titrant
from titrant.doctor.case import Case, Layer
from titrant.doctor.watch import Doctor
from titrant.report.diagnosis import figures, write_diagnosis


def observed() -> Doctor:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2), nn.Softmax(1))
    optimizer = torch.optim.Adam(model.parameters())
    with titrant.watch(model, optimizer) as doctor:
        for _ in range(20):
            optimizer.zero_grad()
            functional.cross_entropy(model(torch.randn(16, 4)), torch.randint(2, (16,))).backward()
            optimizer.step()
    return doctor


def test_the_page_holds_every_finding_and_a_row_for_every_layer(tmp_path: Path) -> None:
    doctor = observed()
    write_diagnosis(doctor.case, doctor.findings, "<train>.py", path := tmp_path / "page.html")
    page = path.read_text()
    assert "softmax_twice" in page
    assert "&lt;train&gt;.py" in page
    assert "<train>" not in page
    drawn = json.loads(re.findall(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)[0])
    assert set(drawn) == {"loss", "activations", "lost-units", "gradients", "updates"}
    assert drawn["activations"]["data"][0]["y"] == ["0", "1", "2", "3"]
    assert drawn["gradients"]["data"][0]["y"] == ["0.weight", "2.weight"]
    assert len(drawn["gradients"]["data"][0]["z"][0]) == len(drawn["gradients"]["data"][0]["x"])
    assert not re.findall(r'(?:src|href)="https?:', re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL))


def test_nothing_recorded_draws_nothing() -> None:
    assert figures(Case()) == {}


def test_a_layer_without_samples_is_an_empty_row() -> None:
    doctor = observed()
    case = doctor.case
    case.layers.append(Layer(name="late", kind="Linear", family="linear", order=9))
    assert set(figures(case)["activations"]["data"][0]["z"][-1]) == {None}
