"""Commands in the Markdown files exist, with the options they are given."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
from markdown_pages import ROOT, commands, pages, read

from ami_cli.main import app

COMMAND = typer.main.get_command(app)
TARGETS = set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
_ASSIGNMENT = re.compile(r"^\w+=\S*$")
# dbt's own arguments follow.
_FOREIGN = {"dbt"}


def complaint(line: str) -> str | None:
    """What is wrong with a line of the shell, as far as it calls ami, make or a script of ours."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        return str(error)
    while words and _ASSIGNMENT.match(words[0]):
        words.pop(0)
    if not words:
        return None
    name = words[0].removeprefix(".venv/bin/")
    if name == "make":
        wrong = [word for word in words[1:] if word[0] not in "-&>" and word not in TARGETS]
        return f"make has no target {wrong}" if wrong else None
    if name == "ami":
        return _ami_complaint(words[1:])
    if name.startswith(("infra/", "tests/", "benchmarks/")) and not (ROOT / name).exists():
        return f"{name} does not exist"
    return None


def _ami_complaint(words: list[str]) -> str | None:
    command: Any = COMMAND
    known = {"--help"}
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name = words.pop(0)
        found = command.commands.get(name)
        if found is None:
            return f"{command.name} has no command {name!r}"
        command = found
        if name in _FOREIGN:
            return None
    known |= {option for param in command.params for option in param.opts}
    given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    return f"{command.name} has no option {sorted(given - known)}" if given - known else None


@pytest.mark.parametrize("page", pages(), ids=str)
def test_commands_exist_with_their_options(page: Path) -> None:
    wrong = {line: said for line in commands(read(page)) if (said := complaint(line))}

    assert wrong == {}


@pytest.mark.parametrize("page", pages(), ids=str)
def test_commands_in_the_text_exist(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)
    named = re.findall(r"`((?:ami|make) [^`…]*)`", prose)
    wrong = {line: said for line in named if (said := complaint(line))}

    assert wrong == {}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("make demo     # a comment", None),
        ("make nothing", "make has no target"),
        ("ami sql 'select 1' --format csv", None),
        ("ami deadletter ls --limit 3", None),
        ("ami deadletter list", "has no command"),
        ("AMI_DATA_DIR=house ami build --frm x", "has no option"),
        ("infra/scripts/11_nothing.sh --project P", "does not exist"),
    ],
)
def test_a_wrong_command_is_told(line: str, said: str | None) -> None:
    found = complaint(line)

    assert said in found if said and found else found == said
