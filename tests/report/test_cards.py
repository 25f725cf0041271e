"""Cards of tricks, doses and rules."""

import pytest

import titrant
from titrant import samples
from titrant.doctor.table import TABLE
from titrant.errors import TitrantError
from titrant.recipe import kinds
from titrant.report.cards import card, in_run, listing

KINDS = [(path, kind) for path, found in kinds().items() for kind in found]


@pytest.mark.parametrize(("path", "kind"), KINDS, ids=[f"{path}.{kind.name()}" for path, kind in KINDS])
def test_every_kind_has_a_card_with_its_doses_and_source(path, kind):
    text = card(f"{path}.{kind.name()}")
    assert text.startswith(f"{path}.{kind.name()}: ")
    assert ">>>" not in text
    assert "Source:" in text
    assert f"{path}.{kind.name()} " in listing()


@pytest.mark.parametrize("rule", list(TABLE))
def test_every_rule_has_a_card(rule):
    assert rule in card(rule)


def test_slots_groups_and_doses_find_their_cards():
    assert card("dropout").count("Ranges:") == 4
    assert card("dropout.p").startswith("dropout.bernoulli")
    assert card("regularize").startswith("regularize.l1")
    assert card("learning_rate.peak").startswith("learning_rate: ")
    assert "exploding_gradient" in card("ExplodingTensor")


@pytest.mark.parametrize(("name", "near"), [("droput", "dropout"), ("vanishing_gradiant", "vanishing_gradient")])
def test_names_that_are_nearly_right(name, near):
    with pytest.raises(TitrantError, match=f"Did you mean {near}"):
        card(name)


def test_what_a_trick_did_in_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr("titrant.evidence.contest._PLANS", [(1.0, 1.0, 2, 2)])  # few candidates are as good as many
    recipe = {"model": {"width": 16, "depth": 1}, "dropout": {"p": 0.25}, "stop": {"kind": "last", "epochs": 4}}
    recipe["model"]["kind"], recipe["dropout"]["kind"] = "mlp", "bernoulli"
    titrant.fit(samples.path("penguins"), "species", budget="60s", recipe=recipe, out=tmp_path / "run")
    before = in_run("dropout", tmp_path / "run")
    assert "kind bernoulli, p 0.25" in before
    assert "acted on" in before
    assert "--tricks dropout" in before
    titrant.ablate(tmp_path / "run", tricks=["dropout"], budget="60s", replicates=2)
    titrant.dose(tmp_path / "run", "dropout.p", budget="60s", replicates=2, levels=2)
    after = in_run("dropout.p", tmp_path / "run")
    assert "in accuracy over off, at equal time" in after
    assert "dropout.p is best at" in after or "dropout.p scores best at" in after
    with pytest.raises(TitrantError, match="is no trick"):
        in_run("vanishing_gradient", tmp_path / "run")
