"""Moves of pictures: gathers against numpy, resampling against scipy in float64 and Pillow, each kind's map by its formula."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import map_coordinates
from torch import Tensor

from titrant.tricks.augment_places import (
    Crop,
    Flip,
    Gather,
    PictureTrick,
    Rotate,
    Scale,
    Shear,
    Shift,
    Translate,
    composed,
    resampled,
)

sides = st.integers(1, 9)
SIZE = (12, 20)


def pictures(count: int, height: int, width: int, channels: int = 3) -> Tensor:
    return torch.rand(count, height, width, channels, generator=torch.Generator().manual_seed(height * 31 + width))


def maps_of(kind: type[PictureTrick], u: list[float], size: tuple[int, int] = SIZE, **doses: float) -> np.ndarray:
    assert kind.places is not None
    return kind.places(torch.tensor([[u]], dtype=torch.float64), size, **doses)[0, 0].numpy()


@given(height=sides, width=sides, across=st.integers(-9, 9), down=st.integers(-9, 9), mirror=st.booleans(), grey=st.booleans())
def test_whole_moves_are_what_padding_and_cutting_gives(
    height: int, width: int, across: int, down: int, mirror: bool, grey: bool
) -> None:
    x = pictures(2, height, width, 1 if grey else 3)
    sign = -1.0 if mirror else 1.0
    maps = torch.tensor([[1.0, 0, 0], [0, 1, 0]]), torch.tensor([[sign, 0, across], [0, 1, down]])
    moved = Gather(torch.stack(maps), height, width)(x.movedim(3, 1)).movedim(1, 3)
    padded = np.pad(x[1].numpy(), ((9, 9), (9, 9), (0, 0)), mode="reflect")
    cut = padded[9 + down : 9 + down + height]
    # After a mirror, moving the map to the right shows what lies further right, read from right to left.
    cut = cut[:, 9 + across : 9 + across + width]
    assert torch.equal(moved[0], x[0])
    np.testing.assert_array_equal(moved[1].numpy(), cut[:, ::-1] if mirror else cut)


@given(
    height=sides,
    width=sides,
    cells=st.lists(st.floats(-2.0, 2.0), min_size=4, max_size=4),
    moves=st.lists(st.floats(-7.0, 7.0), min_size=2, max_size=2),
)
def test_resampling_equals_scipy_in_float64(height: int, width: int, cells: list[float], moves: list[float]) -> None:
    x = pictures(1, height, width, 2)
    matrix = np.array([[cells[0], cells[1], moves[0]], [cells[2], cells[3], moves[1]]])
    ours = resampled(x.movedim(3, 1), torch.tensor(matrix, dtype=torch.float32).unsqueeze(0))[0]
    rows, columns = np.meshgrid(np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij")
    across = matrix[0, 0] * columns + matrix[0, 1] * rows + matrix[0, 2] + (width - 1) / 2
    down = matrix[1, 0] * columns + matrix[1, 1] * rows + matrix[1, 2] + (height - 1) / 2
    for channel in range(2):
        source = x[0, :, :, channel].double().numpy()
        wanted = map_coordinates(source, [down, across], order=1, mode="mirror")
        np.testing.assert_allclose(ours[channel].numpy(), wanted, atol=3e-5)


def test_resampling_equals_pillow_inside_the_picture() -> None:
    x = pictures(1, 24, 32, 1)
    angle = 0.3
    matrix = np.array([[math.cos(angle), -math.sin(angle), 0.7], [math.sin(angle), math.cos(angle), -1.2]])
    ours = resampled(x.movedim(3, 1), torch.tensor(matrix, dtype=torch.float32).unsqueeze(0))[0, 0].numpy()
    # Pillow's origin is the upper left corner, ours the centre.
    middle = np.array([16.0, 12.0])
    move = matrix[:, 2] + middle - matrix[:, :2] @ middle
    data = (*matrix[0, :2], move[0], *matrix[1, :2], move[1])
    image = Image.fromarray(x[0, :, :, 0].numpy())
    theirs = np.asarray(image.transform((32, 24), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR))
    np.testing.assert_allclose(ours[6:-6, 6:-6], theirs[6:-6, 6:-6], atol=1e-3)


def test_a_quarter_turn_is_exact() -> None:
    x = pictures(1, 7, 7)
    maps = Rotate.places(torch.tensor([[[1.0]]]), (7, 7), degrees=90.0)[0]
    turned = resampled(x.movedim(3, 1), maps)[0].movedim(0, 2).numpy()
    np.testing.assert_allclose(turned, np.rot90(x[0].numpy(), 1), atol=1e-5)


@given(u=st.floats(0.0, 0.999), v=st.floats(0.0, 0.999))
def test_maps_are_those_of_the_formulas(u: float, v: float) -> None:
    one, two = 2 * u - 1, 2 * v - 1
    angle, factor = one * math.radians(40), 1.5**-one
    turned = [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]]
    np.testing.assert_allclose(maps_of(Rotate, [u], degrees=40), turned, atol=1e-12)
    np.testing.assert_allclose(maps_of(Scale, [u], spread=0.5), [[factor, 0, 0], [0, factor, 0]], atol=1e-12)
    np.testing.assert_allclose(maps_of(Shear, [u, v], slope=0.4), [[1, 0.4 * one, 0], [0.4 * two, 1, 0]], atol=1e-12)
    moved = [[1, 0, 0.2 * two * SIZE[1]], [0, 1, 0.2 * one * SIZE[0]]]
    np.testing.assert_allclose(maps_of(Translate, [u, v], share=0.2), moved, atol=1e-12)
    np.testing.assert_array_equal(maps_of(Flip, [u, 0.0], p=0.3), [[-1 if u < 0.3 else 1, 0, 0], [0, 1, 0]])


@given(u=st.lists(st.floats(0.0, 0.999), min_size=4, max_size=4), area=st.floats(0.05, 1.0))
def test_a_crop_lies_inside_and_has_its_area(u: list[float], area: float) -> None:
    (across, _, right), (_, down, low) = maps_of(Crop, u, area=area)
    assert across / 2 + abs(right) / SIZE[1] <= 0.5 + 1e-9
    assert down / 2 + abs(low) / SIZE[0] <= 0.5 + 1e-9
    assert across * down <= 1 - u[0] * (1 - area) + 1e-6
    if max(across, down) < 1:
        assert across * down == pytest.approx(1 - u[0] * (1 - area))
        assert 3 / 4 - 1e-9 <= across / down <= 4 / 3 + 1e-9


def test_shifts_are_whole_and_all_equally_common() -> None:
    u = torch.rand(1, 50_000, 2, generator=torch.Generator().manual_seed(0))
    maps = Shift.places(u, (20, 40), share=0.1)
    for axis, most in ((1, 2), (0, 4)):
        moves, counts = maps[0, :, axis, 2].unique(return_counts=True)
        assert moves.tolist() == list(range(-most, most + 1))
        assert counts / counts.sum() == pytest.approx(torch.full((len(moves),), 1 / len(moves)), abs=0.01)


@pytest.mark.parametrize(
    ("kind", "act"),
    [
        (Shift, lambda u, share: Shift.places(u, SIZE, share=share)),
        (Rotate, lambda u, degrees: Rotate.places(u[..., :1], SIZE, degrees=degrees)),
        (Crop, lambda u, area: Crop.places(u.repeat(1, 1, 2), SIZE, area=area)),
    ],
)
def test_a_stack_of_doses_equals_each_alone(kind: type[PictureTrick], act: Callable[..., Tensor]) -> None:
    u = torch.rand(3, 5, 2)
    doses = [0.1, 0.35, 0.2]
    stacked = act(u, torch.tensor(doses).unsqueeze(1))
    for k, dose in enumerate(doses):
        torch.testing.assert_close(stacked[k : k + 1], act(u[k : k + 1], dose))


def test_composed_maps_act_one_after_the_other() -> None:
    outer, inner, point = (torch.randn(4, 3, n, dtype=torch.float64) for n in (4, 4, 1))

    def act(maps: Tensor, x: Tensor) -> Tensor:
        return maps[..., :3] @ x + maps[..., 3:]

    torch.testing.assert_close(act(composed(outer, inner), point), act(outer, act(inner, point)))
