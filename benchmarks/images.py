"""Titrant on pictures, against a tutorial's network, KerasTuner, and the recipes of fastai and timm.

    python benchmarks/images.py --sets fashion_mnist,mnist --budget 300 --seeds 0

For every set all sides get the same training pictures and the same wall clock, one after another, each in a process of its own:

1. `titrant fit train.npz --budget ...`, or of a table of paths and labels for photos, which in turn sets a fifth of these
   pictures aside for its own report;
2. the sides of `benchmarks/image_peer.py`, which says what each does.

None of them sees a test label. Accuracy and log loss are then computed here from what each side has predicted, alike for all.
The result is a Markdown page, written anew after every set, so that a long run may be interrupted.

Peers are run by the Python of `--peers`, by default that of `make bench-peers`; Keras uses TensorFlow if it is there.
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

from common import ROOT, circumstances, complaint, grid, numbers, shown, titrant
from image_peer import PEERS
from mlp import score

FOLDER = ROOT.parent / "shared" / "data" / "images"
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
SETS = {
    "fashion_mnist": "fashion_mnist.npz",
    "mnist": "mnist.npz",
    "cifar10_8k": "cifar10_8k.npz",
    "sign_digits": "sign_digits",
}
SIDES = ("Titrant", *PEERS)


@dataclass
class Scores:
    """What one side reached on one set, a value for each seed.

    Attributes:
        main: accuracy on the test pictures.
        other: log loss on the test pictures.
        seconds: wall clock, without predicting.
        failure: the message of a side that failed.
    """

    main: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failure: str = ""


Results = dict[str, tuple[dict[str, Scores], int, int]]
"""By set: the scores of each side, the numbers of training and of test pictures."""


def chosen(names: str) -> list[str]:
    """Reads a comma-separated list of sets; `all` names every one.

    Raises:
        argparse.ArgumentTypeError: a set is unknown.
    """
    found = list(SETS) if names == "all" else [name.strip() for name in names.split(",")]
    for name in found:
        if name not in SETS:
            raise argparse.ArgumentTypeError(f"there is no set {name!r}; choose of {', '.join(SETS)}")
    return found


def path_of(folder: Path, name: str) -> Path:
    """The file or folder of a set; ends the program with a message if it is not there."""
    path = folder / SETS[name]
    if not path.exists():
        sys.exit(f"There is no {path}. Name the folder of the picture sets with --data.")
    return path


def divide(path: Path, place: Path) -> tuple[Path, Path, pl.Series]:
    """Writes training pictures with labels, and test pictures without, by the official split; returns the test labels too.

    An .npz file holds x, y and split; beside a folder of photos stands NAME_split.csv with file, label and split.
    """
    if path.suffix == ".npz":
        train, blind = place / "train.npz", place / "blind.npz"
        with np.load(path, allow_pickle=False) as arrays:
            x, y, part = arrays["x"], arrays["y"], arrays["split"]
        np.savez(train, x=x[part == "train"], y=y[part == "train"])
        np.savez(blind, x=x[part == "test"])
        return train, blind, pl.Series(y[part == "test"]).cast(pl.String)
    train, blind = place / "train.csv", place / "blind.csv"
    table = pl.read_csv(path.parent / f"{path.name}_split.csv", schema_overrides={"label": pl.String})
    table = table.with_columns((f"{path}/" + pl.col("file")).alias("path"))
    test = table.filter(pl.col("split") == "test")
    table.filter(pl.col("split") != "test").select("path", "label").write_csv(train)
    test.select("path").write_csv(blind)
    return train, blind, test["label"]


def measure(
    train: Path, blind: Path, truth: pl.Series, side: str, python: Path, budget: int, seed: int, scores: Scores
) -> None:
    """Trains one side, scores its predictions, and adds what it reached to `scores`.

    Raises:
        subprocess.CalledProcessError: a command failed.
    """
    out, run = train.parent / f"{side}-{seed}.csv", train.parent / f"run-{seed}"
    if side == "Titrant":
        target = [] if train.suffix == ".npz" else ["--target", "label"]
        command = [titrant(), "fit", train, *target, "--out", run, "--quiet"]
    else:
        command = [python, ROOT / "benchmarks" / "image_peer.py", side, train, blind, "--out", out]
    begun = time.monotonic()
    said = _call([*command, "--budget", budget, "--seed", seed])
    seconds = time.monotonic() - begun
    if side == "Titrant":
        _call([titrant(), "predict", run, blind, "--out", out])
    else:
        seconds = json.loads(said.splitlines()[-1])["seconds"]
    predicted = pl.read_csv(out, schema_overrides={"prediction": pl.String})
    main, other = score(truth, predicted.select("prediction", pl.selectors.starts_with("probability_")), True)
    scores.main.append(main)
    scores.other.append(other)
    scores.seconds.append(seconds)


def _call(command: list[object]) -> str:
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


def compare(path: Path, sides: list[str], python: Path, budget: int, seeds: list[int]) -> tuple[dict[str, Scores], int, int]:
    """All sides on one set, taking turns seed by seed; with the numbers of training and test pictures."""
    found = {side: Scores() for side in sides}
    with tempfile.TemporaryDirectory() as scratch:
        train, blind, truth = divide(path, Path(scratch))
        for seed in seeds:
            for side, scores in found.items():
                try:
                    measure(train, blind, truth, side, python, budget, seed, scores)
                    said = f"{scores.main[-1]:.4f}, {scores.other[-1]:.4f}, {scores.seconds[-1]:.1f} s"
                except subprocess.CalledProcessError as error:
                    said = scores.failure = complaint(error.stderr)
                print(f"{path.stem}, seed {seed}, {side}: {said}", flush=True)
        if train.suffix == ".npz":
            with np.load(train) as arrays:
                return found, len(arrays["y"]), len(truth)
        return found, len(pl.read_csv(train)), len(truth)


def best(found: dict[str, Scores]) -> str:
    """The side with the highest median accuracy."""
    reached = {side: median(scores.main) for side, scores in found.items() if scores.main}
    return max(reached, key=lambda side: reached[side], default="none")


def page(results: Results, budget: int, seeds: list[int]) -> str:
    """The Markdown page."""
    won = sum(best(found) == "Titrant" for found, _, _ in results.values())
    sides = list(next(iter(results.values()))[0])
    lines = [
        "# Titrant on pictures",
        "",
        f"Each side had {budget} s of wall clock and the same training pictures; scores are on the official test pictures,",
        f"which none has seen. Values are medians over {len(seeds)} seed(s), lowest and highest in brackets. What exactly was",
        "done stands in `benchmarks/images.py` and `benchmarks/image_peer.py`.",
        "",
        *circumstances(),
        f"- Titrant is the best side on {won} of {len(results)} sets.",
        "",
        "## Accuracy",
        "",
        *grid(
            ["set", "pictures", "test", *sides, "best"],
            [
                [name, f"{train:,}", f"{test:,}", *(shown(found[side].main, ".4f") for side in sides), best(found)]
                for name, (found, train, test) in results.items()
            ],
        ),
        "",
        "## Log loss",
        "",
        *grid(
            ["set", *sides],
            [[name, *(shown(found[side].other, ".4f") for side in sides)] for name, (found, _, _) in results.items()],
        ),
        "",
        "## Seconds until the model was there",
        "",
        *grid(
            ["set", *sides],
            [[name, *(shown(found[side].seconds, ".1f") for side in sides)] for name, (found, _, _) in results.items()],
        ),
    ]
    failures = [
        f"- {name}: {side} failed: {scores.failure}"
        for name, (found, _, _) in results.items()
        for side, scores in found.items()
        if scores.failure
    ]
    return "\n".join([*lines, *(["", "## Notes", "", *failures] if failures else [])]) + "\n"


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--sets", type=chosen, default=list(SETS), help="names, or all (default: all)")
    found.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES), help="who takes part (default: all)")
    found.add_argument("--budget", type=int, default=300, help="seconds for each side (default: 300)")
    found.add_argument("--seeds", type=numbers, default=[0], help="one run each (default: 0)")
    found.add_argument("--data", type=Path, default=FOLDER, help="the folder of the picture sets")
    found.add_argument("--peers", type=Path, default=PYTHON, help="the Python that has the peers' libraries")
    found.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "images.md")
    return found


def main() -> None:
    """Compares, set after set."""
    given = parser().parse_args()
    paths = {name: path_of(given.data, name) for name in given.sets}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    results: Results = {}
    for name, path in paths.items():
        results[name] = compare(path, given.sides, given.peers, given.budget, given.seeds)
        given.out.write_text(page(results, given.budget, given.seeds), encoding="utf-8")
    print(f"Written: {given.out}")


if __name__ == "__main__":
    main()
