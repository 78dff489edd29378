"""Reads a story; gives the platform it is played on: running, attacked, mended and settled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import grpc
from google.api_core import exceptions
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from ami_cli.platform_run import (
    environment,
    start_api,
    start_dashboard,
    with_free_ports,
)
from ami_cli.processes import Supervisor, accepts, ami_command, free_port
from ami_cli.subscription import ensure_subscription
from ami_contract.errors import AmiError
from ami_contract.lake import DataDir
from ami_contract.settings import Settings
from ami_store.quarantine import quarantined
from tests.chaos.compaction import compact_pending
from tests.chaos.disk import Disk, LimitedDisk, MountedDisk
from tests.chaos.network import Network
from tests.chaos.story import Story

DISK_MB: Final = 1500
PUBSUB, INGEST, COMPACTION, API, DASHBOARD = "pubsub", "ingest", "compaction", "api", "dashboard"
SERVICES: Final = (PUBSUB, INGEST, COMPACTION, API, DASHBOARD)

# A minute of the supervisor's patience passes in a second.
_HURRY: Final = 60.0
_BUILD_EVERY_S: Final = 30.0
_SETTLE_S: Final = 300.0


class Stage:
    """The platform under test.

    Args:
        folder: holds all that it writes.
        story: what is sent.
        is_isolated: whether this process has namespaces of its own.
        has_dashboard: whether the dashboard runs too.
    """

    def __init__(
        self, folder: Path, story: Story, *, is_isolated: bool, has_dashboard: bool
    ) -> None:
        self.folder = folder
        self.story = story
        self.truth = folder / "truth"
        self.beat = folder / "beat"
        self.clock_file = folder / "clock"
        self.clock_file.write_text("0")
        self.beat.write_bytes(b"")
        self.disk: Disk
        if is_isolated:
            self.disk = MountedDisk(folder / "disk", DISK_MB)
        else:
            self.disk = LimitedDisk(folder / "data", self._writers)
        self.data = DataDir(self.disk.root)
        self.settings = with_free_ports(Settings(_env_file=None), self.data.root).model_copy(
            update={
                "ingest_metrics_port": free_port(),
                # Many small micro-batches, so that faults fall between and within them.
                "ingest_max_messages": 100,
                # Whatever still reads a replaced file shall meet its end.
                "removal_grace_s": 5.0,
            }
        )
        self.network = Network(self.settings.pubsub_port, is_linked=is_isolated)
        self._services_wanted = [s for s in SERVICES if has_dashboard or s != DASHBOARD]
        self._configs = story.write_configs(folder)
        variables = environment(self.settings) | {
            "AMI_INGEST_MAX_MESSAGES": str(self.settings.ingest_max_messages),
            "AMI_REMOVAL_GRACE_S": str(self.settings.removal_grace_s),
        }
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AMI_")},
            **variables,
        }
        logs = folder / "logs"
        self._services = Supervisor(logs, variables, clock=lambda: time.monotonic() * _HURRY)
        self._jobs = Supervisor(logs, variables)
        self._gateways: dict[str, subprocess.Popen[bytes]] = {}
        self._speed = f"{story.speed:g}"
        self._build: subprocess.Popen[bytes] | None = None
        self._build_due_s = time.monotonic() + _BUILD_EVERY_S
        self.builds = self.failed_builds = 0
        self._landed: set[str] = set()
        self._letters: dict[Path, int] = {}
        self.letter_ids: dict[str, set[str]] = {}
        self.said: list[str] = []
        self.poisoned: set[str] = set()

    @property
    def services(self) -> list[str]:
        """Names of all that runs and is started again when it ends."""
        return list(self._services_wanted)

    @property
    def gateways(self) -> list[str]:
        """Poles whose gateway has not sent everything yet."""
        return list(self._gateways)

    @property
    def ports(self) -> dict[str, int]:
        """Ports that something listens on, by name."""
        found = {
            PUBSUB: self.settings.pubsub_port,
            API: self.settings.api_port,
            DASHBOARD: self.settings.dashboard_port,
            "metrics": self.settings.ingest_metrics_port,
        }
        if DASHBOARD not in self._services_wanted:
            del found[DASHBOARD]
        return found

    def start(self) -> None:
        """Start everything and wait until it works."""
        self._start_service(PUBSUB, "pubsub")
        self._services.wait_until(lambda: accepts(self.settings.pubsub_port), "Pub/Sub", 60)
        ensure_subscription(self.settings)
        self._retain_acknowledged()
        self._start_service(
            INGEST, "ingest", "--metrics-port", str(self.settings.ingest_metrics_port)
        )
        self._start_service(COMPACTION, "compact-forever", str(self.data.root), str(self.beat))
        start_api(self._services, self.settings)
        if DASHBOARD in self._services_wanted:
            start_dashboard(self._services)
        for pole_id in self._configs:
            self._start_gateway(pole_id)
        self._services.wait_until(lambda: self.landed() > 0, "the first readings", 120)

    def _start_service(self, name: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "tests.chaos.clocked", str(self.clock_file), *arguments]
        self._services.start(name, command, restarts=True)

    def _start_gateway(self, pole_id: str) -> None:
        arguments = self.story.arguments(self._configs[pole_id], self.truth, self._speed)
        command = [
            *self.network.inside,
            *("env", f"AMI_PUBSUB_EMULATOR_HOST={self.network.address}"),
            *ami_command(*arguments, "--spool", str(self.folder / "spool")),
        ]
        self._gateways[pole_id] = self._jobs.start(f"gateway-{pole_id}", command)

    def tend(self) -> None:
        """Start again what has ended; to be called several times a second."""
        self._services.tend(self.said.append)
        for pole_id, process in list(self._gateways.items()):
            if process.poll() is not None:
                self._jobs.stop(f"gateway-{pole_id}")
                del self._gateways[pole_id]
                if process.returncode != 0:
                    self._start_gateway(pole_id)
        self._tend_build()

    def _tend_build(self) -> None:
        if self._build is not None and self._build.poll() is not None:
            self.failed_builds += self._build.returncode != 0
            self._jobs.stop("build")
            self._build = None
            self._build_due_s = time.monotonic() + _BUILD_EVERY_S
        if self._build is None and time.monotonic() > self._build_due_s:
            self.builds += 1
            self._build = self._jobs.start("build", ami_command("build"))

    def pid(self, name: str) -> int | None:
        """Process id of a service, a gateway (its pole) or `build`; None while it does not run."""
        jobs = {**self._gateways, **({"build": self._build} if self._build else {})}
        if name in jobs:
            return jobs[name].pid if jobs[name].poll() is None else None
        return self._services.pid(name)

    def _writers(self) -> list[int]:
        names = (PUBSUB, INGEST, COMPACTION, "build")
        return [pid for name in names if (pid := self.pid(name)) is not None]

    def set_clock(self, offset_s: float) -> None:
        """Let the clocks of Pub/Sub, ingest and compaction jump to so much beside the right one."""
        temporary = self.clock_file.with_suffix(".new")
        temporary.write_text(repr(offset_s))
        temporary.replace(self.clock_file)

    # What shows that it works.

    def landed(self) -> int:
        """Landed files so far, those that have gone since too."""
        self._landed.update(path.name for path in self.data.landing.rglob("[!.]*.parquet"))
        return len(self._landed)

    def stores_again(self) -> Callable[[], bool]:
        """Whether something has landed since this call."""
        before = self.landed()
        return lambda: self.landed() > before

    def compacts_again(self) -> Callable[[], bool]:
        """Whether a whole round of compaction has begun and ended since this call."""
        before = self.beat.stat().st_size
        return lambda: self.beat.stat().st_size > before + 1

    def sends_again(self) -> Callable[[], bool]:
        """Whether gateways have sent something since this call."""
        before = self.network.relay.passed
        return lambda: self.network.relay.passed > before + 4096

    def works_again(self, name: str, instead_of: int | None) -> Callable[[], bool]:
        """Whether another process does the work of a service, a gateway or `build`."""
        if name in self._configs:
            sends = self.sends_again()
            return lambda: (
                name not in self._gateways or (self.pid(name) not in (None, instead_of) and sends())
            )
        shows: dict[str, Callable[[], bool]] = {
            PUBSUB: self.stores_again(),
            INGEST: self.stores_again(),
            COMPACTION: self.compacts_again(),
            API: lambda: accepts(self.settings.api_port),
            DASHBOARD: lambda: accepts(self.settings.dashboard_port),
            "build": lambda: True,
        }
        shown = shows[name]
        return lambda: self.pid(name) not in (None, instead_of) and shown()

    def answers(self, name: str) -> bool:
        """Whether who keeps to the protocol of a port is answered."""
        port = self.ports[name]
        if name == PUBSUB:
            try:
                with self.publisher() as client:
                    topic = f"projects/{self.settings.project_id}/topics/"
                    client.get_topic(
                        topic=topic + self.settings.pubsub_topic, timeout=5, retry=None
                    )
            except exceptions.GoogleAPICallError:
                return False
            return True
        path = {API: "/health", DASHBOARD: "/_stcore/health", "metrics": "/metrics"}[name]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    # What others do to its messages.

    def publisher(self) -> PublisherClient:
        """A client of the embedded server, without retries."""
        channel = grpc.insecure_channel(self.settings.emulator_host)
        return PublisherClient(transport=PublisherGrpcTransport(channel=channel))

    def subscriber(self) -> SubscriberClient:
        """A client of the embedded server, without retries."""
        channel = grpc.insecure_channel(self.settings.emulator_host)
        return SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))

    @property
    def topic(self) -> str:
        """Full name of the topic."""
        return f"projects/{self.settings.project_id}/topics/{self.settings.pubsub_topic}"

    def _retain_acknowledged(self) -> None:
        """So that a seek brings back what was acknowledged."""
        name = self.settings.subscription_path
        with self.subscriber() as client:
            client.update_subscription(
                request={
                    "subscription": {"name": name, "retain_acked_messages": True},
                    "update_mask": FieldMask(paths=["retain_acked_messages"]),
                }
            )

    def dead_letters(self) -> dict[str, set[str]]:
        """Ids of the dead letters so far, by the `batch_id` of their message."""
        for path in self.data.deadletter.glob("segments/*/*/[!.]*.jsonl"):
            if path in self._letters:
                continue
            lines = path.read_bytes().splitlines()
            self._letters[path] = len(lines)
            for line in lines:
                letter: dict[str, Any] = json.loads(line)
                name = letter["attributes"].get("batch_id", "")
                self.letter_ids.setdefault(name, set()).add(letter["dead_letter_id"])
        return self.letter_ids

    # The end.

    def settle(self, tell: Callable[[str], None]) -> list[str]:
        """Let everything arrive, mend what needs a person and build; gives what did not work."""
        self.set_clock(0.0)
        self._speed = "max"
        for pole_id in self.gateways:
            kill(self.pid(pole_id))
        deadline = time.monotonic() + _SETTLE_S
        while self._gateways:
            self.tend()
            if time.monotonic() > deadline:
                return [f"the gateways did not end within {_SETTLE_S:.0f} s: {self.gateways}"]
            time.sleep(0.1)
        tell("all is sent")
        self._jobs.stop("build")
        self._build = None
        for name in (INGEST, COMPACTION, PUBSUB):
            self._services.stop(name)
        # A server that starts again has forgotten what a killed ingest had leased.
        self._start_service(PUBSUB, "pubsub")
        self._services.wait_until(lambda: accepts(self.settings.pubsub_port), "Pub/Sub", 60)
        problems = self._command("ingest", "--drain", "3")
        tell("all is stored")
        try:
            compact_pending(self.data)
        except AmiError as error:
            problems.append(f"compaction: {error}")
        remedies = sorted({found.remedy for found in quarantined(self.data)})
        tell(f"{len(remedies)} hours are replayed because landed files of theirs were damaged")
        for remedy in remedies:
            problems += self._command(*remedy.split()[1:])
        problems += self._command("build")
        tell("all is built")
        return problems

    def _command(self, *arguments: str) -> list[str]:
        """Run a command of `ami` to its end; gives what is wrong with that."""
        log = self.folder / "logs" / f"settle-{arguments[0]}.log"
        with log.open("ab") as output:
            status = subprocess.run(
                ami_command(*arguments),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
                timeout=600,
            ).returncode
        if status == 0:
            return []
        said = log.read_text(errors="replace").strip().splitlines()[-1:]
        return [f"ami {' '.join(arguments)} ended with status {status}: {said} (log: {log})"]

    def close(self) -> None:
        """Stop everything, mend the network and the disk."""
        with suppress(OSError, subprocess.CalledProcessError):
            self.disk.free()
        self._jobs.stop_all()
        self._services.stop_all()
        self.network.close()


def kill(pid: int | None) -> None:
    """kill -9, of a process that may have ended."""
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
