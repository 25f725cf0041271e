"""Studies of data whose truth is planted: tricks that must help, must hurt, or cannot matter."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from titrant.clock import Clock
from titrant.data.dataset import Dataset
from titrant.data.learnable import read_data
from titrant.evidence.ablation import Study
from titrant.evidence.records import Ablation, Effect
from titrant.evidence.training import Trainings
from titrant.recipe import Recipe
from titrant.search.kinds import start_for
from titrant.search.pace import Pace
from titrant.train.metrics import metric_for

SMALL: dict[str, Any] = {
    "model": {"kind": "mlp", "width": 16, "depth": 1},
    "learning_rate": {"peak": 0.02},
    "stop": {"kind": "last", "epochs": 8},
}
PICTURES: dict[str, Any] = {
    "model": {"kind": "cnn", "width": 8, "depth": 1},
    "learning_rate": {"peak": 0.01},
    "stop": {"kind": "last", "epochs": 4},
}


def compared(
    dataset: Dataset, recipe: dict[str, Any], plain: dict[str, Any], *tricks: str, metric: str | None = None, **options: Any
) -> tuple[Effect, Ablation]:
    """The worth of tricks for a small network, which serves as the plain baseline too: that of `titrant.ablate` is slow."""
    with_it, without, clock, cpu = Recipe.of(recipe), Recipe.of(plain), Clock.of(180.0), torch.device("cpu")
    pace, scored = Pace.usual(cpu, [with_it]), metric_for(dataset.schema.task, metric)
    trainings = Trainings(dataset, scored, 0, cpu, clock, pace)
    start = start_for(dataset)
    found = Study(trainings, with_it, without, tricks, start.reads, lambda *_: None, **options).run()
    return found.effects[0], found


def studied(data: Any, recipe: dict[str, Any], trick: str, **options: Any) -> tuple[Effect, Ablation]:
    return compared(read_data(data, "y", notes=[]), SMALL | recipe, SMALL, trick, **{"replicates": 8, **options})


def augmented(data: dict[str, Any], trick: str, test: dict[str, Any] | None = None, **recipe: Any) -> Effect:
    doses = {"flip": {"kind": "flip", "p": 0.5}, "rotate": {"kind": "rotate", "degrees": 180.0}}
    plain = PICTURES | recipe
    with_it = plain | {"augment": {trick: doses[trick]}}
    return compared(read_data(data, None, test=test, notes=[]), with_it, plain, f"augment.{trick}", replicates=6)[0]


def table(rows: int = 600, noise: float = 0.0, scale: float = 1.0) -> dict[str, list[Any]]:
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, 4))
    wrong = random.random(rows) < noise
    y = (x[:, 0] + x[:, 1] > 0) != wrong
    return {f"x{i}": (x[:, i] * (scale if i == 2 else 1)).tolist() for i in range(4)} | {
        "y": ["yes" if one else "no" for one in y]
    }


def pictures(kind: str, rows: int = 240) -> dict[str, Any]:
    """Bright bars on noise: left or right, or near an edge or in the middle, which a mirror image does not change."""
    random = np.random.default_rng(1)
    x = random.integers(0, 120, (rows, 8, 8)).astype(np.uint8)
    y = random.integers(0, 2, rows)
    for place, label in enumerate(y):
        side = random.integers(0, 2)
        column = {"side": [1, 6][label], "edge": [[0, 7], [3, 4]][label][side]}[kind]
        x[place, 1:7, column] += 100
    return {"x": x, "y": y}


def bars(rows: int, seed: int) -> dict[str, Any]:
    """A bar with a knob at one end or at both, at any angle: two shapes that turning does not change."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 2, rows)
    angle = random.uniform(-np.pi, np.pi, rows)[:, None, None]
    down, right = np.mgrid[-5.5:6:1, -5.5:6:1]
    along, across = right * np.cos(angle) + down * np.sin(angle), down * np.cos(angle) - right * np.sin(angle)
    bar = (abs(along) < 4) & (abs(across) < 0.8)
    knobs = (np.hypot(along - 3.5, across) < 2) | ((np.hypot(along + 3.5, across) < 2) & (y[:, None, None] == 1))
    return {"x": (200 * (bar | knobs) + random.integers(0, 50, knobs.shape)).astype(np.uint8), "y": y}


