"""Metadata of what dbt has made: rows, span, preview and pictures, of a real build."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from built_platform import Built
from dagster_dbt.errors import DagsterDbtCliRuntimeError

from ami_contract.errors import WarehouseError
from ami_contract.lake import DataDir
from ami_dagster.defs.analytics.facts import Facts, facts_of, no_rows, time_column, with_facts
from ami_dagster.local_run import instance_of


def metadata_of(built: Built, name: str) -> dict[str, Any]:
    """Metadata of the newest materialization."""
    with instance_of(built.data.dagster_home) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(name))
        assert event is not None
        materialization = event.asset_materialization
        assert materialization is not None
        return {
            key: value.records if isinstance(value, dg.TableMetadataValue) else value.value
            for key, value in materialization.metadata.items()
        }


def test_a_mart_of_events_shows_rows_span_and_the_event(environment: Built) -> None:
    found = metadata_of(environment, "voltage_events")
    assert found["dagster/row_count"] == 1
    assert found["min_start_ts"] == found["max_start_ts"] == "2026-03-01 14:59:57+00"
    [record] = found["preview"]
    assert record.data["meter_id"] == "m1"
    assert record.data["start_ts"] == "2026-03-01T14:59:57+00:00"
    assert (record.data["duration_s"], record.data["min_voltage_v"]) == (6.0, 198.0)


def test_the_picture_of_a_sag_is_on_the_events(environment: Built) -> None:
    picture = metadata_of(environment, "voltage_events")["picture"]
    assert picture.startswith("Deepest event of the newest day: m1, 2026-03-01 14:59:57 UTC, 198.0")
    assert "](data:image/svg+xml;base64," in picture


def test_a_day_that_mostly_is_missing_has_no_score_and_no_picture(environment: Built) -> None:
    # Each meter reads for 20 of its 120 minutes in service.
    found = metadata_of(environment, "pole_health_daily")
    assert found["max_day_ts"] == "2026-03-01 00:00:00+00"
    assert "preview" in found
    assert "picture" not in found


def test_the_newest_partition_alone_has_preview_and_picture(environment: Built) -> None:
    with instance_of(environment.data.dagster_home) as instance:
        [older, newer] = [
            instance.get_event_records(
                dg.EventRecordsFilter(
                    dg.DagsterEventType.ASSET_MATERIALIZATION,
                    asset_key=dg.AssetKey("pole_health_hourly"),
                    asset_partitions=[key],
                ),
                limit=1,
            )[0].asset_materialization
            for key in ("2026-03-01-14:00", "2026-03-01-15:00")
        ]
    assert older is not None
    assert newer is not None
    assert older.metadata["dagster/row_count"].value == 2
    assert "preview" not in older.metadata
    assert len(newer.metadata["preview"].records) == 2


def test_models_on_the_way_show_rows_and_views_nothing(environment: Built) -> None:
    found = metadata_of(environment, "int_meter_hour_edges")
    # Two meters in two hours.
    assert found["dagster/row_count"] == 4
    assert "preview" not in found
    assert "dagster/row_count" not in metadata_of(environment, "readings")


def test_a_compacted_hour_shows_rows_bytes_and_span(environment: Built) -> None:
    found = metadata_of(environment, "compacted_readings")
    files = environment.data.readings.glob("dt=2026-03-01/hr=15/*.parquet")
    landed = environment.data.landing.glob("dt=2026-03-01/hr=15/*.parquet")
    assert len(list(landed)) == 2
    assert found["dagster/partition_row_count"] == 1200
    assert found["bytes"] == sum(path.stat().st_size for path in files)


def test_the_time_of_a_mart_is_its_first_known_time_column() -> None:
    assert time_column(["pole_id", "hour_ts", "last_seen_ts"]) == "hour_ts"
    assert time_column(["end_ts", "start_ts"]) == "start_ts"
    assert time_column(["event_id", "method"]) is None


def test_without_a_warehouse_there_are_no_facts(data: DataDir) -> None:
    with pytest.raises(WarehouseError, match="ami build"):
        facts_of(data, [])


class Context:
    """As much of a run's context as facts need."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.log = self
        self.assets_def = self
        self.specs_by_key = {dg.AssetKey("m"): dg.AssetSpec("m")}

    def warning(self, message: str, *values: object) -> None:
        self.warnings.append(message % values)

    def asset_key_for_output(self, name: str) -> dg.AssetKey:
        return dg.AssetKey(name)


MANIFEST = {"nodes": {"model.ami.m": {"name": "m"}}}


def built_model() -> dg.Output[None]:
    return dg.Output(None, output_name="m", metadata={"unique_id": "model.ami.m"})


def test_what_was_built_before_a_failure_is_told_and_the_failure_stays() -> None:
    def events() -> Iterator[dg.Output[None]]:
        yield built_model()
        raise DagsterDbtCliRuntimeError("a test failed")

    told = with_facts(
        events(), MANIFEST, lambda _: {"m": Facts({"dagster/row_count": 7})}, no_rows, Context()
    )
    first = next(told)
    assert first.metadata["dagster/row_count"] == dg.MetadataValue.int(7)
    assert first.metadata["unique_id"] == dg.MetadataValue.text("model.ami.m")
    with pytest.raises(DagsterDbtCliRuntimeError, match="a test failed"):
        next(told)


def test_a_warehouse_in_other_hands_costs_the_facts_and_not_the_run() -> None:
    def look(_nodes: object) -> dict[str, Facts]:
        raise WarehouseError("held by another process")

    context = Context()
    [event] = with_facts(iter([built_model()]), MANIFEST, look, no_rows, context)
    assert set(event.metadata) == {"unique_id"}
    assert context.warnings == ["rows and previews are left out: held by another process"]
