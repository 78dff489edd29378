"""Every page says what the API says, and plainly what is wrong when it says nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from small_warehouse import END, SAG, START, event_id, publish_small, rows_of_marts
from streamlit.testing.v1 import AppTest

from ami_cli.processes import free_port
from ami_contract.lake import DataDir
from ami_dashboard import frame
from ami_dashboard.client import Api
from ami_dashboard.words import number, percent

from .conftest import NOW, Open

PAGES = (frame.FLEET, frame.POLE, frame.EVENT, frame.DEMAND_RESPONSE, frame.QUALITY)
DAY = {"range": "custom", "from": "2026-03-01T16:00", "to": "2026-03-02T16:00"}
"""2 March, UTC, on the clock of Los Angeles."""
DAY_START = datetime(2026, 3, 2, tzinfo=UTC)
DAY_END = DAY_START + timedelta(days=1)


def metrics(app: AppTest) -> dict[str, str]:
    """Values of the page's figures by their labels."""
    assert not app.exception, app.exception
    return {metric.label: metric.value for metric in app.metric}


def words(app: AppTest) -> str:
    """All that the page says outside of figures and tables."""
    assert not app.exception, app.exception
    said = [*app.error, *app.warning, *app.info, *app.success, *app.caption, *app.markdown]
    texts = [element.value for element in [*said, *app.title, *app.subheader]]
    return "\n".join([*texts, *(each.proto.body for each in app.get("html"))])


def test_the_fleet_counts_poles_by_condition(small_url: str, open_page: Open) -> None:
    app = open_page(small_url, frame.FLEET)

    found = {label.rpartition(" ")[2]: value for label, value in metrics(app).items()}
    assert (found["good"], found["poor"], found["unknown"]) == ("2 poles", "0 poles", "1 pole")
    table = app.dataframe[0].value
    assert table.iloc[0]["Pole"] == "p3"
    assert table.iloc[0]["Condition"] == "✚ unknown"
    assert list(table["Meters"]) == [1, 2, 1]
    assert "America/Los_Angeles, UTC−8" in words(app)


def test_the_fleet_says_which_hop_is_stale(
    data: DataDir, serve: Callable[..., str], open_page: Open
) -> None:
    publish_small(data)
    app = open_page(serve(data, now=NOW + timedelta(hours=1)), frame.FLEET)

    said = words(app)
    assert "<b>Ingest</b><br>◆ stale" in said
    assert "<b>Meters</b><br>● all heard" in said
    assert "- nothing arrives: see Pub/Sub and the ingest, since 2026-03-03 15:59:59" in said
    assert "storage is not asked here" in said


def test_a_pole_shows_the_summary_of_the_api(
    small_url: str, small_api: Api, open_page: Open
) -> None:
    app = open_page(small_url, frame.POLE, pole="p1", **DAY)

    summary = small_api.summary("p1", DAY_START, DAY_END)
    found = metrics(app)
    assert found["Energy"] == number(summary["power"]["energy_kwh"], "kWh") == "48.2 kWh"
    assert found["Peak, 5 minutes"] == "5.00 kW"
    assert found["Lowest voltage"] == "200.0 V"
    assert found["Readings missing"] == percent(summary["health"]["missing_rate"], 2)
    assert found["Low-voltage events"] == "3"
    assert sorted(app.dataframe[0].value["Lasted [s]"]) == [6, 8, 90]
    assert len(app.get("vega_lite_chart")) == 2


def test_a_pole_without_readings_says_what_to_do(small_url: str, open_page: Open) -> None:
    said = words(open_page(small_url, frame.POLE, pole="p3"))

    assert "p3 has never reported" in said
    assert "its gateway publishes" in said


@pytest.mark.parametrize(
    ("page", "link", "says"),
    [
        (
            frame.DEMAND_RESPONSE,
            {"from": "2026-03-03T07:00", "to": "2026-03-03T08:00"},
            "it is not known for p3",
        ),
        (frame.QUALITY, {"of": "p3"}, "Nothing was expected in this window"),
    ],
)
def test_other_pages_say_that_a_pole_has_no_data(
    small_url: str, open_page: Open, page: str, link: dict[str, str], says: str
) -> None:
    app = open_page(small_url, page, **link)

    assert says in words(app)


