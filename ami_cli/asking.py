"""`ami query`: reads options, asks the HTTP API, gives tables, JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from ami_contract.errors import SettingsError, TransportError
from ami_contract.settings import Settings, load_settings

if TYPE_CHECKING:
    import httpx

app = typer.Typer(
    help="Ask the HTTP API (`ami up` or `ami api` serves it).",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Format = Annotated[str, typer.Option("--format", help="table, json or csv.")]
Url = Annotated[str | None, typer.Option(help="Address of the API; default AMI_API_URL.")]
From = Annotated[str | None, typer.Option("--from", help="Begin of the window (UTC or offset).")]
To = Annotated[str | None, typer.Option("--to", help="First moment after the window.")]
All = Annotated[bool, typer.Option("--all", help="Every page, not only the first.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Most items of a page.")]


@app.command()
def poles(
    feeder: Annotated[str | None, typer.Option(help="Only poles of this feeder.")] = None,
    limit: Limit = None,
    every_page: All = False,
    output: Format = "table",
    url: Url = None,
) -> None:
    """All poles with their condition in the newest hour."""
    options = {"feeder_id": feeder, "limit": limit}
    _show("GET", "/poles", options, output, url, every_page=every_page)


@app.command()
def pole(
    pole_id: Annotated[str, typer.Argument(metavar="POLE")],
    start: From = None,
    end: To = None,
    output: Format = "table",
    url: Url = None,
) -> None:
    """Power, voltage, health and events of a pole."""
    _show("GET", f"/pole/{_segment(pole_id)}/summary", _window(start, end), output, url)


@app.command()
def timeseries(
    pole_id: Annotated[str, typer.Argument(metavar="POLE")],
    metric: Annotated[
        str, typer.Option(help="voltage_v, power_kw, energy_kwh or coverage.")
    ] = "power_kw",
    resolution: Annotated[str, typer.Option(help="1m, 5m, 15m, 1h or 1d.")] = "5m",
    start: From = None,
    end: To = None,
    output: Format = "table",
    url: Url = None,
) -> None:
    """A quantity of a pole over time."""
    options = {"metric": metric, "resolution": resolution, **_window(start, end)}
    _show("GET", f"/pole/{_segment(pole_id)}/timeseries", options, output, url)


@app.command()
def anomalies(
    start: From = None,
    end: To = None,
    pole: Annotated[str | None, typer.Option(help="Only this pole.")] = None,
    meter: Annotated[str | None, typer.Option(help="Only this meter.")] = None,
    severity: Annotated[str | None, typer.Option(help="minor, major or critical.")] = None,
    scope: Annotated[str | None, typer.Option(help="meter, pole, feeder or undetermined.")] = None,
    min_duration: Annotated[
        float | None, typer.Option(help="Only events that last so long or longer. [s]")
    ] = None,
    limit: Limit = None,
    every_page: All = False,
    output: Format = "table",
    url: Url = None,
) -> None:
    """Low-voltage events, newest first."""
    options = {
        **_window(start, end),
        "pole_id": pole,
        "meter_id": meter,
        "severity": severity,
        "scope": scope,
        "min_duration": min_duration,
        "limit": limit,
    }
    _show("GET", "/anomalies", options, output, url, every_page=every_page)


@app.command()
def anomaly(
    event_id: Annotated[str, typer.Argument(metavar="EVENT")],
    around: Annotated[
        float | None, typer.Option(help="Time shown before and after, in json. [s]")
    ] = None,
    output: Format = "json",
    url: Url = None,
) -> None:
    """An event with the voltage around it."""
    _show("GET", f"/anomalies/{_segment(event_id)}", {"around": around}, output, url)


@app.command()
def quality(
    meter_id: Annotated[str, typer.Argument(metavar="METER")],
    start: From = None,
    end: To = None,
    output: Format = "table",
    url: Url = None,
) -> None:
    """What was expected of a meter and received, hour by hour."""
    _show("GET", f"/meters/{_segment(meter_id)}/quality", _window(start, end), output, url)


@app.command()
def dr(
    start: Annotated[str, typer.Option("--from", help="Begin of the event.")],
    end: Annotated[str, typer.Option("--to", help="End of the event.")],
    pole: Annotated[
        list[str] | None, typer.Option(help="A pole that was called; repeatable; default: all.")
    ] = None,
    method: Annotated[str, typer.Option(help="Baseline method.")] = "caiso_10_of_10",
    adjustment: Annotated[str, typer.Option(help="own, none, multiplicative or additive.")] = "own",
    output: Format = "table",
    url: Url = None,
) -> None:
    """What a demand-response event shed, slot by slot; --format json has the totals too."""
    body = {
        **_window(start, end),
        "pole_ids": pole or "all",
        "method": method,
        "adjustment": adjustment,
    }
    _show("POST", "/dr/compute", body, output, url)


@app.command()
def dr_events(
    limit: Limit = None, every_page: All = False, output: Format = "table", url: Url = None
) -> None:
    """Demand-response events that were called."""
    _show("GET", "/dr/events", {"limit": limit}, output, url, every_page=every_page)


@app.command()
def freshness(output: Format = "table", url: Url = None) -> None:
    """How new everything is, pole by pole; --format json tells which hop is stale."""
    _show("GET", "/freshness", {}, output, url)


def _window(start: str | None, end: str | None) -> dict[str, str | None]:
    from ami_cli.main import parse_time

    texts = {"start": start, "end": end}
    return {
        name: parse_time(text).isoformat().replace("+00:00", "Z") if text else None
        for name, text in texts.items()
    }


def _segment(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def base_url(settings: Settings) -> str:
    """Address of the API that these settings mean."""
    from ami_api.exposure import local_url

    return settings.api_url.rstrip("/") or local_url(settings)


def _show(
    method: str,
    path: str,
    options: dict[str, Any],
    output: str,
    url: str | None,
    *,
    every_page: bool = False,
) -> None:
    from ami_cli.query import check_format

    check_format(output)
    settings = load_settings()
    given = {name: value for name, value in options.items() if value is not None}
    media_type = "application/json" if output == "json" else "text/csv"
    pages = _pages(
        settings, url or base_url(settings), method, path, given, media_type, every_page=every_page
    )
    if output == "json":
        found = [json.loads(page) for page in pages]
        click.echo(json.dumps(found if every_page else found[0], indent=2, ensure_ascii=False))
    elif output == "csv":
        for number, page in enumerate(pages):
            # One header for all pages.
            sys.stdout.write(page if not number else page.partition("\n")[2])
    else:
        _print_csv(list(pages))


def _print_csv(pages: list[str]) -> None:
    from ami_cli.query import print_rows

    found = [list(csv.reader(io.StringIO(page))) for page in pages]
    columns = found[0][0]
    rows = [[_value(cell) for cell in row] for page in found for row in page[1:]]
    if len(rows) == 1 and len(columns) > 12:
        # One row of many columns reads better as a list.
        print_rows(["field", "value"], list(zip(columns, rows[0], strict=True)), "table")
    else:
        print_rows(columns, rows, "table")


def _value(cell: str) -> str | float | None:
    if not cell:
        return None
    try:
        return float(cell) if not cell.isdecimal() else int(cell)
    except ValueError:
        return cell


def _pages(
    settings: Settings,
    url: str,
    method: str,
    path: str,
    options: dict[str, Any],
    media_type: str,
    *,
    every_page: bool,
) -> Iterator[str]:
    """Texts of the pages.

    Raises:
        SettingsError: the API refuses the question (4xx).
        TransportError: the API cannot be reached or failed (5xx).
    """
    import httpx

    headers = {"Accept": f"{media_type}, application/problem+json;q=0.1"}
    key = settings.api_key.get_secret_value() or next(iter(settings.api_key_list), "")
    if key:
        headers["X-API-Key"] = key
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            if method == "POST":
                answer = client.post(path, json=options)
            else:
                answer = client.get(path, params=options)
            yield _text(answer)
            while every_page and "next" in answer.links:
                answer = client.get(answer.links["next"]["url"])
                yield _text(answer)
    except httpx.InvalidURL as error:
        raise SettingsError(f"{url!r} is no address of an API: {error}") from error
    except httpx.HTTPError as error:
        raise TransportError(
            f"no answer from {url} ({error}); `ami up` or `ami api` serves it"
        ) from error


def _text(answer: httpx.Response) -> str:
    if answer.status_code == 200:
        return answer.text
    try:
        problem = answer.json()
        said = f"{problem['title']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        said = f"{answer.request.url} answers {answer.status_code}"
    if answer.is_client_error:
        raise SettingsError(said)
    raise TransportError(said)
