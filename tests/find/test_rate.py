"""Learning rates without a search."""

import json
import math
import time
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import titrant
from titrant import samples
from titrant.cli.app import app
from titrant.errors import BudgetError
from titrant.find.rate import RATES, Rate, find_rate, judged, tried
from titrant.recipe import Recipe


def table(rows: int = 300) -> dict[str, Any]:
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, 3))
    return {f"x{place}": x[:, place].tolist() for place in range(3)} | {
        "y": (x.sum(1) + 0.1 * random.normal(size=rows)).tolist()
    }


def rates(losses: list[float]) -> list[Rate]:
    return [
        Rate(rate=10.0 ** (place - 5), loss_train=1.0, loss_validation=loss if math.isfinite(loss) else None)
        for place, loss in enumerate(losses)
    ]


def test_the_best_rate_is_no_lucky_one_and_divergence_is_told() -> None:
    found = judged(rates([1.0, 0.2, 1.0, 0.52, 0.51, 0.5, 0.9, math.inf, math.inf]), "adam", 90, 3.0)
    assert found.best == pytest.approx(1e-1)  # and not the lonely 0.2
    assert found.diverges == pytest.approx(1e2)
    assert found.low <= found.best <= found.high
    flat = judged(rates([0.9, 0.5, 0.5, 0.5, 0.9]), "adam", 90, 3.0)
    assert (flat.best, flat.diverges) == (pytest.approx(1e-3), None)
    with pytest.raises(BudgetError, match="All trainings diverged"):
        judged(rates([math.inf] * 3), "sgd", 9, 1.0)


def test_rates_span_six_decades_around_what_is_typical() -> None:
    for name in ("sgd", "adamw", "muon"):
        recipe = Recipe().replace("optimizer", name)
        found = tried(recipe)
        assert found == sorted(set(found))
        assert any(rate == pytest.approx(recipe.optimizer.typical_rate, rel=0.01) for rate in found)
        assert 0.7 * RATES < len(found) <= RATES


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_what_is_found_trains_better_than_a_tenth_and_ten_times_as_much(optimizer: str) -> None:
    small = {"model": {"kind": "mlp", "width": 32}, "optimizer": optimizer, "batch": {"kind": "fixed", "size": 16}}
    found = find_rate(table(), "y", recipe=small, budget="60s")
    by_rate = {one.rate: one.loss_validation for one in found.rates}
    best = by_rate[found.best]
    assert best is not None
    further = [by_rate[rate] for rate in by_rate if rate <= found.best / 10 or rate >= found.best * 10]
    assert all(loss is None or loss > best for loss in further)
    assert found.optimizer == optimizer
    assert found.epochs <= 3
    if optimizer == "sgd":
        assert found.diverges is not None
        assert found.diverges > found.best


def test_the_same_seed_finds_the_same() -> None:
    small = {"model": {"kind": "mlp", "width": 16}}
    one, other = (find_rate(table(), "y", recipe=small, budget="60s", seed=3) for _ in range(2))
    assert one == other


def test_a_run_is_judged_by_its_own_recipe_and_data(tmp_path: Any) -> None:
    small = {"model": {"kind": "mlp", "width": 16}, "optimizer": "nadam", "stop": {"kind": "last", "epochs": 3}}
    titrant.fit(samples.path("penguins"), "species", budget="60s", recipe=small, out=tmp_path / "run")
    assert find_rate(tmp_path / "run", budget="60s").optimizer == "nadam"


def test_a_short_budget_says_so() -> None:
    with pytest.raises(BudgetError, match="Give more time"):
        find_rate(samples.path("adult"), "income", budget="0.5s", recipe={"batch": {"kind": "fixed", "size": 16}})


def test_the_command_draws_the_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("titrant.cli.find.process_started", time.monotonic)
    arguments = ["find", "lr", str(samples.path("penguins")), "--target", "species", "--budget", "60s"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "Best: learning_rate.peak = " in done.stdout
    assert sum(line.startswith("* ") for line in done.stdout.splitlines()) == 1
    document = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert document["low"] <= document["best"] <= document["high"]
