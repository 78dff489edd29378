"""Terraform's files: roles are those of docs/security.md, names and tables those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import hcl2
import pytest
import typer
from google.cloud import bigquery
from hcl2.utils import SerializationOptions

from ami_cli.main import app
from ami_contract.settings import Settings
from beam_jobs.bigquery_tables import live_table, readings_table
from beam_jobs.options import help_text, parse, stream_config

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
SETTINGS = {f"AMI_{name.upper()}" for name in Settings.model_fields}
ACCOUNTS = {
    "edge": "edge-device-sa",
    "dataflow": "dataflow-sa",
    "api": "api-sa",
    "dagster": "dagster-sa",
    "scheduler": "scheduler-sa",
    "build": "build-sa",
}
Block = dict[str, Any]


@pytest.fixture(scope="module")
def files() -> dict[str, Block]:
    """Every .tf file, parsed."""
    options = SerializationOptions(
        strip_string_quotes=True, with_comments=False, explicit_blocks=False
    )
    return {
        path.name: hcl2.loads(path.read_text(), serialization_options=options)
        for path in sorted(INFRA.glob("*.tf"))
    }


def blocks(files: dict[str, Block], kind: str) -> dict[str, Block]:
    """Blocks of a kind by address (`type.name`, or the name)."""
    found: dict[str, Block] = {}
    for content in files.values():
        for block in content.get(kind, []):
            for first, inner in block.items():
                if kind in ("resource", "data"):
                    found |= {f"{first}.{name}": body for name, body in inner.items()}
                else:
                    found[first] = inner
    return found


def grants(files: dict[str, Block]) -> set[tuple[str, str, str]]:
    """Who, role and on what, of every member that is added."""
    found = set()
    for address, body in blocks(files, "resource").items():
        kind = address.split(".")[0]
        if not kind.endswith("_iam_member"):
            continue
        found.add((who(body), body["role"], on(kind, body)))
    return found


def who(body: Block) -> str:
    """Account, variable or service that a role is given to."""
    member = body["member"]
    if account := re.fullmatch(r"\$\{local\.(\w+)_member\}", member):
        return ACCOUNTS[account[1]]
    if member == "${local.pubsub_agent}":
        return "Pub/Sub itself"
    assert member == "${each.value}", member
    [variable] = re.findall(r"var\.(api_invokers|operators|edge_impersonators)", body["for_each"])
    return variable


def on(kind: str, body: Block) -> str:
    """Address of what a role is given on, with the condition's title; or the project."""
    if kind == "google_project_iam_member":
        assert body["project"] == "${var.project_id}"
        return "project"
    names = (
        "topic", "subscription", "bucket", "dataset_id", "repository", "service_account_id",
        "secret_id", "instance", "name",
    )  # fmt: skip
    value = next(body[name] for name in names if name in body)
    [address] = re.findall(r"google_\w+\.\w+", value)
    condition = f" ({body['condition'][0]['title']})" if "condition" in body else ""
    return f"{address}{condition}"


def matrix() -> set[tuple[str, str, str]]:
    """Rows of the matrix in docs/security.md."""
    text = (ROOT / "docs" / "security.md").read_text()
    rows = re.findall(r"^\| (.+?) \| `(roles/\S+)` \| (.+?) \| .+ \|$", text, re.MULTILINE)
    return {(one.strip("`"), role, place.replace("`", "")) for one, role, place in rows}


def test_roles_are_those_of_the_matrix_and_no_others(files: dict[str, Block]) -> None:
    granted, written = grants(files), matrix()
    assert granted - written == set(), "granted, but not in docs/security.md"
    assert written - granted == set(), "in docs/security.md, but not granted"
    assert len(granted) > 30


def test_nobody_gets_a_basic_role_a_key_or_the_public(files: dict[str, Block]) -> None:
    kinds = {address.split(".")[0] for address in blocks(files, "resource")}
    assert "google_service_account_key" not in kinds
    # Those would take away what others were given.
    assert not [kind for kind in kinds if kind.endswith(("_iam_binding", "_iam_policy"))]
    assert not {role for _, role, _ in grants(files)} & {
        "roles/owner", "roles/editor", "roles/viewer", "roles/bigquery.admin",
        "roles/storage.admin", "roles/pubsub.admin", "roles/iam.serviceAccountKeyAdmin",
    }  # fmt: skip
    everything = "\n".join(path.read_text() for path in INFRA.rglob("*.tf*"))
    used = re.sub(r"(?s)(^#.*?$|variables \{.*?\n  \})", "", everything, flags=re.MULTILINE)
    assert "allUsers" not in used
    assert "allAuthenticatedUsers" not in used


