"""Where every search starts: the plain baseline, and recipes that are known to be strong on many tables.

Sizes that depend on the data (batch, epochs) follow rules of thumb here; the search may leave them.
"""

from typing import Any

from titrant.recipe import Recipe


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
    """Epochs after which most networks have learned so many rows: many for few rows, few for many, 12 to 200.

    Example:
        >>> suited_epochs(500), round(suited_epochs(30_000)), suited_epochs(10_000_000)
        (200.0, 60, 12.0)
    """
    return float(min(200.0, max(12.0, 60 * (30_000 / max(rows, 1)) ** 0.5)))


def baseline(rows: int) -> Recipe:
    """The plain baseline: a two-layer ReLU network, standardised inputs, Adam, no other trick."""
    return Recipe().replace("stop.epochs", min(50.0, suited_epochs(rows)))


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


_STRONG: list[dict[str, Any]] = [
    {  # a plain modern network
        "data": {"scale": "quantile", "categories": "embed"},
        "model": {"kind": "mlp", "width": 128, "depth": 3},
        "activation": "silu",
        "initialize": "he_normal",
        "dropout": {"kind": "bernoulli", "p": 0.15},
        "optimizer": {"kind": "adamw", "decay": 0.02},
        "learning_rate": {"peak": 0.002, "warmup": 0.05, "schedule": "cosine"},
        "average": {"kind": "ema", "decay": 0.99},
    },
    {  # waves for the numbers, after RealMLP (arXiv 2407.04491)
        "data": {"scale": "robust", "categories": "embed", "numbers": {"kind": "periodic", "sigma": 0.1}},
        "model": {"kind": "mlp", "width": 128, "depth": 3},
        "activation": "mish",
        "initialize": "he_normal",
        "dropout": {"kind": "bernoulli", "p": 0.1},
        "optimizer": {"kind": "adamw", "decay": 0.02},
        "learning_rate": {"peak": 0.004, "warmup": 0.02, "schedule": "cosine"},
        "regularize": {"label_smoothing": {"epsilon": 0.05}},
        "average": {"kind": "ema", "decay": 0.99},
    },
    {  # batch norm and momentum in orthogonal directions
        "data": {"scale": "quantile", "categories": "embed"},
        "model": {"kind": "mlp", "width": 128, "depth": 3},
        "normalize": "batch",
        "dropout": {"kind": "bernoulli", "p": 0.2},
        "initialize": "he_normal",
        "optimizer": "muon",
        "learning_rate": {"peak": 0.01, "warmup": 0.02, "schedule": "polynomial"},
        "regularize": {"decay": {"rate": 0.05}},
        "average": {"kind": "ema", "decay": 0.99},
    },
    {  # a residual network with layer norm
        "data": {"scale": "robust", "categories": "embed"},
        "model": {"kind": "residual", "width": 96, "depth": 3, "expansion": 2.0},
        "normalize": "layer",
        "activation": "gelu",
        "dropout": {"kind": "bernoulli", "p": 0.1},
        "optimizer": {"kind": "adamw", "decay": 0.02},
        "learning_rate": {"peak": 0.001, "warmup": 0.1, "schedule": "cosine"},
        "clip": {"kind": "norm", "max_norm": 1.0},
        "average": {"kind": "ema", "decay": 0.99},
    },
    {  # many views of one network, after TabM (arXiv 2410.24210)
        "data": {"scale": "quantile", "categories": "embed", "numbers": {"kind": "piecewise_linear", "bins": 12}},
        "model": {"kind": "ensemble", "width": 128, "depth": 2, "views": 8},
        "dropout": {"kind": "bernoulli", "p": 0.1},
        "initialize": "he_normal",
        "optimizer": {"kind": "adamw", "decay": 0.02},
        "learning_rate": {"peak": 0.002, "schedule": "cosine"},
        "clip": {"kind": "norm", "max_norm": 1.0},
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
