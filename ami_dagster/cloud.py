"""Google Cloud as Dagster sees it: reads settings, gives clients and what they tell, in our words.

Clients are made when something is asked, so definitions load without credentials or a network.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import dagster as dg
from dagster_gcp import BigQueryResource, GCSResource

from ami_contract.errors import CloudError, SettingsError
from ami_contract.settings import Settings
from ami_dagster.alerts.hops import JobSeen
from ami_store.backlog import Backlog

if TYPE_CHECKING:
    from google.cloud import bigquery, storage
    from google.cloud.dataflow_v1beta3 import JobsV1Beta3Client
    from google.cloud.dataflow_v1beta3.types import Job
    from google.cloud.monitoring_v3 import MetricServiceClient

RAW_TABLE: Final = "raw_meter_readings"
REGISTRY_TABLE: Final = "meters"
SYSTEM_LAG: Final = "dataflow.googleapis.com/job/system_lag"
UNDELIVERED: Final = "pubsub.googleapis.com/subscription/num_undelivered_messages"
OLDEST_AGE: Final = "pubsub.googleapis.com/subscription/oldest_unacked_message_age"
_TIMEOUT_S: Final = 30.0
# Points of these metrics show up to four minutes late.
_METRIC_SPAN: Final = timedelta(minutes=15)
_GIBIBYTE: Final = 1024**3
_STATE_PREFIX: Final = "JOB_STATE_"
# States that no job leaves.
ENDED_STATES: Final = frozenset({"DONE", "FAILED", "CANCELLED", "UPDATED", "DRAINED"})


@dataclass(frozen=True)
class DayStored:
    """What a UTC day of the raw table holds.

    Attributes:
        rows: stored, copies included.
        logical_bytes: as BigQuery bills a query over all columns.
        modified_at: when rows were added last.
    """

    rows: int
    logical_bytes: int
    modified_at: datetime

    @property
    def version(self) -> str:
        """Changes whenever rows are added."""
        return f"{self.rows}@{self.modified_at.isoformat()}"


@contextmanager
def google_errors(what: str) -> Iterator[None]:
    """Errors of Google's libraries inside become errors of ours, of one line.

    Args:
        what: what is asked for, as the subject of the message.

    Raises:
        SettingsError: there are no credentials.
        CloudError: the service does not answer, knows no such thing or refuses.
    """
    from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

    try:
        yield
    except DefaultCredentialsError as error:
        raise SettingsError(
            "no Google credentials found; run `gcloud auth application-default login`, or set "
            "GOOGLE_APPLICATION_CREDENTIALS to a key file"
        ) from error
    except NotFound as error:
        raise CloudError(f"{what} does not exist: {_line(error)}") from error
    except Forbidden as error:
        raise CloudError(
            f"{what} may not be seen with these credentials: {_line(error)}; grant the role that "
            "the message names"
        ) from error
    except (GoogleAPIError, GoogleAuthError, OSError) as error:
        raise CloudError(f"{what} cannot be asked: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(getattr(error, "message", "") or error).split())[:500]


class GoogleCloud(dg.ConfigurableResource):
    """The project in which readings are stored.

    Attributes:
        project_id: of Google Cloud.
        region: of the Dataflow job.
        job_name: of the Dataflow job.
        subscription: short name of the subscription that the job reads.
        endpoint: host:port of a server without TLS that stands in for Dataflow and Cloud
            Monitoring; empty: Google's own.
    """

    project_id: str
    region: str
    job_name: str
    subscription: str
    endpoint: str = ""

    @classmethod
    def of_settings(cls, settings: Settings) -> GoogleCloud:
        """The project that the settings name."""
        return cls(
            project_id=settings.project_id,
            region=settings.dataflow_region,
            job_name=settings.dataflow_job_name,
            subscription=settings.pubsub_subscription,
        )

    def now(self) -> datetime:
        """UTC wall clock."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def _jobs(self) -> JobsV1Beta3Client:
        from google.cloud.dataflow_v1beta3 import JobsV1Beta3Client
        from google.cloud.dataflow_v1beta3.services.jobs_v1_beta3.transports import (
            JobsV1Beta3GrpcTransport,
        )

        if not self.endpoint:
            return JobsV1Beta3Client()
        return JobsV1Beta3Client(transport=JobsV1Beta3GrpcTransport(channel=self._channel()))

    def _metrics(self) -> MetricServiceClient:
        from google.cloud.monitoring_v3 import MetricServiceClient
        from google.cloud.monitoring_v3.services.metric_service.transports import (
            MetricServiceGrpcTransport,
        )

        if not self.endpoint:
            return MetricServiceClient()
        return MetricServiceClient(transport=MetricServiceGrpcTransport(channel=self._channel()))

    def _channel(self) -> Any:
        import grpc

        return grpc.insecure_channel(self.endpoint)

    @property
    def _job_title(self) -> str:
        return f"Dataflow job {self.job_name} of {self.project_id} in {self.region}"

    def find_job(self) -> JobSeen:
        """The job of that name that has not ended, else the newest; without its lag.

        Raises:
            SettingsError, CloudError: Dataflow cannot be asked.
        """
        from google.cloud.dataflow_v1beta3.types import ListJobsRequest

        with google_errors(self._job_title), self._jobs() as client:
            found = list(
                client.list_jobs(
                    ListJobsRequest(
                        project_id=self.project_id, location=self.region, name=self.job_name
                    ),
                    timeout=_TIMEOUT_S,
                )
            )
        seen = [(job.create_time, self._seen(job)) for job in found if job.name == self.job_name]
        if not seen:
            return JobSeen(self.job_name)
        return max(seen, key=lambda each: (each[1].state not in ENDED_STATES, each[0]))[1]

    def get_job(self, job_id: str) -> JobSeen:
        """A job as it is now, without its lag; raises SettingsError, CloudError."""
        from google.cloud.dataflow_v1beta3.types import GetJobRequest

        with google_errors(self._job_title), self._jobs() as client:
            return self._seen(
                client.get_job(
                    GetJobRequest(project_id=self.project_id, location=self.region, job_id=job_id),
                    timeout=_TIMEOUT_S,
                )
            )

    def drain_job(self, job_id: str) -> None:
        """Ask a job to take no new messages, store what it has and end.

        Raises:
            SettingsError, CloudError: Dataflow cannot be asked, or refuses.
        """
        from google.cloud.dataflow_v1beta3.types import Job, JobState, UpdateJobRequest

        with google_errors(self._job_title), self._jobs() as client:
            client.update_job(
                UpdateJobRequest(
                    project_id=self.project_id,
                    location=self.region,
                    job_id=job_id,
                    job=Job(requested_state=JobState.JOB_STATE_DRAINED),
                ),
                timeout=_TIMEOUT_S,
            )

    @staticmethod
    def _seen(job: Job) -> JobSeen:
        state = job.current_state.name.removeprefix(_STATE_PREFIX)
        since = job.current_state_time
        return JobSeen(job.name, job.id, state, since.astimezone(UTC) if since else None)

    def observe_job(self, now: datetime) -> tuple[JobSeen, Backlog | None, str]:
        """The job with its lag, what waits in its subscription, and what could not be told.

        What cannot be asked stands in the answer instead of being raised.
        """
        try:
            job = self.find_job()
        except (SettingsError, CloudError) as error:
            return JobSeen(self.job_name, problem=str(error)), None, ""
        try:
            lag_s = self.newest_point(
                SYSTEM_LAG, {"metric.labels.job_id": job.job_id}, now
            ) if job.is_running else None  # fmt: skip
            backlog = self.backlog(now)
        except (SettingsError, CloudError) as error:
            return job, None, str(error)
        return JobSeen(job.name, job.job_id, job.state, job.since, lag_s), backlog, ""

    def backlog(self, now: datetime) -> Backlog | None:
        """What waits in the job's subscription, None when no metric tells.

        Raises:
            SettingsError, CloudError: Cloud Monitoring cannot be asked.
        """
        labels = {"resource.labels.subscription_id": self.subscription}
        messages = self.newest_point(UNDELIVERED, labels, now)
        oldest_s = self.newest_point(OLDEST_AGE, labels, now)
        if messages is None:
            return None
        # Whether somebody takes them is told by the state of the job.
        return Backlog(now, int(messages), int(messages), oldest_s or 0.0)

    def newest_point(self, metric: str, labels: Mapping[str, str], now: datetime) -> float | None:
        """Newest value of a metric, None when there is none of the last quarter of an hour.

        Raises:
            SettingsError, CloudError: Cloud Monitoring cannot be asked.
        """
        from google.cloud.monitoring_v3.types import ListTimeSeriesRequest, TimeInterval

        conditions = [f'metric.type="{metric}"']
        conditions += [f'{name}="{value}"' for name, value in labels.items()]
        request = ListTimeSeriesRequest(
            name=f"projects/{self.project_id}",
            filter=" AND ".join(conditions),
            interval=TimeInterval(start_time=now - _METRIC_SPAN, end_time=now),
            view=ListTimeSeriesRequest.TimeSeriesView.FULL,
        )
        with google_errors(f"Cloud Monitoring of {self.project_id}"), self._metrics() as client:
            points = [
                (point.interval.end_time, point.value)
                for series in client.list_time_series(request, timeout=_TIMEOUT_S)
                for point in series.points
            ]
        if not points:
            return None
        value = max(points, key=lambda point: point[0])[1]
        kind = value._pb.WhichOneof("value")
        return float(getattr(value, kind)) if kind in ("int64_value", "double_value") else None


