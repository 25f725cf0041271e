"""What benchmarks on sets of any kind of data share: sides that take turns on a set, and the page of their scores.

Test rows are kept from all sides; each predicts them without labels, and scores are computed here.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
from sklearn.metrics import accuracy_score, log_loss, r2_score, root_mean_squared_error

from common import ROOT, circumstances, complaint, grid, numbers, shown, titrant

CUT = 10  # times the budget; a side that knows no time limit may take as long
PYTHON = ROOT / ".venv-peers" / "bin" / "python"


@dataclass
class Scores:
    """What one side reached on one set, a value for each seed.

    Attributes:
        main: accuracy on the test rows; RMSE where values are predicted.
        other: log loss, or R².
        seconds: wall clock, without predicting.
        failure: the message of a side that failed.
    """

    main: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failure: str = ""


@dataclass(frozen=True)
class Divided:
    """A set, divided for a contest.

    Args:
        train: the file to learn from.
        blind: the test rows, without labels.
        truth: their labels.
        rows: of `train`.
        target: the option that names the target, where it takes one.
        classes: False where values are predicted.
    """

    train: Path
    blind: Path
    truth: pl.Series
    rows: int
    target: tuple[str, ...] = ()
    classes: bool = True


Results = dict[str, tuple[dict[str, Scores], int, int, bool]]
"""By set: the scores of each side, the numbers of training and of test rows, and whether these are classes."""


@dataclass(frozen=True)
class Contest:
    """A benchmark.

    Args:
        name: of its script, and of its page.
        script: of the other sides.
        what: its sets are: "pictures", "series".
        sets: the file or folder of each.
        data: the folder of the sets.
        peers: the other sides.
        divide: cuts a set into files in a folder; the seed decides where a set has no official division.
        budget: seconds for each side.
        python: of the other sides.
        options: of `titrant fit`, beyond data, budget and seed.
        doc: what `--help` says.
        default: the sets that are taken where none is named; all where this is empty.
        notes: what a reader of a set's scores should know.
    """

    name: str
    script: str
    what: str
    sets: dict[str, str]
    data: Path
    peers: tuple[str, ...]
    divide: Callable[[Path, Path, int], Divided]
    budget: int
    doc: str
    python: Path = PYTHON
    options: tuple[str, ...] = ()
    default: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def sides(self) -> tuple[str, ...]:
        """Who takes part."""
        return ("Titrant", *self.peers)

    def chosen(self, names: str) -> list[str]:
        """Reads a comma-separated list of sets; `all` names every one.

        Raises:
            argparse.ArgumentTypeError: a set is unknown.
        """
        found = list(self.sets) if names == "all" else [name.strip() for name in names.split(",")]
        for name in found:
            if name not in self.sets:
                raise argparse.ArgumentTypeError(f"there is no set {name!r}; choose of {', '.join(self.sets)}")
        return found

    def parser(self) -> argparse.ArgumentParser:
        """The arguments."""
        found = argparse.ArgumentParser(description=self.doc, formatter_class=argparse.RawDescriptionHelpFormatter)
        taken = list(self.default or self.sets)
        found.add_argument(
            "--sets", type=self.chosen, default=taken, help=f"names, or all (default: {len(taken)} of {len(self.sets)})"
        )
        found.add_argument("--sides", nargs="+", choices=self.sides, default=list(self.sides), help="who (default: all)")
        found.add_argument("--budget", type=int, default=self.budget, help=f"seconds for each side (default: {self.budget})")
        found.add_argument("--seeds", type=numbers, default=[0], help="one run each (default: 0)")
        found.add_argument("--data", type=Path, default=self.data, help="the folder of the sets")
        found.add_argument("--peers", type=Path, default=self.python, help="the Python that has the peers' libraries")
        found.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / f"{self.name}.md")
        return found

    def main(self) -> None:
        """Compares, set after set; the page is written anew after each."""
        given = self.parser().parse_args()
        paths = {name: path_of(given.data, self.sets[name]) for name in given.sets}
        given.out.parent.mkdir(parents=True, exist_ok=True)
        results: Results = {}
        for name, path in paths.items():
            results[name] = self.compare(path, given.sides, given.peers, given.budget, given.seeds)
            given.out.write_text(self.page(results, given.budget, given.seeds), encoding="utf-8")
        print(f"Written: {given.out}")

    def compare(
        self, path: Path, sides: list[str], python: Path, budget: int, seeds: list[int]
    ) -> tuple[dict[str, Scores], int, int, bool]:
        """All sides on one set, taking turns seed by seed; with the numbers of training and test rows."""
        found = {side: Scores() for side in sides}
        for seed in seeds:
            with tempfile.TemporaryDirectory() as scratch:
                divided = self.divide(path, Path(scratch), seed)
                for side, scores in found.items():
                    try:
                        self.measure(divided, side, python, budget, seed, scores)
                        said = f"{scores.main[-1]:.4f}, {scores.other[-1]:.4f}, {scores.seconds[-1]:.1f} s"
                    except subprocess.CalledProcessError as error:
                        said = scores.failure = complaint(error.stderr)
                    except subprocess.TimeoutExpired as error:
                        said = scores.failure = f"cut after {error.timeout:.0f} s"
                    print(f"{path.stem}, seed {seed}, {side}: {said}", flush=True)
        return found, divided.rows, len(divided.truth), divided.classes

    def measure(self, divided: Divided, side: str, python: Path, budget: int, seed: int, scores: Scores) -> None:
        """Trains one side, scores its predictions, and adds what it reached to `scores`.

        Raises:
            subprocess.CalledProcessError: a command failed.
            subprocess.TimeoutExpired: another side took more than `CUT` times the budget.
        """
        folder = divided.train.parent
        out, run = folder / f"{side}-{seed}.csv", folder / f"run-{seed}"
        if side == "Titrant":
            command = [titrant(), "fit", divided.train, *divided.target, *self.options, "--out", run, "--quiet"]
        else:
            command = [python, ROOT / "benchmarks" / self.script, side, divided.train, divided.blind, "--out", out]
        begun = time.monotonic()
        said = _call([*command, "--budget", budget, "--seed", seed], CUT * budget)
        seconds = time.monotonic() - begun
        if side == "Titrant":
            _call([titrant(), "predict", run, divided.blind, "--out", out])
        else:
            seconds = json.loads(said.splitlines()[-1])["seconds"]
        schema = {"prediction": pl.String} if divided.classes else {}
        predicted = pl.read_csv(out, schema_overrides=schema)
        main, other = score(
            divided.truth, predicted.select("prediction", pl.selectors.starts_with("probability_")), divided.classes
        )
        scores.main.append(main)
        scores.other.append(other)
        scores.seconds.append(seconds)

    def page(self, results: Results, budget: int, seeds: list[int]) -> str:
        """The Markdown page."""
        won = sum("Titrant" in best(found, classes) for found, _, _, classes in results.values())
        sides = list(next(iter(results.values()))[0])
        order = {side: [ranks(found, classes)[side] for found, _, _, classes in results.values()] for side in sides}
        values = any(not classes for *_, classes in results.values())
        lines = [
            f"# Titrant on {self.what}",
            "",
            f"Each side had {budget} s of wall clock and the same training part; scores are on the test part, the official one",
            "where there is one, which none has seen.",
            f"Values are medians over {len(seeds)} seed(s), lowest and highest in brackets.",
            f"What was done stands in `benchmarks/{self.name}.py` and `benchmarks/{self.script}`.",
            "",
            *circumstances(),
            f"- Titrant is the best side, or one of the best, on {won} of {len(results)} sets.",
            "",
            "## Accuracy" + (" (RMSE where values are predicted, marked *)" if values else ""),
            "",
            *grid(
                ["set", "train", "test", *sides, "best"],
                [
                    [
                        name if classes else f"{name} *", f"{train:,}", f"{test:,}",
                        *(shown(found[side].main, ".4f" if classes else ".5g") for side in sides),
                        ", ".join(best(found, classes)) or "none",
                    ]
                    for name, (found, train, test, classes) in results.items()
                ],
            ),
            "",
            "Mean rank: " + ", ".join(f"{side} {sum(places) / len(places):.2f}" for side, places in order.items()) + ".",
            "",
            "## Log loss" + (" (R² where values are predicted)" if values else ""),
            "",
            *grid(
                ["set", *sides],
                [[name, *(shown(found[side].other, ".4f") for side in sides)] for name, (found, *_) in results.items()],
            ),
            "",
            "## Seconds until the model was there",
            "",
            *grid(
                ["set", *sides],
                [[name, *(shown(found[side].seconds, ".1f") for side in sides)] for name, (found, *_) in results.items()],
            ),
        ]  # fmt: skip
        notes = [f"- {name}: {self.notes[name]}" for name in results if name in self.notes]
        notes += [
            f"- {name}: {side} failed: {scores.failure}"
            for name, (found, *_) in results.items()
            for side, scores in found.items()
            if scores.failure
        ]
        return "\n".join([*lines, *(["", "## Notes", "", *notes] if notes else [])]) + "\n"


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


def path_of(folder: Path, name: str) -> Path:
    """The file or folder of a set; ends the program with a message if it is not there."""
    path = folder / name
    if not path.exists():
        sys.exit(f"There is no {path}. Name the folder of the sets with --data.")
    return path


def best(found: dict[str, Scores], classes: bool) -> list[str]:
    """The sides with the best median score."""
    reached = {side: median(scores.main) for side, scores in found.items() if scores.main}
    top = (max if classes else min)(reached.values(), default=0.0)
    return [side for side, value in reached.items() if value == top]


def ranks(found: dict[str, Scores], classes: bool) -> dict[str, float]:
    """The place of each side by its median score, from 1; those that are equal share the mean of their places."""
    sign = -1 if classes else 1
    reached = {side: sign * median(scores.main) if scores.main else float("inf") for side, scores in found.items()}
    places = {}
    for side, value in reached.items():
        better, equal = (sum(check) for check in zip(*((v < value, v == value) for v in reached.values()), strict=True))
        places[side] = better + (equal + 1) / 2
    return places


def _call(command: list[object], limit: float | None = None) -> str:
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, timeout=limit).stdout
