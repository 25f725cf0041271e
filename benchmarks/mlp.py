"""Titrant against scikit-learn's tuned MLP, and against its own plain baseline, on real tables.

    python benchmarks/mlp.py --tables adult,abalone --budget 60 --seeds 0,1

For every table and seed the rows are divided once: by the table's official `split` column where it has one (which is then
dropped), else at random, three quarters for training, stratified by class. Three commands get the same training file and the
same wall clock, one after another, each in a process of its own:

1. `titrant fit train.parquet --target ... --budget ...`, which in turn sets a fifth of these rows aside for its own report;
2. `python benchmarks/peer.py`, scikit-learn's MLP, tuned and refitted; its search space stands in that file;
3. `titrant fit` with the plain baseline's recipe (`titrant recipe show`): a two-layer ReLU network, Adam, nothing else.

None of them sees a held-out row before it predicts. Accuracy and log loss, or RMSE and R², are then computed here, alike for
all. The result is a Markdown page, written anew after every table, so that a long run may be interrupted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
from sklearn.metrics import accuracy_score, log_loss, r2_score, root_mean_squared_error
from sklearn.model_selection import train_test_split

from common import (
    FOLDER,
    ROOT,
    SPLIT,
    TABLES,
    Table,
    chosen,
    circumstances,
    complaint,
    grid,
    numbers,
    path_of,
    shown,
    titrant,
)

DEFAULT = "adult,bank_marketing,credit_g,abalone,cpu_act,seoul_bike,letter,obesity,churn_mlc,wine_quality,satimage,house_16H"
SIDES = ("Titrant", "peer", "baseline")
SHARE = 0.25  # of the rows held out where there is no official split


@dataclass
class Scores:
    """What one side reached on one table, a value for each seed.

    Attributes:
        main: accuracy or RMSE on the held-out rows.
        other: log loss or R² on the held-out rows.
        seconds: wall clock, without predicting.
        reported: what Titrant's own report says of the model, on the rows that it set aside itself.
        reported_baseline: what that report says of the plain baseline on the same rows.
        failure: the message of a side that failed.
    """

    main: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    reported: list[float] = field(default_factory=list)
    reported_baseline: list[float] = field(default_factory=list)
    failure: str = ""


Results = dict[str, tuple[dict[str, Scores], int, int]]
"""By table: the scores of each side, the numbers of training and of held-out rows."""


def divide(frame: pl.DataFrame, table: Table, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Training rows and held-out rows, without the column of the official split and without rows that lack the target."""
    frame = frame.drop_nulls(table.target)
    if SPLIT in frame.columns:
        official = frame[SPLIT]
        return frame.filter(official == "train").drop(SPLIT), frame.filter(official == "test").drop(SPLIT)
    strata = frame[table.target].to_numpy() if table.classes else None
    train, test = train_test_split(np.arange(len(frame)), test_size=SHARE, stratify=strata, random_state=seed)
    return frame[train], frame[test]


def score(truth: pl.Series, predictions: pl.DataFrame, classes: bool) -> tuple[float, float]:
    """(accuracy, log loss) of classes, (RMSE, R²) of values."""
    if not classes:
        values = truth.cast(pl.Float64).to_numpy()
        guess = predictions["prediction"].cast(pl.Float64).to_numpy()
        return float(root_mean_squared_error(values, guess)), float(r2_score(values, guess))
    labels = truth.cast(pl.String).to_numpy()
    names = sorted(set(labels) | {name.removeprefix("probability_") for name in predictions.columns[1:]})
    nothing = pl.Series(np.zeros(len(labels)))
    columns = [
        predictions[f"probability_{name}"] if f"probability_{name}" in predictions.columns else nothing for name in names
    ]
    shares = np.stack([column.to_numpy() for column in columns], axis=1).clip(1e-15, 1)
    shares /= shares.sum(axis=1, keepdims=True)
    accuracy = accuracy_score(labels, predictions["prediction"].cast(pl.String).to_numpy())
    return float(accuracy), float(log_loss(labels, shares, labels=names))


