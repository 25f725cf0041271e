"""How well the doctor cures sick recipes, against random search in the same time.

A sickness is put into a healthy recipe and counts only if the recipe is shown to be worse for it (Wilcoxon's signed-rank test
over paired replicates, one-sided, at 0.01). It is then cured by `titrant.cure`. As the peer, the doses that remedies can change
are searched at random around the sick recipe, with the same engine, for as long as the cure took; the best recipe by its score
on tuning rows is taken. All four recipes (healthy, sick, cured, searched) are then trained with fresh seeds and judged on
held-out rows.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import wilcoxon

sys.path[:0] = [str(Path(__file__).parents[1])]

from common import FOLDER, TABLES, chosen, circumstances, grid, path_of  # noqa: E402
from titrant.clock import Clock  # noqa: E402
from titrant.data.learnable import Learnable, read_data  # noqa: E402
from titrant.errors import BudgetError  # noqa: E402
from titrant.evidence.contest import Contest  # noqa: E402
from titrant.evidence.cure import Treatment  # noqa: E402
from titrant.evidence.records import Cure  # noqa: E402
from titrant.evidence.training import Job, Trainings  # noqa: E402
from titrant.recipe import Recipe  # noqa: E402
from titrant.search.pace import Pace  # noqa: E402
from titrant.search.proposers import Random  # noqa: E402
from titrant.search.region import Region  # noqa: E402
from titrant.train.lanes import lanes  # noqa: E402
from titrant.train.metrics import metric_for  # noqa: E402
from titrant.train.workers import Workers  # noqa: E402

RESULTS = Path(__file__).parents[1] / "results" / "cures.md"
HEALTHY = Recipe.of(
    {
        "model": {"kind": "mlp", "width": 64, "depth": 3},
        "batch": {"kind": "fixed", "size": 128},
        "learning_rate": {"peak": 0.002},
        "stop": {"kind": "last", "epochs": 20},
    }
)
SICK: dict[str, dict[str, Any]] = {
    "learning rate x 100": {"learning_rate.peak": 0.2},
    "learning rate x 500": {"learning_rate.peak": 1.0},
    "learning rate / 1000": {"learning_rate.peak": 2e-6},
    "SGD at 1e-5": {"optimizer": "sgd", "learning_rate.peak": 1e-5},
    "eight layers of sigmoid": {"model.depth": 8, "activation": "sigmoid"},
    "eight layers of tanh, large weights": {
        "model.depth": 8, "activation": "tanh", "initialize": {"kind": "xavier_normal", "scale": 3.0},
    },
    "no activation": {"activation": "off"},
    "inputs not scaled": {"data.scale": "off"},
    "dropout 0.9": {"dropout": {"kind": "bernoulli", "p": 0.9}},
    "half an epoch": {"stop.epochs": 0.5},
    "L2 of 1": {"regularize.l2": {"kind": "l2", "strength": 1.0}},
    "norm of the gradient at most 1e-3, SGD": {
        "optimizer": "sgd", "learning_rate.peak": 0.1, "clip": {"kind": "norm", "max_norm": 0.001},
    },
    "wide network, 60 epochs": {"model.width": 256, "stop.epochs": 60.0},
}  # fmt: skip
SEARCHED: dict[str, Any] = {
    "learning_rate.peak": {"low": 1e-5, "high": 0.1},
    "activation": ["relu", "leaky_relu", "silu", "tanh"],
    "normalize": ["off", "batch", "layer"],
    "initialize": ["default", "he_normal", "xavier_normal"],
    "dropout": ["off", "bernoulli"],
    "data.scale": ["off", "standardize", "quantile"],
    "clip": ["off", "norm"],
    "stop.epochs": {"low": 5.0, "high": 60.0},
}
FRESH = 700_000  # the number of the first replicate that judges
REPLICATES = 12
TOGETHER = 16  # recipes that random search trains at a time


@dataclass(frozen=True)
class Row:
    """One sickness on one table; scores as gains, higher is better."""

    sickness: str
    table: str
    healthy: float
    sick: float
    cured: float
    searched: float
    worse: bool
    remedies: str
    seconds: float

    def regained(self, score: float) -> float:
        """Share of what the sickness cost that a score brings back."""
        return (score - self.sick) / (self.healthy - self.sick)

    def cells(self) -> list[str]:
        """A line of the page."""
        shares = [f"{self.regained(self.cured):.0%}", f"{self.regained(self.searched):.0%}"] if self.worse else ["", ""]
        scores = [f"{abs(score):.4g}" for score in (self.healthy, self.sick, self.cured, self.searched)]
        worse = "yes" if self.worse else "no"
        return [self.sickness, self.table, *scores, worse, *shares, self.remedies, f"{self.seconds:.0f}"]


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="python benchmarks/doctor/cures.py"
    )
    made.add_argument("--tables", type=chosen, default=chosen("churn_mlc,pendigits,cpu_act"), help="comma-separated names")
    made.add_argument("--budget", type=float, default=30.0, help="seconds for a cure, and for random search [default: 30]")
    made.add_argument("--data", type=Path, default=FOLDER, help="the folder of the tables")
    made.add_argument("--out", type=Path, default=RESULTS, help="the page to write")
    return made


def sick(changes: dict[str, Any]) -> Recipe:
    """The healthy recipe with a sickness."""
    recipe = HEALTHY
    for path, value in changes.items():
        recipe = recipe.replace(path, value)
    return recipe


def trainings_of(dataset: Learnable, budget: float, workers: Workers) -> Trainings:
    """What trains and judges, for so many seconds from now."""
    cpu = torch.device("cpu")
    pace = Pace(lanes(cpu, [HEALTHY]), workers=workers)
    return Trainings(dataset, metric_for(dataset.schema.task), 0, cpu, Clock.of(budget), pace)


def searched(patient: Recipe, trainings: Trainings) -> Recipe:
    """The best of random recipes around the patient, by their scores on tuning rows."""
    proposer = Random(Region(patient, SEARCHED, only=True), 0)
    sign = 1 if trainings.metric.direction == "maximize" else -1
    best, best_score = patient, -np.inf
    trainings.settle(patient)
    while trainings.clock.left > 0:
        recipes = [proposer.propose() for _ in range(TOGETHER)]
        outcomes = trainings.run([Job(recipe, 0, recipe.stop.epochs) for recipe in recipes], lambda _: None)
        for recipe, outcome in zip(recipes, outcomes, strict=True):
            if outcome is not None and sign * outcome.tuned > best_score:
                best, best_score = recipe, sign * outcome.tuned
    return best


def judged(dataset: Learnable, recipes: dict[str, Recipe], workers: Workers) -> Contest:
    """Fresh replicates of recipes."""
    trainings = trainings_of(dataset, 3600.0, workers)
    contest = Contest(trainings, dict(recipes), lambda *_: None)
    trainings.settle(HEALTHY)
    for name, recipe in recipes.items():
        contest.tuned[name], contest.costs[name] = recipe, trainings.cost(recipe)
    contest.compare(list(recipes), range(FRESH, FRESH + REPLICATES))
    return contest


def compared(sickness: str, table: str, dataset: Learnable, budget: float, workers: Workers) -> Row:
    """Sick, cured, searched and healthy, side by side."""
    patient = sick(SICK[sickness])
    begun = time.monotonic()
    try:
        found = Treatment(trainings_of(dataset, budget, workers), patient, "table", lambda *_: None).run()
        cured, told = Recipe.of(found.cured), kept(found)
    except BudgetError:
        cured, told = patient, "no time for a remedy"
    taken = time.monotonic() - begun
    recipes = {
        "healthy": HEALTHY,
        "sick": patient,
        "cured": cured,
        "searched": searched(patient, trainings_of(dataset, taken, workers)),
    }
    contest = judged(dataset, recipes, workers)
    direction = 1 if contest.trainings.metric.direction == "maximize" else -1
    pairs = [
        (contest.outcomes["healthy"][r].score, contest.outcomes["sick"][r].score) for r in range(FRESH, FRESH + REPLICATES)
    ]
    lost = [direction * (healthy - ill) for healthy, ill in pairs]
    worse = any(lost) and bool(wilcoxon(lost, alternative="greater").pvalue < 0.01) and float(np.mean(lost)) > 0
    means = {name: contest.gain((name, 1.0)).mean for name in recipes}
    return Row(
        sickness, table, means["healthy"], means["sick"], means["cured"], means["searched"],
        worse=worse, remedies=told, seconds=taken,
    )  # fmt: skip


def kept(found: Cure) -> str:
    """The remedies that were kept."""
    return "; ".join(
        f"{remedy.rule}: " + ", ".join(f"{path} {value}" for path, value in remedy.change.items())
        for remedy in found.remedies
        if remedy.kept
    ) or ("no finding" if not found.before else "none kept of " + ", ".join(item.rule for item in found.before))


def main() -> None:
    """Runs everything and writes the page."""
    given = parser().parse_args()
    begun, rows = time.monotonic(), []
    with Workers(lanes(torch.device("cpu"), [HEALTHY]) - 1) as workers:
        for table in given.tables:
            dataset = read_data(path_of(given.data, table), TABLES[table].target, notes=[])
            for sickness in SICK:
                rows.append(compared(sickness, table, dataset, given.budget, workers))
                print(*rows[-1].cells(), sep=" | ", flush=True)
    given.out.write_text(page(rows, time.monotonic() - begun, given.budget), encoding="utf-8")


def page(rows: list[Row], seconds: float, budget: float) -> str:
    """The page."""
    counted = [row for row in rows if row.worse]

    def share(holds: Callable[[Row], bool]) -> str:
        return f"{np.mean([holds(row) for row in counted]):.0%}" if counted else "none"

    summary = [
        ["sicknesses that count", f"{len(counted)} of {len(rows)} tried", ""],
        ["cured: at least 80% of the loss regained", share(lambda row: row.regained(row.cured) >= 0.8), "80%"],
        ["the same by random search", share(lambda row: row.regained(row.searched) >= 0.8), ""],
        ["cured at least as well as by random search", share(lambda row: row.cured >= row.searched), "more than half"],
    ]
    lines = [
        "# Cures of sick recipes",
        "",
        *(__doc__ or "").partition("\n\n")[2].strip().splitlines(),
        "",
        *circumstances(),
        f"- Time: {seconds / 60:.0f} min; {budget:g} s for a cure and for a random search, {REPLICATES} fresh replicates",
        "",
        *grid(["", "figure", "target"], summary),
        "",
        "## Sicknesses",
        "",
        "Scores are means on held-out rows (accuracy, ROC AUC, or RMSE where lower is better).",
        "",
        *grid(
            [
                "sickness",
                "table",
                "healthy",
                "sick",
                "cured",
                "searched",
                "worse",
                "regained by cure",
                "by search",
                "remedies kept",
                "seconds",
            ],
            [row.cells() for row in rows],
        ),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
