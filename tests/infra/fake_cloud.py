"""Stands in for gcloud, bq, terraform, curl and the project's programs: reads how it is called,
notes it in `calls` and keeps what it made in `world.json`, both beside the links it is called by.

A call that starts with the text of `fails` ends with status 1.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(sys.argv[0]).parent
NOTHING: dict[str, Any] = {
    "services": [], "buckets": [], "objects": [], "resources": [], "deployed": {}, "images": [],
    "secrets": {}, "jobs": {}, "sql_users": [], "registry_rows": 0, "orchestrator": "dagster_vm",
}  # fmt: skip
RESOURCES = ["google_bigquery_dataset.this", "google_pubsub_subscription.ingest"]
DATAFLOW_OPTIONS = {"job_name": "ami-ingest", "region": "r1", "runner": "DataflowRunner"}
MADE_WITH = {
    "api_image": "google_cloud_run_v2_service.api[0]",
    "dagster_release": "google_compute_instance.dagster[0]",
    "dagster_image": "google_cloud_run_v2_service.dagster[0]",
    "edge_release": "google_compute_instance.edge[0]",
}


def option(arguments: list[str], name: str) -> str:
    """Value of an option, written `name value` or `name=value`; empty without it."""
    for number, argument in enumerate(arguments):
        if argument == name:
            return arguments[number + 1]
        if argument.startswith(f"{name}="):
            return argument.removeprefix(f"{name}=")
    return ""


def outputs(world: dict[str, Any]) -> dict[str, Any]:
    """Terraform's outputs."""
    if not world["resources"]:
        return {}
    deployed = world["deployed"]
    return {
        "region": "r1",
        "orchestrator": world["orchestrator"],
        "pubsub_topic": "ami-meter-data",
        "pubsub_subscription": "ami-meter-data-sub",
        "dlq_topic": "ami-meter-data-dlq",
        "bq_dataset": "demo-project.smart_grid_analytics",
        "image_repository": "r1-docker.pkg.dev/demo-project/ami",
        "artifact_bucket_uri": "gs://ami-artifacts-demo-project",
        "raw_archive_bucket_uri": "gs://ami-raw-archive-demo-project",
        "dagster_sql_instance": "demo-project:r1:ami-dagster",
        "api_url": "https://api" if deployed.get("api_image") else "",
        "dagster": "vm:ami-dagster:r1-a" if deployed.get("dagster_release") else "",
        "dataflow_options": DATAFLOW_OPTIONS,
        "deployed": deployed,
    }


def terraform(world: dict[str, Any], words: list[str]) -> str:
    """Plan keeps the variables in its file; apply makes them true."""
    command, rest = words[1], words[2:]
    variables = dict(
        word.removeprefix("-var=").split("=", 1) for word in rest if word.startswith("-var=")
    )
    if command == "plan":
        Path(option(rest, "-out")).write_text(json.dumps(variables))
    if command == "apply" and "-auto-approve" in rest:
        assert "-target=google_bigquery_dataset.this" in rest
        world["unprotected"] = variables["deletion_protection"] == "false"
    elif command == "apply":
        told = json.loads(Path(rest[-1]).read_text())
        names = (*MADE_WITH, "edge_config", "enable_edge_vm")
        world["deployed"] |= {name: told[name] for name in names if name in told}
        made = [MADE_WITH[name] for name in MADE_WITH if world["deployed"].get(name)]
        if world["deployed"].get("enable_edge_vm") != "true":
            made = [one for one in made if "edge" not in one]
        world["resources"] = [*RESOURCES, *made]
    if command == "destroy":
        assert world.pop("unprotected"), "tables are protected"
        world |= {"resources": [], "deployed": {}, "images": [], "secrets": {}, "sql_users": []}
        world["objects"] = [one for one in world["objects"] if "tfstate" in one]
    if command == "state":
        return "\n".join(world["resources"])
    if command == "output" and rest:
        found = outputs(world)
        if "-raw" in rest:
            return str(found[rest[-1]])
        if rest[-1] == "-json":
            return json.dumps({name: {"value": value} for name, value in found.items()})
        if "-json" in rest:
            return json.dumps(found[rest[-1]])
    return ""


def known(is_there: bool) -> str:
    """Nothing; ends the program with status 1 when the thing is not there."""
    if not is_there:
        sys.exit(1)
    return ""


