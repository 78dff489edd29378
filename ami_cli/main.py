"""The `ami` command: reads settings and options, wires the hops together, prints results.

Exit status: 0 done, 1 it failed, 2 options, settings or configuration are wrong.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import click
import typer

from ami_cli import asking
from ami_contract.errors import AmiError, SettingsError
from ami_contract.settings import Settings, load_settings

Kind = TypeVar("Kind", bound=StrEnum)

app = typer.Typer(
    name="ami",
    help="AMI 2.0 analytics: from one-second meter readings to sags, sheds and pole health.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def settings() -> Settings:
    """Settings of this call."""
    return load_settings()


def parse_time(text: str) -> datetime:
    """UTC instant of an ISO 8601 text; one without zone is UTC.

    Raises:
        SettingsError: it is no such text.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(
            f"{text!r} is not a time; write e.g. 2026-03-01T14:00 (UTC) or with an offset"
        ) from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def choice(kind: type[Kind], text: str, option: str) -> Kind:
    """The value of an enumeration that an option names.

    Raises:
        SettingsError: there is no such value.
    """
    try:
        return kind(text)
    except ValueError:
        known = ", ".join(member.value for member in kind)
        raise SettingsError(f"{option} {text!r}: one of {known}") from None


Config = Annotated[Path, typer.Option("--config", help="Simulation config.", show_default=True)]
LOOPBACK = "127.0.0.1"
Host = Annotated[
    str,
    typer.Option(help="Address; any but loopback only behind a proxy that asks who is there."),
]
DEMO_CONFIG = Path(__file__).resolve().parent.parent / "simulator" / "configs" / "demo.yaml"


@app.command()
def pubsub(
    port: Annotated[int | None, typer.Option(help="Port; default AMI_PUBSUB_PORT.")] = None,
) -> None:
    """Run the embedded Pub/Sub until stopped."""
    from ami_cli.serve import run_pubsub

    found = settings()
    run_pubsub(found, port or found.pubsub_port)


@app.command()
def simulate(
    config: Config = DEMO_CONFIG,
    stdout: Annotated[
        bool, typer.Option("--stdout", help="Print readings as JSON Lines, publish nothing.")
    ] = False,
    duration: Annotated[
        float | None, typer.Option(help="Seconds to simulate; default: until stopped.")
    ] = None,
    speed: Annotated[
        str | None, typer.Option(help="Simulated seconds per second, or max; default: 1.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="First moment (UTC); default: now.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="First moment after the run.")] = None,
    poles: Annotated[int | None, typer.Option(help="Another number of poles.")] = None,
    meters: Annotated[int | None, typer.Option(help="Another number of meters per pole.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed.")] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Folder for the ground truth of the run.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the history --from … --to into this folder, publish nothing."),
    ] = None,
    out_form: Annotated[
        str | None,
        typer.Option(
            help="lake (landing and dead letter, default) or archive (what replay reads)."
        ),
    ] = None,
    spool: Annotated[
        Path | None,
        typer.Option(help="Folder of the gateways' spool; default: spool in the data folder."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw a day of the first pole (.png, .svg, .html), publish nothing."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the config and say what would be done.")
    ] = False,
) -> None:
    """Simulate meters and gateways and publish their readings."""
    from ami_cli.simulation import SimulationOrder, run_simulation

    order = SimulationOrder(
        config=config,
        stdout=stdout,
        duration_s=duration,
        speed=speed,
        start=parse_time(start) if start else None,
        end=parse_time(end) if end else None,
        poles=poles,
        meters=meters,
        seed=seed,
        truth=truth,
        out=out,
        out_form=out_form,
        spool=spool,
        plot=plot,
        dry_run=dry_run,
    )
    summary = run_simulation(settings(), order)
    if summary is not None and summary.spooled and not summary.stopped_early:
        raise typer.Exit(1)


@app.command()
def ingest(
    drain: Annotated[
        float | None,
        typer.Option(help="Stop after this many seconds without a message."),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Loopback port for Prometheus, 0: none; default AMI_INGEST_METRICS_PORT.",
        ),
    ] = None,
) -> None:
    """Store what arrives on the subscription, until stopped."""
    from ami_cli.ingestion import run_ingest

    found = settings()
    port = found.ingest_metrics_port if metrics_port is None else metrics_port
    run_ingest(found, drain, port)


