"""Reads a stage and a random generator; gives the faults that can be played on it.

A fault is a generator: it breaks something, yields what must come true before it goes on, mends
what does not mend itself, and yields last what shows that the platform works again.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psutil
from google.api_core import exceptions
from google.pubsub_v1.types import ReceivedMessage

from ami_store.lake import hours
from tests.chaos.hostile import GRPC_ATTACKS, HTTP_ATTACKS, Attack
from tests.chaos.poison import poisons
from tests.chaos.stage import API, COMPACTION, DASHBOARD, INGEST, PUBSUB, Stage, kill

Condition = Callable[[], bool]
Play = Generator[Condition, None, None]

_CLIENT_S: Final = 10.0
_LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)


class NotNow(Exception):
    """The fault has nothing to hit at present."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: for people.
        weight: how often it is drawn, against the others.
        play: injects one.
        needs: what no other fault may hold at the same time.
        can: whether a stage can be hit by it; why not, else empty.
    """

    name: str
    weight: int
    play: Callable[[Stage, random.Random], Play]
    needs: frozenset[str] = frozenset()
    can: Callable[[Stage], str] = field(default=lambda stage: "")


def after(seconds: float) -> Condition:
    """True when so much time has passed since this call."""
    deadline = time.monotonic() + seconds
    return lambda: time.monotonic() >= deadline


def killing(name: str) -> Callable[[Stage, random.Random], Play]:
    """kill -9 of a service at a random moment."""

    def play(stage: Stage, rng: random.Random) -> Play:
        yield after(rng.uniform(0, 1.5))
        pid = _pid(stage, name)
        kill(pid)
        yield stage.works_again(name, pid)

    return play


def kill_gateway(stage: Stage, rng: random.Random) -> Play:
    """kill -9 of a gateway, which goes on with what its spool holds."""
    yield after(rng.uniform(0, 1.5))
    name = rng.choice(stage.gateways or _nothing("every gateway has sent all it has"))
    pid = _pid(stage, name)
    kill(pid)
    yield stage.works_again(name, pid)


def kill_build(stage: Stage, rng: random.Random) -> Play:
    """kill -9 of a build, amid its run; of its dbt, too, in every other case."""
    if stage.pid("build") is None:
        raise NotNow("no build runs")
    yield after(rng.uniform(0, 10))
    pid = _pid(stage, "build")
    children: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(pid).children(recursive=True)
    kill(pid)
    if rng.random() < 0.5:
        for child in children:
            kill(child.pid)
    yield stage.works_again("build", pid)


def power_cut(stage: Stage, rng: random.Random) -> Play:
    """kill -9 of Pub/Sub, ingest and compaction in one moment."""
    yield after(rng.uniform(0, 1.5))
    pids = {name: stage.pid(name) for name in (PUBSUB, INGEST, COMPACTION)}
    for pid in pids.values():
        kill(pid)
    for name, pid in pids.items():
        yield stage.works_again(name, pid)


def full_disk(stage: Stage, rng: random.Random) -> Play:
    """No room at all for Pub/Sub, lake, warehouse and Dagster."""
    try:
        stage.disk.fill()
        yield after(rng.uniform(0.5, 4))
    finally:
        stage.disk.free()
    yield stage.stores_again()


def read_only(stage: Stage, rng: random.Random) -> Play:
    """The lake's folders can be read only."""
    if not stage.disk.freeze():
        raise NotNow("somebody keeps a file of the lake open for writing")
    try:
        yield after(rng.uniform(0.5, 4))
    finally:
        stage.disk.thaw()
    yield stage.stores_again()


def slow_disk(stage: Stage, rng: random.Random) -> Play:
    """A process stands still amid its work, as one that waits for a disk does."""
    name = rng.choice([PUBSUB, INGEST, INGEST, COMPACTION, *stage.gateways])
    pid = _pid(stage, name)
    try:
        for _ in range(rng.randint(1, 4)):
            _signal(pid, signal.SIGSTOP)
            yield after(rng.uniform(0.2, 2))
            _signal(pid, signal.SIGCONT)
            yield after(rng.uniform(0.05, 0.5))
    finally:
        _signal(pid, signal.SIGCONT)
    yield stage.stores_again()


def clock_jump(stage: Stage, rng: random.Random) -> Play:
    """Wall clocks jump by seconds, hours or a day, and stay so for a while."""
    most_s = rng.choice([5.0, 3600.0, 86_400.0])
    stage.set_clock(rng.uniform(-most_s, most_s))
    yield stage.stores_again()


