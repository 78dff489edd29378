"""The archive's layout: one file per pole and closed minute, every reading once at any moment."""

from __future__ import annotations

import gzip
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_helpers import (
    ARROW,
    BOUNDS,
    NDJSON,
    arrow_table,
    as_arrow,
    as_json,
    as_ndjson,
    reading,
)

from ami_contract.errors import LakeError
from ami_contract.lake import DataDir
from beam_jobs import layout as layout_module
from beam_jobs.archive import archived
from beam_jobs.decode import decode
from beam_jobs.elements import Message, MessageBatch
from beam_jobs.layout import (
    Layout,
    LayoutThread,
    archive_files,
    lay_out,
    read_archive,
    read_lines,
    read_rows,
    segment_files,
)
from beam_jobs.sinks import write_archived
from beam_jobs.validate import validate

START = datetime(2026, 3, 1, 11, 30, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def sample(second: float, number: int = 0, pole: str = "p1") -> dict[str, Any]:
    return reading(seq=number, event_ts=at(second).isoformat(), pole_id=pole)


def arrive(data: DataDir, segment: str, second: float, *payloads: tuple[str, bytes]) -> None:
    """Archive messages (content type, payload) as one segment that came at `second`."""
    clock = at(second)
    messages = [
        Message(f"{segment}-{i}", clock, {"content_type": kind}, payload)
        for i, (kind, payload) in enumerate(payloads)
    ]
    batch = MessageBatch(segment, clock, messages)
    found = validate(decode(batch, BOUNDS))
    for path in write_archived(data, batch, archived(batch, found.refusals)):
        os.utime(path, (clock.timestamp(), clock.timestamp()))


def json_of(*readings: dict[str, Any]) -> tuple[str, bytes]:
    return "application/json", as_json(*readings)


def arrow_of(*readings: dict[str, Any]) -> tuple[str, bytes]:
    return ARROW, as_arrow(arrow_table(*readings))


def numbers_in(path: Path) -> list[int]:
    """`seq` of every reading in a file of the archive."""
    if path.suffix == ".arrow":
        return [
            seq
            for payload in read_rows(path)["payload"].to_pylist()
            for seq in pa.ipc.open_stream(payload).read_all()["seq"].to_pylist()
        ]
    return [r["seq"] for line in read_lines(path) for r in orjson.loads(line)["readings"]]


def numbers(data: DataDir, **bounds: datetime) -> Counter[int]:
    with read_archive(data):
        return Counter(n for path in archive_files(data, **bounds) for n in numbers_in(path))


def laid_out(data: DataDir) -> dict[str, list[int]]:
    """`seq` by folder below the layout, of all its files."""
    found: dict[str, list[int]] = {}
    for path in sorted(data.archive_raw.glob("*/*/*/*/*.*")):
        folder = str(path.parent.relative_to(data.archive_raw))
        found.setdefault(folder, []).extend(numbers_in(path))
    return found


def round_at(data: DataDir, second: float, **options: Any) -> layout_module.Report:
    minutes = options.pop("minutes", 1)
    compress = options.pop("gzip", False)
    found = lay_out(data, Layout(minutes, compress), now=at(second), **options)
    for path in segment_files(data):  # a carry counts as written when its round ran
        if path.stat().st_mtime > at(10 * 86400).timestamp():
            os.utime(path, (at(second).timestamp(), at(second).timestamp()))
    return found


MINUTE_30 = "pole_id=p1/dt=2026-03-01/hr=11/min=30"
MINUTE_31 = "pole_id=p1/dt=2026-03-01/hr=11/min=31"


def test_closed_minutes_become_a_file_each_and_open_ones_are_carried(data: DataDir) -> None:
    arrive(data, "a", 30, json_of(sample(1, 1), sample(2, 2)))
    arrive(data, "b", 70, json_of(sample(59, 3), sample(60, 4)), json_of(sample(5, 5, "p2")))
    report = round_at(data, 180)

    assert laid_out(data) == {MINUTE_30: [1, 2, 3], MINUTE_30.replace("p1", "p2"): [5]}
    assert (report.rounds, report.segments, report.files, report.carried) == (1, 2, 2, 1)
    (carry,) = segment_files(data)
    assert numbers_in(carry) == [4]


def test_a_minute_stays_open_for_two_minutes_after_its_end(data: DataDir) -> None:
    arrive(data, "a", 10, json_of(sample(1, 1)))

    assert round_at(data, 179.9).rounds == 0
    assert round_at(data, 179.9, everything=True).files == 0
    assert laid_out(data) == {}
    assert round_at(data, 200).rounds == 0  # the carry came at 179.9
    assert round_at(data, 200, everything=True).files == 1


def test_late_readings_get_a_file_of_their_own(data: DataDir) -> None:
    arrive(data, "a", 10, json_of(sample(1, 1)))
    round_at(data, 180)
    arrive(data, "late", 400, json_of(sample(2, 2)))
    round_at(data, 600)

    files = sorted((data.archive_raw / MINUTE_30).iterdir())
    assert [numbers_in(path) for path in files] == [[1], [2]]


def test_a_line_with_one_place_is_copied_and_others_are_cut_without_a_letter_changed(
    data: DataDir,
) -> None:
    odd = (
        b'{"event_ts":"2026-03-01T12:30:01+01:00","meter_id":"m1","pole_id":"p\\u0031","seq":1,'
        b'"voltage_v":240.50,"current_a":4.5e0,"power_kw":1.0,"x":NaN}'
    )
    other = orjson.dumps(sample(61, 2))
    arrive(data, "a", 70, ("application/json", b"[" + odd + b" ,\n" + other + b"]"))
    arrive(data, "b", 70, (NDJSON, other))
    (before,) = [p.read_bytes() for p in segment_files(data) if p.name == "b.jsonl"]
    round_at(data, 300)

    (first,) = (data.archive_raw / MINUTE_30).iterdir()
    (second,) = (data.archive_raw / MINUTE_31).iterdir()
    assert first.read_bytes().endswith(b'"readings":[' + odd + b"]}\n")
    cut, copied = second.read_bytes().splitlines(keepends=True)
    assert cut.endswith(b'"readings":[' + other + b"]}\n")
    assert copied == before


def test_arrow_payloads_are_copied_or_cut_into_arrow_files(data: DataDir) -> None:
    whole = arrow_of(sample(1, 1), sample(2, 2))
    arrive(data, "a", 70, whole, arrow_of(sample(59, 3), sample(61, 4)))
    round_at(data, 300, gzip=True)

    (first,) = (data.archive_raw / MINUTE_30).iterdir()
    table = read_rows(first)
    assert first.suffix == ".arrow"
    assert table["message_id"].to_pylist() == ["a-0", "a-1"]
    assert table["payload"][0].as_py() == whole[1]
    assert laid_out(data) == {MINUTE_30: [1, 2, 3], MINUTE_31: [4]}


def test_five_minutes_share_a_file_and_gzip_is_an_option(data: DataDir) -> None:
    arrive(data, "a", 290, json_of(sample(0, 1), sample(299.999, 2), sample(300, 3)))
    round_at(data, 420, minutes=5, gzip=True)

    (path,) = (data.archive_raw / MINUTE_30).iterdir()
    assert path.name.endswith(".jsonl.gz")
    assert numbers_in(path) == [1, 2]
    assert len(gzip.decompress(path.read_bytes()).splitlines()) == 1


@pytest.mark.parametrize("pole", [".", "..", "a:b", "x" * 128])
def test_a_pole_cannot_lead_out_of_the_archive(data: DataDir, pole: str) -> None:
    arrive(data, "a", 1, json_of(sample(1, 1, pole)))
    round_at(data, 300)

    assert list(laid_out(data)) == [MINUTE_30.replace("p1", pole)]
    assert not list(data.root.glob("[!ar]*"))


def test_a_segment_that_somebody_changed_is_named_and_nothing_is_lost(data: DataDir) -> None:
    arrive(data, "a", 1, json_of(sample(1, 1)))
    (path,) = segment_files(data)
    whole = path.read_bytes()
    for broken in (
        whole[:-9],
        b"\n",
        whole.replace(b'"p1"', b'"../p1"'),
        whole.replace(b"T", b"X"),
    ):
        path.write_bytes(broken)
        with pytest.raises(LakeError, match=r"a\.jsonl"):
            round_at(data, 300, everything=True)
    path.write_bytes(whole)
    round_at(data, 300, everything=True)

    assert numbers(data) == {1: 1}
    assert not list(data.root.glob("p1*"))


def test_a_round_takes_no_more_than_it_may_hold(data: DataDir) -> None:
    for i in range(6):
        arrive(data, f"s{i}", 10 + i, json_of(sample(i, i)))
    size = segment_files(data)[0].stat().st_size

    assert round_at(data, 300, round_bytes=2 * size).rounds == 3
    assert numbers(data) == Counter(range(6))


def test_files_of_a_range_leave_out_what_cannot_hold_it(data: DataDir) -> None:
    arrive(data, "a", 10, json_of(sample(1, 1), sample(-3600, 2)))
    round_at(data, 600)
    arrive(data, "b", 7200, json_of(sample(7199, 3)))
    hour = START.replace(minute=0)

    assert numbers(data, start=hour, end=hour + timedelta(hours=1)) == {1: 1, 3: 1}
    assert numbers(data, end=hour) == {2: 1, 3: 1}
    assert numbers(data, start=hour + timedelta(hours=2)) == {3: 1}


class Killed(BaseException):
    """Stands for kill -9: no handler of the code catches it."""


@contextmanager
def killed_at(step: int) -> Iterator[list[str]]:
    """The `step`-th change of the disk by the layout does not come about."""
    done: list[str] = []

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if len(done) == step:
                raise Killed
            done.append(name)
            return real(*args, **kwargs)

        return call

    with (
        mock.patch.object(Path, "replace", counted("rename", Path.replace)),
        mock.patch.object(Path, "unlink", counted("delete", Path.unlink)),
    ):
        yield done


def test_killed_at_any_change_of_the_disk_every_reading_stays_there_once(tmp_path: Path) -> None:
    step = 0
    while True:
        data = DataDir(tmp_path / str(step))
        arrive(data, "a", 30, json_of(sample(1, 1), sample(61, 2)), arrow_of(sample(2, 3)))
        arrive(data, "b", 40, json_of(sample(125, 4)))
        with killed_at(step) as done, suppress(Killed):
            round_at(data, 240)
        finished = len(done) < step
        assert numbers(data) == Counter([1, 2, 3, 4]), step
        arrive(data, "c", 241, json_of(sample(3, 5)))
        assert numbers(data) == Counter([1, 2, 3, 4, 5]), step
        round_at(data, 800, everything=True)
        assert numbers(data) == Counter([1, 2, 3, 4, 5]), step
        assert segment_files(data) == []
        assert list(data.archive_rounds.iterdir()) == []
        assert sorted(n for found in laid_out(data).values() for n in found) == [1, 2, 3, 4, 5]
        if finished:
            break
        step += 1
    assert step > 8


@settings(max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.just("arrive"),
                st.lists(
                    st.tuples(st.integers(-400, 100), st.sampled_from(["p1", ".."])),
                    min_size=1,
                    max_size=4,
                ),
                st.sampled_from(["json", "ndjson", "arrow"]),
            ),
            st.tuples(st.just("round"), st.integers(0, 12), st.booleans()),
            st.tuples(st.just("wait"), st.integers(1, 400), st.none()),
        ),
        max_size=12,
    ),
    st.sampled_from([1, 5]),
)
def test_any_interleaving_of_arrivals_rounds_and_kills_shows_every_reading_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any], minutes: int
) -> None:
    data = DataDir(tmp_path_factory.mktemp("archive"))
    expected: Counter[int] = Counter()
    clock = 0
    for kind, what, how in steps:
        if kind == "wait":
            clock += what
        elif kind == "arrive":
            base = sum(expected.values())
            readings = [sample(clock + lag, base + i, pole) for i, (lag, pole) in enumerate(what)]
            expected.update(base + i for i in range(len(what)))
            payload = {
                "json": lambda r: json_of(*r),
                "ndjson": lambda r: (NDJSON, as_ndjson(*r)),
                "arrow": lambda r: arrow_of(*r),
            }[how](readings)
            arrive(data, f"s{base}", clock, payload)
        else:
            with killed_at(what), suppress(Killed):
                round_at(data, clock, minutes=minutes, everything=how)
        assert numbers(data) == expected
    round_at(data, clock + 1000, minutes=minutes, everything=True)
    assert numbers(data) == expected
    assert segment_files(data) == []


