"""Who may come in and how often, what a request may weigh, and what is never said or logged."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from google.auth import crypt, jwt
from pydantic import SecretStr
from starlette.testclient import TestClient

from ami_api.exposure import check_exposure, local_url
from ami_api.guard import Buckets
from ami_api.identity import Doorkeeper, KeptCerts
from ami_contract.errors import SettingsError
from ami_contract.lake import DataDir
from ami_contract.settings import Settings, load_settings

Serve = Callable[..., TestClient]
KEY = "correct-horse-battery"
OTHER = "staple-0123456789abcdef"


@pytest.fixture
def locked(small: DataDir, serve: Serve) -> TestClient:
    """The API behind two keys."""
    return serve(small, api_keys=f"{KEY},{OTHER}")


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": KEY},
        {"X-API-Key": OTHER},
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer {OTHER}"},
    ],
)
def test_a_key_opens_every_address(locked: TestClient, headers: dict[str, str]) -> None:
    for address in ("/poles", "/metrics", "/openapi.json"):
        assert locked.get(address, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": KEY[:-1]},
        {"X-API-Key": f"{KEY},{OTHER}"},
        {"Authorization": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": "Bearer a.b.c"},
    ],
)
def test_without_a_key_only_the_probes_answer(locked: TestClient, headers: dict[str, str]) -> None:
    for address in ("/poles", "/metrics", "/openapi.json", "/nothing"):
        answer = locked.get(address, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"
    assert locked.get("/health").status_code == 200
    assert locked.get("/ready").status_code == 200


def test_keys_are_neither_logged_nor_shown(
    locked: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        locked.get("/poles", headers={"X-API-Key": KEY})
        locked.get("/poles", headers={"X-API-Key": KEY[:-1]})
    settings = Settings(api_keys=SecretStr(KEY))

    assert "GET '/poles' 200" in caplog.text
    assert KEY[:-1] not in caplog.text
    assert KEY not in repr(settings)
    with pytest.raises(SettingsError) as refused:
        load_settings(api_keys="short-secret")
    assert "short-secret" not in str(refused.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "ami.example.org"])
def test_nothing_is_served_to_others_without_identity(host: str) -> None:
    with pytest.raises(SettingsError, match="AMI_API_KEYS"):
        check_exposure(Settings(api_host=host))
    check_exposure(Settings(api_host=host, api_keys=SecretStr(KEY)))
    check_exposure(
        Settings(api_host=host, api_google_audience="ami", api_google_emails="a@example.org")
    )


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("localhost", "http://localhost:8000"),
    ],
)
def test_loopback_needs_no_identity_and_is_asked_where_it_listens(host: str, url: str) -> None:
    assert local_url(Settings(api_host=host)) == url
    if host != "0.0.0.0":
        check_exposure(Settings(api_host=host))


def test_an_audience_without_addresses_is_refused() -> None:
    with pytest.raises(SettingsError, match="AMI_API_GOOGLE_EMAILS"):
        load_settings(api_google_audience="ami")


@pytest.fixture(scope="module")
def google() -> SimpleNamespace:
    """Stands for Google: signs tokens, and answers for its certificates."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    certificates = {"k1": certificate.public_bytes(serialization.Encoding.PEM).decode()}
    fetched: list[str] = []

    def fetch(url: str, **_options: Any) -> SimpleNamespace:
        fetched.append(url)
        return SimpleNamespace(status=200, data=json.dumps(certificates).encode())

    def token(**claims: Any) -> str:
        now_s = int(time.time())
        usual = {
            "iss": "https://accounts.google.com",
            "aud": "ami",
            "email": "ops@example.org",
            "email_verified": True,
            "iat": now_s,
            "exp": now_s + 600,
        }
        signer = crypt.RSASigner.from_string(private, "k1")
        return jwt.encode(signer, {**usual, **claims}).decode()

    return SimpleNamespace(fetch=fetch, token=token, fetched=fetched)


def _door(google: SimpleNamespace) -> Doorkeeper:
    return Doorkeeper((), "ami", ("ops@example.org",), KeptCerts(google.fetch))


def test_an_identity_that_google_signed_for_the_api_opens_it(
    small: DataDir, serve: Serve, google: SimpleNamespace
) -> None:
    google.fetched.clear()
    client = serve(small, door=_door(google))
    headers = {"Authorization": f"Bearer {google.token()}"}

    for _ in range(3):
        assert client.get("/poles", headers=headers).status_code == 200
    # Certificates are fetched once, verified tokens are remembered.
    assert len(google.fetched) == 1


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another"},
        {"email": "somebody@example.org"},
        {"email_verified": False},
        {"iss": "https://example.org"},
        {"iat": 1_000_000_000, "exp": 1_000_000_600},
    ],
)
def test_other_identities_are_refused(
    small: DataDir, serve: Serve, google: SimpleNamespace, claims: dict[str, Any]
) -> None:
    client = serve(small, door=_door(google))
    headers = {"Authorization": f"Bearer {google.token(**claims)}"}

    assert client.get("/poles", headers=headers).status_code == 401


