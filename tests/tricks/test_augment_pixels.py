"""New pixels: Pillow's and OpenCV's operations, blur and boxes by their formulas in float64, noise by its moments."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import gaussian_filter
from torch import Tensor

from titrant.tricks.augment_pixels import (
    AutoContrast,
    Blur,
    Cutout,
    Equalize,
    GaussianGrain,
    Posterize,
    RandomErase,
    SaltPepper,
    Sharpness,
    Solarize,
)
from titrant.tricks.augment_places import PictureTrick

BYTES = np.random.default_rng(0).integers(20, 200, (9, 11, 3), dtype=np.uint8)


def pixels(values: NDArray[np.uint8]) -> Tensor:
    return torch.tensor(values).permute(2, 0, 1).double().div(255)[None, None]


def acted(kind: type[PictureTrick], u: float | list[float], x: Tensor, noise: Tensor | None = None, **doses: float) -> Tensor:
    assert kind.pixels is not None
    draws = torch.tensor(u if isinstance(u, list) else [u], dtype=x.dtype).expand(*x.shape[:2], -1)
    return kind.pixels(x, draws, noise, **doses)


def levels(x: Tensor) -> NDArray[np.float64]:
    return x[0, 0].permute(1, 2, 0).double().numpy() * 255


@pytest.mark.parametrize("bits", range(1, 9))
def test_posterize_equals_pillow(bits: int) -> None:
    theirs = np.asarray(ImageOps.posterize(Image.fromarray(BYTES), bits))
    np.testing.assert_allclose(levels(acted(Posterize, 0.999, pixels(BYTES), bits=bits)), theirs, atol=1e-9)


def test_posterize_leaves_every_number_of_bits_equally_often() -> None:
    ramp = pixels(np.arange(256, dtype=np.uint8).reshape(16, 16, 1)).expand(1, 1000, -1, -1, -1)
    u = (torch.arange(1000).double() + 0.5).view(1, 1000, 1) / 1000
    found = [len(picture.unique()) for picture in Posterize.pixels(ramp, u, None, bits=5)[0]]
    assert [found.count(2**bits) for bits in (5, 6, 7, 8)] == [250] * 4


@pytest.mark.parametrize("threshold", [0, 1, 100, 128, 255, 256])
def test_solarize_equals_pillow(threshold: int) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    theirs = np.asarray(ImageOps.solarize(Image.fromarray(values), threshold))
    ours = acted(Solarize, 1.0, pixels(values), depth=1 - threshold / 256)
    np.testing.assert_allclose(levels(ours), theirs, atol=1e-9)


def test_autocontrast_equals_pillow_within_a_level_of_255() -> None:
    theirs = np.asarray(ImageOps.autocontrast(Image.fromarray(BYTES)))
    np.testing.assert_allclose(levels(acted(AutoContrast, 0.1, pixels(BYTES), p=0.2)), theirs, atol=1.001)


def test_equalize_equals_opencv() -> None:
    values = [[241, 160, 175, 229, 148, 198], [241, 160, 175, 229, 148, 198], [17, 17, 17, 210, 33, 204],
              [30, 119, 209, 77, 87, 71], [184, 65, 253, 113, 122, 129]]  # fmt: skip
    theirs = [[246, 132, 151, 227, 113, 179], [246, 132, 151, 227, 113, 179], [0, 0, 0, 208, 19, 189],
              [9, 76, 198, 47, 57, 38], [161, 28, 255, 66, 85, 94]]  # fmt: skip
    x = pixels(np.array(values, dtype=np.uint8)[..., None]).float()
    np.testing.assert_allclose(levels(acted(Equalize, 0.1, x, p=0.2))[..., 0], theirs, atol=1e-4)


@pytest.mark.parametrize("kind", [Equalize, AutoContrast])
def test_a_flat_picture_and_one_that_is_not_meant_stay(kind: type[PictureTrick]) -> None:
    flat = torch.full((1, 1, 3, 4, 4), 0.3)
    assert torch.equal(acted(kind, 0.0, flat, p=1.0), flat)
    x = pixels(BYTES)
    assert torch.equal(acted(kind, 0.5, x, p=0.5), x)
    assert not torch.equal(acted(kind, 0.5, x, p=0.51), x)


@pytest.mark.parametrize("u", [0.0, 0.3, 0.5, 0.9])
def test_sharpness_equals_pillow_within_a_level_of_255(u: float) -> None:
    factor = 1 + (2 * u - 1) * 0.9
    theirs = np.asarray(ImageEnhance.Sharpness(Image.fromarray(BYTES)).enhance(factor))
    np.testing.assert_allclose(levels(acted(Sharpness, u, pixels(BYTES), strength=0.9)), theirs, atol=1.51)


@given(sigma=st.floats(0.01, 8.0), u=st.floats(0.0, 1.0))
def test_blur_equals_its_weights_in_float64(sigma: float, u: float) -> None:
    wanted = BYTES.astype(np.float64)
    for axis, side in enumerate(BYTES.shape[:2]):
        places = np.arange(side)
        weights = np.exp(-((places[:, None] - places) ** 2) / (2 * max(u * sigma, 1e-3) ** 2))
        wanted = np.moveaxis(np.tensordot(weights / weights.sum(1, keepdims=True), wanted, (1, axis)), 0, axis)
    np.testing.assert_allclose(levels(acted(Blur, u, pixels(BYTES).float(), sigma=sigma)), wanted, atol=1e-3)


def test_blur_equals_scipy_inside() -> None:
    values = np.random.default_rng(1).integers(0, 256, (30, 40, 1), dtype=np.uint8)
    theirs = gaussian_filter(values[..., 0].astype(np.float64), 1.5, truncate=8)
    ours = levels(acted(Blur, 1.0, pixels(values), sigma=1.5))[..., 0]
    np.testing.assert_allclose(ours[9:-9, 9:-9], theirs[9:-9, 9:-9], atol=1e-5)


def test_noise_has_its_standard_deviation_and_is_cut_to_the_range() -> None:
    x = torch.full((1, 50, 3, 20, 20), 0.5)
    noisy = acted(GaussianGrain, [], x, torch.randn(x.shape), std=0.05)
    assert (noisy - x).std().item() == pytest.approx(0.05, rel=0.02)
    strong = acted(GaussianGrain, [], x, torch.randn(x.shape), std=0.5)
    assert (strong.min(), strong.max()) == (0, 1)


def test_salt_and_pepper_spoil_their_share_half_and_half() -> None:
    x = torch.full((1, 50, 3, 20, 20), 0.5)
    spoilt = acted(SaltPepper, [], x, torch.rand(x.shape, generator=torch.Generator().manual_seed(0)), p=0.2)
    assert torch.equal(spoilt.amin(2), spoilt.amax(2))
    assert [(spoilt == level).double().mean().item() for level in (0, 1)] == pytest.approx([0.1, 0.1], abs=0.01)


@given(u=st.lists(st.floats(0.0, 0.999), min_size=2, max_size=2), side=st.floats(0.0, 1.0))
def test_cutout_covers_the_pixels_of_its_square_with_the_mean(u: list[float], side: float) -> None:
    x = pixels(BYTES)
    out = acted(Cutout, u, x, side=side)
    rows, columns = ((np.arange(n) + 0.5) / n for n in BYTES.shape[:2])
    down, across = np.abs(rows - u[0]) - side / 2, np.abs(columns - u[1]) - side / 2
    assume(min(np.abs(down).min(), np.abs(across).min()) > 1e-6)  # rounding may decide about a pixel on the edge
    hidden = (down < 0)[:, None] & (across < 0)
    mean = BYTES.mean((0, 1))
    np.testing.assert_allclose(levels(out), np.where(hidden[..., None], mean, BYTES), atol=1e-9)


def test_random_erasing_fills_rectangles_of_its_areas_and_proportions() -> None:
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.full((1, 2000, 1, 40, 40), 2.0), torch.rand(1, 2000, 1, 40, 40, generator=generator)
    out = RandomErase.pixels(x, torch.rand(1, 2000, 5, generator=generator), noise, p=0.25)
    hidden = (out != x)[0, :, 0]
    assert torch.equal(out, torch.where(hidden[None, :, None], noise, x))
    acted_on = hidden.flatten(1).any(1)
    assert acted_on.double().mean().item() == pytest.approx(0.25, abs=0.03)
    shares = hidden[acted_on].double().mean((1, 2))
    assert 0.01 < shares.min() < 0.05
    assert 0.35 < shares.max() < 0.43
    for box in hidden[acted_on][:50]:
        down, across = box.any(1).sum(), box.any(0).sum()
        assert box.sum() == down * across
        assert 0.25 < down / across < 4


@pytest.mark.parametrize("kind", [Blur, Sharpness, Posterize, Solarize, Cutout])
def test_a_stack_of_doses_equals_each_alone(kind: type[PictureTrick]) -> None:
    (dose,) = set(kind.model_fields) - {"kind"}
    x, u = torch.rand(3, 5, 3, 8, 8), torch.rand(3, 5, kind.draws)
    doses = [3.0, 5.0, 4.0] if kind is Posterize else [0.1, 0.9, 0.4]
    assert kind.pixels is not None
    stacked = kind.pixels(x, u, None, **{dose: torch.tensor(doses).unsqueeze(1)})
    for k, value in enumerate(doses):
        torch.testing.assert_close(stacked[k : k + 1], kind.pixels(x[k : k + 1], u[k : k + 1], None, **{dose: value}))


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 5), (3, 2, 2)])
@pytest.mark.parametrize("kind", [Blur, Sharpness, Posterize, Solarize, Cutout, Equalize, AutoContrast])
def test_tiny_pictures_are_no_error(kind: type[PictureTrick], shape: tuple[int, int, int]) -> None:
    (dose,) = set(kind.model_fields) - {"kind"}
    x = torch.rand(1, 4, *shape)
    assert kind.pixels is not None
    out = kind.pixels(x, torch.rand(1, 4, kind.draws), None, **{dose: 1})
    assert out.shape == x.shape
    assert out.isfinite().all()
