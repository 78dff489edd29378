"""`ami dagster PART`: reads settings, becomes one running part of Dagster."""

from __future__ import annotations

import os

from ami_cli.instance import prepare_instance
from ami_cli.platform_run import CODE_SERVER, DAEMON, WEBSERVER, dagster_command, environment
from ami_contract.errors import SettingsError
from ami_contract.settings import Settings


def run_dagster(settings: Settings, part: str) -> None:
    """Become Dagster's code server, webserver or daemon; raises SettingsError for other parts."""
    parts = (CODE_SERVER, WEBSERVER, DAEMON)
    if part not in parts:
        raise SettingsError(f"{part!r} is no part of Dagster; take one of {', '.join(parts)}")
    prepare_instance(settings)
    command = dagster_command(part, settings)
    os.execve(command[0], command, {**os.environ, **environment(settings)})  # noqa: S606
