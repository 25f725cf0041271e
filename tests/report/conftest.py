"""Run folders as `fit` leaves them, made up: two classes, twenty-six, numbers, and with hostile names."""

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import yaml

from titrant.evidence.records import Ablation, ArmRecord, Cost, Difference, Effect, Level, Pair, Response, Share
from titrant.record import (
    ColumnSummary,
    DataSummary,
    Evaluation,
    MemberRecord,
    Point,
    Receipt,
    Summary,
    Task,
    write_members,
    write_text,
)

HOSTILE = "<script>alert(1)</script>"
CLOSING = "</script><img src=x onerror=alert(2)>"
FOREIGN = "größe 価格 “é” & <b>"
SCORES = {"binary": ("roc_auc", "maximize"), "multiclass": ("accuracy", "maximize"), "regression": ("rmse", "minimize")}


def make_recipe(**changes: dict[str, Any]) -> dict[str, Any]:
    """The plain baseline's recipe with some slots replaced."""
    return {
        "data": {"numbers": {"kind": "standardize"}, "categories": {"kind": "one_hot"}},
        "model": {"kind": "mlp", "width": 128, "depth": 2},
        "dropout": {"kind": "off"},
        "batch": {"kind": "fixed", "size": 256},
        "optimizer": {"kind": "adam", "beta1": 0.9, "beta2": 0.999},
        "learning_rate": {"kind": "constant", "peak": 0.001},
        "regularize": {"l2": {"kind": "off"}, "label_smoothing": {"kind": "off"}},
    } | changes


def make_member(number: int, task: Task, seed: int = 0) -> MemberRecord:
    """A member with a plausible curve; number 0 is the baseline, every ninth diverged, every fourth finished."""
    random = np.random.default_rng([seed, number])
    baseline = number == 0
    origin = "baseline" if baseline else "portfolio" if number < 6 else "quasi-random" if number < 20 else "tpe"
    recipe = make_recipe()
    if not baseline:
        recipe |= {
            "dropout": {"kind": "bernoulli", "p": round(float(random.uniform(0, 0.5)), 3)},
            "optimizer": {"kind": "adamw", "beta1": 0.9, "beta2": 0.99, "decay": float(random.lognormal(-4, 1))},
            "learning_rate": {"kind": "one_cycle", "peak": float(random.lognormal(-6, 1)), "warm_up": 0.1},
            "model": {"kind": "resnet", "width": int(random.choice([64, 128, 256])), "depth": 3},
        }
    diverged = number % 9 == 8
    state = "diverged" if diverged else "finished" if number % 4 == 0 else "stopped"
    epochs = 24 if state == "finished" else 4
    goodness = float(random.uniform(0.6, 1.0)) + min(number, 30) / 100
    points = []
    for epoch in range(1, epochs + 1):
        fall = math.exp(-epoch * goodness / 4)
        score = (
            0.92 - 0.25 * fall - 0.01 * (1.3 - goodness)
            if task != "regression"
            else 0.35 + 0.6 * fall + 0.05 * (1.3 - goodness)
        )
        points.append(
            Point(
                step=epoch * 40,
                epoch=epoch,
                seconds=3 + number * 0.8 + epoch * 0.3,
                loss_train=None if diverged else 0.2 + fall,
                loss_validation=None if diverged else 0.25 + fall * 0.9 + 0.002 * epoch,
                score_validation=None if diverged else score + float(random.normal(0, 0.002)),
                learning_rate=0.001,
            )
        )
    best = max if SCORES[task][1] == "maximize" else min
    scores = [point.score_validation for point in points if point.score_validation is not None]
    return MemberRecord(
        number=number,
        origin=origin,
        recipe=recipe,
        parameters=20_000 + 137 * number,
        seed=number,
        state=state,
        rung=2 if state == "finished" else 0,
        steps=epochs * 40,
        epochs=epochs,
        seconds=epochs * 0.21,
        score_validation=best(scores) if scores else None,
        curve=points,
        receipts=[],
    )