@app.command()
def archive() -> None:
    """Lay the raw archive out by pole and minute now; `ami ingest` does it as it goes."""
    from ami_cli.replaying import run_archive

    run_archive(settings())


@app.command()
def replay(
    start: Annotated[
        str | None, typer.Option("--from", help="First hour (UTC); default: the oldest.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="First moment after the last hour (UTC).")
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(help="Make this new data folder; default: repair the lake in place."),
    ] = None,
) -> None:
    """Make whole hours anew from archive and dead letter, judged by their first clock."""
    from ami_cli.replaying import run_replay

    since = parse_time(start) if start else None
    until = parse_time(end) if end else None
    run_replay(settings(), since, until, into)


deadletter = typer.Typer(
    help="What was refused and why; put back what is good by now.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(deadletter, name="deadletter")

Codes = Annotated[list[str] | None, typer.Option("--code", help="Only this code; repeatable.")]
Meters = Annotated[list[str] | None, typer.Option("--meter", help="Only this meter; repeatable.")]
Since = Annotated[str | None, typer.Option(help="Only what arrived from here on (UTC).")]


@deadletter.command(name="ls")
def deadletter_ls(
    code: Codes = None,
    meter: Meters = None,
    since: Since = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="List the newest letters, so many, one by one.")
    ] = None,
    output: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
) -> None:
    """Count dead letters by code and field; with --limit list single ones."""
    from ami_cli.deadletters import choice_of, list_letters

    choice = choice_of(code, meter, parse_time(since) if since else None)
    list_letters(settings(), choice, limit, output)


@deadletter.command(name="show")
def deadletter_show(
    identity: Annotated[str, typer.Argument(metavar="ID", help="Its dead_letter_id.")],
) -> None:
    """Print one dead letter with its whole payload, as JSON."""
    from ami_cli.deadletters import show_letter

    show_letter(settings(), identity)


@deadletter.command(name="replay")
def deadletter_replay(
    code: Codes = None,
    identity: Annotated[
        list[str] | None, typer.Option("--id", help="Only this letter; repeatable.")
    ] = None,
    meter: Meters = None,
    since: Since = None,
    everything: Annotated[bool, typer.Option("--all", help="Every letter.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge them, store nothing.")] = False,
) -> None:
    """Judge dead letters by the clock of now; store what is good, leave the rest."""
    from ami_cli.deadletters import choice_of, run_deadletter_replay

    if any((code, identity, meter, since)) == everything:
        raise SettingsError("choose letters by --code, --id, --meter or --since, or take --all")
    choice = choice_of(code, meter, parse_time(since) if since else None, identity)
    run_deadletter_replay(settings(), choice, dry_run=dry_run)


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="File; with --by a new folder.")],
    start: Annotated[str | None, typer.Option("--from", help="First moment (UTC).")] = None,
    end: Annotated[str | None, typer.Option("--to", help="First moment after it.")] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="csv or parquet; default: by the name.")
    ] = None,
    table: Annotated[
        str, typer.Option(help="readings (deduplicated), raw_meter_readings or a mart.")
    ] = "readings",
    pole: Annotated[list[str] | None, typer.Option(help="Only this pole; repeatable.")] = None,
    meter: Annotated[list[str] | None, typer.Option(help="Only this meter; repeatable.")] = None,
    by: Annotated[str | None, typer.Option(help="A file per day or per pole.")] = None,
) -> None:
    """Write a range of readings or of a mart as CSV (.gz) or Parquet."""
    from ami_cli.exporting import form_of, run_export
    from ami_store.export import Order

    order = Order(
        table,
        form_of(form, out),
        out.expanduser().absolute(),
        parse_time(start) if start else None,
        parse_time(end) if end else None,
        tuple(pole or ()),
        tuple(meter or ()),
        by,  # type: ignore[arg-type]
    )
    run_export(settings(), order)


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV (also .gz, .bz2, .zst) or Parquet file.")],
    mapping: Annotated[Path, typer.Option("--map", help="YAML map; see docs/import.md.")],
) -> None:
    """Store readings from a file of somebody else's shape."""
    from ami_cli.ingestion import run_import

    run_import(settings(), file, mapping)


