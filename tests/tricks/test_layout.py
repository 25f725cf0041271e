"""Rows of learned numbers: what stands where, and that views are the numbers themselves."""

from math import prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from titrant.tricks.layout import Entry, Layout, add_scaled

SHAPES = st.lists(st.integers(1, 4), max_size=4).map(tuple)
TENSORS = st.dictionaries(st.text(min_size=1), st.tuples(SHAPES, st.booleans()).map(lambda t: (t[0], t[1] and len(t[0]) > 1)))


@given(TENSORS)
def test_columns_are_used_once_and_matrices_come_first(tensors: dict[str, tuple[tuple[int, ...], bool]]) -> None:
    layout = Layout.of(tensors)
    assert {entry.name: (entry.shape, entry.matrix) for entry in layout.entries} == tensors
    assert [column for entry in layout.entries for column in range(entry.start, entry.stop)] == list(range(layout.size))
    assert all(entry.stop - entry.start == prod(entry.shape) for entry in layout.entries)
    assert all(entry.matrix == (entry.stop <= layout.matrices_end) for entry in layout.entries)


@given(TENSORS, st.integers(1, 3))
def test_views_hold_the_numbers_of_their_columns(tensors: dict[str, tuple[tuple[int, ...], bool]], k: int) -> None:
    layout = Layout.of(tensors)
    flat = torch.arange(k * layout.size, dtype=torch.float32).reshape(k, layout.size)
    views, row = layout.views(flat), layout.views(flat[0])
    for entry in layout.entries:
        assert torch.equal(views[entry.name], flat[:, entry.start : entry.stop].reshape(k, *entry.shape))
        assert torch.equal(row[entry.name], views[entry.name][0])


def test_entries_of_one_kind_keep_their_order() -> None:
    layout = Layout.of({"b": ((2,), False), "w": ((2, 3), True), "a": ((), False), "v": ((1, 2), True)})
    assert layout.entries == (
        Entry("w", (2, 3), 0, 6, True),
        Entry("v", (1, 2), 6, 8, True),
        Entry("b", (2,), 8, 10, False),
        Entry("a", (), 10, 11, False),
    )
    assert (layout.size, layout.matrices_end) == (11, 8)


def test_matrices_are_views_that_can_be_changed_in_place() -> None:
    layout = Layout.of({"bias": ((3,), False), "weight": ((3, 2), True), "filter": ((2, 1, 2, 2), True)})
    flat = torch.zeros(2, layout.size, requires_grad=True)
    with torch.no_grad():
        for matrix in layout.matrices(flat):
            matrix.add_(1)
        assert [tuple(matrix.shape) for matrix in layout.matrices(flat)] == [(2, 3, 2), (2, 2, 1, 2, 2)]
        assert torch.equal(layout.matrix_columns(flat), torch.ones(2, 14))
        assert torch.equal(flat[:, 14:], torch.zeros(2, 3))
        assert [tuple(matrix.shape) for matrix in layout.matrices(layout.matrix_columns(flat))] == [(2, 3, 2), (2, 2, 1, 2, 2)]


def test_the_gradient_of_views_is_one_concatenation() -> None:
    layout = Layout.of({"weight": ((3, 2), True), "bias": ((3,), False), "unused": ((4,), False)})
    flat = torch.randn(2, layout.size, requires_grad=True)
    views = layout.views(flat)
    (views["weight"].square().sum() + views["bias"].sum()).backward()
    assert flat.grad is not None
    assert torch.equal(flat.grad[:, :6], 2 * flat.detach()[:, :6])
    assert torch.equal(flat.grad[:, 6:], torch.tensor([[1.0] * 3 + [0.0] * 4] * 2))


def test_a_matrix_with_one_axis_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'scale' has shape \(3,\)"):
        Layout.of({"scale": ((3,), True)})


def test_add_scaled_means_the_same_for_a_number_and_for_a_tensor() -> None:
    start, direction = torch.randn(3, 5), torch.randn(3, 5)
    by_number, by_tensor = start.clone(), start.clone()
    add_scaled(by_number, direction, -0.25)
    add_scaled(by_tensor, direction, torch.full((3, 1), -0.25))
    assert torch.equal(by_number, by_tensor)
    assert torch.allclose(by_number, start - 0.25 * direction)