def cut_network(stage: Stage, rng: random.Random) -> Play:
    """Nothing passes between gateways and Pub/Sub."""
    how = rng.choice(stage.network.cuts)
    try:
        stage.network.cut(how)
        yield after(rng.uniform(0.5, 5))
    finally:
        stage.network.mend(how)
    if stage.gateways:
        yield stage.sends_again()


def damaged_file(stage: Stage, rng: random.Random) -> Play:
    """A landed file that is not merged yet is cut off, emptied or changed in some bytes."""
    compaction = stage.pid(COMPACTION)
    # A file that is being merged cannot be told from one that waits.
    _signal(compaction, signal.SIGSTOP)
    try:
        yield stage.stores_again()
        waiting = [path for hour in hours(stage.data) for path in hour.pending]
        path = rng.choice(waiting or _nothing("nothing waits to be merged"))
        _damage(path, rng)
    finally:
        _signal(compaction, signal.SIGCONT)
    yield stage.compacts_again()


def _damage(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    how = rng.choice(["cut", "empty", "zeros", "flip", "noise"])
    if how == "cut":
        content = content[: rng.randrange(len(content))]
    elif how == "empty":
        content = bytearray()
    elif how == "flip":
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    else:
        first = rng.randrange(len(content))
        last = min(len(content), first + rng.randint(1, 512))
        content[first:last] = bytes(last - first) if how == "zeros" else rng.randbytes(last - first)
    path.write_bytes(content)


def seek_back(stage: Stage, _rng: random.Random) -> Play:
    """Everything that was ever sent is delivered once more.

    A seek to a later moment would acknowledge what still waits from before it, as in Google's
    service, and clocks have jumped since.
    """
    request = {"subscription": stage.settings.subscription_path, "time": _LONG_AGO}

    def seek() -> None:
        with stage.subscriber() as client:
            client.seek(request=request, timeout=_CLIENT_S, retry=None)

    yield _done(seek)
    yield stage.stores_again()


def lapsed_leases(stage: Stage, rng: random.Random) -> Play:
    """Another subscriber takes messages, holds them and loses them, the newest first."""
    name = stage.settings.subscription_path
    most, hold_s = rng.randint(5, 200), rng.randint(1, 5)

    def take() -> None:
        with stage.subscriber() as client:
            held = _pulled(client.pull, name, most)
            if not held:
                return
            ids = [item.ack_id for item in held]
            half = len(ids) // 2
            request = {"subscription": name, "ack_ids": ids, "ack_deadline_seconds": hold_s}
            client.modify_ack_deadline(request=request, timeout=_CLIENT_S, retry=None)
            for one in reversed(ids[half:]):
                given = {"subscription": name, "ack_ids": [one], "ack_deadline_seconds": 0}
                client.modify_ack_deadline(request=given, timeout=_CLIENT_S, retry=None)

    yield _done(take)
    yield after(hold_s)
    yield stage.stores_again()


def sent_twice(stage: Stage, rng: random.Random) -> Play:
    """Messages are published again, twice and in another order, as after lost answers."""
    name = stage.settings.subscription_path
    most = rng.randint(5, 100)

    def publish() -> None:
        with stage.subscriber() as taking, stage.publisher() as giving:
            held = _pulled(taking.pull, name, most)
            if not held:
                return
            again = [
                {"data": item.message.data, "attributes": dict(item.message.attributes)}
                for item in held
            ] * 2
            rng.shuffle(again)
            giving.publish(topic=stage.topic, messages=again, timeout=_CLIENT_S, retry=None)
            ids = [item.ack_id for item in held]
            given = {"subscription": name, "ack_ids": ids, "ack_deadline_seconds": 0}
            taking.modify_ack_deadline(request=given, timeout=_CLIENT_S, retry=None)

    yield _done(publish)
    yield stage.stores_again()


def _pulled(pull: Callable[..., object], name: str, most: int) -> list[ReceivedMessage]:
    request = {"subscription": name, "max_messages": most}
    try:
        answer = pull(request=request, timeout=1.0, retry=None)
    except exceptions.DeadlineExceeded:
        return []
    return list(answer.received_messages)  # type: ignore[attr-defined]


def poison(stage: Stage, rng: random.Random) -> Play:
    """One message of every kind of which nothing can be stored; each must become a dead letter."""
    name = f"poison-{rng.getrandbits(48):012x}"
    sent = poisons(rng, name)
    stage.poisoned.update(each.attributes["batch_id"] for each in sent)

    def publish() -> None:
        messages = [{"data": each.data, "attributes": each.attributes} for each in sent]
        with stage.publisher() as client:
            client.publish(topic=stage.topic, messages=messages, timeout=_CLIENT_S, retry=None)

    yield _done(publish)
    wanted = {each.attributes["batch_id"] for each in sent}
    yield lambda: wanted <= stage.dead_letters().keys()


def attacking(name: str, attacks: tuple[Attack, ...]) -> Callable[[Stage, random.Random], Play]:
    """A hostile client on a port; who keeps to the protocol is answered afterwards."""

    def play(stage: Stage, rng: random.Random) -> Play:
        attack = rng.choice(attacks)
        port = stage.ports[name]
        thread = threading.Thread(target=attack, args=(rng, port), daemon=True)
        thread.start()
        yield lambda: not thread.is_alive()
        yield _beside(lambda: stage.answers(name))

    return play


def _done(call: Callable[[], None]) -> Condition:
    """Whether `call` has succeeded; it is tried until Pub/Sub takes it."""

    def succeeds() -> bool:
        try:
            call()
        except (exceptions.GoogleAPICallError, exceptions.RetryError):
            return False
        return True

    return _beside(succeeds)


def _beside(call: Callable[[], bool]) -> Condition:
    """Whether `call` has been true, in a thread of its own: what is broken may let it wait."""
    found: list[bool] = []
    threads: list[threading.Thread] = []

    def look() -> bool:
        if not any(found) and not (threads and threads[-1].is_alive()):
            threads.append(threading.Thread(target=lambda: found.append(call()), daemon=True))
            threads[-1].start()
        return any(found)

    return look


def _pid(stage: Stage, name: str) -> int:
    pid = stage.pid(name)
    if pid is None:
        raise NotNow(f"{name} does not run just now")
    return pid


def _nothing(why: str) -> list[str]:
    raise NotNow(why)


def _signal(pid: int | None, number: signal.Signals) -> None:
    if pid is not None:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).send_signal(number)


