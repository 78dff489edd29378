"""Colours and marks: one palette for all pages, told apart without colour too (Okabe and Ito).

Every condition and severity has a colour, a shape and a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BLUE: Final = "#0072B2"
SKY: Final = "#56B4E9"
GREEN: Final = "#009E73"
ORANGE: Final = "#E69F00"
VERMILION: Final = "#D55E00"
INK: Final = "#1F2937"
SOFT: Final = "#6B7280"
LINE: Final = "#D1D5DB"
PAPER: Final = "#FFFFFF"
PANEL: Final = "#F3F6F9"


@dataclass(frozen=True)
class Mark:
    """How something is shown.

    Attributes:
        word: what it is called.
        color: its colour.
        shape: its shape in charts.
        sign: the same shape in texts.
        markdown: name of the nearest colour in texts.
    """

    word: str
    color: str
    shape: str
    sign: str
    markdown: str

    @property
    def text(self) -> str:
        """Sign and word."""
        return f"{self.sign} {self.word}"

    @property
    def colored(self) -> str:
        """Sign in its colour and word, as Streamlit's Markdown."""
        return f":{self.markdown}[{self.sign}] {self.word}"


GOOD: Final = Mark("good", GREEN, "circle", "●", "green")
WATCH: Final = Mark("watch", ORANGE, "triangle-up", "▲", "orange")
POOR: Final = Mark("poor", VERMILION, "diamond", "◆", "red")
NOTHING_KNOWN: Final = Mark("unknown", SOFT, "cross", "✚", "gray")
CONDITIONS: Final = (GOOD, WATCH, POOR, NOTHING_KNOWN)

# Lowest score of each condition; an assumption, the score itself is beside it everywhere.
GOOD_FROM: Final = 90.0
WATCH_FROM: Final = 70.0

SEVERITIES: Final = {
    "minor": Mark("minor", SKY, "circle", "●", "blue"),
    "major": Mark("major", ORANGE, "triangle-down", "▼", "orange"),
    "critical": Mark("critical", VERMILION, "diamond", "◆", "red"),
}


def condition(score: float | None) -> Mark:
    """Condition of a health score, 0 to 100."""
    if score is None:
        return NOTHING_KNOWN
    if score >= GOOD_FROM:
        return GOOD
    return WATCH if score >= WATCH_FROM else POOR
