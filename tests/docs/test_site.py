"""The site builds without a warning, its pages load nothing, and their links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_pages import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "NO_MKDOCS_2_WARNING": "1", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]+)"|<link[^>]*\shref="([^"]+)"')
    targets = {
        first or second
        for page in set(site.glob("*.html")) - {site / "404.html"}
        for first, second in loaded.findall(page.read_text(encoding="utf-8"))
    }

    assert targets
    assert [target for target in targets if "//" in target and not target.startswith("./")] == []


def test_links_between_pages_lead_to_files(site: Path) -> None:
    broken = []
    # The page for unknown addresses is served from anywhere, so its links are absolute.
    for page in set(site.glob("*.html")) - {site / "404.html"}:
        for target in re.findall(r'<a[^>]*\shref="([^"#]+)', page.read_text(encoding="utf-8")):
            if "://" not in target and not (site / target).exists():
                broken.append(f"{page.name}: {target}")

    assert broken == []


def test_files_outside_the_documentation_come_along(site: Path) -> None:
    assert (site / "repository/LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert (site / "repository/env.example").exists()


def test_a_diagram_is_left_to_the_theme_to_draw(site: Path) -> None:
    assert 'class="mermaid"' in (site / "architecture.html").read_text()
