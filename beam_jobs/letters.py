"""Dead letters: reads what was refused, gives it back as messages and stores what is good by now.

A letter counts until its id stands in a file of `deadletter/replayed/`. A replay of letters writes

    intent replaying/<name>.json → archive, landing, letters of what is left →
    replayed/<name>.json → intent deleted

under names made of <name> alone. Until the third step its letters count and what it wrote to the
archive does not; one that was cut off is finished first by the next.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec

from ami_contract.errors import AmiError, LakeError, RejectionCode
from ami_contract.lake import DataDir
from ami_contract.reading import Attribute, ContentType
from ami_store.files import TEMPORARY_PREFIX, locked, write_bytes
from ami_store.ledger import replayed_letters
from beam_jobs.archive import archived
from beam_jobs.bounded import BoundedGraph
from beam_jobs.decode import PayloadBounds, decode
from beam_jobs.decode_parts import content_type_of
from beam_jobs.elements import Message, MessageBatch
from beam_jobs.enrich import enrich
from beam_jobs.layout import commit_archive, unfinished_replays
from beam_jobs.pipeline import Ingest
from beam_jobs.validate import validate

log = logging.getLogger("ami.deadletter")

CHUNK_BYTES: Final = 32 * 1024 * 1024
CHUNK_LETTERS: Final = 10_000


class Letter(msgspec.Struct, gc=False):
    """A dead letter as it stands in its line; see `beam_jobs.sinks.dead_letter`."""

    dead_letter_id: str
    code: str
    detail: str
    message_id: str
    publish_time: str
    ingest_ts: str
    attributes: dict[str, str]
    payload_bytes: int
    field: str | None = None
    row: int | None = None
    readings: int | None = None
    source_file: str | None = None
    source_row: int | None = None
    meter_id: str | None = None
    pole_id: str | None = None
    seq: int | None = None
    payload_sha256: str | None = None
    payload: str | None = None
    payload_base64: str | None = None

    @property
    def arrived_at(self) -> datetime:
        """`ingest_ts` as a time."""
        return datetime.fromisoformat(self.ingest_ts)

    @property
    def count(self) -> int:
        """Readings it stands for; 1 for a payload that could not be read."""
        return self.readings or 1


_LETTER: Final = msgspec.json.Decoder(Letter)


@dataclass(frozen=True)
class Choice:
    """Which letters are meant; a bound that is not given does not bind.

    Attributes:
        codes, ids, meters: one of these.
        since, until: arrived in [since, until).
    """

    codes: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    meters: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether `letter` is meant."""
        return (
            (not self.codes or letter.code in self.codes)
            and (not self.ids or letter.dead_letter_id in self.ids)
            and (not self.meters or letter.meter_id in self.meters)
            and (self.since is None or letter.arrived_at >= self.since)
            and (self.until is None or letter.arrived_at < self.until)
        )


EVERY: Final = Choice()


@dataclass
class Replayed:
    """What a replay of letters did.

    Attributes:
        letters: judged.
        left: letters that left the dead letter.
        stored: readings stored.
        refused: readings and payloads refused again, by code.
    """

    letters: int = 0
    left: int = 0
    stored: int = 0
    refused: Counter[str] = field(default_factory=Counter)


def letters(data: DataDir, choice: Choice = EVERY) -> Iterator[Letter]:
    """The letters that count, once each, in the order of their segments.

    Raises:
        LakeError: a segment is damaged; names file and line.
    """
    # Segments first: a replay that ends in between is then seen as ended.
    segments = sorted(data.deadletter.glob("segments/dt=*/hr=*/[!.]*.jsonl"))
    unfinished = unfinished_replays(data)
    seen = set(replayed_letters(data))
    for path in segments:
        if path.stem in unfinished:
            continue
        for letter in _in_segment(path):
            if letter.dead_letter_id not in seen:
                seen.add(letter.dead_letter_id)
                if choice.takes(letter):
                    yield letter


