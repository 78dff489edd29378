"""A real browser walks all pages over a lake that dbt built: numbers, pictures, and how soon.

`AMI_PICTURES=docs/img pytest tests/ami_dashboard/test_browser.py` renews the pictures in the docs.
"""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
from browser import open_page
from PIL import Image
from playwright.sync_api import Page
from waiting import wait_until

from ami_cli.processes import ami_command, free_port
from ami_dashboard import looks
from ami_dashboard.client import Api, utc_time
from ami_dashboard.server import HEALTH
from ami_dashboard.words import GATES, number, percent
from benchmarks.browser import FAULT, seconds_until_drawn

from .conftest import Shown
from .show_lake import DR_END, DR_EVENT, DR_START, END, ROOT

# The first of these tests makes the lake.
pytestmark = pytest.mark.timeout(900)
PICTURES = os.environ.get("AMI_PICTURES")
POLES = [f"hill-pole-{n:04}" for n in range(1, 5)]
WIDE, PHONE = 1280, 390
# Generous: the machine that tests may be busy; the printed times are what counts.
LONGEST_S = 20.0
_DRAWN = '[data-testid="stMetric"]'
_NEAR = 40
_HEIGHT = "document.querySelector('[data-testid=\"stMain\"]').scrollHeight"


@pytest.fixture(scope="module")
def url(shown: Shown, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of `ami dashboard` over the lake's API."""
    folder = tmp_path_factory.mktemp("dashboard")
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AMI_")},
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "AMI_API_URL": shown.url,
    }
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ami_command("dashboard", "--port", str(port)),
            env=environment,
            stdout=out,
            stderr=out,
            cwd=folder,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(address), 60, lambda: log.read_text())
        yield address
        assert "Traceback" not in log.read_text()
        # Nothing is left in somebody's home.
        assert not (folder / ".streamlit").exists()
    finally:
        process.terminate()
        process.wait(20)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}{HEALTH}", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


