"""A headless Chromium for page tests: Debian's, found on PATH."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page

from benchmarks.browser import browser_page, chromium


@contextmanager
def open_page(width: int, height: int) -> Iterator[Page]:
    """A page of a fresh browser; skips the test where there is no Chromium."""
    program = chromium()
    if not program:
        pytest.skip("no chromium on PATH (Debian: apt install chromium)")
    with browser_page(program, width, height) as page:
        yield page
