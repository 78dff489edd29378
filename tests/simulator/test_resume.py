"""A run without end that is killed goes on where it was, and does not begin anew."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from simulator_helpers import FAULTY, START, FakeTime

from simulator.config import parse_config
from simulator.forward import StoreAndForward
from simulator.publisher import CollectingPublisher, Publisher
from simulator.run import Summary, simulate
from simulator.spool import Spool

LENGTH = timedelta(minutes=6)
SLOW = {
    **FAULTY,
    "network_profile": ["wired", "sat"],
    "reorder_max_batches": 6,
    "jitter_ms_range": [0, 9000],
}


def endless(
    raw: dict[str, Any],
    publisher: Publisher,
    speed: float | None,
    resumes_at: datetime | None = None,
    truth_dir: Path | None = None,
) -> Summary:
    """A run without end, stopped when `LENGTH` of simulated time is over."""
    live = speed is None
    time, stop = FakeTime(START.timestamp()), threading.Event()
    end_s = time.now_s + LENGTH.total_seconds() / (1.0 if live else speed)
    if resumes_at is not None:
        # Live, the run is taken up at the time of the kill; else its own time stood still.
        passed_s = (resumes_at - START).total_seconds()
        time.now_s += passed_s if live else 0.0
        end_s -= 0.0 if live else passed_s / speed

    def sleep(duration_s: float) -> None:
        time.sleep(min(duration_s, end_s - time.now_s))
        if time.now_s >= end_s:
            stop.set()

    return simulate(
        parse_config(raw),
        start=START,
        end=None,
        speed=speed,
        publisher=publisher,
        truth_dir=truth_dir,
        resumes_at=resumes_at,
        stop=stop,
        clock=time.clock,
        sleep=sleep,
    )


@pytest.mark.parametrize(
    ("raw", "speed"),
    [
        (FAULTY, None),
        (SLOW, None),
        ({**FAULTY, "publish_mode": "single"}, None),
        ({**SLOW, "batch_max_readings": 7, "payload": "arrow"}, 30.0),
    ],
    ids=["batches", "slow backhaul", "single readings", "thirty times as fast"],
)
def test_a_killed_run_sends_what_it_had_not_sent_as_if_it_had_gone_on(
    tmp_path: Path, raw: dict[str, Any], speed: float | None
) -> None:
    whole = CollectingPublisher()
    total = endless(raw, whole, speed)
    count = len(whole.messages)
    end_us = round((START + LENGTH - timedelta(seconds=30)).timestamp() * 1e6)
    for share in (0.02, 0.5, 0.51, 0.83):
        before = round(count * share)
        spool = Spool(tmp_path / str(share))
        for message in whole.messages[:before]:
            spool.append(message)
        spool.close()
        inner = CollectingPublisher()
        forward = StoreAndForward(inner, Spool(tmp_path / str(share)))
        assert forward.resumes_at_us == whole.messages[before - 1].due_us
        resumes_at = datetime.fromtimestamp(forward.resumes_at_us / 1e6, UTC)
        summary = endless(raw, forward, speed, resumes_at)
        forward.close()
        # Where in its last window a run is stopped depends on the pace of its clock.
        certain = sum(m.due_us < end_us for m in whole.messages)
        assert certain > 0.8 * count
        assert inner.messages[:certain] == whole.messages[:certain]
        assert abs(len(inner.messages) - count) <= count - certain
        # It tells of what it has done itself, what waited included as far as it still did.
        waited = sum(m.readings for m in whole.messages[:before])
        new = sum(m.readings for m in inner.messages[before:])
        assert new <= summary.published <= new + waited
        assert summary.start == START or share > 0.02
        assert summary.generated <= total.generated
        if share > 0.5:
            assert summary.start > START + LENGTH * share * 0.5
            assert summary.generated < total.generated * 0.55


def test_a_run_that_keeps_its_truth_is_gone_through_from_its_start(tmp_path: Path) -> None:
    whole = CollectingPublisher()
    total = endless(FAULTY, whole, None, truth_dir=tmp_path / "truth")
    half = whole.messages[len(whole.messages) // 2]
    again = CollectingPublisher()
    resumed = endless(
        FAULTY,
        again,
        None,
        resumes_at=datetime.fromtimestamp(half.due_us / 1e6, UTC),
        truth_dir=tmp_path / "again",
    )
    assert again.messages == whole.messages
    assert (resumed.start, resumed.generated) == (START, total.generated)
