"""Launch and drain of the Dataflow job: reads a typed config, gives a running or an ended job."""

import shlex
import subprocess
import sys
from datetime import timedelta
from typing import Final, Literal, TypeVar

import dagster as dg
from pydantic import Field, model_validator

from ami_contract.errors import AmiError, SettingsError
from ami_contract.settings import Settings
from ami_dagster.alerts.hops import JobSeen, Observation, minutes
from ami_dagster.alerts.observation import Look
from ami_dagster.cloud import ENDED_STATES, RAW_TABLE, GoogleCloud
from ami_dagster.defs.cloud.look import job_observation

LAUNCH_INGEST: Final = "launch_ingest"
DRAIN_INGEST: Final = "drain_ingest"
# The entry point of the ingest; no module of it is imported here.
SUBMIT: Final = (sys.executable, "-m", "beam_jobs.main")
_POLL_S: Final = 15.0
_T = TypeVar("_T")
_FAILED_STATES: Final = frozenset({"FAILED", "CANCELLED", "CANCELLING"})


class LaunchConfig(dg.Config):
    """How the streaming job is launched; what is not here comes from the settings."""

    write_method: Literal["storage_write_api", "streaming_inserts", "file_loads"] = Field(
        "storage_write_api",
        description=(
            "How rows get into BigQuery. storage_write_api needs Java 11 where Dagster runs."
        ),
    )
    worker_machine_type: str = Field("e2-standard-2", description="Machine type of the workers.")
    max_num_workers: int | None = Field(
        None, ge=1, le=1000, description="Most workers at a time; left out: as the settings say."
    )
    archive_minutes: Literal["1", "5"] = Field(
        "1", description="Minutes of event_ts in one file of the archive: 1 or 5."
    )
    window_seconds: int = Field(
        60,
        ge=0,
        description="Provisional aggregates per pole and so many seconds; 0: none.",
    )
    dead_letter_topic: str | None = Field(
        None,
        description=(
            "Topic of dead letters, its short name; empty: files in the archive's bucket; left "
            "out: as the settings say."
        ),
    )
    sdk_container_image: str = Field(
        "", description="Image that the workers run; this or extra_package."
    )
    extra_package: str = Field(
        "", description="Wheel that the workers install, as `infra/worker` builds it."
    )
    use_public_ips: bool | None = Field(
        None,
        description=(
            "Whether workers have public addresses; left out: where no subnetwork is named."
        ),
    )
    subnetwork: str | None = Field(
        None,
        description=(
            "Subnetwork of the workers; empty: the default one; left out: as the settings say."
        ),
    )
    update: bool = Field(
        False,
        description="Replace the job that runs now and take over its state and its messages.",
    )
    wait_minutes: int = Field(
        15, ge=1, le=110, description="Longest wait until the job runs, in minutes."
    )

    @model_validator(mode="after")
    def _workers_find_the_code(self) -> "LaunchConfig":
        if bool(self.sdk_container_image) == bool(self.extra_package):
            raise ValueError(
                "workers get the code from either sdk_container_image or extra_package: name one"
            )
        return self


class DrainConfig(dg.Config):
    """How long a drain is waited for."""

    wait_minutes: int = Field(
        60,
        ge=1,
        le=110,
        description="Longest wait until the job has ended, in minutes; it drains on after that.",
    )


def launch_arguments(settings: Settings, config: LaunchConfig) -> list[str]:
    """Options of `python -m beam_jobs.main` for the job.

    Raises:
        SettingsError: a bucket that the job needs is not named.
    """
    for name in ("archive_bucket", "dataflow_temp_location"):
        if not getattr(settings, name):
            raise SettingsError(f"AMI_{name.upper()} is empty; the Dataflow job needs it")
    table = f"{settings.project_id}:{settings.bigquery_dataset}.{RAW_TABLE}"
    topic = _given(config.dead_letter_topic, settings.dataflow_dead_letter_topic)
    subnetwork = _given(config.subnetwork, settings.dataflow_subnetwork)
    options: dict[str, object] = {
        "runner": "DataflowRunner",
        "project": settings.project_id,
        "region": settings.dataflow_region,
        "job_name": settings.dataflow_job_name,
        "temp_location": settings.dataflow_temp_location,
        "input_subscription": settings.subscription_path,
        "output_bq_table": table,
        "bq_write_method": config.write_method,
        "raw_archive_bucket": settings.archive_bucket_name,
        "archive_minutes": config.archive_minutes,
        "window_seconds": config.window_seconds,
        "max_payload_bytes": settings.max_payload_bytes,
        "max_decoded_bytes": settings.max_decoded_bytes,
        "worker_machine_type": config.worker_machine_type,
        "max_num_workers": _given(config.max_num_workers, settings.dataflow_max_workers),
        "service_account_email": settings.dataflow_service_account,
        "dlq_topic": f"projects/{settings.project_id}/topics/{topic}" if topic else "",
        "sdk_container_image": config.sdk_container_image,
        "extra_package": config.extra_package,
        "subnetwork": subnetwork,
    }
    given = [part for name, value in options.items() if value for part in (f"--{name}", str(value))]
    flags = {
        "--streaming": True,
        "--update": config.update,
        "--no_use_public_ips": not _given(config.use_public_ips, not subnetwork),
    }
    return given + [flag for flag, is_set in flags.items() if is_set]