class Walker:
    """One browser tab on its way through the pages; keeps what it asked of whom."""

    def __init__(self, page: Page, url: str, folder: Path, suffix: str = "") -> None:
        self.page = page
        self.url = url
        self.folder = folder
        self.suffix = suffix
        self.foreign: list[str] = []
        self.seconds: dict[str, float] = {}
        page.on("request", self._asked)

    def _asked(self, request: object) -> None:
        address = getattr(request, "url", "")
        if not address.startswith((self.url, self.url.replace("http", "ws"), "data:", "blob:")):
            self.foreign.append(address)

    def open(self, name: str, path: str) -> None:
        """Open a page, wait until it is drawn, see that nothing failed."""
        self.seconds[name] = seconds_until_drawn(self.page, f"{self.url}{path}", name)
        assert self.page.locator(FAULT).count() == 0

    def figures(self) -> dict[str, str]:
        """Figures of the page by their labels."""
        found = self.page.locator(_DRAWN)
        return {
            each.locator('[data-testid="stMetricLabel"]').inner_text().strip(): each.locator(
                '[data-testid="stMetricValue"]'
            )
            .inner_text()
            .strip()
            for each in found.all()
        }

    def drawn_share(self, chart: int, color: str) -> float:
        """Share of the columns of pixels of a chart that hold a colour."""
        self.page.wait_for_timeout(1200)
        found = self.page.locator('[data-testid="stVegaLiteChart"]').nth(chart)
        with Image.open(io.BytesIO(found.screenshot())) as taken:
            pixels = np.asarray(taken.convert("RGB")).astype(int)
        wanted = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
        is_near = (np.abs(pixels - wanted).sum(axis=2) < _NEAR).any(axis=0)
        return float(is_near.mean())

    def picture(self, name: str) -> None:
        """Take the whole page."""
        width = self.page.viewport_size["width"]  # type: ignore[index]
        self.page.wait_for_timeout(1500)
        height = min(int(self.page.evaluate(_HEIGHT)), 3600)
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.wait_for_timeout(1200)
        path = self.folder / f"dashboard-{name}{self.suffix}.png"
        self.page.mouse.move(2, height - 2)
        self.page.screenshot(path=path)
        with Image.open(path) as taken:
            taken.convert("RGB").save(path, optimize=True)
        assert 8_000 < path.stat().st_size < 200_000
        self.page.set_viewport_size({"width": width, "height": 900})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures go."""
    return Path(PICTURES) if PICTURES else tmp_path_factory.mktemp("pictures")


def _widest_event(api: Api) -> str:
    events = api.anomalies(END - timedelta(hours=3), END)["anomalies"]
    return min(
        (event for event in events if event["scope"] == "feeder"),
        key=lambda event: str(event["meter_id"]),
    )["event_id"]


def test_all_pages_show_the_numbers_of_the_api(shown: Shown, url: str, folder: Path) -> None:
    api = Api(shown.url)
    event_id = _widest_event(api)
    event = api.anomaly(event_id, 60)["anomaly"]
    newest_end = utc_time(api.freshness()["marts_newest_event_ts"]) + timedelta(minutes=5)
    with open_page(WIDE, 900) as page:
        walker = Walker(page, url, folder)

        walker.open("fleet", "/")
        events = api.anomalies(newest_end - timedelta(hours=24, minutes=5), None)["anomalies"]
        assert walker.figures()["Low-voltage events, 24 h"] == str(len(events))
        page.get_by_text("1 silent pole", exact=False).first.wait_for()
        walker.picture("fleet")
        walker.open("map", "/?view=map")

        walker.open("pole", "/pole?pole=bay-pole-0004&range=6h")
        summary = api.summary("bay-pole-0004", newest_end - timedelta(hours=6), newest_end)
        found = walker.figures()
        assert found["Energy"] == number(summary["power"]["energy_kwh"], "kWh")
        assert found["Lowest voltage"] == number(summary["voltage"]["min_voltage_v"], "V")
        assert found["Low-voltage events"] == str(summary["events"]["events"])
        # Three of the six hours, of voltage and of load.
        assert 0.4 < walker.drawn_share(0, looks.BLUE) < 0.6
        assert 0.4 < walker.drawn_share(1, looks.BLUE) < 0.6
        walker.picture("pole")

        walker.open("event", f"/event?event={event_id}")
        found = walker.figures()
        assert found["Lowest voltage"] == number(event["min_voltage_v"], "V")
        assert found["Reached"] == "the feeder"
        assert page.get_by_text("sees nothing", exact=True).count() == 3
        assert walker.drawn_share(0, looks.VERMILION) > 0.8
        assert all(walker.drawn_share(n, looks.BLUE) > 0.7 for n in (1, 2, 3))
        walker.picture("event")

        walker.open("dr", "/dr")
        computed = api.dr_compute(DR_START, DR_END, POLES, "caiso_10_of_10", "own")
        total = computed["total"]
        found = walker.figures()
        assert total["shed_kwh"] > 30
        assert found["Shed"] == number(total["shed_kwh"], "kWh")
        assert found["of the baseline"] == number(total["shed_pct"], "%")
        assert "from=2026-07-15T17%3A00" in page.url
        assert f"called={DR_EVENT}" in page.url
        page.get_by_text(GATES[computed["accuracy"]["gate"]]).first.wait_for()
        assert walker.drawn_share(0, looks.INK) > 0.8
        walker.picture("dr")
        page.get_by_text("Compare all six methods").click()
        page.locator('[data-testid="stVegaLiteChart"]').nth(1).wait_for(timeout=60_000)

        walker.open("quality", "/quality")
        hours = api.quality(newest_end - timedelta(hours=24), newest_end)["hours"]
        received = sum(hour["received"] for hour in hours) / sum(h["expected"] for h in hours)
        letters = api.dead_letters(newest_end - timedelta(hours=24), newest_end)
        found = walker.figures()
        assert found["Received"] == percent(received, 2)
        assert found["Missing"] == f"{sum(hour['missing'] for hour in hours):,}"
        assert found["Refused"] == f"{letters['readings']:,}" != "0"
        walker.picture("quality")

        print({name: f"{seconds:.2f} s" for name, seconds in walker.seconds.items()})
        assert walker.foreign == []
        assert max(walker.seconds.values()) < LONGEST_S


def test_links_between_pages_lead_there_by_keyboard(shown: Shown, url: str, folder: Path) -> None:
    with open_page(WIDE, 900) as page:
        walker = Walker(page, url, folder)
        walker.open("fleet", "/")
        link = page.locator('[data-testid="stPageLink-NavLink"]').first
        link.focus()
        page.keyboard.press("Enter")
        page.get_by_text("every reading", exact=False).first.wait_for(timeout=60_000)
        assert "/event?event=" in page.url
        page.get_by_text("Open bay-pole", exact=False).click()
        page.get_by_text("Highest hourly loading").wait_for(timeout=60_000)
        assert "/pole?pole=bay-pole-" in page.url
        assert walker.foreign == []


@pytest.mark.slow
def test_a_phone_shows_pages_without_scrolling_sideways(
    shown: Shown, url: str, folder: Path
) -> None:
    event_id = _widest_event(Api(shown.url))
    with open_page(PHONE, 844) as page:
        walker = Walker(page, url, folder, "-phone")
        for name, path in (
            ("fleet", "/"),
            ("pole", "/pole?pole=bay-pole-0004&range=6h"),
            ("event", f"/event?event={event_id}"),
            ("dr", "/dr"),
            ("quality", "/quality"),
        ):
            walker.open(name, path)
            page.wait_for_timeout(800)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= PHONE, (name, wide)
            if name == "event":
                walker.picture(name)
