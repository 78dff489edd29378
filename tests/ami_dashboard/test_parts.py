"""What pages are made of: limits, texts, steps, the client, the server's command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pandas as pd
import pytest
import yaml
from streamlit.testing.v1 import AppTest

from ami_dashboard import charts, limits, looks, words
from ami_dashboard.client import Api, ApiDown, ApiProblem
from ami_dashboard.clock import (
    instant,
    local_text,
    resolution_for,
    site_zone,
    wall_clock,
    zone_text,
)
from ami_dashboard.server import command, options
from ami_dashboard.views.event import headline, seen
from ami_dashboard.views.fleet import grouped

ROOT = Path(__file__).resolve().parents[2]
ZONE = ZoneInfo("America/Los_Angeles")


def test_limits_are_those_of_the_models() -> None:
    found = yaml.safe_load((ROOT / "dbt_ami" / "dbt_project.yml").read_text(encoding="utf-8"))
    stated = found["vars"]["ami"] if "ami" in found["vars"] else found["vars"]

    assert (stated["ansi_range_a_min_v"], stated["ansi_range_a_max_v"]) == limits.RANGE_A_V
    assert (stated["ansi_range_b_min_v"], stated["ansi_range_b_max_v"]) == limits.RANGE_B_V
    assert (stated["ansi_base_v"], stated["sag_threshold_v"]) == (limits.ANSI_BASE_V, limits.LOW_V)
    assert stated["sag_threshold_base_v"] == limits.LOW_BASE_V


def test_limits_scale_with_the_nominal_voltage() -> None:
    found = limits.limits_of(120)

    assert (found.a_min_v, found.a_max_v, found.b_min_v, found.b_max_v) == (114, 126, 110, 127)
    assert found.low_v == pytest.approx(110)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (words.number(1234.56, "kWh"), "1,234.6 kWh"),
        (words.number(-0.04, "kWh", 2), "−0.04 kWh"),
        (words.number(None, "kWh"), "–"),
        (words.number(float("nan")), "–"),
        (words.percent(0.5), "50.0 %"),
        (words.percent(0.00001), "< 0.1 %"),
        (words.percent(0.99999, 2), "> 99.99 %"),
        (words.percent(0.0), "0.0 %"),
        (words.duration(12.4), "12 s"),
        (words.duration(59.9), "60 s"),
        (words.duration(200), "3 min 20 s"),
        (words.duration(7200), "2 h"),
        (words.duration(90_000), "1 d 1 h"),
        (words.plural(1, "pole"), "1 pole"),
        (words.plural(1200, "pole"), "1,200 poles"),
    ],
)
def test_numbers_read_well(text: str, expected: str) -> None:
    assert text == expected


def test_times_are_the_sites_wall_clock() -> None:
    at = datetime(2026, 7, 16, 0, tzinfo=UTC)

    assert local_text(at, ZONE) == "2026-07-15 17:00:00"
    assert local_text("2026-07-16T00:00:00Z", ZONE, seconds=False) == "2026-07-15 17:00"
    assert zone_text(ZONE, at) == "America/Los_Angeles, UTC−7"
    assert zone_text(ZoneInfo("Asia/Kathmandu"), at) == "Asia/Kathmandu, UTC+5:45"
    assert instant(datetime(2026, 7, 15, 17), ZONE) == at  # noqa: DTZ001
    # The hour that autumn repeats: its first occurrence.
    assert instant(datetime(2026, 11, 1, 1, 30), ZONE) == datetime(  # noqa: DTZ001
        2026, 11, 1, 8, 30, tzinfo=UTC
    )
    assert str(wall_clock(["2026-07-16T00:00:00Z"], ZONE)[0]) == "2026-07-15 17:00:00+00:00"
    assert site_zone([]).key == "UTC"


def test_a_window_is_drawn_in_few_enough_parts() -> None:
    for days, resolution in ((0.25, "1m"), (1, "5m"), (7, "15m"), (31, "1h"), (93, "1d")):
        assert resolution_for(timedelta(days=days)) == resolution


def test_steps_neither_cross_a_gap_nor_stop_short() -> None:
    points = [
        {"ts": f"2026-03-01T12:{minute:02}:00Z", "value": value, "min": 1.0, "max": 9.0}
        for minute, value in ((0, 2.0), (5, 3.0), (20, 4.0))
    ]
    drawn = charts.band_frame(points, "5m", ZoneInfo("UTC"))
    rows = [
        (at.strftime("%M"), None if pd.isna(value) else value)
        for at, value in zip(drawn["at"], drawn["value"], strict=True)
    ]

    assert rows == [
        ("00", 2.0), ("05", 2.0), ("05", 3.0), ("10", 3.0), ("10", None), ("20", 4.0), ("25", 4.0),
    ]  # fmt: skip


def test_a_trace_has_a_hole_where_readings_are_missing() -> None:
    start = datetime(2026, 3, 1, 12, tzinfo=UTC)
    samples = [
        {"ts": (start + timedelta(seconds=s)).isoformat(), "voltage_v": 240.0}
        for s in (0, 1, 2, 9, 10)
    ]
    event = {"meter_id": "m1"}
    drawn = charts.trace_frame(
        [{"meter_id": "m1", "samples": samples}, {"meter_id": "m2", "samples": samples[:2]}],
        event,
        {"m1", "m2"},
        ZoneInfo("UTC"),
    )

    own = drawn[drawn["meter"] == "m1"]
    assert [pd.isna(volts) for volts in own["volts"]] == [False, False, False, True, False, False]
    assert list(drawn["role"].unique()) == ["also low", "this meter"]


def test_names_are_cut_at_a_separator() -> None:
    assert charts.short_names(["a-pole-0011", "a-pole-0012"]) == {
        "a-pole-0011": "0011",
        "a-pole-0012": "0012",
    }
    assert charts.short_names(["only"]) == {"only": "only"}
    assert charts.short_names(["p1", "p2"]) == {"p1": "p1", "p2": "p2"}


def _pole(pole_id: str, score: float | None, longitude: float | None) -> charts.Json:
    names = ("min_voltage_v", "peak_kw", "missing_rate", "events_minor", "events_major")
    return {
        **dict.fromkeys(names),
        "pole_id": pole_id,
        "feeder_id": "f1",
        "events_critical": 2,
        "health_score": score,
        "longitude": longitude,
        "latitude": 37.0,
    }


def test_the_schematic_has_every_pole_and_the_map_those_with_a_place() -> None:
    poles = [_pole(f"p-{n:02}", 95.0 - 10 * n, None if n == 1 else -122.0) for n in range(10)]
    poles.append(_pole("p-99", None, -122.0))

    schematic = charts.fleet_frame(poles, is_map=False)
    assert len(schematic) == 11
    assert set(schematic["y"]) == {0, 1}
    assert list(schematic["condition"][:4]) == ["good", "watch", "watch", "poor"]
    assert schematic.iloc[-1]["condition"] == "unknown"
    assert len(charts.fleet_frame(poles, is_map=True)) == 10


def test_conditions_and_severities_differ_without_colour() -> None:
    for marks in (looks.CONDITIONS, tuple(looks.SEVERITIES.values())):
        for name in ("word", "color", "shape", "sign"):
            assert len({getattr(mark, name) for mark in marks}) == len(marks)


def test_what_meters_see_at_once_is_told_once() -> None:
    def event(number: int, pole: str, scope: str, lowest: float) -> charts.Json:
        return {
            "event_id": str(number),
            "start_ts": f"2026-03-01T12:00:0{number // 10}.5Z",
            "pole_id": pole,
            "scope": scope,
            "min_voltage_v": lowest,
        }

    found = grouped(
        [
            event(1, "p1", "pole", 200.0),
            event(2, "p1", "pole", 190.0),
            event(3, "p2", "meter", 180.0),
            event(4, "p2", "meter", 170.0),
            event(5, "p3", "feeder", 160.0),
            event(6, "p4", "feeder", 150.0),
        ]
    )

    assert [(each["event_id"], each["meters"]) for each in found] == [
        ("2", 2), ("3", 1), ("4", 1), ("6", 2),
    ]  # fmt: skip


def test_slower_meters_are_told_blind_only_where_they_are() -> None:
    event = {"duration_s": 240.0, "min_voltage_v": 150.0}
    means = [
        {"interval_s": interval_s, "mean_voltage_v": mean}
        for interval_s, mean in ((300, 168.0), (900, 216.0), (3600, 234.0))
    ]
    found = limits.limits_of(240)

    assert seen(means[:1], found)[0] == "sees it"
    assert seen(means[2:], found)[0] == "sees nothing"
    assert seen([], found)[0] == "not known yet"
    assert headline(event, means, found).endswith("every 60 minutes sees nothing of it")
    assert headline(event, means[:2], found) == (
        "4 min down to 150 V, so long that slower meters see it too"
    )


def test_the_client_asks_only_whether_an_answer_still_holds() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("If-None-Match", ""))
        if asked[-1] == 'W/"one"':
            return httpx.Response(304)
        return httpx.Response(200, json={"at": "now"}, headers={"ETag": 'W/"one"'})

    api = Api("http://api", transport=httpx.MockTransport(answer))

    assert api.freshness() == api.freshness() == {"at": "now"}
    assert asked == ["", 'W/"one"']


@pytest.mark.parametrize(
    ("pages", "rows", "is_cut"), [(1, 2, False), (10, 20, False), (11, 20, True)]
)
def test_a_list_of_more_than_ten_pages_is_known_to_be_cut(
    pages: int, rows: int, is_cut: bool
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        number = int(request.url.params.get("cursor", 1))
        following = str(number + 1) if number < pages else None
        poles = [{"pole_id": f"p{number}-{each}"} for each in range(2)]
        return httpx.Response(200, json={"poles": poles, "next_cursor": following})

    found = Api("http://api", transport=httpx.MockTransport(answer)).poles()

    assert (len(found), found.is_cut) == (rows, is_cut)


def test_a_page_tells_that_a_list_was_cut() -> None:
    def page(is_cut: bool) -> None:
        from ami_dashboard.client import Rows
        from ami_dashboard.frame import tell_if_cut

        rows = Rows([{}] * 1234)
        rows.is_cut = is_cut
        tell_if_cut(rows, "poles")

    assert [each.value for each in AppTest.from_function(page, args=(True,)).run().warning] == [
        "This page knows the first 1,234 poles only; the API has all of them."
    ]
    assert not AppTest.from_function(page, args=(False,)).run().warning


def test_the_client_tells_what_the_api_refuses_and_when_nobody_answers() -> None:
    problem = {"type": "urn:ami:problem:window", "title": "T", "detail": "D", "status": 422}
    refuses = Api(
        "http://api", transport=httpx.MockTransport(lambda _: httpx.Response(422, json=problem))
    )
    other = Api(
        "http://api", transport=httpx.MockTransport(lambda _: httpx.Response(200, text="<html>"))
    )

    with pytest.raises(ApiProblem, match="T: D") as refused:
        refuses.poles()
    assert (refused.value.kind, refused.value.status) == ("window", 422)
    with pytest.raises(ApiProblem, match="perhaps not the API"):
        other.freshness()
    with pytest.raises(ApiDown, match="no answer"):
        Api("http://127.0.0.1:9").freshness()
    with pytest.raises(ApiDown, match="no address"):
        Api("http://api:port").freshness()


def test_the_server_stays_on_this_machine_and_tells_nobody() -> None:
    found = options(8501)

    assert found["server.address"] == "127.0.0.1"
    assert found["browser.gatherUsageStats"] == "false"
    assert found["server.enableXsrfProtection"] == "true"
    assert found["server.headless"] == "true"
    assert "--server.port=8501" in command(8501)
