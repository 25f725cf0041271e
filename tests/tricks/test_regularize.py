"""Penalties, decay, norms and the loss of classifiers, against torch, scikit-learn and plain formulas."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from titrant.tricks.base import Off, segments
from titrant.tricks.layout import Layout
from titrant.tricks.regularize import (
    L1,
    L2,
    ClassWeights,
    Decay,
    Focal,
    LabelSmoothing,
    MaxNorm,
    NormTrick,
    PenaltyTrick,
    Regularize,
    StochasticDepth,
    UnitNorm,
    cross_entropy,
)

LAYOUT = Layout.of({"weight": ((4, 3), True), "filter": ((2, 1, 2, 2), True), "bias": ((4,), False)})
END = LAYOUT.matrices_end
UNITS = 6


def rows(k: int, seed: int = 1) -> Tensor:
    """Any numbers, [k, P]."""
    return torch.randn(k, LAYOUT.size, generator=torch.Generator().manual_seed(seed))


def stacked(tricks: list[Any]) -> dict[str, Any]:
    """The doses of several members."""
    (part,) = segments(tricks, axes=1)
    return part.values


@pytest.mark.parametrize(
    ("trick", "loss"),
    [(L1(strength=0.02), lambda w: 0.02 * w.abs().sum()), (L2(strength=0.02), lambda w: 0.01 * w.square().sum())],
)
def test_a_penalty_adds_the_gradient_of_its_loss_to_matrices(trick: PenaltyTrick, loss: Any) -> None:
    flat, grad = rows(2, 1), rows(2, 2)
    matrices = flat[:, :END].clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(matrices), matrices)
    found, before = grad.clone(), flat.clone()
    trick.add(found, flat, LAYOUT, strength=0.02)
    torch.testing.assert_close(found[:, :END], grad[:, :END] + slope)
    assert torch.equal(found[:, END:], grad[:, END:])
    assert torch.equal(flat, before)


@pytest.mark.parametrize("kind", [L1, L2])
def test_penalties_of_stacked_members_equal_separate_ones(kind: Any) -> None:
    tricks, flat, grad = [kind(strength=s) for s in (0.0, 1e-3, 0.5)], rows(3, 1), rows(3, 2)
    together = grad.clone()
    kind.add(together, flat, LAYOUT, **stacked(tricks))
    assert torch.equal(together[0], grad[0]), "off is absence to the last bit"
    for i, trick in enumerate(tricks):
        alone = grad[i : i + 1].clone()
        kind.add(alone, flat[i : i + 1], LAYOUT, strength=trick.strength)
        torch.testing.assert_close(together[i : i + 1], alone)


def test_decay_shrinks_matrices_by_a_share_of_the_learning_rate() -> None:
    flat = rows(3)
    found = flat.clone()
    rates = torch.tensor([[0.1], [0.2], [0.1]])
    Decay.decay(found, rates, LAYOUT, **stacked([Decay(rate=0.5), Decay(rate=0.5), Decay(rate=0.0)]))
    torch.testing.assert_close(found[:2, :END], flat[:2, :END] * torch.tensor([[0.95], [0.9]]))
    assert torch.equal(found[:, END:], flat[:, END:])
    assert torch.equal(found[2], flat[2]), "off is absence to the last bit"
    alone = flat[:1].clone()
    Decay.decay(alone, 0.1, LAYOUT, rate=0.5)
    torch.testing.assert_close(alone, found[:1])


def units(flat: Tensor) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    """The weights into each unit of one row, in float64."""
    row = flat.double().numpy()
    return [
        part for entry in LAYOUT.entries if entry.matrix for part in np.split(row[entry.start : entry.stop], entry.shape[0])
    ]


@given(st.integers(0, 999), st.floats(0.01, 100.0))
def test_max_norm_shortens_long_units_only(seed: int, limit: float) -> None:
    flat = rows(1, seed)
    found = flat.clone()
    share = MaxNorm.constrain(found, LAYOUT, limit=limit)
    lengths = [np.linalg.norm(unit) for unit in units(flat[0])]
    for before, after, length in zip(units(flat[0]), units(found[0]), lengths, strict=True):
        if length > limit * (1 + 1e-6):
            np.testing.assert_allclose(after, before * limit / length, rtol=1e-5)
        elif length < limit * (1 - 1e-6):
            np.testing.assert_array_equal(after, before)
    assert torch.equal(found[:, END:], flat[:, END:])
    assert share.tolist() == pytest.approx([np.mean([length > limit for length in lengths])])


def test_unit_norm_makes_every_unit_one_long() -> None:
    flat = rows(2)
    flat[0, :3] = 0.0  # a unit without weights
    found = flat.clone()
    share = UnitNorm.constrain(found, LAYOUT)
    lengths = np.array([[np.linalg.norm(unit) for unit in units(row)] for row in found])
    np.testing.assert_allclose(lengths, [[0, 1, 1, 1, 1, 1], [1] * 6], rtol=1e-6)
    assert torch.equal(found[:, END:], flat[:, END:])
    assert share.tolist() == [1.0, 1.0]
    again = found.clone()
    assert UnitNorm.constrain(again, LAYOUT).tolist() == pytest.approx([1 / UNITS, 0.0])
    torch.testing.assert_close(again, found)


def test_norms_of_stacked_members_equal_separate_ones() -> None:
    tricks, flat = [MaxNorm(limit=limit) for limit in (0.1, 1.5, 50.0)], rows(3)
    together = flat.clone()
    shares = MaxNorm.constrain(together, LAYOUT, **stacked(tricks))
    for i, trick in enumerate(tricks):
        alone = flat[i : i + 1].clone()
        torch.testing.assert_close(shares[i : i + 1], MaxNorm.constrain(alone, LAYOUT, limit=trick.limit))
        torch.testing.assert_close(together[i : i + 1], alone)
    assert torch.equal(together[2], flat[2])


@pytest.mark.parametrize("trick", [MaxNorm(limit=0.5), UnitNorm()])
def test_a_member_that_is_not_finite_leaves_the_others_alone(trick: NormTrick) -> None:
    healthy, ill = rows(3), rows(3)
    ill[1, 2] = torch.nan
    shares, ill_shares = (type(trick).constrain(flat, LAYOUT, **stacked([trick] * 3)) for flat in (healthy, ill))
    assert torch.equal(ill[::2], healthy[::2])
    assert torch.equal(ill_shares[::2], shares[::2])


@pytest.mark.parametrize("trick", [MaxNorm(), UnitNorm()])
def test_a_model_without_matrices_has_nothing_to_constrain(trick: NormTrick) -> None:
    layout = Layout.of({"scale": ((3,), False)})
    flat = torch.ones(2, 3)
    assert type(trick).constrain(flat, layout, **stacked([trick, trick])).tolist() == [0.0, 0.0]
    assert torch.equal(flat, torch.ones(2, 3))


def answers(*shape: int, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Log-probabilities [*shape, c] and classes [*shape]."""
    generator = torch.Generator().manual_seed(5)
    logits = 3 * torch.randn(*shape, classes, generator=generator)
    return logits.log_softmax(-1), torch.randint(classes, shape, generator=generator)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.9])
