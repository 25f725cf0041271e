"""Networks that know nothing of Titrant: a small residual network for pictures and a small transformer for series.

    python examples/foreign.py

Each is fitted with surgery: the search may exchange its activations, its normalisation and the dose of its dropout, beside the
optimizer, the learning rate and augmentation, and the width that its factory declares as a dose.
"""

from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

import titrant
from titrant.space import Range


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """[b, inputs, h, w] to [b, outputs, h / stride, w / stride]."""
        y = self.norm2(self.conv2(self.act(self.norm1(self.conv1(x)))))
        out: Tensor = self.act(y + self.shortcut(x))
        return out


def small_resnet(channels: int, classes: int, width: Annotated[int, Range(4, 32, log=True)] = 8) -> nn.Module:
    """Three stages; `width` is a dose."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        Block(width, width, 1),
        Block(width, 2 * width, 2),
        Block(2 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, classes),
    )


class SmallTransformer(nn.Module):
    """Steps as tokens, two layers, and the mean of all tokens."""

    def __init__(self, channels: int, classes: int, width: Annotated[int, Range(8, 64, log=True)] = 16) -> None:
        super().__init__()
        width = 4 * max(2, width // 4)  # heads divide it
        self.embed = nn.Linear(channels, width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[b, channels, steps] to [b, classes]."""
        places = torch.linspace(-1, 1, x.shape[-1], device=x.device)
        tokens = self.embed(x.mT) + places.unsqueeze(-1).cos()
        out: Tensor = self.head(self.encoder(tokens).mean(1))
        return out


def pictures(count: int) -> dict[str, np.ndarray]:
    """Grey pictures, bright on the left or on the right."""
    random = np.random.default_rng(0)
    x, y = random.integers(0, 120, (count, 12, 12), dtype=np.uint8), random.integers(0, 2, count)
    for picture, label in zip(x, y, strict=True):
        picture[:, 6 * label : 6 * label + 6] += 60
    return {"x": x, "y": y}


def series(count: int) -> dict[str, np.ndarray]:
    """Noisy waves, slow or fast."""
    random = np.random.default_rng(0)
    y, steps = random.integers(0, 2, count), np.arange(24)
    waves = np.sin((1 + y[:, None]) * steps / 4 + random.uniform(0, 6, (count, 1)))
    return {"x": (waves + 0.3 * random.normal(size=waves.shape))[:, None].astype(np.float32), "y": y}


def main(count: int = 300, budget: str = "2m", members: int | None = None) -> None:
    """Fits both."""
    for data, factory in ((pictures(count), small_resnet), (series(count), SmallTransformer)):
        run = titrant.fit(
            data,
            model=factory,
            surgery=["normalize", "activation", "dropout"],
            budget=budget,
            members=members,
        )
        recipe = run.recipe
        print(f"{factory.__name__}: {run.summary.metric} {run.summary.score_test:.3f} on held-out rows, {recipe.model.doses}")
        print(f"  normalize {recipe.normalize.kind}, activation {recipe.activation.kind}, dropout {recipe.dropout.kind}")


if __name__ == "__main__":
    main()