def measure(folder: Path, table: Table, side: str, budget: int, seed: int, scores: Scores) -> None:
    """Trains one side on `train.parquet` of the folder, scores it on `test.parquet`, and adds what it reached to `scores`.

    Raises:
        subprocess.CalledProcessError: a command failed.
    """
    out, run = folder / f"{side}.csv", folder / side
    held_out = pl.read_parquet(folder / "test.parquet")
    blind = folder / "blind.parquet"
    held_out.drop(table.target).write_parquet(blind)
    command = {
        "Titrant": [titrant(), "fit", folder / "train.parquet", "--out", run, "--quiet"],
        "baseline": [titrant(), "fit", folder / "train.parquet", "--out", run, "--quiet", "--recipe", folder / "baseline.yaml"],
        "peer": [
            sys.executable, ROOT / "benchmarks" / "peer.py", folder / "train.parquet", blind, "--out", out,
            "--task", "classes" if table.classes else "values",
        ],
    }[side]  # fmt: skip
    begun = time.monotonic()
    said = _call([*command, "--target", table.target, "--budget", budget, "--seed", seed])
    seconds = time.monotonic() - begun
    if side == "peer":
        seconds = json.loads(said)["seconds"]  # without predicting
    else:
        _call([titrant(), "predict", run, blind, "--out", out])
        summary = json.loads((run / "summary.json").read_text())
        metric = "accuracy" if table.classes else "rmse"
        assert summary["metric"] == metric, f"Titrant optimised {summary['metric']} and is compared by {metric}"
        scores.reported += [] if summary["score_test"] is None else [summary["score_test"]]
        scores.reported_baseline += [] if summary["baseline_score_test"] is None else [summary["baseline_score_test"]]
    text = {"prediction": pl.String} if table.classes else None
    main, other = score(held_out[table.target], pl.read_csv(out, schema_overrides=text), table.classes)
    scores.main.append(main)
    scores.other.append(other)
    scores.seconds.append(seconds)


def _call(command: list[object]) -> str:
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


def compare(name: str, folder: Path, budget: int, seeds: list[int]) -> tuple[dict[str, Scores], int, int]:
    """All sides on one table, taking turns seed by seed; with the numbers of training and held-out rows."""
    table = TABLES[name]
    frame = pl.read_parquet(path_of(folder, name))
    found = {side: Scores() for side in SIDES}
    for seed in seeds:
        train, test = divide(frame, table, seed)
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch)
            train.write_parquet(place / "train.parquet")
            test.write_parquet(place / "test.parquet")
            (place / "baseline.yaml").write_text(_call([titrant(), "recipe", "show"]))
            for side, scores in found.items():
                try:
                    measure(place, table, side, budget, seed, scores)
                    said = f"{scores.main[-1]:.5g}, {scores.other[-1]:.5g}, {scores.seconds[-1]:.1f} s"
                except subprocess.CalledProcessError as error:
                    said = scores.failure = complaint(error.stderr)
                print(f"{name}, seed {seed}, {side}: {said}", flush=True)
    return found, len(train), len(test)


def verdict(found: dict[str, Scores], rival: str, classes: bool) -> str:
    """Who is better by the median of accuracy or RMSE."""
    ours, theirs = found["Titrant"], found[rival]
    if not ours.main or not theirs.main:
        return f"{rival if theirs.main else 'Titrant' if ours.main else 'nobody'} (the other failed)"
    gain = median(ours.main) - median(theirs.main) if classes else median(theirs.main) - median(ours.main)
    return "tie" if gain == 0 else "Titrant" if gain > 0 else rival


