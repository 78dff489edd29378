"""Channels against real servers on loopback: what they send, and what they say when refused."""

from __future__ import annotations

import base64
import importlib.util
import json
import logging
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr
from webhook_server import SECRET, posts

from ami_contract.errors import SettingsError
from ami_contract.settings import Settings, load_settings
from ami_dagster.alerts.book import DeliveryError, Notice
from ami_dagster.alerts.channels import (
    EmailChannel,
    LogChannel,
    SlackChannel,
    WebhookChannel,
    configured_channels,
)
from ami_dagster.alerts.kinds import AlertKind

AT = datetime(2026, 3, 1, 15, 0, tzinfo=UTC)
ALERT = Notice(AlertKind.POLE_SILENT, "alert", AT, AT, {"p1": "all meters (2), silent for 11 min"})


def webhook(url: str, waits: list[float] | None = None, timeout_s: float = 5) -> WebhookChannel:
    return WebhookChannel(url, timeout_s, sleep=(waits if waits is not None else []).append)


def test_a_webhook_gets_the_notice_as_json() -> None:
    with posts(204) as server:
        webhook(server.url).send(ALERT)
    [(path, headers, body)] = server.received
    assert path == f"/hooks/{SECRET}?key=also-{SECRET}"
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == ALERT.id
    assert json.loads(body) == {
        "id": ALERT.id,
        "kind": "pole_silent",
        "event": "alert",
        "at": "2026-03-01T15:00:00+00:00",
        "since": "2026-03-01T15:00:00+00:00",
        "title": "Poles are silent while others speak",
        "text": "Poles are silent while others speak\np1: all meters (2), silent for 11 min",
        "subjects": {"p1": "all meters (2), silent for 11 min"},
        "subject_count": 1,
    }


def test_a_receiver_that_stumbles_twice_gets_it_the_third_time() -> None:
    waits: list[float] = []
    with posts(503, 429, 200) as server:
        webhook(server.url, waits).send(ALERT)
    assert len(server.received) == 3
    assert waits == [0.5, 1.0]


@pytest.mark.parametrize(("status", "tries"), [(500, 3), (429, 3), (404, 1), (302, 1)])
def test_a_receiver_that_refuses_is_an_error_without_the_address(status: int, tries: int) -> None:
    with posts(status) as server, pytest.raises(DeliveryError) as error:
        webhook(server.url).send(ALERT)
    assert len(server.received) == tries
    assert f"status {status}" in str(error.value)
    assert SECRET not in str(error.value)


