"""Where a search on pictures starts: a plain convolutional network, and recipes that are strong in little time on a CPU.

One training costs minutes where a table's costs seconds. So the search compares few recipes, each trained for a small part of
its full length with the whole of its schedule, and most of the time goes to the final networks of the best one.

Measured on Fashion-MNIST with one core, 52,500 pictures, Muon, linear decay, flips (test accuracy, mirror images averaged):
two convolutions a stage of 16 channels, 8 epochs 93.6 %; one of 24 channels, 8 epochs 93.3 %; residual of 16 channels, 12
epochs 93.5 %, of 24 channels, 5 epochs 93.4 %; each in 150 to 170 seconds of that core.

A fixed first layer that whitens, before two convolutions a stage of 16 channels, with 6,000 pictures, 4 epochs, three seeds, no
mirror images in prediction: on Fashion-MNIST 88.3 % instead of 87.5 %, on CIFAR-10 63.8 % instead of 58.2 %, or 60.2 % where
the network without it trained for as long; with 14 epochs and one seed 68.5 % instead of 63.8 % in the same time. On 1,651
photographs of hands, 2 epochs, the log loss fell from 0.145 to 0.119. Beside batch norm, standardised weights gained nothing
that shows over two seeds, and pictures that grow over training gained time but no accuracy that is certain: the search may try
both, and begins with neither.
"""

from typing import Any

from titrant.recipe import Recipe
from titrant.search.starts import Plan, Start


def suited_batch(rows: int) -> int:
    """A batch size for so many pictures: a power of two from 32 to 256, thirty steps an epoch where there are enough.

    Example:
        >>> suited_batch(1000), suited_batch(50_000)
        (32, 256)
    """
    size = 32
    while size < 256 and rows >= 60 * size:
        size *= 2
    return size


def suited_epochs(rows: int) -> float:
    """Epochs after which small networks have learned so many pictures.

    Example:
        >>> suited_epochs(1000), suited_epochs(60_000)
        (100.0, 16.0)
    """
    return float(min(100.0, max(16.0, 16 * (60_000 / max(rows, 1)) ** 0.5)))


def baseline(rows: int) -> Recipe:
    """The plain baseline: one convolution a stage, ReLU, Adam at its default rate, no other trick."""
    return Recipe.of(
        {
            "model": {"kind": "cnn", "width": 32, "depth": 1},
            "batch": {"kind": "fixed", "size": 64},
            "stop": {"kind": "last", "epochs": suited_epochs(rows)},
        }
    )


def portfolio(rows: int) -> list[Recipe]:
    """Strong recipes in the order in which they deserve to be tried."""
    return [_recipe(rows, **slots) for slots in _STRONG]


def _recipe(rows: int, **slots: Any) -> Recipe:
    return Recipe.of(
        {
            "batch": {"kind": "fixed", "size": suited_batch(rows)},
            "stop": {"kind": "last", "epochs": suited_epochs(rows)},
            **_TRAINED,
            **slots,
        }
    )


_TRAINED: dict[str, Any] = {  # what all of them share
    "normalize": "batch",
    "activation": "relu",
    "initialize": "he_normal",
    "optimizer": {"kind": "muon", "momentum": 0.9, "other_rate": 0.1},
    "learning_rate": {"peak": 0.03, "warmup": 0.15, "schedule": {"kind": "polynomial", "power": 1.0}},
    "regularize": {"label_smoothing": {"epsilon": 0.05}},
}

_WHITENED = {"whiten": {"kind": "patches", "side": 2, "epsilon": 0.02}}
_MIRRORED = {"flip": {"p": 0.5}, "views": "mirror"}  # where left and right mean the same
_MOVED = {"shift": {"share": 0.08}}  # where they do not, as in digits

_STRONG: list[dict[str, Any]] = [
    {"data": _WHITENED, "model": {"kind": "cnn", "width": 16, "depth": 2}, "augment": _MIRRORED},
    {"data": _WHITENED, "model": {"kind": "cnn", "width": 16, "depth": 2}, "augment": _MOVED},
    {"model": {"kind": "resnet", "width": 24, "depth": 1}, "augment": _MIRRORED | _MOVED},
    {"model": {"kind": "resnet", "width": 24, "depth": 1}, "augment": _MOVED},
]

PICTURES = Start(
    reads="image",
    baseline=baseline,
    portfolio=portfolio,
    batch=suited_batch,
    plan=Plan(
        first=6,
        later=4,
        fewest=4,
        least=0.05,
        searched=0.6,
        finals=0.8,
        baseline=0.04,
        folds=2,
        first_final=1.0,
        worthwhile=1.08,
        rivals=False,
        rungs=(1.0,),
        lengthens=True,
    ),
)
