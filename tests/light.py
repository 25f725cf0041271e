"""A search that tests share, where any will do."""

from typing import Any

LIGHT: dict[str, Any] = {
    "recipe": {"model": {"kind": "mlp", "width": 16, "depth": 1}, "stop": {"kind": "last", "epochs": 6}},
    "space": {
        "dropout": ["bernoulli"],
        "dropout.p": {"low": 0.1, "high": 0.4},
        "learning_rate.peak": {"low": 0.001, "high": 0.1},
    },
}
"""A search among small networks: a tenth of the work of one that is free."""
