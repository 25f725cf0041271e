"""The engine: it equals a plain loop, members do not meet, and every trick's effect is the reference's."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from titrant.clock import Clock, Interrupt
from titrant.recipe import Recipe
from titrant.record import Task
from titrant.train.cohort import Cohort, Member
from titrant.train.metrics import METRICS, metric_for
from titrant.train.problem import EVALUATIONS
from titrant.train.tables import TableProblem
from titrant.tricks.learning_rate import lowered, table

Problems = Callable[..., TableProblem]
Cohorts = Callable[..., Cohort]

FOREVER = Clock.of(3600)
BASE: dict[str, Any] = {
    "model": {"kind": "mlp", "width": 6},
    "batch": {"kind": "fixed", "size": 16},
    "stop": {"kind": "last", "epochs": 3},
    "learning_rate": {"peak": 0.01},
    "optimizer": {"kind": "adam", "epsilon": 1e-2},
}


def recipe(**slots: Any) -> Recipe:
    return Recipe.of({**BASE, **slots})


def bits(x: Tensor) -> Tensor:
    return x.detach().view(torch.int32)


def assert_close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


# ------------------------------------------------------------------------------------------------ against a loop in plain torch


OPTIMIZERS = {
    "sgd": (lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9), {"kind": "sgd", "momentum": 0.9}),
    "adam": (lambda p: torch.optim.Adam(p, lr=0.01, eps=1e-4), {"kind": "adam", "epsilon": 1e-4}),
}


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_training_equals_a_plain_loop(task: Task, name: str, make_problem: Problems, make_cohort: Cohorts) -> None:
    """Full batches, so that the order of rows does not matter; numbers only, scaled by hand in float64."""
    problem = make_problem(task, coded=0, columns=2)
    problem = replace(problem, numbers=problem.numbers.nan_to_num(0.5))
    make, optimizer = OPTIMIZERS[name]
    full = {"kind": "fixed", "size": 64}
    neighbour = recipe(batch=full, activation="tanh", dropout="bernoulli")
    cohort = make_cohort(problem, [neighbour, recipe(batch=full, optimizer=optimizer)])
    outputs = 1 if task == "regression" else problem.classes
    plain = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, outputs)).double()
    start = cohort.layout.views(cohort.flat[1].detach())
    for parameter, tensor in zip(plain.parameters(), _in_order(start), strict=True):
        parameter.data.copy_(tensor)
    learn = problem.rows
    wide = problem.numbers.double()
    x = ((wide - wide[learn].mean(0)) / wide[learn].std(0, correction=0))[learn]
    y = problem.target[learn]
    steps = make(plain.parameters())
    for _ in range(3):
        steps.zero_grad()
        if task == "regression":
            values = y.double()
            loss = (plain(x).squeeze(-1) - (values - values.mean()) / values.std(correction=0)).square().mean()
        else:
            loss = nn.functional.cross_entropy(plain(x), y)
        loss.backward()
        steps.step()
    assert cohort.advance(cohort.steps, FOREVER)
    assert cohort.step == 3
    trained = cohort.trained(1).network
    for parameter, tensor in zip(plain.parameters(), _in_order(dict(trained.named_parameters())), strict=True):
        torch.testing.assert_close(tensor.detach().double(), parameter.detach(), rtol=1e-4, atol=1e-5)


def _in_order(tensors: dict[str, Tensor]) -> list[Tensor]:
    """Weight and bias of each layer, from the input to the output."""
    layers = sorted({name.rpartition(".")[0] for name in tensors}, key=lambda name: (name.endswith("head"), name))
    return [tensors[f"{layer}.{part}"].detach() for layer in layers for part in ("weight", "bias")]


# ----------------------------------------------------------------------------------------------------- members do not meet


MIXED = [
    recipe(),
    recipe(optimizer="nesterov", normalize="batch", activation="prelu"),
    recipe(optimizer="muon", average="ema", mix="mixup", normalize="layer"),
]


@pytest.mark.parametrize("sick", [{"kind": "sgd", "momentum": 0.99}, "muon", "lion"])
def test_a_diverging_member_stays_alone(sick: Any, make_problem: Problems, make_cohort: Cohorts) -> None:
    problem = make_problem("regression")
    mild = recipe(optimizer=sick)
    wild = mild.replace("learning_rate.peak", 10.0).replace("initialize", {"kind": "he_normal", "scale": 3.0})
    long = {"kind": "last", "epochs": 12}
    others = [one.replace("stop", long) for one in MIXED]
    with_wild, with_mild = (make_cohort(problem, [others[0], one.replace("stop", long), *others[1:]]) for one in (wild, mild))
    without = make_cohort(problem, others, seeds=[0, 2, 3])
    with torch.no_grad():
        with_wild.flat[1].mul_(1e30)  # so that its loss overflows even if each step is short
    for cohort in (with_wild, with_mild, without):
        cohort.advance(cohort.steps, FOREVER)
    assert with_wild.histories[1].diverged
    assert math.isnan(with_wild.score(1))
    for k in (0, 2, 3):
        assert not with_wild.histories[k].diverged
        assert torch.equal(bits(with_wild.flat[k]), bits(with_mild.flat[k]))
        assert_close(with_wild.flat[k], without.flat[k - (k > 1)])
        assert with_wild.score(k) == with_mild.score(k)


def test_a_cohort_of_diverged_members_ends(make_problem: Problems, make_cohort: Cohorts) -> None:
    cohort = make_cohort(make_problem(), [recipe(stop={"kind": "last", "epochs": 40})] * 2)
    with torch.no_grad():
        cohort.flat.fill_(torch.nan)
    assert cohort.advance(cohort.steps, FOREVER)
    assert cohort.step == cohort.evaluated_at[0] < cohort.steps
    assert [history.alive for history in cohort.histories] == [False, False]


def test_members_with_their_own_rows_and_scaling_equal_separate_runs(make_problem: Problems) -> None:
    """Folds: rows differ in number by one, so all take the epoch of the smallest."""
    problem = make_problem("multiclass")
    parts = torch.randperm(65)[:, None].flatten().tensor_split(3)
    problem = replace(problem, rows=torch.arange(65))
    scales = ["standardize", "robust", "quantile"]
    members = [
        Member(k, recipe(data={"scale": scales[k]}), 7 + k, "test", torch.cat([*parts[:k], *parts[k + 1 :]]), parts[k])
        for k in range(3)
    ]
    fewest = min(len(member.rows) for member in members)
    cohort = Cohort(problem, members, METRICS["accuracy"], FOREVER)
    assert sum(cohort.sizes) >= 3 * fewest
    cohort.advance(cohort.steps, FOREVER)
    for k, member in enumerate(members):
        assert len(cohort.held_out_predictions(k)) == min(len(part) for part in parts)
        if len(member.rows) == fewest:
            alone = Cohort(problem, [member], METRICS["accuracy"], FOREVER)
            alone.advance(alone.steps, FOREVER)
            assert_close(alone.flat[0], cohort.flat[k])


def test_a_member_that_is_kept_last_goes_on_as_before(make_problem: Problems, make_cohort: Cohorts) -> None:
    problem = make_problem("multiclass")
    whole, thinned = make_cohort(problem, MIXED), make_cohort(problem, MIXED)
    thinned.advance(3, FOREVER)
    thinned.keep([1, 2])
    thinned.advance(6, FOREVER)
    thinned.keep([1])
    for cohort in (whole, thinned):
        cohort.advance(cohort.steps, FOREVER)
    assert [member.number for member in thinned.members] == [2]
    assert_close(thinned.flat[0], whole.flat[2])
    assert thinned.score(0) == pytest.approx(whole.score(2))
    assert [p.step for p in thinned.histories[0].curve] == [p.step for p in whole.histories[2].curve]
    for receipt, expected in zip(thinned.receipts(0), whole.receipts(2), strict=True):
        assert receipt == expected


# ----------------------------------------------------------------------------------------------------------------- batches


def test_growing_batches(make_problem: Problems, make_cohort: Cohorts) -> None:
    growing = recipe(batch={"kind": "growing", "size": 4, "factor": 2, "stages": 3})
    cohort = make_cohort(make_problem(), [growing, growing])
    assert cohort.sizes == sorted(cohort.sizes)
    assert set(cohort.sizes) == {4, 8, 16}
    assert 3 * 64 <= sum(cohort.sizes) < 3 * 64 + 16
    assert cohort.advance(cohort.steps, FOREVER)
    assert cohort.histories[0].curve[-1].epoch == sum(cohort.sizes) / 64


@pytest.mark.parametrize("task", ["multiclass", "regression"])
@pytest.mark.parametrize("accumulate", [2, 4, 16])
def test_accumulation_equals_the_large_batch(task: Task, accumulate: int, make_problem: Problems, make_cohort: Cohorts) -> None:
    whole, parts = (
        make_cohort(make_problem(task), [recipe(batch={"kind": "fixed", "size": 16, "accumulate": n})] * 2)
        for n in (1, accumulate)
    )
    for cohort in (whole, parts):
        cohort.advance(cohort.steps, FOREVER)
    assert_close(parts.flat, whole.flat)
    for one, other in zip(parts.histories[0].curve, whole.histories[0].curve, strict=True):
        assert one.loss_train == pytest.approx(other.loss_train, rel=1e-4)


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_a_step_learns_from_the_hardest_rows_of_its_batch(task: Task, make_problem: Problems, make_cohort: Cohorts) -> None:
    recipe = Recipe.of(
        {
            "batch": {"kind": "hardest", "size": 64, "keep": 0.25},
            "optimizer": {"kind": "sgd", "momentum": 0.0},
            "learning_rate": {"peak": 0.1, "schedule": "off"},
        }
    )
    problem = make_problem(task)
    cohort = make_cohort(problem, [recipe])
    plain = cohort.trained(0).network
    numbers, codes = cohort.trained(0).encoder(*problem.raw(problem.rows))
    outputs, target = plain(numbers, codes), problem.scaled_target()[problem.rows]
    if task == "regression":
        losses = (outputs.squeeze(-1) - target).square()
    else:
        losses = nn.functional.cross_entropy(outputs, target, reduction="none")
    losses.topk(16).values.mean().backward()
    expected = {name: p - 0.1 * p.grad for name, p in plain.named_parameters()}
    cohort.train(1, Clock.of(3600))
    for name, tensor in cohort.layout.views(cohort.flat[0]).items():
        torch.testing.assert_close(tensor, expected[name])
    (receipt,) = [receipt for receipt in cohort.receipts(0) if receipt.trick == "batch"]
    assert (receipt.acted, receipt.seen, receipt.unit) == (48, 64, "rows")


@pytest.mark.parametrize("size", [1, 64, 65536])
def test_each_epoch_visits_each_row_once(size: int, make_problem: Problems, make_cohort: Cohorts) -> None:
    """With a constant gradient for each row, SGD's position counts visits: the bias of an output that starts at zero."""
    problem = replace(make_problem("regression", coded=0, columns=1), numbers=torch.zeros(96, 1))
    sgd = {"kind": "sgd", "momentum": 0.0}
    once = recipe(
        batch={"kind": "fixed", "size": size}, optimizer=sgd, learning_rate={"peak": 1e-6}, stop={"kind": "last", "epochs": 1}
    )
    cohort = make_cohort(problem, [once])
    entry = next(entry for entry in cohort.layout.entries if entry.name.endswith("head.bias"))
    with torch.no_grad():
        cohort.flat.zero_()
    cohort.advance(cohort.steps, FOREVER)
    moved = cohort.flat[0, entry.start].item()
    mean = problem.scaled_target()[problem.rows].mean().item()
    assert len(cohort.sizes) == max(1, 64 // size)
    # Every row once: the moves are those of the mean over all rows, which is zero for a scaled target.
    assert moved == pytest.approx(2e-6 * mean * len(cohort.sizes), abs=1e-9)


# ------------------------------------------------------------------------------------------------------------------- views


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_views_are_averaged_as_predictions(task: Task, make_problem: Problems, make_cohort: Cohorts) -> None:
    problem = make_problem(task)
    ensemble = recipe(model={"kind": "ensemble", "width": 6, "views": 5})
    cohort = make_cohort(problem, [ensemble, ensemble.replace("normalize", "batch")])
    cohort.advance(5, FOREVER)
    cohort.evaluate()
    held_out = torch.arange(64, 96)
    predicted = cohort.predictions(held_out.expand(2, -1))
    classes = () if task == "regression" else (problem.classes,)
    assert predicted.shape == (2, 32, *classes)
    for k in range(2):
        trained = cohort.trained(k)
        numbers, codes = trained.encoder(problem.numbers[held_out], problem.codes[held_out])
        outputs = trained.network(numbers, codes).detach().double()
        assert outputs.shape == (5 * 32, (len(classes) and classes[0]) or 1)
        views = outputs.view(5, 32, -1)
        if task == "regression":
            expected = views.squeeze(-1).mean(0) * problem.width + problem.centre
        else:
            expected = views.softmax(-1).mean(0)
        torch.testing.assert_close(predicted[k].double(), expected, rtol=1e-5, atol=1e-5)


# ------------------------------------------------------------------------------------------------------------- weight averages


def trajectory(cohort: Cohort) -> list[Tensor]:
    """The weights after each step [P], of member 0."""
    rows = []
    while cohort.step < cohort.steps:
        cohort.advance(cohort.step + 1, FOREVER)
        rows.append(cohort.flat[0].detach().double().clone())
    return rows


def test_ema_is_what_evaluation_sees(make_problem: Problems, make_cohort: Cohorts) -> None:
    cohort = make_cohort(make_problem(), [recipe(average={"kind": "ema", "decay": 0.6}), recipe()])
    average = cohort.flat[0].detach().double().clone()
    for number, row in enumerate(trajectory(cohort), 1):
        decay = min(0.6, (1 + number) / (10 + number))
        average = decay * average + (1 - decay) * row
    seen = dict(cohort.trained(0).network.named_parameters())
    for name, expected in cohort.layout.views(average).items():
        torch.testing.assert_close(seen[name].detach().double(), expected, rtol=1e-5, atol=1e-6)
    last = dict(cohort.trained(1).network.named_parameters())
    for name, expected in cohort.layout.views(cohort.flat[1].detach()).items():
        assert torch.equal(last[name], expected)


def test_swa_is_the_mean_of_the_last_steps(make_problem: Problems, make_cohort: Cohorts) -> None:
    cohort = make_cohort(make_problem(), [recipe(average={"kind": "swa", "start": 0.5})])
    rows = trajectory(cohort)
    assert len(rows) == 12
    expected = torch.stack(rows[6:]).mean(0)
    seen = dict(cohort.trained(0).network.named_parameters())
    for name, tensor in cohort.layout.views(expected).items():
        torch.testing.assert_close(seen[name].detach().double(), tensor, rtol=1e-5, atol=1e-6)
    (receipt,) = [receipt for receipt in cohort.receipts(0) if receipt.trick == "average"]
    assert (receipt.acted, receipt.seen) == (6, 12)


def test_averages_of_batch_norm_statistics_fit_the_weights(make_problem: Problems, make_cohort: Cohorts) -> None:
    """With SWA over all steps, running statistics are averaged like weights."""
    make = [recipe(average={"kind": "swa", "start": 0.0}, normalize="batch")]
    cohort = make_cohort(make_problem(), make)
    seen: dict[str, list[Tensor]] = {}
    while cohort.step < cohort.steps:
        cohort.advance(cohort.step + 1, FOREVER)
        for name, buffer in cohort.weights.buffers.items():
            seen.setdefault(name, []).append(buffer[0].double().clone())
    kept = dict(cohort.trained(0).network.named_buffers())
    statistics = [name for name in seen if name.endswith(("mean", "variance"))]
    assert len(statistics) == 4
    for name in statistics:
        torch.testing.assert_close(kept[name].double(), torch.stack(seen[name]).mean(0), rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------------------------------------------------------- schedules


@pytest.mark.parametrize("schedule", ["cosine", "step", "one_cycle", "off"])
def test_the_scheduled_rate_is_the_size_of_the_steps(schedule: str, make_problem: Problems, make_cohort: Cohorts) -> None:
    """Lion moves every number by exactly the learning rate."""
    rate = {"peak": 0.02, "warmup": 0.25, "schedule": schedule}
    scheduled = recipe(learning_rate=rate, optimizer="lion")
    cohort = make_cohort(make_problem(), [scheduled, recipe()])
    expected = table(scheduled.learning_rate, cohort.steps)
    rows = [cohort.flat[0].detach().double().clone(), *trajectory(cohort)]
    moves = [(after - before).abs().max().item() for before, after in pairwise(rows)]
    np.testing.assert_allclose(moves, expected, rtol=1e-4)
    np.testing.assert_allclose([point.learning_rate for point in cohort.histories[0].curve], expected, rtol=1e-6)


def test_plateau_lowers_the_rate_of_its_own_member(make_problem: Problems, make_cohort: Cohorts) -> None:
    flat_out = {"peak": 1e-6, "schedule": {"kind": "plateau", "patience": 1, "factor": 0.5}}
    stop = {"kind": "last", "epochs": 6}
    cohort = make_cohort(make_problem(), [recipe(stop=stop, learning_rate=flat_out), recipe(stop=stop)], metric="accuracy")
    cohort.advance(cohort.steps, FOREVER)
    curve = cohort.histories[0].curve
    losses = [-point.score_validation for point in curve if point.score_validation is not None]
    assert curve[-1].learning_rate == pytest.approx(1e-6 * lowered(losses[:-1], 1, 0.5))
    assert curve[-1].learning_rate < 1e-6
    assert [point.learning_rate for point in cohort.histories[1].curve] == pytest.approx([0.01] * len(curve))


# ----------------------------------------------------------------------------------------------------------------- stopping


@pytest.mark.parametrize("metric", ["rmse", "r2"])
def test_early_stopping_keeps_the_best_state(metric: str, make_problem: Problems, make_cohort: Cohorts) -> None:
    """A target of pure noise: nothing can be learned, so the best state is an early one."""
    problem = make_problem("regression")
    problem = replace(problem, target=torch.randn(96))
    early = recipe(stop={"kind": "early", "epochs": 40, "patience": 0.3}, learning_rate={"peak": 0.03})
    recipes = [early, early.replace("stop.patience", 1.0), early.replace("stop", {"kind": "last", "epochs": 40})]
    cohort = make_cohort(problem, recipes, metric=metric)
    cohort.advance(cohort.steps, FOREVER)
    held_out = torch.arange(64, 96)
    direction = max if metric == "r2" else min
    for k in range(3):
        history, trained = cohort.histories[k], cohort.trained(k)
        scores = {point.step: point.score_validation for point in history.curve}
        best = direction(scores.values()) if k < 2 else scores[max(scores)]
        assert history.best == cohort.score(k) == best
        assert scores[history.best_step] == best
        numbers, codes = trained.encoder(problem.numbers[held_out], problem.codes[held_out])
        predicted = trained.network(numbers, codes).squeeze(-1) * problem.width + problem.centre
        assert METRICS[metric].score(predicted.detach(), problem.target[held_out]).item() == pytest.approx(best, rel=1e-5)
        torch.testing.assert_close(cohort.held_out_predictions(k), predicted.detach(), rtol=1e-5, atol=1e-5)
    impatient, patient, last = cohort.histories
    assert impatient.curve[-1].step < cohort.steps
    assert impatient.curve[-1].step - impatient.best_step > 0.3 * cohort.steps
    assert patient.curve[-1].step == last.curve[-1].step == last.best_step == cohort.steps
    assert patient.best_step < cohort.steps


def test_a_cohort_of_finished_members_ends(make_problem: Problems, make_cohort: Cohorts) -> None:
    early = recipe(stop={"kind": "early", "epochs": 40, "patience": 0.05}, learning_rate={"peak": 1e-6})
    cohort = make_cohort(make_problem(), [early, early])
    assert cohort.advance(cohort.steps, FOREVER)
    assert cohort.step < cohort.steps
    assert all(history.finished and not history.diverged for history in cohort.histories)


def test_evaluations_are_evenly_spaced_and_end_at_the_end(make_problem: Problems, make_cohort: Cohorts) -> None:
    for epochs in (0.01, 1, 10, 50.5):
        cohort = make_cohort(make_problem(), [recipe(stop={"kind": "last", "epochs": epochs})])
        gaps = np.diff([0, *cohort.evaluated_at])
        assert cohort.evaluated_at[-1] == cohort.steps
        assert len(gaps) == min(EVALUATIONS, cohort.steps)
        assert gaps.max() - gaps.min() <= 1


@dataclass(frozen=True)
class CountedClock(Clock):
    """Rings when it has been looked at so many times."""

    looks: list[int] = field(default_factory=list)
    rings_after: int = 0

    @property
    def left(self) -> float:
        self.looks.append(1)
        return 1.0 if len(self.looks) <= self.rings_after else 0.0


@pytest.mark.parametrize("looks", [0, 1, 2, 5, 8])
def test_a_ringing_clock_stops_within_a_step(looks: int, make_problem: Problems, make_cohort: Cohorts) -> None:
    """One look for each step: no step is taken after the ring, and what was reached is scored."""
    cohort = make_cohort(make_problem(), [recipe(), recipe()])
    assert not cohort.advance(cohort.steps, CountedClock(0.0, 0.0, rings_after=looks))
    assert cohort.step < max(looks, 1)
    if cohort.step:
        assert cohort.histories[0].curve[-1].step == cohort.step
        assert math.isfinite(cohort.score(0))
    assert cohort.advance(cohort.steps, FOREVER)
    uninterrupted = make_cohort(make_problem(), [recipe(), recipe()])
    uninterrupted.advance(cohort.steps, FOREVER)
    assert torch.equal(bits(cohort.flat), bits(uninterrupted.flat))


def test_an_interrupt_stops_training(make_problem: Problems, make_cohort: Cohorts) -> None:
    interrupt = Interrupt()
    interrupt.asked = True
    cohort = make_cohort(make_problem(), [recipe()])
    assert not cohort.advance(cohort.steps, Clock.of(3600, interrupt=interrupt))
    assert cohort.step == 0


def test_seconds_are_shared_out(make_problem: Problems, make_cohort: Cohorts) -> None:
    cohort = make_cohort(make_problem(), [recipe(), recipe()])
    cohort.advance(cohort.steps, FOREVER)
    one, other = cohort.histories
    assert one.seconds == other.seconds > 0
    moments = [point.seconds for point in one.curve if point.seconds is not None]
    assert moments == sorted(moments)


# ------------------------------------------------------------------------------------------------------------------ leakage


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_training_never_looks_at_held_out_rows(task: Task, make_problem: Problems, make_cohort: Cohorts) -> None:
    """Whatever stands there: training, encoding, target scaling and class weights are those of the training rows."""
    problem = make_problem(task)
    changed = replace(
        problem,
        numbers=torch.cat([problem.numbers[:64], 1e6 * torch.randn(32, 4)]),
        codes=torch.cat([problem.codes[:64], torch.zeros(32, 2, dtype=torch.int32)]),
        target=torch.cat([problem.target[:64], problem.target[64:].flip(0) * 0]),
        _encoded={},
    )
    recipes = [
        recipe(data={"scale": scale, "numbers": numbers}, regularize={"class_weights": "class_weights"}, initialize="lsuv")
        for scale in ("standardize", "robust", "min_max", "quantile")
        for numbers in ("off", "periodic", "piecewise_linear")
    ]
    for one in recipes:
        cohorts = [make_cohort(data, [one]) for data in (problem, changed)]
        for cohort in cohorts:
            cohort.advance(4, FOREVER)
        assert torch.equal(bits(cohorts[0].flat), bits(cohorts[1].flat))
        state, other = (cohort.trained(0).encoder.state_dict() for cohort in cohorts)
        assert all(torch.equal(state[name], other[name]) for name in state)


# ------------------------------------------------------------------------------------------------------- a person's own network


def with_norm(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, outputs))


def with_norm_and_dropout(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, outputs))


