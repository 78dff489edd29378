"""The folders that the documentation lists are those that are there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from markdown_pages import ROOT, read


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Files that belong to the project, relative to its root."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip(f"git does not tell which files belong to the project: {listed.stderr}")
    return [Path(name) for name in listed.stdout.split("\0") if name]


def places(page: str, heading: str) -> list[str]:
    """What the first column of the table under a heading names."""
    section = re.split(rf"^#+ {heading}$", read(Path(page)), flags=re.MULTILINE)[1]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table
    first = [row.split("|")[1] for row in table[0].splitlines()[2:]]
    return [name for cell in first for name in re.findall(r"`([^`]+)`", cell)]


def test_the_architecture_lists_every_folder_of_the_root(tracked: list[Path]) -> None:
    folders = {f"{path.parts[0]}/" for path in tracked if len(path.parts) > 1}

    listed = places("docs/architecture.md", "Folders")

    assert sorted(listed) == sorted(name for name in folders if not name.startswith("."))


def test_the_infrastructure_lists_everything_in_its_folder(tracked: list[Path]) -> None:
    inside = [path.relative_to("infra") for path in tracked if path.parts[0] == "infra"]

    listed = places("infra/README.md", "Infrastructure")

    found = {
        path
        for path in inside
        for place in listed
        if (path.is_relative_to(place) if place[-1] == "/" else path.match(place))
    }
    # Beside the image that it belongs to, and the page itself.
    assert set(inside) - found == {Path("Dockerfile.dockerignore"), Path("README.md")}
    unused = [name for name in listed if not any((ROOT / "infra").glob(name.rstrip("/")))]
    assert unused == []
