"""Titrant on tables, against boosted trees (at defaults, and tuned), RealMLP, TabM, AutoGluon and a tuned MLP.

    python benchmarks/tables.py --sets adult,abalone --budget 60 --seeds 0,1

For every table and seed the rows are divided once: by the table's official `split` column where it has one (which is then
dropped), else at random, three quarters for training, stratified by class. All sides get the same training rows and the same
wall clock, one after another, each in a process of its own:

1. `titrant fit train.parquet --target target --no-hold-out`, so that all sides learn from the same rows;
2. the sides of `benchmarks/table_peer.py`, which says what each does. One that knows no time limit runs to its end, and is cut
   at ten times the budget.

None of them sees a held-out row with its target. Accuracy and log loss (RMSE and R² of values) are computed here from what each
side has predicted, alike for all. The result is a Markdown page, written anew after every run; what stands in the file of
runs beside it is not made again.

Peers are run by the Python of `--peers`, by default that of `make bench-tables-peers`.
"""

from pathlib import Path

import numpy as np
import polars as pl
from sklearn.model_selection import train_test_split

from common import FOLDER, ROOT, SPLIT, TABLES, Table
from sets import Contest, Divided
from table_peer import PEERS

DEFAULT = (
    "adult", "bank_marketing", "credit_g", "abalone", "cpu_act", "seoul_bike", "letter", "obesity", "churn_mlc", "wine_quality",
    "air_quality_co", "house_16H",
)  # fmt: skip
SHARE = 0.25  # of the rows held out where there is no official split


def parted(frame: pl.DataFrame, table: Table, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Training rows and held-out rows, without the column of the official split and without rows that lack the target."""
    frame = frame.drop_nulls(table.target)
    if SPLIT in frame.columns:
        official = frame[SPLIT]
        return frame.filter(official == "train").drop(SPLIT), frame.filter(official == "test").drop(SPLIT)
    strata = frame[table.target].to_numpy() if table.classes else None
    train, test = train_test_split(np.arange(len(frame)), test_size=SHARE, stratify=strata, random_state=seed)
    return frame[train], frame[test]


def divide(path: Path, place: Path, seed: int) -> Divided:
    """Writes training rows, and held-out rows without the target; it is called "target", and is text where it names classes."""
    table = TABLES[path.stem]
    kind = pl.String if table.classes else pl.Float64
    train, test = (
        part.rename({table.target: "target"}).with_columns(pl.col("target").cast(kind))
        for part in parted(pl.read_parquet(path), table, seed)
    )
    files = place / "train.parquet", place / "blind.parquet"
    train.write_parquet(files[0])
    test.drop("target").write_parquet(files[1])
    return Divided(*files, test["target"], train.height, ("--target", "target"), table.classes)


CONTEST = Contest(
    "tables", "table_peer.py", "tables", {name: f"{name}.parquet" for name in TABLES}, FOLDER, tuple(PEERS), divide, 60,
    __doc__ or "", ROOT / ".venv-peers-tables" / "bin" / "python", ("--no-hold-out",), DEFAULT,
    {name: table.note for name, table in TABLES.items() if table.note},
)  # fmt: skip
parser = CONTEST.parser

if __name__ == "__main__":
    CONTEST.main()