def make_summary(task: Task = "binary", **changes: Any) -> Summary:
    """A finished run's headline."""
    metric, direction = SCORES[task]
    scores: dict[str, Any] = (
        {
            "score_validation": 0.3561,
            "score_refit": 0.3702,
            "score_test": 0.3719,
            "baseline_score_test": 0.4412,
            "score_test_interval": (0.36, 0.384),
        }
        if task == "regression"
        else {
            "score_validation": 0.9231,
            "score_refit": 0.9172,
            "score_test": 0.9158,
            "baseline_score_test": 0.8987,
            "score_test_interval": (0.9101, 0.9214),
            "gain_interval": (0.015, 0.019),
        }
    )
    base = Summary(
        task=task,
        metric=metric,
        direction=direction,
        final="refit",
        n_members=60,
        n_networks=5,
        seconds_total=58.21,
        budget_seconds=60,
        receipts=[
            Receipt(trick="dropout", kind="bernoulli", acted=182_331, seen=911_872, unit="units"),
            Receipt(trick="clip.norm", kind="norm", acted=0, seen=960, unit="batches"),
            Receipt(trick="regularize.l2", kind="decoupled", acted=960, seen=960, unit="steps"),
            Receipt(trick="average", kind="ema", acted=958, seen=960, unit="steps"),
        ],
        warnings=["The column 'row_id' looks like an identifier and is left out."],
        versions={"python": "3.12.4", "torch": "2.13.0", "titrant": "0.1.0"},
        machine={"processor": "x86_64, AVX2", "cores": 2, "memory_gib": 7.8, "device": "cpu"},
        seed=7,
        **scores,
    )
    return base.model_copy(update=changes)


def make_data(task: Task, names: tuple[str, ...] = (), classes: tuple[str, ...] = ("no", "yes")) -> DataSummary:
    """Columns of every kind, and more with the names asked for."""
    random = np.random.default_rng(5)
    bell = np.histogram(random.normal(size=3000), bins=24)[0].astype(float).tolist()
    edges = [f"{17 + 3 * edge}" for edge in range(25)]
    columns = [
        ColumnSummary(name="age", kind="number", missing=0, distinct=73, example="39", histogram=bell, labels=edges),
        ColumnSummary(
            name="workclass",
            kind="category",
            missing=412,
            distinct=8,
            example="Private",
            histogram=[900, 300, 120, 40],
            labels=["Private", "Self", "State", "None"],
        ),
        ColumnSummary(
            name="member", kind="boolean", missing=3, distinct=2, example="true", histogram=[700, 300], labels=["false", "true"]
        ),
        ColumnSummary(
            name="since", kind="date", missing=0, distinct=900, example="2021-03-04", note="split into year, month, day of week"
        ),
        ColumnSummary(
            name="row_id",
            kind="left out",
            missing=0,
            distinct=4800,
            example="A-00017",
            note="every value is different: an identifier",
        ),
        *(
            ColumnSummary(
                name=name,
                kind="category",
                missing=0,
                distinct=3,
                example=name,
                note=name,
                histogram=[3, 2, 1],
                labels=[name, "b", "c"],
            )
            for name in names
        ),
    ]
    counts = [] if task == "regression" else np.random.default_rng(1).integers(80, 900, len(classes)).tolist()
    return DataSummary(
        source="adult sample.csv",
        target="income",
        task=task,
        rows_train=3400,
        rows_validation=600,
        rows_test=800,
        classes=[] if task == "regression" else list(classes),
        class_counts=counts,
        split="Stratified at random.",
        columns=columns,
    )


def make_evaluation(task: Task, classes: int = 2) -> Evaluation:
    """What a good model does on 800 rows."""
    random = np.random.default_rng(3)
    if task == "regression":
        truth = random.normal(0, 1, 700)
        return Evaluation(
            metrics={"rmse": 0.3719, "mae": 0.281, "r2": 0.861},
            metrics_baseline={"rmse": 0.4412, "mae": 0.33, "r2": None},
            truth=truth.tolist(),
            predicted=(0.93 * truth + random.normal(0, 0.35, 700)).tolist(),
        )
    confusion = (random.poisson(0.6, (classes, classes)) + np.diag(random.integers(20, 40, classes))).tolist()
    return Evaluation(
        metrics={"roc_auc": 0.9158, "accuracy": 0.8573, "log_loss": 0.3191},
        metrics_baseline={"roc_auc": 0.8987, "accuracy": 0.8432, "log_loss": 0.3512},
        confusion=confusion,
        reliability=[(0.05 + 0.1 * step, min(1.0, 0.03 + 0.102 * step), 40 + 12 * step) for step in range(10)],
    )


def make_difference(mean: float, reach: float | None = 0.01) -> Difference:
    """A gain with an interval, or one without."""
    low, high = (None, None) if reach is None else (mean - reach, mean + reach)
    return Difference(mean=mean, low=low, high=high, p=0.01, count=8)


_STUDIED: dict[str, Any] = {
    "metric": "roc_auc", "direction": "maximize", "nuisances": ["learning_rate.peak"], "candidates": 4, "replicates": 8,
    "length": 0.5, "rows_trained": 3000, "rows_judged": 900, "judged": "held-out rows", "shared": True, "trainings": 120,
    "seconds_total": 61.0, "budget_seconds": 90.0, "interrupted": False, "warnings": ["Trainings were short."], "seed": 0,
}  # fmt: skip


