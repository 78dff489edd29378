"""One question, four answers: dashboard, API, dbt's marts and pandas over the lake agree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pandas as pd
import pyarrow.dataset as ds
import pytest

from ami_dashboard import frame
from ami_dashboard.client import Api
from ami_dashboard.words import number

from .conftest import Open, Shown
from .show_lake import DR_END, DR_EVENT, DR_START
from .test_pages import metrics

# The first of these tests makes the lake.
pytestmark = pytest.mark.timeout(900)
POLE = "bay-pole-0004"
START = datetime(2026, 7, 16, 20, tzinfo=UTC)
END = START + timedelta(hours=1)
ON_THE_SITES_CLOCK = {"range": "custom", "from": "2026-07-16T13:00", "to": "2026-07-16T14:00"}
METHOD = "caiso_10_of_10"


@pytest.fixture(scope="module")
def api(shown: Shown) -> Api:
    """Client of the API over the lake."""
    return Api(shown.url)


def mart(shown: Shown, sql: str, *values: Any) -> Any:
    """The only value of a query of the published warehouse."""
    with duckdb.connect(str(shown.data.published_warehouse), read_only=True) as con:
        con.execute("SET TimeZone = 'UTC'")
        row = con.execute(sql, list(values)).fetchone()
    assert row is not None
    return row[0]


def readings(shown: Shown, poles: str) -> pd.DataFrame:
    """Distinct readings of the lake's files, of poles whose names begin so."""
    files = [str(path) for path in shown.data.readings.rglob("readings-*.parquet")]
    columns = ["meter_id", "pole_id", "event_ts", "seq", "voltage_v", "power_kw"]
    found = ds.dataset(files).to_table(columns=columns).to_pandas()
    return found[found["pole_id"].str.startswith(poles)]


def test_the_lowest_voltage_of_an_hour(shown: Shown, api: Api, open_page: Open) -> None:
    stored = readings(shown, POLE)
    within = stored[(stored["event_ts"] >= START) & (stored["event_ts"] < END)]
    by_pandas = within["voltage_v"].min()
    by_api = api.summary(POLE, START, END)["voltage"]["min_voltage_v"]
    by_mart = mart(
        shown,
        "SELECT min(min_voltage_v) FROM pole_health_hourly WHERE pole_id = ? AND hour_ts = ?",
        POLE,
        START,
    )
    shown_there = metrics(open_page(shown.url, frame.POLE, pole=POLE, **ON_THE_SITES_CLOCK))

    assert by_pandas == by_api == by_mart
    assert shown_there["Lowest voltage"] == number(by_pandas, "V")


def test_how_many_readings_of_an_hour_were_received(
    shown: Shown, api: Api, open_page: Open
) -> None:
    stored = readings(shown, POLE)
    within = stored[(stored["event_ts"] >= START) & (stored["event_ts"] < END)]
    by_pandas = within.drop_duplicates(["meter_id", "seq"]).shape[0]
    expected = 4 * 3600
    (hour,) = api.quality(START, END, POLE)["hours"]
    by_mart = mart(
        shown,
        "SELECT sum(received) FROM meter_data_quality_hourly WHERE pole_id = ? AND hour_ts = ?",
        POLE,
        START,
    )
    there = metrics(open_page(shown.url, frame.QUALITY, of=POLE, **ON_THE_SITES_CLOCK))

    assert by_pandas == hour["received"] == by_mart
    assert there["Missing"] == f"{expected - by_pandas:,}"


def test_the_energy_of_an_hour(shown: Shown, api: Api, open_page: Open) -> None:
    stored = readings(shown, POLE)
    within = stored[(stored["event_ts"] >= START) & (stored["event_ts"] < END)]
    slots = within.assign(slot=within["event_ts"].dt.floor("5min"))
    # Every reading stands for its second; what is missing in a slot does not move its mean.
    means = slots.groupby(["meter_id", "slot"])["power_kw"].mean()
    by_pandas = means.sum() / 12
    by_api = api.summary(POLE, START, END)["power"]["energy_kwh"]
    by_mart = mart(
        shown,
        "SELECT sum(kwh) FROM v_5min_pole WHERE pole_id = ? AND slot_ts >= ? AND slot_ts < ?",
        POLE,
        START,
        END,
    )
    there = metrics(open_page(shown.url, frame.POLE, pole=POLE, **ON_THE_SITES_CLOCK))

    assert by_pandas == pytest.approx(by_api, rel=1e-9)
    assert by_mart == pytest.approx(by_api, rel=1e-12)
    assert there["Energy"] == number(by_pandas, "kWh")


def caiso_shed_kwh(stored: pd.DataFrame) -> float:
    """Shed of the event by CAISO's 10 of 10, as docs/demand-response.md defines it.

    Every reading fills its slot. The day of the event is a Wednesday; candidates are the ten
    days from Monday to Friday before it, none of which is a holiday (4 July is a Saturday).
    """
    zone = "America/Los_Angeles"
    local = stored["event_ts"].dt.tz_convert(zone)
    # A slot in which a meter is missing is not known.
    meters = stored["meter_id"].nunique()
    by_slot = stored.assign(slot=local.dt.floor("5min")).groupby("slot")["power_kw"]
    kw = by_slot.sum()[by_slot.count() == meters]
    event_day = pd.Timestamp("2026-07-15", tz=zone)
    days = [event_day - pd.Timedelta(days=n) for n in range(1, 45)]
    working = [day for day in days if day.dayofweek < 5][:10]
    clock = [pd.Timedelta(minutes=5 * n) for n in range(288)]
    baseline = {
        at: pd.Series([kw.get(day + at, float("nan")) for day in working]).mean() for at in clock
    }
    before = [at for at in clock if pd.Timedelta(hours=13) <= at < pd.Timedelta(hours=16)]
    paired = [at for at in before if event_day + at in kw.index]
    factor = sum(kw[event_day + at] for at in paired) / sum(baseline[at] for at in paired)
    factor = min(max(factor, 0.8), 1.2)
    during = [at for at in clock if pd.Timedelta(hours=17) <= at < pd.Timedelta(hours=19)]
    known = [at for at in during if event_day + at in kw.index]
    return sum(factor * baseline[at] - kw[event_day + at] for at in known) / 12


def test_what_a_demand_response_event_shed(shown: Shown, api: Api, open_page: Open) -> None:
    pole = "hill-pole-0002"
    by_pandas = caiso_shed_kwh(readings(shown, pole))
    by_api = api.dr_compute(DR_START, DR_END, [pole], METHOD, "own")["total"]["shed_kwh"]
    by_mart = mart(
        shown,
        "SELECT shed_kwh FROM dr_event_summary WHERE event_id = ? AND pole_id = ? AND method = ? "
        "AND is_own_adjustment",
        DR_EVENT,
        pole,
        METHOD,
    )
    there = metrics(
        open_page(
            shown.url,
            frame.DEMAND_RESPONSE,
            **{"from": "2026-07-15T17:00", "to": "2026-07-15T19:00", "poles": pole},
        )
    )

    assert by_mart == pytest.approx(by_api, rel=1e-12)
    assert by_pandas == pytest.approx(by_api, rel=1e-9)
    assert there["Shed"] == number(by_pandas, "kWh")