def test_a_reader_keeps_the_files_it_listed_until_it_has_read_them(data: DataDir) -> None:
    arrive(data, "a", 10, json_of(sample(1, 1)))
    stop = threading.Event()
    worker = threading.Thread(target=lambda: round_at(data, 300, stop=stop))
    with read_archive(data):
        files = archive_files(data)
        worker.start()
        worker.join(0.5)
        assert worker.is_alive()
        assert [numbers_in(path) for path in files] == [[1]]
        assert archive_files(data) == files
    worker.join(10)

    assert laid_out(data) == {MINUTE_30: [1]}


def test_a_round_held_up_by_readers_ends_when_it_is_told_to_and_is_done_later(
    data: DataDir,
) -> None:
    arrive(data, "a", 10, json_of(sample(1, 1)))
    stop = threading.Event()
    stop.set()
    with read_archive(data):
        assert round_at(data, 300, stop=stop).rounds == 0
    assert round_at(data, 300).rounds == 1
    assert numbers(data) == {1: 1}


def test_the_thread_lays_out_and_outlives_a_fault(data: DataDir) -> None:
    arrive(data, "a", 10, json_of(sample(1, 1)))
    (path,) = segment_files(data)
    whole = path.read_bytes()
    path.write_bytes(b"broken\n")
    with LayoutThread(data, Layout(1), now=lambda: at(300), every_s=0.01):
        threading.Event().wait(0.1)
        path.write_bytes(whole)
        os.utime(path, (at(10).timestamp(), at(10).timestamp()))
        deadline = threading.Event()
        for _ in range(500):
            if laid_out(data):
                break
            deadline.wait(0.01)

    assert laid_out(data) == {MINUTE_30: [1]}


@pytest.mark.parametrize(
    ("name", "read"),
    [("a.jsonl.gz", lambda path: list(read_lines(path))), ("a.arrow", read_rows)],
)
def test_a_file_of_the_archive_that_cannot_be_read_is_named_with_what_to_do(
    tmp_path: Path, name: str, read: Callable[[Path], object]
) -> None:
    path = tmp_path / name
    path.write_bytes(b"damaged")
    with pytest.raises(LakeError, match=rf"{name}: .*; restore it from a backup, or move it away"):
        read(path)