@app.command()
def ledger(
    start: Annotated[
        str | None, typer.Option("--from", help="Only readings taken from then on (UTC).")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Only readings taken before then (UTC).")
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="Ground truth of the simulated runs.")] = None,
    output: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
) -> None:
    """Balance every meter: expected = stored + dead-lettered + lost + not sampled; else exit 1."""
    from ami_cli.query import print_ledger
    from ami_store.ledger import Window

    window = Window(parse_time(start) if start else None, parse_time(end) if end else None)
    print_ledger(settings(), truth, window, output)


@app.command()
def build(
    start: Annotated[
        str | None, typer.Option("--from", help="Only hours that end after this (UTC).")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Only hours that begin before this (UTC).")
    ] = None,
) -> None:
    """Materialize all that is pending, through Dagster, and publish the warehouse."""
    from ami_cli.building import run_build

    since = parse_time(start) if start else None
    until = parse_time(end) if end else None
    run_build(settings(), since, until)


@app.command(
    context_settings={
        "ignore_unknown_options": True,
        "allow_extra_args": True,
        "help_option_names": [],
    }
)
def dbt(context: typer.Context) -> int:
    """Run dbt on the warehouse: build, test, docs generate, ...; --target duckdb or bigquery."""
    from ami_cli.dbt_shell import run_dbt

    return run_dbt(settings(), context.args)


@app.command()
def sql(
    statement: Annotated[str, typer.Argument(help="One SELECT.")],
    output: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
) -> None:
    """Query the published warehouse (and raw_meter_readings as they stand now)."""
    from ami_cli.query import print_query

    print_query(settings(), statement, output)


@app.command()
def api(
    host: Annotated[str | None, typer.Option(help="Address; default AMI_API_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port; default AMI_API_PORT.")
    ] = None,
) -> None:
    """Serve the HTTP API of the published warehouse until stopped; ask it with `ami query`."""
    from ami_api.serve import run_api

    found = settings()
    changed = {"api_host": host or found.api_host, "api_port": port or found.api_port}
    run_api(found.model_copy(update=changed))


@app.command()
def dashboard(
    host: Host = LOOPBACK,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port; default AMI_DASHBOARD_PORT.")
    ] = None,
) -> None:
    """Serve the dashboard, which asks the API (AMI_API_URL), until stopped."""
    from ami_cli.serve_dashboard import run_dashboard

    found = settings()
    run_dashboard(found, port or found.dashboard_port, host)


@app.command()
def figures() -> None:
    """Print the state of fleet and poles, a line of JSON each, for metrics made of logs."""
    from ami_cli.figures import run_figures

    run_figures(settings())


@app.command()
def up() -> None:
    """Run Pub/Sub, ingest, Dagster, API and dashboard; publish with `ami simulate`."""
    from ami_cli.up import run_up

    run_up(settings())


@app.command()
def dagster(
    part: Annotated[str, typer.Argument(metavar="PART", help="code-server, webserver or daemon.")],
    host: Host = LOOPBACK,
) -> None:
    """Run one part of Dagster alone, in the foreground; `ami up` runs all of them."""
    from ami_cli.dagster_part import run_dagster

    run_dagster(settings(), part, host)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Findings as JSON.")] = False,
) -> None:
    """Look for what keeps the platform from working and say what to do; exit 1 on a failure."""
    from ami_cli.doctor import run_doctor

    run_doctor(settings(), as_json=as_json)


@app.command()
def demo(
    check: Annotated[
        bool,
        typer.Option("--check", help="Headless, in a folder of its own; verifies and exits."),
    ] = False,
    config: Config = DEMO_CONFIG,
) -> None:
    """Run the whole platform on simulated meters and leave the Dagster UI open."""
    from ami_cli.demo import run_demo
    from ami_cli.demo_check import run_check

    if check:
        run_check(settings(), config)
    else:
        run_demo(settings(), config)


