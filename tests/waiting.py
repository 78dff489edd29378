"""Waiting in tests: takes a condition, gives control back once it holds."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(ready: Callable[[], object], seconds: float, told: Callable[[], str]) -> None:
    """Wait until `ready()` is true; fails with `told()` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, told()
        time.sleep(0.05)
