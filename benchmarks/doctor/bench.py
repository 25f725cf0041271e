"""How well the doctor tells sick runs from healthy ones: faults put into healthy programs, and healthy programs left alone.

A fault counts only if the program that it was put into is shown to be worse for it: over the seeds, by a one-sided Mann-Whitney
test at 0.01 and an effect of at least half a standard deviation. Runs with the doctor give the same numbers as runs without, so
each run serves for both. Who wrote the rules wrote the faults too: programs by others are the better judge.
"""

import argparse
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import mannwhitneyu

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from faults import FAULTS, Fault  # noqa: E402
from programs import HEALTHY, PROGRAMS, Program, train  # noqa: E402

from common import circumstances, grid  # noqa: E402
from titrant import watch  # noqa: E402
from titrant.doctor.finding import Finding, Findings  # noqa: E402

RESULTS = Path(__file__).parents[1] / "results" / "doctor.md"


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="python benchmarks/doctor/bench.py"
    )
    made.add_argument("--seeds", type=int, default=10, help="runs of each program and fault [default: 10]")
    made.add_argument("--healthy", type=int, default=20, help="runs of each healthy program [default: 20]")
    made.add_argument("--out", type=Path, default=RESULTS, help="the page to write")
    return made


def runs(program: Program, seeds: range) -> list[tuple[float, Findings]]:
    """Scores and findings of a program, one run a seed."""
    found = []
    for seed in seeds:
        score, doctor = train(program, seed, watch)
        found.append((score, doctor.findings))
    return found


def spoiled_layers(fault: Fault, spoiled: Program) -> set[str] | None:
    """The layers that a fault spoils in a program."""
    if fault.layers is None:
        return None
    model = spoiled.model(spoiled.data(0))
    for change in spoiled.alter:
        model = change(model)
    return fault.layers(model)


def worse(mutant: list[float], origin: list[float]) -> bool:
    """True if the mutant's scores are shown to be lower."""
    spread = np.sqrt((np.var(mutant, ddof=1) + np.var(origin, ddof=1)) / 2)
    effect = (np.mean(origin) - np.mean(mutant)) / max(spread, 1e-9)
    return bool(effect >= 0.5 and mannwhitneyu(mutant, origin, alternative="less").pvalue < 0.01)


def alarms(findings: Findings) -> list[Finding]:
    """Findings that are more than notes."""
    return [found for found in findings if found.level != "note"]


def grave(findings: list[Finding]) -> bool:
    """True if there is a problem among them."""
    return any(found.level == "problem" for found in findings)


def points_to(finding: Finding, layers: set[str]) -> bool:
    """Whether a finding's place is one of some layers, or one of their weights."""
    words = {word.strip(".") for word in re.findall(r"[\w.]+", finding.where)}
    return any(word == layer or word.startswith(f"{layer}.") for word in words for layer in layers)


def judged(fault: Fault, results: list[tuple[float, Findings]], layers: set[str] | None) -> dict[str, float]:
    """Shares of the runs: any problem; any problem or warning; a right rule among these; a right rule first; a right layer.

    The layer is that of the first finding by a right rule; there is no share where the fault does not spoil single layers.
    """
    every = [alarms(findings) for _, findings in results]
    right = [[item for item in found if item.rule in fault.rules] for found in every]
    place = {} if layers is None else {"layer": float(np.mean([bool(f) and points_to(f[0], layers) for f in right]))}
    return {
        "found": float(np.mean([bool(found) for found in every])),
        "problem": float(np.mean([grave(found) for found in every])),
        "named": float(np.mean([bool(found) for found in right])),
        "first": float(np.mean([bool(found) and found[0].rule in fault.rules for found in every])),
        **place,
    }


@dataclass(frozen=True)
class Row:
    """One fault in one program; `shares` is None where it is not shown to do harm."""

    fault: str
    program: str
    before: float
    after: float
    shares: dict[str, float] | None
    first: str

    def cells(self) -> list[str]:
        """A line of the page."""
        shares = ["no", *[""] * 5]
        if self.shares is not None:
            shares = ["yes", *(f"{share:.0%}" for share in self.shares.values()), *[""] * (5 - len(self.shares))]
        return [self.fault, self.program, f"{self.before:.3f}", f"{self.after:.3f}", *shares, self.first]


