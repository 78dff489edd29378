"""The book of alerts: reads what is wrong now, gives what people are to be told, each once.

A subject (a pole, a job, a check) is written down when it goes wrong and again when it is well. A
change counts once it has been seen for long enough, so flapping tells nothing. What is to be told
stays in the book until every channel has taken it. The book is plain JSON, so that it fits into
the cursor of a sensor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal, Protocol

import msgspec

from ami_contract.errors import AmiError
from ami_dagster.alerts.kinds import HEADLINES, AlertKind

Findings = Mapping[AlertKind, Mapping[str, str | None]]
"""What is wrong now: why, by kind and subject. A kind that is absent was not judged; a subject
with None cannot be judged now. Both stay as they were."""

_MOST_NAMED: Final = 20
_MOST_WAITING: Final = 200


class DeliveryError(AmiError):
    """A channel did not take a notice; it is offered again."""


class Notice(msgspec.Struct, frozen=True):
    """What people are told: that subjects have gone wrong, or are well again.

    Attributes:
        kind: what is (or was) wrong.
        event: `alert` or `recovery`.
        at: when it was found.
        since: when the first of the subjects went wrong.
        subjects: why, by subject; of a recovery, from when on it was wrong.
    """

    kind: AlertKind
    event: Literal["alert", "recovery"]
    at: datetime
    since: datetime
    subjects: dict[str, str]

    @property
    def id(self) -> str:
        """The same for every delivery of this notice, so that receivers can drop repeats."""
        text = f"{self.kind} {self.event} {self.since.isoformat()} {sorted(self.subjects)}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        """One line."""
        headline = HEADLINES[self.kind]
        return headline if self.event == "alert" else f"Over: {headline[0].lower()}{headline[1:]}"

    @property
    def text(self) -> str:
        """The title and a line for each subject, the first ones if there are many."""
        named = list(self.subjects.items())
        lines = [f"{name}: {why}" if name else why for name, why in named[:_MOST_NAMED]]
        if len(named) > _MOST_NAMED:
            lines.append(f"and {len(named) - _MOST_NAMED} more")
        return "\n".join([self.title, *lines])


class Channel(Protocol):
    """A way to people."""

    @property
    def name(self) -> str:
        """As the settings call it."""
        ...

    def send(self, notice: Notice) -> None:
        """Hand a notice over; raises DeliveryError when it was not taken."""
        ...


@dataclass(frozen=True)
class Hold:
    """How long a change has to last until it counts: this often seen in a row, and this long."""

    evaluations: int = 1
    time: timedelta = timedelta()


class _Subject(msgspec.Struct):
    """State of a subject.

    Attributes:
        is_wrong: as people know it.
        wrong_since: when that began.
        changed_at: since when it has been seen otherwise; None: it is as people know it.
        seen: how often in a row.
    """

    is_wrong: bool = False
    wrong_since: datetime | None = None
    changed_at: datetime | None = None
    seen: int = 0

    def sees_change(self, at: datetime, hold: Hold) -> datetime | None:
        """Count that it is seen otherwise; gives since when, once that has lasted."""
        self.changed_at = self.changed_at or at
        self.seen += 1
        lasted = self.seen >= hold.evaluations and at - self.changed_at >= hold.time
        return self.changed_at if lasted else None


class _Waiting(msgspec.Struct):
    """A notice and the channels that have not taken it."""

    notice: Notice
    channels: list[str]


class _Content(msgspec.Struct):
    subjects: dict[str, dict[str, _Subject]] = {}
    outbox: list[_Waiting] = []
    notes: dict[str, str] = {}


@dataclass
class Book:
    """What people know and what they are still to be told.

    Attributes:
        notes: whatever else the owner of the book wants to find again.
    """

    _content: _Content = field(default_factory=_Content)

    @classmethod
    def of_cursor(cls, cursor: str | None) -> Book:
        """The book that a cursor holds; an empty one for none, and for one that is not of ours."""
        if not cursor:
            return cls()
        try:
            return cls(msgspec.json.decode(cursor, type=_Content))
        except msgspec.DecodeError:
            # Without its past the book tells once more what is wrong, which beats silence.
            return cls()

    def cursor(self) -> str:
        """The book as text."""
        return msgspec.json.encode(self._content).decode()

    @property
    def notes(self) -> dict[str, str]:
        """Texts by name, kept with the book."""
        return self._content.notes

    @property
    def waiting(self) -> list[Notice]:
        """Notices that some channel has not taken, oldest first."""
        return [each.notice for each in self._content.outbox]

    def wrong(self, kind: AlertKind) -> set[str]:
        """Subjects that are wrong as people know it, or seen to be so."""
        return set(self._content.subjects.get(kind, {}))

    def take(
        self,
        found: Findings,
        at: datetime,
        *,
        hold: Callable[[AlertKind], Hold] = lambda kind: Hold(),
        channels: Sequence[str] = (),
    ) -> list[Notice]:
        """Write down what is wrong now.

        Args:
            found: what is wrong.
            at: now.
            hold: how long a change of this kind has to last.
            channels: who is to be told.

        Returns:
            New notices, which are in the outbox too: per kind at most one alert and one recovery.
        """
        notices = [
            notice
            for kind, reasons in found.items()
            for notice in self._judge(kind, reasons, at, hold(kind))
        ]
        self._content.outbox += [_Waiting(notice, list(channels)) for notice in notices]
        return notices

    def _judge(
        self, kind: AlertKind, reasons: Mapping[str, str | None], at: datetime, hold: Hold
    ) -> Iterator[Notice]:
        known = self._content.subjects.setdefault(kind, {})
        alerts: dict[str, str] = {}
        recoveries: dict[str, str] = {}
        begins: dict[str, datetime] = {}
        for name in sorted({*known, *reasons}):
            why = reasons.get(name, "")
            if why is None:
                continue
            state = known.setdefault(name, _Subject())
            if bool(why) == state.is_wrong:
                state.changed_at, state.seen = None, 0
            elif changed_at := state.sees_change(at, hold):
                begins[name] = state.wrong_since or changed_at
                if why:
                    known[name] = _Subject(is_wrong=True, wrong_since=changed_at)
                    alerts[name] = why
                else:
                    known[name] = _Subject()
                    recoveries[name] = f"was so from {begins[name]:%Y-%m-%d %H:%M:%S}Z"
            if not known[name].is_wrong and known[name].changed_at is None:
                del known[name]
        if not known:
            del self._content.subjects[kind]
        if alerts:
            yield Notice(kind, "alert", at, min(begins[name] for name in alerts), alerts)
        if recoveries:
            since = min(begins[name] for name in recoveries)
            yield Notice(kind, "recovery", at, since, recoveries)

    def deliver(self, channels: Sequence[Channel]) -> list[str]:
        """Hand what waits to the channels, oldest first; returns what went wrong, a line each.

        A channel that fails is left alone until the next time. Notices for channels that are not
        configured any more, and the oldest of too many, are given up.
        """
        problems = []
        for channel in channels:
            for waiting in self._content.outbox:
                if channel.name not in waiting.channels:
                    continue
                try:
                    channel.send(waiting.notice)
                except DeliveryError as error:
                    problems.append(f"{error}; it is offered again")
                    break
                waiting.channels.remove(channel.name)
        names = {channel.name for channel in channels}
        left = [each for each in self._content.outbox if names & set(each.channels)]
        if len(left) > _MOST_WAITING:
            problems.append(f"gave up {len(left) - _MOST_WAITING} notices that no channel took")
        self._content.outbox = left[-_MOST_WAITING:]
        return problems
