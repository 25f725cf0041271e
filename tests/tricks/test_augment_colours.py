"""Changes of colour: Pillow's operations within rounding, formulas in float64, and a chain as one map."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy.spatial.transform import Rotation
from torch import Tensor

from titrant.tricks.augment_colours import Brightness, Contrast, Grey, Hue, Saturation
from titrant.tricks.augment_places import PictureTrick, composed

BYTES = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
PIXELS = torch.tensor(BYTES).permute(2, 0, 1).double().div(255)[None, None]
PILLOWS = {Brightness: ImageEnhance.Brightness, Contrast: ImageEnhance.Contrast, Saturation: ImageEnhance.Color}
EYE = torch.eye(3, 4, dtype=torch.float64)


def maps_of(kind: type[PictureTrick], x: Tensor, u: float, **doses: float) -> Tensor:
    assert kind.colours is not None
    return kind.colours(torch.full((1, 1, 1), u, dtype=torch.float64), x.mean((3, 4)), **doses)


def recoloured(x: Tensor, maps: Tensor) -> Tensor:
    return (maps[..., :-1] @ x.flatten(3) + maps[..., -1:]).view(x.shape)


def acted(kind: type[PictureTrick], u: float, x: Tensor = PIXELS, **doses: float) -> Tensor:
    return recoloured(x, maps_of(kind, x, u, **doses))


@pytest.mark.parametrize("kind", PILLOWS)
@pytest.mark.parametrize("u", [0.0, 0.2, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("grey", [False, True])
def test_equals_pillow_within_a_level_of_255(kind: type[PictureTrick], u: float, grey: bool) -> None:
    image = Image.fromarray(BYTES[..., 0] if grey else BYTES)
    theirs = np.asarray(PILLOWS[kind](image).enhance(1 + (2 * u - 1) * 0.9)).reshape(6, 7, -1)
    x = PIXELS[:, :, :1] if grey else PIXELS
    ours = acted(kind, u, x, strength=0.9)[0, 0].clamp(0, 1).permute(1, 2, 0) * 255
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1.51)  # Pillow rounds the mean or the grey, and the result


def test_grey_equals_pillow_and_acts_on_its_share() -> None:
    ours = acted(Grey, 0.1, p=0.2)[0, 0]
    theirs = np.asarray(Image.fromarray(BYTES).convert("L"))
    np.testing.assert_allclose(ours.numpy() * 255, np.broadcast_to(theirs, (3, 6, 7)), atol=0.51)
    torch.testing.assert_close(acted(Grey, 0.2, p=0.2), PIXELS)


@given(u=st.floats(0.0, 1.0), degrees=st.floats(0.0, 180.0))
def test_hue_is_a_turn_about_the_grey_axis(u: float, degrees: float) -> None:
    turn = Rotation.from_rotvec(np.radians((2 * u - 1) * degrees) * np.ones(3) / np.sqrt(3)).as_matrix()
    maps = maps_of(Hue, PIXELS, u, degrees=degrees)
    np.testing.assert_allclose(maps[0, 0, :, :3].numpy(), turn, atol=1e-12)
    assert not maps[..., 3].any()
    grey = PIXELS[:, :, :1].expand(-1, -1, 3, -1, -1)
    torch.testing.assert_close(recoloured(grey, maps), grey)


@pytest.mark.parametrize(("kind", "dose"), [(Saturation, "strength"), (Hue, "degrees"), (Grey, "p")])
def test_grey_pictures_have_no_colour_to_change(kind: type[PictureTrick], dose: str) -> None:
    x = PIXELS[:, :, :1]
    torch.testing.assert_close(acted(kind, 0.1, x, **{dose: 0.5}), x)


@pytest.mark.parametrize(
    ("kind", "dose"), [(Brightness, "strength"), (Contrast, "strength"), (Saturation, "strength"), (Hue, "degrees")]
)
def test_the_middle_of_the_range_is_the_identity(kind: type[PictureTrick], dose: str) -> None:
    torch.testing.assert_close(maps_of(kind, PIXELS, 0.5, **{dose: 0.7})[0, 0], EYE, rtol=0, atol=1e-15)


def test_a_chain_is_one_map() -> None:
    chain = [(Brightness, 0.8, 0.3), (Contrast, 0.3, 0.5), (Saturation, 0.9, 0.6)]
    x, maps = PIXELS, EYE.expand(1, 1, -1, -1)
    for kind, u, strength in chain:
        found = maps_of(kind, x, u, strength=strength)
        x, maps = recoloured(x, found), composed(found, maps)
    torch.testing.assert_close(recoloured(PIXELS, maps), x)


def test_a_stack_of_doses_equals_each_alone() -> None:
    u, mean = torch.rand(3, 5, 1), torch.rand(3, 5, 3)
    doses = [0.1, 0.4, 0.9]
    for kind in (Brightness, Contrast, Saturation):
        stacked = kind.colours(u, mean, strength=torch.tensor(doses).unsqueeze(1))
        for k, dose in enumerate(doses):
            torch.testing.assert_close(stacked[k : k + 1], kind.colours(u[k : k + 1], mean[k : k + 1], strength=dose))
