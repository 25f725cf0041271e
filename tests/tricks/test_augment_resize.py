"""Smaller pictures at first: how large they are when, and what is left of them."""

import numpy as np
import pytest
import torch

from titrant.tricks.augment_resize import Progressive


@pytest.mark.parametrize(
    ("doses", "progress", "expected"),
    [
        ((0.5, 0.4, 0.8), 0.0, 0.5),
        ((0.5, 0.4, 0.8), 0.4, 0.5),
        ((0.5, 0.4, 0.8), 0.6, 0.75),
        ((0.5, 0.4, 0.8), 0.8, 1.0),
        ((0.5, 0.4, 0.8), 1.0, 1.0),
        ((0.25, 0.0, 1.0), 0.5, 0.625),
        ((0.25, 0.9, 0.5), 0.49, 0.25),  # hold lies behind until
        ((0.25, 0.9, 0.5), 0.5, 1.0),
        ((0.25, 1.0, 1.0), 0.99, 0.25),
        ((0.25, 0.0, 0.0), 0.0, 1.0),
    ],
)
def test_sides_grow_along_a_line(doses: tuple[float, float, float], progress: float, expected: float) -> None:
    low, hold, until = doses
    assert Progressive(low=low, hold=hold, until=until).share(progress) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("whole", "low", "expected"),
    [
        ((32, 32), 0.5, (16, 16)),
        ((28, 30), 0.5, (16, 16)),
        ((3, 100), 0.3, (3, 32)),
        ((64, 1), 0.75, (48, 1)),
        ((30, 30), 1.0, (30, 30)),
    ],
)
def test_sides_are_multiples_of_four_and_never_larger(whole: tuple[int, int], low: float, expected: tuple[int, int]) -> None:
    assert Progressive(low=low, hold=1.0, until=1.0).sides(whole, 0.3) == expected


def test_half_the_sides_average_neighbours_with_a_triangle() -> None:
    pixels = torch.rand(2, 3, 4, 16, 12)
    found = Progressive.shrunk(pixels, (8, 6))
    assert found.shape == (2, 3, 4, 8, 6)

    def halved(row: np.ndarray) -> np.ndarray:
        """Weights 1 - |distance| / 2 of pixels within two of the middle, and their sum made 1."""
        new = np.empty(len(row) // 2)
        for place in range(len(new)):
            middle = 2 * place + 0.5
            near = [at for at in range(len(row)) if abs(at - middle) < 2]
            weights = np.array([1 - abs(at - middle) / 2 for at in near])
            new[place] = (weights * row[near]).sum() / weights.sum()
        return new

    plain = pixels.double().numpy()
    expected = np.apply_along_axis(halved, -1, np.apply_along_axis(halved, -2, plain))
    np.testing.assert_allclose(found, expected, atol=1e-6)
