"""Intervals, error rates and verdicts: against scipy, against the rules, and over simulated studies whose truth is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from titrant.evidence.ablation import looks_of
from titrant.evidence.contest import REPLICATES
from titrant.evidence.statistics import Estimate, holm, levels, paired, spent, verdict

VALUES = st.lists(st.floats(-10, 10, allow_nan=False), min_size=2, max_size=30)


@given(VALUES)
def test_without_judging_rows_in_common_it_is_the_paired_t_test(values: list[float]) -> None:
    found = paired(values)
    if np.std(values) < 1e-6:
        return
    theirs = stats.ttest_1samp(values, 0.0)
    ends = theirs.confidence_interval(0.95)
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-6, abs=1e-12)
    assert found.interval() == pytest.approx((ends.low, ends.high), rel=1e-6, abs=1e-9)


def test_overlap_is_nadeau_and_bengios_correction() -> None:
    values = [0.01, 0.03, 0.02, 0.05, 0.00]
    plain, corrected = paired(values), paired(values, overlap=0.25)
    assert corrected.error / plain.error == pytest.approx(math.sqrt((1 / 5 + 0.25) / (1 / 5)))
    assert corrected.freedom == pytest.approx(4)


def test_judging_rows_add_their_variance() -> None:
    random = np.random.default_rng(0)
    values, resampled = random.normal(0.1, 0.02, 20), random.normal(0.1, 0.05, 64)
    found = paired(values.tolist(), resampled.tolist())
    assert found.error**2 == pytest.approx(values.var(ddof=1) / 20 + resampled.var(ddof=1))
    assert 63 <= found.freedom <= 63 + 19


def test_what_one_replicate_can_tell() -> None:
    found = paired([0.3])
    assert found.interval() == (-math.inf, math.inf)
    assert found.p == 1.0
    assert verdict(found, 1.0, 0.05, 0.1) == "no evidence"


def test_equal_arms_are_equivalent() -> None:
    found = paired([0.0, 0.0, 0.0], [0.0] * 8)
    assert (found.p, found.interval()) == (1.0, (0.0, 0.0))
    assert verdict(found, 1.0, 0.05, 0.01) == "equivalent"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_adjusts_as_its_definition_says(chances: list[float]) -> None:
    adjusted = holm(chances)
    order = sorted(range(len(chances)), key=lambda i: chances[i])
    for place, index in enumerate(order):
        expected = max(min(1.0, chances[other] * (len(chances) - rank)) for rank, other in enumerate(order[: place + 1]))
        assert adjusted[index] == pytest.approx(expected)


@given(st.lists(st.floats(0.05, 1.0), min_size=1, max_size=5, unique=True))
def test_looks_never_spend_more_than_the_level(shares: list[float]) -> None:
    parts = levels(sorted(shares))
    assert all(part >= 0 for part in parts)
    assert sum(parts) == pytest.approx(spent(max(shares)))
    assert sum(parts) <= 0.05 + 1e-12


def test_verdicts() -> None:
    gain = Estimate(0.1, 0.01, 10, 11)
    assert verdict(gain, 0.001, 0.05, 0.2) == "helps"
    assert verdict(Estimate(-0.1, 0.01, 10, 11), 0.001, 0.05, 0.2) == "hurts"
    assert verdict(gain, 0.2, 0.05, 0.2) == "equivalent"
    assert verdict(gain, 0.2, 0.05, 0.05) == "no evidence"


# ------------------------------------------------------------------- simulated studies

STUDIES, TRICKS = 600, 8


def simulated(effects: np.ndarray, random: np.random.Generator, between_rows: float) -> tuple[list[str], list[bool]]:
    """A study of tricks with known effects, in units of the standard deviation between seeds; verdicts, and who was covered.

    Scores of the recipe and of each arm vary between seeds; differences vary between the judging rows, which all replicates
    share. Replicates come in the looks that studies use.
    """
    common = random.normal(0, 1, REPLICATES)  # seeds of the recipe, the same in all comparisons
    apart = random.normal(0, 1, (len(effects), REPLICATES))
    luck = random.normal(0, between_rows, len(effects))  # of the judging rows
    values = effects[:, None] + luck[:, None] + common - apart
    resampled = random.normal(0, between_rows, (len(effects), 64)) + effects[:, None]
    verdicts = ["no evidence"] * len(effects)
    ends: list[Estimate] = []
    looks = looks_of(REPLICATES)
    stopped = [REPLICATES] * len(effects)
    for look, level in zip(looks, levels([look / REPLICATES for look in looks]), strict=True):
        ends = [
            paired(values[i, : min(look, stopped[i])].tolist(), resampled[i].tolist()) for i in range(len(effects))
        ]  # fmt: skip
        for i, chance in enumerate(holm([one.p for one in ends])):
            reached = verdict(ends[i], chance, level, 0.1)
            if verdicts[i] in {"no evidence", "equivalent"}:
                verdicts[i] = reached
                stopped[i] = look if reached in {"helps", "hurts"} else stopped[i]
    covered = [low <= effect <= high for effect, (low, high) in zip(effects, (one.interval() for one in ends), strict=True)]
    return verdicts, covered


@pytest.mark.parametrize("between_rows", [0.02, 0.5])
def test_intervals_cover_and_tricks_without_effect_are_rarely_said_to_help(between_rows: float) -> None:
    random = np.random.default_rng(1)
    found = [simulated(np.zeros(TRICKS), random, between_rows) for _ in range(STUDIES)]
    false = sum(any(one in {"helps", "hurts"} for one in verdicts) for verdicts, _ in found) / STUDIES
    covered = np.mean([covered for _, covered in found])
    assert false <= 0.05
    assert 0.92 <= covered <= 0.98


def test_a_gain_of_one_standard_deviation_between_seeds_is_found() -> None:
    random = np.random.default_rng(2)
    effects = np.array([1.0, 0, 0, 0, 0, 0, 0, 0])
    found = [simulated(effects, random, 0.05) for _ in range(STUDIES)]
    assert np.mean([verdicts[0] == "helps" for verdicts, _ in found]) >= 0.8
    assert np.mean([any(one == "helps" for one in verdicts[1:]) for verdicts, _ in found]) <= 0.05
    assert 0.92 <= np.mean([covered for _, covered in found]) <= 0.98
