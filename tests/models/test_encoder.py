"""The first layer: fitted on training rows alone, and defined for whatever comes later."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from titrant.models.encoder import Encoder
from titrant.tricks.data import Data

SCALES = ["off", "standardize", "robust", "min_max", "quantile"]


def table(rows: int = 40, gaps: bool = True) -> tuple[Tensor, Tensor]:
    numbers = torch.randn(rows, 3) * torch.tensor([1.0, 100.0, 0.01]) + torch.tensor([0.0, 5.0, -3.0])
    if gaps:
        numbers[::4, 1] = torch.nan
    codes = torch.stack([torch.randint(1, 4, (rows,)), torch.randint(2, 9, (rows,))], 1).int()
    return numbers, codes


@pytest.mark.parametrize("scale", SCALES)
def test_missing_numbers_become_zero_and_get_an_indicator(scale: str) -> None:
    numbers, codes = table()
    encoder = Encoder.fit(Data(scale=scale), numbers, codes, [5, 9])
    encoded, _ = encoder(numbers, codes)
    missing = numbers[:, 1].isnan()
    assert encoded.shape == (40, encoder.width) == (40, 4)
    assert encoded.isfinite().all()
    assert torch.equal(encoded[:, 3], missing.float())
    assert (encoded[missing, 1] == 0).all()
    assert (encoded[~missing, 1] != 0).all()


@pytest.mark.parametrize("scale", SCALES)
def test_columns_that_first_miss_later_are_filled_without_an_indicator(scale: str) -> None:
    numbers, codes = table(gaps=False)
    encoder = Encoder.fit(Data(scale=scale), numbers, codes, [5, 9])
    later = numbers.clone()
    later[0] = torch.nan
    encoded, _ = encoder(later, codes)
    assert encoded.shape == (40, 3)
    assert torch.equal(encoded[0], torch.zeros(3))


def test_asked_indicators_are_there_whatever_the_rows_say() -> None:
    numbers, codes = table(gaps=False)
    encoder = Encoder.fit(Data(), numbers, codes, [5, 9], torch.tensor([True, False, True]))
    assert encoder.width == 5
    assert torch.equal(encoder(numbers, codes)[0][:, 3:], torch.zeros(40, 2))


@pytest.mark.parametrize("scale", SCALES)
def test_empty_and_constant_columns_are_harmless(scale: str) -> None:
    numbers, codes = table()
    numbers[:, 0] = torch.nan
    numbers[:, 2] = 0.1
    encoder = Encoder.fit(Data(scale=scale), numbers, codes, [5, 9])
    encoded, _ = encoder(numbers, codes)
    assert encoded.isfinite().all()
    assert torch.equal(encoded[:, 0], torch.zeros(40))
    if scale != "off":
        assert encoded[:, 2].abs().max() < 1e-6


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("wild", [1e30, -1e30, torch.inf, -torch.inf])
def test_wild_numbers_stay_finite(scale: str, wild: float) -> None:
    numbers, codes = table()
    encoder = Encoder.fit(Data(scale=scale), numbers, codes, [5, 9])
    numbers[0, 0] = wild
    assert encoder(numbers, codes)[0].isfinite().all()


def test_codes_that_training_rows_lack_are_unseen() -> None:
    numbers = torch.zeros(4, 0)
    codes = torch.tensor([[2, 2], [2, 3], [4, 1], [4, 2]], dtype=torch.int32)
    encoder = Encoder.fit(Data(), numbers, codes, [5, 4])
    later = torch.tensor([[0, 0], [1, 1], [2, 2], [3, 3], [4, 3]], dtype=torch.int32)
    assert encoder(torch.zeros(5, 0), later)[1].tolist() == [[0, 0], [0, 1], [2, 2], [0, 3], [4, 3]]


@given(most=st.integers(2, 12))
def test_one_hot_keeps_the_commonest(most: int) -> None:
    """Codes from 2 on are ranks: a lower one is commoner."""
    codes = torch.arange(12, dtype=torch.int32)[:, None]
    encoder = Encoder.fit(Data(categories={"kind": "one_hot", "most": most}), torch.zeros(12, 0), codes, [12])
    known = encoder(torch.zeros(12, 0), codes)[1].flatten().tolist()
    assert known == [code if code < most + 2 else 0 for code in range(12)]
    assert list(encoder.cardinalities) == [min(12, most + 2)]


def test_embedded_codes_all_stay() -> None:
    codes = torch.arange(40, dtype=torch.int32)[:, None]
    encoder = Encoder.fit(Data(categories={"kind": "embed"}), torch.zeros(40, 0), codes, [40])
    assert torch.equal(encoder(torch.zeros(40, 0), codes)[1], codes)


@pytest.mark.parametrize("scale", SCALES)
@given(seed=st.integers(0, 1000))
def test_only_training_rows_are_looked_at(scale: str, seed: int) -> None:
    """Each row is encoded by itself: other rows in the same call change nothing."""
    torch.manual_seed(seed)
    numbers, codes = table()
    encoder = Encoder.fit(Data(scale=scale), numbers[:20], codes[:20], [5, 9])
    whole, known = encoder(numbers, codes)
    for row in (0, 19, 20, 39):
        part, part_known = encoder(numbers[row : row + 1], codes[row : row + 1])
        assert torch.equal(part[0], whole[row])
        assert torch.equal(part_known[0], known[row])


@pytest.mark.parametrize("scale", SCALES)
def test_an_encoder_is_remade_from_its_recipe_and_tensors(scale: str) -> None:
    numbers, codes = table()
    data = Data(scale=scale, categories={"kind": "one_hot", "most": 3})
    encoder = Encoder.fit(data, numbers, codes, [5, 9])
    plain: dict[str, Any] = json.loads(data.model_dump_json())
    again = Encoder(Data(**plain), 3, [5, 9], encoder.state_dict())
    for one, other in zip(encoder(numbers, codes), again(numbers, codes), strict=True):
        assert torch.equal(one, other)


def test_standardised_columns_have_mean_zero_and_variance_one() -> None:
    numbers, codes = table(400)
    encoded, _ = Encoder.fit(Data(), numbers, codes, [5, 9])(numbers, codes)
    for column in range(3):
        there = encoded[~numbers[:, column].isnan(), column].double().numpy()
        np.testing.assert_allclose([there.mean(), there.std()], [0, 1], atol=1e-5)


def test_tables_of_one_sort_of_column() -> None:
    numbers, codes = table()
    only_numbers = Encoder.fit(Data(), numbers, codes[:, :0], [])
    encoded, known = only_numbers(numbers, codes[:, :0])
    assert encoded.shape == (40, 4)
    assert known.shape == (40, 0)
    for scale in SCALES:
        only_codes = Encoder.fit(Data(scale=scale), numbers[:, :0], codes, [5, 9])
        encoded, known = only_codes(numbers[:, :0], codes)
        assert encoded.shape == (40, 0)
        assert torch.equal(known, codes)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("categories", [{"kind": "one_hot", "most": 3}, {"kind": "embed", "few": 2}])
def test_other_categories_on_the_same_scaling_equal_a_fresh_fit(scale: str, categories: dict[str, Any]) -> None:
    numbers, codes = table()
    data = Data(scale=scale, categories=categories)
    shared = Encoder.fit(Data(scale=scale), numbers[:20], codes[:20], [5, 9]).with_categories(data, codes[:20], [5, 9])
    fresh = Encoder.fit(data, numbers[:20], codes[:20], [5, 9])
    assert shared.state_dict().keys() == fresh.state_dict().keys()
    assert list(shared.cardinalities) == list(fresh.cardinalities)
    for one, other in zip(shared(numbers, codes), fresh(numbers, codes), strict=True):
        assert torch.equal(one, other)
