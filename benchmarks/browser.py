"""Opens a headless Chromium, Debian's, found on PATH; gives a page of it, and when pages are ready.

Playwright is a tool of developers, so that it is imported where it is used.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from playwright.sync_api import Page

_ARGUMENTS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LAST: Final[dict[str, str | re.Pattern[str]]] = {
    "fleet": "Condition in the newest hour",
    "map": "Condition in the newest hour",
    "pole": "Choose a row to see",
    "event": "IEEE 1159 class",
    "dr": "Compare all six methods",
    "quality": re.compile("lists them one by one|Nothing was refused in this window"),
}
"""What stands at the end of each page of the dashboard."""

FAULT: Final = '[data-testid="stException"], [data-testid="stAlertContentError"]'
_WORKING: Final = '[data-testid="stStatusWidget"]'
_LONGEST_MS: Final = 60_000


def chromium() -> str | None:
    """Path of the browser; None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def browser_page(program: str, width: int, height: int) -> Iterator[Page]:
    """A page of a fresh browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        try:
            yield browser.new_page(
                viewport={"width": width, "height": height}, device_scale_factor=1
            )
        finally:
            browser.close()


def seconds_until_drawn(page: Page, address: str, name: str) -> float:
    """Open a page of the dashboard; time (s) until its last line stands and it is idle."""
    begun = time.monotonic()
    page.goto(address)
    page.get_by_text(LAST[name], exact=False).last.wait_for(timeout=_LONGEST_MS)
    page.locator(_WORKING).wait_for(state="detached", timeout=_LONGEST_MS)
    return time.monotonic() - begun
