"""All tricks of a recipe on a batch: fused moves and colours, off, stacks, receipts."""

import numpy as np
import pytest
import torch
from torch import Tensor

from titrant.models.image import Pixels, first, last
from titrant.recipe import kinds
from titrant.space import Range, doses
from titrant.train.augmentation import Augmentation
from titrant.tricks.acting import Ledger, Streams
from titrant.tricks.augment import Augment
from titrant.tricks.augment_places import Gather, PictureTrick, Rotate, Scale, Shear, Shift, resampled

CPU = torch.device("cpu")
KINDS = [
    (path.removeprefix("augment."), kind) for path, found in kinds().items() for kind in found if issubclass(kind, PictureTrick)
]
each_kind = pytest.mark.parametrize(("name", "kind"), KINDS, ids=[f"{name}:{kind.name()}" for name, kind in KINDS])
SHAPES = [(1, 1, 1), (3, 1, 5), (1, 7, 3), (3, 8, 8)]


def run(slots: list[Augment], x: Tensor, seeds: list[int], epoch: int = 0) -> tuple[Tensor, Ledger]:
    ledger = Ledger(len(slots), CPU)
    turns = torch.arange(x.shape[1]).expand(len(slots), -1) + epoch
    return Augmentation(slots, Streams(seeds, CPU), ledger)(x, turns), ledger


def pictures(members: int, channels: int, height: int, width: int, batch: int = 6, low: int = 0, high: int = 256) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(low, high, (members, batch, height, width, channels), dtype=torch.uint8, generator=generator)


def plain(x: Tensor) -> Tensor:
    return Pixels()(first(x))[0]


def slot(**kinds: object) -> Augment:
    return Augment.model_validate(kinds)


def all_tricks() -> Augment:
    return Augment.model_validate({name: kind.name() for name, kind in KINDS})


@each_kind
@pytest.mark.parametrize("shape", SHAPES)
def test_off_is_absence_and_all_ends_stay_in_range(name: str, kind: type[PictureTrick], shape: tuple[int, int, int]) -> None:
    x = pictures(1, *shape)
    assert torch.equal(run([Augment()], x, [0])[0], plain(x))
    for dose in doses(kind):
        for value in (dose.mark.low, dose.mark.high) if isinstance(dose.mark, Range) else dose.mark:
            out, _ = run([slot(**{name: {"kind": kind.name(), dose.name: value}})], x, [0])
            assert out.shape == plain(x).shape
            assert last(out).is_contiguous()
            assert (out >= 0).all()
            assert (out <= 1).all()
        if isinstance(dose.mark, Range) and dose.mark.off is not None:
            off = slot(**{name: {"kind": kind.name(), dose.name: dose.mark.off}})
            assert torch.equal(run([off], x, [0])[0], plain(x))
            assert torch.equal(run([off, all_tricks()], torch.cat([x, x]), [0, 1])[0][:1], plain(x))


@each_kind
def test_leaves_a_receipt_of_the_pictures_changed(name: str, kind: type[PictureTrick]) -> None:
    x = pictures(1, 3, 9, 9, batch=50)
    out, ledger = run([slot(**{name: kind.name()})], x, [1])
    (acted,), (seen,) = ledger.read()[f"augment.{name}"]
    assert seen == 50
    assert 0 < (out != plain(x)).flatten(2).any(-1).sum().item() <= acted <= 50


@pytest.mark.parametrize("shape", SHAPES)
def test_a_stack_equals_its_members(shape: tuple[int, int, int]) -> None:
    slots = [all_tricks(), Augment(), slot(flip={"p": 1.0}, shift={"share": 0.3}), slot(hue={"degrees": 90}), all_tricks()]
    x = pictures(5, *shape)
    stacked, _ = run(slots, x, [3, 4, 5, 6, 7])
    for k, own in enumerate(slots):
        alone, _ = run([own], x[k : k + 1], [3 + k])
        torch.testing.assert_close(alone[0], stacked[k], rtol=1e-4, atol=1e-4)


def test_flips_and_shifts_take_an_exact_gather() -> None:
    x = pictures(1, 3, 9, 12, batch=40)
    out, _ = run([slot(flip={"p": 0.5}, shift={"share": 0.25})], x, [0])
    padded = np.pad(last(plain(x))[0].numpy(), ((0, 0), (2, 2), (3, 3), (0, 0)), mode="reflect")
    found = set()
    for row in range(40):
        ours = last(out)[0, row].numpy()
        hits = [
            (down, across, mirror)
            for down in range(5)
            for across in range(7)
            for mirror in (1, -1)
            if np.array_equal(ours, padded[row, down : down + 9, across : across + 12][:, ::mirror])
        ]
        assert len(hits) == 1
        found |= set(hits)
    assert {mirror for *_, mirror in found} == {1, -1}
    assert len({down for down, *_ in found}) == 5


