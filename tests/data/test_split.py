import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from titrant.data.split import Split, divide, folds
from titrant.errors import DataError


def parts(split: Split) -> list[np.ndarray]:
    return [part.numpy() for part in (split.train, split.validation, split.test)]


def assert_partition(split: Split, rows: int) -> None:
    together = np.concatenate(parts(split))
    assert np.array_equal(np.sort(together), np.arange(rows))
    assert all(len(part) and np.array_equal(part, np.sort(part)) for part in parts(split))


@given(st.lists(st.integers(0, 4), min_size=10, max_size=300), st.integers(0, 99))
def test_classes_are_divided_evenly(labels: list[int], seed: int) -> None:
    key = np.array(labels, float)
    split = divide(key, labels=True, seed=seed)
    assert_partition(split, len(key))
    train, _, test = parts(split)
    for label, count in zip(*np.unique(key, return_counts=True), strict=True):
        assert (key[train] == label).any()
        assert abs((key[test] == label).sum() - 0.2 * count) <= 1.2


def test_shares_and_the_most_rows_that_scores_need() -> None:
    assert [len(part) for part in parts(divide(np.arange(1000.0) % 7, labels=True))] == [640, 160, 200]
    assert [len(part) for part in parts(divide(np.zeros(500_000), labels=True))] == [460_000, 20_000, 20_000]


def test_regression_targets_have_like_distributions_in_all_parts() -> None:
    key = np.random.default_rng(0).lognormal(size=1000)
    train, validation, test = (key[part] for part in parts(divide(key, labels=False)))
    for part in (validation, test):
        # Far closer than a random draw of this size, whose distance is about 0.07.
        assert stats.ks_2samp(train, part).statistic < 0.02


def test_the_only_row_of_a_class_is_in_train_but_extreme_values_are_tested() -> None:
    key = np.array([0.0] * 50 + [1.0] * 50 + [2.0])
    assert all(100 in divide(key, labels=True, seed=seed).train for seed in range(30))
    assert any(100 in divide(key, labels=False, seed=seed).test for seed in range(30))


def test_the_seed_decides() -> None:
    key = np.arange(200.0) % 3
    first, again, other = (divide(key, labels=True, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.test, again.test)
    assert not torch.equal(first.test, other.test)


@given(st.lists(st.integers(0, 9), min_size=12, max_size=200).filter(lambda groups: len(set(groups)) > 2), st.integers(0, 9))
def test_groups_never_straddle_parts(groups: list[int], seed: int) -> None:
    group = np.array(groups)
    try:
        split = divide(np.arange(len(group)) % 2.0, labels=True, groups=group, seed=seed)
    except DataError:  # large groups may leave too few rows or groups for the other parts
        return
    assert_partition(split, len(group))
    seen = [set(group[part]) for part in parts(split)]
    assert sum(map(len, seen)) == len(set(groups))


def test_a_group_with_most_rows_is_in_train() -> None:
    group = np.array([0] * 80 + list(range(1, 21)))
    assert all(0 in group[divide(np.zeros(100), labels=True, groups=group, seed=seed).train] for seed in range(20))


def test_time_runs_from_train_to_test_and_ties_stay_together() -> None:
    time = np.random.default_rng(0).integers(0, 50, 400).astype(float)
    train, validation, test = (time[part] for part in parts(divide(np.zeros(400), labels=True, time=time)))
    assert train.max() < validation.min()
    assert validation.max() < test.min()
    assert 60 <= len(test) <= 100


@pytest.mark.parametrize("time", [np.zeros(100), np.repeat([0.0, 1.0], [5, 95]), np.repeat([0.0, 1.0], [95, 5])])
def test_time_with_few_values_still_fills_all_parts(time: np.ndarray) -> None:
    split = divide(np.zeros(100), labels=True, time=time)
    assert_partition(split, 100)


def test_given_parts_are_kept_and_missing_ones_are_drawn_from_train() -> None:
    given_ = np.repeat([0, 1, 2], [50, 20, 30])
    assert [len(part) for part in parts(divide(np.zeros(100), labels=True, given=given_))] == [50, 20, 30]
    without_validation = divide(np.zeros(100), labels=True, given=np.repeat([0, 2], [70, 30]))
    assert np.array_equal(without_validation.test, np.arange(70, 100))
    assert [len(part) for part in parts(without_validation)] == [56, 14, 30]
    assert "Test rows were given" in without_validation.words
    without_test = divide(np.zeros(100), labels=True, given=np.repeat([0, 1], [80, 20]))
    assert np.array_equal(without_test.validation, np.arange(80, 100))
    assert [len(part) for part in parts(without_test)] == [64, 20, 16]


def test_what_cannot_be_divided_is_refused() -> None:
    with pytest.raises(DataError, match="7 rows"):
        divide(np.zeros(7), labels=True)
    with pytest.raises(DataError, match="groups"):
        divide(np.zeros(50), labels=True, groups=np.zeros(50, int))
    with pytest.raises(DataError, match="train"):
        divide(np.zeros(50), labels=True, given=np.repeat([1, 2], 25))
    with pytest.raises(DataError, match="too few"):
        divide(np.zeros(50), labels=True, given=np.repeat([0, 1, 2], [2, 2, 46]))


@given(st.integers(2, 5), st.lists(st.integers(0, 3), min_size=10, max_size=60), st.integers(0, 9))
def test_folds_hold_each_row_out_once(k: int, labels: list[int], seed: int) -> None:
    indices = torch.arange(100, 100 + len(labels))
    target = torch.full((200,), -1)
    target[indices] = torch.tensor(labels)
    pairs = folds(indices, target, None, k, seed)
    assert len(pairs) == k
    assert sorted(torch.cat([held for _, held in pairs]).tolist()) == indices.tolist()
    for train, held in pairs:
        assert sorted([*train.tolist(), *held.tolist()]) == indices.tolist()
        if np.bincount(labels).max() >= k:
            for label in set(labels):
                assert abs((target[held] == label).sum() - labels.count(label) / k) <= 1


def test_folds_of_groups_and_of_values() -> None:
    indices, values = torch.arange(100), torch.linspace(0, 1, 100)
    groups = torch.arange(100) // 10
    for train, held in folds(indices, (groups > 4).long(), groups, 5, 0) + folds(indices, None, groups, 5, 0):
        assert not set(groups[train].tolist()) & set(groups[held].tolist())
    for _, held in folds(indices, values, None, 5, 0):
        assert abs(values[held].mean() - 0.5) < 0.05


def test_more_folds_than_units_are_refused() -> None:
    with pytest.raises(DataError, match="3 rows"):
        folds(torch.arange(3), None, None, 4, 0)
    with pytest.raises(DataError, match="2 rows or groups"):
        folds(torch.arange(10), None, torch.arange(10) % 2, 3, 0)