def gcloud(world: dict[str, Any], words: list[str]) -> str:
    """The commands that scripts use."""
    text = " ".join(words)
    if text.startswith("config get-value account"):
        return "ann@example.com"
    if text.startswith("billing projects describe"):
        return "True"
    if text.startswith("services enable"):
        world["services"] = sorted({*world["services"], "compute.googleapis.com"})
    if text.startswith("services list"):
        return "\n".join([*world["services"], "pubsub.googleapis.com", "storage.googleapis.com"])
    if words[:3] == ["storage", "buckets", "describe"]:
        return known(words[3] in world["buckets"])
    if words[:3] == ["storage", "buckets", "create"]:
        assert words[3] not in world["buckets"]
        world["buckets"].append(words[3])
    if words[:2] == ["storage", "ls"]:
        return known(words[2] in world["objects"] or words[2].endswith("/raw/"))
    if words[:2] == ["storage", "cp"]:
        source, target = words[-2:]
        if target.startswith("gs://"):
            assert Path(source).exists()
            world["objects"] = sorted({*world["objects"], target})
        else:
            Path(target).write_text('environment = "demo"\n')
    if words[:2] == ["storage", "rm"]:
        world["buckets"].remove(words[-1])
        world["objects"] = [one for one in world["objects"] if not one.startswith(words[-1])]
    if words[:2] == ["builds", "submit"]:
        substitutions = option(words, "--substitutions")
        world["images"].append(re.findall(r"_IMAGE=([^,]+)", substitutions)[0])
    if text.startswith("artifacts docker images describe"):
        known(words[4] in world["images"])
        return f"{words[4].rpartition(':')[0]}@sha256:1" if "--format" in words else ""
    if text.startswith("secrets versions list"):
        return "1" if world["secrets"].get(words[3]) else ""
    if text.startswith("secrets versions add"):
        world["secrets"].setdefault(words[3], []).append(sys.stdin.read())
    if text.startswith("sql users create"):
        world["sql_users"].append(words[3])
    if text.startswith("dataflow jobs list"):
        return "\n".join(id_ for id_, state in world["jobs"].items() if state == "RUNNING")
    if text.startswith("dataflow jobs describe"):
        return f"JOB_STATE_{world['jobs'][words[3]]}"
    if text.startswith(("dataflow jobs drain", "dataflow jobs cancel")):
        world["jobs"][words[3]] = "DRAINED" if words[2] == "drain" else "CANCELLED"
    if text.startswith("pubsub topics list"):
        return "\n".join(world.get("forgotten_topics", []))
    return "token" if "print-" in text else ""


def bq(world: dict[str, Any], words: list[str]) -> str:
    """Counts and loads."""
    if words[0] == "load":
        assert Path(words[-1]).exists()
        world["registry_rows"] = 20
    if words[0] == "query" and "COUNT(*)" in words[-1]:
        count = world["registry_rows"] if "meters`" in words[-1] else world.get("readings", 0)
        return f"f0_\n{count}"
    return known(False) if words[0] == "show" else ""


def own(world: dict[str, Any], words: list[str]) -> str:
    """`python` and `ami` of the project's environment."""
    if "--out" in words:
        folder = Path(option(words, "--out"), "registry")
        folder.mkdir(parents=True)
        (folder / "meters.csv").write_text("meter_id\n")
    if "beam_jobs.main" in words:
        if "--update" in words:
            world["jobs"] = dict.fromkeys(world["jobs"], "UPDATED")
        world["jobs"][f"job-{len(world['jobs']) + 1}"] = "RUNNING"
    return "3.11 2.77.0" if "-c" in words else ""


def main() -> None:
    """Note the call, change the world, answer."""
    name, words = Path(sys.argv[0]).name, sys.argv[1:]
    with (HERE / "calls").open("a") as calls:
        calls.write(json.dumps([name, *words]) + "\n")
    fails = (HERE / "fails").read_text() if (HERE / "fails").exists() else None
    if fails and " ".join([name, *words]).startswith(fails):
        sys.exit(1)
    place = HERE / "world.json"
    world = json.loads(place.read_text()) if place.exists() else dict(NOTHING)
    if name == "curl":
        answer = '{"timeSeries": [{"points": [{"value": {"doubleValue": 4.5}}]}]}'
    else:
        handlers = {"terraform": terraform, "gcloud": gcloud, "bq": bq}
        answer = handlers.get(name, own)(world, words)
    place.write_text(json.dumps(world))
    if answer:
        print(answer)


if __name__ == "__main__":
    main()