def _in_segment(path: Path) -> Iterator[Letter]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield _LETTER.decode(line)
                except msgspec.DecodeError as error:
                    raise LakeError(
                        f"{path}:{number} is no dead letter ({error}); restore the file from a "
                        "backup, or remove the line to go on without that letter"
                    ) from error
    except OSError as error:
        raise LakeError(
            f"cannot read {path}: {error}; restore it from a backup, or move it away to go on "
            "without its letters"
        ) from error


def whole_payload(data: DataDir, letter: Letter) -> bytes:
    """Payload of a letter, all of it.

    Raises:
        LakeError: the file that holds it is not there.
    """
    if letter.payload_sha256:
        path = data.deadletter_payloads / Path(letter.payload_sha256).name
        try:
            return path.read_bytes()
        except OSError as error:
            raise LakeError(
                f"dead letter {letter.dead_letter_id}: cannot read {path} ({error}); restore "
                "it from a backup"
            ) from error
    if letter.payload is not None:
        return letter.payload.encode()
    try:
        return base64.b64decode(letter.payload_base64 or "", validate=True)
    except binascii.Error as error:
        raise LakeError(
            f"dead letter {letter.dead_letter_id}: its payload is no base64 ({error}); restore "
            f"its line below {data.deadletter / 'segments'} from a backup"
        ) from error


def message_of(data: DataDir, letter: Letter, *, recorded_clock: bool) -> Message:
    """The message that a letter stands for: the payload, or just its refused readings.

    Args:
        data: where whole payloads lie.
        letter: any.
        recorded_clock: judge and store it as of its first arrival instead of now.

    Raises:
        LakeError: its payload is not there.
    """
    payload, attributes = whole_payload(data, letter), letter.attributes
    if letter.row is not None:
        content_type = content_type_of(attributes)
        if content_type is not ContentType.NDJSON and letter.count == 1:
            payload = b"[" + payload + b"]"
        if content_type is ContentType.ARROW:
            attributes = {**attributes, Attribute.CONTENT_TYPE.value: ContentType.JSON.value}
    return Message(
        letter.message_id,
        datetime.fromisoformat(letter.publish_time),
        attributes,
        payload,
        letter.arrived_at if recorded_clock else None,
        letter.row or 0,
    )


@dataclass(frozen=True)
class _Intent:
    name: str
    ingest_ts: str
    recorded_clock: bool
    ids: list[str]


@contextmanager
def _alone(data: DataDir) -> Iterator[None]:
    held = "dead letters are being replayed already; try again when that has ended"
    with locked(data.run / "deadletter.lock", wait=False, held=held):
        yield


def replay_letters(
    data: DataDir,
    choice: Choice,
    *,
    now: datetime,
    bounds: PayloadBounds,
    recorded_clock: bool = False,
    dry_run: bool = False,
    progress: Callable[[Replayed], None] = lambda done: None,
) -> Replayed:
    """Send letters through the graph again; what is good now is stored and leaves the dead letter.

    A letter leaves when anything of it is good; what is refused of it even so gets letters of its
    own. Readings are stored with `ingest_ts` = `now`, or as recorded.

    Args:
        data: the data folder.
        choice: which letters.
        now: clock of checks and `ingest_ts`.
        bounds: a larger payload is refused.
        recorded_clock: take each letter's own `ingest_ts` instead of `now`.
        dry_run: only judge them.
        progress: called after every chunk.

    Returns:
        What was done, or with `dry_run` would be.

    Raises:
        LakeError: a file cannot be read or written, or another process is at it; run it again.
    """
    done = Replayed()
    with _alone(data):
        if not dry_run:
            finish_replays(data, bounds)
        batch_now = now.astimezone(UTC)
        for chunk in _chunks(data, letters(data, choice), recorded_clock=recorded_clock):
            messages = [message for _, message in chunk]
            verdicts = _judge(MessageBatch("judged", batch_now, messages), bounds)
            done.letters += len(chunk)
            good = []
            for (letter, _), (stored, refused) in zip(chunk, verdicts, strict=True):
                done.stored += stored
                done.refused += refused
                if stored:
                    good.append(letter.dead_letter_id)
            done.left += len(good)
            if good and not dry_run:
                name = f"replay-{batch_now:%Y%m%dT%H%M%S%f}-{uuid4().hex[:8]}"
                intent = _Intent(name, batch_now.isoformat(), recorded_clock, good)
                write_bytes(_intent_file(data, name), json.dumps(asdict(intent)).encode())
                _carry_out(data, intent, bounds)
            progress(done)
    return done


