"""Does the doctor's advice inside a search find a good recipe sooner?

    python benchmarks/closed_loop.py

The same search runs twice with the same seed, the same number of recipes and the same first ones: `--search mixed`, and
`--search doctor`, in which recipes with a finding of level "problem" end at the next rung, and remedies for the best take up to
a quarter of each later bracket. Two starts are tried: the default search, whose known recipes are seldom sick, and a wide space
around the plain baseline, with rates from 1e-6 to 1, up to eight layers, three activations and four kinds of first weights,
where sickness is common.

Cost is counted in full trainings (the epochs of all recipes over the epochs of each), not in seconds, so that other work on the
machine does not matter. The score to be reached is what the worse of the two searches has reached at its end, on validation
rows; the final models are judged on held-out rows.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import wilcoxon

import titrant
from common import FOLDER, ROOT, SPLIT, TABLES, chosen, circumstances, grid, numbers, path_of, shown
from titrant.record import MemberRecord, read_members

NAMES = "churn_mlc,cpu_act,magic_telescope,pendigits,seoul_bike,wine_quality"
SIDES = ("mixed", "doctor")
PLAIN: dict[str, Any] = {"model": {"kind": "mlp", "width": 64, "depth": 3}, "stop": {"kind": "last", "epochs": 20}}
WIDE: dict[str, Any] = {
    "learning_rate.peak": {"low": 1e-6, "high": 1.0, "log": True},
    "optimizer": ["sgd", "adam"],
    "activation": ["relu", "sigmoid", "tanh"],
    "initialize": ["default", "he_normal", "lecun_normal", "orthogonal"],
    "normalize": ["off", "batch"],
    "dropout": ["off", "bernoulli"],
    "dropout.p": {"low": 0.0, "high": 0.9},
    "data.scale": ["off", "standardize"],
    "clip": ["off", "norm"],
    "model.depth": {"low": 1, "high": 8},
}
STARTS: dict[str, dict[str, Any]] = {"default": {}, "wide space": {"recipe": PLAIN, "space": WIDE}}


@dataclass(frozen=True)
class Searched:
    """One search: losses so far (lower is better) after each recipe, what they had cost, and the held-out loss."""

    best: list[float]
    cost: list[float]
    tested: float
    remedies: int

    def reached(self, loss: float) -> float:
        """Full trainings until a loss was reached."""
        return next((cost for best, cost in zip(self.best, self.cost, strict=True) if best <= loss), float("inf"))


def searched(frame: pl.DataFrame, target: str, start: dict[str, Any], search: str, seed: int, members: int) -> Searched:
    """Runs one search."""
    with tempfile.TemporaryDirectory() as folder:
        run = titrant.fit(
            frame, target, budget="2h", members=members, seed=seed, search=search, out=Path(folder) / "run", **start
        )
        records = [one for one in read_members(Path(folder) / "run" / "members.jsonl") if one.origin != "refit"]
    sign = -1.0 if run.summary.direction == "maximize" else 1.0
    losses = [np.inf if one.score_validation is None else sign * one.score_validation for one in records]
    tested = np.nan if run.summary.score_test is None else sign * run.summary.score_test
    return Searched(
        best=np.minimum.accumulate(losses).tolist(),
        cost=np.cumsum([share(one) for one in records]).tolist(),
        tested=tested,
        remedies=sum(one.origin == "remedy" for one in records),
    )


def share(record: MemberRecord) -> float:
    """The share of a full training that a recipe took."""
    return float(record.epochs / record.recipe["stop"]["epochs"])


def sample(frame: pl.DataFrame, rows: int, seed: int) -> pl.DataFrame:
    """Some rows, so that hundreds of trainings take minutes."""
    frame = frame.drop(SPLIT, strict=False)
    return frame.sample(min(rows, len(frame)), seed=seed, shuffle=True)


def page(found: dict[tuple[str, str], dict[str, list[Searched]]], options: argparse.Namespace, failed: list[str]) -> str:
    """The Markdown page."""
    lines = [
        "# The doctor inside the search",
        "",
        *(__doc__ or "").strip().split("\n\n")[2].split("\n"),
        "",
        *(__doc__ or "").strip().split("\n\n")[3].split("\n"),
        "",
        *circumstances(),
        f"- {options.rows:,} rows of each table, a fifth of them held out; {options.members} recipes a search; "
        f"seeds {', '.join(map(str, options.seeds))}",
        "",
    ]
    for start in STARTS:
        rows, costs, scores = [], [], []
        for (kind, table), sides in found.items():
            if kind != start:
                continue
            pairs = list(zip(sides["mixed"], sides["doctor"], strict=True))
            ratios = []
            for plain, doctor in pairs:
                goal = max(plain.best[-1], doctor.best[-1])
                ratios.append(doctor.reached(goal) / plain.reached(goal))
            costs += ratios
            scores += [(plain.best[-1] - doctor.best[-1], plain.tested - doctor.tested) for plain, doctor in pairs]
            rows.append(
                [
                    table,
                    shown([abs(one.best[-1]) for one in sides["mixed"]]),
                    shown([abs(one.best[-1]) for one in sides["doctor"]]),
                    shown([abs(one.tested) for one in sides["mixed"]]),
                    shown([abs(one.tested) for one in sides["doctor"]]),
                    shown([float(one.remedies) for one in sides["doctor"]], ".0f"),
                    shown(ratios, ".2f"),
                ]
            )
        if not rows:
            continue
        names = ["table", "validation, mixed", "validation, doctor", "held out, mixed", "held out, doctor", "remedies tried"]
        lines += [f"## Start: {start}", "", *grid([*names, "cost, doctor to mixed"], rows), "", *_told(costs, scores), ""]
    if failed:
        lines += ["## Failed", "", *(f"- {line}" for line in failed), ""]
    return "\n".join(lines)


def _told(costs: list[float], scores: list[tuple[float, float]]) -> list[str]:
    sooner, later = sum(cost < 1 for cost in costs), sum(cost > 1 for cost in costs)
    logarithms = [float(np.log(cost)) for cost in costs]
    chance = float(wilcoxon(logarithms).pvalue) if any(logarithms) else 1.0
    better = [sum(gain > 0 for gain in gains) for gains in zip(*scores, strict=True)]
    worse = [sum(gain < 0 for gain in gains) for gains in zip(*scores, strict=True)]
    return [
        f"The score was reached sooner with the doctor in {sooner}, later in {later} and at the same cost in "
        f"{len(costs) - sooner - later} of {len(costs)} searches; the median of the ratios is {median(costs):.2f} "
        f"(Wilcoxon's signed-rank test on their logarithms: p = {chance:.2g}). At the end the doctor's validation score was "
        f"better in {better[0]} and worse in {worse[0]}, its held-out score better in {better[1]} and worse in {worse[1]}."
    ]


def main() -> None:
    """Runs every pair of searches, and writes the page after each table."""
    parser = argparse.ArgumentParser(description="Does the doctor's advice inside a search find a good recipe sooner?")
    parser.add_argument("--data", type=Path, default=FOLDER, metavar="FOLDER", help="of the tables")
    parser.add_argument("--sets", type=chosen, default=chosen(NAMES), metavar="NAMES", help=f"tables [default: {NAMES}]")
    parser.add_argument("--starts", nargs="+", choices=list(STARTS), default=list(STARTS), help="[default: all]")
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2], metavar="NUMBERS", help="[default: 0,1,2]")
    parser.add_argument("--members", type=int, default=56, metavar="NUMBER", help="recipes of a search [default: 56]")
    parser.add_argument("--rows", type=int, default=1_500, metavar="NUMBER", help="of each table [default: 1500]")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "closed_loop.md", metavar="FILE")
    options = parser.parse_args()
    found: dict[tuple[str, str], dict[str, list[Searched]]] = {}
    failed: list[str] = []
    for start in options.starts:
        for table in options.sets:
            frame = pl.read_parquet(path_of(options.data, table))
            sides: dict[str, list[Searched]] = {side: [] for side in SIDES}
            for seed in options.seeds:
                rows = sample(frame, options.rows, seed)
                try:
                    pair = {
                        side: searched(rows, TABLES[table].target, STARTS[start], side, seed, options.members) for side in SIDES
                    }
                except titrant.errors.TitrantError as error:
                    failed.append(f"{start}, {table}, seed {seed}: {error}")
                    continue
                for side, one in pair.items():
                    sides[side].append(one)
                print(start, table, seed, {side: (one.best[-1], one.tested) for side, one in pair.items()}, file=sys.stderr)
            if sides["mixed"]:
                found[start, table] = sides
            options.out.write_text(page(found, options, failed), encoding="utf-8")
    print(options.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
