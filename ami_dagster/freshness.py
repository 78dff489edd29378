"""Freshness: reads what an asset is made of, gives the age at which it is stale.

The windows follow the schedules: an asset is stale when the run that ought to have made it anew is
clearly late, not when it merely waits its turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

import dagster as dg
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy

from ami_dagster.jobs import SAG_MARTS


def _stale_after(fail: timedelta, warn: timedelta) -> dg.FreshnessPolicy:
    return dg.FreshnessPolicy.time_window(fail_window=fail, warn_window=warn)


# Readings land every second and are registered every half minute.
ON_ARRIVAL: Final = _stale_after(timedelta(minutes=10), timedelta(minutes=5))
# BigQuery shows rows that stream in when it has emptied its buffer, within 90 minutes.
AS_BIGQUERY_TELLS: Final = _stale_after(timedelta(hours=3), timedelta(hours=2))
EVERY_5_MINUTES: Final = _stale_after(timedelta(minutes=15), timedelta(minutes=8))
HOURLY: Final = _stale_after(timedelta(minutes=90), timedelta(minutes=75))
DAILY: Final = _stale_after(timedelta(hours=26), timedelta(hours=25))
WEEKLY: Final = _stale_after(timedelta(days=7, hours=2), timedelta(days=7, hours=1))

_BY_TAG: Final = {"daily": DAILY, "weekly": WEEKLY}


def mart_policy(name: str, tags: Iterable[str]) -> dg.FreshnessPolicy:
    """Policy of a mart: by its tag `daily` or `weekly`, else by the job that makes it."""
    by_tag = next((_BY_TAG[tag] for tag in tags if tag in _BY_TAG), None)
    return by_tag or (EVERY_5_MINUTES if name in SAG_MARTS else HOURLY)


def fail_window(policy: dg.FreshnessPolicy) -> timedelta:
    """Age from which an asset with this policy is stale."""
    assert isinstance(policy, TimeWindowFreshnessPolicy), policy
    return policy.fail_window.to_timedelta()
