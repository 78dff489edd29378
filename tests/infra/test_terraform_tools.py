"""Terraform's own tests and checkov, on a copy of infra/: minutes the first time, so they are slow.

Terraform has to find the google provider: it fetches it (`terraform init`), unless
TF_CLI_CONFIG_FILE names a configuration whose `dev_overrides` has one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.tool_environments import environment_of

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
EXAMPLES = sorted((INFRA / "examples").glob("*.tfvars"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of infra/ without its backend, in which Terraform knows the provider."""
    if shutil.which("terraform") is None:
        pytest.skip(
            "terraform is not installed (https://developer.hashicorp.com/terraform/install)"
        )
    root = tmp_path_factory.mktemp("terraform")
    for name in ("ami_contract", "simulator", "infra"):
        shutil.copytree(
            ROOT / name, root / name, ignore=shutil.ignore_patterns("*.py", ".terraform")
        )
    (root / "infra" / "backend.tf").unlink()
    if terraform(root / "infra", "validate").returncode:
        done = terraform(root / "infra", "init", "-backend=false", "-input=false")
        if done.returncode:
            pytest.skip(f"terraform finds no google provider: {done.stdout.strip()[-400:]}")
    return root / "infra"


def terraform(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Terraform, that has ended; what it says is in `stdout`."""
    return subprocess.run(
        ["terraform", *arguments, "-no-color"],
        cwd=folder,
        env=os.environ | {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
    )


def test_files_are_formatted_and_valid(ready: Path) -> None:
    for command in (("fmt", "-check", "-recursive", "-diff"), ("validate",)):
        done = terraform(ready, *command)
        assert done.returncode == 0, done.stdout


def test_plans_are_as_infra_tests_say(ready: Path) -> None:
    done = terraform(ready, "test")
    print(done.stdout.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout
    assert ", 0 failed." in done.stdout


@pytest.mark.parametrize("variables", [None, *EXAMPLES], ids=lambda path: path and path.stem)
def test_checkov_finds_nothing(variables: Path | None) -> None:
    python = environment_of(Path(__file__).with_name("checkov.lock"))
    command = [str(python.with_name("checkov")), "--directory", str(INFRA)]
    command += ["--framework", "terraform", "--skip-download", "--output", "json", "--quiet"]
    if variables:
        command += ["--var-file", str(variables)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    print(found["summary"])
    failed = found["results"]["failed_checks"]
    assert [(one["check_id"], one["resource"]) for one in failed] == []
    assert found["summary"]["parsing_errors"] == 0
    assert found["summary"]["passed"] > 90
