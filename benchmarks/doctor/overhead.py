"""What watching costs: training loops with and without `titrant.watch`, in turn, at its default sampling.

*all steps* counts a run from its first step, where the doctor looks more often; *later steps* those from step 600 on, as in any
longer run.
"""

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from torch import nn
from torch.nn import functional

sys.path[:0] = [str(Path(__file__).parents[1])]

from common import circumstances, grid  # noqa: E402
from titrant import watch  # noqa: E402

RESULTS = Path(__file__).parents[1] / "results" / "doctor-overhead.md"
WARM = 600


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="python benchmarks/doctor/overhead.py"
    )
    made.add_argument("--rounds", type=int, default=3, help="rounds, each with and without [default: 3]")
    made.add_argument("--out", type=Path, default=RESULTS, help="the page to write")
    return made


def perceptron(width: int) -> nn.Module:
    """Three hidden layers."""
    hidden = [layer for a, b in pairwise([32, width, width, width]) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(width, 10))


def convolutional() -> nn.Module:
    """Three convolutions with batch normalisation."""
    layers: list[nn.Module] = []
    for a, b in pairwise([3, 16, 16, 32]):
        layers += [nn.Conv2d(a, b, 3, padding=1, stride=2), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "perceptron, width 64, batch 64": (lambda: perceptron(64), (64, 32), 3000),
    "perceptron, width 256, batch 128": (lambda: perceptron(256), (128, 32), 1500),
    "convolutions, 32 x 32, batch 32": (convolutional, (32, 3, 32, 32), 1200),
}


def seconds(make: Callable[[], nn.Module], shape: tuple[int, ...], steps: int, watched: bool) -> tuple[float, float]:
    """The time of a step: over all, and over those from `WARM` on."""
    model = make()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    x, y = torch.randn(shape), torch.randint(10, shape[:1])
    with watch(model, optimizer) if watched else nullcontext():
        began = warm = time.perf_counter()
        for step in range(steps):
            if step == WARM:
                warm = time.perf_counter()
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        ended = time.perf_counter()
    return (ended - began) / steps, (ended - warm) / (steps - WARM)


def main() -> None:
    """Measures and writes the page."""
    given = parser().parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, case in CASES.items():
        taken = [(seconds(*case, False), seconds(*case, True)) for _ in range(given.rounds)]
        plain, watched = ([median(pair[at][part] for pair in taken) for part in (0, 1)] for at in (0, 1))
        shares = [f"{watched[part] / plain[part] - 1:+.1%}" for part in (0, 1)]
        rows.append([name, str(case[2]), f"{plain[1] * 1e6:,.0f} µs", f"{watched[1] * 1e6:,.0f} µs", *shares])
        print(*rows[-1], sep=" | ", flush=True)
    names = ["program", "steps", "plain", "watched", "cost, all steps", "cost, later steps"]
    lines = ["# What watching costs", "", *(__doc__ or "").strip().splitlines(), "", *circumstances(), "", *grid(names, rows)]
    given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
