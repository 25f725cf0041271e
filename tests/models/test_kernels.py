"""Random kernels against slow references in double precision, written from the papers' definitions."""

import math
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from titrant.models.kernels import Hydra, MiniRocket, affordable

Floats = NDArray[np.float64]


def series(rows: int = 7, channels: int = 1, steps: int = 40) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(rows, channels, steps)).astype(np.float32))


def response(x: Floats, weight: Floats, dilation: int) -> Floats:
    """A sum over nine steps that lie `dilation` apart, 0 beyond the ends: [t] for a series [c, t] and weights [c, 9]."""
    steps = x.shape[1]
    out = np.zeros(steps)
    for at in range(steps):
        for place in range(9):
            seen = at + (place - 4) * dilation
            if 0 <= seen < steps:
                out[at] += x[:, seen] @ weight[:, place]
    return out


def shown(x: Floats, view: int) -> Floats:
    return x if view == 0 else np.concatenate([np.zeros_like(x[:, :1]), np.diff(x)], 1)


def responses(kernels: MiniRocket, x: torch.Tensor, row: int) -> Iterator[tuple[int, int, int, Floats, Floats]]:
    """For each view, dilation and kernel: the first column, how many biases, its place, its response [t], its biases."""
    weights = -np.ones((84, 9))
    for kernel, places in enumerate(combinations(range(9), 3)):
        weights[kernel, list(places)] = 2
    unit = float(kernels.unit)
    assert 0 < unit < 1e-3
    assert math.log2(unit).is_integer()
    wide = np.round(x[row].double().numpy() / unit) * unit
    biases, groups = kernels.biases.double().numpy(), kernels.groups.double().numpy()
    column = 0
    for view in range(len(biases)):
        at = 0
        for place, (dilation, count) in enumerate(zip(kernels.dilations.tolist(), kernels.counts.tolist(), strict=True)):
            pad = 4 * dilation
            for kernel in range(84):
                out = response(shown(wide, view), groups[view, place, kernel][:, None] * weights[kernel], dilation)
                out = out if kernel % 2 == place % 2 or len(out) <= 2 * pad else out[pad:-pad]
                yield column, count, kernel, out, biases[view, kernel, at : at + count]
            column += int(kernels.pools) * 84 * count
            at += count
    assert column == kernels(x).shape[1]


@pytest.mark.parametrize(("channels", "differences"), [(1, False), (3, True)])
def test_minirocket_is_the_share_of_steps_above_the_bias(channels: int, differences: bool) -> None:
    x = series(channels=channels)
    kernels = MiniRocket.fit(x, 700, seed=1, differences=differences)
    found = kernels(x).double().numpy()
    for row in (0, 4):
        for column, count, kernel, out, biases in responses(kernels, x, row):
            expected = (out[None] > biases[:, None]).mean(1)
            start = column + kernel * count
            np.testing.assert_allclose(found[row, start : start + count], expected, atol=1e-6)


