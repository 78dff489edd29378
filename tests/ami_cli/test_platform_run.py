"""Waiting for what is on its way into the lake."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import cast

from support import HOUR, stored_rows

from ami_cli.platform_run import wait_for_ingest
from ami_cli.processes import Supervisor
from ami_contract.lake import DataDir
from ami_contract.settings import Settings
from ami_store.backlog import Backlog, write_backlogs
from ami_store.lake import land


class AllAlive:
    """Stands in for the processes of a platform: all of them run."""

    def check(self) -> None:
        """Nothing has ended."""


def settings_of(data: DataDir) -> Settings:
    return Settings(data_dir=data.root, _env_file=None)  # type: ignore[call-arg]


def land_one(data: DataDir, name: str) -> None:
    land(data, HOUR, name, stored_rows(HOUR, [240.0]))


def tell(data: DataDir, messages: int) -> None:
    name = settings_of(data).subscription_path
    write_backlogs(data, {name: Backlog(datetime.now(UTC), messages, 0, 0.0)})


def wait(data: DataDir, timeout_s: float) -> int:
    supervisor = cast(Supervisor, AllAlive())
    return wait_for_ingest(supervisor, settings_of(data), at_least=2, timeout_s=timeout_s)


def test_a_still_lake_is_waited_for_while_messages_wait(data: DataDir) -> None:
    land_one(data, "a")
    tell(data, messages=3)

    def arrive() -> None:
        time.sleep(3.5)
        land_one(data, "b")

    late = threading.Thread(target=arrive)
    late.start()
    try:
        assert wait(data, timeout_s=30) == 2
    finally:
        late.join()


def test_refused_readings_are_not_waited_for_once_nothing_waits(data: DataDir) -> None:
    land_one(data, "a")
    begun = time.monotonic()
    told = threading.Timer(0.5, tell, (data, 0))
    told.start()
    try:
        assert wait(data, timeout_s=30) == 1
    finally:
        told.join()
    assert time.monotonic() - begun < 25
