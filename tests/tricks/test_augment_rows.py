"""Augmentation of rows: which cells change, by how much, and that a stack equals its members."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from titrant.tricks.augment import Augment
from titrant.tricks.augment_rows import FeatureMask, GaussianNoise, RowTrick, SwapNoise
from titrant.tricks.base import segments

KINDS: list[type[RowTrick]] = [GaussianNoise, FeatureMask, SwapNoise]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name())
ROWS, NUMBERS, CODES = 50, 3, 2


def dose_of(kind: type[RowTrick]) -> str:
    return "std" if kind is GaussianNoise else "p"


def cells(*lead: int) -> tuple[Tensor, Tensor]:
    """Numbers and codes that are all different in a column, and never what hiding leaves."""
    numbers = 1 + torch.randperm(ROWS * NUMBERS).float().view(ROWS, NUMBERS).expand(*lead, ROWS, NUMBERS)
    codes = 1 + torch.randperm(ROWS * CODES).int().view(ROWS, CODES).expand(*lead, ROWS, CODES)
    return numbers.clone(), codes.clone()


def noise_for(kind: type[RowTrick], *lead: int) -> Tensor:
    draw = torch.randn if kind.draws == "normal" else torch.rand
    return draw(*lead, ROWS, NUMBERS + CODES)


@each_kind
@given(dose=st.floats(0.0, 0.9))
def test_changed_cells_are_those_that_differ(kind: type[RowTrick], dose: float) -> None:
    numbers, codes = cells()
    noise = noise_for(kind)
    new_numbers, new_codes, changed = kind.apply(numbers, codes, noise, **{dose_of(kind): dose})
    assert changed.dtype == torch.bool
    assert changed.shape == noise.shape
    assert new_codes.dtype == codes.dtype
    differ = torch.cat([new_numbers != numbers, new_codes != codes], -1)
    # Noise too small for float32 may leave a number as it was; nothing changes unbooked.
    assert not (differ & ~changed).any()
    if kind is not GaussianNoise:
        assert torch.equal(differ, changed)


@each_kind
@pytest.mark.parametrize("dose", [0.0, torch.zeros(2, 1, 1)])
def test_off_is_the_identity_bit_for_bit(kind: type[RowTrick], dose: Any) -> None:
    numbers, codes = cells(2)
    new_numbers, new_codes, changed = kind.apply(numbers, codes, noise_for(kind, 2), **{dose_of(kind): dose})
    assert torch.equal(new_numbers.view(torch.int32), numbers.view(torch.int32))
    assert torch.equal(new_codes, codes)
    assert not changed.any()


@each_kind
@given(doses=st.lists(st.integers(0, 90).map(lambda n: n / 100), min_size=2, max_size=4))
def test_a_stack_equals_its_members(kind: type[RowTrick], doses: list[float]) -> None:
    (part,) = segments([kind.model_validate({dose_of(kind): dose}) for dose in doses], axes=2)
    numbers, codes = cells(len(doses))
    noise = noise_for(kind, len(doses))
    stacked = kind.apply(numbers, codes, noise, **part.values)
    for k, dose in enumerate(doses):
        alone = kind.apply(numbers[k], codes[k], noise[k], **{dose_of(kind): dose})
        assert torch.equal(stacked[2][k], alone[2])
        assert torch.equal(stacked[1][k], alone[1])
        torch.testing.assert_close(stacked[0][k], alone[0])


def test_gaussian_noise_has_its_standard_deviation_and_leaves_codes() -> None:
    numbers, codes = torch.zeros(20_000, NUMBERS), torch.ones(20_000, CODES, dtype=torch.int32)
    noise = torch.randn(20_000, NUMBERS + CODES)
    new_numbers, new_codes, changed = GaussianNoise.apply(numbers, codes, noise, std=0.3)
    assert new_numbers.std().item() == pytest.approx(0.3, rel=0.03)
    assert torch.equal(new_codes, codes)
    assert changed[:, :NUMBERS].all()
    assert not changed[:, NUMBERS:].any()


@pytest.mark.parametrize("kind", [FeatureMask, SwapNoise])
def test_the_share_of_changed_cells_is_p(kind: type[RowTrick]) -> None:
    numbers, codes = cells(200)
    *_, changed = kind.apply(numbers, codes, noise_for(kind, 200), p=0.3)
    assert changed.double().mean().item() == pytest.approx(0.3, abs=0.01)


def test_hidden_cells_are_the_centre_and_unknown() -> None:
    numbers, codes = cells()
    new_numbers, new_codes, changed = FeatureMask.apply(numbers, codes, noise_for(FeatureMask), p=0.5)
    assert (new_numbers[changed[:, :NUMBERS]] == 0).all()
    assert (new_codes[changed[:, NUMBERS:]] == 0).all()


def test_swapped_cells_come_from_the_same_column() -> None:
    numbers, codes = cells(2)
    new_numbers, new_codes, _ = SwapNoise.apply(numbers, codes, noise_for(SwapNoise, 2), p=0.5)
    for k in range(2):
        for old, new in ((numbers[k], new_numbers[k]), (codes[k], new_codes[k])):
            for column in range(old.shape[1]):
                assert set(new[:, column].tolist()) <= set(old[:, column].tolist())


@each_kind
def test_a_batch_of_one_row_and_tables_of_one_sort(kind: type[RowTrick]) -> None:
    for rows, numbers, codes in ((1, 2, 2), (5, 0, 2), (5, 2, 0)):
        noise = torch.rand(rows, numbers + codes)
        result = kind.apply(torch.ones(rows, numbers), torch.ones(rows, codes).int(), noise, **{dose_of(kind): 0.5})
        assert [tuple(part.shape) for part in result] == [(rows, numbers), (rows, codes), (rows, numbers + codes)]


def test_the_slot_takes_lone_kinds_without_a_name() -> None:
    slot = Augment.model_validate({"swap": {"p": 0.1}, "noise": {"std": 0.2}, "mask": "mask"})
    assert (slot.swap, slot.noise, slot.mask) == (SwapNoise(p=0.1), GaussianNoise(std=0.2), FeatureMask())
    assert list(Augment.model_fields)[:3] == ["swap", "noise", "mask"]