def main() -> None:
    """Runs everything and writes the page."""
    given = parser().parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    seeds = range(given.seeds)
    origins = {program.name: [score for score, _ in runs(program, seeds)] for program in PROGRAMS}
    rows = []
    for fault in FAULTS:
        for program in PROGRAMS:
            spoiled = fault.spoil(program)
            if spoiled is None:
                continue
            results = runs(spoiled, seeds)
            before, after = origins[program.name], [score for score, _ in results]
            first = Counter(findings[0].rule if findings else "nothing" for _, findings in results).most_common(1)[0][0]
            shares = judged(fault, results, spoiled_layers(fault, spoiled)) if worse(after, before) else None
            rows.append(Row(fault.name, program.name, float(np.mean(before)), float(np.mean(after)), shares, first))
            print(*rows[-1].cells(), sep=" | ", flush=True)
    healthy = {program.name: runs(program, range(1000, 1000 + given.healthy)) for program in HEALTHY}
    given.out.write_text(page(rows, healthy, time.monotonic() - began, given.seeds), encoding="utf-8")


def page(rows: list[Row], healthy: dict[str, list[tuple[float, Findings]]], seconds: float, seeds: int) -> str:
    """The page."""
    counted = [row.shares for row in rows if row.shares is not None]
    kept = {name: np.mean([shares[name] >= 0.5 for shares in counted]) for name in ("found", "problem", "named", "first")}
    places = [shares["layer"] for shares in counted if "layer" in shares]
    every = [alarms(findings) for results in healthy.values() for _, findings in results]
    summary = [
        ["faults that count", f"{len(counted)} of {len(rows)} tried, {seeds} seeds each", ""],
        ["found: a problem or warning in most seeds", f"{kept['found']:.0%}", "90%"],
        ["found as a problem", f"{kept['problem']:.0%}", ""],
        ["rightly named among the findings", f"{kept['named']:.0%}", "80%"],
        ["rightly named by the first finding", f"{kept['first']:.0%}", ""],
        ["right layer, of faults of single layers", f"{np.mean([share >= 0.5 for share in places]):.0%} of {len(places)}", ""],
        ["healthy runs with a problem", f"{np.mean([grave(found) for found in every]):.1%} of {len(every)}", "5%"],
        ["healthy runs with a problem or warning", f"{np.mean([bool(found) for found in every]):.1%}", ""],
    ]
    names = [
        "fault",
        "program",
        "score",
        "with fault",
        "worse",
        "found",
        "as problem",
        "named",
        "first",
        "layer",
        "first finding, mostly",
    ]
    lines = [
        "# The doctor on sick and on healthy runs",
        "",
        *(__doc__ or "").strip().splitlines()[2:],
        "",
        *circumstances(),
        f"- Time: {seconds / 60:.0f} min",
        "",
        *grid(["", "figure", "target"], summary),
        "",
        "## Faults",
        "",
        "Shares of the seeds. *worse* says whether the fault is shown to do harm; where not, no finding is owed.",
        "",
        *grid(names, [row.cells() for row in rows]),
        "",
        "## Healthy programs",
        "",
        *grid(
            ["program", "mean score", "with a problem", "with a problem or warning", "which"],
            [_healthy_row(name, results) for name, results in healthy.items()],
        ),
    ]
    return "\n".join(lines) + "\n"


def _healthy_row(name: str, results: list[tuple[float, Findings]]) -> list[str]:
    found = [alarms(findings) for _, findings in results]
    which = Counter(f"{item.rule} ({item.level})" for items in found for item in items)
    return [
        name,
        f"{np.mean([score for score, _ in results]):.3f}",
        f"{np.mean([grave(items) for items in found]):.0%}",
        f"{np.mean([bool(items) for items in found]):.0%}",
        ", ".join(f"{rule} {count}" for rule, count in which.most_common()),
    ]


if __name__ == "__main__":
    main()
