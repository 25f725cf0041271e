"""Averages against plain ones in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from titrant.tricks.average import AverageTrick, Ema, Swa
from titrant.tricks.base import segments

STEPS = 40
WIDTH = 5


def path(k: int, steps: int = STEPS) -> Tensor:
    """The weights of k members before training and after each step, [steps + 1, k, P]."""
    return torch.randn(steps + 1, k, WIDTH, generator=torch.Generator().manual_seed(3)).cumsum(0)


def averaged(tricks: list[AverageTrick], weights: Tensor) -> Tensor:
    """The average after each step, [steps, k, P]."""
    (part,) = segments(tricks, axes=1)
    average, steps = weights[0].clone(), len(weights) - 1
    seen = []
    for step in range(1, steps + 1):
        part.kind.update(average, weights[step], step, step / steps, **part.values)
        seen.append(average.clone())
    return torch.stack(seen)


@given(st.floats(0.5, 0.99999))
def test_ema_is_the_recursion_with_its_warm_up(decay: float) -> None:
    weights = path(1)
    expected = weights[0, 0].double().numpy()
    for step in range(1, STEPS + 1):
        d = min(decay, (1 + step) / (10 + step))
        expected = d * expected + (1 - d) * weights[step, 0].double().numpy()
    np.testing.assert_allclose(averaged([Ema(decay=decay)], weights)[-1, 0].numpy(), expected, rtol=1e-4, atol=1e-5)


@given(st.integers(0, 99), st.integers(1, 120))
def test_swa_is_the_mean_of_the_weights_after_its_start(percent: int, steps: int) -> None:
    weights, start = path(1, steps), percent / 100
    found = averaged([Swa(start=start)], weights)
    # In whole numbers: the share of the run in steps, rounded to the nearest, a half down.
    first = (2 * percent * steps + 99) // 200
    for step in range(1, steps + 1):
        expected = weights[min(step, first + 1) : step + 1].double().mean(0)
        np.testing.assert_allclose(found[step - 1].numpy(), expected.numpy(), rtol=1e-4, atol=1e-4)
        assert Swa.acted(step, step / steps, start=start) == (step > first)


@pytest.mark.parametrize(
    "tricks", [[Ema(decay=0.9), Ema(decay=0.6), Ema(decay=0.9999)], [Swa(start=0.0), Swa(start=0.55), Swa(start=0.9)]]
)
def test_stacked_members_equal_separate_ones(tricks: list[AverageTrick]) -> None:
    weights = path(3)
    together = averaged(tricks, weights)
    for i, trick in enumerate(tricks):
        torch.testing.assert_close(together[:, i : i + 1], averaged([trick], weights[:, i : i + 1]))


@pytest.mark.parametrize("trick", [Ema(decay=0.99), Swa(start=0.3)])
def test_progress_may_differ_between_members(trick: AverageTrick) -> None:
    (part,) = segments([trick] * 2, axes=1)
    weights = path(2)
    average = weights[0].clone()
    lengths = torch.tensor([[float(STEPS)], [2.0 * STEPS]])
    for step in range(1, STEPS + 1):
        part.kind.update(average, weights[step], step, step / lengths, **part.values)
    (alone,) = segments([trick])
    for i, length in enumerate((STEPS, 2 * STEPS)):
        expected = weights[0, i : i + 1].clone()
        for step in range(1, STEPS + 1):
            part.kind.update(expected, weights[step, i : i + 1], step, step / length, **alone.values)
        torch.testing.assert_close(average[i : i + 1], expected)


@pytest.mark.parametrize("trick", [Ema(decay=0.99), Swa(start=0.3)])
def test_a_member_that_is_not_finite_leaves_the_others_alone(trick: AverageTrick) -> None:
    weights = path(3)
    expected = averaged([trick] * 3, weights)
    weights[5:, 1] = torch.nan
    found = averaged([trick] * 3, weights)
    assert torch.equal(found[:, ::2], expected[:, ::2])


def test_receipts_say_when_steps_are_averaged() -> None:
    assert Ema.acted(1, 0.1, decay=0.9)
    start = torch.tensor([[0.2], [0.9]])
    assert Swa.acted(5, 0.5, start=start).tolist() == [[True], [False]]
    assert Swa.acted(5, torch.tensor([[0.5], [0.95]]), start=start).tolist() == [[True], [False]]


@pytest.mark.parametrize("wrong", [{"kind": "ema", "decay": 1.0}, {"kind": "swa", "start": 1.0}])
def test_a_dose_outside_its_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="is outside"):
        (Ema if wrong["kind"] == "ema" else Swa).model_validate(wrong)
