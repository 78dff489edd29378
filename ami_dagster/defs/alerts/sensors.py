"""The alerting sensors: read the whole way, ended runs and checks, give notices to the channels."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg

from ami_dagster.alerts.book import Book, Channel, Hold, Notice
from ami_dagster.alerts.channels import LogChannel
from ami_dagster.alerts.hops import HOUR_JOBS, findings, hops
from ami_dagster.alerts.kinds import AlertKind
from ami_dagster.alerts.observation import Look, Watch, has_failed, observe
from ami_dagster.defs.lake.checks import POLES_ARE_HEARD, pole_verdict
from ami_dagster.failed_checks import failed, is_asked, latest_evaluations
from ami_dagster.resources import Lake

DATA_FLOW: Final = "data_flow"
FAILURES: Final = "failures"

# Some times in a row, so that the first look after a standstill of the machine tells nothing.
_SETTLED: Final = Hold(evaluations=3, time=timedelta(minutes=2))
# A damaged file also fails the next run, which then says it.
_DAMAGE_STAYS: Final = Hold(evaluations=3, time=timedelta(minutes=10))
_CHECK_EVERY: Final = timedelta(minutes=5)
_CHECKED_AT: Final = "checked_at"
_CHECKED: Final = "checked"

_RUNS_SEEN: Final = "runs_seen"
_RUNS_UNTIL: Final = "runs_until"
_FIRST_LOOK: Final = timedelta(hours=1)
# Storage and process may order what ends within a moment differently.
_OVERLAP: Final = timedelta(seconds=30)
_MOST_RUNS: Final = 200
_ENDED: Final = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
_LONGEST_REASON: Final = 500


def flow_hold(kind: AlertKind) -> Hold:
    """How long a change of the flow has to last until people are told."""
    return _DAMAGE_STAYS if kind == AlertKind.LAKE_DAMAGED else _SETTLED


def data_flow_sensor(watch: Watch, channels: Sequence[Channel]) -> dg.SensorDefinition:
    """Tells which hop is stale, once per change, and reports the check of the poles."""

    @dg.sensor(
        name=DATA_FLOW,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Tells which hop of the way is stale (meter, pole, backhaul, ingest, orchestration, "
            "serving) and alerts once per change; reports the check poles_are_heard. Starts no run."
        ),
    )
    def data_flow(context: dg.SensorEvaluationContext, lake: Lake) -> dg.SensorResult:
        now = lake.now()
        book = Book.of_cursor(context.cursor)
        look = observe(lake.data, context.instance, watch, now)
        said = tell_flow(context, book, look, watch, channels, flow_hold)
        return dg.SensorResult(
            asset_events=due_check(book, look, watch, _CHECK_EVERY),
            cursor=book.cursor(),
            skip_reason=said,
        )

    return data_flow


def tell_flow(
    context: dg.SensorEvaluationContext,
    book: Book,
    look: Look,
    watch: Watch,
    channels: Sequence[Channel],
    hold: Callable[[AlertKind], Hold],
) -> str:
    """Write down which hop is stale and deliver all that waits; returns a word on every hop."""
    for line in look.unread:
        context.log.warning("%s", line)
    states = hops(look.seen, watch.limits)
    found = {**findings(states), AlertKind.LAKE_DAMAGED: _damage(look)}
    _tell(
        context,
        book,
        channels,
        lambda names: book.take(found, look.seen.at, hold=hold, channels=names),
    )
    return "; ".join(f"{s.hop}: {s.standing} {s.reason}".rstrip() for s in states)


def _damage(look: Look) -> Mapping[str, str | None]:
    if not look.problem:
        return {}
    # The failed run names the file already.
    return {"": None if HOUR_JOBS & set(look.seen.failing_jobs) else look.problem}


def due_check(
    book: Book, look: Look, watch: Watch, every: timedelta
) -> list[dg.AssetCheckEvaluation]:
    """The evaluation of the poles' check when it has changed or is due, else none."""
    if not look.seen.meters:
        return []
    now = look.seen.at
    verdict = pole_verdict(
        look.seen.meters, now, watch.limits.silence, watch.silence_is_error, look.problem
    )
    state = "passed" if verdict.passed else f"{verdict.severity.value} {verdict.description}"
    known, checked_at = book.notes.get(_CHECKED), book.notes.get(_CHECKED_AT)
    if known == state and checked_at and now - datetime.fromisoformat(checked_at) < every:
        return []
    book.notes[_CHECKED], book.notes[_CHECKED_AT] = state, now.isoformat()
    assert verdict.asset_key is not None
    return [
        dg.AssetCheckEvaluation(
            asset_key=verdict.asset_key,
            check_name=POLES_ARE_HEARD,
            passed=verdict.passed,
            severity=verdict.severity,
            description=verdict.description,
            metadata=verdict.metadata,
        )
    ]


