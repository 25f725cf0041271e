"""Initialisation against `torch.nn.init` and the distributions that the formulas name."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy import stats
from torch import Generator, Tensor
from torch.nn import init

from titrant.tricks.activation import ELU, GELU, SELU, ActivationTrick, Mish, ReLU, Sigmoid, SiLU, Tanh, gain_of
from titrant.tricks.base import options
from titrant.tricks.initialize import (
    LSUV,
    Default,
    Dirac,
    HeNormal,
    HeUniform,
    Initialize,
    InitializeTrick,
    LeCunNormal,
    Orthogonal,
    Ridge,
    XavierNormal,
    XavierUniform,
    unit_variance_scale,
)

ROOT2 = math.sqrt(2.0)


def passing(w: Tensor) -> Tensor:
    """The first channels of a convolution as `torch.nn.init.dirac_` makes them."""
    if w.dim() > 2:
        first = min(w.shape[:2])
        w[:first] = init.dirac_(torch.empty_like(w))[:first]
    return w


SHAPES = [(24, 10), (10, 24), (1, 5), (6, 4, 3, 3)]

# With a gain of √2, that of ReLU, which those of torch compute for themselves.
TORCH: list[tuple[type[InitializeTrick], Callable[[Tensor, Generator], Tensor]]] = [
    (Default, lambda w, g: init.kaiming_uniform_(w, a=math.sqrt(5.0), generator=g)),
    (XavierUniform, lambda w, g: init.xavier_uniform_(w, gain=ROOT2, generator=g)),
    (XavierNormal, lambda w, g: init.xavier_normal_(w, gain=ROOT2, generator=g)),
    (HeUniform, lambda w, g: init.kaiming_uniform_(w, nonlinearity="relu", generator=g)),
    (HeNormal, lambda w, g: init.kaiming_normal_(w, nonlinearity="relu", generator=g)),
    (LeCunNormal, lambda w, g: init.kaiming_normal_(w, nonlinearity="linear", generator=g)),
    (Orthogonal, lambda w, g: init.orthogonal_(w, gain=ROOT2, generator=g)),
    (LSUV, lambda w, g: init.orthogonal_(w, generator=g)),
    (Dirac, lambda w, g: passing(init.kaiming_normal_(w, nonlinearity="relu", generator=g))),
]
KINDS = [kind for kind, _ in TORCH]
SCALED = [kind for kind in KINDS if kind is not LSUV]


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def test_the_slot_holds_every_kind() -> None:
    assert options(Initialize) == (*KINDS, Ridge)
    assert [kind.name() for kind in KINDS if kind.data_driven] == ["lsuv"]
    adapter: TypeAdapter[Any] = TypeAdapter(Initialize)
    assert adapter.validate_python("default") == Default()
    with pytest.raises(ValidationError, match="off is not a kind"):
        adapter.validate_python("off")


@pytest.mark.parametrize(("kind", "reference"), TORCH)
@pytest.mark.parametrize("shape", SHAPES)
def test_weights_are_those_of_torch(
    kind: type[InitializeTrick], reference: Callable[[Tensor, Generator], Tensor], shape: tuple[int, ...]
) -> None:
    weights = kind.model_validate({}).draw(shape, ROOT2, seeded())
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights, reference(torch.empty(shape), seeded()))


@pytest.mark.parametrize(
    ("kind", "distribution"),
    [
        (Default, lambda a, b: stats.uniform(-(a**-0.5), 2 * a**-0.5)),
        (XavierUniform, lambda a, b: stats.uniform(-1.5 * (6 / (a + b)) ** 0.5, 3 * (6 / (a + b)) ** 0.5)),
        (XavierNormal, lambda a, b: stats.norm(0, 1.5 * (2 / (a + b)) ** 0.5)),
        (HeUniform, lambda a, b: stats.uniform(-1.5 * (3 / a) ** 0.5, 3 * (3 / a) ** 0.5)),
        (HeNormal, lambda a, b: stats.norm(0, 1.5 * a**-0.5)),
        (LeCunNormal, lambda a, b: stats.norm(0, a**-0.5)),
    ],
)
def test_weights_follow_their_distribution(kind: type[InitializeTrick], distribution: Callable[[int, int], Any]) -> None:
    fan_in, fan_out = 200, 100
    weights = kind.model_validate({}).draw((fan_out, fan_in), 1.5, seeded())
    assert stats.kstest(weights.flatten().double().numpy(), distribution(fan_in, fan_out).cdf).pvalue > 1e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonal_weights_keep_lengths(shape: tuple[int, ...]) -> None:
    w = Orthogonal(scale=0.5).draw(shape, 3.0, seeded()).flatten(1).double()
    narrow = w if w.shape[0] <= w.shape[1] else w.T
    torch.testing.assert_close(narrow @ narrow.T, 2.25 * torch.eye(len(narrow), dtype=torch.float64), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", SCALED)
@given(scale=st.floats(0.1, 3.0))
def test_the_scale_multiplies(kind: type[InitializeTrick], scale: float) -> None:
    plain, scaled = (kind.model_validate({"scale": s}).draw((6, 4), 1.3, seeded()) for s in (1.0, scale))
    torch.testing.assert_close(scaled, plain * scale)


def test_dirac_passes_the_first_maps_on() -> None:
    x = torch.rand(2, 3, 5, 5)
    weights = Dirac().draw((4, 3, 3, 3), ROOT2, seeded())
    torch.testing.assert_close(torch.nn.functional.conv2d(x, weights, padding=1)[:, :3], x)


def test_lsuv_has_no_scale_because_the_data_set_it() -> None:
    with pytest.raises(ValidationError, match="scale"):
        LSUV.model_validate({"scale": 2.0})


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_alone_decides(kind: type[InitializeTrick]) -> None:
    before = torch.get_rng_state()
    one, same, other = (kind.model_validate({}).draw((5, 4), 1.0, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)
    assert not one.requires_grad


@pytest.mark.parametrize("kind", [HeUniform, HeNormal, Orthogonal])
@pytest.mark.parametrize("activation", [ReLU(), ELU(), SELU(), GELU(), SiLU(), Mish(), Sigmoid(), Tanh()], ids=repr)
def test_a_matching_gain_keeps_the_signal_through_many_layers(kind: type[InitializeTrick], activation: ActivationTrick) -> None:
    generator = seeded()
    x = torch.randn(200, 256, generator=generator)
    gain = 1.0
    for _ in range(6):
        x = x @ kind.model_validate({}).draw((256, 256), gain, generator).T
        assert x.square().mean().item() == pytest.approx(1.0, abs=0.35)
        gain = gain_of(activation)
        x = activation.apply(x, **activation.model_dump(exclude={"kind"}))


def test_unit_variance_of_one_layer_and_of_a_stack() -> None:
    x = torch.randn(50, 8, dtype=torch.float64) @ torch.randn(8, 8, dtype=torch.float64) + 3
    w = torch.randn(3, 8, 6, dtype=torch.float64) * torch.tensor([0.01, 1.0, 100.0], dtype=torch.float64).view(3, 1, 1)
    factor = unit_variance_scale(x @ w)
    assert factor.shape == (3, 1, 1)
    torch.testing.assert_close((x @ (w * factor)).var(dim=(1, 2), correction=0), torch.ones(3, dtype=torch.float64))
    for member in range(3):
        alone = unit_variance_scale(x @ w[member])
        assert alone.shape == ()
        torch.testing.assert_close(alone, factor[member, 0, 0])


def test_an_output_without_a_spread_is_left_as_it_is() -> None:
    output = torch.randn(4, 5, 3)
    output[0] = 2.0
    output[1, 0, 0] = float("nan")
    output[2, 0, 0] = float("inf")
    factor = unit_variance_scale(output).flatten()
    assert factor[:3].tolist() == [1.0, 1.0, 1.0]
    assert factor[3].item() == pytest.approx(1 / output[3].double().numpy().std())
