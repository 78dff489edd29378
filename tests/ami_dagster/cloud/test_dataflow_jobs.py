"""Launch and drain of the Dataflow job: what is submitted, waited for, refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from google.cloud.dataflow_v1beta3.types import JobState
from google_stand_ins import ClockedCloud, Dataflow, Jobs
from pydantic import ValidationError

from ami_contract.errors import SettingsError
from ami_contract.settings import Settings
from ami_dagster.defs.cloud.dataflow import (
    SUBMIT,
    LaunchConfig,
    drain_job,
    launch_arguments,
    launch_job,
)
from beam_jobs.options import is_local, parse, stream_config

IMAGE = {"sdk_container_image": "us-docker.pkg.dev/grid/ami/worker:1"}


def run(job: dg.JobDefinition, cloud: ClockedCloud, **config: Any) -> dg.ExecuteInProcessResult:
    (op,) = job.graph.node_dict
    return job.execute_in_process(
        run_config={"ops": {op: {"config": config}}},
        resources={"cloud": cloud},
        raise_on_error=False,
    )


def said(result: dg.ExecuteInProcessResult) -> str:
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    error = failure.step_failure_data.error
    assert error is not None
    return (error.cause or error).message


def observed(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = [
        event for event in result.all_events if event.event_type_value == "ASSET_OBSERVATION"
    ]
    metadata = event.asset_observation_data.asset_observation.metadata
    return {name: value.value for name, value in metadata.items()}


def submitting(tmp_path: Path, text: str = "submitted", status: int = 0) -> tuple[str, ...]:
    """A program in place of the ingest's entry point: notes its options, ends with a status."""
    program = tmp_path / "submit.py"
    program.write_text(
        "import pathlib, sys\n"
        f"pathlib.Path({str(tmp_path / 'options')!r}).write_text(' '.join(sys.argv[1:]))\n"
        f"print({text!r})\nsys.exit({status})\n"
    )
    return sys.executable, str(program)


def comes_up_after(submitted: Path, polls: int) -> Any:
    """A job that shows once it is submitted and runs after so many looks."""
    seen = {"looks": 0}

    def polled(jobs: Jobs) -> None:
        if not submitted.exists():
            return
        seen["looks"] += 1
        state = "RUNNING" if seen["looks"] > polls else "PENDING"
        made = Dataflow()
        made.put("job-7", state, made=7)
        jobs["job-7"] = made.jobs["job-7"]

    return polled


def test_the_ingest_takes_every_option_that_a_launch_gives(settings: Settings) -> None:
    config = LaunchConfig(
        **IMAGE, dead_letter_topic="ami-dlq", update=True, use_public_ips=False, subnetwork="s"
    )
    options = parse(launch_arguments(settings, config))
    assert not is_local(options)
    stream = stream_config(options)
    assert stream.subscription == "projects/grid/subscriptions/ami-meter-data-sub"
    assert stream.table == "grid:smart_grid_analytics.raw_meter_readings"
    assert stream.archive_root == "gs://grid-archive/raw"
    assert stream.dlq_topic == "projects/grid/topics/ami-dlq"
    assert stream.window_s == 60
    given = options.get_all_options(drop_default=True)
    assert given["job_name"] == "ami-ingest"
    assert given["update"] is True
    assert given["use_public_ips"] is False
    assert given["sdk_container_image"] == IMAGE["sdk_container_image"]
    assert given["max_num_workers"] == 2


def test_what_a_launch_leaves_out_is_as_the_settings_say(settings: Settings) -> None:
    deployed = settings.model_copy(
        update={
            "dataflow_subnetwork": "s",
            "dataflow_max_workers": 7,
            "dataflow_dead_letter_topic": "ami-dlq",
        }
    )

    def given(of: Settings, **config: Any) -> dict[str, Any]:
        options = parse(launch_arguments(of, LaunchConfig(**IMAGE, **config)))
        found = options.get_all_options()
        names = ("subnetwork", "use_public_ips", "max_num_workers", "dlq_topic")
        return {name: found[name] for name in names}

    topic = "projects/grid/topics/ami-dlq"
    assert given(deployed) == {
        "subnetwork": "s", "use_public_ips": False, "max_num_workers": 7, "dlq_topic": topic,
    }  # fmt: skip
    # What is asked for wins, an empty text too.
    asked = {"subnetwork": "", "dead_letter_topic": "", "max_num_workers": 3}
    assert given(deployed, **asked) == {
        "subnetwork": None, "use_public_ips": None, "max_num_workers": 3, "dlq_topic": None,
    }  # fmt: skip
    assert given(deployed, use_public_ips=True)["use_public_ips"] is None
    assert given(settings)["use_public_ips"] is None
    assert given(settings, use_public_ips=False)["use_public_ips"] is False


def test_the_entry_point_is_that_of_the_ingest() -> None:
    assert (sys.executable, "-m", "beam_jobs.main") == SUBMIT


@pytest.mark.parametrize(
    "config", [{}, {**IMAGE, "extra_package": "w.whl"}, {**IMAGE, "max_num_workers": 0}]
)
def test_a_config_that_no_job_can_run_with_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LaunchConfig(**config)


