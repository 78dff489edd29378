"""Images of the services alone: what the Dockerfile says is installed, started and stopped.

There need not be a container engine: the instructions of a stage are carried out in a folder that
stands for the image's root, by the lines of the Dockerfile itself, and its command is run as
another user than root.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
from packaging.requirements import Requirement
from small_warehouse import publish_small
from waiting import wait_until

from ami_cli.processes import free_port
from ami_contract.lake import DataDir

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "infra" / "Dockerfile"
KEY = "a-key-of-16-letters"
USER_ID = 10001
UV = Path(sys.executable).with_name("uv")
IN_IMAGE = ("/opt/ami", "/var/lib/ami")
Instruction = tuple[str, str]


def stages() -> dict[str, tuple[str, list[Instruction]]]:
    """Of every stage what it is made from, and its instructions."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    found: dict[str, tuple[str, list[Instruction]]] = {}
    name = ""
    for line in text.replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = (base, [])
        elif word and name:
            found[name][1].append((word, rest.strip()))
    return found


def instructions(stage: str) -> list[Instruction]:
    """Those of a stage after those of the stages that it is made from."""
    base, own = stages()[stage]
    return [*(instructions(base) if base in stages() else ()), *own]


def last(stage: str, word: str) -> str:
    """What the last instruction of a kind says."""
    return [rest for each, rest in instructions(stage) if each == word][-1]


