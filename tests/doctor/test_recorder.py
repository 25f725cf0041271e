"""Facts about rows and targets, against numpy, and the bounds of what is kept."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from titrant.doctor.recorder import Recorder, inputs_of, neighbours_of, targets_of


@given(
    rows=hnp.arrays(
        np.float64, st.tuples(st.integers(1, 20), st.integers(1, 5)), elements=st.floats(-1e6, 1e6, allow_nan=False, width=32)
    )
)
def test_inputs_are_described_as_numpy_does(rows: np.ndarray) -> None:
    found = inputs_of(rows)
    assert found.mean == pytest.approx(rows.mean(), abs=1e-6)
    assert found.mean_abs == pytest.approx(np.abs(rows).mean())
    assert (found.low, found.high, found.not_finite) == (rows.min(), rows.max(), 0.0)
    assert found.feature_std == pytest.approx(rows.std(0).tolist())


def test_values_that_are_not_finite_are_counted_and_left_out() -> None:
    found = inputs_of(np.asarray([[1.0, np.nan], [3.0, np.inf]]))
    assert (found.not_finite, found.mean, found.feature_std) == (0.5, 2.0, [])
    assert inputs_of(np.full((2, 2), np.nan)).not_finite == 1.0


@pytest.mark.parametrize(
    ("targets", "classes", "one_hot"),
    [
        (np.asarray([0, 1, 1, 2] * 25), {"1": 50, "0": 25, "2": 25}, False),
        (np.eye(3)[[0, 1, 1, 2] * 25], {"1": 50, "0": 25, "2": 25}, True),
        (np.asarray([0.0, 1.0] * 20)[:, None], {"0": 20, "1": 20}, False),
        (np.linspace(0, 1, 50), {}, False),
    ],
)
def test_classes_are_told_from_numbers(targets: np.ndarray, classes: dict[str, int], one_hot: bool) -> None:
    found = targets_of(targets)
    assert found.classes == classes
    assert found.one_hot is one_hot


def test_spread_of_targets_is_that_of_the_best_constant_for_each_column() -> None:
    targets = np.asarray([[0.0, 100.0], [2.0, 100.0]])
    assert targets_of(targets).std ** 2 == pytest.approx(((targets - targets.mean(0)) ** 2).mean())
    assert targets_of(targets).mean_deviation == pytest.approx(np.abs(targets - np.median(targets, axis=0)).mean())


def test_neighbours_tell_related_targets_from_shuffled_ones() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(500, 3))
    labels, numbers = (rows[:, 0] > 0).astype(int), rows[:, 0]
    related, unrelated = neighbours_of(rows, labels), neighbours_of(rows, random.permutation(labels))
    assert related is not None
    assert unrelated is not None
    assert related.agreement > 0.8
    assert abs(unrelated.agreement - unrelated.chance) < 0.08
    told, shuffled = neighbours_of(rows, numbers), neighbours_of(rows, random.permutation(numbers))
    assert told is not None
    assert shuffled is not None
    assert told.agreement > 0.8
    assert abs(shuffled.agreement) < 0.15


def test_equal_rows_in_training_and_evaluation_are_recognised() -> None:
    recorder = Recorder()
    rows = torch.randn(200, 4)
    recorder.fingerprints(rows[:100], training=True)
    recorder.fingerprints(rows[50:150], training=False)
    assert recorder.close().loader.overlap == pytest.approx(0.5)


def test_agreement_of_gradients_tells_the_noise_scale() -> None:
    random = np.random.default_rng(0)
    signal = random.normal(size=60_000)
    signal /= np.linalg.norm(signal)
    for noise in (0.1, 1.0, 3.0):  # of one batch, relative to the signal: the noise scale is its square, in batches
        recorder = Recorder(every=1)
        for _ in range(200):
            gradient = torch.from_numpy(signal + noise * random.normal(size=60_000) / np.sqrt(60_000)).float()
            recorder.gradients([gradient[:100], None, gradient[100:].reshape(-1, 100)])
            recorder.next_step()
        shares = [found.share for found in recorder.close().agreements]
        assert np.mean(shares) == pytest.approx(1 / (1 + noise**2), abs=0.03)


def test_only_gradients_of_steps_that_follow_one_another_are_compared() -> None:
    recorder = Recorder(every=100)
    for step in range(200):
        if recorder.paired:
            recorder.gradients([torch.ones(3)])
        recorder.next_step()
        assert recorder.paired or step > 7
    found = recorder.close().agreements
    assert [one.share for one in found] == [1.0] * len(found)
    assert 20 < len(found) < 60
    recorder.gradients([torch.ones(3)])
    recorder.next_step()
    recorder.gradients([torch.ones(4)])  # another network
    recorder.gradients([])
    assert len(recorder.close().agreements) == len(found)


def test_the_programs_random_numbers_are_not_touched() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    recorder = Recorder()
    recorder.inputs(torch.ones(64, 3), torch.zeros(64))
    recorder.close()
    assert torch.equal(torch.rand(3), expected)
