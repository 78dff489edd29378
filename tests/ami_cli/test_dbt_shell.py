"""`ami dbt` finds the warehouse that is meant and says in one line what is missing for it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from ami_cli.dbt_shell import check_dataset, target_of
from ami_contract.errors import SettingsError, WarehouseError
from ami_contract.settings import load_settings


def ami(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `ami` without Google credentials."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("GOOGLE_")}
    return subprocess.run(
        [sys.executable, "-m", "ami_cli.main", *arguments],
        env={
            **found,
            "HOME": str(folder),
            "AMI_DATA_DIR": str(folder / "data"),
            # No look for a metadata server: this is no Google machine.
            "NO_GCE_CHECK": "true",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


class Answers(BaseHTTPRequestHandler):
    """Answers every request with `status`."""

    status = 404

    def do_GET(self) -> None:
        """Answer as BigQuery does."""
        body = b'{"error": {"code": %d, "message": "said the server"}}' % self.status
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


@pytest.fixture
def client() -> Iterator[bigquery.Client]:
    """Client of a server on this machine that answers as `Answers` says."""
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield bigquery.Client(
        project="grid",
        credentials=AnonymousCredentials(),
        client_options=ClientOptions(api_endpoint=f"http://127.0.0.1:{server.server_port}"),
    )
    server.shutdown()
    server.server_close()
    thread.join()


def test_without_project_or_credentials_bigquery_is_refused_in_one_line(tmp_path: Path) -> None:
    without_project = ami("dbt", "build", "--target", "bigquery", folder=tmp_path)
    without_credentials = ami(
        "dbt", "docs", "generate", folder=tmp_path, AMI_PROFILE="gcp", AMI_PROJECT_ID="grid"
    )

    for done, says in ((without_project, "AMI_PROJECT_ID"), (without_credentials, "gcloud auth")):
        assert done.returncode == 2
        assert says in done.stderr
        assert len((done.stdout + done.stderr).splitlines()) == 1


def test_a_missing_dataset_and_a_refusal_are_told_apart(
    client: bigquery.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(project_id="grid", bigquery_dataset="readings")

    with pytest.raises(SettingsError, match=r"bq mk --location=US --dataset grid:readings"):
        check_dataset(client, settings)

    monkeypatch.setattr(Answers, "status", 403)
    with pytest.raises(WarehouseError, match="said the server") as refusal:
        check_dataset(client, settings)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("profile", "arguments", "target"),
    [
        ("local", ["build"], "duckdb"),
        ("gcp", ["build"], "bigquery"),
        ("gcp", ["build", "--target", "duckdb"], "duckdb"),
        ("local", ["test", "-t", "bigquery"], "bigquery"),
        ("local", ["docs", "generate", "--target=bigquery"], "bigquery"),
    ],
)
def test_the_target_is_the_one_named_or_that_of_the_profile(
    profile: str, arguments: list[str], target: str
) -> None:
    assert target_of(load_settings(profile=profile), arguments) == target


def test_dbt_runs_on_the_data_folder_and_hands_its_status_on(tmp_path: Path) -> None:
    listed = ami("dbt", "ls", "--select", "stg_meters", "--quiet", folder=tmp_path)
    refused = ami("dbt", "ls", "--select", "stg_meters", "--no-such-option", folder=tmp_path)

    assert listed.returncode == 0, listed.stdout
    assert "ami.staging.stg_meters" in listed.stdout
    assert refused.returncode == 2