def python_for_others() -> str:
    """A Python that the image's user may run here; skips where there is none."""
    for candidate in (sys.executable, shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")):
        try:
            enough = "import sys; sys.exit(sys.version_info < (3, 11))"
            subprocess.run([candidate or "", "-c", enough], check=True, cwd="/", **as_user())
        except (OSError, subprocess.CalledProcessError):
            continue
        assert candidate
        return candidate
    pytest.skip("no Python 3.11 or newer that a user without rights may run")


def as_user() -> dict[str, object]:
    """Arguments that start a process as the image's user, where we may."""
    if os.getuid() != 0:
        return {}
    return {"user": USER_ID, "group": USER_ID, "extra_groups": []}


@dataclass
class Image:
    """A folder that stands for an image's root, and what it is started with."""

    root: Path
    stage: str
    environment: dict[str, str] = field(default_factory=dict)

    def here(self, text: str) -> str:
        """A text of the Dockerfile with the image's folders as they lie here."""
        for folder in IN_IMAGE:
            text = re.sub(rf"(?<![\w.]){folder}(?![\w-])", f"{self.root}{folder}", text)
        return text

    def run(self, line: str, cwd: Path) -> None:
        """Carry out a RUN, apart from what the machine has already: uv and users."""
        for command in line.split(" && "):
            words = command.split()
            if words[0] in ("pip", "useradd"):
                continue
            if words[:2] == ["uv", "venv"]:
                words[2:2] = ["--python", python_for_others()]
            # With the cache it takes seconds.
            words = [self.here(word) for word in words if word != "--no-cache"]
            program = str(UV) if words[0] == "uv" else shutil.which(words[0], path=self.path)
            places = words[1:] if words[0] == "uv" else globbed(words[1:])
            done = subprocess.run(
                [program or words[0], *places],
                cwd=cwd,
                env={**os.environ, "VIRTUAL_ENV": f"{self.root}/opt/ami/.venv"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr

    @property
    def path(self) -> str:
        """Where programs lie."""
        return f"{self.root}/opt/ami/.venv/bin:/usr/local/bin:/usr/bin:/bin"

    @property
    def folder(self) -> Path:
        """Where its command starts."""
        return Path(self.here(last(self.stage, "WORKDIR")))

    def packages(self) -> dict[str, str]:
        """Versions of what is installed, by name."""
        told = subprocess.run(
            [UV, "pip", "list", "--quiet", "--format", "json", "--python", self.venv],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return {each["name"]: each["version"] for each in json.loads(told.stdout)}

    @property
    def venv(self) -> Path:
        """Its environment."""
        return self.root / "opt/ami/.venv"

    def size_bytes(self) -> int:
        """Bytes of all that is installed."""
        files = (path for path in (self.root / "opt/ami").rglob("*") if path.is_file())
        return sum(path.stat().st_size for path in files)

    @contextmanager
    def started(self, **settings: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
        """Its command, on loopback, with its log; killed at the end if it still runs."""
        program, *rest = json.loads(last(self.stage, "CMD"))
        assert "0.0.0.0" in rest[-1]
        rest[-1] = rest[-1].replace("0.0.0.0", "127.0.0.1")
        log = self.root / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [program, *rest],
                cwd=self.folder,
                env={**self.environment, **settings},
                stdout=output,
                stderr=output,
                **as_user(),
            )
        try:
            yield process, log
        finally:
            process.kill()
            process.wait(10)


def globbed(words: list[str]) -> list[str]:
    """The words with the names that a pattern stands for."""
    return [
        str(name)
        for word in words
        for name in (sorted(Path("/").glob(word[1:])) if "*" in word else [word])
    ]


def build(stage: str, root: Path) -> Image:
    """Carry out a stage and those that it copies from."""
    image = Image(root, stage)
    (root / "var/lib/ami").mkdir(parents=True)
    for word, rest in [*instructions(f"build-{stage}"), *instructions(stage)]:
        cwd = root / "opt/ami"
        cwd.mkdir(parents=True, exist_ok=True)
        if word == "RUN":
            image.run(rest, cwd)
        elif word == "COPY" and rest.startswith("--from="):
            # Both stages lie in the same folder here.
            _, source, target = rest.split()
            assert source == target
            assert (root / source[1:]).exists()
        elif word == "COPY":
            *sources, target = rest.split()
            place = Path(image.here(target)) if target.startswith("/") else cwd / target
            for source in sources:
                copy(ROOT / source, place)
        elif word == "ENV":
            for name, value in re.findall(r"(\w+)=(\S+)", rest):
                image.environment[name] = image.here(value).replace("$PATH", "/usr/bin:/bin")
    for path in [root, *root.rglob("var/**/*"), root / "var/lib/ami"]:
        path.chmod(0o755)
    return image


def copy(source: Path, place: Path) -> None:
    """Copy a file into a folder, or what a folder holds, as COPY does."""
    if source.is_dir():
        shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, place)


@contextmanager
def folder_for_others() -> Iterator[Path]:
    """A folder that the image's user may enter, as pytest's own are not."""
    with TemporaryDirectory(prefix="ami-image-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def api() -> Iterator[Image]:
    """The API's image over the small warehouse."""
    with folder_for_others() as folder:
        image = build("api", folder)
        publish_small(DataDir(folder / "var/lib/ami"))
        give_to_user(folder / "var/lib/ami")
        yield image


def give_to_user(folder: Path) -> None:
    """Make the folder and all in it the image's user's."""
    if os.getuid() == 0:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, USER_ID, USER_ID)


def pins() -> dict[str, str]:
    """Versions of the lock, by name."""
    return dict(
        re.findall(r"^([\w.-]+)==([^\s;\\]+)", (ROOT / "requirements.lock").read_text(), re.M)
    )


def ends_within(process: subprocess.Popen[bytes], seconds: float) -> int:
    """Status of a process that is asked to end."""
    process.send_signal(signal.SIGTERM)
    return process.wait(seconds)


def test_the_api_image_holds_what_the_lock_says_and_nothing_of_the_other_hops(api: Image) -> None:
    found = api.packages()

    assert {name: pins()[name] for name in found} == found
    others = (
        "apache-beam",
        "dagster",
        "dbt",
        "streamlit",
        "pandas",
        "altair",
        "google-cloud-pubsub",
    )
    assert [name for name in found if name.startswith(others)] == []
    assert {path.name for path in (api.root / "opt/ami").glob("ami_*")} == {
        "ami_api", "ami_cli", "ami_contract", "ami_store",
    }  # fmt: skip
    assert api.size_bytes() < 450e6


def test_the_api_image_answers_as_another_user_and_ends_when_it_is_told(api: Image) -> None:
    port = str(free_port())
    asked = {"PORT": port, "AMI_API_KEYS": KEY}
    with (
        api.started(**asked) as (process, log),
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
        ExitStack() as idle,
    ):
        wait_until(lambda: is_answered(client, process), 30, log.read_text)
        # One connection is kept alive after its answer, another never asks: both may idle for
        # minutes, and neither may hold up the end.
        idle.enter_context(socket.create_connection(("127.0.0.1", int(port))))

        ready = client.get("/ready")
        assert ready.status_code == httpx.codes.OK, ready.text
        assert ready.json()["newest_event_ts"] == "2026-03-03T23:59:59Z"
        assert client.get("/poles").status_code == httpx.codes.UNAUTHORIZED
        assert client.get("/poles", headers={"X-API-Key": KEY}).status_code == httpx.codes.OK
        assert healthy(api, port)
        assert user_of(process) == (USER_ID if os.getuid() == 0 else os.getuid())
        assert ends_within(process, 5) in (0, -signal.SIGTERM)
    assert "Traceback" not in log.read_text()
    assert not healthy(api, port)


def is_answered(client: httpx.Client, process: subprocess.Popen[bytes]) -> bool:
    """Whether it is alive and says so."""
    assert process.poll() is None
    try:
        return client.get("/health").status_code == httpx.codes.OK
    except httpx.ConnectError:
        return False


def user_of(process: subprocess.Popen[bytes]) -> int:
    """Who runs it."""
    return Path(f"/proc/{process.pid}").stat().st_uid


def healthy(image: Image, port: str) -> bool:
    """What the image's health check says."""
    check = json.loads(last(image.stage, "HEALTHCHECK").partition(" CMD ")[2])
    environment = {**image.environment, "PORT": port}
    program = shutil.which(check[0], path=image.path)
    assert program
    ran = subprocess.run(
        [program, *check[1:]], env=environment, capture_output=True, check=False, **as_user()
    )
    return ran.returncode == 0


def test_the_api_image_does_not_open_to_the_network_without_a_key(api: Image) -> None:
    program, *rest = json.loads(last("api", "CMD"))
    told = subprocess.run(
        [program, *rest], env={**api.environment, "PORT": str(free_port())}, cwd=api.folder,
        capture_output=True, text=True, timeout=30, check=False, **as_user(),
    )  # fmt: skip

    assert told.returncode == 2
    assert "AMI_API_KEYS" in told.stderr


def test_the_dashboard_image_shows_pages_and_ends_when_it_is_told() -> None:
    with folder_for_others() as folder:
        image = build("dashboard", folder)
        give_to_user(folder / "var/lib/ami")
        found = image.packages()
        assert {name: pins()[name] for name in found} == found
        others = ("apache-beam", "dagster", "dbt", "duckdb", "google", "fastapi")
        assert [name for name in found if name.startswith(others)] == []
        assert image.size_bytes() < 600e6
        port = str(free_port())
        asked = {"PORT": port, "AMI_API_URL": "http://127.0.0.1:9", "AMI_API_KEY": KEY}
        with image.started(**asked) as (process, log):
            wait_until(
                lambda: process.poll() is not None or healthy(image, port), 60, log.read_text
            )
            assert process.poll() is None, log.read_text()
            assert user_of(process) == (USER_ID if os.getuid() == 0 else os.getuid())
            assert ends_within(process, 8) in (0, -signal.SIGTERM)
        assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("stage", ["api", "dashboard"])
def test_services_run_without_rights_on_the_port_that_they_are_given(stage: str) -> None:
    assert last(stage, "USER") == f"{USER_ID}:{USER_ID}"
    assert "exec " in last(stage, "CMD")
    assert '"$PORT"' in json.loads(last(stage, "CMD"))[-1]
    assert f"--require-hashes --constraint requirements.lock --group {stage}" in " ".join(
        last(f"build-{stage}", "RUN").split()
    )


def test_what_images_install_are_dependencies_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    known = {Requirement(each).name for each in project["project"]["dependencies"]}
    for image in ("api", "dashboard"):
        wanted = {Requirement(each).name for each in project["dependency-groups"][image]}
        assert wanted <= known


def test_the_base_image_and_uv_are_pinned() -> None:
    text = DOCKERFILE.read_text()
    (base,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", text, re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", base)
    wanted = re.findall(r"^UV_VERSION := (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert re.findall(r"uv==(\S+)", text) == wanted
