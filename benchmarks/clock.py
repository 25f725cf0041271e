"""Does `titrant fit` keep its budget? Wall time and peak memory of the whole command.

    python benchmarks/clock.py --budgets 20,60,180 --tables yacht,adult,kddcup99_10pct

Each row is one run of the command as a person types it, measured from outside: from before the process starts until it has
ended, so reading, searching, writing the model and the report are in it. Memory is the largest resident set of that process. A
table's official split is given with `--split-column`.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from common import FOLDER, ROOT, SPLIT, TABLES, chosen, circumstances, complaint, numbers, path_of, titrant

DEFAULT = "yacht,cpu_act,adult,nycflights13,kddcup99_10pct"
ALLOWED = 5.0  # seconds over the budget


@dataclass(frozen=True)
class Measured:
    """One run of the command."""

    table: str
    rows: int
    budget: int
    seconds: float
    mebibytes: float
    result: str


def measure(name: str, folder: Path, budget: int) -> Measured:
    """Runs `titrant fit` once and waits for it."""
    file = path_of(folder, name)
    split = ["--split-column", SPLIT] if SPLIT in pl.read_parquet_schema(file) else []
    with tempfile.TemporaryDirectory() as scratch:
        said, complained = Path(scratch) / "stdout", Path(scratch) / "stderr"
        command = [
            titrant(), "fit", file, "--target", TABLES[name].target, *split,
            "--budget", budget, "--out", Path(scratch) / "run", "--json",
        ]  # fmt: skip
        with said.open("w") as out, complained.open("w") as error:
            begun = time.monotonic()
            process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=error)
            _, status, used = os.wait4(process.pid, 0)  # the usage of this child alone
            seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        result = _result(said.read_text(), complained.read_text(), process.returncode)
    rows = pl.scan_parquet(file).select(pl.len()).collect().item()
    return Measured(name, rows, budget, seconds, used.ru_maxrss / 1024, result)


def _result(said: str, complained: str, code: int) -> str:
    """What came of it, in a few words."""
    if code != 0:
        return f"exit code {code}: {complaint(complained)}"
    summary = json.loads(said)
    score = summary["score_test"]
    shown = "no score" if score is None else f"{summary['metric']} {score:.4g}"
    return f"{shown}; {summary['n_members']} recipes tried; {summary['final']}, {summary['n_networks']} networks"


def page(results: list[Measured]) -> str:
    """The Markdown page."""
    late = [result for result in results if result.seconds > result.budget + ALLOWED]
    lines = [
        "# Wall time of `titrant fit`",
        "",
        "Measured from outside the process, start-up and report included; a negative excess means that it ended early.",
        "",
        *circumstances(),
        f"- Later than the budget + {ALLOWED:.0f} s: {len(late)} of {len(results)} runs.",
        "",
        "| table | rows | budget, s | wall time, s | over budget by, s | peak memory, MiB | result |",
        "|---|---:|---:|---:|---:|---:|---|",
        *(_row(result) for result in results),
    ]
    return "\n".join(lines) + "\n"


def _row(found: Measured) -> str:
    cells = [
        found.table, f"{found.rows:,}", f"{found.budget}", f"{found.seconds:.1f}", f"{found.seconds - found.budget:+.1f}",
        f"{found.mebibytes:,.0f}", found.result,
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--budgets", type=numbers, default=[20, 60, 180], help="seconds (default: 20,60,180)")
    found.add_argument("--tables", type=chosen, default=chosen(DEFAULT), help=f"names, or all (default: {DEFAULT})")
    found.add_argument("--data", type=Path, default=FOLDER, help="the folder of the Parquet files")
    found.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "clock.md")
    return found


def main() -> None:
    """Measures, run after run; the page is written anew after each."""
    given = parser().parse_args()
    for name in given.tables:
        path_of(given.data, name)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    results = []
    for budget in given.budgets:
        for name in given.tables:
            results.append(measure(name, given.data, budget))
            print(results[-1], flush=True)
            given.out.write_text(page(results), encoding="utf-8")
    print(f"Written: {given.out}")


if __name__ == "__main__":
    main()
