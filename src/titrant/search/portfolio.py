"""Where every search starts: the plain baseline, and recipes that are known to be strong on many tables.

Sizes that depend on the data (batch, epochs) follow rules of thumb here; the search may leave them.
"""

from typing import Any

from titrant.recipe import Recipe
from titrant.search.starts import Plan, Start


def suited_batch(rows: int) -> int:
    """A batch size for so many training rows: a power of two up to four times their square root, 32 to 1024.

    Example:
        >>> suited_batch(300), suited_batch(30_000)
        (64, 512)
    """
    size = 32
    while size < 1024 and size * 2 <= 4 * rows**0.5:
        size *= 2
    return size


def suited_epochs(rows: int) -> float:
    """Epochs after which most networks have learned so many rows: many for few rows, few for many, 12 to 400.

    Half as many again gained next to nothing on most tables of 2,400 rows.

    Example:
        >>> suited_epochs(100), round(suited_epochs(30_000)), suited_epochs(10_000_000)
        (400.0, 40, 12.0)
    """
    return float(min(400.0, max(12.0, 40 * (30_000 / max(rows, 1)) ** 0.5)))


def baseline(rows: int) -> Recipe:
    """The plain baseline: a two-layer ReLU network, standardised inputs, Adam, no other trick."""
    return Recipe().replace("stop.epochs", min(50.0, max(12.0, 60 * (30_000 / max(rows, 1)) ** 0.5)))


def portfolio(rows: int) -> list[Recipe]:
    """Strong recipes in the order in which they deserve to be tried."""
    return [_recipe(rows, **slots) for slots in _STRONG]


def start(rows: int) -> Recipe:
    """The recipe around which the default search builds: a modern one, with the data's own batch size and length."""
    return _recipe(rows, **_STRONG[0])


def _recipe(rows: int, **slots: Any) -> Recipe:
    return Recipe.of(
        {
            "batch": {"kind": "fixed", "size": suited_batch(rows)},
            "stop": {"kind": "early", "epochs": suited_epochs(rows), "patience": 0.3},
            **slots,
        }
    )


_PERIODIC = {"scale": "quantile", "categories": "embed", "numbers": {"kind": "periodic", "sigma": 0.3}}
_PIECEWISE = {"scale": "quantile", "categories": "embed", "numbers": {"kind": "piecewise_linear", "bins": 12}}

_TRAINED: dict[str, Any] = {  # what most of them share
    "activation": "silu",
    "initialize": "he_normal",
    "optimizer": {"kind": "adamw", "decay": 0.02},
    "learning_rate": {"peak": 0.004, "warmup": 0.02, "schedule": "cosine"},
    "average": {"kind": "ema", "decay": 0.99},
}

_STRONG: list[dict[str, Any]] = [
    {  # waves for the numbers, after RealMLP (arXiv 2407.04491)
        "data": _PERIODIC,
        "model": {"kind": "mlp", "width": 128, "depth": 3},
        **_TRAINED,
        "dropout": {"kind": "bernoulli", "p": 0.15},
        "regularize": {"label_smoothing": {"epsilon": 0.03}},
    },
    {  # slower waves over evenly scaled numbers: smooth functions
        "data": {"scale": "robust", "categories": "embed", "numbers": {"kind": "periodic", "sigma": 0.1}},
        "model": {"kind": "mlp", "width": 128, "depth": 3},
        **_TRAINED,
        "dropout": {"kind": "bernoulli", "p": 0.1},
    },
    {  # fast waves: values that stand apart, as where most cells are 0 or prices are round (adult: 0.870 for 0.863)
        "data": {**_PERIODIC, "numbers": {"kind": "periodic", "sigma": 5.0}},
        "model": {"kind": "mlp", "width": 128, "depth": 3},
        **_TRAINED,
        "dropout": {"kind": "bernoulli", "p": 0.15},
        "regularize": {"label_smoothing": {"epsilon": 0.03}},
    },
    {  # no embedded numbers: quick, and enough where categories or many plain columns carry the signal
        "data": {"scale": "standardize", "categories": "embed"},
        "model": {"kind": "mlp", "width": 256, "depth": 3},
        **_TRAINED,
        "dropout": {"kind": "bernoulli", "p": 0.25},
        "learning_rate": {"peak": 0.003, "warmup": 0.02, "schedule": "cosine"},
    },
    {  # how far each number lies into its bins
        "data": _PIECEWISE,
        "model": {"kind": "mlp", "width": 128, "depth": 2},
        **_TRAINED,
        "dropout": {"kind": "bernoulli", "p": 0.1},
    },
    {  # waves, and momentum in orthogonal directions
        "data": _PERIODIC,
        "model": {"kind": "mlp", "width": 128, "depth": 3},
        **_TRAINED,
        "dropout": {"kind": "bernoulli", "p": 0.15},
        "optimizer": "muon",
        "learning_rate": {"peak": 0.01, "warmup": 0.02, "schedule": "polynomial"},
        "regularize": {"decay": {"rate": 0.05}, "label_smoothing": {"epsilon": 0.03}},
    },
    {  # many views of one network, after TabM (arXiv 2410.24210)
        "data": _PIECEWISE,
        "model": {"kind": "ensemble", "width": 96, "depth": 2, "views": 4},
        "activation": "silu",
        "initialize": "he_normal",
        "dropout": {"kind": "bernoulli", "p": 0.1},
        "optimizer": {"kind": "adamw", "decay": 0.02},
        "learning_rate": {"peak": 0.004, "schedule": "cosine"},
    },
    {  # a residual network with layer norm
        "data": _PERIODIC,
        "model": {"kind": "residual", "width": 96, "depth": 2, "expansion": 2.0},
        "normalize": "layer",
        "activation": "gelu",
        "dropout": {"kind": "bernoulli", "p": 0.1},
        "optimizer": {"kind": "adamw", "decay": 0.02},
        "learning_rate": {"peak": 0.002, "warmup": 0.05, "schedule": "cosine"},
        "clip": {"kind": "norm", "max_norm": 1.0},
        "average": {"kind": "ema", "decay": 0.99},
    },
    {  # a cocktail of regularisers for small data, after Kadra et al. (arXiv 2106.11189)
        "data": {"scale": "standardize", "categories": "one_hot"},
        "augment": {"mask": {"p": 0.1}},
        "mix": {"kind": "mixup", "alpha": 0.2},
        "model": {"kind": "mlp", "width": 256, "depth": 3},
        "activation": "gelu",
        "dropout": {"kind": "bernoulli", "p": 0.3},
        "optimizer": {"kind": "adamw", "decay": 0.1},
        "learning_rate": {"peak": 0.001, "warmup": 0.05, "schedule": "cosine"},
        "regularize": {"label_smoothing": {"epsilon": 0.05}},
        "average": {"kind": "ema", "decay": 0.995},
    },
]

TABLES = Start("table", baseline, portfolio, suited_batch, Plan())
