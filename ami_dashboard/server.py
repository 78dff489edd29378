"""How Streamlit is started: takes address and port, gives its command line.

Everything stands in the command line, so that no file in somebody's home decides.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from ami_dashboard import looks

APP: Final = Path(__file__).resolve().parent / "app.py"
HEALTH: Final = "/_stcore/health"


def options(port: int, host: str = "127.0.0.1") -> dict[str, str]:
    """Streamlit's options.

    Args:
        port: port to listen on.
        host: address to listen on.
    """
    return {
        "server.address": host,
        "server.port": str(port),
        "server.headless": "true",
        "server.enableXsrfProtection": "true",
        "server.enableCORS": "true",
        "server.fileWatcherType": "none",
        "server.runOnSave": "false",
        "server.maxUploadSize": "1",
        "browser.gatherUsageStats": "false",
        "browser.serverAddress": host,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "runner.magicEnabled": "false",
        "theme.base": "light",
        "theme.primaryColor": looks.BLUE,
        "theme.textColor": looks.INK,
        "theme.backgroundColor": looks.PAPER,
        "theme.secondaryBackgroundColor": looks.PANEL,
    }


def command(port: int, host: str = "127.0.0.1") -> list[str]:
    """Command line of the server; it needs `AMI_API_URL` where the API is elsewhere."""
    flags = [f"--{name}={value}" for name, value in options(port, host).items()]
    return [sys.executable, "-m", "ami_dashboard", *flags]
