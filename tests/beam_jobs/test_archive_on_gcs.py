"""Files of the archive in a bucket, written by Beam through Google's own client to an emulator."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from apache_beam.internal.gcp import auth
from apache_beam.testing.test_stream import TestStream
from apache_beam.transforms.window import TimestampedValue
from gcp_storage_emulator.server import create_server
from google.cloud import storage
from ingest_helpers import streamed

from beam_jobs.windowed_files import FileKey, WriteWindowedFiles, write_object

BUCKET = "ami-archive"


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def bucket(emulator: str, monkeypatch: pytest.MonkeyPatch) -> storage.Bucket:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator)
    # Beam looks for an account for 20 seconds before it goes without.
    monkeypatch.setattr(auth._Credentials, "_credentials_init", True)
    found = storage.Client.create_anonymous_client().bucket(BUCKET)
    for blob in found.list_blobs():
        blob.delete()
    return found


def objects(bucket: storage.Bucket) -> dict[str, bytes]:
    return {blob.name: blob.download_as_bytes() for blob in bucket.list_blobs()}


def write(root: str, *pieces: tuple[float, str, bytes]) -> list[str]:
    elements = [
        TimestampedValue(((folder, "jsonl"), content), at_s) for at_s, folder, content in pieces
    ]
    stream = TestStream().with_output_types(tuple[FileKey, bytes]).advance_watermark_to(0)
    events = stream.add_elements(elements).advance_watermark_to_infinity()
    return streamed(WriteWindowedFiles(root, 60, "archive"), events)


def test_a_window_of_a_pole_is_one_object(bucket: storage.Bucket) -> None:
    root = f"gs://{BUCKET}/raw"
    paths = write(
        root,
        (1, "pole_id=p1/hr=00", b'{"seq":2}\n'),
        (59, "pole_id=p1/hr=00", b'{"seq":1}\n'),
        (61, "pole_id=p1/hr=00", b'{"seq":3}\n'),
        (2, "pole_id=p2/hr=00", b'{"seq":9}\n'),
    )

    stored = objects(bucket)
    assert sorted(f"gs://{BUCKET}/{name}" for name in stored) == sorted(paths)
    assert {(name[:41], content) for name, content in stored.items()} == {
        ("raw/pole_id=p1/hr=00/19700101T000000Z-000", b'{"seq":1}\n{"seq":2}\n'),
        ("raw/pole_id=p1/hr=00/19700101T000100Z-000", b'{"seq":3}\n'),
        ("raw/pole_id=p2/hr=00/19700101T000000Z-000", b'{"seq":9}\n'),
    }


def test_a_bundle_that_runs_again_leaves_the_same_objects(bucket: storage.Bucket) -> None:
    pieces = [(1.0, "a", b"1\n"), (2.0, "a", b"2\n")]
    write(f"gs://{BUCKET}/raw", *pieces)
    first = objects(bucket)
    write(f"gs://{BUCKET}/raw", *reversed(pieces))

    assert objects(bucket) == first
    assert list(first.values()) == [b"1\n2\n"]


def test_an_object_of_megabytes_is_stored_byte_for_byte(bucket: storage.Bucket) -> None:
    content = bytes(range(256)) * 40_000
    write_object(f"gs://{BUCKET}/large.arrow", content)
    assert objects(bucket) == {"large.arrow": content}