def test_a_receiver_that_hangs_is_left_after_the_timeout(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with posts(200, wait_s=30) as server, pytest.raises(DeliveryError, match="TimeoutError") as got:
        webhook(server.url, timeout_s=0.05).send(ALERT)
    assert SECRET not in str(got.value)
    assert SECRET not in caplog.text


def test_nobody_at_the_address_is_an_error_without_the_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/{SECRET}"
    channel = webhook(url)
    with pytest.raises(DeliveryError, match="ConnectionRefusedError") as error:
        channel.send(ALERT)
    assert SECRET not in f"{error.value} {channel!r} {caplog.text}"


def test_the_log_gets_alerts_as_warnings_and_recoveries_as_information(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    channel = LogChannel(logging.getLogger("test.alerts"))
    channel.send(ALERT)
    channel.send(Notice(AlertKind.POLE_SILENT, "recovery", AT, AT, {"p1": "was so"}))
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "pole_silent: Poles are silent" in caplog.text
    assert "Over: poles are silent" in caplog.text


class _Mail(socketserver.StreamRequestHandler):
    """As much of SMTP as one mail needs (RFC 5321)."""

    server: MailServer

    def handle(self) -> None:
        self._say("220 test")
        while line := self.rfile.readline().decode().strip():
            verb = line.split(" ")[0].upper()
            self.server.lines.append(line)
            if verb == "EHLO":
                self._say("250-test", "250 AUTH PLAIN")
            elif verb == "AUTH":
                self._say("235 in")
            elif verb == "DATA":
                self._say("354 go on")
                while (text := self.rfile.readline().decode().rstrip()) != ".":
                    self.server.mail.append(text)
                self._say("250 taken" if self.server.takes else "554 no")
            elif verb == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 ok")

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


class MailServer(socketserver.ThreadingTCPServer):
    """An SMTP server that keeps what it is told."""

    def __init__(self, *, takes: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), _Mail)
        self.takes = takes
        self.lines: list[str] = []
        self.mail: list[str] = []


@contextmanager
def mail_server(*, takes: bool = True) -> Iterator[MailServer]:
    server = MailServer(takes=takes)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def email(server: MailServer, security: str = "none", password: str = "") -> EmailChannel:
    return EmailChannel(
        host="127.0.0.1",
        port=server.server_address[1],
        security=security,
        sender="ami@example.org",
        recipients=("a@example.org", "b@example.org"),
        password=password,
    )


def test_a_mail_goes_to_all_recipients() -> None:
    with mail_server() as server:
        email(server, password=SECRET).send(ALERT)
    assert [line for line in server.lines if line.startswith("rcpt")] == [
        "rcpt TO:<a@example.org>",
        "rcpt TO:<b@example.org>",
    ]
    [login] = [line for line in server.lines if line.startswith("AUTH PLAIN")]
    assert base64.b64decode(login.split()[-1]) == f"\0ami@example.org\0{SECRET}".encode()
    assert "Subject: AMI: Poles are silent while others speak" in server.mail
    assert f"Message-ID: <{ALERT.id}@ami>" in server.mail
    assert "p1: all meters (2), silent for 11 min" in server.mail


def test_a_mail_that_is_refused_is_an_error() -> None:
    with mail_server(takes=False) as server, pytest.raises(DeliveryError, match="SMTPDataError"):
        email(server).send(ALERT)


def test_a_mail_is_not_sent_in_the_clear_when_starttls_is_wanted() -> None:
    with mail_server() as server, pytest.raises(DeliveryError, match="SMTPNotSupportedError"):
        email(server, security="starttls", password=SECRET).send(ALERT)
    assert server.mail == []


has_slack = pytest.mark.skipif(
    importlib.util.find_spec("dagster_slack") is None, reason="the extra `alerts` is not installed"
)


@has_slack
def test_slack_gets_a_message_in_its_channel() -> None:
    with posts(200, answer=b'{"ok": true}') as server:
        base = f"http://127.0.0.1:{server.server_address[1]}/api/"
        SlackChannel(SECRET, "#grid", base_url=base).send(ALERT)
    [(path, headers, body)] = server.received
    assert path == "/api/chat.postMessage"
    assert headers["Authorization"] == f"Bearer {SECRET}"
    assert b"grid" in body
    assert b"p1" in body


@has_slack
@pytest.mark.parametrize(
    ("status", "answer", "problem"),
    [
        (200, b'{"ok": false, "error": "channel_not_found"}', "channel_not_found"),
        (503, b"busy", "status 503"),
    ],
)
def test_slack_that_refuses_is_an_error_with_its_reason(
    status: int, answer: bytes, problem: str
) -> None:
    with posts(status, answer=answer) as server:
        base = f"http://127.0.0.1:{server.server_address[1]}/api/"
        channel = SlackChannel(SECRET, "#grid", base_url=base)
        with pytest.raises(DeliveryError) as error:
            channel.send(ALERT)
    assert f"({problem})" in str(error.value)
    assert SECRET not in str(error.value)


def test_channels_follow_the_settings() -> None:
    settings = Settings(
        alert_channels="log, webhook,email",
        alert_webhook_url=SecretStr("https://example.org/x"),
        alert_email_host="mail.example.org",
        alert_email_from="ami@example.org",
        alert_email_to="a@example.org, b@example.org",
    )
    hook, mail = configured_channels(settings)
    assert hook == WebhookChannel("https://example.org/x", 5.0)
    assert isinstance(mail, EmailChannel)
    assert (mail.port, mail.security) == (465, "ssl")
    assert mail.recipients == ("a@example.org", "b@example.org")
    assert configured_channels(Settings()) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"alert_channels": "pager"}, "pager: no alert channel; there are log, webhook"),
        ({"alert_channels": "webhook"}, "webhook, which needs AMI_ALERT_WEBHOOK_URL"),
        ({"alert_channels": "email"}, "email, which needs AMI_ALERT_EMAIL_HOST"),
        ({"alert_channels": "slack", "alert_slack_token": SECRET}, "needs AMI_ALERT_SLACK_CHANNEL"),
        ({"alert_webhook_url": f"ftp://{SECRET}"}, "AMI_ALERT_WEBHOOK_URL: .*http"),
        ({"silent_warn_s": 7200}, "AMI_SILENT_ERROR_S must not be below"),
    ],
)
def test_settings_of_alerts_are_checked_without_telling_secrets(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        load_settings(**values)
    assert SECRET not in str(error.value)
