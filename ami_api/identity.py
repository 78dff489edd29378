"""Who asks: reads the headers of a request, gives an identity or none.

A key of the settings, as `X-API-Key` or bearer token, or an identity token signed by Google. Keys
and tokens are compared and verified here and never logged.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from google.auth.exceptions import GoogleAuthError
from google.oauth2 import id_token

from ami_contract.settings import Settings

_ISSUERS: Final = frozenset({"accounts.google.com", "https://accounts.google.com"})
_MOST_TOKENS: Final = 1000
_CERTS_S: Final = 3600.0


class KeptCerts:
    """Google's certificates, fetched once an hour however many tokens there are to verify.

    Args:
        fetch: gets an address, as `google.auth.transport.requests.Request` does.
        clock: seconds that only go forward.
    """

    def __init__(
        self, fetch: Callable[..., Any], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._kept: dict[str, tuple[float, Any]] = {}

    def __call__(self, url: str, method: str = "GET", **options: Any) -> Any:
        """The answer of `url`, kept when it is one."""
        known = self._kept.get(url)
        if known and self._clock() - known[0] < _CERTS_S:
            return known[1]
        answer = self._fetch(url, method=method, timeout=10, **options)
        if answer.status == 200:
            self._kept[url] = (self._clock(), answer)
        return answer


class Doorkeeper:
    """Knows who may use the API.

    Args:
        keys: keys that open it.
        audience: audience of Google's tokens; empty: none are taken.
        emails: who may come with such a token, in lower case.
        fetch: gets Google's certificates.
        now_s: Unix time.
    """

    def __init__(
        self,
        keys: Sequence[str],
        audience: str,
        emails: Sequence[str],
        fetch: Callable[..., Any],
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._keys = [_digest(key) for key in keys]
        self._audience = audience
        self._emails = frozenset(emails)
        self._fetch = fetch
        self._now_s = now_s
        # Digest of a verified token: who, and until when.
        self._verified: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    @property
    def is_open(self) -> bool:
        """Whether anybody may come."""
        return not self._keys and not self._audience

    def known(self, headers: Mapping[str, str]) -> str | None:
        """Identity of the sender as far as memory tells; None asks for `verified`."""
        credential = credential_of(headers)
        if not credential:
            return None
        digest = _digest(credential)
        # Every key is compared, so that the time tells nothing.
        matches = [hmac.compare_digest(digest, key) for key in self._keys]
        if any(matches):
            return f"key-{digest.hex()[:12]}"
        found = self._verified.get(digest)
        return found[0] if found and self._now_s() < found[1] else None

    def may_be_token(self, headers: Mapping[str, str]) -> bool:
        """Whether the sender has something that only Google's certificates can judge."""
        return bool(self._audience) and credential_of(headers).count(".") == 2

    def verified(self, headers: Mapping[str, str]) -> str | None:
        """Identity that Google vouches for, None when it does not. May fetch certificates."""
        token = credential_of(headers)
        try:
            claims = id_token.verify_token(
                token,
                self._fetch,
                audience=self._audience,
                certs_url="https://www.googleapis.com/oauth2/v1/certs",
            )
        except (GoogleAuthError, ValueError):
            return None
        email = str(claims.get("email", "")).lower()
        if claims.get("iss") not in _ISSUERS or not claims.get("email_verified"):
            return None
        if email not in self._emails:
            return None
        self._verified[_digest(token)] = (email, float(claims["exp"]))
        while len(self._verified) > _MOST_TOKENS:
            self._verified.popitem(last=False)
        return email


def google_fetch() -> Callable[..., Any]:
    """Gets addresses over HTTPS, for Google's certificates."""
    from google.auth.transport.requests import Request

    return KeptCerts(Request())


def doorkeeper(settings: Settings) -> Doorkeeper:
    """The doorkeeper of these settings."""
    return Doorkeeper(
        settings.api_key_list,
        settings.api_google_audience,
        settings.api_google_email_list,
        google_fetch(),
    )


def credential_of(headers: Mapping[str, str]) -> str:
    """Key or token that a request carries; empty without one."""
    key = headers.get("x-api-key", "")
    if key:
        return key.strip()
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