def test_variables_and_outputs_say_what_they_are(files: dict[str, Block]) -> None:
    for kind in ("variable", "output"):
        for name, body in blocks(files, kind).items():
            assert body["description"].endswith("."), f"{kind} {name}"
    unchecked = {
        name
        for name, body in blocks(files, "variable").items()
        if body["type"] != "bool" and "validation" not in body
    }
    # What is allowed there only Google knows.
    assert unchecked == {
        "dataflow_machine_type", "dagster_machine_type", "edge_machine_type", "sql_tier",
        "api_image", "dagster_image",
    }  # fmt: skip


def test_versions_are_pinned_and_examples_set_variables_that_there_are(
    files: dict[str, Block],
) -> None:
    [terraform] = files["versions.tf"]["terraform"]
    assert terraform["required_version"] == "~> 1.11"
    assert terraform["required_providers"][0]["google"]["version"] == "~> 6.50"
    variables = blocks(files, "variable")
    examples = sorted((INFRA / "examples").glob("*.tfvars"))
    assert [path.stem for path in examples] == ["demo", "production"]
    for path in examples:
        assert set(hcl2.loads(path.read_text())) <= set(variables) | {"__comments__"}, path.name


def test_names_are_those_of_the_settings(files: dict[str, Block]) -> None:
    variables = blocks(files, "variable")
    for variable, setting in {
        "pubsub_topic": "pubsub_topic",
        "pubsub_subscription": "pubsub_subscription",
        "bq_dataset": "bigquery_dataset",
        "bigquery_location": "bigquery_location",
        "bigquery_maximum_bytes_billed": "bigquery_maximum_bytes_billed",
        "dataflow_job_name": "dataflow_job_name",
        "region": "dataflow_region",
        "lag_limit_s": "dataflow_lag_limit_s",
        "backlog_age_limit_s": "arrival_limit_s",
        "first_day": "bigquery_first_day",
    }.items():
        default = Settings.model_fields[setting].default
        assert str(variables[variable]["default"]) in (str(default), f"{default:.0f}"
            if isinstance(default, float) else str(default)), variable  # fmt: skip
    accounts = {
        body["account_id"]
        for address, body in blocks(files, "resource").items()
        if address.startswith("google_service_account.")
    }
    assert accounts == set(ACCOUNTS.values())


def test_every_environment_variable_is_a_setting() -> None:
    told = {
        name
        for path in (*INFRA.glob("*.tf"), *INFRA.glob("vm/*"))
        for name in re.findall(r"\bAMI_[A-Z_]+\b", path.read_text())
    }
    # The edge's unit alone reads that one.
    assert told - {"AMI_EDGE_CONFIG"} <= SETTINGS
    # What Dagster wants on Google Cloud, docs/operations.md.
    assert told >= {
        "AMI_PROFILE", "AMI_PROJECT_ID", "AMI_BIGQUERY_DATASET", "AMI_BIGQUERY_LOCATION",
        "AMI_BIGQUERY_FIRST_DAY", "AMI_DATAFLOW_REGION", "AMI_DATAFLOW_JOB_NAME",
        "AMI_ARCHIVE_BUCKET", "AMI_DATAFLOW_TEMP_LOCATION", "AMI_DATAFLOW_SERVICE_ACCOUNT",
        "AMI_DATAFLOW_LAG_LIMIT_S", "AMI_PUBSUB_SUBSCRIPTION", "AMI_DATAFLOW_SUBNETWORK",
        "AMI_DATAFLOW_MAX_WORKERS", "AMI_DATAFLOW_DEAD_LETTER_TOPIC",
    }  # fmt: skip


def test_launch_options_are_those_of_the_ingest(files: dict[str, Block]) -> None:
    text = (INFRA / "outputs.tf").read_text()
    given = text.split('output "dataflow_options"')[1].split("\noutput ")[0]
    names = set(re.findall(r"^ +(\w+) += ", given, re.MULTILINE)) - {"value", "description"}
    names |= {"dlq_topic", "no_use_public_ips", "no_create_tables", "sdk_container_image"}
    usage = help_text()
    assert [name for name in sorted(names) if f"--{name}" not in usage] == []
    assert {"input_subscription", "output_bq_table", "raw_archive_bucket", "dlq_topic"} <= names


