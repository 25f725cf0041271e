"""How fast is the population engine? Member-steps a second, against the loops that people write and use.

    python benchmarks/engine.py --widths 16,64,256 --members 1,8,32 --rounds 3

What is trained, and how each side does it, stands in `benchmarks/sides.py`. Every measurement is a process of its own; in each
round all sides take their turn on every width, one after another, so that a disturbance of the machine meets all of them. The
page shows medians over the rounds, with the lowest and the highest.

Sides whose library is not installed beside this Python are looked for in the environment of `make bench-peers`; without it they
are left out, and the page says so.
"""

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from common import ROOT, circumstances, complaint, grid, numbers, shown
from sides import SIDES, flops

PEERS = ROOT / ".venv-peers" / "bin" / "python"
STACKED = ("titrant", "vmap")
SINGLE = ("plain", "lightning", "skorch", "keras")
LARGEST = 1 << 27  # learned numbers of all members; four times as many are held
TARGETS = {16: 12.0, 32: 12.0, 64: 5.0, 128: 2.5, 256: 2.0, 512: 2.0}

Rates = dict[tuple[str, int, int], list[float]]
"""By side, width and number of members: what each round measured."""


def fitting(width: int, members: list[int]) -> list[int]:
    """Numbers of members that fit the memory."""
    learned = 32 * width + 2 * width**2 + 10 * width
    return [count for count in members if count * learned <= LARGEST]


def measure(side: str, width: int, members: list[int], seconds: float, rates: Rates) -> str:
    """Adds what one process measures to `rates`; returns a complaint, or nothing."""
    program = PEERS if side in {"lightning", "skorch", "keras"} and PEERS.exists() else Path(sys.executable)
    command = [
        str(program), str(ROOT / "benchmarks" / "sides.py"), side, "--width", str(width),
        "--members", ",".join(map(str, members)), "--seconds", str(seconds),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return f"{side}: {complaint(done.stderr)}"
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            found = json.loads(line)
            rates[side, width, found["members"]].append(found["rate"])
    return ""


def run(
    widths: list[int], members: list[int], rounds: int, seconds: float, sides: list[str]
) -> Iterator[tuple[Rates, list[str]]]:
    """All measurements so far, and what could not be measured; anew after each width."""
    rates: Rates = defaultdict(list)
    complaints: dict[str, None] = {}
    for turn in range(rounds):
        for width in widths:
            for side in ("peak", *sides):
                counts = fitting(width, members) if side in STACKED else [1]
                said = measure(side, width, counts, seconds, rates)
                if said:
                    complaints[said] = None
            print(f"round {turn + 1} of {rounds}, width {width}: done", flush=True)
            yield rates, list(complaints)


def best(rates: Rates, side: str, width: int) -> tuple[int, list[float]]:
    """The number of members at which a side is fastest, and what the rounds measured there."""
    found = {count: values for (name, at, count), values in rates.items() if (name, at) == (side, width)}
    return max(found.items(), key=lambda entry: median(entry[1]), default=(0, []))


def page(rates: Rates, widths: list[int], rounds: int, complaints: list[str]) -> str:
    """The Markdown page."""
    lines = [
        "# Speed of the population engine",
        "",
        "Member-steps a second of a perceptron: three hidden layers, batch norm, ReLU, dropout, clipping, AdamW, batch 256.",
        f"Medians of {rounds} rounds, lowest and highest in brackets. Other sides train one network at a time, `vmap` a stack.",
        "",
        *circumstances(),
        *(f"- Not measured: {said}" for said in complaints),
        "",
        "## Best number of members, against the plain loop",
        "",
    ]
    rows = []
    for width in widths:
        count, ours = best(rates, "titrant", width)
        theirs, peak = rates["plain", width, 1], rates["peak", width, 1]
        if not (ours and theirs and peak):
            continue
        times, share = median(ours) / median(theirs), median(ours) * flops(width) / 1e9 / median(peak)
        bound = median(peak) * 1e9 / flops(width) / median(theirs)
        alone = median(rates["titrant", width, 1]) / median(theirs)
        rows.append(
            [str(width), str(count), shown(ours, ",.0f"), shown(theirs, ",.0f"), f"{times:.2f}", f"{TARGETS.get(width, 1.0):g}",
             f"{alone:.2f}", f"{share:.0%}", f"{bound:.1f}"]
        )  # fmt: skip
    names = ["width", "members", "Titrant", "plain loop", "ratio", "target", "ratio of one member", "share of the peak",
             "ratio at the peak"]  # fmt: skip
    lines += grid(names, rows)
    lines += [
        "",
        "*Share of the peak*: the step's matrix products, as a share of what large ones reached in the same run.",
        "*Ratio at the peak*: the ratio to the plain loop if these products alone took time; no engine can exceed it.",
        "",
        "## Against other loops: member-steps a second, and Titrant's ratio to each",
        "",
    ]
    others = [side for side in ("vmap", *SINGLE[1:]) if any(name == side for name, _, _ in rates)]
    lines += grid(["width", *(name for side in others for name in (side, "ratio"))], [
        [str(width), *(cell for side in others for cell in _against(rates, side, width))] for width in widths
    ])  # fmt: skip
    lines += ["", "## All numbers of members: Titrant's member-steps a second", ""]
    counts = sorted({count for name, _, count in rates if name == "titrant"})
    lines += grid(["width", *map(str, counts)], [
        [str(width), *(shown(rates[("titrant", width, count)], ",.0f") if rates.get(("titrant", width, count)) else "-"
                       for count in counts)] for width in widths
    ])  # fmt: skip
    return "\n".join(lines) + "\n"


def _against(rates: Rates, side: str, width: int) -> list[str]:
    theirs, ours = best(rates, side, width)[1], best(rates, "titrant", width)[1]
    return [shown(theirs, ",.0f"), f"{median(ours) / median(theirs):.2f}"] if theirs and ours else ["-", "-"]


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--widths", type=numbers, default=list(TARGETS), help="units of a hidden layer (default: 16 to 512)")
    found.add_argument("--members", type=numbers, default=[2**n for n in range(10)], help="(default: 1, 2, 4, ... 512)")
    found.add_argument("--rounds", type=int, default=3)
    found.add_argument("--seconds", type=float, default=1.0, help="for each measurement (default: 1)")
    found.add_argument("--sides", default=",".join(["titrant", *SINGLE[:1], "vmap", *SINGLE[1:]]), help="(default: all)")
    found.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "engine.md")
    return found


def main() -> None:
    """Measures, and writes the page."""
    given = parser().parse_args()
    sides = [side.strip() for side in given.sides.split(",")]
    if unknown := set(sides) - set(SIDES):
        sys.exit(f"There is no side {min(unknown)!r}; choose of {', '.join(SIDES)}")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for rates, complaints in run(given.widths, given.members, given.rounds, given.seconds, sides):
        given.out.write_text(page(rates, given.widths, given.rounds, complaints), encoding="utf-8")
    print(f"Written: {given.out}")


if __name__ == "__main__":
    main()
