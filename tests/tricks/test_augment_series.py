"""Augmentation of series against what the docstrings promise."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from titrant.recipe import slots
from titrant.tricks.augment_series import (
    Amplify,
    ChannelDrop,
    FrequencyMask,
    Jitter,
    MagnitudeWarp,
    Permutation,
    SignFlip,
    TimeTrick,
    TimeWarp,
    ValueTrick,
    WindowSlice,
    WindowWarp,
    shown,
)

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(2, 50, 3, 40, generator=GENERATOR)
PLACES = torch.linspace(0, 1, 40).expand(2, 50, -1)
TIME = [kind for path, found in slots().items() if path.startswith("augment.") for kind in found if issubclass(kind, TimeTrick)]


def noise(kind: type[ValueTrick] | type[TimeTrick]) -> Tensor:
    shape = (2, 50, *(kind.shape(3, 40) if issubclass(kind, ValueTrick) else (kind.count,)))
    draw = torch.randn if kind.draws == "normal" else torch.rand
    return draw(shape, generator=GENERATOR)


def test_jitter_and_amplify_have_the_spread_that_they_say() -> None:
    jittered, changed = Jitter.apply(X, noise(Jitter), std=0.5)
    assert float((jittered - X).std()) == pytest.approx(0.5, rel=0.02)
    amplified, _ = Amplify.apply(X, noise(Amplify), std=0.2)
    ratio = amplified / X
    torch.testing.assert_close(ratio, ratio[..., :1].expand_as(ratio), rtol=1e-3, atol=1e-4)  # one factor for a channel
    assert float(ratio[..., 0].std()) == pytest.approx(0.2, rel=0.15)
    assert changed.all()


def test_a_magnitude_curve_is_the_line_through_its_knots() -> None:
    drawn = noise(MagnitudeWarp)
    warped, _ = MagnitudeWarp.apply(X, drawn, std=0.3)
    knots = drawn[1, 7, 0].double().numpy()
    expected = 1 + 0.3 * np.interp(np.linspace(0, 1, 40), np.linspace(0, 1, 5), knots)
    np.testing.assert_allclose((warped / X)[1, 7, 2].numpy(), expected, rtol=1e-3)


def test_a_frequency_mask_takes_one_band_and_leaves_the_mean() -> None:
    masked, changed = FrequencyMask.apply(X, noise(FrequencyMask), share=0.3)
    lost = torch.fft.rfft(masked).abs() < 1e-3
    assert changed.all()
    assert not lost[..., 0].any()
    count = lost.sum(-1)
    assert set(count.flatten().tolist()) <= {6, 7}  # 0.3 of twenty frequencies, where the band's ends fall
    runs = (lost[..., 1:] & ~lost[..., :-1]).sum(-1)
    assert (runs == 1).all()


def test_signs_and_channels() -> None:
    turned, which = SignFlip.apply(X, noise(SignFlip), p=0.5)
    assert torch.equal(turned[which], -X[which])
    assert torch.equal(turned[~which], X[~which])
    dropped, _ = ChannelDrop.apply(X, noise(ChannelDrop), p=0.9)
    hidden = (dropped == 0).all(-1)
    assert 0.5 < hidden.float().mean() < 0.67
    assert (hidden.sum(-1) < 3).all()
    alone, which = ChannelDrop.apply(X[:, :, :1], noise(ChannelDrop)[:, :, :1], p=0.9)
    assert torch.equal(alone, X[:, :, :1])
    assert not which.any()


@pytest.mark.parametrize("kind", TIME, ids=lambda kind: kind.name())
def test_time_stays_inside_a_series_and_permutation_alone_turns_back(kind: type[TimeTrick]) -> None:
    dose = {"share": 0.4} if kind is WindowSlice else {"std": 0.7} if kind is TimeWarp else {"p": 1.0}
    places, changed = kind.apply(PLACES.clone(), noise(kind), **dose)
    assert changed.all()
    assert float(places.min()) > -1e-6
    assert float(places.max()) < 1 + 1e-6
    steps = places.diff(dim=-1)
    assert (steps > 0).all() == (kind is not Permutation)
    if kind in {TimeWarp, WindowWarp}:  # the whole series is shown
        torch.testing.assert_close(places[..., 0], torch.zeros(2, 50))
        torch.testing.assert_close(places[..., -1], torch.ones(2, 50))


def test_a_window_is_shown_at_half_or_double_speed() -> None:
    drawn = torch.tensor([[0.5, 0.1, 0.0], [0.5, 0.9, 0.0]]).unsqueeze(0)
    fine = torch.linspace(0, 1, 1001).expand(1, 2, -1)
    places, _ = WindowWarp.apply(fine, drawn, p=1.0)
    speed = places.diff(dim=-1) / fine.diff(dim=-1)
    for row, (slow, whole) in enumerate(((0.5, 1.1), (2.0, 0.95))):
        assert {round(value, 2) for value in speed[0, row].tolist()} >= {round(whole, 2), round(slow * whole, 2)}


def test_permuted_pieces_are_all_there() -> None:
    fine = (torch.arange(800) / 800).expand(1, 1, -1)
    drawn = torch.cat([torch.rand(1, 1, 8, generator=GENERATOR), torch.zeros(1, 1, 1)], -1)
    places, _ = Permutation.apply(fine, drawn, p=0.5)
    torch.testing.assert_close(places.sort(-1).values, fine)


@given(st.integers(2, 12), st.lists(st.floats(0, 1), min_size=12, max_size=12))
@settings(max_examples=50, deadline=None)
def test_places_between_steps_are_interpolated_within_a_series_end(end: int, places: list[float]) -> None:
    x = torch.arange(12.0).square().view(1, 1, 1, 12)
    found = shown(x, torch.tensor([[end]]), torch.tensor(places).view(1, 1, 12))[0, 0, 0].numpy()
    own = np.arange(12.0) ** 2
    expected = np.interp(np.float32(places) * np.float32(end - 1), np.arange(end), own[:end])
    np.testing.assert_allclose(found[:end], expected[:end], rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(found[end:], own[end:])