def test_scaling_helps_where_one_column_drowns_the_others() -> None:
    effect, study = studied(table(scale=1e4), {"data": {"scale": "standardize"}}, "data.scale")
    assert (effect.verdict, effect.instead) == ("helps", "off")
    assert effect.without.low is not None
    assert effect.without.low > 0.1
    assert effect.acted == 1.0
    assert study.rows_judged == 120


def test_mirror_images_hurt_where_left_and_right_are_the_classes() -> None:
    effect = augmented(pictures("side"), "flip")
    assert effect.verdict == "hurts"
    assert effect.without.mean < -0.1


def test_mirror_images_do_not_hurt_where_both_sides_are_one_class() -> None:
    effect = augmented(pictures("edge"), "flip")
    assert effect.verdict != "hurts"
    assert effect.without.mean > -0.05


def test_turning_helps_where_shapes_may_lie_in_any_direction() -> None:
    model, stop = {"kind": "cnn", "width": 8, "depth": 2}, {"kind": "last", "epochs": 20}
    effect = augmented(bars(100, 2), "rotate", test=bars(400, 3), model=model, stop=stop, batch={"kind": "fixed", "size": 32})
    assert effect.verdict == "helps"
    assert effect.without.mean > 0.05


def test_turning_hurts_where_a_six_would_become_a_nine() -> None:
    digits = load_digits()
    kept = (digits.target == 6) | (digits.target == 9)
    data = {"x": (digits.images[kept] * 15).astype(np.uint8), "y": digits.target[kept]}
    effect = augmented(data, "rotate", stop={"kind": "last", "epochs": 10}, batch={"kind": "fixed", "size": 32})
    assert effect.verdict == "hurts"
    assert effect.without.mean < -0.1


def test_a_threshold_that_is_never_reached_never_acts() -> None:
    effect, study = studied(table(), {"clip": {"kind": "norm", "max_norm": 1000.0}}, "clip")
    assert effect.verdict == "never acted"
    assert effect.without_epochs.mean == 0
    assert any("never acted" in warning for warning in study.warnings)


def test_a_penalty_too_small_to_matter_is_equivalent() -> None:
    effect, _ = studied(table(), {"regularize": {"l2": {"strength": 1e-8}}}, "regularize.l2", smallest=0.02)
    assert effect.verdict == "equivalent"
    assert abs(effect.without.mean) < 0.02


@pytest.mark.parametrize("trick", [{"dropout": {"kind": "bernoulli", "p": 0.3}}, {"normalize": "batch"}])
def test_nothing_helps_where_the_target_is_noise(trick: dict[str, Any]) -> None:
    random = np.random.default_rng(3)
    data = table() | {"y": random.permutation(["yes", "no"] * 300).tolist()}
    effect, _ = studied(data, trick, next(iter(trick)))
    assert effect.verdict in {"no evidence", "equivalent"}
    assert effect.without.low is not None
    assert effect.without.high is not None
    assert effect.without.low < 0 < effect.without.high


def test_weighted_classes_help_balanced_accuracy_where_a_class_is_rare() -> None:
    random = np.random.default_rng(4)
    y = random.random(3000) < 0.1
    x = random.normal(size=3000) + 1.0 * y
    data = {"x": x.tolist(), "y": ["rare" if one else "common" for one in y]}
    effect, _ = studied(
        data, {"regularize": {"class_weights": "class_weights"}}, "regularize.class_weights", metric="balanced_accuracy"
    )
    assert effect.verdict == "helps"
    assert effect.added is not None
    assert effect.added.low is not None
    assert effect.added.low > 0


def test_shares_add_up_to_the_whole_gain_and_go_to_what_caused_it() -> None:
    recipe = SMALL | {"data": {"scale": "standardize"}, "dropout": {"kind": "bernoulli", "p": 0.05}}
    data = read_data(table(scale=1e4), "y", notes=[])
    _, found = compared(data, recipe, SMALL, "data.scale", "dropout", replicates=4, shares=True, pairs=1)
    worth = {share.group: share.value for share in found.shares}
    assert set(worth) == {"inputs", "dropout"}
    assert worth["inputs"].mean > 0.1 > abs(worth["dropout"].mean)
    assert {share.value.count for share in found.shares} == {worth["inputs"].count}
    ((first, second),) = [(pair.first, pair.second) for pair in found.pairs]
    assert {first, second} == {"data.scale", "dropout"}
    assert "without data.scale and dropout" in {arm.name for arm in found.arms}
