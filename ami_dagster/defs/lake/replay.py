"""The replay job: reads a range of the archive, gives the lake's hours made anew and built."""

import subprocess
import sys
from datetime import UTC, datetime

import dagster as dg
from pydantic import Field, field_validator, model_validator

from ami_dagster.defs.lake.assets import WAREHOUSE_POOL
from ami_dagster.resources import Lake


class ReplayRange(dg.Config):
    """Hours to make anew from archive and dead letter."""

    start: str = Field(
        description="First hour, ISO 8601, UTC unless it has an offset: 2026-03-01T10:00."
    )
    end: str = Field(description="First moment after the last hour, as `start`.")

    @field_validator("start", "end")
    @classmethod
    def _utc(cls, value: str) -> str:
        moment = datetime.fromisoformat(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        return f"{moment:%Y-%m-%dT%H:%M}"

    @model_validator(mode="after")
    def _forward(self) -> "ReplayRange":
        if self.start >= self.end:
            raise ValueError(f"start {self.start} is not before end {self.end}")
        return self


@dg.op(
    pool=WAREHOUSE_POOL,
    description=(
        "`ami replay --from start --to end`: replaces hours that differ from what archive and dead "
        "letter say, in one commit each; the sensor `landed_hours` or the next hourly run builds "
        "on them. Running it twice changes nothing."
    ),
)
def replay_hours(context: dg.OpExecutionContext, config: ReplayRange, lake: Lake) -> None:
    """Run `ami replay` for the range; what it prints goes to the run's log."""
    command = [sys.executable, "-m", "ami_cli.main"]
    process = subprocess.Popen(  # noqa: S603  (our own command; the values are checked times)
        [*command, "replay", "--from", config.start, "--to", config.end],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=lake.child_environment,
    )
    assert process.stdout is not None
    last = ""
    try:
        for line in process.stdout:
            last = line.strip() or last
            context.log.info(line.rstrip())
    finally:
        # A cancelled run must not leave the replay behind.
        process.terminate()
        status = process.wait()
    if status:
        raise dg.Failure(f"ami replay ended with status {status}: {last}")


@dg.job(
    executor_def=dg.in_process_executor,
    description="Hours of the lake made anew from the archive; for lost or damaged files.",
)
def replay_archive() -> None:
    """One step: `replay_hours`."""
    replay_hours()
