"""Input scaling against scikit-learn's scalers, and what they owe to gaps, constants and ties."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats
from sklearn import preprocessing as sk
from torch import Tensor

from titrant.tricks.data import Data, MinMax, Quantile, Robust, ScaleTrick, Standardize

KINDS: list[ScaleTrick] = [Standardize(), Robust(), MinMax(), Quantile()]
each_kind = pytest.mark.parametrize("trick", KINDS, ids=lambda trick: trick.kind)


def fitted(trick: ScaleTrick, x: Tensor) -> dict[str, Tensor]:
    return type(trick).fit(x, **trick.model_dump(exclude={"kind"}))


def scaled(trick: ScaleTrick, train: np.ndarray, rows: np.ndarray) -> np.ndarray:
    constants = fitted(trick, torch.tensor(train, dtype=torch.float32))
    return type(trick).apply(torch.tensor(rows, dtype=torch.float32), **constants).double().numpy()


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Training rows and all rows, float32 in value, at several scales, with gaps: off centre, or crowded around zero."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, columns = draw(st.integers(5, 60)), draw(st.integers(1, 4))
    x = random.normal(size=(rows + 10, columns))
    x = x**3 if draw(st.booleans()) else x + 3 * random.normal(size=columns)
    x = x * 10.0 ** random.integers(-3, 4, columns)
    x[random.random(x.shape) < draw(st.sampled_from([0.0, 0.2]))] = np.nan
    x[:3] = random.normal(size=(3, columns))  # so that no column is empty
    x = x.astype(np.float32).astype(np.float64)
    return x[:rows], x


def quiet(scaler: Any, train: np.ndarray, rows: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: np.ndarray = scaler.fit(train).transform(rows)
    return found


def close(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@given(tables())
def test_standardize_equals_standard_scaler(table: tuple[np.ndarray, np.ndarray]) -> None:
    close(scaled(Standardize(), *table), quiet(sk.StandardScaler(), *table))


@given(tables())
def test_min_max_equals_min_max_scaler(table: tuple[np.ndarray, np.ndarray]) -> None:
    close(scaled(MinMax(), *table), quiet(sk.MinMaxScaler((-1, 1)), *table))


@given(tables(), st.sampled_from([1.0, 3.0, 100.0]))
def test_robust_bends_what_robust_scaler_gives(table: tuple[np.ndarray, np.ndarray], limit: float) -> None:
    z = quiet(sk.RobustScaler(), *table)
    close(scaled(Robust(limit=limit), *table), z / np.sqrt(1 + (z / limit) ** 2))


@given(tables(), st.sampled_from([10, 500]))
def test_quantile_equals_quantile_transformer(table: tuple[np.ndarray, np.ndarray], points: int) -> None:
    """To 2e-3 within three standard deviations; beyond, float32 leaves few steps of the distribution function."""
    train, rows = table
    transformer = sk.QuantileTransformer(n_quantiles=min(points, len(train)), output_distribution="normal", subsample=None)
    expected = quiet(transformer, train, rows)
    found = scaled(Quantile(points=points), train, rows)
    assert np.array_equal(np.isnan(found), np.isnan(rows))
    middle = np.abs(expected) < 3
    close(found[middle], expected[middle], 2e-3)
    tails = np.abs(expected) >= 3
    assert (np.abs(found[tails]) > 2.9).all()
    assert (np.sign(found[tails]) == np.sign(expected[tails])).all()
    assert np.nanmax(np.abs(found)) <= 5.3


def test_quantile_makes_any_distribution_normal() -> None:
    x = np.exp(3 * np.random.default_rng(0).normal(size=(3000, 1)))
    y = scaled(Quantile(), x, x).ravel()
    assert stats.kstest(y, "norm").statistic < 0.01


def test_ties_get_the_middle_of_their_step() -> None:
    """A third of the rows below, a third at, a third above: the middle of the step is the median."""
    x = np.repeat([[-1.0], [0.0], [1.0]], 40, axis=0)
    y = scaled(Quantile(), x, np.array([[0.0]]))
    assert y.item() == pytest.approx(0.0, abs=1e-3)


@each_kind
def test_gaps_stay_gaps_and_do_not_count(trick: ScaleTrick) -> None:
    x = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    with_gaps = np.concatenate([x, np.full((20, 2), np.nan)])
    probe = np.array([[0.3, np.nan]])
    one, other = scaled(trick, x, probe), scaled(trick, with_gaps, probe)
    assert np.isnan(one[0, 1])
    assert np.isnan(other[0, 1])
    if not isinstance(trick, Quantile):  # whose number of knots is that of the rows
        assert one[0, 0] == other[0, 0]
    assert one[0, 0] == pytest.approx(other[0, 0], abs=0.02)


@each_kind
@pytest.mark.parametrize("constant", [0.0, 5.0, 0.1, -1e6, 1e-12])
@pytest.mark.parametrize("rows", [1, 2, 3, 7, 1000])
def test_constant_columns_become_zero(trick: ScaleTrick, constant: float, rows: int) -> None:
    x = np.full((rows, 2), constant)
    assert np.abs(scaled(trick, x, x)).max() <= 1e-6


@each_kind
@pytest.mark.parametrize("constant", [0.0, 0.1, 123.4])
def test_a_new_value_in_a_constant_column_is_not_blown_up(trick: ScaleTrick, constant: float) -> None:
    """scikit-learn divides such a column by one; rounding of the mean must not be taken for spread."""
    train, probe = np.full((7, 1), constant), np.array([[constant + 0.5]])
    assert abs(scaled(trick, train, probe).item()) <= 5.3


@each_kind
def test_empty_columns_are_harmless(trick: ScaleTrick) -> None:
    x = np.full((20, 1), np.nan)
    probe = scaled(trick, x, np.array([[0.0], [1.0], [np.nan]]))
    assert np.isfinite(probe[:2]).all()
    assert np.isnan(probe[2])


@each_kind
def test_no_columns_at_all(trick: ScaleTrick) -> None:
    assert scaled(trick, np.zeros((5, 0)), np.zeros((3, 0))).shape == (3, 0)


@each_kind
def test_scaling_keeps_the_order(trick: ScaleTrick) -> None:
    x = np.random.default_rng(1).normal(size=(200, 1)) ** 3
    rows = np.sort(x, axis=0)
    assert (np.diff(scaled(trick, x, rows), axis=0) >= 0).all()


@each_kind
def test_constants_are_plain_float32_tensors(trick: ScaleTrick) -> None:
    for constant in fitted(trick, torch.randn(30, 3)).values():
        assert constant.dtype == torch.float32
        assert constant.shape[0] == 3
        assert constant.is_contiguous()


@each_kind
def test_a_scaler_acts_from_an_instance_too(trick: ScaleTrick) -> None:
    x = torch.randn(30, 3)
    constants = fitted(trick, x)
    assert torch.equal(trick.apply(x, **constants), type(trick).apply(x, **constants))


def test_robust_limits_outliers_and_keeps_the_middle() -> None:
    x = np.concatenate([np.linspace(-1, 1, 101), [1e6, -1e6]])[:, None]
    y = scaled(Robust(limit=3.0), x, x).ravel()
    assert np.abs(y).max() <= 3.0
    assert y[50] == pytest.approx(0.0, abs=1e-6)


def test_robust_falls_back_on_half_the_range() -> None:
    """Most values alike: the interquartile range is zero."""
    x = np.concatenate([np.zeros(20), [10.0]])[:, None]
    expected = 10 / 5 / np.sqrt(1 + (10 / 5 / 3) ** 2)
    assert scaled(Robust(limit=3.0), x, x)[-1, 0] == pytest.approx(expected, rel=1e-5)


def test_the_slot_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValidationError, match="standardize"):
        Data(scale="standardise")
    with pytest.raises(ValidationError):
        Data(colour="red")  # type: ignore[call-arg]  # on purpose
