"""The command line: what it accepts, what it says, and what it builds for Dataflow."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions, WorkerOptions
from ingest_helpers import as_json, json_lines, reading, stored_rows

from ami_contract.errors import SettingsError
from ami_contract.lake import DataDir
from beam_jobs.bigquery_sink import WriteMethod
from beam_jobs.main import main, run_cloud
from beam_jobs.options import (
    LocalConfig,
    help_text,
    is_local,
    local_config,
    parse,
    stream_config,
)
from beam_jobs.source import PubSubSource
from beam_jobs.streaming import StreamConfig
from local_pubsub.server import PubSubServer

SUBSCRIPTION = "projects/my-project/subscriptions/ami-meter-data-sub"
BEAM = {
    "runner": "DataflowRunner",
    "project": "my-project",
    "region": "us-central1",
    "temp_location": "gs://my-artifacts/temp",
    "staging_location": "gs://my-artifacts/staging",
}
CLOUD = BEAM | {
    "input_subscription": SUBSCRIPTION,
    "output_bq_table": "my-project:smart_grid_analytics.raw_meter_readings",
    "raw_archive_bucket": "ami-raw-archive",
}


def line(options: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items()]


def cloud(*flags: str, **changes: str) -> StreamConfig:
    return stream_config(parse([*line(CLOUD | changes), *flags]))


def test_the_plan_s_command_line_is_a_config() -> None:
    found = cloud(
        "--streaming",
        raw_archive_prefix="raw/",
        dlq_topic="projects/my-project/topics/ami-meter-data-dlq",
        window_seconds="60",
        worker_machine_type="n1-standard-2",
        max_num_workers="2",
        service_account_email="dataflow-sa@my-project.iam.gserviceaccount.com",
    )

    assert (found.subscription, found.table) == (SUBSCRIPTION, CLOUD["output_bq_table"])
    assert found.archive_root == "gs://ami-raw-archive/raw"
    assert found.deadletter_root == "gs://ami-raw-archive/deadletter"
    assert found.dlq_topic == "projects/my-project/topics/ami-meter-data-dlq"
    assert (found.window_s, found.archive_minutes) == (60, 1)
    assert found.write_method is WriteMethod.STORAGE_WRITE_API


def test_beam_keeps_its_own_options() -> None:
    options = parse([*line(CLOUD), "--worker_machine_type=e2-standard-2", "--max_num_workers=2"])

    assert options.view_as(WorkerOptions).machine_type == "e2-standard-2"
    assert options.view_as(WorkerOptions).max_num_workers == 2
    assert options.view_as(GoogleCloudOptions).region == "us-central1"


@pytest.mark.parametrize(
    ("given", "root"),
    [
        ({"raw_archive_bucket": "gs://ami-raw/"}, "gs://ami-raw/raw"),
        ({"raw_archive_prefix": "lake/raw/"}, "gs://ami-raw-archive/lake/raw"),
        ({"raw_archive_prefix": ""}, "gs://ami-raw-archive"),
    ],
)
def test_bucket_and_prefix_make_the_archive_s_root(given: dict[str, str], root: str) -> None:
    assert cloud(**given).archive_root == root


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"input_subscription": "ami-meter-data-sub"}, "--input_subscription=ami-meter-data-sub"),
        ({"input_subscription": "projects/p/topics/t"}, "projects/PROJECT/subscriptions/NAME"),
        ({"input_subscription": ""}, "--input_subscription is missing"),
        ({"output_bq_table": "raw_meter_readings"}, "project:dataset.table"),
        ({"output_bq_table": ""}, "--output_bq_table is missing"),
        ({"raw_archive_bucket": ""}, "--raw_archive_bucket is missing"),
        ({"raw_archive_bucket": "gs://bucket/folder"}, "--raw_archive_prefix"),
        ({"raw_archive_prefix": "deadletter/x"}, "belongs to the dead letter"),
        ({"dlq_topic": "dlq"}, "projects/PROJECT/topics/NAME"),
        ({"window_seconds": "-1"}, "--window_seconds=-1: 0 or more"),
        ({"group_max_messages": "0"}, "--group_max_messages=0: 1 or more"),
        ({"pubsub_emulator_host": "127.0.0.1:8085"}, "for the local runner"),
        ({"drain_s": "3"}, "for the local runner"),
        ({"region": ""}, "--region is missing"),
        ({"temp_location": ""}, "--temp_location is missing"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_meant(
    changes: dict[str, str], complaint: str
) -> None:
    with pytest.raises(SettingsError, match=complaint):
        cloud(**changes)


def test_an_unknown_option_is_refused_instead_of_ignored() -> None:
    with pytest.raises(SettingsError, match="--windows_seconds"):
        parse([*line(CLOUD), "--windows_seconds=60"])


def test_a_value_that_is_no_choice_ends_with_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--archive_minutes=7"])
    assert "archive_minutes" in capsys.readouterr().err


@pytest.mark.parametrize("runner", ["DirectRunner", "FlinkRunner"])
def test_other_runners_are_refused_with_the_reason(runner: str) -> None:
    with pytest.raises(SettingsError, match=r"before they are stored"):
        is_local(parse([f"--runner={runner}"]))


@pytest.mark.parametrize("given", [[], ["--runner=LocalRunner"], ["--runner=local"]])
def test_without_a_runner_the_ingest_is_local(given: list[str]) -> None:
    assert is_local(parse(given))


def test_locally_the_same_options_name_folders(tmp_path: Path) -> None:
    found = local_config(
        parse(
            [
                f"--raw_archive_bucket={tmp_path}",
                f"--output_bq_table={tmp_path}/landing",
                f"--dlq_topic={tmp_path}/deadletter",
                f"--input_subscription={SUBSCRIPTION}",
                "--pubsub_emulator_host=127.0.0.1:9",
                "--drain_s=2",
            ]
        )
    )

    assert found == LocalConfig(
        "my-project", "ami-meter-data-sub", tmp_path, "127.0.0.1:9", None, 2.0
    )


def test_locally_nothing_need_be_said() -> None:
    assert local_config(parse([])) == LocalConfig(None, None, None, None, None, None)


@pytest.mark.parametrize(
    "given",
    [
        ["--raw_archive_bucket=/data", "--output_bq_table=/elsewhere/landing"],
        ["--raw_archive_bucket=/data", "--raw_archive_prefix=raw/"],
        ["--output_bq_table=my-project:d.raw_meter_readings"],
        ["--dlq_topic=projects/p/topics/t"],
    ],
)
def test_folders_that_do_not_lie_together_are_refused(given: list[str]) -> None:
    with pytest.raises(SettingsError, match="locally archive, landing and deadletter lie together"):
        local_config(parse(given))


def test_windows_are_refused_locally() -> None:
    with pytest.raises(SettingsError, match="--window_seconds is for Dataflow"):
        local_config(parse(["--window_seconds=60"]))


def test_help_tells_every_option_of_ours() -> None:
    text = help_text()

    for name in ("input_subscription", "bq_write_method", "archive_minutes", "drain_s", "update"):
        assert f"--{name}" in text


def test_help_and_errors_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "usage" in capsys.readouterr().out
    assert main(["--runner=DirectRunner"]) == 1
    assert capsys.readouterr().err.startswith("error: --runner DirectRunner")


@pytest.mark.parametrize(
    ("method", "topic"),
    [("streaming_inserts", "projects/my-project/topics/dlq"), ("file_loads", None)],
)
def test_the_dataflow_job_is_built_and_translated_without_submission(
    method: str, topic: str | None
) -> None:
    changes = {"bq_write_method": method, "window_seconds": "60", "dry_run": "true"}
    changes |= {"dlq_topic": topic} if topic else {}
    options = parse([*line(CLOUD | changes), "--max_num_workers=2"])
    job = run_cloud(options, stream_config(options)).job

    text = str(job.proto_pipeline)
    names = {t.unique_name for t in job.proto_pipeline.components.transforms.values()}
    assert SUBSCRIPTION in text
    assert {
        "Ingest/Archive/Write files/Write",
        "Ingest/Aggregate/Merge",
        "Ingest/Dead letter/Publish" if topic else "Ingest/Dead letter/Write files",
    } <= names
    assert job.proto.type.name == "JOB_TYPE_STREAMING"


def test_the_storage_write_api_is_built_up_to_beam_s_java_transform(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What that transform makes of it needs Java and Maven's repository, which tests lack."""
    expanded: dict[str, Any] = {}

    class Stop(Exception):
        pass

    def stop(self: object, **given: Any) -> None:
        expanded.update(given)
        raise Stop

    monkeypatch.setattr("apache_beam.io.gcp.bigquery.SchemaAwareExternalTransform.__init__", stop)
    options = parse([*line(CLOUD | {"dry_run": "true"})])
    with pytest.raises(Stop):
        run_cloud(options, stream_config(options))

    assert expanded["table"] == CLOUD["output_bq_table"]
    assert expanded["use_at_least_once_semantics"] is True
    assert expanded["create_disposition"] == "CREATE_NEVER"


