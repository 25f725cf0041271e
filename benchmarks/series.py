"""Titrant on series, against MiniRocket, MultiRocket-Hydra, InceptionTime, the default of tsai, and scikit-learn.

    python benchmarks/series.py --sets GunPoint,Adiac --budget 120 --seeds 0,1,2

For every set all sides get the same training series and the same wall clock, one after another, each in a process of its own:

1. `titrant fit train.npz --budget ... --no-hold-out`, so that all sides learn from the same series;
2. the sides of `benchmarks/series_peer.py`, which says what each does.

None of them sees a test label. Accuracy and log loss (RMSE and R² of values) are then computed here from what each side has
predicted, alike for all. The result is a Markdown page, written anew after every run; what stands in the file of runs
beside it is not made again.

Peers are run by the Python of `--peers`, by default that of `make bench-series-peers`: aeon wants other versions of common
libraries than the project does.
"""

from pathlib import Path

import numpy as np
import polars as pl

from common import ROOT
from series_peer import PEERS
from sets import Contest, Divided

FOLDER = ROOT.parent / "shared" / "data" / "series"
SETS = {
    name: f"{name}.npz"
    for name in (
        "ArrowHead", "Adiac", "BasicMotions", "CBF", "Covid3Month", "Crop", "DistalPhalanxOutlineCorrect", "ECGFiveDays",
        "FacesUCR", "GunPoint", "IndoorMovement", "ItalyPowerDemand", "MelbournePedestrian", "MoteStrain", "Plane", "PowerCons",
        "SyntheticControl", "Trace", "TwoPatterns", "Wafer", "WatchShoulder",
    )
}  # fmt: skip


def divide(path: Path, place: Path, seed: int) -> Divided:
    """Writes training series with labels, and test series without, by the official split."""
    with np.load(path, allow_pickle=False) as arrays:
        x, y, part = arrays["x"], arrays["y"], arrays["split"].astype(str)
    train, blind = place / "train.npz", place / "blind.npz"
    np.savez(train, x=x[part == "train"], y=y[part == "train"])
    np.savez(blind, x=x[part == "test"])
    classes = y.dtype.kind in "iuUSb"
    truth = pl.Series(y[part == "test"])
    return Divided(train, blind, truth.cast(pl.String) if classes else truth, int((part == "train").sum()), classes=classes)


PYTHON = ROOT / ".venv-peers-series" / "bin" / "python"
CONTEST = Contest(
    "series", "series_peer.py", "series", SETS, FOLDER, tuple(PEERS), divide, 120, __doc__ or "", PYTHON, ("--no-hold-out",)
)
parser = CONTEST.parser

if __name__ == "__main__":
    CONTEST.main()
