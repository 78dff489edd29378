"""Dead letters of the stream: to a topic or to files, long payloads whole beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from ingest_helpers import (
    NOW,
    as_json,
    files_below,
    judge,
    message,
    reading,
    run_over,
)

from ami_contract.lake import DataDir
from beam_jobs.deadletter_topic import (
    DeadLetterRecords,
    FileDeadLetters,
    PublishDeadLetters,
    to_pubsub,
)
from beam_jobs.elements import Enriched
from beam_jobs.enrich import enrich
from beam_jobs.sinks import PAYLOAD_PREFIX_BYTES, write_deadletter
from beam_jobs.source import PubSubSource
from local_pubsub.server import PubSubServer

LONG = b"[" + b"x" * (PAYLOAD_PREFIX_BYTES + 10)


def mixed() -> Enriched:
    return enrich(
        judge(
            message(as_json(reading(1), reading(2, seq=-1)), identity="a", gateway_id="g1"),
            message(b"{", identity="b"),
            message(LONG, identity="c"),
        )
    )


def test_records_are_those_of_the_local_dead_letter(tmp_path: Path, data: DataDir) -> None:
    found = run_over(DeadLetterRecords(str(tmp_path)), [mixed()])
    path = write_deadletter(data, mixed().batch, mixed().refusals)

    assert path is not None
    local = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert [orjson.loads(orjson.dumps(record)) for record in found] == local
    assert [(r["message_id"], r["row"], r["code"]) for r in found] == [
        ("b", None, "invalid_json"),
        ("c", None, "invalid_json"),
        ("a", 1, "out_of_range"),
    ]


def test_a_long_payload_is_stored_whole_before_its_record(tmp_path: Path) -> None:
    records = run_over(DeadLetterRecords(str(tmp_path)), [mixed()])

    assert list(files_below(tmp_path).values()) == [LONG]
    (name,) = [r["payload_sha256"] for r in records if r["payload_sha256"]]
    assert (tmp_path / "payloads" / name).read_bytes() == LONG


def test_files_lie_by_hour_of_ingest(tmp_path: Path) -> None:
    records = [
        {"code": "x", "ingest_ts": "2026-03-01T12:59:59Z", "n": 1},
        {"code": "x", "ingest_ts": "2026-03-01T13:00:01.5Z", "n": 2},
        {"code": "x", "ingest_ts": "2026-03-01T12:59:58Z", "n": 3},
    ]
    paths = run_over(FileDeadLetters(str(tmp_path)), records, dict[str, Any])

    found = {
        str(Path(p).parent.relative_to(tmp_path)): sorted(
            orjson.loads(line)["n"] for line in Path(p).read_bytes().splitlines()
        )
        for p in paths
    }
    assert found == {
        "segments/dt=2026-03-01/hr=12": [1, 3],
        "segments/dt=2026-03-01/hr=13": [2],
    }


def test_a_message_of_the_topic_holds_the_record_and_names_its_code() -> None:
    record = {"code": "invalid_json", "payload": "é", "ingest_ts": NOW.isoformat()}
    sent = to_pubsub(record)

    assert orjson.loads(sent.data) == record
    assert sent.attributes == {"content_type": "application/json", "code": "invalid_json"}


def test_records_are_published_to_the_topic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PubSubServer(tmp_path / "pubsub", port=0) as server:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.endpoint)
        source = PubSubSource("ami-local", "dlq", "dlq-sub", server.endpoint)
        source.ensure()
        records = run_over(DeadLetterRecords(str(tmp_path / "dead")), [mixed()])
        run_over(PublishDeadLetters("projects/ami-local/topics/dlq"), records, dict[str, Any])
        received = [item.message for item in source.pull(10, 5)]
        source.close()

    assert sorted(orjson.loads(m.data)["message_id"] for m in received) == ["a", "b", "c"]
    assert sorted(m.attributes["code"] for m in received) == [
        "invalid_json",
        "invalid_json",
        "out_of_range",
    ]
