"""Titrant on texts, against logistic regression on TF-IDF weights and fastText.

    python benchmarks/text.py --sets cr,trec6 --budget 120 --seeds 0,1,2

For every set all sides get the same training texts and the same wall clock, one after another, each in a process of its own:

1. `titrant fit train.parquet --text text --target label --no-hold-out`, so that all sides learn from the same rows;
2. the sides of `benchmarks/text_peer.py`, which says what each does.

Test texts are those of the official division (column `split`), where there is one; else every fifth row. Validation rows of an
official division belong to the training texts of all sides. Accuracy and log loss are computed here from what each side has
predicted, alike for all.
"""

from pathlib import Path

import polars as pl

from common import ROOT
from sets import Contest, Divided
from text_peer import PEERS

FOLDER = ROOT.parent / "shared" / "data" / "text"
SETS = {name: f"{name}.parquet" for name in ("cr", "sms_spam", "sst2", "trec6")}


def divide(path: Path, place: Path, seed: int) -> Divided:
    """Writes training texts with labels, and test texts without."""
    frame = pl.read_parquet(path)
    official = "split" in frame.columns
    test = frame["split"] == "test" if official else pl.Series(range(frame.height)) % 5 == 4
    train, blind = place / "train.parquet", place / "blind.parquet"
    frame.filter(~test).select("text", "label").write_parquet(train)
    frame.filter(test).select("text").write_parquet(blind)
    truth = frame.filter(test)["label"].cast(pl.String)
    return Divided(train, blind, truth, frame.height - len(truth), ("--target", "label"))


CONTEST = Contest(
    "text", "text_peer.py", "texts", SETS, FOLDER, tuple(PEERS), divide, 120, __doc__ or "",
    ROOT / ".venv-peers-text" / "bin" / "python", ("--text", "text", "--no-hold-out"),
)  # fmt: skip
parser = CONTEST.parser

if __name__ == "__main__":
    CONTEST.main()