@app.command()
def smoke() -> None:
    """Two meters for two minutes in real time through the whole platform; verifies and exits."""
    from ami_cli.smoke import run_smoke

    run_smoke(settings())


@app.command()
def cost(
    meters: Annotated[int, typer.Option(min=1, help="How many meters.")] = 1000,
    hz: Annotated[float, typer.Option(help="Readings per second of each meter.")] = 1.0,
    days: Annotated[float, typer.Option(help="Days that are billed; 30: a month.")] = 30.0,
    encoding: Annotated[
        str, typer.Option(help="What gateways send: single, batch (JSON) or arrow.")
    ] = "batch",
    meters_per_pole: Annotated[int, typer.Option(min=1, help="Meters behind a gateway.")] = 10,
    batch_s: Annotated[float, typer.Option(help="Seconds a gateway collects in a message.")] = 30.0,
    messages_per_request: Annotated[
        int, typer.Option(min=1, help="Messages that a gateway publishes at once.")
    ] = 1,
    write_method: Annotated[
        str, typer.Option(help="storage_write_api, streaming_inserts or file_loads.")
    ] = "storage_write_api",
    keep_days: Annotated[float, typer.Option(help="Days of readings in BigQuery.")] = 365.0,
    archive_days: Annotated[float, typer.Option(help="Days of the raw archive.")] = 365.0,
    nearline_days: Annotated[
        float, typer.Option(help="Age at which archived files become Nearline; 0: never.")
    ] = 0.0,
    archive_minutes: Annotated[int, typer.Option(help="Minutes of an archive file: 1 or 5.")] = 1,
    tick_minutes: Annotated[
        float, typer.Option(help="Minutes between two ticks of sag detection; 0: hourly alone.")
    ] = 5.0,
    slots: Annotated[
        int, typer.Option(min=0, help="Reserved BigQuery slots; 0: pay by scanned bytes.")
    ] = 0,
    api_requests: Annotated[float, typer.Option(help="Questions to the API a day.")] = 10_000.0,
    dashboard_hours: Annotated[float, typer.Option(help="Hours of dashboard a day.")] = 8.0,
    prices: Annotated[
        Path | None, typer.Option(help="Another table of prices; see ami_cost/prices.yaml.")
    ] = None,
    output: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
) -> None:
    """Estimate what a fleet costs on Google Cloud, by service and per meter and month."""
    from ami_cli.costing import Encoding, WriteMethod, print_cost, scenario_of

    scenario = scenario_of(
        meters=meters,
        hz=hz,
        days=days,
        encoding=choice(Encoding, encoding, "--encoding"),
        meters_per_pole=meters_per_pole,
        batch_s=batch_s,
        messages_per_request=messages_per_request,
        write_method=choice(WriteMethod, write_method, "--write-method"),
        keep_days=keep_days,
        archive_days=archive_days,
        nearline_days=nearline_days,
        archive_minutes=archive_minutes,
        tick_minutes=tick_minutes,
        slots=slots,
        api_requests_per_day=api_requests,
        dashboard_hours_per_day=dashboard_hours,
    )
    print_cost(settings(), scenario, prices, output)


app.add_typer(asking.app, name="query")


def main() -> None:
    """Entry point: runs `app` and turns errors raised on purpose into one line."""
    try:
        # Without its standalone mode typer returns the status that a command ends with.
        status = app(standalone_mode=False)
    except SettingsError as error:
        click.echo(f"ami: {error}", err=True)
        sys.exit(2)
    except AmiError as error:
        click.echo(f"ami: {error}", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except typer.TyperException as error:
        click.echo(_usage_error(error), err=True)
        sys.exit(2)
    if isinstance(status, int):
        sys.exit(status)


def _usage_error(error: typer.TyperException) -> str:
    if not sys.argv[1:]:
        return error.format_message()  # `ami` alone: the help
    text = " ".join(error.format_message().split())
    return f"ami: {text.rstrip('.')}; see ami --help"


if __name__ == "__main__":
    main()