def test_cross_entropy_is_that_of_torch(epsilon: float, weighted: bool) -> None:
    log_p, target = answers(50)
    weights = torch.tensor([0.5, 1.0, 2.0, 0.25]) if weighted else None
    expected = torch.nn.functional.cross_entropy(log_p, target, weights, label_smoothing=epsilon, reduction="none")
    torch.testing.assert_close(cross_entropy(log_p, target, epsilon=epsilon, weights=weights), expected)


@pytest.mark.parametrize("weights", [None, torch.tensor([[0.5, 1.0, 2.0, 0.25], [1.0] * 4, [2.0, 0.1, 0.1, 1.0]])])
def test_the_loss_of_stacked_members_equals_separate_ones(weights: Tensor | None) -> None:
    log_p, target = answers(3, 20)
    epsilon, gamma = torch.tensor([[0.0], [0.1], [0.3]]), torch.tensor([[2.0], [0.0], [0.5]])
    together = cross_entropy(log_p, target, epsilon=epsilon, gamma=gamma, weights=weights)
    for i in range(3):
        alone = cross_entropy(
            log_p[i],
            target[i],
            epsilon=epsilon[i].item(),
            gamma=gamma[i].item(),
            weights=None if weights is None else weights[i],
        )
        torch.testing.assert_close(together[i], alone)


def test_one_set_of_class_weights_serves_all_members() -> None:
    log_p, target = answers(3, 20)
    weights = torch.tensor([0.5, 1.0, 2.0, 0.25])
    assert torch.equal(
        cross_entropy(log_p, target, weights=weights), cross_entropy(log_p, target, weights=weights.expand(3, -1))
    )


