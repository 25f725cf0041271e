"""The encoder of series, and recurrent and convolutional networks against references."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from titrant.models.layers import Members
from titrant.models.recurrent import Cell, Recurrent
from titrant.models.series import SeriesEncoder, SeriesNet, SeriesShape, ends_of
from titrant.recipe import Recipe
from titrant.tricks.data import Data
from titrant.tricks.model import RecurrentTrick

NAN = torch.nan


def raw(rows: int = 6) -> torch.Tensor:
    x = torch.from_numpy(np.random.default_rng(0).normal(3, 2, size=(rows, 2, 12)).astype(np.float32))
    x[1, :, 7:] = NAN
    x[2, 0, 4] = NAN
    return x


def test_ends_are_where_nothing_but_missing_values_follows() -> None:
    assert ends_of(raw()).tolist() == [12, 7, 12, 12, 12, 12]
    assert ends_of(torch.full((1, 2, 5), NAN)).tolist() == [1]


def test_channels_are_scaled_and_gaps_are_told() -> None:
    x = raw()
    encoder = SeriesEncoder.fit(Data(gaps="mask"), x)
    found, ends = encoder(x)
    assert found.shape == (6, 3, 12)  # one of two channels has a gap; what is behind an end is none
    assert encoder.channels == 3
    wide = x.double().numpy()
    mean, spread = np.nanmean(wide, (0, 2)), np.nanstd(wide, (0, 2))
    expected = np.nan_to_num((wide - mean[:, None]) / spread[:, None])
    np.testing.assert_allclose(found[:, :2].numpy(), expected, atol=1e-5)
    assert found[:, 2].nonzero().tolist() == [[1, step] for step in range(7, 12)] + [[2, 4]]
    assert ends.tolist() == [12, 7, 12, 12, 12, 12]


@pytest.mark.parametrize("kind", ["standard", "robust"])
def test_each_series_by_its_own_measure(kind: str) -> None:
    x = raw()
    x[3, 1] = 5.0  # constant
    found, _ = SeriesEncoder.fit(Data(scale="off", instance=kind), x)(x)
    moved, _ = SeriesEncoder.fit(Data(scale="off", instance=kind), x)(7 * x + 100)
    torch.testing.assert_close(found, moved, rtol=1e-3, atol=1e-4)
    assert (found[3, 1] == 0).all()
    if kind == "standard":
        inside = found[0]
        torch.testing.assert_close(inside.mean(-1), torch.zeros(2), atol=1e-5, rtol=0)
        torch.testing.assert_close(inside.std(-1, correction=0), torch.ones(2))
    else:
        np.testing.assert_allclose(np.median(found[0].numpy(), -1), 0, atol=0.5)


def test_differences_beside_and_instead() -> None:
    x = raw()[:1]
    beside, _ = SeriesEncoder.fit(Data(scale="off", differences="beside"), x)(x)
    instead, _ = SeriesEncoder.fit(Data(scale="off", differences="instead"), x)(x)
    torch.testing.assert_close(beside[:, :2], x)
    torch.testing.assert_close(beside[:, 2:], instead)
    torch.testing.assert_close(instead[..., 1:], x.diff(dim=-1))
    assert (instead[..., 0] == 0).all()


@pytest.mark.parametrize("features", ["minirocket", "hydra", "rocket_hydra"])
def test_features_are_standardised_and_a_state_restores_the_encoder(features: str) -> None:
    x = raw(20).nan_to_num(0.0)
    data = Data(features={"kind": features})
    encoder = SeriesEncoder.fit(data, x)
    found, codes = encoder(x)
    assert found.shape == (20, encoder.count)
    assert codes.shape == (20, 0)
    assert found.mean(0).abs().max() < 1e-3
    again = SeriesEncoder(data, encoder.state_dict())
    assert torch.equal(again(x)[0], found)


def _copied(ours: Recurrent, kind: str) -> nn.GRU | nn.LSTM | nn.RNN:
    """torch's own layers with the same weights; its gates stand in another order."""
    cell = ours.cells[0]
    theirs = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}[kind](3, 5, batch_first=True, bidirectional=True)
    order = {"gru": [0, 1, 2], "lstm": [0, 1, 3, 2], "rnn": [0]}[kind]
    for direction, suffix in enumerate(("", "_reverse")):
        for part, gates in (("ih", cell.enter[direction]), ("hh", cell.back[direction])):
            for name, tensor in (("weight", gates.weight), ("bias", gates.bias)):
                blocks = tensor.detach().chunk(len(order))
                getattr(theirs, f"{name}_{part}_l0{suffix}").data.copy_(torch.cat([blocks[place] for place in order]))
    return theirs


