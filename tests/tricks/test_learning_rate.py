"""Schedules against those of torch, and the properties that every course of the learning rate has."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.optim import lr_scheduler

from titrant.tricks.base import Off
from titrant.tricks.learning_rate import (
    Cosine,
    Exponential,
    LearningRate,
    OneCycle,
    Plateau,
    Polynomial,
    ScheduleTrick,
    Step,
    WarmRestarts,
    WarmupStableDecay,
    lowered,
    table,
)

PEAK = 0.3
STEPS = 120
SCHEDULES = [
    Step(every=0.3, factor=0.5),
    Exponential(),
    Polynomial(power=2.0),
    Cosine(final=0.1),
    WarmRestarts(cycles=3),
    OneCycle(),
    WarmupStableDecay(),
    Plateau(),
]


def by_torch(make: Any, steps: int = STEPS, **settings: Any) -> list[float]:
    """The learning rate of each step under a scheduler of torch."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    scheduler = make(optimizer, **settings)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("schedule", "make", "settings"),
    [
        (Off(), lr_scheduler.ConstantLR, {"factor": 1.0}),
        (Step(every=0.1, factor=0.5), lr_scheduler.StepLR, {"step_size": 12, "gamma": 0.5}),
        (Step(every=0.3, factor=0.1), lr_scheduler.StepLR, {"step_size": 36, "gamma": 0.1}),
        (Exponential(final=0.02), lr_scheduler.ExponentialLR, {"gamma": 0.02 ** (1 / STEPS)}),
        (Polynomial(power=1.0), lr_scheduler.PolynomialLR, {"total_iters": STEPS, "power": 1.0}),
        (Polynomial(power=2.5), lr_scheduler.PolynomialLR, {"total_iters": STEPS, "power": 2.5}),
        (Cosine(final=0.2), lr_scheduler.CosineAnnealingLR, {"T_max": STEPS, "eta_min": 0.2 * PEAK}),
        (WarmRestarts(cycles=5, growth=1.0), lr_scheduler.CosineAnnealingWarmRestarts, {"T_0": 24}),
        (WarmRestarts(cycles=4, growth=2.0), lr_scheduler.CosineAnnealingWarmRestarts, {"T_0": 8, "T_mult": 2}),
        (
            # torch counts phases between steps, from the first to the last one, where we count shares of the run.
            OneCycle(rise=0.25, start=0.1, final=0.001),
            lr_scheduler.OneCycleLR,
            {
                "max_lr": PEAK,
                "total_steps": STEPS + 1,
                "pct_start": (0.25 * STEPS + 1) / (STEPS + 1),
                "div_factor": 10.0,
                "final_div_factor": 100.0,
                "cycle_momentum": False,
            },
        ),
    ],
)
def test_schedules_are_those_of_torch(schedule: Any, make: Any, settings: dict[str, Any]) -> None:
    ours = table(LearningRate(peak=PEAK, schedule=schedule), STEPS)
    np.testing.assert_allclose(ours, by_torch(make, **settings), rtol=1e-5, atol=1e-8)


def test_warmup_stable_decay_stands_still_and_then_falls_to_zero() -> None:
    multiplier = WarmupStableDecay(decay=0.25).multiplier(torch.tensor([0.0, 0.5, 0.75, 0.8125, 1.0]))
    np.testing.assert_allclose(multiplier, [1.0, 1.0, 1.0, 0.5, 0.0])


@given(
    st.sampled_from([Off(), *SCHEDULES]),
    st.floats(0.0, 0.5),
    st.integers(1, 300),
    st.floats(1e-6, 10.0),
)
def test_every_course_stays_between_zero_and_its_peak(schedule: Any, warmup: float, steps: int, peak: float) -> None:
    rates = table(LearningRate(peak=peak, warmup=warmup, schedule=schedule), steps)
    assert rates.shape == (steps,)
    assert rates.dtype == torch.float32
    assert rates.isfinite().all()
    assert (rates > 0).all()
    assert rates.max() <= peak * (1 + 1e-6)


@given(
    st.sampled_from([trick for trick in SCHEDULES if not isinstance(trick, OneCycle)]), st.floats(0.0, 0.5), st.integers(2, 99)
)
def test_the_peak_is_reached_right_after_warmup(schedule: ScheduleTrick, warmup: float, steps: int) -> None:
    rates = table(LearningRate(peak=1.0, warmup=warmup, schedule=schedule), steps)
    warm = int(warmup * steps + 1e-9)
    assert rates[warm] == 1.0
    np.testing.assert_allclose(rates[:warm], np.arange(1, warm + 1) / (warm + 1), rtol=1e-6)


def test_the_schedule_begins_after_warmup() -> None:
    rates = table(LearningRate(peak=PEAK, warmup=0.2, schedule=Cosine()), 150)
    np.testing.assert_allclose(rates[30:], by_torch(lr_scheduler.CosineAnnealingLR, T_max=120), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("schedule", [Step(factor=1.0), Exponential(final=1.0), Cosine(final=1.0), Plateau(factor=1.0)])
def test_a_schedule_at_its_off_value_is_constant_to_the_last_bit(schedule: ScheduleTrick) -> None:
    assert schedule.is_off
    constant = table(LearningRate(peak=PEAK), STEPS)
    assert torch.equal(table(LearningRate(peak=PEAK, schedule=schedule), STEPS), constant)
    assert torch.equal(constant, torch.full((STEPS,), PEAK))


@given(
    st.lists(st.integers(0, 5).map(float) | st.just(float("nan")), max_size=40),
    st.integers(0, 4),
)
def test_plateau_drops_when_that_of_torch_does(scores: list[float], patience: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience, threshold=0.0, eps=0.0)
    for score in scores:
        scheduler.step(score)
    assert lowered(scores, patience, 0.5) == optimizer.param_groups[0]["lr"]


def test_short_forms_are_read() -> None:
    assert LearningRate.model_validate({"schedule": "cosine"}).schedule == Cosine()
    assert LearningRate.model_validate({"schedule": False}).schedule == Off()
    assert LearningRate.model_validate({"schedule": {"kind": "step", "every": 0.2}}).schedule == Step(every=0.2)


@pytest.mark.parametrize(
    "wrong", [{"peak": 0.0}, {"peak": float("nan")}, {"warmup": 0.6}, {"schedule": "cosin"}, {"peek": 1.0}]
)
def test_what_is_no_learning_rate_is_refused_with_its_place(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        LearningRate.model_validate(wrong)
    assert refused.value.errors()[0]["loc"][0] == next(iter(wrong))
