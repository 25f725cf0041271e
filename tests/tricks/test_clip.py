"""Clipping against torch's own, and row by row."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from titrant.tricks.base import segments
from titrant.tricks.clip import Adaptive, ByNorm, ByValue, ClipTrick
from titrant.tricks.layout import Layout

LAYOUT = Layout.of({"weight": ((4, 3), True), "filter": ((2, 1, 2, 2), True), "bias": ((4,), False)})
TRICKS = [ByNorm(max_norm=0.5), ByNorm(max_norm=100), ByValue(limit=0.3), ByValue(limit=100), Adaptive(), Adaptive(ratio=9)]


def rows(k: int, seed: int) -> Tensor:
    """Any numbers, [k, P]."""
    return torch.randn(k, LAYOUT.size, generator=torch.Generator().manual_seed(seed))


def applied(trick: ClipTrick, grad: Tensor, flat: Tensor) -> tuple[Tensor, Tensor]:
    """The clipped copy of `grad`, and who was clipped."""
    (part,) = segments([trick])
    clipped = grad.clone()
    return clipped, type(trick).apply(clipped, flat, LAYOUT, **part.values)


def stacked(tricks: list[ClipTrick], grad: Tensor, flat: Tensor) -> tuple[Tensor, Tensor]:
    """The same with other doses for each member."""
    (part,) = segments(tricks, axes=1)
    clipped = grad.clone()
    return clipped, type(tricks[0]).apply(clipped, flat, LAYOUT, **part.values)


@given(st.integers(0, 999), st.floats(1e-4, 1e3))
def test_norm_is_that_of_torch(seed: int, max_norm: float) -> None:
    parameter = torch.zeros(LAYOUT.size, requires_grad=True)
    parameter.grad = rows(1, seed)[0].clone()
    norm = torch.nn.utils.clip_grad_norm_(parameter, max_norm)
    clipped, acted = applied(ByNorm(max_norm=max_norm), rows(1, seed), rows(1, 0))
    torch.testing.assert_close(clipped[0], parameter.grad)
    assert acted.tolist() == [bool(norm > max_norm)]


@given(st.integers(0, 999), st.floats(1e-6, 1e3))
def test_value_is_that_of_torch(seed: int, limit: float) -> None:
    parameter = torch.zeros(LAYOUT.size, requires_grad=True)
    parameter.grad = rows(1, seed)[0].clone()
    torch.nn.utils.clip_grad_value_(parameter, limit)
    clipped, acted = applied(ByValue(limit=limit), rows(1, seed), rows(1, 0))
    torch.testing.assert_close(clipped[0], parameter.grad)
    assert acted.tolist() == [not torch.equal(clipped, rows(1, seed))]


@given(st.integers(0, 999), st.floats(1e-4, 10.0), st.sampled_from([0.0, 1e-5, 1.0]))
def test_adaptive_is_the_formula_of_the_paper(seed: int, ratio: float, scale: float) -> None:
    grad, flat = rows(1, seed), scale * rows(1, seed + 1)
    expected = grad[0].double().numpy().copy()
    weights = flat[0].double().numpy()
    clipped_any = False
    for entry in LAYOUT.entries:
        if entry.matrix:
            for unit in range(entry.shape[0]):
                width = (entry.stop - entry.start) // entry.shape[0]
                part = slice(entry.start + unit * width, entry.start + (unit + 1) * width)
                longest = ratio * max(np.linalg.norm(weights[part]), 1e-3)
                if np.linalg.norm(expected[part]) > longest:
                    expected[part] *= longest / np.linalg.norm(expected[part])
                    clipped_any = True
    clipped, acted = applied(Adaptive(ratio=ratio), grad, flat)
    np.testing.assert_allclose(clipped[0].numpy(), expected, rtol=1e-5, atol=1e-9)
    assert acted.tolist() == [clipped_any]
    assert torch.equal(clipped[:, LAYOUT.matrices_end :], grad[:, LAYOUT.matrices_end :])


@pytest.mark.parametrize("kind", [ByNorm, ByValue, Adaptive])
def test_stacked_members_equal_separate_ones(kind: Any) -> None:
    dose = next(name for name in kind.model_fields if name != "kind")
    tricks = [kind(**{dose: value}) for value in (0.01, 0.2, 3.0)]
    together, acted = stacked(tricks, rows(3, 1), rows(3, 2))
    for i, trick in enumerate(tricks):
        alone, alone_acted = applied(trick, rows(3, 1)[i : i + 1], rows(3, 2)[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone)
        assert torch.equal(acted[i : i + 1], alone_acted)


@pytest.mark.parametrize("trick", TRICKS, ids=repr)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_row_that_is_not_finite_leaves_the_others_alone(trick: ClipTrick, bad: float) -> None:
    grad, flat = rows(3, 1), rows(3, 2)
    expected, expected_acted = stacked([trick] * 3, grad, flat)
    grad[1, 5] = bad
    found, acted = stacked([trick] * 3, grad, flat)
    assert torch.equal(found[::2], expected[::2])
    assert torch.equal(acted[::2], expected_acted[::2])


@pytest.mark.parametrize("trick", TRICKS, ids=repr)
def test_a_gradient_that_is_short_enough_stays_to_the_last_bit(trick: ClipTrick) -> None:
    grad = 1e-5 * rows(2, 1)
    clipped, acted = applied(trick, grad, rows(2, 2))
    assert torch.equal(clipped, grad)
    assert acted.tolist() == [False, False]


@pytest.mark.parametrize("trick", TRICKS, ids=repr)
def test_no_gradient_stays_none(trick: ClipTrick) -> None:
    clipped, acted = applied(trick, torch.zeros(2, LAYOUT.size), torch.zeros(2, LAYOUT.size))
    assert torch.equal(clipped, torch.zeros(2, LAYOUT.size))
    assert acted.tolist() == [False, False]


def test_a_dose_outside_its_range_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_norm"):
        ByNorm(max_norm=0.0)
