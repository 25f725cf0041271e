"""Dropout: the share of units that rest, the moments that stay, and stacks that equal their members."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from torch import Tensor

from titrant.tricks.base import segments
from titrant.tricks.dropout import Alpha, Bernoulli, DropoutTrick

KINDS: list[type[DropoutTrick]] = [Bernoulli, Alpha]
EVERY_BYTE = torch.arange(256, dtype=torch.uint8)

shares = st.floats(0.0, 0.9)


def noise_like(x: Tensor) -> Tensor:
    return torch.randint(0, 256, x.shape, dtype=torch.uint8)


@pytest.mark.parametrize("kind", KINDS)
@given(p=shares)
def test_the_share_that_rests_is_p_to_the_nearest_byte(kind: type[DropoutTrick], p: float) -> None:
    _, kept = kind.apply(torch.ones(256), EVERY_BYTE, p=p)
    assert kept.dtype == torch.uint8
    assert (kept == 0).sum().item() / 256 == pytest.approx(p, abs=0.5 / 256)


@given(p=shares)
def test_bernoulli_keeps_the_mean(p: float) -> None:
    y, kept = Bernoulli.apply(torch.ones(256), EVERY_BYTE, p=p)
    assert y.double().mean().item() == pytest.approx(1.0, rel=1e-7)
    assert torch.equal(y != 0, kept.bool())
    assert torch.unique(y[kept.bool()]).numel() == 1


@given(p=shares)
def test_alpha_keeps_mean_and_variance(p: float) -> None:
    # Two values of mean 0 and variance 1, each met by every byte: the sample's moments are the expectation's.
    x = torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat_interleave(256)
    y, _ = Alpha.apply(x, EVERY_BYTE.repeat(2), p=p)
    assert y.mean().item() == pytest.approx(0.0, abs=1e-12)
    assert y.var(correction=0).item() == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("p", [0.05, 0.3])
def test_alpha_keeps_the_moments_of_selu_activations(p: float) -> None:
    # Evenly spaced quantiles stand for a standard normal pre-activation, without sampling error.
    z = special.ndtri((np.arange(4000) + 0.5) / 4000)
    x = torch.nn.functional.selu(torch.from_numpy(z)).repeat_interleave(256)
    y, _ = Alpha.apply(x, EVERY_BYTE.repeat(4000), p=p)
    assert y.mean().item() == pytest.approx(0.0, abs=2e-3)
    assert y.var(correction=0).item() == pytest.approx(1.0, abs=5e-3)


def bernoulli_reference(x: np.ndarray, kept: np.ndarray, q: float) -> np.ndarray:
    return np.where(kept, x / (1 - q), 0.0)


def alpha_reference(x: np.ndarray, kept: np.ndarray, q: float) -> np.ndarray:
    saturated = -1.0507009873554804934193349852946 * 1.6732632423543772848170429916717
    a = 1 / math.sqrt((1 - q) * (1 + q * saturated**2))
    return a * np.where(kept, x, saturated) - a * q * saturated


@pytest.mark.parametrize(("kind", "reference"), [(Bernoulli, bernoulli_reference), (Alpha, alpha_reference)])
@given(p=shares)
def test_values_follow_the_formula(
    kind: type[DropoutTrick], reference: Callable[[np.ndarray, np.ndarray, float], np.ndarray], p: float
) -> None:
    x = torch.randn(8, 32)
    noise = noise_like(x)
    y, kept = kind.apply(x, noise, p=p)
    q = float(np.rint(p * 256)) / 256
    assert torch.equal(kept, noise >= q * 256)
    np.testing.assert_allclose(y.numpy(), reference(x.double().numpy(), kept.numpy(), q), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("p", [0.0, torch.zeros(3, 1, 1)])
def test_off_is_the_identity_bit_for_bit(kind: type[DropoutTrick], p: float | Tensor) -> None:
    x = torch.randn(3, 16, 16) * 10.0 ** torch.randint(-30, 30, (3, 16, 16))
    y, kept = kind.apply(x, noise_like(x), p=p)
    assert torch.equal(y.view(torch.int32), x.view(torch.int32))
    assert kept.all()


@pytest.mark.parametrize("kind", KINDS)
@given(ps=st.lists(st.integers(0, 900).map(lambda n: n / 1000), min_size=2, max_size=5))
def test_a_stack_equals_its_members(kind: type[DropoutTrick], ps: list[float]) -> None:
    x = torch.randn(len(ps), 6, 4, requires_grad=True)
    noise, weights = noise_like(x), torch.randn(x.shape)
    (part,) = segments([kind.model_validate({"p": p}) for p in ps], axes=2)
    y, kept = kind.apply(x, noise, **part.values)
    y.backward(weights)
    assert x.grad is not None
    for member, p in enumerate(ps):
        alone = x[member].detach().clone().requires_grad_()
        y_alone, kept_alone = kind.apply(alone, noise[member], p=p)
        y_alone.backward(weights[member])
        assert torch.equal(kept[member], kept_alone)
        torch.testing.assert_close(y[member], y_alone)
        torch.testing.assert_close(x.grad[member], alone.grad)


@pytest.mark.parametrize("kind", KINDS)
def test_units_that_rest_pass_no_gradient(kind: type[DropoutTrick]) -> None:
    x = torch.randn(256, requires_grad=True)
    y, kept = kind.apply(x, EVERY_BYTE, p=0.5)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad != 0, kept)