CUSTOM = recipe(model={"kind": "custom"})


def test_a_custom_network_equals_separate_runs(make_problem: Problems, make_cohort: Cohorts) -> None:
    recipes = [CUSTOM, CUSTOM.replace("learning_rate.peak", 0.03), CUSTOM.replace("optimizer", "nesterov")]
    problem = make_problem("multiclass")
    stack = make_cohort(problem, recipes, factory=with_norm)
    stack.advance(stack.steps, FOREVER)
    for k, one in enumerate(recipes):
        alone = make_cohort(problem, [one], factory=with_norm, seeds=[k])
        alone.advance(alone.steps, FOREVER)
        own, stacked = alone.trained(0).network.state_dict(), stack.trained(k).network.state_dict()
        for name, tensor in own.items():
            torch.testing.assert_close(tensor, stacked[name], rtol=1e-3, atol=1e-4)
        assert own["body.inner.1.num_batches_tracked"] == alone.step


def test_a_custom_network_equals_a_plain_loop(make_problem: Problems, make_cohort: Cohorts) -> None:
    problem = make_problem("binary")
    full = CUSTOM.replace("batch.size", 64).replace("optimizer", {"kind": "sgd", "momentum": 0.0})
    cohort = make_cohort(problem, [full, full], factory=with_norm)
    encoded = problem.encoded(full.data, problem.rows)
    shape = problem.shape(encoded.encoder)
    features = cohort.trained(0).network.expand(encoded.inputs[0][:64], encoded.inputs[1][:64]).double()
    plain = with_norm(features.shape[1], shape.outputs).double()
    start = {name.removeprefix("body.inner."): t for name, t in cohort.layout.views(cohort.flat[1].detach()).items()}
    plain.load_state_dict(start, strict=False)
    steps = torch.optim.SGD(plain.parameters(), lr=0.01)
    for _ in range(3):
        steps.zero_grad()
        nn.functional.cross_entropy(plain(features), problem.target[:64]).backward()
        steps.step()
    cohort.advance(cohort.steps, FOREVER)
    trained = cohort.trained(1).network.state_dict()
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(trained[f"body.inner.{name}"].double(), tensor.double(), rtol=1e-4, atol=1e-5)


