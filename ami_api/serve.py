"""The running service: reads settings, gives the API on a port until it is told to stop."""

from __future__ import annotations

import logging
import time

import uvicorn
from google.auth import default as default_credentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery

from ami_api.app import create_app
from ami_api.exposure import check_exposure
from ami_api.tail import REACH, live_tail_s
from ami_contract.errors import SettingsError
from ami_contract.settings import Settings
from ami_store.refusals import RefusalCounts, refusal_counts
from ami_store.serving import (
    DuckDbServing,
    LandedVersion,
    LastHeard,
    ServingWarehouse,
    landed_lately,
    landed_version,
)
from ami_store.serving_bigquery import BigQueryServing

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_STOP_S = 10
# Longer than clients and proxies keep an idle connection: whoever closes it first may do so while
# the other sends, and a client cannot tell such a request from one that was carried out. Google's
# load balancers keep theirs for 600 s.
_KEEP_ALIVE_S = 620


def serving_warehouse(settings: Settings) -> ServingWarehouse:
    """The warehouse of the profile.

    Raises:
        SettingsError: there are no credentials for BigQuery.
    """
    if settings.profile == "local":
        return DuckDbServing(settings.data, readers=settings.api_query_threads)
    try:
        credentials, _ = default_credentials()
    except GoogleAuthError as error:
        raise SettingsError(
            f"no Google credentials ({error}); run `gcloud auth application-default login`"
        ) from error
    client = bigquery.Client(
        project=settings.project_id, credentials=credentials, location=settings.bigquery_location
    )
    return BigQueryServing(
        client,
        f"{settings.project_id}.{settings.bigquery_dataset}",
        settings.bigquery_location,
        settings.bigquery_maximum_bytes_billed,
    )


def run_api(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        SettingsError: the settings would expose it, or lack credentials.
    """
    check_exposure(settings)
    logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT)
    heard_last: LastHeard | None = None
    landed: LandedVersion | None = None
    refusals: RefusalCounts | None = None
    if settings.profile == "local":
        heard_last = landed_lately(settings.data)
        refusals = refusal_counts(settings.data)
    if age_s := live_tail_s(settings):
        landed = (
            landed_version(settings.data, REACH)
            if settings.profile == "local"
            # What arrives there is not listed: each look is a new one.
            else lambda: str(time.monotonic() // age_s)
        )
    app = create_app(
        settings,
        serving_warehouse(settings),
        landed=landed,
        heard_last=heard_last,
        refusals=refusals,
    )
    uvicorn.run(
        app,
        host=settings.api_host,
        port=settings.api_port,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        # A header that a client writes itself says nothing about where it is.
        proxy_headers=False,
        timeout_graceful_shutdown=_STOP_S,
        timeout_keep_alive=_KEEP_ALIVE_S,
    )
