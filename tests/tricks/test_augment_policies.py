"""Policies: who gets which operation, how strong, and that a dealt batch equals the operations done one by one."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from titrant.tricks.augment_pixels import Posterize, Solarize
from titrant.tricks.augment_places import PictureTrick, Rotate, resampled
from titrant.tricks.augment_policies import (
    _MILD,
    _RAND,
    _WIDE,
    AugMix,
    Deal,
    Operation,
    RandAugment,
    TrivialAugment,
)

POLICIES: list[tuple[type[PictureTrick], dict[str, float]]] = [
    (TrivialAugment, {"strength": 0.7}),
    (RandAugment, {"magnitude": 0.4, "layers": 2}),
    (AugMix, {"severity": 0.4}),
]


def pictures(members: int, batch: int, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.randint(0, 256, (members, batch, channels, 8, 8), generator=generator).div(255)


def drawn(kind: type[PictureTrick], members: int, batch: int) -> Tensor:
    return torch.rand(members, batch, kind.draws, generator=torch.Generator().manual_seed(members))


def done(kind: type[PictureTrick], x: Tensor, u: Tensor, **doses: float | Tensor) -> Tensor:
    """All that a policy does, in the order in which its behaviours act."""
    if kind.colours is not None:
        maps = kind.colours(u, x.mean((3, 4)), **doses)
        x = (maps[..., :-1] @ x.flatten(3) + maps[..., -1:]).clamp(0, 1).view(x.shape)
    if kind.places is not None:
        maps = kind.places(u, (x.shape[3], x.shape[4]), **doses)
        x = resampled(x.flatten(0, 1), maps.flatten(0, 1)).view(x.shape)
    assert kind.pixels is not None
    return kind.pixels(x, u, None, **doses)


@pytest.mark.parametrize("batch", [1, 5, 14, 40])
def test_every_picture_gets_one_operation(batch: int) -> None:
    deal = Deal(_WIDE, torch.rand(3, batch, 15), 1.0)
    for who in deal.who.flatten(1):
        assert sorted(who[who < batch].tolist()) == list(range(batch))
    if batch % len(_WIDE) == 0:
        assert (deal.who < batch).all()


def test_operations_are_equally_common_for_every_picture() -> None:
    counts = torch.zeros(5, 14)
    deal = Deal(_WIDE, torch.rand(4000, 5, 15, generator=torch.Generator().manual_seed(0)), 1.0)
    for operation, who in enumerate(deal.who.unbind(1)):
        counts[:, operation] = torch.bincount(who.flatten(), minlength=6)[:5]
    assert counts.sum(1).tolist() == [4000] * 5
    assert counts / 4000 == pytest.approx(torch.full((5, 14), 1 / 14), abs=0.02)


def test_pictures_that_are_idle_stay() -> None:
    x, idle = pictures(2, 20), torch.rand(2, 20) < 0.5
    deal = Deal(_MILD, torch.rand(2, 20, 1 + len(_MILD)), 1.0, idle=idle)
    assert torch.equal(deal.pixels(x)[idle], x[idle])
    assert torch.equal(deal.places((8, 8))[idle], torch.eye(2, 3).expand(int(idle.sum()), 2, 3))
    assert [sorted(who[who < 20].tolist()) for who in deal.who.flatten(1)] == [
        (~row).nonzero().flatten().tolist() for row in idle
    ]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_dealt_batch_equals_its_operations_one_by_one(channels: int) -> None:
    x, u = pictures(1, 30, channels), drawn(TrivialAugment, 1, 30)
    out = done(TrivialAugment, x, u, strength=1.0)
    for operation, who in zip(_WIDE, Deal(_WIDE, u, 1.0).who[0], strict=True):
        for row in who[who < 30].tolist():
            one = x[:, row : row + 1]
            if operation is not None:
                draws = operation.drawn(u[:, row : row + 1, 0])
                kind, doses = operation.kind, operation.doses(1.0)
                if kind.places is not None:
                    one = resampled(one[0], kind.places(draws, (8, 8), **doses)[0])[None]
                if kind.colours is not None:
                    maps = kind.colours(draws, one.mean((3, 4)), **doses)
                    one = (maps[..., :-1] @ one.flatten(3) + maps[..., -1:]).clamp(0, 1).view(one.shape)
                if kind.pixels is not None:
                    one = kind.pixels(one, draws, None, **doses)
            torch.testing.assert_close(out[:, row : row + 1], one, atol=2e-6, rtol=0)


def test_strengths_reach_from_nothing_to_the_end_of_the_range() -> None:
    (rotate,) = (one for one in _WIDE if one and one.kind is Rotate)
    assert rotate.doses(1.0) == {"degrees": 135}
    assert rotate.doses(0.5) == {"degrees": 67.5}
    u = torch.tensor([0.1, 0.9])
    assert rotate.extreme(u).flatten().tolist() == [0.0, 1.0]
    (posterize,) = (one for one in _RAND if one and one.kind is Posterize)
    assert posterize.doses(0.25) == {"bits": 7}
    assert posterize.doses(1.0) == {"bits": 4}
    values = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    x = torch.tensor(values).float().div(255)[None, None, None]
    ours = Posterize.pixels(x, posterize.extreme(torch.tensor([[0.3]])), None, **posterize.doses(1.0)) * 255
    np.testing.assert_allclose(ours[0, 0, 0].numpy(), np.asarray(ImageOps.posterize(Image.fromarray(values), 4)), atol=1e-4)
    (solarize,) = (one for one in _RAND if one and one.kind is Solarize)
    assert solarize.doses(0.5) == {"depth": 0.5}


@pytest.mark.parametrize(("kind", "doses"), POLICIES)
def test_pictures_change_and_stay_in_range(kind: type[PictureTrick], doses: dict[str, float]) -> None:
    x = pictures(2, 28)
    out = done(kind, x, drawn(kind, 2, 28), **doses)
    assert out.shape == x.shape
    assert (out.min() >= 0) & (out.max() <= 1)
    assert (out != x).flatten(2).any(2).float().mean() > 0.6


@pytest.mark.parametrize(("kind", "doses"), POLICIES)
def test_a_stack_equals_its_members(kind: type[PictureTrick], doses: dict[str, float]) -> None:
    x, u = pictures(3, 9), drawn(kind, 3, 9)
    (name, value), *fixed = doses.items()
    values = [value, 0.9, 0.1]
    stacked = done(kind, x, u, **{name: torch.tensor(values).unsqueeze(1)}, **dict(fixed))
    for k, own in enumerate(values):
        alone = done(kind, x[k : k + 1], u[k : k + 1], **{name: own}, **dict(fixed))
        torch.testing.assert_close(stacked[k : k + 1], alone, atol=1e-5, rtol=0)


def test_rand_augment_of_one_layer_acts_at_full_strength() -> None:
    u = drawn(RandAugment, 1, 28)
    maps = RandAugment.places(u, (8, 8), magnitude=1.0, layers=1)
    (rotate,) = (place for place, one in enumerate(_RAND) if one and one.kind is Rotate)
    for row in Deal(_RAND, u[..., :15], 1.0).who[0, rotate].tolist():
        assert abs(np.degrees(np.arctan2(float(maps[0, row, 1, 0]), float(maps[0, row, 0, 0])))) == pytest.approx(30, abs=1e-3)


def test_augmix_blends_with_weights_that_sum_to_one() -> None:
    """A flat picture of an even level stays what it is under all mild operations, and so must a blend of its versions."""
    flat = torch.full((1, 40, 3, 8, 8), 52 / 255)
    out = AugMix.pixels(flat, drawn(AugMix, 1, 40), None, severity=0.05)
    torch.testing.assert_close(out, flat, atol=1e-6, rtol=0)


def test_operations_name_doses_that_there_are() -> None:
    for operation in [*_WIDE, *_RAND, *_MILD]:
        if isinstance(operation, Operation):
            assert operation.dose in operation.kind.model_fields
            operation.kind.model_validate({operation.dose: operation.most})
            assert operation.axis < operation.kind.draws
