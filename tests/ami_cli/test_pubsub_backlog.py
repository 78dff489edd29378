"""`ami pubsub` leaves word of what waits."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from google.api_core.client_options import ClientOptions
from google.cloud import pubsub_v1

from ami_contract.lake import DataDir
from ami_store.backlog import Backlog, read_backlog

TOPIC = "projects/ami-local/topics/ami-meter-data"
SUBSCRIPTION = "projects/ami-local/subscriptions/ami-meter-data-sub"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(data: DataDir, messages: int) -> Backlog:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = read_backlog(data, SUBSCRIPTION)
        if found and found.messages == messages:
            return found
        time.sleep(0.1)
    pytest.fail(f"no word of {messages} messages: {read_backlog(data, SUBSCRIPTION)}")


def test_a_message_that_nobody_pulls_is_told_with_its_age(
    data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    code = (
        "import local_pubsub.server as s, sys; s.TELL_EVERY_S = 0.2;"
        "s.serve_forever.__kwdefaults__['tell_every_s'] = 0.2;"
        "from ami_cli.serve import run_pubsub; from ami_contract.settings import load_settings;"
        "run_pubsub(load_settings(), int(sys.argv[1]))"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", code, str(port)],
        env={**os.environ, "AMI_DATA_DIR": str(data.root)},
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(data, 0)
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{port}")
        pubsub_v1.PublisherClient(client_options=ClientOptions()).publish(TOPIC, b"{}").result(30)
        told = wait_for(data, 1)
        assert told.leased == 0
        assert abs(datetime.now(UTC) - told.at) < timedelta(seconds=30)
        assert told.oldest_age_s < 30
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
