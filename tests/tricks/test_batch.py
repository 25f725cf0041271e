"""The batch: rows of each step, and their parts."""

from hypothesis import given
from hypothesis import strategies as st

from titrant.tricks.batch import Fixed, Growing, Hardest

sizes = st.integers(1, 65536)
progress = st.floats(0.0, 1.0, exclude_max=True)
available = st.integers(1, 100_000)


@given(sizes, st.integers(1, 1024), progress, available)
def test_fixed_is_cut_to_what_there_is_and_to_whole_parts(size: int, parts: int, at: float, rows: int) -> None:
    found = Fixed(size=size, accumulate=parts).rows(at, rows)
    assert 1 <= found <= min(size, rows)
    if min(size, rows) >= parts:
        assert found % parts == 0
        assert min(size, rows) - found < parts
    assert Fixed(size=size, accumulate=parts).parts == parts


@given(sizes, progress, available)
def test_one_part_is_the_whole_batch(size: int, at: float, rows: int) -> None:
    assert Fixed(size=size).rows(at, rows) == min(size, rows)


@given(sizes, st.floats(1.0, 10.0), st.integers(2, 20), available, st.lists(progress, min_size=2, max_size=9))
def test_growing_never_shrinks_and_never_asks_for_more_than_there_is(
    size: int, factor: float, stages: int, rows: int, points: list[float]
) -> None:
    trick = Growing(size=size, factor=factor, stages=stages)
    found = [trick.rows(at, rows) for at in sorted(points)]
    assert found == sorted(found)
    assert all(1 <= count <= rows for count in found)
    assert trick.rows(0.0, rows) == min(size, rows)
    assert trick.parts == 1


def test_growing_steps_up_at_equal_stretches() -> None:
    trick = Growing(size=10, factor=1.5, stages=4)
    assert [trick.rows(at / 8, 1000) for at in range(8)] == [10, 10, 15, 15, 22, 22, 34, 34]


@given(sizes, st.integers(2, 20), progress, available)
def test_factor_one_is_a_fixed_size(size: int, stages: int, at: float, rows: int) -> None:
    assert Growing(size=size, factor=1.0, stages=stages).rows(at, rows) == Fixed(size=size).rows(at, rows)


@given(sizes, st.floats(0.05, 1.0), available)
def test_hardest_keeps_a_share_and_one_row_at_least(size: int, keep: float, rows: int) -> None:
    trick = Hardest(size=size, keep=keep)
    looked_at = trick.rows(0.5, rows)
    assert looked_at == min(size, rows)
    assert 1 <= trick.kept(looked_at) <= looked_at
    assert abs(trick.kept(looked_at) - keep * looked_at) <= 1
    assert Fixed(size=size).kept(looked_at) == looked_at
