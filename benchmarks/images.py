"""Titrant on pictures, against a tutorial's network, KerasTuner, and the recipes of fastai and timm.

    python benchmarks/images.py --sets fashion_mnist,mnist --budget 300 --seeds 0

For every set all sides get the same training pictures and the same wall clock, one after another, each in a process of its own:

1. `titrant fit train.npz --budget ... --no-hold-out`, or of a table of paths and labels for photos, so that all sides learn
   from the same pictures;
2. the sides of `benchmarks/image_peer.py`, which says what each does.

None of them sees a test label. Accuracy and log loss are then computed here from what each side has predicted, alike for all.
The result is a Markdown page, written anew after every run; what stands in the file of runs beside it is not made again.

Peers are run by the Python of `--peers`, by default that of `make bench-peers`; Keras uses TensorFlow if it is there.
"""

from pathlib import Path

import numpy as np
import polars as pl

from common import ROOT
from image_peer import PEERS
from sets import Contest, Divided

FOLDER = ROOT.parent / "shared" / "data" / "images"
SETS = {
    "fashion_mnist": "fashion_mnist.npz",
    "mnist": "mnist.npz",
    "cifar10_8k": "cifar10_8k.npz",
    "sign_digits": "sign_digits",
}


def divide(path: Path, place: Path, seed: int) -> Divided:
    """Writes training pictures with labels, and test pictures without, by the official split.

    An .npz file holds x, y and split; beside a folder of photos stands NAME_split.csv with file, label and split.
    """
    if path.suffix == ".npz":
        train, blind = place / "train.npz", place / "blind.npz"
        with np.load(path, allow_pickle=False) as arrays:
            x, y, part = arrays["x"], arrays["y"], arrays["split"]
        np.savez(train, x=x[part == "train"], y=y[part == "train"])
        np.savez(blind, x=x[part == "test"])
        return Divided(train, blind, pl.Series(y[part == "test"]).cast(pl.String), int((part == "train").sum()))
    train, blind = place / "train.csv", place / "blind.csv"
    table = pl.read_csv(path.parent / f"{path.name}_split.csv", schema_overrides={"label": pl.String})
    table = table.with_columns((f"{path}/" + pl.col("file")).alias("path"))
    test, rest = table.filter(pl.col("split") == "test"), table.filter(pl.col("split") != "test")
    rest.select("path", "label").write_csv(train)
    test.select("path").write_csv(blind)
    return Divided(train, blind, test["label"], rest.height, ("--target", "label"))


CONTEST = Contest(
    "images", "image_peer.py", "pictures", SETS, FOLDER, tuple(PEERS), divide, 300, __doc__ or "", options=("--no-hold-out",)
)
parser = CONTEST.parser

if __name__ == "__main__":
    CONTEST.main()
