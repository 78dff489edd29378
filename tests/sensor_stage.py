"""Sensors and schedules as the daemon evaluates them, with a clock that tests set."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import dagster as dg
import duckdb
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    TickData,
    TickStatus,
)
from support import HOUR
from webhook_server import Posts

from ami_contract.lake import DataDir
from ami_dagster.alerts.book import Channel
from ami_dagster.alerts.channels import WebhookChannel
from ami_dagster.resources import Lake


class ClockedLake(Lake):
    """A lake whose clock stands still."""

    at: str = HOUR.isoformat()

    def now(self) -> datetime:
        """The time it was told."""
        return datetime.fromisoformat(self.at)


class Watched:
    """A sensor that is evaluated again and again as the daemon does it."""

    def __init__(
        self, sensor: dg.SensorDefinition, data: DataDir, instance: dg.DagsterInstance
    ) -> None:
        self.sensor, self.data, self.instance = sensor, data, instance
        self.cursor: str | None = None
        self.evaluations: list[dg.AssetCheckEvaluation] = []

    def look(self, now: datetime) -> None:
        """One evaluation at `now`."""
        # A context that is not left leaves its instance the current one of the process.
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            resources={"lake": ClockedLake(data_dir=str(self.data.root), at=now.isoformat())},
        ) as context:
            result = self.sensor.evaluate_tick(context)
        assert not result.run_requests
        self.evaluations = list(result.asset_events)  # type: ignore[arg-type]
        for event in result.asset_events:
            self.instance.report_runless_asset_event(event)
        self.cursor = result.cursor


def told(server: Posts) -> list[tuple[str, str, dict[str, str]]]:
    """Kind, event and subjects of what the webhook got, in its order."""
    bodies: list[dict[str, Any]] = [json.loads(body) for _, _, body in server.received]
    return [(body["kind"], body["event"], body["subjects"]) for body in bodies]


def hook(server: Posts) -> list[Channel]:
    return [WebhookChannel(server.url, 5.0, sleep=lambda seconds: None)]


def tick_of(instance: dg.DagsterInstance, schedule: str, at: datetime) -> None:
    """A tick of a schedule that was skipped."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("ami"), "__repository__")
    origin = RemoteInstigatorOrigin(repository, schedule)
    state = InstigatorState(
        origin,
        InstigatorType.SCHEDULE,
        InstigatorStatus.DECLARED_IN_CODE,
        ScheduleInstigatorData("* * * * *"),
    )
    if not instance.get_instigator_state(origin.get_id(), state.selector_id):
        instance.add_instigator_state(state)
    instance.create_tick(
        TickData(
            instigator_origin_id=origin.get_id(),
            instigator_name=schedule,
            instigator_type=InstigatorType.SCHEDULE,
            status=TickStatus.SKIPPED,
            timestamp=at.timestamp(),
            selector_id=state.selector_id,
        )
    )


def publish_listing(data: DataDir, listed_at: datetime) -> None:
    """A snapshot that knows of nothing but when the lake was listed for it."""
    data.published_warehouse.parent.mkdir(parents=True, exist_ok=True)
    data.published_warehouse.unlink(missing_ok=True)
    with duckdb.connect(str(data.published_warehouse)) as con:
        con.execute("CREATE SCHEMA lake")
        con.execute("CREATE TABLE lake.listing (listed_at TIMESTAMPTZ)")
        con.execute("INSERT INTO lake.listing VALUES (?)", [listed_at])
