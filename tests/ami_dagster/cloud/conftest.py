"""The profile gcp without Google: its settings and definitions, stand-ins for its services."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from google_stand_ins import ClockedCloud, Dataflow, Web, key_file, serving, serving_web

from ami_contract.settings import Settings
from ami_dagster.build import build_definitions
from ami_dagster.cloud import RawTable
from ami_store.bigquery import dbt_variables


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        profile="gcp",
        project_id="grid",
        data_dir=tmp_path_factory.mktemp("gcp"),
        archive_bucket="gs://grid-archive",
        dataflow_temp_location="gs://grid-artifacts/temp",
        bigquery_first_day="2026-02-20",  # type: ignore[arg-type]
        retention_runs_days=30,
    )


@pytest.fixture(scope="session")
def definitions(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    """Loaded without credentials, a home folder or a network."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("GOOGLE_")]:
            patch.delenv(name)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        for name, value in dbt_variables(settings).items():
            patch.setenv(name, value)

        def refuse(*arguments: object) -> None:
            raise AssertionError(f"definitions load without a network: {arguments}")

        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        return build_definitions(settings)


@pytest.fixture
def dataflow() -> Dataflow:
    return Dataflow()


@pytest.fixture
def cloud(dataflow: Dataflow) -> Iterator[ClockedCloud]:
    with serving(dataflow) as endpoint:
        ClockedCloud.waited_s.clear()
        yield ClockedCloud(
            project_id="grid",
            region="us-central1",
            job_name="ami-ingest",
            subscription="ami-meter-data-sub",
            endpoint=endpoint,
        )


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """BigQuery and Cloud Storage, and the credentials for them."""
    web = Web()
    with serving_web(web) as address:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", address)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file(tmp_path, address)))
        yield web


@pytest.fixture
def raw_table() -> RawTable:
    return RawTable(
        project_id="grid",
        location="US",
        dataset="smart_grid_analytics",
        maximum_bytes_billed=100 * 1024**3,
    )


@pytest.fixture
def no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a key file nor gcloud's, and no metadata server to ask for one."""
    for name in [name for name in os.environ if name.startswith(("GOOGLE_", "CLOUDSDK_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance
