"""What benchmarks on sets of any kind of data share: sides that take turns on a set, and the page of their scores.

Test rows are kept from all sides; each predicts them without labels, and scores are computed here.

Every run of a side on a set is a line of JSON in a file beside the page, and is not made again while that line stands there:
so a comparison of many hours may be interrupted, and is finished on another day. The page is written from these lines.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
from sklearn.metrics import accuracy_score, log_loss, r2_score, root_mean_squared_error

from common import ROOT, complaint, grid, made_with, numbers, shown, titrant

CUT = 10  # times the budget; a side that knows no time limit may take as long
PYTHON = ROOT / ".venv-peers" / "bin" / "python"


@dataclass(frozen=True)
class Run:
    """What one side reached on one set with one seed; a line of the file.

    Args:
        name: of the set.
        side: who.
        seed: of everything random.
        budget: seconds of wall clock that it had.
        rows, test: training rows and test rows.
        classes: False where values are predicted.
        made: the machine and the versions.
        main, other, seconds: see `Scores`; None of a side that failed.
        failure: its message.
    """

    name: str
    side: str
    seed: int
    budget: int
    rows: int
    test: int
    classes: bool
    made: str
    main: float | None = None
    other: float | None = None
    seconds: float | None = None
    failure: str = ""


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


Results = dict[tuple[str, int], tuple[dict[str, Scores], int, int, bool]]
"""By set and budget: the scores of each side, the numbers of training and of test rows, and whether these are classes."""


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
        found.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / f"{self.name}.md", help="the page")
        found.add_argument("--runs", type=Path, help="the file of runs (default: that of the page, ending in .jsonl)")
        found.add_argument("--again", action="store_true", help="make runs that stand in the file once more")
        return found

    def main(self) -> None:
        """Compares, set after set; the page is written anew after each run."""
        given = self.parser().parse_args()
        paths = {name: path_of(given.data, self.sets[name]) for name in given.sets}
        given.out.parent.mkdir(parents=True, exist_ok=True)
        file = given.runs or given.out.with_suffix(".jsonl")
        runs = kept(file)
        for name, path in paths.items():
            for seed in given.seeds:
                sides = [side for side in given.sides if given.again or (name, side, seed, given.budget) not in runs]
                for run in self.compare(name, path, sides, given.peers, given.budget, seed):
                    runs[run.name, run.side, run.seed, run.budget] = run
                    keep(file, runs.values())
                    given.out.write_text(self.page(runs.values()), encoding="utf-8")
        given.out.write_text(self.page(runs.values()), encoding="utf-8")
        print(f"Written: {given.out}")

    def compare(self, name: str, path: Path, sides: list[str], python: Path, budget: int, seed: int) -> Iterator[Run]:
        """Some sides on one set, one after another."""
        if not sides:
            return
        with tempfile.TemporaryDirectory() as scratch:
            divided = self.divide(path, Path(scratch), seed)
            for side in sides:
                run = Run(name, side, seed, budget, divided.rows, len(divided.truth), divided.classes, made_with())
                try:
                    main, other, seconds = self.measure(divided, side, python, budget, seed)
                    run = replace(run, main=main, other=other, seconds=seconds)
                    said = f"{main:.4f}, {other:.4f}, {seconds:.1f} s"
                except subprocess.CalledProcessError as error:
                    said = complaint(error.stderr)
                    run = replace(run, failure=said)
                except subprocess.TimeoutExpired as error:
                    said = f"cut after {error.timeout:.0f} s"
                    run = replace(run, failure=said)
                print(f"{name}, seed {seed}, {side}: {said}", flush=True)
                yield run

    def measure(self, divided: Divided, side: str, python: Path, budget: int, seed: int) -> tuple[float, float, float]:
        """Trains one side and scores its predictions: accuracy and log loss, or RMSE and R², and the seconds that it took.

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
        return main, other, seconds

    def grouped(self, runs: Iterable[Run]) -> Results:
        """Runs by set and budget, in the order of the sets."""
        known = sorted(runs, key=lambda run: (list(self.sets).index(run.name), run.budget, run.seed))
        sides = [side for side in self.sides if any(run.side == side for run in known)]
        found: Results = {}
        for run in known:
            scores, *_ = found.setdefault(
                (run.name, run.budget), ({side: Scores() for side in sides}, run.rows, run.test, run.classes)
            )
            mine = scores[run.side]
            mine.failure = mine.failure or run.failure
            for values, value in ((mine.main, run.main), (mine.other, run.other), (mine.seconds, run.seconds)):
                values += [] if value is None else [value]
        return found

    def page(self, runs: Iterable[Run]) -> str:
        """The Markdown page."""
        runs = list(runs)
        results = {
            f"{name}, {budget} s" if budget != self.budget else name: found
            for (name, budget), found in self.grouped(runs).items()
        }
        made = Counter(run.made for run in runs)
        won = sum("Titrant" in best(found, classes) for found, _, _, classes in results.values())
        sides = list(next(iter(results.values()))[0])
        whole = [
            (found, classes) for found, _, _, classes in results.values() if all(s.main or s.failure for s in found.values())
        ]
        order = {side: [ranks(found, classes)[side] for found, classes in whole] for side in sides}
        values = any(not classes for *_, classes in results.values())
        lines = [
            f"# Titrant on {self.what}",
            "",
            f"Each side had {self.budget} s of wall clock, or what is said, and the same training part; scores are on the test",
            "part, the official one where there is one, which none has seen.",
            f"Values are medians over {len({run.seed for run in runs})} seed(s), lowest and highest in brackets.",
            f"What was done stands in `benchmarks/{self.name}.py` and `benchmarks/{self.script}`.",
            "",
            f"- Command: `python benchmarks/{self.name}.py`; the single runs stand in `{self.name}.jsonl`",
            *(f"- {count} runs: {what}" for what, count in made.items()),
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
            f"Mean rank on the {len(whole)} that all sides have run: "
            + ", ".join(f"{side} {sum(places) / max(1, len(places)):.2f}" for side, places in order.items())
            + ".",
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
        notes = [f"- {name}: {self.notes[name]}" for name in self.sets if name in self.notes and name in {r.name for r in runs}]
        notes += [
            f"- {name}: {side} failed: {scores.failure}"
            for name, (found, *_) in results.items()
            for side, scores in found.items()
            if scores.failure
        ]
        return "\n".join([*lines, *(["", "## Notes", "", *notes] if notes else [])]) + "\n"


def kept(file: Path) -> dict[tuple[str, str, int, int], Run]:
    """Runs of a file by set, side, seed and budget; none where there is no file."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {(run.name, run.side, run.seed, run.budget): run for run in (Run(**json.loads(line)) for line in lines)}


def keep(file: Path, runs: Iterable[Run]) -> None:
    """Writes runs, a line each, so that an interrupted write leaves the file as it was."""
    beside = file.with_suffix(".new")
    beside.write_text("".join(f"{json.dumps(asdict(run))}\n" for run in runs), encoding="utf-8")
    beside.replace(file)


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