def _freezes(stage: Stage) -> str:
    return "" if stage.disk.can_freeze else "needs a mount namespace"


def _has_dashboard(stage: Stage) -> str:
    return "" if DASHBOARD in stage.services else "the dashboard does not run"


KINDS: Final = (
    Kind("kill ingest", 14, killing(INGEST), frozenset({INGEST})),
    Kind("kill Pub/Sub", 12, killing(PUBSUB), frozenset({PUBSUB})),
    Kind("kill gateway", 12, kill_gateway),
    Kind("kill compaction", 10, killing(COMPACTION), frozenset({COMPACTION})),
    Kind("kill build", 6, kill_build, frozenset({"build"})),
    Kind("kill API", 4, killing(API), frozenset({API})),
    Kind("kill dashboard", 2, killing(DASHBOARD), frozenset({DASHBOARD}), _has_dashboard),
    Kind("power cut", 8, power_cut, frozenset({INGEST, PUBSUB, COMPACTION})),
    Kind("full disk", 14, full_disk, frozenset({"disk"})),
    Kind("read-only folder", 12, read_only, frozenset({"disk"}), _freezes),
    Kind("slow disk", 14, slow_disk),
    Kind("clock jump", 14, clock_jump),
    Kind("network cut", 16, cut_network, frozenset({"network"})),
    Kind("damaged file", 14, damaged_file, frozenset({COMPACTION, "disk"})),
    Kind("seek back", 3, seek_back, frozenset({"seek"})),
    Kind("lapsed leases", 10, lapsed_leases),
    Kind("sent twice", 10, sent_twice),
    Kind("poison", 14, poison),
    Kind("hostile to Pub/Sub", 10, attacking(PUBSUB, GRPC_ATTACKS), frozenset({PUBSUB})),
    Kind("hostile to API", 8, attacking(API, HTTP_ATTACKS), frozenset({API})),
    Kind(
        "hostile to dashboard",
        4,
        attacking(DASHBOARD, HTTP_ATTACKS),
        frozenset({DASHBOARD}),
        _has_dashboard,
    ),
    Kind("hostile to metrics", 4, attacking("metrics", HTTP_ATTACKS), frozenset({INGEST})),
)


def drawn(kinds: tuple[Kind, ...], number: int, rng: random.Random) -> list[Kind]:
    """Kinds of `number` faults in the order in which they are injected.

    Every kind comes at least once where the number allows it, the others by their weights.
    """
    chosen = rng.sample(kinds, min(number, len(kinds)))
    weights = [kind.weight for kind in kinds]
    chosen += rng.choices(kinds, weights, k=number - len(chosen))
    rng.shuffle(chosen)
    return chosen
