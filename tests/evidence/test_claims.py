"""Claims: statements are judged by their intervals, the measures are what they say, and the page shows all of it."""

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from typer.testing import CliRunner

from titrant.cli import app
from titrant.evidence.claims import CLAIMS
from titrant.evidence.lab import Claim, Curve, Finding, Lab, Tried, gap, loss_at, measured, rise, roughness, small
from titrant.evidence.statistics import Estimate
from titrant.evidence.training import Outcome
from titrant.record import Point
from titrant.report.claims import claims_lines, page, write_claims


def outcome(training: list[float], validation: list[float] | None = None) -> Outcome:
    validation = validation or training
    curve = [
        Point(
            step=place,
            epoch=place,
            seconds=None,
            loss_train=one,
            loss_validation=two,
            score_validation=None,
            learning_rate=None,
        )
        for place, (one, two) in enumerate(zip(training, validation, strict=True), 1)
    ]
    return Outcome(0.0, 0.0, 0.0, torch.empty(0), False, [], curve)


def tried(*estimates: Estimate) -> Tried:
    return Tried(
        [("it helps", "accuracy", one) for one in estimates], [Curve(label="a", x=[1, 2], y=[0.5, 0.1])], "epoch", "loss"
    )


def found(*estimates: Estimate) -> Finding:
    claim = Claim("name", "It <helps>.", "dropout", "digits", "somebody", lambda _: tried(*estimates))
    return tried(*estimates).finding(claim, 1.0)


SURE, AGAINST, UNSURE = Estimate(0.1, 0.01, 10, 11), Estimate(-0.1, 0.01, 10, 11), Estimate(0.1, 0.2, 10, 11)


@pytest.mark.parametrize(
    ("estimates", "verdict"),
    [
        ([SURE], "holds"),
        ([SURE, UNSURE], "not certain"),
        ([SURE, AGAINST], "contradicted"),
        ([UNSURE], "not certain"),
    ],
)
def test_a_claim_is_as_good_as_its_statements(estimates: list[Estimate], verdict: str) -> None:
    assert found(*estimates).verdict == verdict


def test_measures_of_curves() -> None:
    one = outcome([4.0, 2.0, 1.0, 0.5], [4.0, 3.0, 2.5, 3.5])
    assert [loss_at(share)(one) for share in (0.01, 0.25, 0.5, 1.0)] == [4.0, 4.0, 2.0, 0.5]
    assert loss_at(0.75, training=False)(one) == 2.5
    assert (gap(one), rise(one)) == (3.0, 1.0)
    assert roughness(one) == 0.5
    assert roughness(outcome([math.nan])) == 25.0
    assert loss_at(1.0)(outcome([1.0, math.inf])) == 25.0


def test_names_are_those_of_files_and_every_claim_names_its_source() -> None:
    names = [claim.name for claim in CLAIMS]
    assert len(set(names)) == len(names) == 13
    assert all(name.isidentifier() for name in names)
    assert all(claim.source and claim.says.endswith(".") for claim in CLAIMS)


def test_a_laboratory_compares_arms_on_the_same_rows() -> None:
    quick: dict[str, Any] = {"stop": {"kind": "last", "epochs": 1}}
    contest = Lab().contest("digits", {"one": small(**quick), "same": small(**quick)}, 2)
    assert contest.over("one", "same").mean == 0
    assert contest.common("one", "same") == [0, 1]


def test_networks_that_keep_the_signal_are_told_from_one_that_loses_it() -> None:
    (finding,) = measured([claim for claim in CLAIMS if claim.name == "initialization"])
    assert finding.verdict == "holds"
    assert [curve.label for curve in finding.curves] == ["He", "Xavier", "naive"]
    assert finding.curves[2].y[-1] < -10 < finding.curves[0].y[-1]


def test_the_page_shows_each_statement_and_a_drawing_that_is_xml(tmp_path: Path) -> None:
    findings = [found(SURE, AGAINST)]
    path = write_claims(findings, tmp_path, "a machine")
    text = path.read_text(encoding="utf-8")
    assert text == page(findings, "a machine")
    assert "**contradicted**" in text
    assert "| it helps | accuracy | -0.10 |" in text
    drawing = ElementTree.parse(tmp_path / "name.svg").getroot()
    lines = [part for part in drawing.iter() if part.tag.endswith("polyline")]
    assert [len(line.attrib["points"].split()) for line in lines] == [2]
    assert claims_lines(findings)[0][0].startswith("contradicted")


def test_the_command_refuses_what_it_does_not_know_and_a_folder_in_use(tmp_path: Path) -> None:
    wrong = CliRunner().invoke(app, ["claims", "dropot"])
    assert wrong.exit_code == 2
    assert "Did you mean dropout?" in wrong.stderr
    (tmp_path / "file").write_text("")
    used = CliRunner().invoke(app, ["claims", "initialization", "--out", str(tmp_path)])
    assert used.exit_code == 2
    assert "is in use" in used.stderr


def test_networks_come_with_the_classes_of_their_rows() -> None:
    recipe = small(stop={"kind": "last", "epochs": 3}, learning_rate={"peak": 0.003})
    for network, inputs, target in Lab().networks(recipe, 2, trained=True):
        with torch.no_grad():
            right = (network(*inputs, None).argmax(1) == target).float().mean()
        assert right > 0.5
