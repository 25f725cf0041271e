"""What a training takes of memory is said before it begins, and is what it then takes."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.doctor.test_attach_recipe import QUICK, data
from tests.train.test_checkpoint import HOUR, cohort
from torch import nn

import titrant
from titrant.data.learnable import read_data
from titrant.errors import TitrantError
from titrant.recipe import Recipe, slots
from titrant.report.terminal import QuietView
from titrant.train.cohort import kept_for_gradient
from titrant.train.memory import Living, Needs, carried_by, needs_of
from titrant.tricks.base import Off

NETWORKS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("table", {"model": {"kind": "mlp", "width": 64, "depth": 4}, "normalize": "batch", "dropout": "bernoulli"}, {}),
    ("table", {"model": {"kind": "mlp", "width": 256, "depth": 6}, "optimizer": "sgd"}, {}),  # weights outweigh activations
    ("table", {"model": {"kind": "residual", "width": 32, "depth": 4}, "average": "ema"}, {"data.numbers": "periodic"}),
    ("table", {"model": {"kind": "ensemble", "width": 32, "views": 4}}, {"batch.accumulate": 4}),
    ("table", {"model": {"kind": "mlp", "width": 32, "depth": 8}, "normalize": "layer"}, {"hardware.checkpoint": True}),
    ("image", {"model": {"kind": "resnet", "width": 8, "depth": 2}, "normalize": "batch"}, {}),
    ("image", {"model": {"kind": "resnet", "width": 8, "depth": 4}, "normalize": "batch"}, {"hardware.checkpoint": True}),
    ("image", {"model": {"kind": "vit", "width": 16, "depth": 2}}, {}),
    ("series", {"model": {"kind": "gru", "width": 16, "depth": 2}}, {}),
    ("series", {"model": {"kind": "inception", "width": 8, "depth": 2}, "normalize": "batch"}, {"hardware.checkpoint": True}),
    ("text", {"model": {"kind": "text_cnn", "width": 16}}, {}),
]  # fmt: skip


def recipe_of(changes: dict[str, Any], more: dict[str, Any], batch: int = 64) -> Recipe:
    recipe = QUICK.replace("batch", {"kind": "fixed", "size": batch})
    for path, value in {**changes, **more}.items():
        recipe = recipe.replace(path, value)
    return recipe


@pytest.mark.parametrize(("reads", "changes", "more"), NETWORKS, ids=[f"{n[0]}-{n[1]['model']['kind']}" for n in NETWORKS])
def test_a_step_takes_what_was_said(reads: str, changes: dict[str, Any], more: dict[str, Any]) -> None:
    found = cohort(data(reads), [recipe_of(changes, more)])
    needs = needs_of(found.problem, found.members[0])
    assert needs.carried == found.carried - found.flat.nbytes
    found.train(0, HOUR)
    with Living() as living:
        found.train(1, HOUR)
    assert needs.step() == pytest.approx(max(living.moments), rel=0.05)
    # Not less than the gradient and what is kept for it, the weights apart.
    kept = kept_for_gradient(lambda: found.train(2, HOUR)) - found.flat.nbytes
    if found.members[0].recipe.batch.parts == 1:  # else only one part's is kept at a time
        assert needs.step() >= 0.95 * max(kept, found.flat.nbytes)
    assert needs.total == needs.data + needs.carried + needs.step()


@pytest.mark.parametrize("kind", [kind.name() for kind in slots()["optimizer"] if kind is not Off])
def test_what_optimizers_carry_is_known_without_any_number(kind: str) -> None:
    found = cohort(data("table"), [QUICK.replace("optimizer", kind).replace("average", "swa").replace("normalize", "batch")])
    assert carried_by(found.problem, found.members[0]) == found.carried - found.flat.nbytes


def test_rows_on_the_device_are_counted_once() -> None:
    found = cohort(data("image"), [QUICK.replace("model", "cnn")])
    needs = needs_of(found.problem, found.members[0])
    pixels = 160 * 8 * 8 * 3
    assert pixels <= needs.data <= pixels + 160 * 8 * 4


def test_half_the_rows_take_less_and_blocks_computed_again_too() -> None:
    recipe = recipe_of({"model": {"kind": "resnet", "width": 8, "depth": 4}}, {})
    found = cohort(data("image"), [recipe])
    needs = needs_of(found.problem, found.members[0])
    thrifty = replace(found.members[0], recipe=recipe.replace("hardware.checkpoint", True))
    assert needs_of(found.problem, thrifty).step() < 0.6 * needs.step()
    assert needs.step(32) < 0.6 * needs.step()
    assert needs.row * 64 == pytest.approx(needs.step(), rel=0.2)


def test_batches_of_one_row_and_of_all_rows() -> None:
    for size in (1, 3, 10_000):
        found = cohort(data("table"), [recipe_of({}, {}, size)])
        needs = needs_of(found.problem, found.members[0])
        assert needs.rows == min(size, len(found.members[0].rows))
        assert needs.step() > found.flat.nbytes


def test_growing_batches_count_at_their_largest() -> None:
    recipe = QUICK.replace("batch", {"kind": "growing", "size": 8, "factor": 2.0, "stages": 3})
    found = cohort(data("table"), [recipe])
    assert needs_of(found.problem, found.members[0]).rows == 32


def test_pictures_that_grow_count_at_their_full_size() -> None:
    recipe = QUICK.replace("model", {"kind": "cnn", "width": 8})
    whole, growing = (
        needs_of(found.problem, found.members[0])
        for found in (cohort(data("image"), [one]) for one in (recipe, recipe.replace("augment.resize", {"low": 0.25})))
    )
    assert growing.step(32) == whole.step(32)


def test_tensors_from_before_are_not_counted() -> None:
    before = torch.zeros(1000)
    with Living() as living:
        assert before.view(10, 100).shape == (10, 100)
        made = before + 1
        made.add_(1)
        assert living.bytes == 4000
        del made
        assert living.bytes == 0
    assert max(living.moments) == 4000


def test_the_greatest_moment_hangs_on_the_rows() -> None:
    needs = Needs(data=0, carried=0, moments=((100, 1.0), (0, 3.0)), rows=10)
    assert (needs.step(), needs.step(100), needs.row) == (110, 300, 3)


# ------------------------------------------------------------------------------------------------ what a person is told

TABLE = {"x": [i / 60 for i in range(60)], "y": ["low"] * 30 + ["high"] * 30}


class Noting(QuietView):
    """Remembers notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def own(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, outputs))