def test_a_custom_network_with_dropout_trains_and_predicts_alike(make_problem: Problems, make_cohort: Cohorts) -> None:
    cohort = make_cohort(
        make_problem(),
        [CUSTOM.replace("stop.epochs", 30).replace("learning_rate.peak", 0.1)] * 3,
        factory=with_norm_and_dropout,
    )
    cohort.advance(cohort.steps, FOREVER)
    rows = torch.arange(64).expand(3, -1)
    predicted = cohort.predictions(rows)
    assert torch.equal(bits(predicted), bits(cohort.predictions(rows)))
    target = cohort.problem.target[:64]
    for k in range(3):
        assert (predicted[k].argmax(-1) == target).float().mean() > 0.75
    curve = cohort.histories[0].curve
    assert curve[-1].loss_train < curve[0].loss_train
    assert not torch.equal(cohort.flat[0], cohort.flat[1])


def test_a_custom_network_with_dropout_is_repeatable(make_problem: Problems, make_cohort: Cohorts) -> None:
    problem = make_problem()
    one, other = (make_cohort(problem, [CUSTOM, CUSTOM], factory=with_norm_and_dropout) for _ in range(2))
    one.advance(one.steps, FOREVER)
    torch.rand(7)  # a person's own use of the global stream
    other.advance(other.steps, FOREVER)
    assert torch.equal(bits(one.flat), bits(other.flat))