def finish_replays(data: DataDir, bounds: PayloadBounds) -> None:
    """Finish replays of letters that were cut off; raises LakeError."""
    for folder in (data.deadletter_replaying, data.deadletter_replayed):
        for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
            path.unlink(missing_ok=True)
    for path in sorted(data.deadletter_replaying.glob("[!.]*.json")):
        intent = _Intent(**json.loads(path.read_bytes()))
        if (data.deadletter_replayed / path.name).exists():
            path.unlink(missing_ok=True)
        else:
            log.info("finishing the replay %s that was cut off", intent.name)
            _carry_out(data, intent, bounds)


def _intent_file(data: DataDir, name: str) -> Path:
    return data.deadletter_replaying / f"{name}.json"


def _carry_out(data: DataDir, intent: _Intent, bounds: PayloadBounds) -> None:
    wanted = Choice(ids=frozenset(intent.ids))
    messages = [
        message_of(data, letter, recorded_clock=intent.recorded_clock)
        for letter in letters(data, wanted)
    ]
    batch = MessageBatch(intent.name, datetime.fromisoformat(intent.ingest_ts), messages)
    BoundedGraph(Ingest(data.root, bounds)).run([batch])
    record = {"ids": intent.ids, "ingest_ts": intent.ingest_ts}
    with commit_archive(data):
        write_bytes(data.deadletter_replayed / f"{intent.name}.json", json.dumps(record).encode())
        _intent_file(data, intent.name).unlink()


def _chunks(
    data: DataDir, found: Iterable[Letter], *, recorded_clock: bool
) -> Iterator[list[tuple[Letter, Message]]]:
    chunk: list[tuple[Letter, Message]] = []
    held = 0
    for letter in found:
        if chunk and (held + letter.payload_bytes > CHUNK_BYTES or len(chunk) >= CHUNK_LETTERS):
            yield chunk
            chunk, held = [], 0
        chunk.append((letter, message_of(data, letter, recorded_clock=recorded_clock)))
        held += letter.payload_bytes
    if chunk:
        yield chunk


def _judge(batch: MessageBatch, bounds: PayloadBounds) -> list[tuple[int, Counter[str]]]:
    """Per message how many readings are good and what is refused by code.

    A message on which the code fails is found by halving, as the ingest does.
    """
    try:
        found = validate(decode(batch, bounds))
        enrich(found)
        archived(found.batch, found.refusals)
    except AmiError:
        raise
    except Exception as error:
        if len(batch.messages) == 1:
            log.warning("a dead letter cannot be processed: %s", error)
            return [(0, Counter({RejectionCode.PROCESSING_FAILED.value: 1}))]
        middle = len(batch.messages) // 2
        halves = (batch.messages[:middle], batch.messages[middle:])
        return [
            verdict
            for messages in halves
            for verdict in _judge(replace(batch, messages=messages), bounds)
        ]
    stored = Counter(found.readings["message"].to_pylist())
    refused: list[Counter[str]] = [Counter() for _ in batch.messages]
    for refusal in found.refusals:
        refused[refusal.message][refusal.code.value] += refusal.readings or 1
    return [(stored[index], counts) for index, counts in enumerate(refused)]


def summary(found: Iterable[Letter]) -> list[dict[str, Any]]:
    """Letters by code and field, most readings first: counts, first and last arrival."""
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for letter in found:
        group = groups.setdefault(
            (letter.code, letter.field or ""),
            {
                "code": letter.code,
                "field": letter.field,
                "letters": 0,
                "readings": 0,
                "first": letter.arrived_at,
                "last": letter.arrived_at,
            },
        )
        group["letters"] += 1
        group["readings"] += letter.count
        group["first"] = min(group["first"], letter.arrived_at)
        group["last"] = max(group["last"], letter.arrived_at)
    return sorted(groups.values(), key=lambda g: (-g["readings"], g["code"], g["field"] or ""))
