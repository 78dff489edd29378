"""The README's commands and the tutorial's local part, executed in order in a clean copy.

The copy is a clone of HEAD with a data folder of its own. What is not done as a reader would:

- `make setup` is left out; `.venv` of the copy is the environment that runs this test, whose
  packages are the lock's, with the copy's code in front.
- Ports are free ones, so that a platform of the developer's does no harm: settings `AMI_*_PORT`,
  and 8000 in the tutorial's addresses.
- Of the README, `make demo`, `make smoke` and `ami demo --check` are only resolved to what they
  would start: `tests/ami_cli/test_demo_check.py` and `test_smoke.py` run these. The other commands
  run on the tutorial's data, and `readings.csv.gz` is an hour of the house in `tests/data`, moved
  to the day of the tutorial.
"""

from __future__ import annotations

import csv
import gzip
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_pages import ROOT, Block, blocks, split_commands

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PORTS = ("AMI_PUBSUB_PORT", "AMI_API_PORT", "AMI_DAGSTER_PORT", "AMI_CODE_SERVER_PORT")
PORTS += ("AMI_DASHBOARD_PORT",)
INSTALLING = "make setup"
RESOLVED_ONLY = {
    "make demo": ["make", "--dry-run", "demo"],
    "make smoke": ["make", "--dry-run", "smoke"],
    "ami demo --check": ["ami", "demo", "--help"],
}
END = "::the block has ended with::"


class Shell:
    """One bash that keeps its variables and background jobs, as a reader's terminal does."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str) -> tuple[int, str]:
        """Exit status and output of a command."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{command}\necho; echo '{END}' $?\n")
        self._bash.stdin.flush()
        said: list[str] = []
        for line in self._bash.stdout:
            if line.startswith(END):
                return int(line.removeprefix(END)), "".join(said)
            said.append(line)
        raise AssertionError(f"the shell ended in {command!r}: {''.join(said)}")

    def close(self) -> None:
        """End the shell and the jobs it still has."""
        if self._bash.poll() is None:
            self.run("kill $(jobs -p) 2>/dev/null; wait")
        assert self._bash.stdin is not None
        self._bash.stdin.close()
        self._bash.wait(timeout=30)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("walk") / "copy"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return dict(zip(PORTS, free_ports(len(PORTS)), strict=True))


@pytest.fixture(scope="module")
def shell(copy: Path, ports: dict[str, int]) -> Iterator[Shell]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AMI_", "PUBSUB_", "DAGSTER_", "PYTHONDONT"))
    }
    environment = kept | {name: str(port) for name, port in ports.items()}
    opened = Shell(copy, environment | {"PYTHONPATH": str(copy), "COLUMNS": "200"})
    yield opened
    opened.close()


def local_part(copy: Path) -> list[Block]:
    text = (copy / "docs/tutorial.md").read_text(encoding="utf-8")
    return blocks(text.partition("## On Google Cloud")[0])


def unlike(expected: str, output: str) -> list[str]:
    """Lines of `expected` that `output` does not have in that order; `…` is anything."""
    said = [" ".join(line.split()) for line in output.splitlines()]
    missing, at = [], 0
    for line in expected.splitlines():
        parts = [re.escape(part) for part in " ".join(line.split()).split("…")]
        pattern = re.compile(".*".join(parts))
        if line.strip() == "…":
            continue
        found = next((i for i in range(at, len(said)) if pattern.fullmatch(said[i])), None)
        if found is None:
            missing.append(line)
        else:
            at = found + 1
    return missing


def test_the_tutorial_shows_what_its_commands_say(
    copy: Path, shell: Shell, ports: dict[str, int]
) -> None:
    output, wrong = "", {}
    for block in local_part(copy):
        if block.language == "sh":
            output = ""
            for command in split_commands(block.text):
                if command == INSTALLING:
                    continue
                asked = command.replace(":8000/", f":{ports['AMI_API_PORT']}/")
                status, said = shell.run(asked)
                assert status == 0, f"{command}: {said}"
                output += said
        elif missing := unlike(block.text, output):
            wrong[f"tutorial.md:{block.line}"] = (missing, output)

    assert wrong == {}


def test_the_readme_s_commands_work_on_its_data(copy: Path, shell: Shell) -> None:
    house = ROOT / "tests/data/household_power_7d.csv.gz"
    with gzip.open(house, "rt", newline="") as source:
        lines = list(csv.reader(source))[:61]
    with gzip.open(copy / "readings.csv.gz", "wt", newline="") as target:
        # 18:00 of the zone is the hour after the tutorial's.
        for i, line in enumerate(lines):
            line[0] = f"2026-03-02 19:{i - 1:02}:00" if i else line[0]
            csv.writer(target).writerow(line)
    (copy / "map.yaml").write_text((ROOT / "tests/data/household_power.map.yaml").read_text())
    text = (copy / "README.md").read_text(encoding="utf-8")
    asked = [c for block in blocks(text) for c in split_commands(block.text)]

    for line in asked:
        command = line.partition("   ")[0].strip()
        status, said = shell.run(" ".join(RESOLVED_ONLY.get(command, [command])))
        assert status == 0, f"{command}: {said}"
        if command.startswith("ami sql"):
            assert re.search(r"voltage_events|meter-\d+|pole-\d+", said), said

    _, said = shell.run("ami sql \"select count(*) from readings where pole_id = 'sceaux'\"")
    assert re.search(r"^ *60$", said, re.MULTILINE)


def test_lines_are_compared_loosely_but_in_order() -> None:
    said = "one   1\n\nbuilt 1 hours in 7 s; published /x/serve.duckdb\nlast\n"

    assert unlike("one 1\n…\nbuilt 1 hours in … s; published …\nlast", said) == []
    assert unlike("last\none 1", said) == ["one 1"]
    assert unlike("built 2 hours in … s; published …", said) != []