def test_launch_options_are_accepted_as_terraform_gives_them(files: dict[str, Block]) -> None:
    # Ids as the provider's documentation gives them, defaults of the variables.
    known = {
        "var.project_id": "demo-project",
        "google_storage_bucket.artifacts.name": "ami-artifacts-demo-project",
        "google_storage_bucket.archive.name": "ami-raw-archive-demo-project",
        "google_service_account.dataflow.email": "dataflow-sa@demo-project.iam.gserviceaccount.com",
        "local.subnetwork_url": "https://www.googleapis.com/compute/v1/projects/demo-project/s",
        "google_pubsub_subscription.ingest.id": "projects/demo-project/subscriptions/s",
        "google_pubsub_topic.dead_letter[0].id": "projects/demo-project/topics/dlq",
        "google_bigquery_dataset.this.dataset_id": "smart_grid_analytics",
        'google_bigquery_table.this["raw_meter_readings"].table_id': "raw_meter_readings",
    } | {
        f"var.{name}": str(body["default"])
        for name, body in blocks(files, "variable").items()
        if "default" in body
    }
    text = (INFRA / "outputs.tf").read_text()
    given = text.split('output "dataflow_options"')[1].split("\noutput ")[0]
    given = given[given.index("merge(") :].replace("{ dlq_topic", "{\n  dlq_topic")
    arguments = []
    for name, expression in re.findall(r"^ +(\w+) += (.+?)(?: \} : .*)?$", given, re.MULTILINE):
        value = re.sub(r"^tostring\((.+)\)$", r"\1", expression)
        value = known.get(value) or re.sub(r"\$\{(.+?)\}", lambda one: known[one[1]], value)
        arguments.append(f"--{name}={value.strip(chr(34))}")
    assert len(arguments) == 18
    assert "${" not in str(arguments)

    config = stream_config(parse([*arguments, "--no_use_public_ips", "--no_create_tables"]))

    assert config.subscription == "projects/demo-project/subscriptions/s"
    assert config.table == "demo-project:smart_grid_analytics.raw_meter_readings"
    assert config.archive_root == "gs://ami-raw-archive-demo-project/raw"
    assert config.dlq_topic == "projects/demo-project/topics/dlq"
    assert config.window_s == 60


def test_containers_and_machines_run_commands_that_ami_has(files: dict[str, Block]) -> None:
    text = "\n".join((INFRA / name).read_text() for name in files)
    told = [json.loads(found) for found in re.findall(r"args += (\[\"[a-z].*\])", text)]
    told += [line.split() for line in re.findall(r"\bami (dagster [a-z-]+(?: --[^&\"]+)?)", text)]
    unit = (INFRA / "vm" / "ami-edge.service").read_text()
    told += [re.findall(r"^ExecStart=.*/ami (.+) \"\$\$\(.*$", unit, re.MULTILINE)[0].split()]
    names = {" ".join(words[:2]) for words in told}
    assert names == {
        "api", "dashboard --host", "figures", "dbt build", "dagster code-server",
        "dagster webserver", "dagster daemon", "simulate --config",
    }  # fmt: skip
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for words in told:
        command = commands[words[0]]
        known = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, words
    scripts = "\n".join(path.read_text() for path in (INFRA / "vm").glob("*.sh"))
    units = set(re.findall(r"\bami-(?:code-server|webserver|daemon)\b", scripts))
    assert units == {"ami-code-server", "ami-webserver", "ami-daemon"}
    assert all((INFRA / "systemd" / f"{one}.service").exists() for one in units)


def test_tables_are_those_that_the_ingest_would_make(files: dict[str, Block]) -> None:
    [local] = [block["tables"] for block in files["bigquery.tf"]["locals"] if "tables" in block]
    for made in (readings_table("p:d.raw_meter_readings"), live_table("p:d.raw_meter_readings")):
        table = local[made.table_id]
        assert table["partition_field"] == made.time_partitioning.field
        assert made.time_partitioning.type_ == bigquery.TimePartitioningType.DAY
        assert table["clustering"] == made.clustering_fields
        assert table["requires_filter"] == bool(made.require_partition_filter)
    for name in local:
        schema = ROOT / "ami_contract" / "generated" / f"{name}.bigquery.json"
        assert json.loads(schema.read_text()), name


def test_every_skipped_check_gives_a_reason() -> None:
    skips = [
        line.strip()
        for path in INFRA.glob("*.tf")
        for line in path.read_text().splitlines()
        if "checkov:skip" in line
    ]
    assert skips
    for skip in skips:
        assert re.fullmatch(r"# checkov:skip=CKV2?_GCP_\d+: .{30,}", skip), skip


def test_figures_that_metrics_read_are_those_that_are_printed(files: dict[str, Block]) -> None:
    printed = (ROOT / "ami_cli" / "figures.py").read_text()
    [figures] = [b["figures"] for b in files["log_metrics.tf"]["locals"] if "figures" in b]
    for name, figure in figures.items():
        assert f'"{figure["field"]}"' in printed, name
        assert f'"figure": "{figure["of"]}"' in printed, name
    charts = (INFRA / "dashboard.tf").read_text()
    assert {name for name in figures if f"user/{name}" in charts} == set(figures)


def test_alerts_of_the_plan_have_a_policy_with_a_remedy(files: dict[str, Block]) -> None:
    text = (INFRA / "alerts.tf").read_text()
    for alert in ("backlog_age", "dead_letters", "lag", "freshness", "api_errors"):
        body = re.search(rf"\n      {alert} = \{{(.*?)\n      \}}", text, re.DOTALL)
        assert body, alert
        assert re.search(r"remedy +=", body[1]), alert
