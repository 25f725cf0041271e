"""Filters that whiten patches, against an eigenvalue decomposition in double precision."""

import numpy as np
import torch

from titrant.tricks.data_pictures import Patches


def test_filters_are_scaled_eigenvectors_with_both_signs() -> None:
    random = np.random.default_rng(0)
    patches = random.normal(size=(500, 6)) @ random.normal(size=(6, 6)) + 3
    found = Patches.filters(torch.tensor(patches), epsilon=0.1).double().numpy()
    values, vectors = np.linalg.eigh(np.cov(patches.T, bias=True))
    assert found.shape == (12, 6)
    for row, value, vector in zip(found, values, vectors.T, strict=False):
        largest = vector[np.abs(vector).argmax()]
        np.testing.assert_allclose(row, np.sign(largest) * vector / np.sqrt(value + 0.1), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found[6:], -found[:6])
    whitened = (patches - patches.mean(0)) @ found[:6].T
    np.testing.assert_allclose(np.cov(whitened.T, bias=True), np.diag(values / (values + 0.1)), atol=1e-4)


def test_what_never_varies_stays_finite_and_small() -> None:
    patches = torch.zeros(40, 4)
    patches[:, 0] = torch.randn(40)
    found = Patches.filters(patches, epsilon=1e-2)
    assert found.abs().max() <= 10.001  # epsilon ** -0.5
