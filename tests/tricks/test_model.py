"""Network families: what their doses make."""

import pytest
import torch

from titrant.models.table import TableNet, TableShape
from titrant.recipe import Recipe, kinds
from titrant.tricks.model import Custom, Ensemble, Mlp, Residual

SHAPE = TableShape(numbers=3, indicators=0, cardinalities=(4,), outputs=2)
INPUTS = 3 + 3


def parameters(model: Mlp | Residual | Ensemble) -> int:
    network = TableNet([Recipe.of({"model": model.model_dump()})], SHAPE)
    return sum(p.numel() for p in network.parameters())


def dense(inputs: int, outputs: int) -> int:
    return (inputs + 1) * outputs


@pytest.mark.parametrize(("width", "depth"), [(1, 1), (5, 3), (16, 2)])
def test_sizes_are_those_of_the_doses(width: int, depth: int) -> None:
    hidden = dense(INPUTS, width) + (depth - 1) * dense(width, width)
    assert parameters(Mlp(width=width, depth=depth)) == hidden + dense(width, 2)
    ensemble = Ensemble(width=width, depth=depth, views=3)
    assert parameters(ensemble) == hidden + 3 * INPUTS + 3 * dense(width, 2)


@pytest.mark.parametrize(("width", "expansion", "hidden"), [(4, 2.0, 8), (5, 0.5, 2), (1, 0.25, 1)])
def test_blocks_are_as_wide_as_the_expansion_says(width: int, expansion: float, hidden: int) -> None:
    model = Residual(width=width, depth=2, expansion=expansion)
    blocks = 2 * (dense(width, hidden) + dense(hidden, width))
    assert parameters(model) == dense(INPUTS, width) + blocks + dense(width, 2)


def test_outputs_of_an_ensemble_are_its_views() -> None:
    network = TableNet([Recipe.of({"model": {"kind": "ensemble", "width": 4, "views": 5}})], SHAPE)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    assert network(torch.randn(7, 3), torch.ones(7, 1, dtype=torch.int32)).shape == (35, 2)


def test_a_network_of_ones_own_is_not_searched_for() -> None:
    assert "custom" in [kind.name() for kind in kinds()["model"] if not kind.searched]
    assert Custom().factory == ""