def make_ablation(**changes: Any) -> Ablation:
    """A study in which each verdict occurs once."""
    effects = [
        Effect(
            trick=f"trick.{place}", kind="on", instead="off", without=make_difference(mean),
            without_epochs=make_difference(mean),
            added=make_difference(mean / 2, None if place == 1 else 0.02) if place != 2 else None,
            added_epochs=make_difference(mean / 2) if place != 2 else None, adjusted=0.02 * place, verdict=verdict,
            verdict_added="no evidence" if place != 2 else None, time=1.2, memory=1.1, acted=None if place == 3 else 0.5,
        )
        for place, (mean, verdict) in enumerate(
            zip((0.05, -0.04, 0.001, 0.02, 0.0), ("helps", "hurts", "equivalent", "no evidence", "never acted"), strict=True)
        )
    ]  # fmt: skip
    arms = [
        ArmRecord(
            name=name, recipe={}, tuned={"learning_rate.peak": 0.003}, score=0.9, low=0.88, high=0.92, count=8,
            cost=Cost(seconds=0.001, memory=120_000), diverged=place, receipts=[], curve=make_member(place, "binary").curve,
        )
        for place, name in enumerate(("recipe", "baseline"))
    ]  # fmt: skip
    found = _STUDIED | {
        "task": "binary", "recipe": {}, "looks": [4, 8], "smallest": 0.005, "effects": effects, "arms": arms,
        "shares": [Share(group="inputs", tricks=["data.scale"], value=make_difference(0.03))],
        "pairs": [Pair(first="dropout", second="mix", value=make_difference(-0.01))],
    }  # fmt: skip
    return Ablation.model_validate(found | changes)


def make_response(dose: str, values: list[float | str], **changes: Any) -> Response:
    """A response whose second level is best."""
    levels = [
        Level(
            value=value,
            off=place == 0,
            here=place == 2,
            score=0.9,
            gain=make_difference([0.0, 0.02, 0.01][place % 3]),
            tuned={},
        )
        for place, value in enumerate(values)
    ]
    found = _STUDIED | {
        "dose": dose, "unit": "share", "log": False, "reference": values[0], "levels": levels, "best": values[1],
        "certain": True,
    }  # fmt: skip
    return Response.model_validate(found | changes)


def write_run(
    folder: Path, task: Task, *, names: tuple[str, ...] = (), classes: tuple[str, ...] = ("no", "yes"), **changes: Any
) -> Path:
    """A whole run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    members = [make_member(number, task) for number in range(60)]
    best = max if SCORES[task][1] == "maximize" else min
    winner = best(
        (member for member in members if member.score_validation is not None), key=lambda member: member.score_validation or 0
    )
    refit = winner.model_copy(update={"number": 60, "origin": "refit", "score_validation": None})
    write_members(folder / "members.jsonl", [*members, refit])
    write_text(folder / "recipe.yaml", yaml.safe_dump(winner.recipe, sort_keys=False))
    make_summary(task, **changes).write(folder / "summary.json")
    make_data(task, names, classes).write(folder / "data.json")
    make_evaluation(task, len(classes)).write(folder / "evaluation.json")
    return folder


Kind = Literal["binary", "multiclass", "regression", "hostile", "studied"]


class Made:
    """Makes records and run folders; tests reach it through the fixture `made`."""

    hostile = (HOSTILE, CLOSING, FOREIGN)
    member = staticmethod(make_member)
    recipe = staticmethod(make_recipe)
    summary = staticmethod(make_summary)
    data = staticmethod(make_data)
    evaluation = staticmethod(make_evaluation)
    ablation = staticmethod(make_ablation)
    response = staticmethod(make_response)

    @staticmethod
    def folder(parent: Path, kind: Kind, **changes: Any) -> Path:
        """A run folder of that kind below `parent`."""
        folder = parent / kind
        if kind == "multiclass":
            return write_run(folder, "multiclass", classes=tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), **changes)
        if kind == "studied":
            write_run(folder, "binary", **changes)
            make_ablation().write(folder / "ablation.json")
            make_response("dropout.p", [0.0, 0.2, 0.5]).write(folder / "dose-dropout.p.json")
            make_response("learning_rate.peak", [1e-4, 1e-3, 1e-2], log=True).write(folder / "dose-learning_rate.peak.json")
            make_response("activation", ["off", "relu", "silu"], certain=False).write(folder / "dose-activation.json")
            return folder
        if kind == "hostile":
            hostile = {
                "warnings": list(Made.hostile),
                "receipts": [Receipt(trick=HOSTILE, kind=CLOSING, acted=0, seen=1, unit=FOREIGN)],
            }
            return write_run(folder, "binary", names=Made.hostile, classes=(HOSTILE, CLOSING), **(hostile | changes))
        return write_run(folder, kind, **changes)


@pytest.fixture(scope="session")
def made() -> type[Made]:
    """Makes records and run folders."""
    return Made