def _given(value: _T | None, otherwise: _T) -> _T:
    return otherwise if value is None else value


def launch_problem(job: JobSeen, *, update: bool) -> str:
    """Why no job may be launched now; empty when one may."""
    is_active = bool(job.state) and job.state not in ENDED_STATES
    if is_active and not update:
        return (
            f"the job {job.name} ({job.job_id}) is {job.state}: two jobs of one name must not be. "
            f"Drain it first with {DRAIN_INGEST}, or replace it with update: true"
        )
    if update and not job.is_running:
        return f"there is no running job {job.name} to update; launch it without update"
    return ""


def launch_job(settings: Settings, submit: tuple[str, ...] = SUBMIT) -> dg.JobDefinition:
    """The job `launch_ingest`.

    Args:
        settings: of the deployment.
        submit: command that submits the job, without options.
    """

    @dg.op(
        name="launch_dataflow_job",
        description=(
            "Submits the streaming job and waits until it runs. Refuses while a job of that name "
            "has not ended, so running it twice makes no second job."
        ),
    )
    def launch(context: dg.OpExecutionContext, config: LaunchConfig, cloud: GoogleCloud) -> None:
        try:
            arguments = launch_arguments(settings, config)
            before = cloud.find_job()
            if problem := launch_problem(before, update=config.update):
                raise dg.Failure(problem)
            _submit(context, [*submit, *arguments])
            job = _wait_until_running(context, cloud, before, config.wait_minutes)
        except AmiError as error:
            raise dg.Failure(str(error)) from None
        context.log_event(job_observation(Look(Observation(at=cloud.now(), job=job))))

    @dg.job(
        name=LAUNCH_INGEST,
        executor_def=dg.in_process_executor,
        description="Launches the Dataflow job, or replaces the one that runs (update).",
    )
    def launch_ingest() -> None:
        launch()

    return launch_ingest


def _submit(context: dg.OpExecutionContext, command: list[str]) -> None:
    context.log.info("%s", shlex.join(command))
    process = subprocess.Popen(  # noqa: S603  (our own command; the config is typed)
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    last = ""
    try:
        for line in process.stdout:
            last = line.strip() or last
            context.log.info(line.rstrip())
    finally:
        # A cancelled run must not submit a job afterwards.
        process.terminate()
        status = process.wait()
    if status:
        raise dg.Failure(f"the job was not submitted (status {status}): {last}")


def _wait_until_running(
    context: dg.OpExecutionContext, cloud: GoogleCloud, before: JobSeen, wait_minutes: int
) -> JobSeen:
    until = cloud.now() + timedelta(minutes=wait_minutes)
    while True:
        job = cloud.find_job()
        is_new = job.job_id != before.job_id
        if is_new and job.is_running:
            context.log.info("the job %s (%s) runs", job.name, job.job_id)
            return job
        if is_new and job.state in ENDED_STATES:
            raise dg.Failure(f"the job {job.name} ({job.job_id}) is {job.state}; see its log")
        if cloud.now() >= until:
            raise dg.Failure(
                f"the job {job.name} ({job.job_id or 'no id yet'}) is {job.state or 'not there'} "
                f"after {wait_minutes} min; it may still come up: look at `ingest_job`"
            )
        context.log.info("the job %s is %s", job.name, job.state or "not there yet")
        cloud.sleep(_POLL_S)


def drain_job() -> dg.JobDefinition:
    """The job `drain_ingest`."""

    @dg.op(
        name="drain_dataflow_job",
        description=(
            "Has the streaming job take no new messages, store what it has and end; waits for it. "
            "Does nothing when no job of that name is active."
        ),
    )
    def drain(context: dg.OpExecutionContext, config: DrainConfig, cloud: GoogleCloud) -> None:
        try:
            job = _drain(context, cloud, config.wait_minutes)
        except AmiError as error:
            raise dg.Failure(str(error)) from None
        context.log_event(job_observation(Look(Observation(at=cloud.now(), job=job))))

    @dg.job(
        name=DRAIN_INGEST,
        executor_def=dg.in_process_executor,
        description="Drains the Dataflow job and waits until it has ended.",
    )
    def drain_ingest() -> None:
        drain()

    return drain_ingest


def _drain(context: dg.OpExecutionContext, cloud: GoogleCloud, wait_minutes: int) -> JobSeen:
    job = cloud.find_job()
    if not job.state or job.state in ENDED_STATES:
        context.log.info("nothing to drain: the job %s is %s", job.name, job.state or "not there")
        return job
    if job.state != "DRAINING":
        cloud.drain_job(job.job_id)
    started = cloud.now()
    while True:
        job = cloud.get_job(job.job_id)
        waited = cloud.now() - started
        if job.state == "DRAINED":
            context.log.info("the job %s (%s) is drained", job.name, job.job_id)
            return job
        if job.state in ENDED_STATES or job.state in _FAILED_STATES:
            raise dg.Failure(
                f"the job {job.name} ({job.job_id}) is {job.state} instead of drained; see "
                "its log in the console"
            )
        if waited >= timedelta(minutes=wait_minutes):
            raise dg.Failure(
                f"the job {job.name} ({job.job_id}) is {job.state} after {minutes(waited)}; it "
                f"drains on: run {DRAIN_INGEST} again to wait for it"
            )
        context.log.info("the job %s is %s for %s", job.name, job.state, minutes(waited))
        cloud.sleep(_POLL_S)
