import math

import pytest

from waveflow.training.config import ScheduleConfig
from waveflow.training.schedule import rate_factor


def test_warm_up_rises_in_a_line_from_one_step_above_zero():
    config = ScheduleConfig(warmup=4, shape="constant")
    assert [rate_factor(step, 100, config) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


def test_cosine_is_whole_after_warm_up_half_in_the_middle_and_final_at_the_end():
    config = ScheduleConfig(warmup=100, shape="cosine", final=0.1)
    assert rate_factor(100, 1100, config) == 1
    assert rate_factor(600, 1100, config) == pytest.approx(0.55)
    assert rate_factor(350, 1100, config) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)
    assert rate_factor(1100, 1100, config) == pytest.approx(0.1)


def test_constant_falls_in_a_line_during_the_cooldown():
    config = ScheduleConfig(warmup=0, shape="constant", cooldown=4)
    assert [rate_factor(step, 10, config) for step in range(5, 11)] == [1, 1, 0.75, 0.5, 0.25, 0]


def test_without_warm_up_and_cooldown_the_rate_is_constant():
    config = ScheduleConfig(warmup=0, shape="constant")
    assert {rate_factor(step, 10, config) for step in range(10)} == {1}
