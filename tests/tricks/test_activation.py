"""Activations against float64 formulas, gains against numerical integrals, stacks against their members."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from scipy import integrate, special, stats
from torch.autograd import gradcheck

from titrant.space import doses
from titrant.tricks.activation import (
    ELU,
    GELU,
    SELU,
    Activation,
    ActivationTrick,
    LeakyReLU,
    Mish,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Tanh,
    gain_of,
)
from titrant.tricks.base import Off, options, segments

LAMBDA, ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def leaky(z: np.ndarray, slope: float) -> np.ndarray:
    return np.where(z > 0, z, slope * z)


def elu(z: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))


CASES: list[tuple[ActivationTrick, Callable[[np.ndarray], np.ndarray]]] = [
    (ReLU(), lambda z: np.maximum(z, 0)),
    (LeakyReLU(slope=0.2), lambda z: leaky(z, 0.2)),
    (LeakyReLU(slope=0.0), lambda z: np.maximum(z, 0)),
    (PReLU(), lambda z: leaky(z, 0.25)),
    (ELU(alpha=1.0), lambda z: elu(z, 1.0)),
    (ELU(alpha=2.5), lambda z: elu(z, 2.5)),
    (SELU(), lambda z: LAMBDA * elu(z, ALPHA)),
    (GELU(), lambda z: z * special.ndtr(z)),
    (SiLU(), lambda z: z * special.expit(z)),
    (Mish(), lambda z: z * np.tanh(np.logaddexp(0, z))),
    (Sigmoid(), special.expit),
    (Tanh(), np.tanh),
]
names = [repr(trick) for trick, _ in CASES]


def arguments(trick: ActivationTrick, width: int) -> dict[str, Any]:
    """The doses as numbers, the learned parameters as they start, float64."""
    learned = {name: torch.full((width,), start, dtype=torch.float64) for name, start in trick.learned.items()}
    return trick.model_dump(exclude={"kind"}) | learned


def test_the_slot_holds_every_kind() -> None:
    assert options(Activation) == (Off, *dict.fromkeys(type(trick) for trick, _ in CASES))
    adapter: TypeAdapter[Any] = TypeAdapter(Activation)
    assert adapter.validate_python("gelu") == GELU()
    assert adapter.validate_python(False) == Off()
    assert adapter.validate_python({"kind": "elu", "alpha": 0.5}) == ELU(alpha=0.5)


@pytest.mark.parametrize(("trick", "reference"), CASES, ids=names)
def test_values_follow_the_formula(trick: ActivationTrick, reference: Callable[[np.ndarray], np.ndarray]) -> None:
    z = np.concatenate([np.linspace(-12, 12, 197), [0.0, -0.0, 1e-9, -1e-9, 300.0, -300.0, 1e3, -1e3]]).reshape(5, 41)
    y = trick.apply(torch.from_numpy(z), **arguments(trick, 41))
    np.testing.assert_allclose(y.numpy(), reference(z), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("trick", [trick for trick, _ in CASES], ids=names)
def test_gradients_are_those_of_the_values(trick: ActivationTrick) -> None:
    x = torch.randn(6, 7, dtype=torch.float64)
    x = torch.where(x.abs() < 0.01, 0.5, x).requires_grad_()
    learned = {name: value.requires_grad_() for name, value in arguments(trick, 7).items() if name in trick.learned}
    fixed = trick.model_dump(exclude={"kind"})
    assert gradcheck(
        lambda x, *values: trick.apply(x, **fixed, **dict(zip(learned, values, strict=True))), (x, *learned.values())
    )


@pytest.mark.parametrize(("trick", "reference"), CASES, ids=names)
def test_the_gain_keeps_the_mean_square(trick: ActivationTrick, reference: Callable[[np.ndarray], np.ndarray]) -> None:
    square = sum(
        integrate.quad(lambda z: float(reference(np.float64(z))) ** 2 * stats.norm.pdf(z), *ends, epsabs=1e-15, epsrel=1e-12)[0]
        for ends in ((-40, 0), (0, 40))
    )
    assert gain_of(trick) == pytest.approx(1 / math.sqrt(square), rel=1e-10)


@given(st.floats(0.0, 0.5))
def test_gains_of_the_relu_family_are_those_of_torch(slope: float) -> None:
    assert gain_of(LeakyReLU(slope=slope)) == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", slope))
    assert gain_of(ReLU()) == torch.nn.init.calculate_gain("relu")
    assert gain_of(PReLU()) == torch.nn.init.calculate_gain("leaky_relu", 0.25)


def test_the_gain_of_nothing_is_one() -> None:
    assert gain_of(Off()) == 1.0


@pytest.mark.parametrize(("kind", "dose"), [(LeakyReLU, "slope"), (ELU, "alpha")])
@given(data=st.data())
def test_a_stack_equals_its_members(kind: type[ActivationTrick], dose: str, data: st.DataObject) -> None:
    mark = next(d.mark for d in doses(kind) if d.name == dose)
    values = data.draw(st.lists(st.floats(mark.low, mark.high), min_size=2, max_size=5))
    x = torch.randn(len(values), 6, 4) * 5
    x[:, 0] = 0.0
    x[:, 1] = torch.tensor([200.0, -200.0, 1e30, -1e30])
    x.requires_grad_()
    weights = torch.randn(x.shape)
    (part,) = segments([kind.model_validate({dose: value}) for value in values], axes=2)
    y = kind.apply(x, **part.values)
    y.backward(weights)
    assert x.grad is not None
    for member, value in enumerate(values):
        alone = x[member].detach().clone().requires_grad_()
        y_alone = kind.apply(alone, **{dose: value})
        y_alone.backward(weights[member])
        torch.testing.assert_close(y[member], y_alone)
        torch.testing.assert_close(x.grad[member], alone.grad)


def test_prelu_learns_one_slope_for_each_unit_of_each_member() -> None:
    x = torch.randn(3, 8, 5, requires_grad=True)
    slope = torch.rand(3, 1, 5, requires_grad=True)
    weights = torch.randn(x.shape)
    y = PReLU.apply(x, slope=slope)
    y.backward(weights)
    assert x.grad is not None
    assert slope.grad is not None
    for member in range(3):
        x_alone, slope_alone = x[member].detach().clone().requires_grad_(), slope[member, 0].detach().clone().requires_grad_()
        y_alone = torch.nn.functional.prelu(x_alone, slope_alone)
        y_alone.backward(weights[member])
        torch.testing.assert_close(y[member], y_alone)
        torch.testing.assert_close(PReLU.apply(x_alone, slope=slope_alone), y_alone)
        torch.testing.assert_close(x.grad[member], x_alone.grad)
        torch.testing.assert_close(slope.grad[member, 0], slope_alone.grad)


@pytest.mark.parametrize("trick", [trick for trick, _ in CASES], ids=names)
def test_low_precision_stays_low(trick: ActivationTrick) -> None:
    x = torch.randn(2, 3, 4, dtype=torch.bfloat16)
    (part,) = segments([trick, trick], axes=2)
    learned = {name: torch.full((2, 1, 4), start) for name, start in trick.learned.items()}
    assert trick.apply(x, **part.values, **learned).dtype == torch.bfloat16
