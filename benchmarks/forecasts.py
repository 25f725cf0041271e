"""Titrant's forecasts of real series, against the value of a day or a week before, and a linear model.

    python benchmarks/forecasts.py --sets bike --budget 120 --seeds 0,1

Each set is one hourly series out of the tables of the other benchmarks, to be forecast a day (24 steps) ahead. All sides are
judged on the same windows, those of the newest fifth of the time, whose steps nobody has learned from:

- Titrant: `titrant fit ... --time time --target TARGET --horizon 24 --budget ...`;
- a day ago, a week ago: the value of the same hour then;
- linear: ridge regression on the target's last two weeks, counted from the last value, its strength chosen on the newest fifth
  of the time to learn from.

The result is a Markdown page.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from common import FOLDER, ROOT, circumstances, grid, numbers, shown, titrant

HORIZON = 24
PAST = 336  # steps that the linear model looks back
Floats = NDArray[np.float64]


def bike(folder: Path) -> tuple[pl.DataFrame, str]:
    """Rented bicycles in Seoul, with the weather of the hour."""
    table = pl.read_parquet(folder / "seoul_bike.parquet")
    moment = pl.col("date").str.to_datetime("%d/%m/%Y") + pl.duration(hours=pl.col("hour"))
    return table.with_columns(moment.alias("time")).drop("date", "hour", "season", "holiday", "functioning_day"), "bike_count"


def air(folder: Path) -> tuple[pl.DataFrame, str]:
    """Carbon monoxide in an Italian town, with other sensors; hours without a value are missing."""
    table = pl.read_parquet(folder / "air_quality_co.parquet")
    moment = pl.col("Date").str.to_datetime("%Y-%m-%d") + pl.duration(hours=pl.col("hour").cast(pl.Int64))
    return table.with_columns(moment.alias("time")).drop("Date", "hour"), "CO(GT)"


SETS: dict[str, Callable[[Path], tuple[pl.DataFrame, str]]] = {"bike": bike, "air": air}


def hourly(table: pl.DataFrame, target: str) -> Floats:
    """The target at every hour from the first to the last; NaN where there is none."""
    hours = (table["time"].dt.epoch("s") // 3600).to_numpy()
    found = np.full(hours.max() - hours.min() + 1, np.nan)
    found[hours - hours.min()] = table[target].to_numpy()
    return found


def others(y: Floats) -> dict[str, tuple[float, float]]:
    """RMSE and MAE of the simple sides, on windows of the newest fifth whose day is all there."""
    test = len(y) - max(HORIZON, round(0.2 * len(y)))
    validate = test - max(HORIZON, round(0.2 * test))
    origins = np.array([at for at in range(test, len(y) - HORIZON + 1) if not np.isnan(y[at : at + HORIZON]).any()])
    truth = np.stack([y[at : at + HORIZON] for at in origins])
    filled = pl.Series(y).fill_nan(None).interpolate().fill_null(strategy="backward").fill_null(strategy="forward").to_numpy()
    found = {
        name: errors(np.stack([filled[at - lag : at - lag + HORIZON] for at in origins]), truth)
        for name, lag in (("a day ago", 24), ("a week ago", 168))
    }
    usable = [at for at in range(PAST, test - HORIZON + 1) if not np.isnan(y[at : at + HORIZON]).any()]
    x = np.stack([filled[at - PAST : at] for at in [*usable, *origins]])
    z = np.stack([filled[at : at + HORIZON] for at in [*usable, *origins]])
    x, z = x - (last := x[:, -1:]), z - last
    learn = np.array([at + HORIZON <= validate for at in usable])
    choose = np.array([at >= validate for at in usable])
    known, count = x[: len(usable)], len(usable)

    def loss(strength: float) -> float:
        model = Ridge(strength).fit(known[learn], z[:count][learn])
        return float(np.square(model.predict(known[choose]) - z[:count][choose]).mean())

    best = min(np.logspace(-2, 7, 10) * np.nanvar(y), key=loss)
    found["linear"] = errors(Ridge(best).fit(known, z[:count]).predict(x[count:]) + last[count:], truth)
    return found


def errors(predicted: Floats, truth: Floats) -> tuple[float, float]:
    """RMSE and MAE."""
    return float(np.sqrt(np.square(predicted - truth).mean())), float(np.abs(predicted - truth).mean())


def ours(table: pl.DataFrame, target: str, budget: int, seed: int) -> tuple[float, float, float, float]:
    """RMSE, MAE, the share of values inside the band of 80 %, and seconds of Titrant."""
    with tempfile.TemporaryDirectory() as scratch:
        table.write_parquet(Path(scratch) / "table.parquet")
        command: list[object] = [titrant(), "fit", Path(scratch) / "table.parquet", "--time", "time", "--target", target]
        command += ["--horizon", HORIZON, "--budget", budget, "--seed", seed, "--quiet", "--out", Path(scratch) / "run"]
        begun = time.monotonic()
        subprocess.run([str(part) for part in command], check=True, capture_output=True)
        seconds = time.monotonic() - begun
        found = json.loads((Path(scratch) / "run" / "evaluation.json").read_text())
    return found["metrics"]["rmse"], found["metrics"]["mae"], found["coverage"], seconds


def page(
    results: dict[str, tuple[list[tuple[float, float, float, float]], dict[str, tuple[float, float]]]], budget: int
) -> str:
    """The Markdown page."""
    sides = list(next(iter(results.values()))[1])
    lines = [
        "# Titrant's forecasts",
        "",
        f"One hourly series a set, {HORIZON} steps ahead, windows of the newest fifth of the time; Titrant had {budget} s.",
        "Values are medians over the seeds, lowest and highest in brackets. What was done stands in `benchmarks/forecasts.py`.",
        "",
        *circumstances(),
    ]
    for place, name in enumerate(("RMSE", "MAE")):
        rows = [
            [set_, shown([one[place] for one in own], ".4g"), *(f"{simple[side][place]:.4g}" for side in sides)]
            for set_, (own, simple) in results.items()
        ]
        lines += ["", f"## {name}", "", *grid(["set", "Titrant", *sides], rows)]
    band = [
        [set_, shown([100 * one[2] for one in own], ".1f"), shown([one[3] for one in own], ".1f")]
        for set_, (own, _) in results.items()
    ]
    lines += ["", "## The band that should hold 80 %", "", *grid(["set", "holds (%)", "seconds of Titrant"], band)]
    return "\n".join(lines) + "\n"


def chosen(names: str) -> list[str]:
    """Reads a comma-separated list of sets.

    Raises:
        argparse.ArgumentTypeError: a set is unknown.
    """
    found = [name.strip() for name in names.split(",")]
    for name in found:
        if name not in SETS:
            raise argparse.ArgumentTypeError(f"there is no set {name!r}; choose of {', '.join(SETS)}")
    return found


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--sets", type=chosen, default=list(SETS), help="names (default: all)")
    found.add_argument("--budget", type=int, default=120, help="seconds for Titrant (default: 120)")
    found.add_argument("--seeds", type=numbers, default=[0], help="one run each (default: 0)")
    found.add_argument("--data", type=Path, default=FOLDER, help="the folder of the tables")
    found.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "forecasts.md")
    return found


def main() -> None:
    """Compares, set after set."""
    given = parser().parse_args()
    results = {}
    for name in given.sets:
        table, target = SETS[name](given.data)
        simple = others(hourly(table, target))
        own = [ours(table, target, given.budget, seed) for seed in given.seeds]
        results[name] = own, simple
        print(f"{name}: {own}, {simple}", flush=True)
        given.out.write_text(page(results, given.budget), encoding="utf-8")
    print(f"Written: {given.out}")


if __name__ == "__main__":
    main()