def test_a_window_without_events_says_so(small_url: str, open_page: Open) -> None:
    quiet = {"range": "custom", "from": "2026-02-01T00:00", "to": "2026-02-02T00:00"}

    assert "No low-voltage event in this window" in words(
        open_page(small_url, frame.EVENT, **quiet)
    )


def test_a_window_without_readings_says_so(small_url: str, open_page: Open) -> None:
    past = {"range": "custom", "from": "2026-01-01T00:00", "to": "2026-01-02T00:00"}

    assert "No readings of p1 in this window" in words(
        open_page(small_url, frame.POLE, pole="p1", **past)
    )
    assert "**From** is not before **To**" in words(
        open_page(small_url, frame.POLE, pole="p1", **{**past, "to": "2025-12-01T00:00"})
    )


def test_an_event_is_set_against_what_slower_meters_see(small_url: str, open_page: Open) -> None:
    app = open_page(small_url, frame.EVENT, event=event_id(1), **DAY)

    found = metrics(app)
    assert (found["Lasted"], found["Lowest voltage"]) == ("6 s", "200.0 V")
    assert found["Reached"] == "the whole pole"
    said = words(app)
    assert "6 s below 220 V" in said
    assert "on 2 meters" in said
    assert said.count("sees nothing<") == 3
    assert "A meter that reports every 5, 15 or 60 minutes sees nothing of it" in said
    # In the five minutes from 12:00 on there are 4 minutes of readings, 6 of them at 200 V.
    assert f"its mean is {(234 * 240 + 6 * 200) / 240:.1f} V" in said
    assert len(app.get("vega_lite_chart")) == 4


def test_a_link_to_an_event_outside_the_window_still_shows_it(
    small_url: str, open_page: Open
) -> None:
    app = open_page(small_url, frame.EVENT, event=event_id(5), range="24h")

    assert metrics(app)["Severity"] == "◆ critical"


@pytest.mark.parametrize(
    ("event", "said"), [(event_id(77), "Unknown event"), (event_id(102), "superseded")]
)
def test_an_event_that_is_gone_is_told_and_another_shown(
    small_url: str, open_page: Open, event: str, said: str
) -> None:
    app = open_page(small_url, frame.EVENT, event=event, range="7d")

    assert said in words(app)
    assert metrics(app)["Lasted"] == "1 min 30 s"


def test_a_provisional_event_is_marked(
    data: DataDir, serve: Callable[..., str], open_page: Open
) -> None:
    rows = rows_of_marts()
    late = {
        **rows["voltage_events"][0],
        "event_id": event_id(9),
        "start_ts": END + timedelta(minutes=2),
        "end_ts": END + timedelta(minutes=2, seconds=5),
        "scope": "undetermined",
    }
    publish_small(data, {**rows, "recent_rows": [late]})
    url = serve(data, landed=lambda: "one")
    app = open_page(url, frame.EVENT)

    said = words(app)
    assert "**Provisional.**" in said
    assert "seen as it happened" in said
    assert "provisional" in app.selectbox(key="event").format_func(event_id(9))


def test_a_called_dr_event_is_computed_by_the_link_and_by_the_boxes(
    small_url: str, open_page: Open
) -> None:
    app = open_page(small_url, frame.DEMAND_RESPONSE)

    # The newest called event: 3 March 16:00 to 18:00 UTC on two poles, each sheds 1 of 4 kW.
    assert app.selectbox(key="called").value == "heat-2"
    found = metrics(app)
    assert (found["Shed"], found["Baseline"], found["Actual"]) == (
        "4.0 kWh",
        "16.0 kWh",
        "12.0 kWh",
    )
    assert found["of the baseline"] == "25.0 %"
    assert "cannot be assessed" in words(app)
    assert app.query_params["from"] == "2026-03-03T08:00"

    app.multiselect(key="poles").set_value(["p1"]).run()

    assert metrics(app)["Shed"] == "2.0 kWh"
    assert "✓ passes" in words(app)
    assert app.query_params["poles"] == "p1"


