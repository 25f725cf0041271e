"""Find the right dose of every training trick for your data, and prove what each was worth.

    import titrant

    run = titrant.fit("table.csv", target="income", budget="10m")
    run.predict("new.csv")

Names are imported when they are first used: `import titrant` itself is quick.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Threads that wait for one another spin for a few microseconds and then sleep. Sleeping at once made steps twice as long on an
# idle machine; spinning on, as is the default, made them 5 to 20 times as long where another program wanted the same cores.
# The OpenMP runtime reads this when torch is loaded; GNU's, which torch brings on Linux, prefers the count to the policy.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"

_HOMES = {
    "Classifier": "titrant.estimators",
    "Recipe": "titrant.recipe",
    "Regressor": "titrant.estimators",
    "Run": "titrant.job",
    "ablate": "titrant.studies",
    "cure": "titrant.studies",
    "dose": "titrant.studies",
    "export": "titrant.exports",
    "find_batch": "titrant.find",
    "find_hardware": "titrant.find",
    "find_rate": "titrant.find",
    "fit": "titrant.job",
    "load": "titrant.estimators",
    "resume": "titrant.job",
    "watch": "titrant.doctor.watch",
}

__all__ = [
    "Classifier",
    "Recipe",
    "Regressor",
    "Run",
    "ablate",
    "cure",
    "dose",
    "export",
    "find_batch",
    "find_hardware",
    "find_rate",
    "fit",
    "load",
    "resume",
    "watch",
]

if TYPE_CHECKING:
    from titrant.doctor.watch import watch
    from titrant.estimators import Classifier, Regressor, load
    from titrant.exports import export
    from titrant.find import find_batch, find_hardware, find_rate
    from titrant.job import Run, fit, resume
    from titrant.recipe import Recipe
    from titrant.studies import ablate, cure, dose


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'titrant' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