@pytest.mark.parametrize("exported", [False, True])
@pytest.mark.parametrize("steps", [40, 300])
def test_four_ways_of_pooling(steps: int, exported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x = series(rows=5, channels=2, steps=steps)
    kernels = MiniRocket.fit(x, 84 * 2 * 4 * 2, seed=3, differences=True, pools=4)
    monkeypatch.setattr("titrant.models.kernels.exporting", lambda: exported)
    found = kernels(x).double().numpy()
    for column, count, kernel, out, biases in responses(kernels, x, 2):
        for number, bias in enumerate(biases):
            above = out > bias
            runs = [len(run) for run in "".join("x" if one else " " for one in above).split()]
            expected = [
                above.mean(),
                (out[above] - bias).mean() if above.any() else 0.0,
                (np.flatnonzero(above).mean() if above.any() else -1.0) / len(out),
                max(runs, default=0) / len(out),
            ]
            columns = [column + (pool * 84 + kernel) * count + number for pool in range(4)]
            np.testing.assert_allclose(found[2, columns], expected, rtol=1e-4, atol=1e-5)


def test_hydra_counts_winners() -> None:
    x = series(channels=4)
    kernels = Hydra.fit(x, 3, 4, seed=0)
    found = kernels(x).double().numpy()
    weights = kernels.weights.double().numpy()
    wide = x.double().numpy()
    expected = []
    for place, at in enumerate(weights):
        for view, groups in enumerate(at):
            strong, rare = np.zeros((2, 3)), np.zeros((2, 3))
            for group, weight in enumerate(groups):
                outs = np.stack([response(shown(wide[2], view), kernel, 1 << place) for kernel in weight])
                for step in range(outs.shape[1]):
                    strong[group, outs[:, step].argmax()] += outs[:, step].max()
                    rare[group, outs[:, step].argmin()] += 1
            expected += [*strong.ravel(), *rare.ravel()]
    np.testing.assert_allclose(found[2], np.sqrt(np.clip(expected, 0, None)), rtol=1e-4, atol=1e-3)


def in_turn(x: torch.Tensor, weight: torch.Tensor, dilation: int) -> torch.Tensor:
    """Responses [k, t, n] as `_convolved` has them, term after term, the last first."""
    steps, pad = x.shape[-1], 4 * dilation
    wide = torch.nn.functional.pad(x, (pad, pad))
    total = torch.zeros(len(weight), steps, len(x))
    for place in reversed(range(9)):
        for channel in range(x.shape[1]):
            seen = wide[:, channel, place * dilation : place * dilation + steps].T
            total += weight[:, channel, place, None, None] * seen
    return total


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("levels", [[-0.1], [-0.1, 1.7, 3.3, 40.2]], ids=["constant", "few levels"])
def test_where_series_do_not_change_rounding_decides_nothing(
    levels: list[float], channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = np.random.default_rng(1).choice(levels, (40, channels, 12)).repeat(9, 2)
    x = torch.from_numpy(drawn.astype(np.float32))
    for kernels in (MiniRocket.fit(x, 2000, 0, differences=True), Hydra.fit(x, 8, 4, 0)):
        found = kernels(x)
        for part in (slice(0, 1), slice(3, 10)):
            torch.testing.assert_close(kernels(x[part]), found[part], rtol=1e-5, atol=0)
        with monkeypatch.context() as patched:
            patched.setattr("titrant.models.kernels.exporting", lambda: True)
            torch.testing.assert_close(kernels(x), found, rtol=1e-5, atol=0)
        with monkeypatch.context() as patched:
            patched.setattr("titrant.models.kernels._convolved", in_turn)
            torch.testing.assert_close(kernels(x), found, rtol=1e-5, atol=0)


@pytest.mark.parametrize("steps", [1, 2, 8, 9, 300, 600])
def test_any_length_and_number_of_series(steps: int) -> None:
    x = series(3, 2, steps)
    for kernels in (MiniRocket.fit(x, 200, 0), MiniRocket.fit(x, 800, 0, pools=4), Hydra.fit(x, 8, 4, 0)):
        found = kernels(x)
        assert found.isfinite().all()
        torch.testing.assert_close(kernels(x[1:2]), found[1:2], rtol=1e-5, atol=0)
        assert kernels(x[:0]).shape == (0, found.shape[1])


def test_the_same_seed_gives_the_same_kernels_and_a_state_restores_them() -> None:
    x = series(channels=3)
    one, two, other = (MiniRocket.fit(x, 500, seed) for seed in (0, 0, 1))
    assert torch.equal(one(x), two(x))
    assert not torch.equal(one.biases, other.biases)
    assert torch.equal(MiniRocket(**one.state_dict())(x), one(x))
    hydra = Hydra.fit(x, 8, 4, 0)
    assert torch.equal(Hydra(**hydra.state_dict())(x), hydra(x))
    four = MiniRocket.fit(x, 1000, 0, pools=4)
    assert torch.equal(MiniRocket(**four.state_dict())(x), four(x))
    for kernels in (one, hydra):  # those of models of before have no unit, and do not round
        old = type(kernels)(**{name: tensor for name, tensor in kernels.state_dict().items() if name not in ("unit", "pools")})
        assert old.unit == 0
        assert (old(x) - kernels(x)).abs().mean() < 0.005


def test_features_of_many_series_stay_within_their_space() -> None:
    assert affordable(1_000_000, 10, 10_000) * 4 * 1_000_000 <= 1 << 29
    assert affordable(10, 10, 10_000) == 10_000
    assert affordable(10**9, 100, 10_000) == 84
