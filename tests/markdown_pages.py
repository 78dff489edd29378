"""Reads the project's Markdown files: gives their links, anchors and fenced commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_FENCE = re.compile(r"^(`{3,}|~{3,})\s*([\w+-]*)[^\n]*\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]*)>?(?:\s+\"[^\"]*\")?\s*\)")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, text, and the line it begins in."""

    language: str
    text: str
    line: int


def pages() -> list[Path]:
    """README, `docs/`, and READMEs of folders, relative to the project's root."""
    found = [*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("*/README.md")]
    found += [*ROOT.glob("*/*/README.md"), *ROOT.glob("*/models/*.md")]
    pages = {path.relative_to(ROOT) for path in found}
    return sorted(page for page in pages if not page.parts[0].startswith("."))


def read(page: Path) -> str:
    """Text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    """Fenced blocks in order."""
    return [
        Block(match[2], match[3], text.count("\n", 0, match.start()) + 1)
        for match in _FENCE.finditer(text)
    ]


def links(text: str) -> Iterator[str]:
    """Targets of links and images outside code."""
    prose = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))
    return (match[2] for match in _LINK.finditer(prose))


def github_anchors(text: str) -> set[str]:
    """Anchors that GitHub gives the headings, repeated ones with a number."""
    found: set[str] = set()
    for match in _HEADING.finditer(_FENCE.sub("", text)):
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", match[1]).replace("`", "")
        plain = re.sub(r"\*+", "", plain).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        anchor, again = slug, 0
        while anchor in found:
            again += 1
            anchor = f"{slug}-{again}"
        found.add(anchor)
    return found


def commands(text: str) -> list[str]:
    """Commands of `sh`, `bash` and unnamed blocks; continued lines are one."""
    return [
        command
        for block in blocks(text)
        if block.language in ("", "sh", "bash", "console")
        for command in split_commands(block.text)
    ]


def split_commands(text: str) -> list[str]:
    """Commands of a block, one each, also those that go on over line ends or in quotes."""
    found: list[str] = []
    begun = ""
    for line in text.replace("\\\n", " ").splitlines():
        begun = f"{begun}\n{line}" if begun else line.strip().removeprefix("$ ")
        try:
            shlex.split(begun, comments=True)
        except ValueError:
            continue
        found += [begun] if begun else []
        begun = ""
    return [*found, begun] if begun else found
