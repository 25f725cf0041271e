"""Where a search on series starts: linear networks on features of random kernels, and convolutions.

Features with a linear output are the bar that deep networks have to beat on most series (Middlehurst et al. 2023, "Bake off
redux", arXiv 2304.13029), and cost seconds. Convolutions learn what such features lack; the mean of both is often better still.

Forecasts start from linear networks and perceptrons on the window, counted from its last value or its mean, which are the bar
there (Zeng et al. 2023, arXiv 2205.13504).
"""

from typing import Any

from titrant.recipe import Recipe
from titrant.search.starts import Plan, Start


def suited_batch(rows: int) -> int:
    """A batch size for so many series: a power of two from 16 to 256, sixteen steps an epoch where there are enough.

    Example:
        >>> suited_batch(60), suited_batch(20_000)
        (16, 256)
    """
    size = 16
    while size < 256 and rows >= 32 * size:
        size *= 2
    return size


def suited_epochs(rows: int) -> float:
    """Epochs after which small convolutional networks have learned so many series.

    Example:
        >>> suited_epochs(100), suited_epochs(60_000)
        (150.0, 15.0)
    """
    return float(min(150.0, max(15.0, round(15 * (25_000 / max(rows, 1)) ** 0.5))))


def baseline(rows: int) -> Recipe:
    """The plain baseline: three convolutions, ReLU, Adam at its default rate, no other trick."""
    return Recipe.of(
        {
            "model": {"kind": "fcn", "width": 32},
            "batch": {"kind": "fixed", "size": 16},
            "stop": {"kind": "last", "epochs": suited_epochs(rows)},
        }
    )


def portfolio(rows: int) -> list[Recipe]:
    """Strong recipes in the order in which they deserve to be tried."""
    size, epochs = suited_batch(rows), suited_epochs(rows)
    return [
        Recipe.of(
            {
                **slots,
                "batch": {"kind": "fixed", "size": size},
                "stop": {"kind": "last", "epochs": min(epochs, 20.0) if slots["model"] == "linear" else epochs},
            }
        )
        for slots in _STRONG
    ]


_LINEAR: dict[str, Any] = {
    "model": "linear",
    "initialize": "ridge",
    "optimizer": {"kind": "adamw", "decay": 0.0},
    "learning_rate": {"peak": 1e-5, "schedule": "cosine"},
}

_CONVOLVED: dict[str, Any] = {
    "normalize": "batch",
    "activation": "relu",
    "initialize": "he_normal",
    "optimizer": {"kind": "adamw", "decay": 0.01},
    "learning_rate": {"peak": 0.003, "warmup": 0.05, "schedule": "cosine"},
}

_STRONG: list[dict[str, Any]] = [
    {"data": {"features": "rocket_hydra"}, **_LINEAR},
    {"model": {"kind": "inception", "width": 16, "depth": 2}, **_CONVOLVED},
    {"data": {"instance": "standard", "features": "rocket_hydra"}, **_LINEAR},
    {
        "model": {"kind": "fcn", "width": 64},
        **_CONVOLVED,
        "augment": {"window_slice": {"share": 0.1}, "jitter": {"std": 0.03}},
        "regularize": {"label_smoothing": {"epsilon": 0.05}},
    },
    {"data": {"features": "minirocket"}, **_LINEAR},
    {
        "data": {"differences": "beside"},
        "model": {"kind": "tcn", "width": 32},
        **_CONVOLVED,
        "dropout": {"kind": "bernoulli", "p": 0.2},
    },
    {"data": {"features": "hydra"}, **_LINEAR},
    {
        "model": {"kind": "gru", "width": 64},
        "optimizer": {"kind": "adamw", "decay": 0.01},
        "learning_rate": {"peak": 0.003, "warmup": 0.05, "schedule": "cosine"},
        "clip": {"kind": "norm", "max_norm": 1.0},
        "dropout": {"kind": "variational", "p": 0.1},
    },
]

_DIRECT: dict[str, Any] = {  # forecasts: networks on the window as one row, counted from the window's own level
    "normalize": "layer",
    "activation": "silu",
    "initialize": "he_normal",
    "optimizer": {"kind": "adamw", "decay": 0.02},
    "learning_rate": {"peak": 0.002, "warmup": 0.05, "schedule": "cosine"},
    "average": {"kind": "ema", "decay": 0.99},
}

_OWN = {"channels": "first"}  # the target's own past
_FINE = {"learning_rate": {"peak": 1e-4, "schedule": "cosine"}}

_FORECASTING: list[dict[str, Any]] = [
    {"data": {**_OWN, "instance": "last"}, **_LINEAR, **_FINE},
    {
        "data": {**_OWN, "instance": "standard"},
        "model": {"kind": "mlp", "width": 128, "depth": 2},
        **_DIRECT,
        "dropout": {"kind": "bernoulli", "p": 0.1},
    },
    {"data": {"instance": "last"}, **_LINEAR, **_FINE},
    {
        "data": {"instance": "standard"},
        "model": {"kind": "mlp", "width": 128, "depth": 2},
        **_DIRECT,
        "dropout": {"kind": "bernoulli", "p": 0.2},
    },
    {"data": {**_OWN, "instance": "last"}, "model": {"kind": "tcn", "width": 32}, **_CONVOLVED},
    {"data": {**_OWN, "instance": "standard"}, **_LINEAR, **_FINE},
    {"data": {"instance": "standard"}, "model": {"kind": "inception", "width": 16, "depth": 1}, **_CONVOLVED},
    {
        "data": {"instance": "last"},
        "model": {"kind": "gru", "width": 64, "pool": "last", "direction": "forward"},
        "optimizer": {"kind": "adamw", "decay": 0.01},
        "learning_rate": {"peak": 0.003, "warmup": 0.05, "schedule": "cosine"},
        "clip": {"kind": "norm", "max_norm": 1.0},
    },
]


def forecasting_epochs(windows: int) -> float:
    """Epochs after which networks have learned so many windows, which overlap.

    Example:
        >>> forecasting_epochs(200), forecasting_epochs(30_000)
        (100.0, 10.0)
    """
    return float(min(100.0, max(10.0, round(10 * (20_000 / max(windows, 1)) ** 0.5))))


def forecasting(windows: int) -> list[Recipe]:
    """Strong recipes for forecasts in the order in which they deserve to be tried."""
    size, epochs = max(32, suited_batch(windows)), forecasting_epochs(windows)
    return [
        Recipe.of(
            {**slots, "batch": {"kind": "fixed", "size": size}, "stop": {"kind": "early", "epochs": epochs, "patience": 0.4}}
        )
        for slots in _FORECASTING
    ]


def plain_forecast(windows: int) -> Recipe:
    """The plain baseline: a linear network on the window as it is, Adam at its default rate."""
    return Recipe.of(
        {
            "model": "linear",
            "batch": {"kind": "fixed", "size": 32},
            "stop": {"kind": "last", "epochs": forecasting_epochs(windows)},
        }
    )


SERIES = Start(
    reads="series",
    baseline=baseline,
    portfolio=portfolio,
    batch=suited_batch,
    plan=Plan(
        first=10,
        later=4,
        fewest=4,
        least=0.02,
        searched=0.7,
        finals=0.55,
        folds=3,
        rungs=(1.0,),
        paced_by=1,
        varied=True,
    ),
)

FORECASTS = Start(
    reads="series",
    baseline=plain_forecast,
    portfolio=forecasting,
    batch=suited_batch,
    plan=Plan(
        first=12, later=6, fewest=4, least=0.02, searched=0.7, finals=0.5, folds=3, rungs=(1.0,), paced_by=1, varied=True
    ),
)