def test_alternating_flips_show_every_picture_both_ways() -> None:
    x = pictures(2, 3, 5, 6, batch=9)
    slots = [slot(flip={"p": 0.5, "alternating": True}), slot(flip={"p": 0.5})]
    epochs = [run(slots, x, [0, 1], epoch)[0] for epoch in range(3)]
    mirrored = [(seen[0] == plain(x)[0].flip(-1)).flatten(1).all(1) for seen in epochs]
    assert mirrored[0].tolist() == [row % 2 == 1 for row in range(9)]
    assert torch.equal(mirrored[1], ~mirrored[0])
    assert torch.equal(mirrored[2], mirrored[0])
    assert torch.equal(epochs[0][1], epochs[1][1])  # the other member goes by chance alone


def test_all_moves_are_one_resample_at_their_composed_places() -> None:
    """The maps, drawn anew from the same streams, composed in float64 in the order of the slot."""
    x = pictures(1, 3, 16, 20)
    out, _ = run([slot(rotate={"degrees": 30}, shear={"slope": 0.2}, scale={"spread": 0.3}, shift={"share": 0.1})], x, [5])
    streams = Streams([5], CPU)

    def maps(name: str, kind: type[PictureTrick], **values: float) -> Tensor:
        assert kind.places is not None
        found = kind.places(streams.uniform(f"augment.{name}", (6, kind.draws), 0, 1).double(), (16, 20), **values)
        return torch.cat([found[0], torch.tensor([0.0, 0, 1]).double().expand(6, 1, 3)], 1)

    chain = [
        maps("shift", Shift, share=0.1),
        maps("rotate", Rotate, degrees=30),
        maps("shear", Shear, slope=0.2),
        maps("scale", Scale, spread=0.3),
    ]
    joint = chain[0] @ chain[1] @ chain[2] @ chain[3]
    torch.testing.assert_close(out[0].double(), resampled(plain(x)[0].double(), joint[:, :2]), atol=2e-5, rtol=0)


def test_colours_commute_with_moves_and_are_cut_once() -> None:
    """Linear resampling and linear colours may change places as long as nothing is cut."""
    x = pictures(1, 3, 10, 10, low=100, high=150)
    turn, colours = {"rotate": {"degrees": 40}}, {"brightness": {"strength": 0.3}, "contrast": {"strength": 0.3}, "hue": "hue"}
    both, _ = run([slot(**turn, **colours)], x, [3])
    coloured, _ = run([slot(**colours)], x, [3])
    maps = Rotate.places(Streams([3], CPU).uniform("augment.rotate", (6, 1), 0, 1), (10, 10), degrees=40)[0]
    torch.testing.assert_close(both[0], resampled(coloured[0], maps), atol=1e-5, rtol=0)
    assert 0 < both.min() < both.max() < 1
    assert not torch.allclose(both[0], resampled(plain(x)[0], maps), atol=1e-2)


def test_strengths_are_each_members_own() -> None:
    x = pictures(1, 3, 8, 8, batch=200).expand(3, -1, -1, -1, -1)
    out, _ = run([slot(brightness={"strength": s}) for s in (0.05, 0.3, 0.9)], x, [0, 1, 2])
    spread = (out.mean((2, 3, 4)) / plain(x).mean((2, 3, 4)) - 1).abs().amax(1)
    assert spread[0] < 0.051
    assert 0.2 < spread[1] < 0.31
    assert spread[2] > 0.5


def test_switching_one_trick_on_leaves_the_draws_of_the_others() -> None:
    x = pictures(1, 3, 8, 8)
    shifted, _ = run([slot(shift={"share": 0.3})], x, [9])
    coloured, _ = run([slot(shift={"share": 0.3}, brightness={"strength": 0.4})], x, [9])
    ratio = coloured.flatten(2).sum(2) / shifted.flatten(2).sum(2)
    uncut = (coloured < 1).flatten(2).all(2)
    torch.testing.assert_close(coloured[uncut], (shifted * ratio[..., None, None, None])[uncut], atol=1e-4, rtol=0)


def test_a_gather_of_bytes_is_the_same() -> None:
    x = torch.randint(0, 256, (4, 3, 5, 6), dtype=torch.uint8)
    maps = torch.tensor([[-1.0, 0, 1], [0, 1, -2]]).expand(4, 2, 3)
    gather = Gather(maps, 5, 6)
    assert torch.equal(gather(x).float(), gather(x.float()))
