"""Budgets as people write them, and deadlines. No test here waits or measures."""

import math
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from titrant import clock
from titrant.clock import Clock, process_started, seconds
from titrant.errors import BudgetError

UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
amounts = st.integers(1, 10**6) | st.decimals("0.001", "1000", places=3)
gaps = st.sampled_from(["", " ", "  "])


@given(amount=amounts, unit=st.sampled_from(list(UNITS)), gap=gaps, case=st.sampled_from([str.lower, str.upper]))
def test_an_amount_and_a_unit(amount: object, unit: str, gap: str, case: object) -> None:
    assert seconds(f"{gap}{amount}{gap}{case(unit)}{gap}") == pytest.approx(float(amount) * UNITS[unit])


@given(amount=amounts)
def test_a_bare_number_counts_seconds(amount: object) -> None:
    assert seconds(str(amount)) == seconds(float(amount)) == float(amount)


@given(parts=st.lists(st.tuples(amounts, st.sampled_from(list(UNITS))), min_size=1, max_size=4), gap=gaps)
def test_parts_add_up(parts: list[tuple[object, str]], gap: str) -> None:
    text = gap.join(f"{amount}{unit}" for amount, unit in parts)
    assert seconds(text) == pytest.approx(sum(float(amount) * UNITS[unit] for amount, unit in parts))


@pytest.mark.parametrize(
    "budget", ["", " ", "soon", "s", "10 minutes", "10s, 5m", "-5s", "5s-", "1:30", "1e3", "1.5.3s", "nan", "inf"]
)
def test_what_is_no_time_is_refused(budget: str) -> None:
    with pytest.raises(BudgetError, match=f"{re.escape(repr(budget))} is not a time. Write it as 90s, 10m"):
        seconds(budget)


@pytest.mark.parametrize("budget", ["10 5", "1 0m", "1h30"])
def test_a_number_without_a_unit_stands_alone(budget: str) -> None:
    with pytest.raises(BudgetError, match=f"{re.escape(repr(budget))} is not a time. Write it as 90s, 10m"):
        seconds(budget)


@pytest.mark.parametrize("budget", [0, 0.0, -1, -math.inf, math.inf, math.nan, "0", "0s", "0h0m", "9" * 400])
def test_nothing_and_eternity_are_refused(budget: str | float) -> None:
    with pytest.raises(BudgetError, match=r"Write it as 90s, 10m"):
        seconds(budget)


@given(text=st.text(max_size=8) | st.text("0123456789.smhd -", max_size=8))
def test_any_text_is_a_positive_time_or_a_clear_error(text: str) -> None:
    with suppress(BudgetError):
        assert 0 < seconds(text) < math.inf


def test_a_clock_counts_down_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    running = Clock.of(60)
    monkeypatch.setattr(time, "monotonic", lambda: 170.0)
    assert (running.elapsed, running.left) == (70.0, -10.0)


def test_a_clock_may_have_started_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    assert Clock.of(60, start=95.0).left == 55.0


@given(start=st.floats(0, 1e6), budget=st.floats(1e-3, 1e6), reserve=st.floats(0, 2e6))
def test_a_reserve_ends_a_clock_earlier_but_never_before_its_start(start: float, budget: float, reserve: float) -> None:
    whole = Clock.of(budget, start)
    part = whole.before_end(reserve)
    assert part.start == start
    assert start <= part.end <= whole.end
    assert part.end == start or part.end == whole.end - reserve


def test_the_process_started_before_now_and_always_at_the_same_moment() -> None:
    # The kernel counts in ticks, at least a hundred a second, and the two clocks are read one after the other.
    assert process_started() <= time.monotonic()
    assert process_started() == pytest.approx(process_started(), abs=0.5)


def test_a_process_started_between_its_parents_readings_of_the_clock() -> None:
    program = "from titrant.clock import process_started; print(process_started())"
    before = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert before - 0.05 <= float(done.stdout) <= time.monotonic()


def test_without_a_process_table_the_process_starts_now(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(clock.time, "monotonic", lambda: 123.0)
    assert process_started() == 123.0
