"""PyTorch's operations and their counterparts in TensorFlow give the same numbers."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional

from titrant.errors import OutputError
from titrant.exports.operations import core, translated
from titrant.exports.quiet import quiet
from titrant.recipe import slots
from titrant.tricks.activation import ActivationTrick

tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")

HOLES = torch.where(torch.rand(5, 12, generator=torch.Generator().manual_seed(3)) < 0.3, torch.nan, 1.0)
PLACES = torch.randint(0, 12, (5, 12), generator=torch.Generator().manual_seed(4))
KNOTS = torch.randn(7, 12, generator=torch.Generator().manual_seed(6))
PICTURE = torch.randn(3, 6, 2, 2, generator=torch.Generator().manual_seed(5))


class Computing(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def both(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a function gives in TensorFlow, there in single precision, and here."""
    with quiet():
        program = core(torch.export.export(Computing(function), (x,), dynamic_shapes={"x": {0: Dim.AUTO}}, strict=False))
    double, single = (translated(tf, program, [tf.constant(x.numpy())], single=narrow) for narrow in (False, True))
    return torch.from_numpy(double.numpy()), torch.from_numpy(single.numpy()), function(x)


def activated(kind: type[ActivationTrick], x: Tensor) -> Tensor:
    return kind.apply(x, **{name: getattr(kind(), name) for name in kind.model_fields if name != "kind"})


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    **{
        kind.name(): partial(activated, kind)
        for kind in slots()["activation"]
        if issubclass(kind, ActivationTrick) and not kind.learned
    },
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "clamp": lambda x: (x * HOLES).clamp(-0.5, 0.5),
    "clamp_low": lambda x: x.long().clamp(min=0),
    "maximum": lambda x: torch.maximum(x * HOLES, x.flip(1)) + torch.minimum(x, x.flip(1) * HOLES),
    "isinf": lambda x: torch.where((1 / x.round()).isinf() | x.isnan(), 7.0, x),
    "infinite": lambda x: (x.log().abs() * HOLES).nan_to_num(1.0, 2.0, 3.0),
    "logic": lambda x: ((x > 0) & (x < 1)) | ~(x >= -1) ^ x.long().bool(),
    "bits": lambda x: (x.abs() * 9).int() & 5 | 2,
    "mixed": lambda x: (x > 0) * 3 + x.long() * 2.5 - torch.arange(12),
    "added": lambda x: torch.add(x, x, alpha=3) - torch.sub(x, 1, alpha=2) + torch.rsub(x, 2),
    "divided": lambda x: (
        x / 3 + torch.div(x, 0.3, rounding_mode="floor") + torch.div(x, 0.3, rounding_mode="trunc") + x.long() // 2
    ),
    "remainder": lambda x: x.remainder(0.7) + (x * 9).long() % 4,
    "power": lambda x: x**2 + x.abs() ** 1.5 + 2**x + x.abs().pow(x) + x.abs().rsqrt() + x.square().reciprocal(),
    "logarithms": lambda x: x.abs().log1p() + x.expm1() + x.exp() + x.erf() + x.sin() * x.cos() - x.floor() + x.ceil(),
    "sums": lambda x: (
        x.sum() + x.sum(1, keepdim=True) + x.mean((0, 1)) + (x > 0).sum(1, keepdim=True) + x.prod(1, keepdim=True) + x.sign()
    ),
    "extremes": lambda x: x.amax(1) + x.amin(1) + x.argmax(1) + x.argmin(1, keepdim=True)[:, 0] + x.max(1)[1] + x.min(1)[0],
    "any": lambda x: (x > 1.5).any(1) | (x > -1).all(1),
    "variance": lambda x: x.var(1) + x.std(1, correction=0),
    "softmax": lambda x: x.softmax(0) + x.log_softmax(-1),
    "sorted": lambda x: x.sort(1, descending=True)[0] + x.sort(-1)[1] + x.sort(dim=1, stable=True)[0],
    "running": lambda x: x.cumsum(1) + (x > 0).cumsum(1),
    "shapes": lambda x: x.view(-1, 3, 4).permute(2, 0, 1).flatten(1).unsqueeze(0).squeeze(0).repeat(1, 2).mT,
    "expanded": lambda x: x[:, None].expand(-1, 3, -1).reshape(len(x), 36) + x[:, :1].expand(len(x), 36),
    "slices": lambda x: torch.cat([x[:, 2:-1], x[:, ::3], x[:, -1:], x.flip(1)], 1),
    "selected": lambda x: x[:, 3] + x[:, -1] + sum(x.split([3, 4, 5], 1)[1].unbind(1)),
    "padded": lambda x: functional.pad(functional.pad(x, (2, -3)), (-1, 1), value=4.0),
    "filled": lambda x: torch.full_like(x, 2) + torch.zeros(len(x), 12) + torch.ones(12) + x.new_tensor([5.0]),
    "looked_up": lambda x: x[:, torch.tensor([0, -1, 3])] + torch.arange(12.0)[(x[:, :3] * 2).long().clamp(-12, 11)],
    "picked": lambda x: x.index_select(1, torch.tensor([4, 4, 1])) + x.gather(1, PLACES[:, :3]),
    "picked_rows": lambda x: KNOTS.T.gather(0, (x.mT * 9).long() % 12),
    "scattered": lambda x: torch.zeros(len(x), 12).scatter_add(1, PLACES, x) + x.scatter(1, PLACES[:, :1], 9.0),
    "written": lambda x: x.slice_scatter(x[:, :4] * 0, 1, 2, 10, 2),
    "embedded": lambda x: functional.embedding((x * 9).long() % 4, torch.eye(4)).flatten(1),
    "products": lambda x: torch.baddbmm(x[:, :3, None], x.view(-1, 3, 4), x.view(-1, 4, 3)),
    "added_products": lambda x: torch.addmm(x[0, :3], x, x.mT[:, :3], beta=2, alpha=3),
    "convolution": lambda x: functional.conv1d(x.view(-1, 4, 3), PICTURE.view(6, 4, 3)[:, :, :2], x.new_ones(6), padding=1),
    "depthwise": lambda x: functional.conv2d(
        x.view(-1, 3, 2, 2), PICTURE.view(6, 1, 3, 4)[..., :2], padding=(2, 1), dilation=(2, 1), groups=3
    ),
    "grouped": lambda x: functional.conv2d(x.view(-1, 4, 1, 3), PICTURE.view(6, 2, 1, 6)[..., :2], stride=(1, 2), groups=2),
    "pooled": lambda x: functional.max_pool2d(x.view(-1, 1, 4, 3), 3, 1, 1),
    "pooled_up": lambda x: functional.max_pool2d(x.view(-1, 1, 4, 3), 2, ceil_mode=True),
    "mean_pooled": lambda x: functional.avg_pool2d(x.view(-1, 1, 4, 3), (2, 1), 2),
    "batch_norm": lambda x: functional.batch_norm(x.view(-1, 3, 4), torch.ones(3), torch.full((3,), 2.0), None, torch.ones(3)),
    "group_norm": lambda x: functional.group_norm(x.view(-1, 6, 2), 3, torch.arange(6.0), torch.ones(6)),
    "layer_norm": lambda x: functional.layer_norm(x, (12,), torch.arange(12.0)),
    "attention": lambda x: functional.scaled_dot_product_attention(*[x.view(-1, 1, 3, 4)] * 3),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operations_give_the_same(name: str) -> None:
    x = 2 * torch.randn(5, 12, generator=torch.Generator().manual_seed(1))
    found, single, expected = both(FUNCTIONS[name], x)
    torch.testing.assert_close(found, expected, equal_nan=True, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(single, expected, equal_nan=True, rtol=1e-4, atol=1e-5)


def test_double_precision_is_kept_or_becomes_single() -> None:
    x = torch.randn(4, 3)
    found, single, expected = both(lambda x: x.double() * 3 + 1e6, x)
    assert torch.equal(found, expected)
    assert single.dtype == torch.float32


@pytest.mark.parametrize(
    ("what", "function"),
    [
        (r"aten\.\w*det", lambda x: torch.linalg.det(x.view(-1, 2, 2))),
        ("several tensors", lambda x: x[torch.tensor([0, 1]), torch.tensor([2, 3])]),
        ("transposed", lambda x: functional.conv_transpose1d(x.view(-1, 4, 1), torch.ones(4, 2, 3))),
        ("pooling", lambda x: functional.max_pool2d(x.view(-1, 1, 2, 2), 1, dilation=2)),
    ],
)
def test_what_has_no_counterpart_is_named(what: str, function: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(OutputError, match=rf"no counterpart in TensorFlow here: .*{what}"):
        both(function, torch.ones(5, 4))
