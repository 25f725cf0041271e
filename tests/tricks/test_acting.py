"""Random streams that never touch each other, and a ledger that adds up."""

from zlib import crc32

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from titrant.tricks.acting import Ledger, Streams, derived_seed

CPU = torch.device("cpu")
seeds = st.integers(0, 2**31)
names = st.text(max_size=8)


@given(seeds, seeds, names, names)
def test_seeds_differ_by_seed_and_by_purpose(one: int, other: int, first: str, second: str) -> None:
    assert derived_seed(one, first) == derived_seed(one, first)
    assert 0 <= derived_seed(one, first) < 2**63
    if one != other:
        assert derived_seed(one, first) != derived_seed(other, first)
    if first != second:
        assert derived_seed(one, first) != derived_seed(one, second)
        assert derived_seed(one, first, second) != derived_seed(one, second, first)


@given(st.integers(0, 2**63 - 1), st.lists(names, max_size=6))
def test_seeds_stay_the_same_between_versions(seed: int, words: list[str]) -> None:
    """A run can be repeated later: NumPy's SeedSequence, stable by its policy, over the seed and each name's CRC."""
    expected = np.random.SeedSequence([seed, *(crc32(word.encode()) for word in words)])
    assert derived_seed(seed, *words) == int(expected.generate_state(1, np.uint64)[0]) >> 1


def drawn(streams: Streams, way: str, start: int, stop: int) -> Tensor:
    found: Tensor = getattr(streams, way)("slot", (5, 3), start, stop)
    return found


@pytest.mark.parametrize("way", ["bytes", "uniform", "normal"])
def test_a_member_draws_the_same_in_a_stack_as_alone(way: str) -> None:
    stack, alone = Streams([1, 2, 3], CPU), Streams([2], CPU)
    for _ in range(3):
        together = drawn(stack, way, 0, 3)
        assert together.shape == (3, 5, 3)
        assert torch.equal(together[1], drawn(alone, way, 0, 1)[0])
        assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize("way", ["bytes", "uniform", "normal"])
def test_members_and_slots_do_not_shift_each_other(way: str) -> None:
    one, other = Streams([1, 2], CPU), Streams([1, 2], CPU)
    one.normal("another", (100,), 0, 2)
    drawn(one, way, 0, 1)
    assert torch.equal(drawn(one, way, 1, 2), drawn(other, way, 1, 2))


@pytest.mark.parametrize("way", ["bytes", "uniform", "normal"])
def test_keeping_and_resuming_go_on_from_there(way: str) -> None:
    streams, untouched = Streams([1, 2, 3], CPU), Streams([1, 2, 3], CPU)
    for each in (streams, untouched):
        drawn(each, way, 0, 3)
    streams.keep([0, 2])
    state = streams.state()
    fresh = Streams([1, 3], CPU)
    fresh.load(state)
    expected = drawn(untouched, way, 0, 3)[[0, 2]]
    assert torch.equal(drawn(streams, way, 0, 2), expected)
    assert torch.equal(drawn(fresh, way, 0, 2), expected)
    assert streams.seeds == [1, 3]
    # A slot that was not used before the members left belongs to them too.
    assert torch.equal(streams.uniform("late", (4,), 0, 2), Streams([1, 3], CPU).uniform("late", (4,), 0, 2))


def test_numbers_have_the_distribution_that_they_say() -> None:
    streams = Streams([0], CPU)
    uniform = streams.uniform("u", (20_000,), 0, 1).flatten().numpy()
    normal = streams.normal("n", (20_000,), 0, 1).flatten().numpy()
    assert stats.kstest(uniform, "uniform").pvalue > 1e-4
    assert stats.kstest(normal, "norm").pvalue > 1e-4
    counts = np.bincount(streams.bytes("b", (100_000,), 0, 1).flatten().numpy(), minlength=256)
    assert stats.chisquare(counts).pvalue > 1e-4


@given(st.integers(0, 20))
def test_any_number_of_bytes(count: int) -> None:
    found = Streams([1, 2], CPU).bytes("b", (count,), 0, 2)
    assert found.shape == (2, count)
    assert found.dtype == torch.uint8


def test_a_ledger_adds_up_by_member() -> None:
    ledger = Ledger(3, CPU)
    ledger.add("clip", 0, 2, 1.0, 2.0)
    ledger.add("clip", 1, 3, torch.tensor([True, False]).double(), 2.0)
    ledger.add("dropout", 2, 3, 5.0, 10.0)
    assert ledger.read() == {
        "clip": ([1.0, 2.0, 0.0], [2.0, 4.0, 2.0]),
        "dropout": ([0.0, 0.0, 5.0], [0.0, 0.0, 10.0]),
    }


def test_a_ledger_is_kept_and_resumed() -> None:
    ledger = Ledger(3, CPU)
    ledger.add("clip", 0, 3, torch.tensor([1.0, 2.0, 3.0]), 4.0)
    ledger.keep([0, 2])
    state = ledger.state()
    ledger.add("clip", 0, 2, 1.0, 1.0)
    ledger.add("mix", 0, 2, 1.0, 1.0)
    fresh = Ledger(2, CPU)
    fresh.load(state)
    assert fresh.read() == {"clip": ([1.0, 3.0], [4.0, 4.0])}
    assert ledger.read()["clip"] == ([2.0, 4.0], [5.0, 5.0])


def test_counts_beyond_float32_stay_exact() -> None:
    ledger = Ledger(1, CPU)
    ledger.add("dropout", 0, 1, 2.0**24, 2.0**24)
    ledger.add("dropout", 0, 1, 1.0, 1.0)
    assert ledger.read()["dropout"][0] == [2.0**24 + 1]
