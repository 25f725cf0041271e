"""Healthy training programs, small enough to be run hundreds of times, with every step that a fault can spoil in plain sight.

A program is data, a model and settings; `train` is the one loop that runs them. A fault (faults.py) changes any of these. The
doctor sees the loop from outside, as it would see anybody's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, make_friedman1
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Parts:
    """Rows for training and for validation: inputs and targets."""

    x: Tensor
    y: Tensor
    x_held: Tensor
    y_held: Tensor


@dataclass
class Program:
    """One training run.

    `loss` takes outputs and targets; `score` likewise, higher is better; `tail` is applied to the model's output in the loop.
    """

    name: str
    data: Callable[[int], Parts]
    model: Callable[[Parts], nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[Tensor, Tensor], float]
    optimizer: str = "Adam"
    rate: float = 1e-3
    epochs: int = 15
    batch: int = 32
    shuffle: bool = True
    zero_grad: bool = True
    zero_grad_late: bool = False
    step: bool = True
    decay: float = 0.0
    training_mode: bool = True
    evaluation_mode: bool = True
    momentum: float = 0.0
    schedule: Callable[[torch.optim.Optimizer], Any] | None = None
    prepare: list[Callable[[Parts], Parts]] = field(default_factory=list)
    """Changes of the data, in order."""
    alter: list[Callable[[nn.Module], nn.Module]] = field(default_factory=list)
    """Changes of the finished model, in order."""
    held_by: Callable[[nn.Module], list[nn.Parameter]] = lambda model: list(model.parameters())


def train(
    program: Program, seed: int, watch: Callable[[nn.Module, torch.optim.Optimizer], Any] | None = None
) -> tuple[float, Any]:
    """Runs a program; its score on validation rows, and what `watch` returned.

    Args:
        program: what to run.
        seed: of weights, order and dropout; the division of the rows too.
        watch: makes a context that is open during training.
    """
    torch.manual_seed(seed)
    parts = program.data(seed)
    for change in program.prepare:
        parts = change(parts)
    model = program.model(parts)
    for change in program.alter:
        model = change(model)
    settings = {"weight_decay": program.decay} | ({"momentum": program.momentum} if program.optimizer == "SGD" else {})
    optimizer = getattr(torch.optim, program.optimizer)(program.held_by(model), lr=program.rate, **settings)
    schedule = program.schedule(optimizer) if program.schedule else None
    loader = DataLoader(TensorDataset(parts.x, parts.y), batch_size=program.batch, shuffle=program.shuffle)
    context = watch(model, optimizer) if watch else None
    if context is not None:
        context.__enter__()
    for _ in range(program.epochs):
        model.train(program.training_mode)
        for x, y in loader:
            if program.zero_grad:
                optimizer.zero_grad()
            loss = program.loss(model(x), y)
            loss.backward()
            if program.zero_grad_late:
                optimizer.zero_grad()
            if program.step:
                optimizer.step()
        if schedule is not None:
            schedule.step()
        model.train(not program.evaluation_mode)
        with torch.no_grad():
            held = model(parts.x_held)
            program.loss(held, parts.y_held)
    if context is not None:
        context.__exit__(None, None, None)
    score = program.score(held, parts.y_held)
    return (score if np.isfinite(score) else -10.0), context


def accuracy(output: Tensor, target: Tensor) -> float:
    """Share of rows whose largest output is their class; two classes may have one output."""
    if output.ndim == 1 or output.shape[1] == 1:
        return float(((output.reshape(-1) > 0) == (target.reshape(-1) > 0.5)).float().mean())
    return float((output.argmax(1) == target).float().mean())


def explained(output: Tensor, target: Tensor) -> float:
    """R squared, no lower than -10."""
    error = ((output - target) ** 2).mean()
    return max(-10.0, float(1 - error / target.var()))


def _split(x: np.ndarray, y: np.ndarray, seed: int, rows: int = 700) -> Parts:
    order = np.random.default_rng(seed).permutation(len(x))[:rows]
    x, y = np.asarray(x, dtype=np.float32)[order], y[order]
    cut = int(len(x) * 0.75)
    return Parts(torch.tensor(x[:cut]), torch.tensor(y[:cut]), torch.tensor(x[cut:]), torch.tensor(y[cut:]))


def _standard(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(0)) / (x.std(0) + 1e-8)


def cancer(seed: int) -> Parts:
    """A table, two classes, as 0.0 and 1.0."""
    x, y = load_breast_cancer(return_X_y=True)
    return _split(_standard(x), y.astype(np.float32)[:, None], seed)


def digits_table(seed: int) -> Parts:
    """A table of 64 pixels, ten classes."""
    x, y = load_digits(return_X_y=True)
    return _split(x / 16, y, seed)


def digits_images(seed: int) -> Parts:
    """Images of 8 by 8, ten classes."""
    x, y = load_digits(return_X_y=True)
    return _split((x / 16).reshape(-1, 1, 8, 8), y, seed)


def friedman(seed: int) -> Parts:
    """A table, a number to predict."""
    x, y = make_friedman1(1200, noise=0.5, random_state=0)
    return _split(_standard(x), _standard(y).astype(np.float32)[:, None], seed, 1000)


def diabetes(seed: int) -> Parts:
    """A small noisy table, a number to predict."""
    x, y = load_diabetes(return_X_y=True)
    return _split(_standard(x), _standard(y).astype(np.float32)[:, None], seed)


def waves(seed: int) -> Parts:
    """Noisy series of two shapes, two classes."""
    random = np.random.default_rng(0)
    time = np.arange(24)
    y = random.integers(0, 2, 800)
    phase, speed = random.uniform(0, 6.3, (800, 1)), random.uniform(0.4, 0.6, (800, 1)) * (1 + 0.5 * y[:, None])
    x = np.sin(time * speed + phase) + 0.3 * random.normal(size=(800, 24))
    return _split(x[..., None], y, seed, 800)


class Series(nn.Module):
    """A GRU and a linear layer on its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(1, 24, batch_first=True)
        self.head = nn.Linear(24, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Series [row, time, 1] to logits [row, 2]."""
        return self.head(self.gru(x)[0][:, -1])


class Functional(nn.Module):
    """A perceptron whose activations are functions, not modules."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(inputs, 48), nn.Linear(48, 48), nn.Linear(48, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Rows [row, feature] to outputs."""
        return self.fc3(functional.relu(self.fc2(functional.relu(self.fc1(x)))))


class Residual(nn.Module):
    """Three blocks with layer normalisation and a skip connection each."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stem = nn.Linear(inputs, 32)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU(), nn.Dropout(0.1), nn.Linear(64, 32)) for _ in range(3)
        )
        self.head = nn.Linear(32, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Rows [row, feature] to outputs."""
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def mlp(*widths: int, activation: type[nn.Module] = nn.ReLU, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers with an activation behind each but the last."""
    layers: list[nn.Module] = []
    for place in range(len(widths) - 1):
        layers.append(nn.Linear(widths[place], widths[place + 1]))
        if place < len(widths) - 2:
            layers += [activation(), *([nn.Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*layers)


def convolutional(parts: Parts) -> nn.Module:
    """Two convolutions with batch normalisation, dropout, and a linear head."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.2), nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip


def _bce(output: Tensor, target: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(output, target)


_entropy = functional.cross_entropy
_error = functional.mse_loss


def _cosine(optimizer: torch.optim.Optimizer) -> Any:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 15)


PROGRAMS = (
    Program("table, two classes", cancer, lambda parts: mlp(30, 32, 32, 1, dropout=0.1), _bce, accuracy, rate=3e-3),
    Program("table, ten classes", digits_table, lambda parts: Functional(64, 10), _entropy, accuracy, rate=2e-3),
    Program("table, a number", friedman, lambda parts: mlp(10, 48, 48, 1, activation=nn.Tanh), _error, explained, rate=5e-3),
    Program("images", digits_images, convolutional, _entropy, accuracy, rate=2e-3, epochs=8),
    Program("series", waves, lambda parts: Series(), _entropy, accuracy, rate=1e-2, epochs=10),
)
"""Those that are spoiled."""

_SGD = {"optimizer": "SGD", "rate": 0.05, "momentum": 0.9, "schedule": _cosine}
HEALTHY = (
    *PROGRAMS,
    Program("SGD, momentum, cosine", digits_table, lambda parts: mlp(64, 64, 64, 10), _entropy, accuracy, **_SGD),
    Program("residual, AdamW", cancer, lambda parts: Residual(30, 1), _bce, accuracy, optimizer="AdamW", rate=2e-3),
    Program("residual, a number", friedman, lambda parts: Residual(10, 1), _error, explained, optimizer="AdamW", rate=2e-3),
    Program("little signal", diabetes, lambda parts: mlp(10, 24, 1, dropout=0.1), functional.l1_loss, explained, rate=3e-3),
    Program("sigmoid", digits_table, lambda parts: mlp(64, 64, 10, activation=nn.Sigmoid), _entropy, accuracy, rate=1e-2),
    Program("linear model", cancer, lambda parts: nn.Linear(30, 1), _bce, accuracy, optimizer="SGD", rate=0.1),
    Program("deep tanh", digits_table, lambda parts: mlp(64, *[48] * 5, 10, activation=nn.Tanh), _entropy, accuracy),
    Program("RMSprop, wide", digits_table, lambda parts: mlp(64, 512, 10), _entropy, accuracy, optimizer="RMSprop"),
)
"""Those that must raise no alarm."""

__all__ = ["HEALTHY", "PROGRAMS", "Parts", "Program", "mlp", "replace", "train"]
