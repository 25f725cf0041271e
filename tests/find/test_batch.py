"""Batch sizes by the noise of the gradient, the time of a step, and memory."""

import json
import time
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import titrant
from titrant import samples
from titrant.cli.app import app
from titrant.find.batch import BatchSize, Noise, judged, noise_scale
from titrant.train.hardware import free_memory


def test_the_noise_scale_is_that_of_the_gradients_that_are_drawn() -> None:
    random = np.random.default_rng(0)
    mean, spread, rows = np.full(50, 0.2), 3.0, 32
    drawn = [torch.as_tensor(mean + spread / np.sqrt(rows) * random.normal(size=50)) for _ in range(400)]
    expected = 50 * spread**2 / float(mean @ mean)  # tr(Σ) of one row over |G|²
    assert noise_scale(drawn, rows) == pytest.approx(expected, rel=0.1)


def test_a_signal_that_is_lost_in_noise_is_not_told() -> None:
    random = np.random.default_rng(0)
    assert noise_scale([torch.as_tensor(random.normal(size=50)) for _ in range(8)], 32) is None


def sizes(seconds: dict[int, float]) -> list[BatchSize]:
    return [BatchSize(size=size, seconds=spent, memory=size, relative=None) for size, spent in seconds.items()]


def test_where_steps_cost_the_same_large_batches_are_best_and_else_the_noise_decides() -> None:
    same = judged([Noise(epoch=1, scale=100.0)], 100.0, sizes({16: 1.0, 64: 1.0, 256: 1.0, 1024: 1.0}), 1, None)
    assert same.best == 1024
    assert [one.relative for one in same.sizes] == pytest.approx(
        [7.25 / 1.09765625, 2.5625 / 1.09765625, 1.390625 / 1.09765625, 1]
    )
    in_proportion = judged([], 100.0, sizes({16: 16.0, 64: 64.0, 256: 256.0}), 1, None)
    assert in_proportion.best == 16
    assert in_proportion.high == 16


def test_what_does_not_fit_into_memory_is_not_advised() -> None:
    found = judged([], 100.0, sizes({16: 1.0, 64: 1.0, 256: 1.0}), 10, 1_000, fixed=100)
    assert (found.largest, found.best) == (90, 64)


def test_without_a_known_noise_the_fastest_rows_win() -> None:
    assert judged([], None, sizes({16: 1.0, 64: 1.5, 256: 8.0}), 1, None).best == 64


def test_data_in_a_line_has_less_noise_than_random_labels() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=600)
    clear = {"x": x.tolist(), "y": (2 * x).tolist()}
    mere = {"x": x.tolist(), "y": random.normal(size=600).tolist()}
    small = {"model": {"kind": "mlp", "width": 16}, "batch": {"kind": "fixed", "size": 32}}
    found = [titrant.find_batch(data, "y", recipe=small, budget="60s") for data in (clear, mere)]
    first, last = (one.noise[0].scale for one in found)
    assert first is not None
    assert last is None or first < last
    assert found[0].row_bytes > 16 * 4
    assert [one.size for one in found[0].sizes] == sorted(one.size for one in found[0].sizes)


def test_the_command_says_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("titrant.cli.find.process_started", time.monotonic)
    asked: list[Any] = ["find", "batch", str(samples.path("penguins")), "--target", "species", "--budget", "60s"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert "Best: batch.size = " in done.output
    assert "Gradient noise scale after" in done.output
    told = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert told["low"] <= told["best"] <= told["high"]


def test_free_memory_of_this_machine_is_plausible() -> None:
    free = free_memory(torch.device("cpu"))
    assert free is None or 2**20 < free < 2**45
