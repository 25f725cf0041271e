"""The data on the device: target scaling, class counts, encodings that are shared and never mixed up."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from titrant.models.encoder import Encoder
from titrant.recipe import Recipe
from titrant.train.cohort import Cohort
from titrant.train.problem import probabilities, values
from titrant.train.tables import TableProblem
from titrant.tricks.data import Data

Problems = Callable[..., TableProblem]
Cohorts = Callable[..., Cohort]


def test_values_are_scaled_over_the_learnable_rows(make_problem: Problems) -> None:
    problem = make_problem("regression")
    learnable = problem.target[:64].double().numpy()
    assert problem.centre == pytest.approx(learnable.mean(), rel=1e-12)
    assert problem.width == pytest.approx(learnable.std(), rel=1e-12)
    scaled = problem.scaled_target()
    assert scaled.dtype == torch.float32
    expected = (problem.target.double().numpy() - learnable.mean()) / learnable.std()
    np.testing.assert_allclose(scaled.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_values_stay_near_those_that_were_learned_from(make_problem: Problems) -> None:
    problem = make_problem("regression")
    learnable = problem.target[:64].double()
    wild = torch.tensor([-3e38, -1.0, 0.0, 1.0, float("inf"), float("nan")]).reshape(1, 6, 1)
    read = problem.read(wild, 1)[0].double()
    low, high = learnable.min(), learnable.max()
    room = (high - low) / 2
    expected = (wild.flatten().double() * problem.width + problem.centre).clamp(low - room, high + room)
    expected[4] = float("inf")  # of a network that has diverged
    torch.testing.assert_close(read, expected, rtol=1e-5, atol=1e-5, equal_nan=True)
    assert make_problem("binary").reach is None


def test_a_constant_target_is_only_centred(make_problem: Problems) -> None:
    problem = replace(make_problem("regression"), target=torch.full((96,), 7.0))
    assert (problem.centre, problem.width) == (7.0, 1.0)
    assert torch.equal(problem.scaled_target(), torch.zeros(96))


def test_a_target_far_from_zero_keeps_its_digits(make_problem: Problems) -> None:
    problem = replace(make_problem("regression"), target=1e6 + torch.arange(96) / 4)
    assert problem.scaled_target()[:64].double().std(correction=0).item() == pytest.approx(1.0, rel=1e-5)


def test_classes_stay_as_they_are(make_problem: Problems) -> None:
    problem = make_problem("multiclass")
    assert (problem.centre, problem.width) == (0.0, 1.0)
    assert torch.equal(problem.scaled_target(), problem.target)
    expected = np.bincount(problem.target[:64].numpy(), minlength=3)
    assert problem.class_counts().tolist() == expected.tolist()


def test_class_counts_know_classes_without_rows(make_problem: Problems) -> None:
    problem = replace(make_problem("binary"), classes=4)
    assert problem.class_counts()[2:].tolist() == [0, 0]


def test_encodings_are_shared_by_those_who_ask_for_the_same(make_problem: Problems) -> None:
    problem = make_problem()
    one = problem.encoded(Data(scale="robust"), problem.rows)
    assert problem.encoded(Data(scale="robust", numbers="periodic"), problem.rows) is one
    assert problem.encoded(Data(scale="quantile"), problem.rows) is not one
    assert problem.encoded(Data(scale="robust"), problem.rows[:32]) is not one


def test_codings_of_categories_share_what_is_scaled_and_nothing_else(make_problem: Problems) -> None:
    problem = make_problem()
    few = Data(categories={"kind": "one_hot", "most": 2})
    one, other = problem.encoded(Data(), problem.rows), problem.encoded(few, problem.rows)
    expected = Encoder.fit(few, problem.numbers[:64], problem.codes[:64], problem.cardinalities)
    numbers, codes = expected(problem.numbers, problem.codes)
    assert torch.equal(other.inputs[0], numbers)
    assert torch.equal(other.inputs[1], codes)
    assert not torch.equal(one.inputs[1], codes)
    other_fold = problem.encoded(few, problem.rows[:32])
    assert not torch.equal(other_fold.inputs[0], other.inputs[0])


def test_encodings_of_rows_that_are_gone_are_not_taken_for_others(make_problem: Problems) -> None:
    """A new tensor may stand where a forgotten one stood."""
    problem = make_problem()

    def rows(fold: int) -> torch.Tensor:
        return torch.arange(64).roll(fold)[:20].clone()

    found = [problem.encoded(Data(), rows(fold)).encoder for fold in range(20)]
    for fold, encoder in enumerate(found):
        chosen = rows(fold)
        expected = Encoder.fit(Data(), problem.numbers[chosen], problem.codes[chosen], problem.cardinalities)
        assert torch.equal(encoder.scale_centre, expected.scale_centre)


def test_encoded_rows_hold_no_gap_and_say_where_one_was(make_problem: Problems) -> None:
    problem = make_problem()
    encoded = problem.encoded(Data(), problem.rows)
    assert encoded.inputs[0].shape == (96, 5)
    assert encoded.inputs[0].isfinite().all()
    assert torch.equal(encoded.inputs[0][:, 4].bool(), problem.numbers[:, 3].isnan())
    shape = problem.shape(encoded.encoder)
    assert (shape.numbers, shape.indicators, shape.outputs) == (4, 1, 2)


def test_all_encodings_of_a_problem_have_the_same_shape(make_problem: Problems) -> None:
    """A fold may lack the gaps that another one has; stacks need equal shapes."""
    problem = make_problem()
    whole = problem.numbers[:64, 3].isfinite().nonzero().flatten()
    widths = {problem.encoded(Data(), rows).inputs[0].shape[1] for rows in (problem.rows, whole)}
    assert widths == {5}


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("lead", [(), (2,)])
def test_predictions_are_means_over_views(views: int, lead: tuple[int, ...]) -> None:
    logits = torch.randn(*lead, views * 4, 5)
    wide = logits.double().numpy().reshape(*lead, views, 4, 5)
    exponential = np.exp(wide)
    expected = (exponential / exponential.sum(-1, keepdims=True)).mean(-3)
    np.testing.assert_allclose(probabilities(logits, views).numpy(), expected, rtol=1e-5)
    single = torch.randn(*lead, views * 4, 1)
    expected = single.double().numpy().reshape(*lead, views, 4).mean(-2)
    np.testing.assert_allclose(values(single, views).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_predictions_do_not_depend_on_the_pieces_in_which_they_are_made(
    make_problem: Problems, make_cohort: Cohorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_problem("multiclass")
    member = make_cohort(problem, [Recipe()]).trained(0)
    every = torch.arange(len(problem.target))
    whole = problem.predicted(member.network, member.encoder, every)
    monkeypatch.setattr("titrant.train.problem.HELD", 1)
    torch.testing.assert_close(problem.predicted(member.network, member.encoder, every), whole)
