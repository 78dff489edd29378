"""Charts: points lie where the values say, gaps stay gaps, and names cannot break out."""

from __future__ import annotations

import re
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

from ami_dagster.charts import Line, as_markdown, line_chart
from ami_dagster.defs.analytics.pictures import health_picture, sag_picture, shed_picture
from ami_store.highlights import PoleDay, Sag, Shed

AT = datetime(2026, 3, 1, 16, tzinfo=UTC)


def paths(svg: str) -> list[str]:
    """Lines of data, in order; each is followed by its sample in the legend."""
    root = ElementTree.fromstring(svg)
    drawn = [each.get("d", "") for each in root.iter("{http://www.w3.org/2000/svg}path")]
    return [path for path in drawn if not re.search("[Hh]", path)]


def svg_of(markdown: str | None) -> str:
    assert markdown is not None
    found = re.search(r"\(data:image/svg\+xml;base64,([^)]+)\)$", markdown)
    assert found
    return b64decode(found[1]).decode()


def test_points_lie_between_round_numbers() -> None:
    # x from 56 to 748; y ticks 0, 2, … 10 over 236 (bottom) to 34 (top).
    svg = line_chart("t", "kW", [Line("a", "red", [(0, 0), (5, 5), (10, 10)])], [(5, "noon")])
    assert paths(svg) == ["M56.0 236.0L402.0 135.0L748.0 34.0"]
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert texts == ["t [kW]", "0", "2", "4", "6", "8", "10", "noon", "a"]


def test_a_line_breaks_where_a_value_is_unknown() -> None:
    svg = line_chart("t", "V", [Line("a", "red", [(0, 0), (1, None), (2, 4), (3, 4)])], [])
    assert paths(svg) == ["M56.0 236.0M517.3 34.0L748.0 34.0"]


def test_a_flat_line_is_drawn() -> None:
    svg = line_chart("t", "V", [Line("a", "red", [(0, 240.0), (1, 240.0)])], [])
    [path] = paths(svg)
    assert "nan" not in path


def test_names_are_text_and_never_markup() -> None:
    svg = line_chart("<script>", "V", [Line('"/><a', "red", [(0, 1), (1, 2)])], [])
    assert "<script>" not in svg
    ElementTree.fromstring(svg)
    assert as_markdown(svg, "text").startswith("text\n\n![text](data:image/svg+xml;base64,")


def test_a_sag_is_shaded_and_beside_its_nominal_voltage() -> None:
    readings = [(AT + timedelta(seconds=i), 240.0 if i != 30 else 120.0) for i in range(61)]
    sag = Sag("m1", AT + timedelta(seconds=30), AT + timedelta(seconds=30), 120.0, 240.0, readings)
    picture = sag_picture(sag)
    assert picture is not None
    assert picture.startswith(
        "Deepest event of the newest day: m1, 2026-03-01 16:00:30 UTC, 120.0 V (0.50 pu)"
    )
    assert len(paths(svg_of(picture))) == 2
    assert sag_picture(Sag("m1", AT, AT, 120.0, 240.0, [])) is None


def test_an_event_shows_three_lines_and_its_hours() -> None:
    slots = [
        (AT + timedelta(minutes=5 * i), "event" if i < 24 else "rebound", 5.0, 3.0, 2.0)
        for i in range(48)
    ]
    svg = svg_of(shed_picture(Shed("heat-1", "median_n", slots), "heat-1"))
    assert len(paths(svg)) == 3
    assert "16:00" in svg
    assert "18:00" in svg
    # The event is the first two of almost four hours: 24 of 47 steps of 692 px.
    assert re.search(r'<rect x="56.0" y="34" width="353.4"', svg)
    assert shed_picture(Shed("heat-1", "median_n", [(AT, "event", None, None, None)]), "") is None


def test_a_day_shows_the_score_and_its_parts() -> None:
    hours = [(AT + timedelta(hours=i), 90.0, 40.0, 20.0, 100.0, None) for i in range(8)]
    picture = health_picture(PoleDay("p2", AT, 40.0, hours))
    assert len(paths(svg_of(picture))) == 5
    assert "p2, 2026-03-01, 40.0 of 100" in str(picture)
    empty = [(AT, None, None, None, None, None)]
    assert health_picture(PoleDay("p2", AT, 40.0, empty)) is None
