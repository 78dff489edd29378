"""`ami dagster PART`: reads settings, becomes one running part of Dagster."""

from __future__ import annotations

import os

from ami_cli.instance import prepare_instance
from ami_cli.platform_run import CODE_SERVER, DAEMON, WEBSERVER, dagster_command, environment
from ami_contract.errors import SettingsError
from ami_contract.settings import Settings


def run_dagster(settings: Settings, part: str, host: str = "127.0.0.1") -> None:
    """Become Dagster's code server, webserver or daemon.

    Args:
        settings: of the instance.
        part: which of them.
        host: address that the webserver listens on; it asks nobody who is there.

    Raises:
        SettingsError: there is no such part, or another than the webserver shall listen elsewhere.
    """
    parts = (CODE_SERVER, WEBSERVER, DAEMON)
    if part not in parts:
        raise SettingsError(f"{part!r} is no part of Dagster; take one of {', '.join(parts)}")
    if part != WEBSERVER and host != "127.0.0.1":
        raise SettingsError(f"--host is for the {WEBSERVER}; the {part} is reached from here only")
    prepare_instance(settings)
    command = dagster_command(part, settings, host)
    os.execve(command[0], command, {**os.environ, **environment(settings)})  # noqa: S606
