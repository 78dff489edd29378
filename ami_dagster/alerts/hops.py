"""Which hop is stale: reads one observation of the whole way, gives the state of every hop.

The way of a reading is meter → pole (gateway) → backhaul and Pub/Sub → ingest → orchestration →
serving. Of the last four the first stale one is the cause and hides those after it. Meters and
poles are judged by the readings that arrive, so nothing is said of them while none do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from ami_contract.lake import partition_key
from ami_dagster.alerts.book import Findings
from ami_dagster.alerts.kinds import AlertKind
from ami_dagster.jobs import DETECT_SAGS, REFRESH_DAYS, REFRESH_HOURS, REFRESH_WEEKS
from ami_store.backlog import Backlog

# The sag detection ticks every 5 minutes; a run may wait for the hour's refresh.
_TICKS_WITHIN: Final = timedelta(minutes=12)
_STORED_TO_BUILT: Final = timedelta(minutes=25)
_HOUR_TO_BUILT: Final = timedelta(minutes=40)
_BUILT_TO_PUBLISHED: Final = timedelta(minutes=15)
# Jobs whose failed run is told of already and explains that hours, or days and weeks, are late.
HOUR_JOBS: Final = frozenset({DETECT_SAGS, REFRESH_HOURS})
_CALENDAR_JOBS: Final = frozenset({REFRESH_DAYS, REFRESH_WEEKS})
# A job passes through these by itself.
_PASSING_STATES: Final = frozenset({"PENDING", "QUEUED", "STOPPED", "DRAINING", "UPDATED"})
# An interval that is missing now and then is no silence.
_INTERVALS_OF_SILENCE: Final = 3


class Standing(StrEnum):
    """How a hop stands; `MASKED`: the cause is told elsewhere; `UNKNOWN`: nothing tells."""

    FRESH = "fresh"
    STALE = "stale"
    MASKED = "masked"
    UNKNOWN = "unknown"


class Hop(StrEnum):
    """The hops, in the order of the way."""

    METER = "meter"
    POLE = "pole"
    BACKHAUL = "backhaul"
    PIPELINE = "pipeline"
    ORCHESTRATION = "orchestration"
    SERVING = "serving"


ALERT_OF_HOP: Final = {
    Hop.METER: AlertKind.METER_SILENT,
    Hop.POLE: AlertKind.POLE_SILENT,
    Hop.BACKHAUL: AlertKind.NOTHING_ARRIVES,
    Hop.PIPELINE: AlertKind.INGEST_STALLED,
    Hop.ORCHESTRATION: AlertKind.BUILD_OVERDUE,
    Hop.SERVING: AlertKind.SNAPSHOT_STALE,
}


@dataclass(frozen=True)
class MeterSeen:
    """A meter that ought to speak.

    Attributes:
        meter_id, pole_id: which.
        heard_at: its newest `event_ts`; when nothing was heard, the time since which it was
            listened for.
        is_heard: whether there was any reading.
        interval_s: time between two of its samples, in seconds.
    """

    meter_id: str
    pole_id: str
    heard_at: datetime
    is_heard: bool = True
    interval_s: float = 1.0


@dataclass(frozen=True)
class JobSeen:
    """The streaming job that stores what arrives, in the cloud.

    Attributes:
        name: of the job.
        job_id: of the newest job of that name; empty when there is none.
        state: as the runner calls it, e.g. `RUNNING`; empty when there is none.
        since: when it came into that state.
        lag_s: its system lag, in seconds; None when that could not be told.
        problem: why nothing can be said of it; empty when something can.
    """

    name: str
    job_id: str = ""
    state: str = ""
    since: datetime | None = None
    lag_s: float | None = None
    problem: str = ""

    @property
    def is_running(self) -> bool:
        """Whether it takes in messages."""
        return self.state == "RUNNING"


@dataclass(frozen=True)
class Observation:
    """All that is known of the way at one time. A field that is None could not be told.

    Attributes:
        at: when.
        meters: those in service, and those heard of late; empty when the lake cannot be read.
        backlog: of the ingest's subscription.
        job: the streaming job; None where the ingest is none.
        arrived_at: when a reading was stored last, of whatever `event_ts`.
        refused_at: when the ingest refused a reading last.
        ticked_at: newest tick of any schedule.
        uncompacted_since: arrival of the oldest stored reading that no compaction has seen.
        built_at: end of the last build of events.
        unpublished_since: arrival of the oldest stored reading that the snapshot does not show.
        unbuilt_hours: closed hours that no complete build has seen, each with the time from which
            it could have been built.
        overdue: marts by day and week that were not made in time.
        snapshot_at: when the lake was listed for the published snapshot.
        snapshot_problem: why the snapshot cannot be read; empty when it can.
        failing_jobs: jobs whose last run failed.
    """

    at: datetime
    meters: tuple[MeterSeen, ...] = ()
    backlog: Backlog | None = None
    job: JobSeen | None = None
    arrived_at: datetime | None = None
    refused_at: datetime | None = None
    ticked_at: datetime | None = None
    uncompacted_since: datetime | None = None
    built_at: datetime | None = None
    unpublished_since: datetime | None = None
    unbuilt_hours: Mapping[datetime, datetime] = field(default_factory=dict)
    overdue: tuple[str, ...] = ()
    snapshot_at: datetime | None = None
    snapshot_problem: str = ""
    failing_jobs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """From when on something is late.

    Attributes:
        silence: a meter or pole is silent after it (or three sample intervals if longer).
        arrival: a message waits too long after it, and so long may a job take to start or end.
        lag: a job with a longer system lag is stale.
    """

    silence: timedelta = timedelta(minutes=10)
    arrival: timedelta = timedelta(minutes=5)
    lag: timedelta = timedelta(minutes=10)


@dataclass(frozen=True)
class HopState:
    """How a hop stands.

    Attributes:
        hop: which.
        standing: how.
        found: what is stale and why, by meter or pole; the other hops have the one subject "".
        undecided: subjects of which nothing can be said now.
    """

    hop: Hop
    standing: Standing
    found: Mapping[str, str] = field(default_factory=dict)
    undecided: frozenset[str] = frozenset()

    @property
    def reason(self) -> str:
        """All that was found, for people."""
        return "; ".join(f"{name}: {why}" if name else why for name, why in self.found.items())


def hops(seen: Observation, limits: Limits) -> list[HopState]:
    """State of every hop, in the order of the way."""
    backhaul, pipeline = _backhaul(seen, limits), _pipeline(seen, limits)
    has_meters, has_readings = bool(seen.meters), seen.arrived_at is not None
    has_job = seen.job is not None
    return [
        *(_unheard() if backhaul or pipeline else _edge(seen, limits)),
        *_first_stale(
            {
                Hop.BACKHAUL: (backhaul, False),
                Hop.PIPELINE: (pipeline, False),
                Hop.ORCHESTRATION: _orchestration(seen),
                Hop.SERVING: (_serving(seen), bool(HOUR_JOBS & set(seen.failing_jobs))),
            },
            {
                Hop.BACKHAUL: has_meters,
                Hop.PIPELINE: has_meters or has_job,
                Hop.ORCHESTRATION: has_readings,
                Hop.SERVING: has_readings,
            },
        ),
    ]


def findings(states: Sequence[HopState]) -> Findings:
    """What the book of alerts is to take in: nothing of a hop that is masked or unknown."""
    return {
        ALERT_OF_HOP[state.hop]: {**dict.fromkeys(state.undecided), **state.found}
        for state in states
        if state.standing in (Standing.FRESH, Standing.STALE)
    }


def silent_for(meter: MeterSeen, at: datetime) -> timedelta:
    """How long a meter has not been heard; never negative (its clock may be ahead)."""
    return max(at - meter.heard_at, timedelta())


def is_silent(meter: MeterSeen, at: datetime, limit: timedelta) -> bool:
    """Whether a meter has been silent for longer than the limit and three of its samples."""
    return silent_for(meter, at) > max(
        limit, timedelta(seconds=_INTERVALS_OF_SILENCE * meter.interval_s)
    )


def by_pole(meters: Sequence[MeterSeen]) -> dict[str, list[MeterSeen]]:
    """Meters of each pole, poles in the order of their names."""
    found: dict[str, list[MeterSeen]] = {}
    for meter in sorted(meters, key=lambda each: (each.pole_id, each.meter_id)):
        found.setdefault(meter.pole_id, []).append(meter)
    return found


def minutes(span: timedelta) -> str:
    """A span for people: `42 s`, `17 min`, `3.5 h`, `2.1 d`."""
    seconds = span.total_seconds()
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} d"


def _edge(seen: Observation, limits: Limits) -> list[HopState]:
    poles: dict[str, str] = {}
    meters: dict[str, str] = {}
    below_silent: set[str] = set()
    for pole_id, members in by_pole(seen.meters).items():
        silent = [each for each in members if is_silent(each, seen.at, limits.silence)]
        if silent and len(silent) == len(members):
            newest = max(members, key=lambda each: each.heard_at)
            poles[pole_id] = f"all meters ({len(members)}), {_silence(newest, seen.at)}"
            below_silent.update(each.meter_id for each in members)
        else:
            meters.update(
                {each.meter_id: f"on {pole_id}, {_silence(each, seen.at)}" for each in silent}
            )
    known = bool(seen.meters)
    return [
        HopState(Hop.METER, _standing(meters, known), meters, frozenset(below_silent)),
        HopState(Hop.POLE, _standing(poles, known), poles),
    ]


def _unheard() -> list[HopState]:
    return [HopState(hop, Standing.UNKNOWN) for hop in (Hop.METER, Hop.POLE)]


def _standing(found: Mapping[str, str], known: bool) -> Standing:
    if found:
        return Standing.STALE
    return Standing.FRESH if known else Standing.UNKNOWN


def _silence(meter: MeterSeen, at: datetime) -> str:
    span = minutes(silent_for(meter, at))
    return f"silent for {span}" if meter.is_heard else f"not heard for at least {span}"


def _fleet_is_silent(seen: Observation, limits: Limits) -> bool:
    return bool(seen.meters) and all(
        is_silent(each, seen.at, limits.silence) for each in seen.meters
    )


def _waits_long(seen: Observation, limits: Limits) -> bool:
    return seen.backlog is not None and seen.backlog.oldest_age(seen.at) > limits.arrival


def _refuses(seen: Observation, limits: Limits) -> bool:
    """Whether what arrives is refused, all of it."""
    if seen.refused_at is None or seen.at - seen.refused_at > limits.arrival:
        return False
    return seen.arrived_at is None or seen.at - seen.arrived_at > limits.arrival


def _backhaul(seen: Observation, limits: Limits) -> str:
    backlog = seen.backlog
    if _job(seen, limits):
        return ""
    if backlog is not None and seen.at - backlog.at > limits.arrival:
        return f"Pub/Sub has not been up for {minutes(seen.at - backlog.at)}"
    if _waits_long(seen, limits):
        assert backlog is not None
        if backlog.leased:
            return ""
        return (
            f"{backlog.messages} messages wait, the oldest for "
            f"{minutes(backlog.oldest_age(seen.at))}, and nobody pulls them"
        )
    if not _fleet_is_silent(seen, limits) or _refuses(seen, limits):
        return ""
    newest = max(seen.meters, key=lambda each: each.heard_at)
    if seen.arrived_at and seen.at - seen.arrived_at <= limits.arrival:
        return (
            "only old readings arrive: the newest event_ts is "
            f"{minutes(silent_for(newest, seen.at))} old"
        )
    unknown = "" if backlog else "; the backlog is not known, so it may also be the ingest"
    return f"no pole has spoken: {_silence(newest, seen.at)}{unknown}"


def _job(seen: Observation, limits: Limits) -> str:
    """What is wrong with the streaming job; empty when nothing is, or the ingest is no job."""
    job = seen.job
    if job is None:
        return ""
    if job.problem:
        return f"the job {job.name} cannot be observed: {job.problem}"
    if not job.state:
        return f"there is no job {job.name}"
    if not job.is_running:
        is_on_its_way = job.state in _PASSING_STATES and job.since is not None
        if is_on_its_way and job.since and seen.at - job.since <= limits.arrival:
            return ""
        since = f" since {job.since:%Y-%m-%d %H:%M}Z" if job.since else ""
        return f"the job {job.name} ({job.job_id}) is {job.state}{since}"
    if job.lag_s is not None and timedelta(seconds=job.lag_s) > limits.lag:
        return f"the job {job.name} lags {minutes(timedelta(seconds=job.lag_s))} behind"
    if seen.backlog is not None and _waits_long(seen, limits):
        return (
            f"{seen.backlog.messages} messages wait, the oldest for "
            f"{minutes(seen.backlog.oldest_age(seen.at))}, though the job {job.name} runs"
        )
    return ""


def _pipeline(seen: Observation, limits: Limits) -> str:
    if seen.job is not None:
        return _job(seen, limits)
    backlog = seen.backlog
    if backlog is not None and _waits_long(seen, limits) and backlog.leased:
        stores = seen.arrived_at and seen.at - seen.arrived_at <= limits.arrival
        what = "the ingest stores, but lags" if stores else "the ingest holds them and stores none"
        return (
            f"{backlog.messages} messages wait, the oldest for "
            f"{minutes(backlog.oldest_age(seen.at))}: {what}"
        )
    if _fleet_is_silent(seen, limits) and _refuses(seen, limits):
        return "all that arrives is refused: see the dead letter"
    return ""


def _orchestration(seen: Observation) -> tuple[str, bool]:
    """What is late, and whether runs that failed explain all of it."""
    failing = set(seen.failing_jobs)
    # Each with the jobs whose failure explains it.
    late: list[tuple[str, frozenset[str]]] = []
    if seen.ticked_at and seen.at - seen.ticked_at > _TICKS_WITHIN:
        late.append(
            (f"no schedule has ticked for {minutes(seen.at - seen.ticked_at)}", frozenset())
        )
    if seen.uncompacted_since and seen.at - seen.uncompacted_since > _STORED_TO_BUILT:
        span = minutes(seen.at - seen.uncompacted_since)
        late.append((f"readings wait for compaction for {span}", HOUR_JOBS))
    elif (
        seen.unpublished_since
        and seen.at - seen.unpublished_since > _STORED_TO_BUILT
        and (seen.built_at is None or seen.built_at < seen.unpublished_since)
    ):
        span = minutes(seen.at - seen.unpublished_since)
        late.append((f"readings wait for a build for {span}", HOUR_JOBS))
    unbuilt = sorted(
        hour for hour, since in seen.unbuilt_hours.items() if seen.at - since > _HOUR_TO_BUILT
    )
    if unbuilt:
        first = partition_key(unbuilt[0])
        late.append((f"{len(unbuilt)} closed hours are not built, {first} the first", HOUR_JOBS))
    if seen.overdue:
        late.append((f"not made in time: {', '.join(seen.overdue)}", _CALENDAR_JOBS))
    unexplained = [reason for reason, jobs in late if not failing & jobs]
    reasons = unexplained or [reason for reason, _ in late]
    return "; ".join(reasons), bool(late) and not unexplained


def _serving(seen: Observation) -> str:
    if seen.snapshot_problem:
        return f"the snapshot cannot be read: {seen.snapshot_problem}"
    if (
        seen.built_at
        and seen.unpublished_since
        and seen.built_at >= seen.unpublished_since
        and seen.at - seen.unpublished_since > _STORED_TO_BUILT
        and seen.at - seen.built_at > _BUILT_TO_PUBLISHED
    ):
        age = f"{minutes(seen.at - seen.snapshot_at)} old" if seen.snapshot_at else "missing"
        return f"the snapshot is {age}; a build ended {minutes(seen.at - seen.built_at)} ago"
    return ""


def _first_stale(
    reasons: Mapping[Hop, tuple[str, bool]], known: Mapping[Hop, bool]
) -> list[HopState]:
    states: list[HopState] = []
    masked = False
    for hop, (reason, is_explained) in reasons.items():
        if masked:
            states.append(HopState(hop, Standing.MASKED))
        elif reason:
            standing = Standing.MASKED if is_explained else Standing.STALE
            states.append(HopState(hop, standing, {"": reason}))
            masked = True
        else:
            states.append(HopState(hop, Standing.FRESH if known[hop] else Standing.UNKNOWN))
    return states