# -------------------------------------------------------------------------------------------------------------------- learning


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("kind", ["mlp", "residual", "ensemble"])
def test_every_family_learns(task: Task, kind: str, make_problem: Problems, make_cohort: Cohorts) -> None:
    learner = recipe(
        model={"kind": kind, "width": 16},
        stop={"kind": "last", "epochs": 60},
        data={"categories": {"kind": "embed", "size": 2}},
        optimizer="adam",
    )
    cohort = make_cohort(make_problem(task), [learner])
    cohort.advance(cohort.steps, FOREVER)
    first, *_, last = cohort.histories[0].curve
    assert last.loss_train < 0.3 * first.loss_train


@pytest.mark.parametrize(("columns", "coded"), [(3, 0), (0, 2), (1, 1)])
@pytest.mark.parametrize("categories", ["one_hot", "embed"])
@pytest.mark.parametrize("numbers", ["off", "periodic", "piecewise_linear"])
def test_tables_without_numbers_or_without_categories(
    columns: int, coded: int, categories: str, numbers: str, make_problem: Problems, make_cohort: Cohorts
) -> None:
    tricks = {
        "augment": {"swap": "swap", "noise": "gaussian", "mask": "mask"},
        "mix": "cutmix",
        "initialize": "lsuv",
    }
    for scale in ("standardize", "robust", "quantile", "off"):
        cohort = make_cohort(
            make_problem(columns=columns, coded=coded),
            [recipe(data={"scale": scale, "categories": categories, "numbers": numbers}, **tricks)] * 2,
        )
        cohort.advance(2, FOREVER)
        cohort.evaluate()
        assert all(math.isfinite(history.curve[-1].loss_train) for history in cohort.histories)


