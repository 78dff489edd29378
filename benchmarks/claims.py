"""Figures quoted in the documentation: reads Markdown, gives what it claims and where that is from.

A figure of the benchmarks carries its id behind it, invisible to readers:

    about 268 000 JSON readings per second <!-- bench:ingest.json.readings_per_s -->

`python -m benchmarks --render` renews the number, with as many digits as it has. A figure from
elsewhere names the file that makes it, anywhere in its line:

    <!-- from: tests/ami_dashboard/test_browser.py -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ami_contract.errors import SettingsError
from benchmarks.results import Document

RENDERED: Final = frozenset({"benchmarks.md", "cost.md", "data-model.md", "scaling.md"})
"""Pages of `docs/` that code makes of figures; tests compare those with their sources."""

_NUMBER: Final = r"\d+(?:[ ,\u00a0\u202f]\d{3})*(?:\.\d+)?"
_QUOTED: Final = re.compile(
    rf"(?<![\d.,])(?P<number>{_NUMBER})(?P<words>[^\d<>\n]{{0,60}}?)\s*"
    r"<!-- bench:(?P<id>[\w.]+) -->"
)
_MARK: Final = re.compile(r"<!-- bench:")
_FROM: Final = re.compile(r"<!-- from: (?P<source>\S+) -->")
_SCALES: Final = {
    "s": {"ms": 1e3, "s": 1.0, "min": 1 / 60},
    "ms": {"ms": 1.0, "s": 1e-3},
    "bytes": {"kB": 1e-3, "MB": 1e-6, "GB": 1e-9},
    "share": {"%": 100.0},
}
_UNIT: Final = re.compile(r"ms|min|s|kB|MB|GB|%")
_LEAST_DIGITS: Final = 2

_CLAIM: Final = re.compile(
    rf"""
    {_NUMBER}\s*(?:k|M|million)?\s*
    (?:
        (?:JSON\ |Arrow\ |single\ )*(?:readings|messages|requests|events|rows)
        (?:/s|\ a\ second|\ per\ second)
        | (?:ms|s|min|minutes|seconds)\ of\ CPU
        | CPU-s
        | ms\b
        | [kMG]B\ of\ memory
        | [kMG]B/s
    )
    | (?:takes?|took|costs?)\ (?:about\ |some\ |only\ )?{_NUMBER}\s*(?:s|seconds)\b
    | {_NUMBER}\s*m?s\b[^.|]*\bpercentile
    | load\ average
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Quoted:
    """A figure of the benchmarks as a page has it.

    Attributes:
        id: of the figure.
        text: the number as it stands there.
        renewed: the number as it should stand there.
    """

    id: str
    text: str
    renewed: str


def pages(root: Path) -> list[Path]:
    """Pages that people write: the README and `docs/*.md` but `RENDERED`."""
    found = sorted(page for page in (root / "docs").glob("*.md") if page.name not in RENDERED)
    return [root / "README.md", *found]


def quoted(text: str, document: Document) -> Iterator[Quoted]:
    """Figures of the benchmarks in `text`.

    Raises:
        SettingsError: a mark has no number before it, or its figure was not measured.
    """
    for match in _QUOTED.finditer(text):
        yield Quoted(match["id"], match["number"], _renewed(match, document))
    marks = len(_MARK.findall(text))
    if marks != sum(1 for _ in _QUOTED.finditer(text)):
        raise SettingsError("a `bench:` mark stands behind no number; put it right behind its unit")


def in_step(text: str, document: Document) -> str:
    """`text` with the figures of the benchmarks as `document` has them.

    Raises:
        SettingsError: a figure is quoted that was not measured.
    """

    def renew(match: re.Match[str]) -> str:
        whole, start = match[0], match.start("number") - match.start()
        end = match.end("number") - match.start()
        return whole[:start] + _renewed(match, document) + whole[end:]

    return _QUOTED.sub(renew, text)


def _renewed(match: re.Match[str], document: Document) -> str:
    result = document.get("results", {}).get(match["id"])
    if result is None:
        raise SettingsError(
            f"{match['id']} is quoted in the documentation and was not measured; measure it "
            f"(python -m benchmarks --only {match['id']}) or take the figure out"
        )
    scales = _SCALES.get(result["unit"], {})
    unit = _UNIT.match(match["words"].lstrip())
    scale = scales.get(unit[0], 1.0) if unit else 1.0
    if match["words"].lstrip().startswith("million"):
        scale = 1e-6
    return like(match["number"], result["value"] * scale)


def like(pattern: str, value: float) -> str:
    """`value` with as many significant digits as the text `pattern` shows, at least two, and its
    separator of thousands."""
    separator = next((char for char in pattern if not (char.isdigit() or char == ".")), "")
    digits = re.sub(r"[^\d.]", "", pattern)
    if "." in digits:
        shown = len(digits.replace(".", "").lstrip("0"))
    else:
        shown = min(len(digits.rstrip("0")), len(f"{abs(value):.0f}"))
    significant = max(_LEAST_DIGITS, shown)
    rounded = float(f"{value:.{significant}g}")
    exponent = int(f"{rounded:e}".split("e")[1])
    return f"{rounded:,.{max(0, significant - 1 - exponent)}f}".replace(",", separator)


def unsourced(text: str, root: Path) -> list[str]:
    """Lines with a figure of speed, latency or memory that no source is given for.

    Args:
        text: of a page.
        root: of the project; a source is a file below it.
    """
    found = []
    for line in text.splitlines():
        sources = [match["source"] for match in _FROM.finditer(line)]
        if any(not (root / source).exists() for source in sources):
            found.append(f"no such source: {line}")
            continue
        rest = _QUOTED.sub("", line)
        if not sources and _CLAIM.search(rest):
            found.append(line)
    return found