def page(results: Results, budget: int, seeds: list[int]) -> str:
    """The Markdown page."""
    wins = {
        rival: [verdict(found, rival, TABLES[name].classes) for name, (found, _, _) in results.items()] for rival in SIDES[1:]
    }
    lines = [
        "# Titrant against a tuned MLP of scikit-learn",
        "",
        f"Each side had {budget} s of wall clock and the same training rows; scores are on held-out rows that neither saw.",
        f"Values are medians over {len(seeds)} seed(s), lowest and highest in brackets. What exactly was done stands in",
        "`benchmarks/mlp.py` and `benchmarks/peer.py`.",
        "",
        *circumstances(),
        *(f"- Titrant beats the {rival} on {found.count('Titrant')} of {len(found)} tables." for rival, found in wins.items()),
    ]
    for classes, title, other in (
        (True, "Classes: accuracy, higher is better", "log loss"),
        (False, "Values: root mean squared error, lower is better", "R²"),
    ):
        found = {name: result for name, result in results.items() if TABLES[name].classes == classes}
        if found:
            gain = "difference to peer" if classes else "ratio to peer"
            lines += ["", f"## {title}", ""]
            lines += grid(
                ["table", "rows", "held out", *SIDES, gain, "better of Titrant and peer", "of Titrant and baseline"],
                _main(found),
            )
            lines += ["", f"The same models' {other}, and the seconds that they took:", ""]
            lines += grid(
                ["table", *(f"{other}, {side}" for side in SIDES), *(f"seconds, {side}" for side in SIDES)], _other(found)
            )
            lines += ["", "What Titrant's own report said, on rows of the training file that it set aside:", ""]
            lines += grid(["table", "Titrant", "plain baseline, one network"], _reported(found))
    notes = [f"- {name}: {TABLES[name].note}" for name in results if TABLES[name].note]
    failures = [
        f"- {name}: {side} failed: {scores.failure}"
        for name, (found, _, _) in results.items()
        for side, scores in found.items()
        if scores.failure
    ]
    if notes or failures:
        lines += ["", "## Notes", "", *notes, *failures]
    return "\n".join(lines) + "\n"


def _main(results: Results) -> list[list[str]]:
    rows = []
    for name, (found, train, test) in results.items():
        ours, theirs, classes = found["Titrant"].main, found["peer"].main, TABLES[name].classes
        gain = "-"
        if ours and theirs:
            gain = f"{median(ours) - median(theirs):+.4f}" if classes else f"{median(ours) / median(theirs):.3f}"
        verdicts = [verdict(found, rival, classes) for rival in SIDES[1:]]
        rows.append([name, f"{train:,}", f"{test:,}", *(shown(found[side].main) for side in SIDES), gain, *verdicts])
    return rows


def _other(results: Results) -> list[list[str]]:
    return [
        [name, *(shown(found[side].other) for side in SIDES), *(shown(found[side].seconds, ".1f") for side in SIDES)]
        for name, (found, _, _) in results.items()
    ]


def _reported(results: Results) -> list[list[str]]:
    sides = {name: found["Titrant"] for name, (found, _, _) in results.items()}
    return [[name, shown(ours.reported), shown(ours.reported_baseline)] for name, ours in sides.items()]


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--tables", type=chosen, default=chosen(DEFAULT), help="names, or all (default: twelve tables)")
    found.add_argument("--budget", type=int, default=60, help="seconds for each side (default: 60)")
    found.add_argument("--seeds", type=numbers, default=[0, 1], help="one division and one run each (default: 0,1)")
    found.add_argument("--data", type=Path, default=FOLDER, help="the folder of the Parquet files")
    found.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "mlp.md")
    return found


def main() -> None:
    """Compares, table after table."""
    given = parser().parse_args()
    for name in given.tables:
        path_of(given.data, name)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in given.tables:
        results[name] = compare(name, given.data, given.budget, given.seeds)
        given.out.write_text(page(results, given.budget, given.seeds), encoding="utf-8")
    print(f"Written: {given.out}")


if __name__ == "__main__":
    main()