def test_fields_of_what_training_leaves(make_problem: Problems, make_cohort: Cohorts) -> None:
    cohort = make_cohort(make_problem(), [recipe(), recipe(dropout="bernoulli")])
    cohort.advance(cohort.steps, FOREVER)
    trained = cohort.trained(1)
    assert trained.member is cohort.members[1]
    assert not trained.network.training
    assert (trained.steps, trained.epochs) == (12, 3.0)
    assert cohort.parameters == sum(p.numel() for p in trained.network.parameters())
    assert {receipt.trick: receipt.unit for receipt in trained.receipts}["dropout"] == "units"
    (dropped,) = [receipt for receipt in trained.receipts if receipt.trick == "dropout"]
    assert dropped.acted / dropped.seen == pytest.approx(0.2, abs=0.1)


def test_a_metric_without_a_value_on_constant_targets_does_not_kill(make_problem: Problems, make_cohort: Cohorts) -> None:
    problem = make_problem("regression")
    problem = replace(problem, target=torch.cat([problem.target[:64], torch.full((32,), 10.0)]))
    cohort = make_cohort(problem, [recipe()], metric="r2")
    cohort.advance(cohort.steps, FOREVER)
    assert not cohort.histories[0].diverged


def test_metric_default(make_problem: Problems, make_cohort: Cohorts) -> None:
    assert make_cohort(make_problem(), [recipe()]).metric is metric_for("binary")