@pytest.mark.parametrize("kind", ["gru", "lstm", "rnn"])
def test_recurrent_layers_equal_those_of_torch_also_where_series_end_early(kind: str) -> None:
    torch.manual_seed(0)
    recipe = Recipe.of({"model": {"kind": kind, "width": 5, "pool": "last"}, "activation": "tanh"})
    assert isinstance(recipe.model, RecurrentTrick)
    ours = Recurrent(Members([recipe], [recipe], torch.device("cpu")), recipe.model, 3, ragged=True).eval()
    theirs = _copied(ours, kind)
    x, ends = torch.randn(4, 3, 9), torch.tensor([9, 4, 1, 7])
    packed = nn.utils.rnn.pack_padded_sequence(x.transpose(1, 2), ends, batch_first=True, enforce_sorted=False)
    _, state = theirs(packed)
    hidden = state[0] if kind == "lstm" else state
    torch.testing.assert_close(ours(x, ends), torch.cat([hidden[0], hidden[1]], -1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_a_kernel_computes_what_the_loop_computes(
    kind: str, ragged: bool, members: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    recipe = Recipe.of({"model": {"kind": kind, "width": 4, "depth": 2}, "dropout": {"kind": "off"}})
    assert isinstance(recipe.model, RecurrentTrick)
    ours = Recurrent(Members([recipe] * members, [recipe], torch.device("cpu")), recipe.model, 3, ragged=ragged)
    lead = (members,) if members > 1 else ()
    weights = {name: torch.randn(*lead, *tensor.shape, requires_grad=True) for name, tensor in ours.named_parameters()}
    x = torch.randn(*lead, 5, 3, 9)
    ends = torch.tensor([9, 4, 1, 7, 9] if ragged else [9] * 5).expand(*lead, 5)
    found, called = {}, []
    states = Cell._states
    monkeypatch.setattr(Cell, "_states", lambda *given: (called.append(None), states(*given))[1])
    for way in (True, False):
        monkeypatch.setattr(Cell, "_suits_kernel", lambda *_, way=way: way)
        out = torch.func.functional_call(ours, weights, (x, ends))
        found[way] = (out, *torch.autograd.grad(out.square().sum(), list(weights.values())))
    assert len(called) == 2 * 2 * members
    for one, other in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_no_kernel_is_taken_into_a_compiled_network() -> None:
    recipe = Recipe.of({"model": {"kind": "lstm", "width": 4}})
    assert isinstance(recipe.model, RecurrentTrick)
    net = Recurrent(Members([recipe], [recipe], torch.device("cpu")), recipe.model, 3, ragged=False)
    x, ends = torch.randn(2, 3, 4), torch.tensor([4, 4])
    compiled = torch.compile(net, backend="aot_eager")
    torch.testing.assert_close(compiled(x, ends), net(x, ends), rtol=1e-4, atol=1e-5)
    compiled(x, ends).sum().backward()


def test_a_kernel_is_taken_where_nothing_stands_inside_the_cell() -> None:
    def taken(rows: int = 2, **slots: Any) -> bool:
        recipe = Recipe.of({"dropout": {"kind": "off"}, "model": {"kind": "lstm", "width": 4}, **slots})
        assert isinstance(recipe.model, RecurrentTrick)
        net = Recurrent(Members([recipe], [recipe], torch.device("cpu")), recipe.model, 3, ragged=False)
        called = []
        cell = net.cells[0]
        cell._by_kernel = lambda *given: (called.append(None), Cell._by_kernel(cell, *given))[1]
        net(torch.randn(rows, 3, 5), torch.tensor([5] * rows))
        return bool(called)

    assert taken()
    assert taken(dropout={"kind": "bernoulli", "p": 0.2})
    assert not taken(normalize={"kind": "layer"})
    assert not taken(dropout={"kind": "variational", "p": 0.2})
    assert not taken(dropout={"kind": "zoneout", "p": 0.2})
    assert not taken(model={"kind": "gru", "width": 4})
    assert taken(128, model={"kind": "gru", "width": 64})


@pytest.mark.parametrize("pool", ["mean", "attention", "last"])
@pytest.mark.parametrize("kind", ["gru", "fcn", "inception", "tcn", "transformer"])
def test_what_stands_behind_an_end_is_not_pooled(kind: str, pool: str) -> None:
    torch.manual_seed(0)
    values = {"kind": kind, "width": 4} | ({"pool": pool} if kind == "gru" else {})
    if kind != "gru" and pool != "mean":
        pytest.skip("only recurrent networks choose how to pool")
    net = SeriesNet([Recipe.of({"model": values})], SeriesShape(2, 30, True, 3)).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, ends = torch.randn(2, 2, 30), torch.tensor([30, 10])
    out = net(x, ends)
    assert out.shape == (2, 3)
    if kind == "gru":  # a convolution's last steps look over the end, at zeros
        other = x.clone()
        other[1, :, 10:] = 7.0
        torch.testing.assert_close(net(other, ends), out)


@pytest.mark.parametrize("steps", [1, 2, 5, 400])
@pytest.mark.parametrize("kind", ["gru", "fcn", "inception", "tcn", "transformer"])
def test_any_length(kind: str, steps: int) -> None:
    net = SeriesNet([Recipe.of({"model": {"kind": kind, "width": 4}})], SeriesShape(1, steps, False, 2))
    out = net(torch.randn(3, 1, steps), torch.full((3,), steps))
    assert out.shape == (3, 2)
    assert net.products > 0
