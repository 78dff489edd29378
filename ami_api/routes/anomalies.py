"""Low-voltage events: reads their mart, the readings around them and the live tail."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from ami_api.answers import Made, Question
from ami_api.models import (
    Anomalies,
    Anomaly,
    AnomalyDetail,
    EventId,
    Identifier,
    IntervalMean,
    Sample,
    Scope,
    Severity,
    TailState,
    Trace,
    Window,
)
from ami_api.parameters import (
    Answers,
    Cursor,
    CursorText,
    End,
    Limit,
    Start,
    cursor_of,
    described,
    known_pole,
)
from ami_api.problems import Refused
from ami_api.tail import LiveTail
from ami_api.times import Span, ceil_to, floor_to, span_of
from ami_contract.errors import WarehouseError
from ami_store.serving import Row
from ami_store.statements import (
    ANOMALIES,
    ANOMALY,
    INTERVAL_MEANS,
    LIVE_TRACES,
    MAX_TRACE_READINGS,
    SUPERSEDED,
    TRACES,
)

log = logging.getLogger("ami.api")
router = APIRouter(tags=["anomalies"])

LONGEST_LIST: Final = timedelta(days=366)
# Of an event longer than this, traces show the begin.
LONGEST_TRACE: Final = timedelta(minutes=10)
_HOUR: Final = timedelta(hours=1)
# Clocks of meters may be ahead by so much.
_LEAD: Final = timedelta(minutes=5)


@router.get(
    "/anomalies",
    response_model=Anomalies,
    responses=described(
        "cursor",
        "window",
        "unknown-pole",
        links={
            "show_anomaly": ("event_id", "/anomalies/0/event_id"),
            "meter_quality": ("meter_id", "/anomalies/0/meter_id"),
        },
    ),
    operation_id="list_anomalies",
)
async def list_anomalies(
    request: Request,
    answers: Answers,
    start: Start = None,
    end: End = None,
    pole_id: Annotated[Identifier | None, Query(description="Only this pole.")] = None,
    meter_id: Annotated[Identifier | None, Query(description="Only this meter.")] = None,
    severity: Annotated[Severity | None, Query(description="Only this severity.")] = None,
    scope: Annotated[Scope | None, Query(description="Only this reach.")] = None,
    min_duration: Annotated[
        float | None,
        Query(ge=0, le=1e9, description="Only events that last so long or longer. [s]"),
    ] = None,
    limit: Limit = 100,
    cursor: CursorText = None,
) -> Response:
    """Low-voltage events that start in a window of at most 366 days, newest first.

    Events that no build has seen yet are `provisional`. CSV: a row per event.
    """
    after = cursor_of(cursor, timed=True)
    tail: LiveTail | None = request.app.state.tail
    version = await answers.run(tail.version) if tail else ""

    def make(question: Question) -> Made:
        if pole_id is not None:
            known_pole(question.facts, pole_id)
        span = span_of(start, end, newest=question.facts.newest, longest=LONGEST_LIST)
        rows = question.rows(
            ANOMALIES,
            start=span.start,
            end=span.end,
            pole_id=pole_id,
            meter_id=meter_id,
            severity=severity,
            scope=scope,
            min_duration_s=min_duration,
            after_ts=after.ts if after else None,
            after_id=after.id if after else None,
            row_limit=limit + 1,
        )
        recent = _recent(tail, question, version)
        if tail is not None:
            # What comes next belongs to a window that nobody has ended.
            span = span if end else Span(span.start, max(span.end, _soon(request)))
            wanted = {
                "pole_id": pole_id,
                "meter_id": meter_id,
                "severity": severity,
                "scope": scope,
            }
            found = [
                row
                for row in recent or ()
                if span.start <= row["start_ts"] < span.end
                and all(value is None or row[name] == value for name, value in wanted.items())
                and row["duration_s"] >= (min_duration or 0)
            ]
            rows = merged(rows, found, after, limit + 1)
        events = [Anomaly(**row) for row in rows[:limit]]
        following = None
        if len(rows) > limit:
            following = Cursor(events[-1].start_ts, events[-1].event_id).text()
        answer = Anomalies(
            window=Window(start=span.start, end=span.end),
            anomalies=events,
            live_tail=_state(tail, recent),
            next_cursor=following,
        )
        return Made(answer, events, Anomaly)

    question = {
        "start": start,
        "end": end,
        "pole": pole_id,
        "meter": meter_id,
        "severity": severity,
        "scope": scope,
        "duration": min_duration,
        "limit": limit,
        "after": after,
    }
    return await answers.give(request, question, make, volatile=version)


def _recent(tail: LiveTail | None, question: Question, version: str) -> list[Row] | None:
    """Provisional events; None where they cannot be told, which must not keep the others back."""
    if tail is None:
        return None
    try:
        return tail.events(question, version)
    except WarehouseError as error:
        log.warning("the live tail: %s", error)
        return None


def _state(tail: LiveTail | None, recent: list[Row] | None) -> TailState:
    if tail is None:
        return TailState.OFF
    return TailState.UNAVAILABLE if recent is None else TailState.INCLUDED


def _soon(request: Request) -> datetime:
    now: datetime = request.app.state.now()
    return now + _LEAD


def merged(
    published: Sequence[Row], provisional: Sequence[Row], after: Cursor | None, most: int
) -> list[Row]:
    """A page of both, newest first, each event once and in its newer state.

    Args:
        published: rows of the mart after the cursor, in order.
        provisional: rows of the live tail, in any order.
        after: where the page begins.
        most: most rows of the page.
    """
    scopes = {row["event_id"]: row["scope"] for row in published}
    newer = {
        row["event_id"]: {
            **row,
            "scope": scopes.get(row["event_id"], row["scope"]),
            "provisional": True,
        }
        for row in provisional
        if after is None or _place(row) > _place({"start_ts": after.ts, "event_id": after.id})
    }
    rows = [row for row in published if row["event_id"] not in newer]
    return sorted([*rows, *newer.values()], key=_place)[:most]


def _place(row: Row) -> tuple[float, str]:
    return -row["start_ts"].timestamp(), row["event_id"]


@router.get(
    "/anomalies/{event_id}",
    response_model=AnomalyDetail,
    responses=described("unknown-event", "superseded-event"),
    operation_id="show_anomaly",
)
async def show_anomaly(
    request: Request,
    answers: Answers,
    event_id: Annotated[EventId, Path(description="Event.")],
    around: Annotated[
        float, Query(ge=0, le=300, description="Time shown before and after the event. [s]")
    ] = 60.0,
) -> Response:
    """An event with the voltage of all meters of its pole around it, reading by reading.

    Of an event longer than 10 minutes its begin is shown. Beside it stands what meters that
    report every 5, 15 and 60 minutes would have told, once it is built. CSV: the event as one row.
    """
    tail: LiveTail | None = request.app.state.tail
    version = await answers.run(tail.version) if tail else ""

    def make(question: Question) -> Made:
        recent = _recent(tail, question, version) or ()
        newer = next((row for row in recent if row["event_id"] == event_id), None)
        row = newer or question.row(ANOMALY, event_id=event_id)
        if row is None:
            raise _gone(question, event_id)
        event = Anomaly(**row, provisional=newer is not None)
        window = Window(
            start=event.start_ts - timedelta(seconds=around),
            end=min(event.end_ts, event.start_ts + LONGEST_TRACE) + timedelta(seconds=around + 1),
        )
        readings = question.rows(
            LIVE_TRACES if event.provisional else TRACES,
            pole_id=event.pole_id,
            start=window.start,
            end=window.end,
            row_limit=MAX_TRACE_READINGS + 1,
        )
        first_hour_end = min(event.end_ts, event.start_ts + _HOUR)
        means = (
            []
            if event.provisional
            else question.rows(
                INTERVAL_MEANS,
                pole_id=event.pole_id,
                meter_id=event.meter_id,
                start=event.start_ts,
                end=first_hour_end,
                read_start=floor_to(event.start_ts, _HOUR),
                read_end=ceil_to(first_hour_end + timedelta(microseconds=1), _HOUR),
            )
        )
        detail = AnomalyDetail(
            anomaly=event,
            window=window,
            traces=traces_of(readings[:MAX_TRACE_READINGS], event.meter_id),
            traces_truncated=len(readings) > MAX_TRACE_READINGS
            or event.end_ts > event.start_ts + LONGEST_TRACE,
            interval_means=[IntervalMean(**mean) for mean in means],
        )
        return Made(detail, [event], Anomaly)

    return await answers.give(request, {"around": around}, make, volatile=version)


def traces_of(readings: Sequence[Row], first: str) -> list[Trace]:
    """Readings by meter, that of `first` before the others."""
    by_meter: dict[str, list[Sample]] = {}
    for row in readings:
        samples = by_meter.setdefault(row["meter_id"], [])
        samples.append(Sample(ts=row["event_ts"], voltage_v=row["voltage_v"]))
    order = sorted(by_meter, key=lambda meter_id: (meter_id != first, meter_id))
    return [Trace(meter_id=meter_id, samples=by_meter[meter_id]) for meter_id in order]


def _gone(question: Question, event_id: str) -> Refused:
    old = question.row(SUPERSEDED, event_id=event_id)
    if old is None:
        return Refused("unknown-event", f"there is no event {event_id}; /anomalies lists them")
    now = old["superseded_by"]
    return Refused(
        "superseded-event",
        "late readings changed what was known: "
        + (f"the event is {now} now" if now else "there was no event"),
        extra={"superseded_by": now},
        headers={"Link": f'</anomalies/{now}>; rel="successor-version"'} if now else {},
    )
