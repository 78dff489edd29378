"""The production dagster.yaml on a real PostgreSQL, its logs sent to a bucket.

The bucket is a server of this test that keeps what Google's own client uploads.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import pwd
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import google_crc32c
import psutil
import pytest
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration
from dagster_gcp.gcs.compute_log_manager import GCSComputeLogManager

from ami_cli.instance import prepare_instance
from ami_cli.processes import free_port
from ami_cli.reloading import run_workers
from ami_contract.settings import Settings
from ami_dagster.launcher import WatchedRunLauncher

JOBS = """
import time
from dagster import Definitions, in_process_executor, job, op

@op
def speak():
    print("said by a run")

@op
def stay():
    time.sleep(60)

@job(executor_def=in_process_executor)
def short():
    speak()

@job
def endless():
    stay()

defs = Definitions(jobs=[short, endless])
"""


def postgres_programs() -> Path | None:
    """Folder of `initdb` and `postgres`, None when PostgreSQL is not installed."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = str(debian[-1]) if debian else shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def ordinary_user() -> pwd.struct_passwd | None:
    """Whom PostgreSQL runs as when we are root, which it refuses to be."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid())
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    """URL of a database on a PostgreSQL of this test's own, on loopback."""
    programs, user = postgres_programs(), ordinary_user()
    if programs is None or user is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    port = free_port()
    with TemporaryDirectory(prefix="ami-pg-", dir="/tmp") as folder:
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = {"user": user.pw_uid, "group": user.pw_gid} if os.getuid() == 0 else {}
        log = Path(folder, "log")
        with log.open("wb") as output:
            subprocess.run(
                [programs / "initdb", "-D", f"{folder}/data", "-U", "ami", "-A", "trust", "-N"],
                cwd=folder, check=True, stdout=output, stderr=output, extra_groups=[], **as_user,
            )  # fmt: skip
            server = subprocess.Popen(
                [programs / "postgres", "-D", f"{folder}/data", "-p", str(port), "-k", folder,
                 "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"],
                cwd=folder, stdout=output, stderr=output, extra_groups=[], **as_user,
            )  # fmt: skip
        try:
            ready = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-q"]
            wait(lambda: subprocess.run(ready, check=False).returncode == 0, 20)
            yield f"postgresql+psycopg2://ami:unused@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(20)


def wait(ready: Callable[[], object], seconds: float) -> None:
    """Wait for what happens within `seconds`."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Bucket(BaseHTTPRequestHandler):
    """As much of Google Cloud Storage as uploads of logs need."""

    objects: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        """The bucket exists."""
        self._answer(200, {"name": "logs"})

    def do_POST(self) -> None:
        """The start of an upload."""
        name = json.loads(self._body())["name"]
        self._answer(200, {}, f"http://{self.headers['host']}/upload?name={name}")

    def do_PUT(self) -> None:
        """The upload, in one piece."""
        [name] = parse_qs(urlsplit(self.path).query)["name"]
        self.objects[name] = self._body()
        checksum = base64.b64encode(google_crc32c.Checksum(self.objects[name]).digest()).decode()
        self._answer(200, {"name": name, "crc32c": checksum})

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["content-length"] or 0))

    def _answer(self, status: int, content: object, location: str = "") -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        if location:
            self.send_header("location", location)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def bucket_server() -> Iterator[str]:
    """Address of a server that keeps uploads in `Bucket.objects`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def instance(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """An instance made from the production template."""
    settings = Settings(
        data_dir=tmp_path / "data",
        dagster_postgres_url=postgres_url,
        dagster_log_bucket="logs",
        _env_file=None,
    )
    with bucket_server() as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        for name in ("DAGSTER_HOME", "AMI_DATA_DIR", "AMI_DAGSTER_POSTGRES_URL",
                     "AMI_DAGSTER_LOG_BUCKET"):  # fmt: skip
            monkeypatch.setenv(name, "")
        home = prepare_instance(settings)
        with dg.DagsterInstance.from_config(str(home)) as found:
            try:
                yield found
            finally:
                # They would wait for a run that a failed test leaves.
                for process in [each for server in code_servers() for each in family(server)]:
                    process.kill()


def test_runs_are_kept_logs_are_sent_and_a_lost_run_is_noticed(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    assert type(instance.run_storage).__name__ == "PostgresRunStorage"
    assert type(instance.event_log_storage).__name__ == "PostgresEventLogStorage"
    assert type(instance.schedule_storage).__name__ == "PostgresScheduleStorage"
    assert isinstance(instance.compute_log_manager, GCSComputeLogManager)
    assert isinstance(instance.run_launcher, WatchedRunLauncher)
    assert instance.run_retries_enabled
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_runtime_seconds == 7200

    jobs = tmp_path / "jobs.py"
    jobs.write_text(JOBS)
    target = PythonFileTarget(
        python_file=str(jobs), attribute=None, working_directory=None, location_name="jobs"
    )
    with WorkspaceProcessContext(instance, target) as process_context:

        def launch(name: str) -> str:
            workspace = process_context.create_request_context()
            location = workspace.get_code_location("jobs")
            job = location.get_repository("__repository__").get_full_job(name)
            run = create_run_for_test(
                instance,
                name,
                job_snapshot=job.job_snapshot,
                remote_job_origin=job.get_remote_origin(),
                job_code_origin=job.get_python_origin(),
                status=dg.DagsterRunStatus.NOT_STARTED,
            )
            instance.launch_run(run.run_id, workspace)
            return run.run_id

        def status(run_id: str) -> dg.DagsterRunStatus:
            run = instance.get_run_by_id(run_id)
            assert run
            return run.status

        def monitored() -> None:
            assert list(
                execute_run_monitoring_iteration(process_context, logging.getLogger("test"))
            ) == [None]

        short, endless = launch("short"), launch("endless")
        wait(lambda: status(short) == dg.DagsterRunStatus.SUCCESS, 30)
        wait(lambda: status(endless) == dg.DagsterRunStatus.STARTED, 30)
        wait(lambda: any(b"said by a run" in sent for sent in Bucket.objects.values()), 10)
        monitored()
        assert status(endless) == dg.DagsterRunStatus.STARTED

        # Whoever started the worker would notice its end, so it goes first, as in a power cut.
        [server] = code_servers()
        wait(lambda: len(run_workers(server.pid)) == 1, 10)
        [worker] = run_workers(server.pid)
        for process in family(server):
            process.kill()
        wait(lambda: not _works(worker), 10)
        assert status(endless) == dg.DagsterRunStatus.STARTED
        monitored()
        assert status(endless) == dg.DagsterRunStatus.FAILURE
        assert f"process {worker} ended before its run" in str(instance.all_logs(endless))


def code_servers() -> list[psutil.Process]:
    """Code servers that this process started."""
    return [
        child
        for child in psutil.Process().children()
        if "grpc" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE
    ]


def family(server: psutil.Process) -> list[psutil.Process]:
    """A code server and all that it started, runs and their steps too."""
    return [server, *server.children(recursive=True)]


def _works(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
