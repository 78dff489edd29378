"""What a real build published, served: the numbers of the marts and of pandas, and the tail."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from built_platform import Built
from starlette.testclient import TestClient
from support import HOUR, stored_rows

from ami_api.app import create_app
from ami_contract.lake import DataDir
from ami_contract.settings import Settings
from ami_store.lake import land
from ami_store.serving import DuckDbServing
from ami_store.warehouse import query

NOW = datetime(2026, 3, 1, 15, 20, tzinfo=UTC)
WINDOW = {"start": "2026-03-01T14:00:00Z", "end": "2026-03-01T16:00:00Z"}
SUM_KWH = "select sum(kwh) from v_5min_pole where pole_id = 'p1'"


def served(data: DataDir) -> TestClient:
    """The API over a data folder."""
    app = create_app(
        Settings(data_dir=data.root, api_live_tail_s=1e-9),
        DuckDbServing(data),
        landed=lambda: str(time.monotonic_ns()),
        now=lambda: NOW,
    )
    return TestClient(app)


@pytest.fixture(scope="module")
def api(built: Built) -> Iterator[TestClient]:
    """The API over the session's build."""
    with served(built.data) as client:
        yield client


def answer(api: TestClient, path: str, **options: Any) -> Any:
    """JSON of a question over the window of the lake."""
    found = api.get(path, params={**WINDOW, **options})
    assert found.status_code == 200, found.text
    return found.json()


def test_the_sag_over_the_full_hour_is_told_once_and_whole(api: TestClient) -> None:
    (event,) = answer(api, "/anomalies")["anomalies"]

    assert (event["meter_id"], event["start_ts"], event["duration_s"]) == (
        "m1", "2026-03-01T14:59:57Z", 6.0,
    )  # fmt: skip
    detail = api.get(f"/anomalies/{event['event_id']}", params={"around": 2}).json()
    voltages = [sample["voltage_v"] for sample in detail["traces"][0]["samples"]]
    assert voltages == [240, 240, 200, 198, 199, 201, 202, 203, 240, 240]
    assert [trace["meter_id"] for trace in detail["traces"]] == ["m1", "m2"]


def test_api_mart_and_pandas_give_the_same_energy(api: TestClient, built: Built) -> None:
    told = answer(api, "/pole/p1/summary")["power"]["energy_kwh"]
    points = answer(api, "/pole/p1/timeseries", metric="energy_kwh", resolution="1h")["points"]

    ((of_mart,),) = query(built.data, SUM_KWH).rows
    slots = query(built.data, "select slot_ts, power_kw from v_5min_pole where pole_id = 'p1'")
    frame = pd.DataFrame(slots.rows, columns=slots.columns)
    assert told == pytest.approx(of_mart)
    assert told == pytest.approx(frame["power_kw"].sum() / 12)
    assert told == pytest.approx(sum(point["value"] for point in points))
    # Two meters of 1.2 kW for twenty minutes.
    assert told == pytest.approx(2 * 1.2 / 3)


def test_quality_and_poles_are_those_of_the_lake(api: TestClient) -> None:
    total = answer(api, "/meters/m1/quality")["total"]
    assert total["received"] == 1200
    (pole,) = api.get("/poles").json()["poles"]
    assert (pole["pole_id"], pole["feeder_id"], pole["meters_registered"]) == ("p1", "f1", 2)


def test_a_window_without_days_before_it_has_no_shed(api: TestClient) -> None:
    found = api.post(
        "/dr/compute",
        json={"start": "2026-03-01T15:00:00Z", "end": "2026-03-01T15:05:00Z"},
    )

    assert found.status_code == 422
    assert found.json()["type"] == "urn:ami:problem:no-history"


def test_a_sag_shows_as_soon_as_it_is_stored(built: Built, tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data")
    shutil.copytree(built.data.root, data.root, ignore=shutil.ignore_patterns("dagster", "logs"))
    second = HOUR + timedelta(hours=1)
    with served(data) as api:
        assert len(answer(api, "/anomalies")["anomalies"]) == 1

        voltages = [240.0] * 3 + [190.0] * 8 + [240.0] * 3
        land(data, second, "late", stored_rows(second + timedelta(minutes=10), voltages))
        found = answer(api, "/anomalies")
        shown = api.get(f"/anomalies/{found['anomalies'][0]['event_id']}").json()

    assert found["live_tail"] == "included"
    newest = found["anomalies"][0]
    assert (newest["start_ts"], newest["duration_s"], newest["provisional"]) == (
        "2026-03-01T15:10:03Z", 8.0, True,
    )  # fmt: skip
    assert [event["provisional"] for event in found["anomalies"]] == [True, False]
    (trace,) = (trace for trace in shown["traces"] if trace["meter_id"] == "m1")
    assert [sample["voltage_v"] for sample in trace["samples"]][-14:] == voltages
