"""Backlogs and bursts as simulated are those of closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ami_cost.queueing import burst_waits, capacity_for, fifo_waits, flow, longest_wait_s, outage


def test_what_cannot_be_read_waits() -> None:
    waiting = flow(np.array([5.0, 5, 0, 0]), np.array([0.0, 3, 3, 9]))

    assert waiting.tolist() == [5, 7, 4, 0]


@settings(max_examples=25)
@given(st.integers(1, 50), st.floats(1.1, 5), st.integers(10, 2000))
def test_a_backlog_drains_in_backlog_over_spare_capacity(
    rate: int, headroom: float, outage_s: int
) -> None:
    found = outage(rate, rate * headroom, outage_s)

    backlog = rate * outage_s
    assert found.peak == pytest.approx(backlog)
    drain_s = backlog / (rate * headroom - rate)
    assert drain_s - 1e-6 <= found.drained_after_s <= drain_s + 1 + 1e-6


@settings(max_examples=25)
@given(st.floats(1.1, 4), st.integers(20, 2000))
def test_no_reading_waits_longer_than_the_outage(headroom: float, outage_s: int) -> None:
    found = outage(100, 100 * headroom, outage_s)

    assert outage_s - 1 <= found.longest_wait_s <= outage_s + 1


def test_without_spare_capacity_a_backlog_never_drains() -> None:
    found = outage(10, 10, 60, limit_s=600)

    assert found.drained_after_s == math.inf
    assert found.peak == 600


def test_spools_that_come_back_at_once_drain_like_an_outage() -> None:
    # 600 s of 10 readings/s come in one second of a job that takes 25/s.
    found = outage(10, 25, 5, surge_s=600)

    assert found.peak == 6000 + 10 - 25
    assert found.drained_after_s == 6000 / 15


def test_the_wait_is_that_of_the_reading_that_waited_longest() -> None:
    # Ten readings at once, one read a second: the last is read in the tenth second.
    arrivals = np.array([10.0] + [0.0] * 9)
    waiting = flow(arrivals, np.ones(10))

    assert longest_wait_s(arrivals, waiting) == 9


def test_messages_are_served_in_order_by_the_first_free_core() -> None:
    # Two cores, 3 s a message: the third waits for the first core, which is free at 3.
    assert fifo_waits([0, 1, 2, 10], 3, 2) == [3, 3, 4, 3]


@settings(max_examples=25)
@given(st.integers(1, 300), st.integers(1, 8), st.floats(0.001, 0.05))
def test_the_last_of_a_burst_waits_for_all_before_it(
    gateways: int, servers: int, service_s: float
) -> None:
    mean, longest = burst_waits(gateways, 30, 2, service_s, servers, aligned=True)

    rounds = math.ceil(gateways / servers)
    assert longest == pytest.approx(rounds * service_s)
    assert mean <= longest


def test_spread_gateways_do_not_wait_while_cores_keep_up() -> None:
    # 100 gateways in 10 s: a message each 0.1 s, served in 0.1 s by one core.
    assert burst_waits(100, 10, 3, 0.09, 1, aligned=False) == pytest.approx((0.09, 0.09))


def test_capacity_to_catch_up_is_the_rate_and_the_backlog_over_the_time() -> None:
    rate, backlog, within_s = 10.0, 6000.0, 400.0
    capacity = capacity_for(rate, backlog, within_s)

    assert capacity == 25
    assert outage(rate, capacity, 600).drained_after_s == within_s