def failures_sensor(
    job_names: Sequence[str], checks: Sequence[dg.AssetCheckKey], channels: Sequence[Channel]
) -> dg.SensorDefinition:
    """Tells of failed runs and checks, once until the job or check is well again."""

    @dg.sensor(
        name=FAILURES,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Alerts when a job's run fails and is not tried again by itself, and when a check of "
            "severity ERROR fails; tells when it is well again. Starts no run."
        ),
    )
    def failures(context: dg.SensorEvaluationContext, lake: Lake) -> dg.SensorResult:
        now = lake.now()
        book = Book.of_cursor(context.cursor)

        def take(names: list[str]) -> list[Notice]:
            notices = _take_runs(context.instance, book, job_names, names, now)
            reasons = check_reasons(context.instance, checks)
            return notices + book.take({AlertKind.CHECK_FAILED: reasons}, now, channels=names)

        _tell(context, book, channels, take)
        kinds = (AlertKind.RUN_FAILED, AlertKind.CHECK_FAILED)
        failing = sorted(name for kind in kinds for name in book.wrong(kind))
        return dg.SensorResult(
            cursor=book.cursor(), skip_reason=f"failing: {', '.join(failing) or 'nothing'}"
        )

    return failures


def _tell(
    context: dg.SensorEvaluationContext,
    book: Book,
    channels: Sequence[Channel],
    take: Callable[[list[str]], list[Notice]],
) -> None:
    """Write down what is wrong now and deliver all that waits."""
    everyone = [LogChannel(context.log), *channels]
    take([channel.name for channel in everyone])
    for problem in book.deliver(everyone):
        context.log.error("%s", problem)


def _take_runs(
    instance: dg.DagsterInstance,
    book: Book,
    job_names: Sequence[str],
    channels: list[str],
    now: datetime,
) -> list[Notice]:
    """Write down the runs that have ended since the last time, in their order."""
    until = book.notes.get(_RUNS_UNTIL)
    since = datetime.fromisoformat(until) - _OVERLAP if until else now - _FIRST_LOOK
    seen = set(book.notes.get(_RUNS_SEEN, "").split())
    records = instance.get_run_records(
        dg.RunsFilter(statuses=_ENDED, updated_after=since),
        limit=_MOST_RUNS,
        order_by="update_timestamp",
        ascending=True,
    )
    notices = []
    for record in records:
        run = record.dagster_run
        if run.run_id in seen or run.job_name not in job_names:
            continue
        if run.status == dg.DagsterRunStatus.FAILURE and not has_failed(run):
            continue
        # Nothing is said of the other jobs.
        reasons: dict[str, str | None] = dict.fromkeys(book.wrong(AlertKind.RUN_FAILED))
        reasons.pop(run.job_name, None)
        if has_failed(run):
            reasons[run.job_name] = f"run {run.run_id}: {_why_failed(instance, run.run_id)}"
        # Its own time: told again after a kill, it is the same notice.
        ended_at = record.update_timestamp.astimezone(UTC)
        notices += book.take({AlertKind.RUN_FAILED: reasons}, ended_at, channels=channels)
    if records:
        newest = max(record.update_timestamp for record in records)
        book.notes[_RUNS_UNTIL] = newest.astimezone(UTC).isoformat()
        recent = [r for r in records if r.update_timestamp >= newest - _OVERLAP]
        book.notes[_RUNS_SEEN] = " ".join(record.dagster_run.run_id for record in recent)
    return notices


def _why_failed(instance: dg.DagsterInstance, run_id: str) -> str:
    """First line of the first failed step's error, its failed checks, or the run's last word."""
    kinds = {
        dg.DagsterEventType.STEP_FAILURE,
        dg.DagsterEventType.RUN_FAILURE,
        dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    }
    reasons: list[str] = []
    checks: list[str] = []
    for entry in instance.all_logs(run_id, of_type=kinds):
        event = entry.dagster_event
        if event is None:
            continue
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR:
                checks.append(f"{check.asset_key.to_user_string()}:{check.check_name}")
        elif event.is_step_failure:
            error = event.step_failure_data.error
            cause = error.cause if error and error.cause else error
            reasons.append(f"step {event.step_key}: {cause.message if cause else event.message}")
        else:
            reasons.append(event.message or "the run failed")
    first = " ".join((reasons or ["see its log"])[0].split())[:_LONGEST_REASON]
    return f"{first}; failed checks: {', '.join(checks[:10])}" if checks else first


def check_reasons(
    instance: dg.DagsterInstance, checks: Iterable[dg.AssetCheckKey]
) -> dict[str, str | None]:
    """Why checks of severity ERROR fail, by `asset:check`.

    None for a check that is being evaluated, or that failed in a run that failed too: the run is
    told of already.
    """
    latest = latest_evaluations(instance, checks)
    wrong = failed(latest)
    run_ids = sorted({record.run_id for record in wrong.values() if record.run_id})
    succeeded = {
        run.run_id
        for run in (instance.get_runs(dg.RunsFilter(run_ids=run_ids)) if run_ids else [])
        if run.status == dg.DagsterRunStatus.SUCCESS
    }
    reasons: dict[str, str | None] = {
        _name(key): None for key, record in latest.items() if is_asked(record)
    }
    for key, record in wrong.items():
        told = bool(record.run_id) and record.run_id not in succeeded
        assert record.evaluation
        why = " ".join((record.evaluation.description or "failed").split())[:_LONGEST_REASON]
        reasons[_name(key)] = None if told else why
    return reasons


def _name(key: dg.AssetCheckKey) -> str:
    return f"{key.asset_key.to_user_string()}:{key.name}"