# ---------------------------------------------------------------------- memory


def test_what_memory_does_not_hold_is_computed_in_parts(
    make_problem: Problems, make_cohort: Cohorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_problem("multiclass")
    given = recipe(batch={"kind": "fixed", "size": 32}, dropout="off")
    whole, small = (make_cohort(problem, [given, given.replace("learning_rate.peak", 0.02)]) for _ in range(2))
    whole.advance(6, Clock.of(3600))
    losses, outputs = Cohort._losses, Cohort._outputs

    def full(limit: int, act: Any, place: int) -> Any:
        def limited(cohort: Cohort, *given: Any) -> Any:
            rows = given[place][0] if isinstance(given[place], tuple) else given[place]
            if rows.shape[1] > limit:
                raise torch.OutOfMemoryError("no memory")
            return act(cohort, *given)

        return limited

    monkeypatch.setattr(Cohort, "_losses", full(9, losses, 0))
    monkeypatch.setattr(Cohort, "_outputs", full(17, outputs, 1))
    small.advance(6, Clock.of(3600))
    assert small.parts == 4
    assert_close(small.weights.flat, whole.weights.flat)
    rows = torch.stack([problem.rows, problem.rows])
    parted = small.predictions(rows)
    monkeypatch.undo()
    assert_close(parted, whole.predictions(rows))
    assert small.histories[0].best == pytest.approx(whole.histories[0].best)


def test_a_single_row_that_memory_does_not_hold_ends_it(
    make_problem: Problems, make_cohort: Cohorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("no memory")

    cohort = make_cohort(make_problem("regression"), [recipe()])
    monkeypatch.setattr(Cohort, "_losses", full)
    with pytest.raises(torch.OutOfMemoryError):
        cohort.advance(1, Clock.of(3600))