def test_a_token_that_somebody_changed_is_refused(
    small: DataDir, serve: Serve, google: SimpleNamespace
) -> None:
    client = serve(small, door=_door(google))
    head, body, signature = google.token().split(".")
    foreign = google.token(email="root@example.org").split(".")[1]

    for forged in (f"{head}.{foreign}.{signature}", f"{head}.{body}.", "x.y.z", "..", "é.é.é"):
        answer = client.get("/poles", headers={"Authorization": f"Bearer {forged}".encode()})
        assert answer.status_code == 401


def test_a_verified_token_ends_with_its_time(google: SimpleNamespace) -> None:
    now_s = time.time()
    door = Doorkeeper((), "ami", ("ops@example.org",), google.fetch, lambda: now_s)
    headers = {"authorization": f"Bearer {google.token()}"}
    assert door.verified(headers) == "ops@example.org"
    assert door.known(headers) == "ops@example.org"

    now_s += 601

    assert door.known(headers) is None


def test_a_client_may_ask_so_often_and_waits_then() -> None:
    clock = SimpleNamespace(now_s=100.0)
    buckets = Buckets(per_s=2.0, clock=lambda: clock.now_s)

    assert [buckets.wait_s("a") for _ in range(3)] == [0.0, 0.0, 0.5]
    assert buckets.wait_s("b") == 0.0
    clock.now_s += 0.5
    assert [buckets.wait_s("a") for _ in range(2)] == [0.0, 0.5]
    assert not any(Buckets(per_s=0).wait_s("a") for _ in range(1000))


def test_beyond_the_rate_a_client_is_told_when_to_come_back(small: DataDir, serve: Serve) -> None:
    client = serve(small, api_requests_per_s=1.0)

    assert client.get("/health").status_code == 200
    answer = client.get("/health")

    assert answer.status_code == 429
    assert answer.json()["type"] == "urn:ami:problem:too-many-requests"
    assert answer.headers["retry-after"] == "1"


def test_strangers_share_the_rate_of_their_address(small: DataDir, serve: Serve) -> None:
    client = serve(small, api_keys=KEY, api_requests_per_s=1.0)

    assert client.get("/poles", headers={"X-API-Key": "guess"}).status_code == 401
    assert client.get("/poles", headers={"X-API-Key": "other"}).status_code == 429
    assert client.get("/poles", headers={"X-API-Key": KEY}).status_code == 200


def test_a_body_beyond_the_bound_is_refused_however_it_is_sent(
    small: DataDir, serve: Serve
) -> None:
    client = serve(small, api_max_body_bytes=2048)

    def pieces() -> Iterator[bytes]:
        for _ in range(10):
            yield b" " * 1024

    for content in (b" " * 2049, pieces()):
        answer = client.post(
            "/dr/compute", content=content, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"
    # A client that declares less than it sends, or nonsense, gains nothing.
    answer = client.post("/dr/compute", content=b"{}", headers={"content-length": "-1"})
    assert answer.status_code in (400, 413)


def test_every_answer_carries_the_security_headers(api: TestClient) -> None:
    for address in ("/poles", "/health", "/nothing", "/pole/p9/summary"):
        headers = api.get(address).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "server" not in headers


def test_pages_of_other_origins_are_closed_out_unless_named(small: DataDir, serve: Serve) -> None:
    page = "https://ops.example.org"
    asking = {"Origin": page, "Access-Control-Request-Method": "GET"}
    closed = serve(small)
    named = serve(small, api_cors_origins=page, api_keys=KEY)

    assert "access-control-allow-origin" not in closed.get("/poles", headers=asking).headers
    assert named.options("/poles", headers=asking).headers["access-control-allow-origin"] == page
    other = {**asking, "Origin": "https://evil.example.org"}
    assert "access-control-allow-origin" not in named.options("/poles", headers=other).headers
    # A refusal too can be read by the page.
    assert named.get("/poles", headers=asking).headers["access-control-allow-origin"] == page


def test_metrics_count_by_route_and_not_by_address(api: TestClient) -> None:
    api.get("/pole/p1/summary")
    api.get("/pole/p9/summary")
    api.request("BREW", "/coffee")
    text = api.get("/metrics").text

    assert 'route="/pole/{pole_id}/summary",status="200"' in text
    assert 'route="/pole/{pole_id}/summary",status="404"' in text
    assert "p9" not in text
    assert "BREW" not in text
    assert 'ami_api_statement_seconds_count{statement="pole_summary"}' in text
    assert "ami_api_snapshot_published_timestamp_seconds" in text
