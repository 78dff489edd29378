"""Ways to people: reads settings and notices, gives log lines, HTTP posts, Slack and e-mail.

No message of these channels holds an address, token or password: whoever knows the address of a
webhook can post to it.
"""

from __future__ import annotations

import http.client
import json
import logging
import smtplib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Final
from urllib.parse import urlsplit

from ami_contract.errors import SettingsError
from ami_contract.settings import Settings
from ami_dagster.alerts.book import Channel, DeliveryError, Notice

_TRIES: Final = 3
_BACKOFF_S: Final = 0.5
_MOST_JSON_SUBJECTS: Final = 200
_TOO_MANY_REQUESTS: Final = 429


@dataclass(frozen=True)
class LogChannel:
    """Alerts as warnings and recoveries as information of a logger."""

    logger: logging.Logger
    name: str = "log"

    def send(self, notice: Notice) -> None:
        """Log it."""
        level = logging.WARNING if notice.event == "alert" else logging.INFO
        self.logger.log(level, "%s: %s", notice.kind, notice.text)


@dataclass(frozen=True)
class WebhookChannel:
    """A JSON object POSTed to an address; any answer from 200 to 299 means that it was taken.

    Attributes:
        url: http or https; may hold a secret.
        timeout_s: of a try.
        sleep: waits between tries, in seconds.
    """

    url: str = field(repr=False)
    timeout_s: float = 5.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    name: str = "webhook"

    def send(self, notice: Notice) -> None:
        """POST it, three times if need be; raises DeliveryError."""
        body = json.dumps(as_json(notice)).encode()
        problem = ""
        for attempt in range(_TRIES):
            if attempt:
                self.sleep(_BACKOFF_S * 2 ** (attempt - 1))
            try:
                status = self._post(body, notice.id)
            except (OSError, http.client.HTTPException, ValueError) as error:
                # The error's own text may hold the address.
                problem = type(error).__name__
                continue
            if 200 <= status < 300:
                return
            problem = f"status {status}"
            if status < 500 and status != _TOO_MANY_REQUESTS:
                break
        raise DeliveryError(
            f"the webhook at {urlsplit(self.url).hostname} did not take the notice {notice.id} "
            f"({problem}); check AMI_ALERT_WEBHOOK_URL and the receiver"
        )

    def _post(self, body: bytes, notice_id: str) -> int:
        parts = urlsplit(self.url)
        assert parts.hostname
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(
                parts.hostname,
                parts.port,
                timeout=self.timeout_s,
                context=ssl.create_default_context(),
            )
        else:
            connection = http.client.HTTPConnection(
                parts.hostname, parts.port, timeout=self.timeout_s
            )
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Content-Type": "application/json", "Idempotency-Key": notice_id}
        try:
            connection.request("POST", target, body, headers)
            return connection.getresponse().status
        finally:
            connection.close()


@dataclass(frozen=True)
class SlackChannel:
    """A message in a Slack channel, by Dagster's own Slack client."""

    token: str = field(repr=False)
    channel: str
    timeout_s: float = 5.0
    base_url: str = "https://slack.com/api/"
    name: str = "slack"

    def send(self, notice: Notice) -> None:
        """Post it; raises DeliveryError."""
        from dagster_slack import SlackResource
        from slack_sdk.errors import SlackApiError

        client = SlackResource(token=self.token).get_client()
        client.base_url, client.timeout = self.base_url, self.timeout_s
        mark = ":rotating_light:" if notice.event == "alert" else ":white_check_mark:"
        try:
            client.chat_postMessage(channel=self.channel, text=f"{mark} {notice.text}")
        except SlackApiError as error:
            status = error.response.status_code
            problem = error.response["error"] if status == 200 else f"status {status}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            problem = type(error).__name__
        else:
            return
        raise DeliveryError(
            f"Slack did not take the notice {notice.id} for {self.channel} ({problem}); check "
            "AMI_ALERT_SLACK_TOKEN and AMI_ALERT_SLACK_CHANNEL"
        )


@dataclass(frozen=True)
class EmailChannel:
    """A mail by SMTP; the settings mean what those of Dagster's e-mail sensor mean."""

    host: str
    port: int
    security: str
    sender: str
    recipients: tuple[str, ...]
    user: str = ""
    password: str = field(default="", repr=False)
    timeout_s: float = 5.0
    name: str = "email"

    def send(self, notice: Notice) -> None:
        """Mail it to all recipients at once; raises DeliveryError."""
        mail = EmailMessage()
        mail["From"], mail["To"] = self.sender, ", ".join(self.recipients)
        mail["Subject"] = f"AMI: {notice.title}"
        mail["Message-ID"] = f"<{notice.id}@ami>"
        mail.set_content(notice.text)
        try:
            with self._connect() as server:
                if self.password:
                    server.login(self.user or self.sender, self.password)
                server.send_message(mail)
        except (OSError, smtplib.SMTPException) as error:
            raise DeliveryError(
                f"the mail server {self.host}:{self.port} did not take the notice {notice.id} "
                f"({type(error).__name__}); check the settings AMI_ALERT_EMAIL_…"
            ) from error

    def _connect(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        if self.security == "ssl":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout_s, context=context)
        server = smtplib.SMTP(self.host, self.port, timeout=self.timeout_s)
        if self.security == "starttls":
            server.starttls(context=context)
        return server


def as_json(notice: Notice) -> dict[str, object]:
    """A notice as webhooks receive it; `subjects` are the first ones if there are very many."""
    return {
        "id": notice.id,
        "kind": notice.kind,
        "event": notice.event,
        "at": notice.at.isoformat(),
        "since": notice.since.isoformat(),
        "title": notice.title,
        "text": notice.text,
        "subjects": dict(list(notice.subjects.items())[:_MOST_JSON_SUBJECTS]),
        "subject_count": len(notice.subjects),
    }


def configured_channels(settings: Settings) -> list[Channel]:
    """The channels of the settings but the log, which is always there.

    Raises:
        SettingsError: Slack is wanted and its client is not installed.
    """
    made: dict[str, Callable[[], Channel]] = {
        "webhook": lambda: WebhookChannel(
            settings.alert_webhook_url.get_secret_value(), settings.alert_timeout_s
        ),
        "slack": lambda: _slack(settings),
        "email": lambda: EmailChannel(
            host=settings.alert_email_host,
            port=settings.alert_email_port,
            security=settings.alert_email_security,
            sender=settings.alert_email_from,
            recipients=settings.alert_recipients,
            user=settings.alert_email_user,
            password=settings.alert_email_password.get_secret_value(),
            timeout_s=settings.alert_timeout_s,
        ),
    }
    return [made[name]() for name in settings.alert_channel_names if name != "log"]


def _slack(settings: Settings) -> SlackChannel:
    try:
        import dagster_slack  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            "AMI_ALERT_CHANNELS names slack, but its client is not installed; run "
            "`.venv/bin/uv pip install --constraint requirements.lock --editable '.[alerts]'` in "
            "the project's folder"
        ) from error
    return SlackChannel(
        settings.alert_slack_token.get_secret_value(),
        settings.alert_slack_channel,
        settings.alert_timeout_s,
    )
