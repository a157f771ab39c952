"""LAMAR.training.schedules: learning rates by hand."""

from __future__ import annotations

import pytest

from LAMAR.training.schedules import SCHEDULES, Schedule


def test_trapezoid_by_hand():
    schedule = Schedule.plan("trapezoid", 100, 10, 0.2)
    assert [schedule.factor(step) for step in (0, 4, 9, 10, 50, 80)] == [0.1, 0.5, 1, 1, 1, 1]
    assert [schedule.factor(step) for step in (81, 90, 99, 100)] == pytest.approx([0.95, 0.5, 0.05, 0])
    schedule.end_early(40, 0.2)
    assert (schedule.decay_start, schedule.end) == (40, 50)
    assert schedule.factor(45) == 0.5


def test_linear_by_hand_and_a_schedule_without_a_fall():
    schedule = Schedule.plan("linear", 100, 50, 0.2)
    assert [schedule.factor(step) for step in (24, 50, 75, 99)] == pytest.approx([0.5, 1, 0.5, 0.02])
    constant = Schedule.plan("trapezoid", 100, 0, 0)
    assert {constant.factor(step) for step in range(100)} == {1.0}
    constant.end_early(30, 0)
    assert constant.end == 30


@pytest.mark.parametrize("kind", SCHEDULES)
def test_every_schedule_rises_to_its_peak_and_falls_to_its_end(kind):
    schedule = Schedule.plan(kind, 100, 10, 0.2)
    factors = [schedule.factor(step) for step in range(100)]
    assert max(factors) == 1
    assert factors[:10] == sorted(factors[:10])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert 0 < factors[-1] < 0.06


def test_another_schedule_is_refused():
    with pytest.raises(ValueError, match="schedule: found 'cosine', wanted one of trapezoid, linear"):
        Schedule.plan("cosine", 100, 10, 0.2)
