"""Reads the keys of the configuration; writes the table in docs/simulator.md anew.

Run as `python -m simulator.render`; a test compares the page with the code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from simulator.config import describe_config

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "simulator.md"
BEGIN: Final = "<!-- keys -->\n"
END: Final = "<!-- end of keys -->"
_LONGEST_DEFAULT: Final = 100
"""A longer one (a curve of 24 numbers) would hide the rest of the table."""


def config_table() -> str:
    """Every key as a Markdown table."""
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for key, default, meaning in describe_config():
        shown = "" if default in ("", "null") else f"`{default}`"
        if len(default) > _LONGEST_DEFAULT:
            shown = "see `simulator/config.py`"
        lines.append(f"| `{key}` | {shown} | {meaning} |")
    return "\n".join(lines) + "\n"


def rendered(page: str) -> str:
    """`page` with the table between its marks replaced by the code's."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{config_table()}{END}{after}"


def main() -> None:
    """Rewrite the page."""
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
