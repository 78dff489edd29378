"""Machine and commit: reads this machine and made-up checkouts, checks what is told of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks import surroundings


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("one")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    assert surroundings.commit(checkout, ()) == (git(checkout, "rev-parse", "HEAD"), False)


def test_a_changed_file_makes_it_dirty_but_the_figures_themselves_do_not(checkout: Path) -> None:
    own = checkout / "results.json"
    own.write_text("{}")
    assert surroundings.commit(checkout, ()) == (git(checkout, "rev-parse", "HEAD"), True)
    assert surroundings.commit(checkout, (own,))[1] is False
    (checkout / "code.py").write_text("two")
    assert surroundings.commit(checkout, (own,))[1] is True


def test_without_git_the_commit_is_unknown(tmp_path: Path) -> None:
    assert surroundings.commit(tmp_path, ()) == ("unknown", True)


def test_the_machine_is_described(tmp_path: Path) -> None:
    found = surroundings.machine(tmp_path / "not" / "there")
    assert found["cpu"]
    assert 1 <= found["cores"] <= 4096
    assert found["memory_gib"] > 0
    assert found["filesystem"] != "unknown"


@pytest.mark.parametrize(("key", "same"), [("cpu", False), ("cores", False), ("os", True)])
def test_a_machine_is_known_by_cpu_cores_and_memory(tmp_path: Path, key: str, same: bool) -> None:
    one = surroundings.machine(tmp_path)
    assert surroundings.is_same_machine(one, one | {key: "other"}) is same