def test_doses_that_are_off_leave_the_loss_to_the_last_bit() -> None:
    log_p, target = answers(2, 50)
    plain = cross_entropy(log_p, target)
    zero = torch.zeros(2, 1)
    assert torch.equal(cross_entropy(log_p, target, epsilon=zero, gamma=zero, weights=torch.ones(2, 4)), plain)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_is_the_formula_of_the_paper(gamma: float) -> None:
    log_p, target = answers(50)
    p = np.exp(log_p.double().numpy())[np.arange(50), target.numpy()]
    # p is known to float32 precision, which is what limits 1 - p near certainty.
    np.testing.assert_allclose(
        cross_entropy(log_p, target, gamma=gamma).numpy(), -((1 - p) ** gamma) * np.log(p), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("margin", [0.0, 1e-6, 5.0, 20.0, 1e4])
def test_focal_gradients_are_finite_everywhere(margin: float, epsilon: float) -> None:
    gammas = torch.tensor([[0.0], [1e-6], [0.3], [1.0], [10.0]])
    logits = torch.zeros(5, 2, 3)
    logits[:, 0, 0] = margin  # an answer that is right, and one that is wrong
    logits[:, 1, 1] = margin
    logits.requires_grad_()
    loss = cross_entropy(logits.log_softmax(-1), torch.zeros(5, 2, dtype=torch.int64), epsilon=epsilon, gamma=gammas)
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    assert torch.isfinite(loss).all()
    assert torch.isfinite(slope).all()
    assert slope.abs().max() <= 12.0


def test_the_slope_of_focal_loss_is_that_of_the_formula() -> None:
    logits = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 1, 2, 0, 1, 2])
    weights = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: cross_entropy(x.log_softmax(-1), target, epsilon=0.1, gamma=0.7, weights=weights), (logits,)
    )


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=10), st.floats(0.0, 1.0))
def test_class_weights_have_mean_one_over_rows(counts: list[int], power: float) -> None:
    number = np.array(counts, dtype=np.float64)
    expected = number**-power / np.average(number**-power, weights=number)
    found = ClassWeights.weights(torch.tensor(counts), power=power)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_full_class_weights_are_those_called_balanced() -> None:
    labels = np.repeat([0, 1, 2], [70, 20, 5])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(ClassWeights.weights(torch.tensor([70, 20, 5]), power=1.0).numpy(), expected, rtol=1e-6)


def test_class_weights_of_stacked_members_equal_separate_ones() -> None:
    counts, tricks = torch.tensor([7000, 13, 1]), [ClassWeights(power=power) for power in (0.0, 0.3, 1.0)]
    together = ClassWeights.weights(counts, **stacked(tricks))
    assert together.shape == (3, 3)
    assert torch.equal(together[0], torch.ones(3)), "off is absence to the last bit"
    for i, trick in enumerate(tricks):
        torch.testing.assert_close(together[i], ClassWeights.weights(counts, power=trick.power))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_a_class_without_rows_weighs_nothing(power: float) -> None:
    weights = ClassWeights.weights(torch.tensor([30, 0, 10]), power=power)
    assert weights[1] == 0
    assert (30 * weights[0] + 10 * weights[2]).item() == pytest.approx(40)


def test_parts_are_absent_unless_asked_for_and_may_act_together() -> None:
    assert all(getattr(Regularize(), name) == Off() for name in Regularize.model_fields)
    both = Regularize.model_validate({"l1": {"strength": 0.01}, "decay": {"rate": 0.1}, "focal": "focal"})
    assert (both.l1, both.decay, both.focal, both.l2) == (L1(strength=0.01), Decay(rate=0.1), Focal(), Off())
    assert Regularize.model_validate(both.model_dump()) == both


@pytest.mark.parametrize(
    "trick", [L1(strength=0), L2(strength=0), Decay(rate=0), LabelSmoothing(epsilon=0), Focal(gamma=0), ClassWeights(power=0)]
)
def test_zero_is_off(trick: Any) -> None:
    assert trick.is_off


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"l1": {"strength": 2.0}}, ("l1", "l1", "strength")),
        ({"label_smoothing": {"epsilon": 1.0}}, ("label_smoothing", "label_smoothing", "epsilon")),
        ({"l3": {}}, ("l3",)),
    ],
)
def test_what_is_out_of_range_is_refused_with_its_place(wrong: dict[str, Any], place: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as refused:
        Regularize.model_validate(wrong)
    assert refused.value.errors()[0]["loc"] == place


@given(p=st.floats(0.0, 0.9), share=st.floats(0.05, 1.0))
def test_stochastic_depth_keeps_the_expectation_exactly(p: float, share: float) -> None:
    every = torch.arange(256, dtype=torch.uint8)
    found = StochasticDepth.factor(every, share, p=p)
    assert found.mean().item() == pytest.approx(1.0, abs=1e-5)
    assert (found == 0).sum().item() == pytest.approx(256 * p * share, abs=0.51)
    stacked = StochasticDepth.factor(every.expand(2, -1), share, p=torch.tensor([[p], [0.0]]))
    torch.testing.assert_close(stacked[0], found)
    assert (stacked[1] == 1).all()
