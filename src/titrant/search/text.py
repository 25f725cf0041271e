"""Where a search on texts starts: linear networks on weighted runs of tokens, and networks that read one token after another.

A linear network on weighted counts is the bar on short texts (Wang and Manning 2012, "Baselines and bigrams"), and costs
seconds. Convolutions and recurrent networks see order; without vectors that were trained elsewhere, they need more texts to be
worth it, and the mean of both kinds is often better than either.
"""

from typing import Any

from titrant.recipe import Recipe
from titrant.search.series import suited_batch
from titrant.search.starts import Plan, Start


def suited_epochs(rows: int) -> float:
    """Epochs after which small networks have learned so many texts.

    Example:
        >>> suited_epochs(500), suited_epochs(50_000)
        (28.0, 5.0)
    """
    return float(min(30.0, max(5.0, round(9 * (5000 / max(rows, 1)) ** 0.5))))


def baseline(rows: int) -> Recipe:
    """The plain baseline: convolutions over tokens, ReLU, Adam at its default rate, no other trick."""
    return Recipe.of(
        {
            "data": {"scale": "off"},
            "model": "text_cnn",
            "batch": {"kind": "fixed", "size": 32},
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
                **({"regularize": {"l2": {"strength": max(1e-6, 0.1 / max(rows, 1))}}} if slots["model"] == "linear" else {}),
                "batch": {"kind": "fixed", "size": size},
                "stop": {"kind": "early", "epochs": epochs, "patience": 0.4},
            }
        )
        for slots in _STRONG
    ]


_LINEAR: dict[str, Any] = {
    "model": "linear",
    "optimizer": "adam",
    "learning_rate": {"peak": 0.1, "schedule": "cosine"},
}

_DEEP: dict[str, Any] = {
    "activation": "relu",
    "initialize": "he_normal",
    "optimizer": {"kind": "adamw", "decay": 0.01},
    "learning_rate": {"peak": 0.003, "warmup": 0.05, "schedule": "cosine"},
}

_STRONG: list[dict[str, Any]] = [
    {"data": {"features": "ngrams"}, **_LINEAR},
    {
        "data": {"features": "ngrams"},
        "model": {"kind": "mlp", "width": 64, "depth": 1},
        **_DEEP,
        "learning_rate": {"peak": 0.01, "warmup": 0.05, "schedule": "cosine"},
        "dropout": {"kind": "bernoulli", "p": 0.5},
    },
    {"data": {"features": {"kind": "ngrams", "longest": 3}}, **_LINEAR, "augment": {"token_drop": {"p": 0.2}}},
    {
        "model": {"kind": "text_cnn", "width": 64},
        **_DEEP,
        "dropout": {"kind": "bernoulli", "p": 0.5},
        "augment": {"token_drop": {"p": 0.1}},
    },
    {"data": {"features": {"kind": "ngrams", "of": "pieces"}}, **_LINEAR},
    {
        "model": {"kind": "mlp", "width": 64, "depth": 1},
        **_DEEP,
        "learning_rate": {"peak": 0.01, "warmup": 0.05, "schedule": "cosine"},
        "dropout": {"kind": "bernoulli", "p": 0.5},
        "augment": {"token_drop": {"p": 0.3}},
    },
    {
        "data": {"tokens": {"size": 32}},
        "model": {"kind": "gru", "width": 32},
        **_DEEP,
        "learning_rate": {"peak": 0.01, "warmup": 0.05, "schedule": "cosine"},
        "clip": {"kind": "norm", "max_norm": 1.0},
        "dropout": {"kind": "variational", "p": 0.3},
        "augment": {"embedding_drop": {"p": 0.1}},
    },
]

TEXTS = Start(
    reads="text",
    baseline=baseline,
    portfolio=portfolio,
    batch=suited_batch,
    plan=Plan(
        first=10, later=4, fewest=4, least=0.02, searched=0.7, finals=0.5, folds=3, rungs=(1.0,), paced_by=3, varied=True
    ),
)