def test_a_total_that_is_not_known_is_not_guessed(small_url: str, open_page: Open) -> None:
    link = {"from": "2026-03-02T08:00", "to": "2026-03-02T10:00"}
    app = open_page(small_url, frame.DEMAND_RESPONSE, **link)

    assert metrics(app)["Shed"] == "–"
    assert "it is not known for p2" in words(app)
    assert app.dataframe[0].value["Why unknown"].iloc[1] == (
        "too few days before it to make a baseline of"
    )


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ("2026-03-09T08:00", "2026-03-09T10:00", "Window in the future"),
        ("2026-03-01T08:00", "2026-03-01T10:00", "No history"),
        ("2026-03-02T10:00", "2026-03-02T08:00", "**Start** is not before **End**"),
        ("2026-03-01T20:00", "2026-03-03T10:00", "Window out of bounds"),
    ],
)
def test_a_dr_window_that_cannot_be_judged_says_why(
    small_url: str, open_page: Open, start: str, end: str, said: str
) -> None:
    app = open_page(small_url, frame.DEMAND_RESPONSE, **{"from": start, "to": end})

    assert said in words(app)
    assert not app.metric


def test_data_quality_shows_missing_and_late(
    small_url: str, small_api: Api, open_page: Open
) -> None:
    app = open_page(small_url, frame.QUALITY, **DAY)

    found = metrics(app)
    hours = small_api.quality(DAY_START, DAY_END)["hours"]
    assert found["Missing"] == f"{sum(hour['missing'] for hour in hours):,}" == "300"
    assert found["Late"] == "216"
    assert found["Refused"] == "0"
    assert "Nothing was refused" in words(app)
    assert list(app.dataframe[0].value["Meter"]) == ["m1", "m2", "m3"]


def test_a_link_shows_the_same_again(small_url: str, open_page: Open) -> None:
    first = open_page(small_url, frame.QUALITY, of="p2", range="7d")
    link = {name: str(value) for name, value in first.query_params.items()}
    again = open_page(small_url, frame.QUALITY, **link)

    assert (link["of"], link["range"]) == ("p2", "7d")
    assert metrics(again) == metrics(first)
    assert list(again.dataframe[0].value["Meter"]) == ["m3"]


def test_a_link_with_nonsense_shows_the_usual(small_url: str, open_page: Open) -> None:
    odd = {"range": "for ever", "pole": "p77", "from": "yesterday", "to": "1"}

    for page in PAGES:
        assert not open_page(small_url, page, **odd).exception


@pytest.mark.parametrize("page", PAGES)
def test_without_the_api_every_page_says_how_to_start_it(open_page: Open, page: str) -> None:
    said = words(open_page(f"http://127.0.0.1:{free_port()}", page))

    assert "The API does not answer" in said
    assert "`ami api`" in said


@pytest.mark.parametrize("page", PAGES)
def test_without_a_warehouse_every_page_says_so(
    data: DataDir, serve: Callable[..., str], open_page: Open, page: str
) -> None:
    said = words(open_page(serve(data), page))

    assert "No warehouse yet" in said
    assert "`ami build`" in said


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_warehouse_is_told_on_every_page(
    data: DataDir, serve: Callable[..., str], open_page: Open, page: str
) -> None:
    publish_small(data, {})
    said = words(open_page(serve(data), page))

    assert "The warehouse is empty" in said
    assert "`ami simulate`" in said


def test_an_api_that_wants_a_key_says_which_setting(
    data: DataDir, open_page: Open, monkeypatch: pytest.MonkeyPatch, serve: Callable[..., str]
) -> None:
    from ami_api.identity import Doorkeeper

    publish_small(data)
    url = serve(data, door=Doorkeeper(("a-key-of-16-letters",), "", (), lambda *_: None))

    assert "AMI_API_KEY" in words(open_page(url, frame.FLEET))
    monkeypatch.setenv("AMI_API_KEY", "a-key-of-16-letters")
    assert metrics(open_page(url, frame.FLEET))


def test_the_times_of_the_small_warehouse_are_what_this_file_says() -> None:
    assert START + timedelta(days=1) == DAY_START <= SAG < DAY_END
