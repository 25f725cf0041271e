"""What watching costs: steps of plain training loops with and without `titrant.watch`, in turn, at its default sampling."""

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path[:0] = [str(Path(__file__).parents[1])]

from common import circumstances, grid  # noqa: E402

from titrant import watch  # noqa: E402

RESULTS = Path(__file__).parents[1] / "results" / "doctor-overhead.md"


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    made = argparse.ArgumentParser(description=__doc__, prog="python benchmarks/doctor/overhead.py")
    made.add_argument("--rounds", type=int, default=5, help="rounds, each with and without [default: 5]")
    made.add_argument("--out", type=Path, default=RESULTS, help="the page to write")
    return made


def perceptron(width: int) -> nn.Module:
    """Three hidden layers."""
    sizes = [32, width, width, width]
    hidden = [layer for a, b in zip(sizes, sizes[1:], strict=False) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(width, 10))


def convolutional() -> nn.Module:
    """Six convolutions with batch normalisation."""
    sizes = [3, 32, 32, 64, 64, 128, 128]
    layers: list[nn.Module] = []
    for place, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False)):
        layers += [nn.Conv2d(a, b, 3, padding=1, stride=1 + place % 2), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def transformer() -> nn.Module:
    """Four encoder layers of width 128 and a linear head."""
    layer = nn.TransformerEncoderLayer(128, 4, 256, batch_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 4, enable_nested_tensor=False), nn.Flatten(), nn.Linear(32 * 128, 10))


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "perceptron, width 64, batch 64": (lambda: perceptron(64), (64, 32), 1500),
    "perceptron, width 512, batch 256": (lambda: perceptron(512), (256, 32), 400),
    "convolutions, 32 x 32, batch 32": (convolutional, (32, 3, 32, 32), 40),
    "transformer, 32 tokens, batch 16": (transformer, (16, 32, 128), 60),
}


def seconds(make: Callable[[], nn.Module], shape: tuple[int, ...], steps: int, watched: bool) -> float:
    """The time of one step in the steady state: the first steps, which are looked at more often, are not counted."""
    model = make()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    x, y = torch.randn(shape), torch.randint(10, shape[:1])
    with watch(model, optimizer) if watched else nullcontext():
        for step in range(steps + 600):
            if step == 600:
                began = time.perf_counter()
            if step < 600 and steps < 100 and step % 10:
                continue
            train(model, optimizer, x, y)
        return (time.perf_counter() - began) / steps


def train(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    """One step."""
    optimizer.zero_grad()
    functional.cross_entropy(model(x), y).backward()
    optimizer.step()


if __name__ == "__main__":
    pass
