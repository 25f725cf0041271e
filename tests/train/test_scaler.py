"""Half precision: scaled gradients are those of float32, and one that overflows costs a step, not the member."""

from collections.abc import Callable

import pytest
import torch

from titrant.clock import Clock
from titrant.errors import TitrantError
from titrant.recipe import Recipe
from titrant.train.cohort import Cohort
from titrant.train.hardware import prepare
from titrant.train.member import Member
from titrant.train.metrics import METRICS
from titrant.train.scaler import Scaler
from titrant.train.tables import TableProblem
from titrant.tricks.hardware import Hardware

CPU = torch.device("cpu")
MakeProblem = Callable[..., TableProblem]


def test_scaling_and_restoring_cancel_out() -> None:
    scaler = Scaler(2, CPU)
    weights = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    losses = (weights**2).sum(dim=1)
    (scaled,) = torch.autograd.grad(scaler.scaled(losses).sum(), weights, retain_graph=True)
    (plain,) = torch.autograd.grad(losses.sum(), weights)
    torch.testing.assert_close(scaler.restored(scaled), plain)


@pytest.mark.parametrize("what", [float("inf"), float("nan")])
def test_an_overflow_is_one_members_own_and_lowers_its_scale(what: float) -> None:
    scaler = Scaler(3, CPU)
    before = scaler.scale.clone()
    grad = torch.ones(3, 4)
    grad[1, 2] = what
    found = scaler.restored(grad)
    assert torch.equal(found[1], torch.zeros(4))
    assert torch.equal(found[[0, 2]], grad[[0, 2]] / before[0])
    assert (scaler.scale / before).tolist() == [1.0, 0.5, 1.0]


def test_the_scale_grows_after_two_thousand_steps_as_torchs_own_does() -> None:
    """The reference is `torch.amp.GradScaler`, by its documented constants and its own update rule."""
    scaler, reference = Scaler(1, CPU), 65536.0
    since = 0
    for step in range(6100):
        fits = step not in {500, 4000}
        scaler.restored(torch.ones(1, 2) if fits else torch.full((1, 2), float("inf")))
        since = since + 1 if fits else 0
        reference *= 1.0 if fits else 0.5
        if since == 2000:
            reference, since = 2 * reference, 0
        assert float(scaler.scale) == reference


def test_members_that_stay_keep_their_scales() -> None:
    scaler = Scaler(3, CPU)
    scaler.scale = torch.tensor([1.0, 2.0, 4.0])
    scaler.keep([0, 2])
    other = Scaler(2, CPU)
    other.load(scaler.state())
    assert other.scale.tolist() == [1.0, 4.0]


def cohort_of(problem: TableProblem, precision: str, members: int) -> Cohort:
    recipe = Recipe().replace("model.width", 16).replace("batch.size", 32).replace("stop.epochs", 10)
    recipe = recipe.replace("hardware.precision", precision).replace("learning_rate.peak", 0.01)
    made = [Member(k, recipe, 5 + k, "test", problem.rows, torch.arange(64, 96)) for k in range(members)]
    return Cohort(problem, made, METRICS["accuracy"], Clock.of(3600.0))


@pytest.mark.parametrize("members", [1, 3])
def test_a_training_in_half_precision_has_the_losses_of_float32(members: int, make_problem: MakeProblem) -> None:
    problem = make_problem()
    half, single = (cohort_of(problem, precision, members) for precision in ("fp16", "fp32"))
    for cohort in (half, single):
        assert cohort.advance(cohort.steps, cohort.clock)
    assert half.scaler is not None
    assert single.scaler is None
    for mine, theirs in zip(half.histories, single.histories, strict=True):
        losses = [[point.loss_train for point in history.curve] for history in (mine, theirs)]
        assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert not torch.equal(half.weights.flat, single.weights.flat)


def test_half_precision_is_refused_on_a_cpu() -> None:
    with pytest.raises(TitrantError, match="half precision is for GPUs"):
        prepare(Hardware(precision="fp16"), CPU)
