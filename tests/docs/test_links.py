"""Every link of the Markdown files leads somewhere, in the repository and in the site alike."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from markdown_pages import ROOT, github_anchors, links, pages, read
from pymdownx.slugs import slugify


@pytest.mark.parametrize("page", pages(), ids=str)
def test_links_images_and_anchors_exist(page: Path) -> None:
    broken = []
    for target in links(read(page)):
        if "://" in target:
            parts = urlsplit(target)
            if parts.scheme not in ("http", "https") or not re.fullmatch(r"[\w.:-]+", parts.netloc):
                broken.append(f"{target}: no web address")
            continue
        name, _, anchor = target.partition("#")
        file = (ROOT / page.parent / name).resolve() if name else ROOT / page
        if not file.is_relative_to(ROOT) or not file.exists():
            broken.append(f"{target}: no such file")
        elif anchor and anchor not in github_anchors(file.read_text(encoding="utf-8")):
            broken.append(f"{target}: no such heading")

    assert broken == []


@pytest.mark.parametrize("page", pages(), ids=str)
def test_the_site_gives_headings_the_anchors_of_github(page: Path) -> None:
    slug = slugify(case="lower")
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", read(page), flags=re.S), re.M)
    plain = [re.sub(r"[`*]", "", heading) for heading in headings]

    assert {slug(heading, "-") for heading in plain} <= github_anchors(read(page))


def test_every_picture_of_the_documentation_is_shown_somewhere() -> None:
    shown = {Path(target).name for page in pages() for target in links(read(page))}

    assert {path.name for path in (ROOT / "docs/img").iterdir()} <= shown


@pytest.mark.parametrize(
    ("text", "anchors"),
    [
        ("# One machine: `ami up`", {"one-machine-ami-up"}),
        ("## What is deleted, and when", {"what-is-deleted-and-when"}),
        ("# a\n## a", {"a", "a-1"}),
        ("```sh\n# a comment\n```", set()),
        ("### dr_5min_baseline & more", {"dr_5min_baseline--more"}),
    ],
)
def test_anchors_are_those_of_github(text: str, anchors: set[str]) -> None:
    assert github_anchors(text) == anchors