def told(monkeypatch: pytest.MonkeyPatch, free: int, **asked: Any) -> list[str]:
    for module in ("titrant.job", "titrant.search.study"):
        monkeypatch.setattr(f"{module}.free_memory", lambda _: free)
    watcher = Noting()
    run = titrant.fit(TABLE, "y", budget="2m", members=1, view=watcher, **asked)
    assert all(note in run.summary.warnings for note in watcher.notes)
    return watcher.notes


@pytest.mark.parametrize("asked", [{"recipe": QUICK.replace("stop.epochs", 2.0)}, {"model": own}], ids=["recipe", "own"])
def test_too_little_memory_is_said_before_training_with_what_helps(monkeypatch: pytest.MonkeyPatch, asked: Any) -> None:
    assert not [note for note in told(monkeypatch, 1 << 40, **asked) if "GiB" in note]
    recipe = asked.get("recipe") or QUICK
    carried = 20_000 if "model" in asked else cohort(data("table"), [recipe]).carried
    (note,) = [note for note in told(monkeypatch, carried, **asked) if "GiB" in note]
    assert note.startswith("A training takes about")
    for remedy in ("batch.accumulate", "hardware.checkpoint: true", "batch.size", "model.width"):
        assert remedy in note


def test_weights_that_do_not_fit_are_refused_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = QUICK.replace("model", {"kind": "mlp", "width": 1024, "depth": 4})
    monkeypatch.setattr("titrant.search.study.needs_of", lambda *_: pytest.fail("they are made"))
    with pytest.raises(TitrantError, match=r"weights of this mlp, .* GiB are free on cpu\. Use a smaller network"):
        told(monkeypatch, 1 << 20, recipe=recipe)


def test_networks_at_the_same_time_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("titrant.search.study.Study.lanes", 3)
    recipe = QUICK.replace("model", {"kind": "linear"}).replace("stop.epochs", 2.0)
    found = cohort(read_data(TABLE, "y", notes=[]), [recipe])
    one = needs_of(found.problem, found.members[0])
    (note,) = [note for note in told(monkeypatch, 2 * (one.carried + one.step()), recipe=recipe) if "GiB" in note]
    assert "Up to 3 networks are trained at the same time" in note
    assert "--workers" in note


def test_a_choice_without_effect_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = QUICK.replace("model", "linear").replace("hardware.checkpoint", True).replace("stop.epochs", 2.0)
    run = titrant.fit(TABLE, "y", budget="2m", recipe=recipe)
    assert any("hardware.checkpoint = true has no effect: this linear" in note for note in run.summary.warnings)


def test_ones_own_code_that_cannot_be_counted_is_trained_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Needs:
        raise RuntimeError("no rule for this")

    monkeypatch.setattr("titrant.search.study.needs_of", fails)
    assert not [note for note in told(monkeypatch, 10, model=own) if "GiB" in note]
