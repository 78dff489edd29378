"""Messages that the FAQ quotes are those of the code."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest
from markdown_pages import ROOT, read
from syntax import syntax_of

PACKAGES = ("ami_api", "ami_cli", "ami_contract", "ami_dagster", "ami_store")
PACKAGES += ("beam_jobs", "local_pubsub", "simulator")
QUOTED = re.findall(r"^\| `([^`]+)` \|", read(ROOT / "docs/faq.md"), re.MULTILINE)
# What stands in a message for a value.
HOLE = "\0"


@cache
def messages() -> tuple[str, ...]:
    """Every text of the code and errors of scripts; values are holes, implied joins are made."""
    found: list[str] = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(syntax_of(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = [v.value if isinstance(v, ast.Constant) else HOLE for v in node.values]
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    for path in sorted((ROOT / "infra/scripts").glob("*.sh")):
        for text in re.findall(r'\bdie "([^"]*)"', path.read_text(encoding="utf-8")):
            found.append(re.sub(r"\$\{?\w+\}?", HOLE, text))
    return tuple(found)


def is_said(quoted: str) -> bool:
    """Whether one text of the code holds the fixed parts of `quoted` in their order."""
    parts = [re.escape(part.strip()) for part in quoted.split("…") if part.strip()]
    pattern = re.compile(".*?".join(parts), re.DOTALL)
    return any(pattern.search(text) for text in messages())


@pytest.mark.parametrize("quoted", QUOTED)
def test_the_code_says_what_the_faq_quotes(quoted: str) -> None:
    assert is_said(quoted)


def test_messages_are_quoted_and_unknown_ones_are_told() -> None:
    assert len(QUOTED) > 20
    assert not is_said("port … is in use; stop what uses it and pray")
