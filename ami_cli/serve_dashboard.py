"""`ami dashboard`: reads settings, becomes the Streamlit server of the pages."""

from __future__ import annotations

import os

from ami_cli.asking import base_url
from ami_cli.processes import check_port
from ami_contract.settings import Settings
from ami_dashboard.server import command


def run_dashboard(settings: Settings, port: int, host: str = "127.0.0.1") -> None:
    """Serve until SIGTERM or Ctrl-C; this process becomes the server.

    Args:
        settings: name the API.
        port: port to listen on.
        host: address to listen on; the dashboard asks nobody who is there.

    Raises:
        SettingsError: the port is taken.
    """
    check_port(port, "AMI_DASHBOARD_PORT", "dashboard")
    environment = {**os.environ, "AMI_API_URL": base_url(settings)}
    if key := settings.api_key.get_secret_value() or next(iter(settings.api_key_list), ""):
        environment["AMI_API_KEY"] = key
    program, *rest = command(port, host)
    os.execve(program, [program, *rest], environment)  # noqa: S606  (our own command line)
