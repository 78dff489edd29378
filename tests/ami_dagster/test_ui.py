"""The Dagster UI in a real browser shows the lineage.

`AMI_PICTURES=docs/img pytest tests/ami_dagster/test_ui.py` renews the picture in the docs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import open_page
from built_platform import Built
from playwright.sync_api import Locator, Page

from ami_cli.platform_run import environment as child_environment
from ami_cli.platform_run import start_webserver, wait_for_dagster
from ami_cli.processes import Supervisor, free_port

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


@pytest.fixture(scope="module")
def url(built: Built) -> Iterator[str]:
    """Address of a running Dagster webserver over the built platform."""
    ports = {"dagster_port": free_port(), "code_server_port": free_port()}
    settings = built.settings.model_copy(update=ports)
    kept = dict(os.environ)
    try:
        with Supervisor(settings.data.logs, child_environment(settings)) as supervisor:
            start_webserver(supervisor, settings)
            yield wait_for_dagster(supervisor, settings)
    finally:
        os.environ.clear()
        os.environ.update(kept)


def group_box(page: Page, group: str) -> Locator:
    """Box of a collapsed group in the graph."""
    return page.locator("foreignObject").filter(has=page.locator(f'[data-tooltip="{group}"]'))


def test_the_lineage_page_shows_groups_and_their_assets(url: str, tmp_path: Path) -> None:
    with open_page(2300, 1000) as page:
        page.goto(f"{url}/asset-groups")
        for group in CLOSED:
            group_box(page, group).first.wait_for(timeout=60_000)
        for group in OPENED:
            group_box(page, group).get_by_label("unfold_more").dispatch_event("click")
            page.wait_for_timeout(800)
            # The page keeps the opened groups and fits them into the window.
            page.reload()
        for asset in ASSETS:
            page.locator("foreignObject").get_by_text(asset, exact=True).first.wait_for(
                timeout=60_000
            )
        page.wait_for_timeout(1500)
        # The page hides the uppermost group's name behind its own head.
        page.mouse.move(1000, 900)
        page.mouse.down()
        page.mouse.move(1000, 930, steps=5)
        page.mouse.up()
        page.wait_for_timeout(500)
        picture = Path(PICTURES or tmp_path) / "lineage.png"
        page.screenshot(path=picture, clip={"x": 560, "y": 112, "width": 1695, "height": 880})
        assert picture.stat().st_size > 10_000


def test_the_page_of_the_events_shows_the_sag_as_a_picture(url: str, tmp_path: Path) -> None:
    with open_page(1500, 900) as page:
        page.goto(f"{url}/assets/voltage_events?view=overview")
        page.get_by_text("grid-operations").first.wait_for(timeout=60_000)
        page.get_by_text("One row per event_id.").first.wait_for()
        page.get_by_text("docs/voltage-events.md").first.wait_for()
        row = page.locator("tr", has_text="picture")
        row.get_by_text("Show Markdown").first.click()
        image = page.locator('img[src^="data:image/svg+xml"]').first
        image.wait_for(timeout=20_000)
        assert image.evaluate("image => image.naturalWidth") == 760
        page.wait_for_timeout(500)
        page.screenshot(path=Path(PICTURES or tmp_path) / "sag-picture.png")
