"""Augmentation of texts, against what its definition says."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from titrant.tricks.augment_text import PADDING, UNKNOWN, EmbeddingDrop, TokenDrop, TokenSwap, TokenUnknown

IDS = torch.tensor([[[5, 6, 7, 8, 9, 0, 0], [4, 5, 4, 0, 0, 0, 0]]])
ENDS = torch.tensor([[5, 3]])


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@given(p=st.floats(0.0, 0.9), seed=st.integers(0, 1000))
def test_tokens_are_hidden_as_often_as_asked(p: float, seed: int) -> None:
    drawn = noise(1, 2, 7, seed=seed)
    assert torch.equal(TokenDrop.hidden(IDS, drawn, p=p), drawn < p)


def test_a_word_is_hidden_wherever_it_stands() -> None:
    drawn = torch.ones(1, 12)
    drawn[0, 5] = 0.0
    hidden = EmbeddingDrop.hidden(IDS, drawn, p=0.5)
    assert torch.equal(hidden, IDS == 5)


@given(reach=st.integers(0, 20), seed=st.integers(0, 1000))
def test_no_token_moves_further_than_asked_and_none_is_lost(reach: int, seed: int) -> None:
    ids = torch.arange(1, 31).expand(1, 3, 30)
    moved = TokenSwap.apply(ids, torch.full((1, 3), 30), noise(1, 3, 30, seed=seed), reach=reach)
    assert torch.equal(moved.sort(-1).values, ids)
    assert int((moved.argsort(-1) - torch.arange(30)).abs().max()) <= reach


def test_what_stands_behind_the_end_stays_there() -> None:
    for seed in range(20):
        moved = TokenSwap.apply(IDS, ENDS, noise(1, 2, 7, seed=seed), reach=20)
        assert torch.equal(moved == PADDING, IDS == PADDING)
        unknown = TokenUnknown.apply(IDS, ENDS, noise(1, 2, 7, seed=seed), p=0.9)
        assert torch.equal(unknown == PADDING, IDS == PADDING)
        assert (unknown == UNKNOWN).any()


@pytest.mark.parametrize("trick", [TokenSwap(reach=0), TokenUnknown(p=0.0)])
def test_off_changes_nothing(trick: TokenSwap | TokenUnknown) -> None:
    values = trick.model_dump(exclude={"kind"})
    assert torch.equal(type(trick).apply(IDS, ENDS, noise(1, 2, 7), **values), IDS)


def test_doses_may_differ_from_member_to_member() -> None:
    both = IDS.expand(2, 2, 7)
    drawn = noise(2, 2, 7)
    dose = torch.tensor([0.0, 0.9]).view(2, 1, 1)
    found = TokenUnknown.apply(both, ENDS.expand(2, 2), drawn, p=dose)
    assert torch.equal(found[0], IDS[0])
    assert torch.equal(found[1], TokenUnknown.apply(IDS, ENDS, drawn[1:], p=0.9)[0])
    swapped = TokenSwap.apply(both, ENDS.expand(2, 2), drawn, reach=torch.tensor([0.0, 3.0]).view(2, 1, 1))
    assert torch.equal(swapped[0], IDS[0])
    assert torch.equal(swapped[1], TokenSwap.apply(IDS, ENDS, drawn[1:], reach=3)[0])
