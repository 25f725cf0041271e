"""One side of the comparison of searches on tabulated problems; `benchmarks/search.py` calls it.

    python benchmarks/search_peer.py --side tpe --problems lcbench/3945 --seeds 0,1 --budget 100 --data FOLDER

Prints one line of JSON for each problem and seed: the score of the incumbent whenever it has changed, with what had been spent.
The sides, each with its library's defaults:

- `random`: points drawn evenly on each dimension's scale, each trained to its end.
- `tpe`: Optuna's TPE, one point at a time, each trained to its end.
- `random+hyperband`, `tpe+hyperband`: the same, stopped by Optuna's Hyperband at 1, 3, 9 and 27 of 52 epochs.
- `smac`: SMAC3's facade for hyperparameters (random forests, expected improvement), each point trained to its end.
- `smac+hyperband`: SMAC3's facade for several fidelities: the same within Hyperband, from 2 of 52 epochs on.
"""

import argparse
import json
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from surrogates import Ledger, Point, SpentError, problems


def random(ledger: Ledger, seed: int) -> None:
    """Points drawn by chance."""
    generator, space = np.random.default_rng(seed), ledger.problem.space
    while True:
        units = generator.random(len(space))
        ledger.train({name: float(one.at(unit)) for (name, one), unit in zip(space.items(), units, strict=True)})


def optuna(ledger: Ledger, seed: int, *, sampler: str, hyperband: bool = False) -> None:
    """Optuna's samplers and its pruner."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    made = optuna.samplers.TPESampler(seed=seed) if sampler == "tpe" else optuna.samplers.RandomSampler(seed=seed)
    full = ledger.problem.epochs
    pruner = optuna.pruners.HyperbandPruner(1, full, 3) if hyperband else optuna.pruners.NopPruner()
    # Hyperband deals trials to its brackets by the study's name.
    study = optuna.create_study(study_name=f"seed {seed}", direction="maximize", sampler=made, pruner=pruner)
    rungs = [rung for rung in (1, 3, 9, 27) if rung < full] if hyperband else []
    while True:
        trial = study.ask()
        point: Point = {}
        for name, one in ledger.problem.space.items():
            if one.integer:
                point[name] = trial.suggest_int(name, int(one.low), int(one.high), log=one.log)
            else:
                point[name] = trial.suggest_float(name, one.low, one.high, log=one.log)
        for rung in [*rungs, full]:
            score = ledger.train(point, rung)
            trial.report(score, rung)
            if rung < full and trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, score)


def smac(ledger: Ledger, seed: int, *, hyperband: bool = False) -> None:
    """SMAC3's facades."""
    import joblib
    from ConfigSpace import ConfigurationSpace, Float, Integer
    from smac import HyperparameterOptimizationFacade, MultiFidelityFacade, Scenario
    from smac.runhistory.dataclasses import TrialValue

    logging.disable(logging.WARNING)
    space = ConfigurationSpace(seed=seed)
    for name, one in ledger.problem.space.items():
        if one.integer:
            space.add(Integer(name, (int(one.low), int(one.high)), log=one.log))
        else:
            space.add(Float(name, (one.low, one.high), log=one.log))
    full = ledger.problem.epochs

    def objective(config: dict[str, float], seed: int = 0, budget: float | None = None) -> float:
        return -ledger.train(dict(config), full if budget is None else round(budget))

    # Its forests of ten trees otherwise wait for threads most of the time.
    with tempfile.TemporaryDirectory() as folder, joblib.parallel_config("sequential"):
        options = {"deterministic": True, "n_trials": 100_000, "seed": seed, "output_directory": Path(folder)}
        if hyperband:
            scenario = Scenario(space, min_budget=2, max_budget=full, **options)
            facade = MultiFidelityFacade
        else:  # its share of first points hangs on the number of trials
            scenario = Scenario(space, **{**options, "n_trials": round(ledger.budget)})
            facade = HyperparameterOptimizationFacade
        found = facade(scenario, objective, overwrite=True, logging_level=False)
        while True:
            info = found.ask()
            cost = objective(dict(info.config), info.seed or 0, info.budget)
            found.tell(info, TrialValue(cost=cost), save=False)


SIDES: dict[str, Callable[[Ledger, int], None]] = {
    "random": random,
    "tpe": partial(optuna, sampler="tpe"),
    "random+hyperband": partial(optuna, sampler="random", hyperband=True),
    "tpe+hyperband": partial(optuna, sampler="tpe", hyperband=True),
    "smac": smac,
    "smac+hyperband": partial(smac, hyperband=True),
}


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--side", choices=SIDES, required=True)
    found.add_argument("--problems", required=True, help="names, separated by commas")
    found.add_argument("--seeds", required=True, help="whole numbers, separated by commas")
    found.add_argument("--budget", type=float, default=100, help="in full trainings")
    found.add_argument("--data", type=Path, help="the folder of the surrogate of LCBench")
    found.add_argument("--tables", type=Path, help="the folder of the tables of HPOBench")
    return found


def run(side: Callable[[Ledger, int], None], ledger: Ledger, seed: int) -> str:
    """One search to the end of its budget, as a line of JSON."""
    begun = time.perf_counter()
    with suppress(SpentError):
        side(ledger, seed)
    spent = time.perf_counter() - begun
    return json.dumps(
        {"problem": ledger.problem.name, "seed": seed, "steps": ledger.steps, "best": ledger.best, "seconds": spent}
    )


def main() -> None:
    """Runs one side on all problems and seeds."""
    warnings.simplefilter("ignore")
    given = parser().parse_args()
    known = problems(given.data, given.tables)
    for seed in map(int, given.seeds.split(",")):
        for name in given.problems.split(","):
            print(run(SIDES[given.side], Ledger(known[name], given.budget), seed), flush=True)


if __name__ == "__main__":
    main()
