"""Imports point one way: the contract knows nobody, the store the contract, no hop another hop."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from syntax import syntax_of

ROOT = Path(__file__).resolve().parent.parent
SHARED = frozenset({"ami_contract", "ami_store"})
HOPS = frozenset(
    {
        "simulator",
        "local_pubsub",
        "beam_jobs",
        "ami_dagster",
        "ami_api",
        "ami_dashboard",
        "ami_cost",
    }
)
OURS = SHARED | HOPS | {"ami_cli"}
ALLOWED = {
    "ami_contract": frozenset({"ami_contract"}),
    "ami_store": SHARED,
    **{hop: SHARED | {hop} for hop in HOPS},
    "ami_cli": OURS,
}
ENTRY_POINTS = frozenset({"ami_cli", "ami_dagster"})
PRESENT = sorted(package for package in ALLOWED if (ROOT / package).is_dir())


def imported_packages(source: str) -> Iterator[str]:
    """Top-level package of every import of a module, also of those inside functions."""
    for node in ast.walk(syntax_of(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def test_imports_inside_functions_are_seen() -> None:
    source = "import a.b\ndef f():\n    from c.d import e\n    from . import g\n"

    assert list(imported_packages(source)) == ["a", "c"]


@pytest.mark.parametrize("package", PRESENT)
def test_package_imports_only_what_stands_before_it(package: str) -> None:
    strays = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / package).rglob("*.py")
        for name in imported_packages(path.read_text(encoding="utf-8"))
        if name in OURS - ALLOWED[package]
    }

    assert not strays


@pytest.mark.parametrize("package", [name for name in PRESENT if name not in ENTRY_POINTS])
def test_library_modules_leave_the_environment_to_the_settings(package: str) -> None:
    readers = {
        str(path.relative_to(ROOT))
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(syntax_of(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"getenv", "environ"}
    }

    assert not readers
