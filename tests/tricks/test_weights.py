"""Weight standardisation against its formula in double precision."""

import numpy as np
import pytest
import torch

from titrant.tricks.weights import Scaled, Standardized


def expected(weight: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Row by row, in double precision."""
    found = np.empty_like(weight)
    for unit, row in enumerate(weight):
        centred = row - row.mean()
        found[unit] = gain[unit] * centred / np.sqrt((centred * centred).sum() + 1e-4)
    return found


def test_rows_get_mean_zero_and_the_length_of_their_gain() -> None:
    random = np.random.default_rng(0)
    weight, gain = random.normal(0.3, 2.0, (5, 27)), random.normal(size=5)
    found = Standardized.apply(torch.tensor(weight).float(), None)
    np.testing.assert_allclose(found, expected(weight, np.ones(5)), rtol=1e-4, atol=1e-6)
    found = Scaled.apply(torch.tensor(weight).float(), torch.tensor(gain).float())
    np.testing.assert_allclose(found, expected(weight, gain), rtol=1e-4, atol=1e-6)


def test_a_stack_is_standardised_member_by_member() -> None:
    weight, gain = torch.randn(3, 5, 18), torch.randn(3, 5)
    found = Scaled.apply(weight, gain)
    for k in range(3):
        assert torch.equal(found[k], Scaled.apply(weight[k], gain[k]))


@pytest.mark.parametrize("value", [0.0, 1.0, -1e4])
def test_equal_weights_become_zero_with_a_finite_gradient(value: float) -> None:
    weight = torch.full((2, 9), value, requires_grad=True)
    found = Standardized.apply(weight, None)
    assert found.abs().max() < 0.2  # of rounding errors, in the mean of large numbers
    found.sum().backward()
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


def test_length_and_mean_of_raw_weights_do_not_matter() -> None:
    weight = torch.randn(4, 36)
    found, same = Standardized.apply(20 * weight + 3, None), Standardized.apply(weight, None)
    torch.testing.assert_close(found, same, rtol=1e-4, atol=1e-5)
