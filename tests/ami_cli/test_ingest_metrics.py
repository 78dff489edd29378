"""The ingest's metrics as a scraper sees them, and the line it prints."""

from __future__ import annotations

import os
import subprocess
import urllib.request
from collections import Counter
from pathlib import Path

import orjson
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ami_cli.ingest_metrics import IngestMetrics, serve
from ami_cli.ingestion import BatchWatch, IntervalLine, StoredBatch
from ami_cli.platform_run import environment, start_ingest, start_pubsub
from ami_cli.processes import Supervisor, ami_command, answers, free_port
from ami_cli.subscription import ensure_subscription
from ami_contract.errors import SettingsError
from ami_contract.settings import load_settings
from beam_jobs.bounded import Distribution, RunMetrics
from beam_jobs.local import Totals


def samples(text: str) -> dict[str, float]:
    """Value by name and labels, as Prometheus parses the text."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = "".join(f"{{{key}={value}}}" for key, value in sample.labels.items())
            found[sample.name.removeprefix("ami_ingest_") + labels] = sample.value
    return found


def scraped(metrics: IngestMetrics) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(metrics)
    return samples(generate_latest(registry).decode())


class Times:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at_s = 100.0

    def __call__(self) -> float:
        return self.at_s


def totals_after(batches: int, **counters: int) -> Totals:
    return Totals(batches, Counter({name.replace("__", "."): n for name, n in counters.items()}))


def test_before_the_first_batch_there_are_zeros_and_nothing_about_a_last_batch() -> None:
    found = scraped(IngestMetrics(Times()))

    assert found == {
        "messages_total": 0,
        "payload_bytes_total": 0,
        "readings_stored_total": 0,
        "unknown_fields_total": 0,
        "batches_total": 0,
    }


def test_two_batches_add_up_and_the_second_is_the_last() -> None:
    clock = Times()
    metrics = IngestMetrics(clock)
    watch = BatchWatch([metrics.batch_stored])
    totals = totals_after(1, messages=3, payload_bytes=300, stored=30, refused__not_utf8=1)
    totals.distributions = {"latency_event_ms": Distribution(30, 60_000, 1000, 9000)}
    clock.at_s += 2
    watch.report(totals)

    clock.at_s += 5
    totals.batches, totals.last_batch_s = 2, 0.5
    totals.counters += Counter(messages=2, payload_bytes=150, stored=20, unknown_fields=4)
    totals.distributions = {
        "latency_event_ms": Distribution(20, 30_000, 500, 3000),
        "latency_gateway_ms": Distribution(10, 1000, 50, 250),
    }
    watch.report(totals)
    clock.at_s += 7

    assert scraped(metrics) == {
        "messages_total": 5,
        "payload_bytes_total": 450,
        "readings_stored_total": 50,
        "unknown_fields_total": 4,
        "batches_total": 2,
        "refused_total{code=not_utf8}": 1,
        "latency_seconds_count{since=event_ts}": 50,
        "latency_seconds_sum{since=event_ts}": 90,
        "latency_seconds_count{since=gateway_ingest_ts}": 10,
        "latency_seconds_sum{since=gateway_ingest_ts}": 1,
        "last_batch_latency_max_seconds{since=event_ts}": 3,
        "last_batch_latency_max_seconds{since=gateway_ingest_ts}": 0.25,
        "last_batch_age_seconds": 7,
        "last_batch_duration_seconds": 0.5,
        "last_batch_messages": 2,
        "last_batch_payload_bytes": 150,
    }


def test_the_line_shows_mean_and_maximum_of_its_own_interval() -> None:
    clock, lines = Times(), []
    line = IntervalLine(clock, lines.append)

    def batch(stored: int, all_stored: int, latency: Distribution) -> StoredBatch:
        totals = totals_after(7, messages=9, stored=all_stored, refused__not_utf8=2)
        own = RunMetrics({"stored": stored}, {"latency_event_ms": latency})
        return StoredBatch(totals, own, 0.1)

    line(batch(4, 4, Distribution(4, 40_000, 1, 39_000)))
    clock.at_s += 10
    line(batch(6, 10, Distribution(6, 20_000, 1, 5000)))
    clock.at_s += 10
    line(batch(30, 40, Distribution(30, 3000, 20, 200)))

    assert lines == [
        f"ingest batches=7 messages=9 stored={stored} refused=2 unknown_fields=0 {rest}"
        for stored, rest in (
            (10, "rate=1/s event_latency_mean_s=6.000 event_latency_max_s=39.000"),
            (40, "rate=3/s event_latency_mean_s=0.100 event_latency_max_s=0.200"),
        )
    ]


def test_a_report_of_a_problem_is_no_batch() -> None:
    batches: list[StoredBatch] = []
    watch = BatchWatch([batches.append])
    totals = totals_after(0)
    totals.problem = "the disk is full"
    watch.report(totals)
    assert batches == []

    totals.batches = 1
    watch.report(totals)
    assert len(batches) == 1


def test_a_taken_port_is_named() -> None:
    port = free_port()
    with (
        serve(IngestMetrics(Times()), port),
        pytest.raises(SettingsError, match=rf"port {port} \(ingest metrics\) is in use"),
        serve(IngestMetrics(Times()), port),
    ):
        pass


def test_a_small_ingest_is_scraped_over_http(tmp_path: Path) -> None:
    port = free_port()
    own = load_settings(data_dir=tmp_path / "data", pubsub_port=free_port())
    variables = environment(own) | {"AMI_INGEST_METRICS_PORT": str(port)}
    with Supervisor(own.data.logs, variables) as supervisor:
        start_pubsub(supervisor, own)
        ensure_subscription(own)
        start_ingest(supervisor)
        url = f"http://127.0.0.1:{port}/metrics"
        supervisor.wait_until(lambda: answers(url), "the start of the metrics", 60)
        config = tmp_path / "config.yaml"
        config.write_text("pole_id: p1\nnum_meters: 2\npublish_mode: batch\n")
        window = ("--from", "2026-03-01T14:00", "--to", "2026-03-01T14:05", "--speed", "max")
        subprocess.run(
            ami_command("simulate", "--config", str(config), *window),
            env={**os.environ, **variables},
            check=True,
            capture_output=True,
            timeout=120,
        )

        def scrape() -> dict[str, float]:
            with urllib.request.urlopen(url, timeout=5) as response:
                assert response.headers["Content-Type"].startswith("text/plain")
                return samples(response.read().decode())

        supervisor.wait_until(
            lambda: scrape()["readings_stored_total"] == 600, "the ingest of 600 readings", 60
        )
        found = scrape()
    lines = [
        orjson.loads(line)
        for path in own.data.archive.glob("segments/*/*/*.jsonl")
        for line in path.read_bytes().splitlines()
    ]
    assert found["messages_total"] == len({line["message_id"] for line in lines})
    assert found["batches_total"] >= 1
    assert found["payload_bytes_total"] > 600 * 100
    assert 0 <= found["last_batch_age_seconds"] < 60
    assert 0 < found["last_batch_duration_seconds"] < 60
    for since in ("event_ts", "gateway_ingest_ts"):
        assert found[f"latency_seconds_count{{since={since}}}"] == found["messages_total"]
        assert found[f"latency_seconds_sum{{since={since}}}"] > 0
