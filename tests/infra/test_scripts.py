"""The scripts of infra/scripts, run with programs on PATH that stand in for Google's and
Terraform's, note how they are called and keep what they made.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from beam_jobs.options import parse

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "infra" / "scripts"
NAMES = (
    "00_prereq", "10_deploy", "20_run_edge", "30_launch_dataflow", "40_validate",
    "50_deploy_api", "60_deploy_dagster", "90_cleanup",
)  # fmt: skip
PROGRAMS = ("gcloud", "bq", "terraform", "curl", "java", "python", "ami", "uv")
CHANGES = (
    "apply", "destroy", "create", "update", "enable", "submit", "add", "load", "drain", "cancel",
    "rm", "cp", "ssh", "beam_jobs.main",
)  # fmt: skip


class Cloud:
    """The stand-ins in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Imported, so that it is compiled once and not for every call.
        here = str(Path(__file__).parent)
        launcher = f"#!{sys.executable} -IS\nimport sys\nsys.path.append({here!r})\n"
        (folder / "fake").write_text(f"{launcher}import fake_cloud\nfake_cloud.main()\n")
        (folder / "fake").chmod(0o755)
        for name in PROGRAMS:
            (folder / name).symlink_to("fake")
        (folder / "python3").symlink_to(sys.executable)

    def run(self, script: str, *options: str, project: str = "demo-project") -> str:
        """What a script says; fails unless it ends well."""
        done = self.started(script, "--project", project, "--yes", *options)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def started(self, script: str, *options: str) -> subprocess.CompletedProcess[str]:
        """A script that has ended, somehow."""
        environment = {
            "PATH": f"{self.folder}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "AMI_BIN": str(self.folder),
            "AMI_POLL_S": "0",
        }
        return subprocess.run(
            ["bash", str(SCRIPTS / f"{script}.sh"), *options],
            env=environment, capture_output=True, text=True, check=False, timeout=60,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def calls(self) -> list[list[str]]:
        """All calls since the last time."""
        place = self.folder / "calls"
        if not place.exists():
            return []
        found = [json.loads(line) for line in place.read_text().splitlines()]
        place.unlink()
        return found

    def changes(self) -> list[str]:
        """Calls since the last time that change something."""
        return [
            " ".join(call)
            for call in self.calls()
            if set(call) & set(CHANGES) and "init" not in call
        ]

    @property
    def world(self) -> dict[str, object]:
        """What was made."""
        found: dict[str, object] = json.loads((self.folder / "world.json").read_text())
        return found

    def become(self, **changes: object) -> None:
        """Change the world behind the scripts' back."""
        (self.folder / "world.json").write_text(json.dumps(self.world | changes))

    def fail(self, start: str) -> None:
        """Let calls that start so fail; empty: none."""
        (self.folder / "fails").write_text(start)


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    """A project in which nothing was made."""
    return Cloud(tmp_path)


@pytest.fixture(scope="module")
def after_deploy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The world in which Terraform has run."""
    cloud = Cloud(tmp_path_factory.mktemp("cloud"))
    cloud.run("00_prereq")
    cloud.run("10_deploy", "--var-file", str(ROOT / "infra" / "examples" / "demo.tfvars"))
    return cloud.world


@pytest.fixture
def deployed(cloud: Cloud, after_deploy: dict[str, object]) -> Cloud:
    """A project in which Terraform has run."""
    (cloud.folder / "world.json").write_text(json.dumps(after_deploy))
    return cloud


def test_scripts_are_those_of_the_plan() -> None:
    # `make lint` has shellcheck look at them.
    assert sorted(path.stem for path in SCRIPTS.glob("[0-9]*.sh")) == sorted(NAMES)
    assert all(os.access(SCRIPTS / f"{name}.sh", os.X_OK) for name in NAMES)
    lint = (ROOT / "Makefile").read_text().split("\nlint:")[1].split("\nformat:")[0]
    assert "shellcheck" in lint
    assert "infra/scripts/*.sh infra/vm/*.sh" in lint


@pytest.mark.parametrize("name", NAMES)
def test_a_script_wants_its_project_and_says_what_it_does(name: str, cloud: Cloud) -> None:
    for wrong in ((), ("--project", "Not A Project"), ("--project",), ("--unknown",)):
        done = cloud.started(name, *wrong)
        assert done.returncode == 2, wrong
        assert done.stderr.startswith("error: ")
    told = cloud.started(name, "--help")
    assert told.returncode == 0
    assert f"infra/scripts/{name}.sh --project PROJECT" in told.stdout
    assert "--dry-run" in told.stdout
    assert cloud.calls() == []


@pytest.mark.parametrize("name", NAMES)
def test_a_dry_run_shows_commands_and_runs_none(name: str, cloud: Cloud) -> None:
    done = cloud.started(name, "--project", "demo-project", "--dry-run")

    assert done.returncode == 0, done.stderr
    assert cloud.calls() == []
    shown = [line for line in done.stderr.splitlines() if line.startswith("+ ")]
    assert shown
    named = [line for line in shown if line.startswith(("+ gcloud", "+ bq", "+ terraform"))]
    assert all(
        re.search(r"demo-project|<\w+>|\+ terraform|gcloud (config|auth)", line.replace("\\", ""))
        for line in named
    )


def test_everything_deployed_is_removed_and_nothing_is_left(cloud: Cloud) -> None:
    cloud.run("00_prereq")
    cloud.run("10_deploy")
    cloud.run("20_run_edge", "--where", "vm")
    cloud.run("30_launch_dataflow")
    cloud.run("50_deploy_api")
    cloud.run("60_deploy_dagster")
    made = list(cloud.world["resources"])  # type: ignore[call-overload]
    assert any("edge" in one for one in made)
    assert any("service.api" in one for one in made)
    assert any("instance.dagster" in one for one in made)

    told = cloud.run("90_cleanup")

    named = told.split("will be removed from demo-project:\n")[1].split("\n+ ")[0]
    assert named.splitlines() == [
        *made,
        "the bucket of the state, gs://ami-tfstate-demo-project",
    ]
    left = {
        name: value
        for name, value in cloud.world.items()
        if value and name not in ("services", "jobs", "orchestrator", "registry_rows")
    }
    assert left == {}
    assert set(cloud.world["jobs"].values()) == {"DRAINED"}  # type: ignore[attr-defined]
    assert "nothing was deployed" in cloud.run("90_cleanup")


def test_cleanup_tells_what_is_left_and_keeps_the_state(deployed: Cloud) -> None:
    deployed.become(forgotten_topics=["ami-meter-data"])

    done = deployed.started("90_cleanup", "--project", "demo-project", "--yes")

    assert done.returncode == 1
    assert "this is left in demo-project" in done.stderr
    assert "ami-meter-data" in done.stderr.splitlines()
    assert deployed.world["buckets"] == ["gs://ami-tfstate-demo-project"]
    deployed.become(forgotten_topics=[])
    assert "nothing is left" in deployed.run("90_cleanup")


def test_without_an_answer_nothing_is_changed(deployed: Cloud) -> None:
    for name in ("10_deploy", "90_cleanup"):
        done = deployed.started(name, "--project", "demo-project")
        assert done.returncode == 1
        assert "--yes" in done.stderr
        assert [call for call in deployed.changes() if "storage cp" not in call] == []


def test_a_second_run_makes_nothing_twice(deployed: Cloud) -> None:
    first = {}
    for name in ("00_prereq", "20_run_edge", "30_launch_dataflow", "50_deploy_api"):
        deployed.run(name)
        first[name] = deployed.changes()
    before = deployed.world
    clean = "-changed-" not in str(before["images"])

    for name in first:
        deployed.run(name)
        again = deployed.changes()
        made = re.compile(r" (create|add|load|submit) ") if clean else re.compile(r" (add|load) ")
        assert not [call for call in again if made.search(call)], name
    assert deployed.world["jobs"] == before["jobs"] == {"job-1": "RUNNING"}
    assert deployed.world["secrets"] == before["secrets"]
    assert deployed.world["buckets"] == before["buckets"]


def test_what_scripts_deployed_stays_when_terraform_runs_again(deployed: Cloud) -> None:
    deployed.run("50_deploy_api")
    image = deployed.world["deployed"]["api_image"]  # type: ignore[index]
    assert re.fullmatch(r"\S+/platform@sha256:1", image)
    deployed.calls()

    deployed.run("10_deploy")

    [plan] = [call for call in deployed.calls() if call[:1] == ["terraform"] and "plan" in call]
    assert f"-var=api_image={image}" in plan
    # The variables of the first deployment, from where every machine finds them.
    assert any(word.startswith("-var-file=") and "deploy.tfvars" in word for word in plan)


def test_the_job_is_launched_with_options_that_the_ingest_knows(deployed: Cloud) -> None:
    deployed.run("30_launch_dataflow")

    [launch] = [call for call in deployed.calls() if "beam_jobs.main" in call]
    parse(launch[3:])
    assert "--job_name=ami-ingest" in launch
    assert launch[-3:] == ["--streaming", "--no_use_public_ips", "--no_create_tables"]
    assert "@sha256:" in launch[launch.index("--sdk_container_image") + 1]


def test_a_job_is_updated_drained_and_launched_again(deployed: Cloud) -> None:
    assert (
        "there is no job"
        in deployed.started(
            "30_launch_dataflow", "--project", "demo-project", "--yes", "--update"
        ).stderr
    )
    deployed.run("30_launch_dataflow")
    deployed.run("30_launch_dataflow", "--update")
    deployed.run("30_launch_dataflow", "--drain")
    assert "nothing to drain" in deployed.run("30_launch_dataflow", "--drain")
    deployed.run("30_launch_dataflow")
    deployed.run("30_launch_dataflow", "--cancel")

    assert deployed.world["jobs"] == {
        "job-1": "UPDATED", "job-2": "DRAINED", "job-3": "CANCELLED",
    }  # fmt: skip


def test_the_registry_is_loaded_once_and_yours_stays(deployed: Cloud) -> None:
    deployed.run("20_run_edge")
    assert [call for call in deployed.changes() if call.startswith("bq load")]
    deployed.run("20_run_edge", "--duration", "5")
    calls = deployed.calls()
    assert not [call for call in calls if call[:2] == ["bq", "load"]]
    assert calls[-1][0] == "ami"
    assert calls[-1][-2:] == ["--duration", "5"]


def test_validation_fails_when_nothing_is_stored(deployed: Cloud) -> None:
    done = deployed.started("40_validate", "--project", "demo-project")
    assert done.returncode == 1
    assert "no reading of the last 15 minutes" in done.stderr
    deployed.become(readings=1200)
    assert "1200 readings" in deployed.run("40_validate", "--minutes", "5")
    assert deployed.changes() == []


def test_a_database_gets_its_password_where_nothing_shows_it(deployed: Cloud) -> None:
    deployed.become(orchestrator="dagster_cloud_run")

    told = deployed.run("60_deploy_dagster")

    [url] = deployed.world["secrets"]["ami-dagster-database-url"]  # type: ignore[index]
    found = re.fullmatch(
        r"postgresql\+psycopg2://ami:(\w{48})@/dagster\?host=/cloudsql/demo-project:r1:ami-dagster",
        url,
    )
    assert found
    assert found[1] not in told
    deployed.calls()
    deployed.run("60_deploy_dagster")
    assert not [call for call in deployed.calls() if "users" in call]
    assert deployed.world["sql_users"] == ["ami"]


@pytest.mark.parametrize(
    ("name", "failing", "never"),
    [
        ("00_prereq", "gcloud services enable", "buckets create"),
        ("10_deploy", "terraform -chdir={infra} validate", "apply"),
        ("10_deploy", "terraform -chdir={infra} plan", "apply"),
        ("20_run_edge", "ami simulate", "bq load"),
        ("30_launch_dataflow", "gcloud builds submit", "beam_jobs.main"),
        ("30_launch_dataflow", "gcloud dataflow jobs list", "beam_jobs.main"),
        ("50_deploy_api", "gcloud secrets versions list", "versions add"),
        ("50_deploy_api", "gcloud builds submit", "apply"),
        ("60_deploy_dagster", "gcloud storage cp", "apply"),
        ("60_deploy_dagster", "terraform -chdir={infra} output -raw artifact", "storage cp"),
        ("90_cleanup", "terraform -chdir={infra} destroy", "storage rm"),
        ("90_cleanup", "terraform -chdir={infra} state list", "destroy"),
    ],
)
def test_a_failing_command_ends_the_script(
    name: str, failing: str, never: str, deployed: Cloud
) -> None:
    if "buckets create" in never:
        deployed.become(buckets=[])
    deployed.fail(failing.format(infra=ROOT / "infra"))

    done = deployed.started(name, "--project", "demo-project", "--yes")

    assert done.returncode != 0
    assert not [call for call in deployed.calls() if never in " ".join(call)]