def test_a_local_run_stores_what_the_subscription_holds(
    tmp_path: Path, data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with PubSubServer(tmp_path / "pubsub", port=0) as server:
        source = PubSubSource("my-project", "ami-meter-data", "sub", server.endpoint)
        source.ensure()
        publish(server.endpoint, as_json(reading(1), reading(2, seq=-1)))
        source.close()
        code = main(
            [
                "--runner=LocalRunner",
                f"--raw_archive_bucket={data.root}",
                "--input_subscription=projects/my-project/subscriptions/sub",
                f"--pubsub_emulator_host={server.endpoint}",
                "--drain_s=0.5",
            ]
        )
    logging.getLogger().handlers.clear()

    assert code == 0
    assert [row["seq"] for row in stored_rows(data)] == [1]
    assert [letter["code"] for letter in json_lines(data.deadletter)] == ["out_of_range"]


def publish(endpoint: str, payload: bytes) -> None:
    import grpc
    from google.pubsub_v1 import PublisherClient
    from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

    channel = grpc.insecure_channel(endpoint)
    client = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
    messages = [{"data": payload, "attributes": {"content_type": "application/json"}}]
    topic = "projects/my-project/topics/ami-meter-data"
    client.publish(request={"topic": topic, "messages": messages})
    channel.close()
