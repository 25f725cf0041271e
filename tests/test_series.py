"""Series from end to end: fit, what it leaves, predictions, and the commands."""

import json
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from torch import nn
from typer.testing import CliRunner

from titrant.cli.app import app
from titrant.errors import RecipeError
from titrant.job import Run, fit

QUICK = {
    "model": {"kind": "fcn", "width": 8},
    "normalize": "batch",
    "augment": {"jitter": {"std": 0.1}, "time_warp": {"std": 0.2}},
    "batch": {"kind": "fixed", "size": 16},
    "stop": {"kind": "last", "epochs": 20},
    "learning_rate": {"peak": 0.01},
}


def bumps(rows: int = 90, seed: int = 0) -> dict[str, np.ndarray]:
    """Two channels of noise; class "single" has a bump, "double" one up and one down. Some series end early, some have gaps."""
    random = np.random.default_rng(seed)
    x = random.normal(scale=0.3, size=(rows, 2, 32)).astype(np.float32)
    y = random.integers(2, size=rows)
    for row, double in enumerate(y):
        at = random.integers(2, 24)
        x[row, 0, at : at + 4] += np.array([2, 2, -2, -2]) if double else 2
    x[::4, :, 30:] = np.nan
    x[1::5, 1, 5] = np.nan
    return {"x": x, "y": np.array(["single", "double"])[y]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("series")
    np.savez(folder / "bumps.npz", **bumps())
    return fit(folder / "bumps.npz", budget="120s", recipe=QUICK, out=folder / "run")


def test_a_network_learns_series_and_predicts_them_again_after_loading(run: Run) -> None:
    assert run.summary.score_test is not None
    assert run.summary.score_test > 0.9
    new = bumps(40, seed=1)
    again = Run.load(run.folder)
    probability = again.predict_proba({"x": new["x"]})
    np.testing.assert_allclose(probability, run.predict_proba({"x": new["x"]}), atol=1e-6)
    assert (again.predict(new["x"]) == new["y"]).mean() > 0.85
    shorter = again.predict(new["x"][:, :, :20])
    assert len(shorter) == 40


def test_the_run_and_its_report_know_that_these_are_series(run: Run) -> None:
    evaluation = json.loads((run.folder / "evaluation.json").read_text())
    assert len(evaluation["lines"]) == 6
    assert all(len(line["augmented"]) == 3 and len(line["values"]) == 2 for line in evaluation["lines"])
    assert json.loads((run.folder / "data.json").read_text())["series"] == "up to 32 steps of 2 channels"
    page = run.report().read_text()
    assert page.count("<polyline") >= 6 * 4 * 2
    receipts = {receipt.trick: receipt for receipt in run.summary.receipts}
    assert receipts["augment.time_warp"].acted > 0
    assert receipts["augment.jitter"].unit == "series"


@pytest.mark.parametrize("features", ["rocket_hydra", "minirocket"])
def test_a_linear_network_on_random_kernels_starts_from_the_ridge_solution(features: str, tmp_path: Path) -> None:
    recipe = {
        "model": "linear",
        "data": {"features": features},
        "initialize": "ridge",
        "learning_rate": {"peak": 1e-5},
        "stop": {"kind": "last", "epochs": 1},
    }
    found = fit(bumps(), budget="120s", recipe=recipe, out=tmp_path / "run")
    assert found.summary.score_test is not None
    assert found.summary.score_test > 0.9
    new = bumps(30, seed=2)["x"]
    np.testing.assert_allclose(Run.load(found.folder).predict_proba(new), found.predict_proba(new), atol=1e-5)


def test_a_value_for_each_series_is_a_regression(tmp_path: Path) -> None:
    data = bumps()
    data["y"] = np.nanmax(data["x"][:, 0], -1) + np.arange(90) % 7
    found = fit(data, budget="120s", recipe=QUICK | {"data": {"instance": "robust", "gaps": "mask"}}, out=tmp_path / "run")
    assert found.summary.metric == "rmse"
    assert np.isfinite(found.predict(data["x"])).all()


def test_a_network_of_ones_own_reads_channels_and_steps() -> None:
    def make(inputs: int, outputs: int) -> nn.Module:
        assert inputs == 2
        return nn.Sequential(nn.Conv1d(inputs, 6, 5), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(6, outputs))

    found = fit(bumps(), budget="120s", model=make, members=1)
    assert found.recipe.model.kind == "custom"


def test_features_and_a_network_for_steps_are_refused_together() -> None:
    with pytest.raises(RecipeError, match=r"fcn reads one step or token after another, and data\.features: hydra leaves none"):
        fit(bumps(), budget="60s", recipe=QUICK | {"data": {"features": "hydra"}})
    with pytest.raises(RecipeError, match="mask is for table data, and these are series data"):
        fit(bumps(), budget="60s", recipe=QUICK | {"augment": {"mask": {"p": 0.1}}})


def test_a_search_tries_networks_and_features() -> None:
    found = fit(bumps(), budget="120s", members=4)
    kinds = [json.loads(line)["recipe"] for line in (found.folder / "members.jsonl").read_text().splitlines()]
    assert {recipe["model"]["kind"] for recipe in kinds} >= {"linear", "inception", "fcn"}
    assert found.summary.score_test is not None
    assert found.summary.score_test > 0.9


def test_the_commands_work_on_a_table_of_steps(tmp_path: Path) -> None:
    data = bumps(60)
    rows, channels, steps = data["x"].shape
    table = pl.DataFrame(
        {
            "sensor": np.repeat([f"s{row}" for row in range(rows)], steps),
            "tick": np.tile(np.arange(steps), rows),
            **{f"c{channel}": data["x"][:, channel].ravel() for channel in range(channels)},
            "kind": np.repeat(data["y"], steps),
        }
    ).sample(fraction=1, shuffle=True, seed=0)
    table.write_parquet(tmp_path / "steps.parquet")
    options = ["--id", "sensor", "--time", "tick", "--target", "kind", "--budget", "120s", "--members", "1", "--quiet"]
    done = CliRunner().invoke(app, ["fit", str(tmp_path / "steps.parquet"), *options, "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["predict", str(tmp_path / "run"), str(tmp_path / "steps.parquet")])
    assert done.exit_code == 0, done.output
    found = pl.read_csv(done.stdout.encode())
    assert found.columns == ["series", "prediction", "probability_double", "probability_single"]
    assert found.height == rows


@pytest.fixture(autouse=True)
def _begun_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget of a command begins with it and not with the test process."""
    monkeypatch.setattr("titrant.cli.fit.process_started", time.monotonic)


def sales(days: int = 220) -> pl.DataFrame:
    """Two shops of very different size with a week of their own, growing."""
    random = np.random.default_rng(0)
    day = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 12, 31), eager=True)[:days]
    turn = 2 * np.pi * np.arange(days) / 7
    frames = [
        pl.DataFrame(
            {
                "day": day,
                "shop": name,
                "sold": size * (10 + 3 * np.sin(turn) + 0.02 * np.arange(days) + 0.3 * random.normal(size=days)),
            }
        )
        for name, size in (("small", 1.0), ("large", 50.0))
    ]
    return pl.concat(frames)


def test_a_forecast_beats_the_value_of_a_week_ago_and_predicts_what_comes(tmp_path: Path) -> None:
    table = sales()
    table.write_parquet(tmp_path / "sales.parquet")
    options = ["--id", "shop", "--time", "day", "--target", "sold", "--horizon", "7", "--members", "1", "--budget", "120s"]
    done = CliRunner().invoke(
        app, ["fit", str(tmp_path / "sales.parquet"), *options, "--quiet", "--out", str(tmp_path / "run")]
    )
    assert done.exit_code == 0, done.output
    found = Run.load(tmp_path / "run")
    large = table.filter(pl.col("shop") == "large")["sold"].to_numpy()[-44:]
    naive = float(np.sqrt(np.mean((large[7:] - large[:-7]) ** 2) / 2))  # of both shops, the small one's part is nothing
    assert found.summary.score_test is not None
    assert found.summary.score_test < naive
    assert found.recipe.model.kind == "linear"
    done = CliRunner().invoke(app, ["predict", str(tmp_path / "run"), str(tmp_path / "sales.parquet")])
    assert done.exit_code == 0, done.output
    predicted = pl.read_csv(done.stdout.encode())
    assert predicted.columns == ["shop", "day", "prediction", "low_10", "high_90"]
    assert predicted.height == 14
    assert predicted["day"][0] == "2024-08-08"
    assert (predicted["low_10"] < predicted["prediction"]).all()
    assert (predicted["high_90"] > predicted["prediction"]).all()
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert 0.6 < evaluation["coverage"] <= 1
    assert len(evaluation["fans"]) == 6
    assert (tmp_path / "run" / "report.html").read_text().count("<polygon") == 6
    true = 10 + 3 * np.sin(2 * np.pi * np.arange(220, 227) / 7) + 0.02 * np.arange(220, 227)
    for name, size in (("small", 1.0), ("large", 50.0)):
        ours = predicted.filter(pl.col("shop") == name)["prediction"].to_numpy()
        assert np.abs(ours - size * true).mean() < 0.5 * size
    np.testing.assert_allclose(found.predict(table).ravel(), predicted["prediction"].to_numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    "recipe", [{"model": {"kind": "gru", "width": 8}}, {"model": {"kind": "mlp", "width": 8}, "data": {"instance": "robust"}}]
)
def test_any_network_forecasts(recipe: dict[str, object]) -> None:
    asked = recipe | {"stop": {"kind": "last", "epochs": 1}}
    found = fit(sales(), "sold", horizon=3, by="shop", time="day", recipe=asked, budget="120s")
    assert found.predict(sales()).shape == (2, 3)
    again = found.report().read_text()
    assert "3 steps ahead" in again
