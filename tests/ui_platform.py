"""A platform as an operator finds it: stale for two hours, with late readings and failed checks.

Reads nothing; gives a data folder with its Dagster instance, and a webserver and daemon over it.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from dagster._core.test_utils import freeze_time
from support import stored_rows
from waiting import wait_until

from ami_cli.instance import prepare_instance
from ami_cli.platform_run import environment as child_environment
from ami_cli.platform_run import start_daemon, start_webserver, wait_for_dagster
from ami_cli.processes import Supervisor, free_port
from ami_contract.lake import HOUR, DataDir, floor_hour
from ami_contract.registry import REGISTRY_SCHEMA
from ami_contract.settings import Settings
from ami_dagster.build import build_definitions
from ami_dagster.local_run import build_pending, instance_of, register_landed
from ami_dagster.partitions import Stretch
from ami_store.lake import land
from ami_store.registry import write_registry

METERS = ("m1", "m2")
HOURS = 18
# Counted from the oldest hour.
LATE = (11, 12)
SAG, DAMAGED = 4, 7
STANDSTILL = timedelta(hours=2)

_AUTOMATION = """{ repositoriesOrError { ... on RepositoryConnection { nodes {
  schedules { id } sensors { id } } } } }"""
_STOP = {
    "schedules": "mutation($id: String!) { stopRunningSchedule(id: $id) { __typename } }",
    "sensors": "mutation($id: String!) { stopSensor(id: $id) { __typename } }",
}


@dataclass(frozen=True)
class Shown:
    """A data folder whose Dagster answers in a browser.

    Attributes:
        url: address of the webserver.
        data: the folder.
        first: start of its oldest hour.
        shown_at: Unix time [s] since which it is shown.
    """

    url: str
    data: DataDir
    first: datetime
    shown_at: float

    @property
    def late(self) -> Stretch:
        """The hours that came after the build, and are not compacted."""
        return Stretch(*(self.first + number * HOUR for number in LATE))

    def ask(self, query: str, **variables: object) -> Any:
        """Answer of its GraphQL."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)["data"]


@contextmanager
def shown(data: DataDir, now: datetime) -> Iterator[Shown]:
    """Build the platform in `data` and show it; its schedules and sensors are switched off."""
    then = now - STANDSTILL
    first = floor_hour(then) - HOURS * HOUR
    ports = {"dagster_port": free_port(), "code_server_port": free_port()}
    settings = Settings(data_dir=data.root, _env_file=None, **ports)
    kept = dict(os.environ)
    try:
        _build(settings, first, then)
        with Supervisor(data.logs, child_environment(settings)) as supervisor:
            start_webserver(supervisor, settings)
            url = wait_for_dagster(supervisor, settings)
            found = Shown(url, data, first, time.time())
            _switch_off(found)
            start_daemon(supervisor, settings)
            yield found
    finally:
        os.environ.clear()
        os.environ.update(kept)


def _build(settings: Settings, first: datetime, then: datetime) -> None:
    """Land the night; build what had come until `then`, register what came after it."""
    data = settings.data
    _register(data, first)
    late = {first + number * HOUR for number in LATE}
    starts = [first + number * HOUR for number in range(HOURS)]
    for number, start in enumerate(starts):
        if start not in late:
            _land(data, start, is_sagging=number == SAG)
    torn = _land_one(data, first + DAMAGED * HOUR, "torn", [240.0] * 60, 400)
    torn.write_bytes(torn.read_bytes()[:200])
    home = prepare_instance(settings)
    definitions = build_definitions(settings)
    with instance_of(home) as instance, freeze_time(then):
        outcome = build_pending(definitions, instance, data)
        assert outcome.failures == []
        for start in sorted(late):
            _land(data, start)
        register_landed(instance, data, lambda _: None)


def _register(data: DataDir, first: datetime) -> None:
    """Two meters of a pole; m2 was moved to t2, an hour before its row of t1 ends."""
    row = {
        "pole_id": "p1",
        "feeder_id": "f1",
        "transformer_id": "t1",
        "nominal_voltage_v": 240.0,
        "sample_interval_ms": 1000,
        "rated_kva": 25.0,
        "valid_from": first,
    }
    rows = [{**row, "meter_id": meter_id} for meter_id in METERS]
    rows[1]["valid_to"] = first + 3 * HOUR
    rows.append({**row, "meter_id": "m2", "transformer_id": "t2", "valid_from": first + 2 * HOUR})
    write_registry(data.registry, pa.Table.from_pylist(rows, REGISTRY_SCHEMA))


def _land(data: DataDir, start: datetime, *, is_sagging: bool = False) -> None:
    for meter_id in METERS:
        voltages_v = [240.0] * 300
        if is_sagging and meter_id == "m1":
            voltages_v[100:106] = [200.0, 198.0, 199.0, 201.0, 202.0, 203.0]
        rows = stored_rows(start, voltages_v, meter_id=meter_id)
        land(data, start, meter_id, rows)


def _land_one(data: DataDir, start: datetime, name: str, voltages_v: list[float], second: int):
    rows = stored_rows(start + timedelta(seconds=second), voltages_v, meter_id=METERS[0])
    return land(data, start, name, rows)


def _switch_off(found: Shown) -> None:
    def repositories() -> list[Any]:
        return found.ask(_AUTOMATION)["repositoriesOrError"]["nodes"]

    wait_until(repositories, 60, lambda: "the UI shows no definitions")
    [repository] = repositories()
    for kind, mutation in _STOP.items():
        for each in repository[kind]:
            found.ask(mutation, id=each["id"])
