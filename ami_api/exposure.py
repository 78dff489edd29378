"""Who reaches the service: reads settings, gives whether it may be started so."""

from __future__ import annotations

import ipaddress
from typing import Final

from ami_contract.errors import SettingsError
from ami_contract.settings import Settings

_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  (told apart, not bound)


def check_exposure(settings: Settings) -> None:
    """Raise SettingsError when others than this machine could ask without saying who they are."""
    if is_loopback(settings.api_host) or settings.api_key_list or settings.api_google_audience:
        return
    raise SettingsError(
        f"AMI_API_HOST={settings.api_host} opens the API to other machines: set AMI_API_KEYS, or "
        "AMI_API_GOOGLE_AUDIENCE and AMI_API_GOOGLE_EMAILS"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def local_url(settings: Settings) -> str:
    """Address of the service from this machine."""
    host = _ANY.get(settings.api_host, settings.api_host)
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"http://{host}:{settings.api_port}"
