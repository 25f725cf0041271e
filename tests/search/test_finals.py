"""The finals: every development row is predicted by a network that never saw it, and that alone is the score."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, mean_squared_error

from titrant.clock import Clock
from titrant.data.split import folds
from titrant.recipe import Recipe
from titrant.record import MemberRecord
from titrant.search.finalist import Finalist, blended, temperature
from titrant.search.finals import Final, _begun
from titrant.train.cohort import Cohort
from titrant.train.member import Member, Trained
from titrant.train.metrics import metric_for
from titrant.train.problem import probabilities, values
from titrant.train.tables import TableProblem

ROWS, FOLDS = 240, 4

MakeProblem = Callable[..., TableProblem]


def over_folds(recipe: Recipe, problem: TableProblem, k: int = FOLDS) -> list[Member]:
    strata = None if problem.is_regression else problem.target
    cut = folds(problem.rows, strata, None, k, seed=0)
    return [Member(100 + fold, recipe, fold, "refit", rows, held_out) for fold, (rows, held_out) in enumerate(cut)]


def final(problem: TableProblem, members: list[Member], clock: Clock) -> tuple[Finalist | None, list[MemberRecord]]:
    return Final(problem, members, metric_for(problem.task), clock).run()


def alone(trained: Trained, problem: TableProblem, rows: torch.Tensor) -> np.ndarray[Any, Any]:
    """Classes or values that the network, by itself, gives to rows."""
    with torch.no_grad():
        outputs = trained.network(*trained.encoder(problem.numbers[rows], problem.codes[rows]))
    if problem.is_regression:
        return (values(outputs, trained.network.views).flatten() * problem.width + problem.centre).numpy()
    return probabilities(outputs, trained.network.views).squeeze(0).argmax(-1).numpy()


def trained_to_the_end(problem: TableProblem, members: list[Member], clock: Clock) -> Finalist:
    finalist, _ = final(problem, members, clock)
    assert finalist is not None
    return finalist


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_the_score_is_that_of_predictions_for_rows_that_each_network_held_out(
    task: str, make_problem: MakeProblem, small: Recipe, endless: Clock
) -> None:
    problem = make_problem(task)
    members = over_folds(small.replace("learning_rate.peak", 0.02), problem)
    finalist = trained_to_the_end(problem, members, endless)
    predictions, truth, judged = [], [], []
    for network in finalist.networks:
        assert network.network.training is False
        rows = network.member.held_out
        assert set(rows.tolist()).isdisjoint(network.member.rows.tolist())
        predictions.append(alone(network, problem, rows))
        truth.append(problem.target[rows].numpy())
        judged += rows.tolist()
    assert sorted(judged) == problem.rows.tolist()
    if task == "regression":
        expected = math.sqrt(mean_squared_error(np.concatenate(truth), np.concatenate(predictions)))
    else:
        expected = accuracy_score(np.concatenate(truth), np.concatenate(predictions))
    assert finalist.score == pytest.approx(expected, rel=1e-4)
    assert [network.member.number for network in finalist.networks] == [member.number for member in members]


def test_learning_by_heart_earns_nothing(make_problem: MakeProblem, small: Recipe, endless: Clock) -> None:
    """Labels from a coin: a network knows the rows that it saw, and guesses those that it held out."""
    problem = make_problem()
    problem.target[:] = torch.randint(0, 2, (ROWS,), generator=torch.Generator().manual_seed(2))
    by_heart = small.replace("model.width", 256).replace("learning_rate.peak", 0.01).replace("stop.epochs", 60)
    finalist = trained_to_the_end(problem, over_folds(by_heart, problem), endless)
    seen = [
        accuracy_score(problem.target[network.member.rows], alone(network, problem, network.member.rows))
        for network in finalist.networks
    ]
    assert min(seen) > 0.9
    assert abs(finalist.score - 0.5) < 4 * math.sqrt(0.25 / ROWS)
    assert finalist.loss > math.log(2)


def test_the_encoder_looks_at_no_row_that_is_held_out(make_problem: MakeProblem, small: Recipe, endless: Clock) -> None:
    problem = make_problem()
    members = over_folds(small, problem, k=2)
    finalist = trained_to_the_end(problem, members, endless)
    for network in finalist.networks:
        rows = network.member.rows
        scaled, _ = network.encoder(problem.numbers[rows], problem.codes[rows])
        numbers = scaled[:, :4].double().numpy()
        np.testing.assert_allclose(numbers.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(numbers.std(0), 1, atol=1e-4)


def test_every_member_leaves_one_record(make_problem: MakeProblem, small: Recipe, endless: Clock) -> None:
    problem = make_problem()
    members = over_folds(small, problem)
    finalist, records = final(problem, members, endless)
    assert finalist is not None
    assert [record.number for record in records] == [member.number for member in members]
    assert {(record.state, record.origin) for record in records} == {("finished", "refit")}
    assert all(Recipe.of(record.recipe) == small for record in records)


@pytest.mark.parametrize("looks", [1, 10, 50])
def test_a_clock_cut_leaves_the_contender_out_and_keeps_its_records(
    looks: int, make_problem: MakeProblem, small: Recipe, ticking: Callable[[int], Clock]
) -> None:
    problem = make_problem()
    finalist, records = final(problem, over_folds(small, problem), ticking(looks))
    assert finalist is None
    assert {record.state for record in records} == {"interrupted"}
    assert all(record.steps < 60 for record in records)


def test_networks_that_diverged_are_left_out(make_problem: MakeProblem, small: Recipe, endless: Clock) -> None:
    problem = make_problem("regression")
    tame = over_folds(small.replace("optimizer", "sgd").replace("learning_rate.peak", 1e-3), problem, k=2)
    wild = over_folds(small.replace("optimizer", "sgd").replace("learning_rate.peak", 10.0), problem, k=2)
    mixed, records = final(problem, [tame[0], wild[1]], endless)
    assert mixed is not None
    assert len(records) == 2
    lost, _ = final(problem, wild, endless)
    for finalist in (mixed, lost):
        for network in finalist.networks if finalist is not None else []:
            assert np.isfinite(alone(network, problem, network.member.held_out)).all()
            assert math.isfinite(finalist.score)


def test_the_records_of_diverged_networks_say_so(make_problem: MakeProblem, small: Recipe, endless: Clock) -> None:
    problem = make_problem("regression")
    wild = over_folds(small.replace("optimizer", "sgd").replace("learning_rate.peak", 10.0), problem, k=2)
    _, records = final(problem, wild, endless)
    assert [record.state for record in records] == ["diverged", "diverged"]


def test_folds_of_unequal_size_train_together(make_problem: MakeProblem, small: Recipe, endless: Clock) -> None:
    problem = make_problem(rows=ROWS + 3)
    members = over_folds(small, problem)
    assert len({len(member.rows) for member in members}) == 2
    finalist, records = final(problem, members, endless)
    assert finalist is not None
    assert len(finalist.networks) == len(records) == FOLDS
    assert len({record.steps for record in records}) == 1


# ------------------------------------------------------------ several finalists


def stand_in(problem: TableProblem, predicted: torch.Tensor, rows: torch.Tensor, name: str) -> Finalist:
    """A finalist of two networks, of which only the predictions matter."""
    networks: list[Any] = [f"{name} 0", f"{name} 1"]
    return Finalist.judged(problem, metric_for(problem.task), networks, rows, predicted)


def test_finalists_that_err_apart_are_averaged_by_what_each_is_worth(make_problem: MakeProblem) -> None:
    problem = make_problem("regression", rows=4000)
    rows = problem.rows[torch.randperm(len(problem.rows), generator=torch.Generator().manual_seed(0))]
    noise = torch.randn(3, len(rows), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    spreads = (1.0, 1.5, 40.0)
    good, fair, useless = (
        stand_in(problem, problem.target[rows] + problem.width * spread * part, rows, name)
        for spread, part, name in zip(spreads, noise, "abc", strict=True)
    )
    found = blended(problem, metric_for("regression"), [good, fair, useless])
    assert found.networks == ["a 0", "a 1", "b 0", "b 1"]
    assert sum(found.weights) == pytest.approx(1)
    assert found.score < 0.9 * good.score
    # Inverse variances give the least error: 1 to 1 / 1.5².
    assert found.weights[0] * 2 == pytest.approx(1 / (1 + 1.5**-2), abs=0.05)
    together = found.weights[0] * 2 * good.predicted + found.weights[2] * 2 * fair.predicted
    torch.testing.assert_close(found.predicted, together)
    assert found.score == pytest.approx(math.sqrt(mean_squared_error(problem.target[found.rows], together)), rel=1e-6)


def test_a_finalist_that_helps_nothing_is_left_out(make_problem: MakeProblem) -> None:
    problem = make_problem("regression")
    rows = problem.rows
    best = stand_in(problem, problem.target[rows] + 0.1, rows, "best")
    worse = stand_in(problem, problem.target[rows] + 0.5, rows, "worse")
    elsewhere = stand_in(problem, problem.target[rows[:-1]] - 0.1, rows[:-1], "other rows")
    found = blended(problem, metric_for("regression"), [best, worse, elsewhere])
    assert (found.networks, found.weights) == (best.networks, [0.5, 0.5])
    assert found.score == best.score


@pytest.mark.parametrize("true", [0.5, 1.0, 2.0])
def test_the_temperature_undoes_what_makes_probabilities_too_sure(true: float, make_problem: MakeProblem) -> None:
    problem = make_problem("multiclass", rows=6000)
    generator = torch.Generator().manual_seed(3)
    log_p = torch.randn(len(problem.target), 3, generator=generator, dtype=torch.float64).log_softmax(-1)
    problem.target[:] = torch.multinomial(log_p.exp(), 1, generator=generator).squeeze(-1)
    rows = problem.rows
    sure = (true * log_p[rows]).softmax(-1)
    found = temperature(problem, rows, sure)
    assert found == 1.0 if true == 1.0 else found == pytest.approx(true, rel=0.1)
    finalist = stand_in(problem, sure, rows, "sure")
    assert finalist.temperatures == [found, found]
    told = finalist.predicted.log()
    torch.testing.assert_close(told - told[:, :1], (log_p[rows] - log_p[rows][:, :1]) * true / found)  # odds, to their power
    truth = problem.target[finalist.rows]
    assert finalist.loss == pytest.approx(log_loss(truth, finalist.predicted, labels=range(3)), rel=1e-6)
    assert finalist.score == pytest.approx(float((finalist.raw.argmax(-1) == truth).double().mean()))


def test_values_have_no_temperature(make_problem: MakeProblem) -> None:
    problem = make_problem("regression")
    assert temperature(problem, problem.rows, problem.target[problem.rows] * 3) == 1.0


def test_predictions_that_are_not_finite_have_no_temperature(make_problem: MakeProblem) -> None:
    problem = make_problem("multiclass")
    predicted = torch.full((len(problem.rows), 3), 1 / 3)
    predicted[0] = torch.nan
    assert stand_in(problem, predicted, problem.rows, "sick").temperatures == [1.0, 1.0]


def test_each_recipe_has_its_own_temperature_before_their_mean(make_problem: MakeProblem) -> None:
    problem = make_problem("multiclass", rows=6000)
    generator = torch.Generator().manual_seed(3)
    seen = torch.randn(2, len(problem.target), 3, generator=generator, dtype=torch.float64)
    problem.target[:] = torch.multinomial(seen.mean(0).mul(2).softmax(-1), 1, generator=generator).squeeze(-1)
    rows = problem.rows
    sure, unsure = (
        stand_in(problem, (power * part[rows]).softmax(-1), rows, name)
        for power, part, name in zip((9.0, 0.2), seen, "ab", strict=True)
    )
    assert sure.temperatures[0] > 2
    assert unsure.temperatures[0] < 0.5
    found = blended(problem, metric_for("multiclass").heeding(len(rows)), [sure, unsure])
    assert found.temperatures == [*sure.temperatures, *unsure.temperatures]
    told = [network_share * 2 * one.predicted for network_share, one in zip(found.weights[::2], (sure, unsure), strict=True)]
    torch.testing.assert_close(found.predicted, sum(told))
    assert found.loss < min(sure.loss, unsure.loss)


def test_the_time_that_is_left_counts_the_steps_that_cost_more(
    make_problem: MakeProblem, small: Recipe, monkeypatch: pytest.MonkeyPatch, endless: Clock
) -> None:
    recipe = small.replace("batch", {"kind": "growing", "size": 8, "factor": 4.0, "stages": 2})
    problem, now = make_problem("binary"), 0.0

    def train(self: Cohort, until: int, clock: Clock) -> bool:
        """A row takes a second."""
        nonlocal now
        now += sum(self.sizes[self.step : until])
        self.step = max(self.step, until)
        return True

    monkeypatch.setattr(Cohort, "train", train)
    monkeypatch.setattr(Cohort, "judging", lambda _: 0.0)
    monkeypatch.setattr("titrant.search.finals.time.monotonic", lambda: now)
    (member, *_) = over_folds(recipe, problem)
    cohort = Cohort(problem, [member], metric_for("binary"), endless)
    _, _, left = _begun(0, cohort, 0.0, endless)
    assert left == pytest.approx(sum(cohort.sizes[cohort.step :]))