def test_a_bucket_that_is_not_named_is_said_in_one_line(settings: Settings) -> None:
    poor = settings.model_copy(update={"dataflow_temp_location": ""})
    with pytest.raises(SettingsError, match="AMI_DATAFLOW_TEMP_LOCATION is empty"):
        launch_arguments(poor, LaunchConfig(**IMAGE))


def test_a_launch_submits_the_job_and_waits_until_it_runs(
    settings: Settings, dataflow: Dataflow, cloud: ClockedCloud, tmp_path: Path
) -> None:
    dataflow.put("job-1", "DRAINED")
    dataflow.polled = comes_up_after(tmp_path / "options", polls=3)
    result = run(launch_job(settings, submitting(tmp_path)), cloud, **IMAGE)
    assert result.success
    assert observed(result)["job_id"] == "job-7"
    assert "--job_name ami-ingest" in (tmp_path / "options").read_text()


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "DRAINING"])
def test_a_second_job_of_the_name_is_refused(
    state: str, settings: Settings, dataflow: Dataflow, cloud: ClockedCloud, tmp_path: Path
) -> None:
    dataflow.put("job-1", state)
    result = run(launch_job(settings, submitting(tmp_path)), cloud, **IMAGE)
    assert not result.success
    assert f"the job ami-ingest (job-1) is {state}" in said(result)
    assert not (tmp_path / "options").exists()


def test_an_update_needs_a_job_that_runs(
    settings: Settings, dataflow: Dataflow, cloud: ClockedCloud, tmp_path: Path
) -> None:
    job = launch_job(settings, submitting(tmp_path))
    assert "there is no running job ami-ingest to update" in said(
        run(job, cloud, **IMAGE, update=True)
    )
    dataflow.put("job-1", "RUNNING")
    dataflow.polled = comes_up_after(tmp_path / "options", polls=1)
    assert run(job, cloud, **IMAGE, update=True).success
    assert "--update" in (tmp_path / "options").read_text()


def test_a_submission_that_fails_says_its_last_line(
    settings: Settings, cloud: ClockedCloud, tmp_path: Path
) -> None:
    submit = submitting(tmp_path, "error: --region is missing", 1)
    result = run(launch_job(settings, submit), cloud, **IMAGE)
    assert "the job was not submitted (status 1): error: --region is missing" in said(result)


def test_a_job_that_does_not_come_up_in_time_is_told(
    settings: Settings, dataflow: Dataflow, cloud: ClockedCloud, tmp_path: Path
) -> None:
    dataflow.polled = comes_up_after(tmp_path / "options", polls=10_000)
    result = run(launch_job(settings, submitting(tmp_path)), cloud, **IMAGE, wait_minutes=5)
    assert "the job ami-ingest (job-7) is PENDING after 5 min" in said(result)


def drains_after(polls: int, end: str = "DRAINED") -> Any:
    seen = {"looks": 0}

    def polled(jobs: Jobs) -> None:
        for job in jobs.values():
            if job.current_state == JobState.JOB_STATE_DRAINING:
                seen["looks"] += 1
                if seen["looks"] > polls:
                    job.current_state = JobState[f"JOB_STATE_{end}"]

    return polled


def test_a_drain_asks_once_and_waits_until_the_job_has_ended(
    dataflow: Dataflow, cloud: ClockedCloud
) -> None:
    dataflow.put("job-1", "RUNNING")
    dataflow.polled = drains_after(3)
    result = run(drain_job(), cloud)
    assert result.success
    assert observed(result)["state"] == "DRAINED"
    assert dataflow.asked == ["job-1 JOB_STATE_DRAINED"]


def test_a_drain_of_a_job_that_drains_only_waits(dataflow: Dataflow, cloud: ClockedCloud) -> None:
    dataflow.put("job-1", "DRAINING")
    dataflow.polled = drains_after(2)
    assert run(drain_job(), cloud).success
    assert dataflow.asked == []


@pytest.mark.parametrize("state", ["DRAINED", "CANCELLED", None])
def test_nothing_is_drained_when_no_job_is_active(
    state: str | None, dataflow: Dataflow, cloud: ClockedCloud
) -> None:
    if state:
        dataflow.put("job-1", state)
    result = run(drain_job(), cloud)
    assert result.success
    assert observed(result)["state"] == (state or "none")
    assert dataflow.asked == []


def test_a_drain_that_takes_too_long_or_fails_is_told(
    dataflow: Dataflow, cloud: ClockedCloud
) -> None:
    dataflow.put("job-1", "RUNNING")
    result = run(drain_job(), cloud, wait_minutes=2)
    assert "is DRAINING after 2 min; it drains on: run drain_ingest again" in said(result)
    dataflow.polled = drains_after(1, "FAILED")
    assert "is FAILED instead of drained" in said(run(drain_job(), cloud))


def test_launch_and_drain_without_credentials_are_one_line(
    no_credentials: None, settings: Settings, tmp_path: Path
) -> None:
    cloud = ClockedCloud(project_id="grid", region="r", job_name="ami-ingest", subscription="s")
    for job, config in ((launch_job(settings, submitting(tmp_path)), IMAGE), (drain_job(), {})):
        text = said(run(job, cloud, **config))
        assert "no Google credentials found" in text
        assert len(text.strip().splitlines()) == 1
