"""How fast are pictures augmented? Pictures a second, against the libraries that people use.

    python benchmarks/augment.py --sides 32,64 --threads 1 --rounds 3

What each library does for each task stands in `benchmarks/augment_side.py`. Each library runs in a process of its own, all of
them in turn, and again in each round. albumentations and Pillow take pictures one at a time, so with two threads they get two
processes at once, as from a `DataLoader`'s workers, whose transfers are not counted.

Libraries that are not installed beside this Python are looked for in the environment of `make bench-peers`; without it they are
left out, and the page says so.
"""

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from augment_side import SIDES, TASKS
from common import ROOT, circumstances, complaint, grid, numbers, shown

PEERS = ROOT / ".venv-peers" / "bin" / "python"
ONE_BY_ONE = ("albumentations", "albumentations_joined", "pillow")
WORDS = {"crop": "mirror and crop", "chain": "five moves", "colour": "five moves and four colours"}

Rates = dict[tuple[str, str, int, int], list[float]]
"""By library, task, side and threads: what each round measured."""


def measure(library: str, threads: int, given: argparse.Namespace, rates: Rates) -> str:
    """Adds what a library does to `rates`; returns a complaint, or nothing."""
    program = PEERS if library != "titrant" and PEERS.exists() else Path(sys.executable)
    processes, each = (threads, 1) if library in ONE_BY_ONE else (1, threads)
    command = [
        str(program), str(ROOT / "benchmarks" / "augment_side.py"), library, "--tasks", ",".join(TASKS),
        "--sides", ",".join(map(str, given.sides)), "--threads", str(each), "--seconds", str(given.seconds),
    ]  # fmt: skip
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(processes)]
    said = [process.communicate() for process in running]
    if any(process.returncode for process in running):
        return f"{library}: {complaint(said[0][1])}"
    for lines in zip(*(out.splitlines() for out, _ in said), strict=True):
        found = [json.loads(line) for line in lines]
        rates[library, found[0]["task"], found[0]["side"], threads].append(sum(one["rate"] for one in found))
    return ""


def run(given: argparse.Namespace) -> Iterator[tuple[Rates, list[str]]]:
    """All measurements so far, and what could not be measured; anew after each round."""
    rates: Rates = defaultdict(list)
    complaints: dict[str, None] = {}
    for turn in range(given.rounds):
        for threads in given.threads:
            for library in given.libraries:
                if said := measure(library, threads, given, rates):
                    complaints[said] = None
        print(f"round {turn + 1} of {given.rounds}: done", flush=True)
        yield rates, list(complaints)


def page(rates: Rates, given: argparse.Namespace, complaints: list[str]) -> str:
    """The Markdown page."""
    lines = [
        "# Speed of picture augmentation",
        "",
        "Pictures a second, from bytes in memory to the batch of numbers that a network reads.",
        f"Medians of {given.rounds} rounds, lowest and highest in brackets. What is done stands in augment_side.py.",
        "",
        *circumstances(),
        *(f"- Not measured: {said}" for said in complaints),
    ]
    peers = [library for library in given.libraries if library != "titrant"]
    for threads in given.threads:
        lines += ["", f"## {threads} thread{'s' * (threads > 1)}", ""]
        rows = []
        for task, words in WORDS.items():
            for side in given.sides:
                ours = rates.get(("titrant", task, side, threads), [])
                theirs = [rates.get((library, task, side, threads), []) for library in peers]
                best = max((median(found) for found in theirs if found), default=0.0)
                ratio = f"{median(ours) / best:.2f}" if ours and best else "-"
                rows.append([words, str(side), shown(ours, ",.0f"), ratio, *(shown(found, ",.0f") for found in theirs)])
        lines += grid(["task", "side", "Titrant", "ratio to the best peer", *peers], rows)
    lines += ["", "## Share of a training step", "", *_shares(rates, given.threads)]
    return "\n".join(lines) + "\n"


def _shares(rates: Rates, threads: list[int]) -> list[str]:
    """What augmentation adds to a step of the residual network of 64 channels at 32 pixels."""
    found = []
    for count in threads:
        step = rates.get(("titrant", "step", 32, count))
        if step:
            shares = {
                words: median(step) / median(ours)
                for task, words in WORDS.items()
                if (ours := rates.get(("titrant", task, 32, count)))
            }
            told = ", ".join(f"{words} {share:.1%}" for words, share in shares.items())
            found.append(
                f"- {count} thread{'s' * (count > 1)}: a step of the residual network of 64 channels takes "
                f"{1e6 / median(step):,.0f} µs for each picture of 32 pixels; of that time, augmentation would take: {told}."
            )
    return found or ["Not measured."]


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--sides", type=numbers, default=[32, 64, 224], help="pixels (default: 32,64,224)")
    found.add_argument("--threads", type=numbers, default=[1, 2], help="(default: 1,2)")
    found.add_argument("--rounds", type=int, default=3)
    found.add_argument("--seconds", type=float, default=1.0, help="for each measurement (default: 1)")
    found.add_argument("--libraries", type=_libraries, default=list(SIDES), help="(default: all)")
    found.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "augment.md")
    return found


def _libraries(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if unknown := set(names) - set(SIDES):
        raise argparse.ArgumentTypeError(f"there is no library {min(unknown)!r}; choose of {', '.join(SIDES)}")
    return names


def main() -> None:
    """Measures, and writes the page."""
    given = parser().parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for rates, complaints in run(given):
        given.out.write_text(page(rates, given, complaints), encoding="utf-8")
    print(f"Written: {given.out}")


if __name__ == "__main__":
    main()
