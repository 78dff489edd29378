"""An operator's walk through the Dagster UI in a real browser: look, see what is wrong, backfill.

`AMI_PICTURES=docs/img pytest tests/ami_dagster/test_ui.py` renews the pictures in the docs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from browser import open_page
from playwright.sync_api import FloatRect, Locator, Page
from ui_platform import DAMAGED, HOURS, LATE, Shown, shown
from waiting import wait_until

from ami_contract.lake import HOUR, DataDir, partition_key
from ami_dagster.jobs import REFRESH_HOURS
from ami_dagster.local_run import instance_of
from ami_store.warehouse import query

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PICTURES = os.environ.get("AMI_PICTURES")
# Right to left: an opened group pushes only what lies to its right out of the picture.
OPENED = ("serving", "lake", "ingest", "edge")
CLOSED = ("readings", "monitoring", "demand_response")
# As the nodes spell them: long names are shortened in the middle.
ASSETS = (
    "pubsub_topic",
    "ingest_job",
    "dead_letter",
    "compacted_readings",
    "publish…_warehouse",
)
LAUNCHED = """{ partitionBackfillsOrError { ... on PartitionBackfills { results {
  id status partitionNames } } } }"""
PAGE_MS = 60_000


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """Webserver and daemon over a platform that has stood still for two hours; tests only look."""
    with shown(DataDir(tmp_path_factory.mktemp("ui") / "data"), datetime.now(UTC)) as found:
        yield found


@pytest.fixture
def own_platform(tmp_path: Path) -> Iterator[Shown]:
    """Another one, for a test that acts on it."""
    with shown(DataDir(tmp_path / "data"), datetime.now(UTC)) as found:
        yield found


def take(page: Page, name: str, tmp_path: Path, clip: FloatRect | None = None) -> None:
    """A picture of the page once it has come to rest, without the navigation on its left."""
    page.wait_for_timeout(1500)
    picture = Path(PICTURES or tmp_path) / name
    size = page.viewport_size
    assert size
    right: FloatRect = {"x": 240, "y": 0, "width": size["width"] - 240, "height": size["height"]}
    page.screenshot(path=picture, clip=clip or right)
    assert 10_000 < picture.stat().st_size <= 150_000


def group_box(page: Page, group: str) -> Locator:
    """Box of a collapsed group in the graph."""
    return page.locator("foreignObject").filter(has=page.locator(f'[data-tooltip="{group}"]'))


def test_the_lineage_page_shows_groups_and_their_assets(platform: Shown, tmp_path: Path) -> None:
    with open_page(2000, 1100) as page:
        page.goto(f"{platform.url}/asset-groups")
        for group in CLOSED:
            group_box(page, group).first.wait_for(timeout=PAGE_MS)
        for group in OPENED:
            group_box(page, group).get_by_label("unfold_more").dispatch_event("click")
            page.wait_for_timeout(800)
            # The page keeps the opened groups and fits them into the window.
            page.reload()
        for asset in ASSETS:
            page.locator("foreignObject").get_by_text(asset, exact=True).first.wait_for(
                timeout=PAGE_MS
            )
        page.wait_for_timeout(1500)
        # The page hides the uppermost name behind its head, the rightmost nodes behind its zoom.
        page.mouse.move(900, 900)
        page.mouse.down()
        page.mouse.move(875, 920, steps=5)
        page.mouse.up()
        take(page, "lineage.png", tmp_path, {"x": 545, "y": 112, "width": 1410, "height": 960})


def test_the_partition_bar_tells_which_hours_are_there(platform: Shown, tmp_path: Path) -> None:
    with open_page(1300, 640) as page:
        page.goto(f"{platform.url}/assets/compacted_readings?view=partitions")
        # Two hours came late, and nothing has been compacted since the standstill.
        page.get_by_text(f"Materialized ({HOURS - len(LATE)})").wait_for(timeout=PAGE_MS)
        first, last = platform.late.hours[0] - HOUR, platform.late.hours[-1] + HOUR
        for hour in (first, *platform.late.hours, last):
            page.get_by_text(partition_key(hour), exact=True).first.wait_for()
        page.get_by_text(partition_key(last), exact=True).first.click()
        page.get_by_text("landed_files_merged").wait_for()
        take(page, "partitions.png", tmp_path)


def test_an_asset_that_was_not_made_in_time_is_shown_as_stale(
    platform: Shown, tmp_path: Path
) -> None:
    with open_page(1700, 620) as page:
        page.goto(f"{platform.url}/assets/compacted_readings?view=overview")
        page.get_by_text("Latest materialization").first.wait_for(timeout=PAGE_MS)
        page.get_by_text("2 hours ago").first.wait_for()
        # The daemon judges the policies every half minute.
        state = page.get_by_text("Failed", exact=True).first
        state.wait_for(timeout=PAGE_MS)
        state.hover()
        page.get_by_text("15 minutes").first.wait_for()
        take(page, "stale.png", tmp_path)


def test_a_failed_check_says_what_failed_and_how_many_rows(platform: Shown, tmp_path: Path) -> None:
    damaged = platform.first + DAMAGED * HOUR
    with open_page(1300, 680) as page:
        page.goto(f"{platform.url}/assets/compacted_readings?view=checks")
        page.get_by_text("landed_files_are_whole").first.wait_for(timeout=PAGE_MS)
        page.get_by_text(f"ami replay --from {damaged:%Y-%m-%dT%H:%M}").first.wait_for()
        row = page.locator("tr", has_text="readings_in_them")
        assert row.locator("td").last.inner_text() == "60"
        take(page, "failed-check.png", tmp_path)
        page.goto(f"{platform.url}/assets/stg_meters?view=checks")
        page.get_by_text("registry_periods_never_overlap").first.click(timeout=PAGE_MS)
        row = page.locator("tr", has_text="dagster_dbt/failed_row_count")
        row.locator("td", has_text="1").last.wait_for()
        assert row.locator("td").last.inner_text() == "1"
        take(page, "failed-data-test.png", tmp_path)


def test_the_page_of_the_events_shows_the_sag_as_a_picture(platform: Shown, tmp_path: Path) -> None:
    with open_page(1500, 900) as page:
        page.goto(f"{platform.url}/assets/voltage_events?view=overview")
        page.get_by_text("grid-operations").first.wait_for(timeout=PAGE_MS)
        page.get_by_text("One row per event_id.").first.wait_for()
        page.get_by_text("docs/voltage-events.md").first.wait_for()
        row = page.locator("tr", has_text="picture")
        row.get_by_text("Show Markdown").first.click()
        image = page.locator('img[src^="data:image/svg+xml"]').first
        image.wait_for(timeout=20_000)
        assert image.evaluate("image => image.naturalWidth") == 760
        take(page, "sag-picture.png", tmp_path)


def test_a_backfill_of_two_hours_launched_by_clicks_makes_exactly_these(
    own_platform: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = own_platform
    keys = [partition_key(hour) for hour in platform.late.hours]
    with open_page(1300, 700) as page:
        page.goto(f"{platform.url}/locations/ami/jobs/{REFRESH_HOURS}")
        page.get_by_text("Materialize all…").click(timeout=PAGE_MS)
        dialog = page.get_by_role("dialog")
        hours = dialog.locator("input[type=text]").first
        hours.fill(f"[{keys[0]}...{keys[-1]}]")
        hours.press("Tab")
        dialog.get_by_text("2 partitions").wait_for()
        take(page, "backfill.png", tmp_path)
        dialog.get_by_text("Launch backfill").click()
        page.get_by_text("Created backfill").wait_for()
    [launched] = platform.ask(LAUNCHED)["partitionBackfillsOrError"]["results"]
    assert launched["partitionNames"] == keys

    monkeypatch.setenv("DAGSTER_HOME", str(platform.data.dagster_home))

    def status() -> str:
        [launched] = platform.ask(LAUNCHED)["partitionBackfillsOrError"]["results"]
        return str(launched["status"])

    wait_until(lambda: status() not in ("REQUESTED", "FAILING"), 300, status)
    assert status() == "COMPLETED_SUCCESS"
    with instance_of(platform.data.dagster_home) as instance:
        [run] = instance.get_runs(dg.RunsFilter(tags={"dagster/from_ui": "true"}))
        for name in ("compacted_readings", "pole_health_hourly"):
            made = instance.fetch_materializations(
                dg.AssetRecordsFilter(dg.AssetKey(name), after_timestamp=platform.shown_at), 100
            )
            assert {record.partition_key for record in made.records} == set(keys)
            assert {record.run_id for record in made.records} == {run.run_id}
    rows = query(
        platform.data,
        "SELECT count(*), sum(received) FROM pole_health_hourly WHERE hour_ts BETWEEN ? AND ?",
        [platform.late.first, platform.late.last],
    )
    # Two meters for five minutes of each hour.
    assert rows.rows == [(2, 1200)]