class Archive(dg.ConfigurableResource):
    """The bucket of the raw archive, with the client of `GCSResource` (see `RawTable`).

    Attributes:
        project_id: of Google Cloud.
        bucket: its name; empty: none is named.
    """

    project_id: str
    bucket: str

    @contextmanager
    def opened(self) -> Iterator[storage.Client]:
        """A client for the bucket.

        Raises:
            SettingsError: no bucket is named, or there are no credentials.
            CloudError: the bucket cannot be listed.
        """
        if not self.bucket:
            raise SettingsError(
                "AMI_ARCHIVE_BUCKET names no bucket; set it to that of the raw archive"
            )
        with google_errors(f"bucket {self.bucket}"):
            yield GCSResource(project=self.project_id).get_client()


class RawTable(dg.ConfigurableResource):
    """The tables that the streaming job and people fill, in BigQuery.

    Its client is that of `BigQueryResource`, which by itself would ask for credentials before
    anything of ours runs, and so before a missing one can be explained.

    Attributes:
        project_id, location: of the dataset.
        dataset: its name.
        maximum_bytes_billed: a query that would bill more fails.
    """

    project_id: str
    location: str
    dataset: str
    maximum_bytes_billed: int

    @property
    def _place(self) -> str:
        return f"{self.project_id}.{self.dataset}"

    def days(self) -> dict[date, DayStored]:
        """What is stored, by UTC day, from the metadata of the table's partitions.

        Metadata costs 10 MB a look, whatever is stored; counting rows by hour would read
        `event_ts` of a whole day. Rows that stream in show when BigQuery has moved them out of its
        buffer, within 90 minutes.

        Raises:
            SettingsError, CloudError: BigQuery cannot be asked, or knows no such dataset.
        """
        rows = self._rows(
            f"""
            SELECT
                partition_id,
                total_rows,
                total_logical_bytes,
                UNIX_MICROS(last_modified_time) AS modified_us
            FROM `{self._place}`.INFORMATION_SCHEMA.PARTITIONS
            WHERE
                table_name = @table_name
                AND REGEXP_CONTAINS(partition_id, r'^[0-9]{{8}}$')
            """,  # noqa: S608  (the place is of the settings)
            [("table_name", "STRING", RAW_TABLE)],
            min(self.maximum_bytes_billed, _GIBIBYTE),
        )
        return {
            datetime.strptime(row["partition_id"], "%Y%m%d").replace(tzinfo=UTC).date(): DayStored(
                row["total_rows"],
                row["total_logical_bytes"],
                datetime.fromtimestamp(row["modified_us"] / 1_000_000, UTC),
            )
            for row in rows
        }

    def heard(self, since: datetime) -> dict[str, tuple[str, datetime]]:
        """Pole and newest `event_ts` of every meter with readings from `since` on.

        Reads three columns of one or two days.

        Raises:
            SettingsError, CloudError: BigQuery cannot be asked, or the bytes are too many.
        """
        rows = self._rows(
            f"""
            SELECT
                meter_id,
                ANY_VALUE(pole_id HAVING MAX event_ts) AS pole_id,
                UNIX_MICROS(MAX(event_ts)) AS event_us
            FROM `{self._place}.{RAW_TABLE}`
            WHERE event_ts >= @since
            GROUP BY meter_id
            """,  # noqa: S608
            [("since", "TIMESTAMP", since)],
            self.maximum_bytes_billed,
        )
        return {
            row["meter_id"]: (
                row["pole_id"],
                datetime.fromtimestamp(row["event_us"] / 1_000_000, UTC),
            )
            for row in rows
        }

    def in_service(self, now: datetime) -> dict[str, Mapping[str, Any]]:
        """Rows of the registry that hold now, by meter; raises SettingsError, CloudError."""
        rows = self._rows(
            f"""
            SELECT meter_id, pole_id, sample_interval_ms, UNIX_MICROS(valid_from) AS from_us
            FROM `{self._place}.{REGISTRY_TABLE}`
            WHERE valid_from <= @now AND (valid_to IS NULL OR valid_to > @now)
            """,  # noqa: S608
            [("now", "TIMESTAMP", now)],
            self.maximum_bytes_billed,
        )
        return {
            row["meter_id"]: {
                "pole_id": row["pole_id"],
                "sample_interval_ms": row["sample_interval_ms"],
                "valid_from": datetime.fromtimestamp(row["from_us"] / 1_000_000, UTC),
            }
            for row in rows
        }

    def _rows(
        self, sql: str, parameters: list[tuple[str, str, Any]], most_bytes: int
    ) -> list[bigquery.Row]:
        from google.cloud import bigquery

        config = bigquery.QueryJobConfig(
            query_parameters=[bigquery.ScalarQueryParameter(*each) for each in parameters],
            maximum_bytes_billed=most_bytes,
            labels={"ami": "dagster"},
        )
        warehouse = BigQueryResource(project=self.project_id, location=self.location)
        with google_errors(f"BigQuery dataset {self._place}"), warehouse.get_client() as client:
            return list(
                client.query_and_wait(
                    sql,
                    job_config=config,
                    api_timeout=_TIMEOUT_S,
                    wait_timeout=_TIMEOUT_S,
                    retry=None,
                    job_retry=None,
                )
            )
