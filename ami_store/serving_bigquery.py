"""BigQuery for many readers: reads dbt's dataset, gives rows of fixed statements.

A query names its values, is bounded in bytes, rows and time, and carries its name as a label.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import requests
from google.api_core import exceptions as google_errors
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from ami_contract.errors import WarehouseError
from ami_store.serving import (
    QueryTimeout,
    Row,
    Snapshot,
    WarehouseAbsent,
    WarehouseOutdated,
    check_row_limit,
    values_of,
)
from ami_store.statements import PARAMETER_TYPES, Statement, bigquery_text

# Marts whose changes make a new state; reading when they changed costs nothing.
WATCHED: Final = (
    "dim_meter",
    "dim_pole",
    "dr_event_totals",
    "meter_data_quality_hourly",
    "pole_health_hourly",
    "v_5min_pole",
    "voltage_events",
)
_REQUEST_TIMEOUT_S: Final = 20.0


def query_parameters(
    values: Mapping[str, object],
) -> list[bigquery.ScalarQueryParameter | bigquery.ArrayQueryParameter]:
    """Named parameters of BigQuery, each of its declared type."""
    found: list[Any] = []
    for name, value in sorted(values.items()):
        kind = PARAMETER_TYPES[name]
        if kind == "ARRAY<STRING>":
            found.append(bigquery.ArrayQueryParameter(name, "STRING", value))
        else:
            found.append(bigquery.ScalarQueryParameter(name, kind, value))
    return found


@dataclass(frozen=True)
class _State:
    """The dataset as of the last change of a mart."""

    id: str
    published_at: datetime
    client: bigquery.Client
    dataset: str
    location: str
    maximum_bytes_billed: int
    listed_at: datetime | None = None

    def query(
        self, statement: Statement, parameters: Mapping[str, object], timeout_s: float
    ) -> list[Row]:
        values = values_of(statement, parameters, statement.row_limit)
        config = bigquery.QueryJobConfig(
            default_dataset=self.dataset,
            query_parameters=query_parameters(values),
            maximum_bytes_billed=self.maximum_bytes_billed,
            job_timeout_ms=int(timeout_s * 1000),
            labels={"ami_api": statement.name},
        )
        try:
            found = self.client.query_and_wait(
                bigquery_text(statement, self.dataset),
                job_config=config,
                location=self.location,
                api_timeout=timeout_s,
                wait_timeout=timeout_s,
                retry=DEFAULT_RETRY.with_timeout(timeout_s),
                job_retry=None,
                max_results=statement.row_limit + 1,
            )
            rows = [dict(row.items()) for row in found]
        except google_errors.NotFound as error:
            raise WarehouseOutdated(
                f"BigQuery cannot answer {statement.name} ({error.message}); run "
                "`ami dbt build --target bigquery` with this version"
            ) from error
        except (
            concurrent.futures.TimeoutError,
            google_errors.RetryError,
            google_errors.GatewayTimeout,
            requests.Timeout,
        ) as error:
            raise QueryTimeout(
                f"{statement.name} took longer than {timeout_s:g} s; ask for a shorter window"
            ) from error
        except (
            google_errors.GoogleAPICallError,
            GoogleAuthError,
            requests.ConnectionError,
        ) as error:
            raise WarehouseError(f"BigQuery refuses {statement.name}: {error}") from error
        return check_row_limit(statement, rows)


@dataclass
class BigQueryServing:
    """The warehouse of the Google Cloud profile.

    dbt replaces one mart after the other, so while a build runs two answers may be of different
    marts' states; each statement sees one.

    Attributes:
        client: Google's own.
        dataset: `project.dataset`.
        location: of the dataset.
        maximum_bytes_billed: a query that would bill more fails.
        check_every_s: how often to look whether a mart has changed.
    """

    client: bigquery.Client
    dataset: str
    location: str
    maximum_bytes_billed: int
    check_every_s: float = 30.0
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _current: _State | None = field(default=None, repr=False)
    _trouble: WarehouseError | None = field(default=None, repr=False)

    @contextmanager
    def lease(self) -> Iterator[Snapshot]:
        """The state of the last look; see `ServingWarehouse`."""
        if self._current is None:
            raise self._trouble or WarehouseAbsent(
                f"{self.dataset} holds no marts yet; run `ami dbt build --target bigquery`"
            )
        yield self._current

    def refresh(self) -> bool:
        """Look when the marts changed last; see `ServingWarehouse`."""
        with self._turn:
            changed: dict[str, datetime] = {}
            try:
                for name in WATCHED:
                    try:
                        table = self.client.get_table(
                            f"{self.dataset}.{name}", timeout=_REQUEST_TIMEOUT_S
                        )
                    except google_errors.NotFound:
                        continue
                    changed[name] = table.modified
            except (
                google_errors.GoogleAPICallError,
                google_errors.RetryError,
                GoogleAuthError,
                requests.RequestException,
            ) as error:
                self._trouble = WarehouseError(
                    f"BigQuery does not tell about {self.dataset}: {error}; see that the "
                    "credentials may read it"
                )
                raise self._trouble from error
            self._trouble = None
            known = self._current.id if self._current else None
            self._current = self._state(changed) if changed else None
            return (self._current.id if self._current else None) != known

    def close(self) -> None:
        """See `ServingWarehouse`."""
        self.client.close()

    def _state(self, changed: Mapping[str, datetime]) -> _State:
        text = "\n".join(f"{name} {at.isoformat()}" for name, at in sorted(changed.items()))
        return _State(
            id=hashlib.sha256(text.encode()).hexdigest()[:24],
            published_at=max(changed.values()),
            client=self.client,
            dataset=self.dataset,
            location=self.location,
            maximum_bytes_billed=self.maximum_bytes_billed,
        )
