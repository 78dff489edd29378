"""`python -m benchmarks`: reads options, measures, gives `results.json` and `docs/benchmarks.md`.

Exit status: 0 all wanted benchmarks were measured, 1 one of them failed, 2 the options are wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from ami_contract.errors import AmiError, SettingsError
from ami_store.files import write_bytes
from benchmarks import surroundings
from benchmarks.claims import in_step, pages
from benchmarks.definition import Benchmark, Metric
from benchmarks.plots import pictures
from benchmarks.report import NOT_MEASURED, render, shown_target, table_rows, text_table
from benchmarks.results import Document, Origin, load, merged, save
from benchmarks.runner import Outcome, run
from benchmarks.suite import BENCHMARKS

ROOT: Final = Path(__file__).resolve().parent.parent
RESULTS: Final = ROOT / "benchmarks" / "results.json"
PAGE: Final = ROOT / "docs" / "benchmarks.md"
WORK: Final = ROOT / ".ami" / "benchmarks"


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the platform and write the figures beside their targets.",
    )
    made.add_argument(
        "--only",
        action="append",
        metavar="ID_GLOB",
        help="only ids that match, e.g. 'ingest.*'; may be repeated; other figures stay",
    )
    made.add_argument("--runs", type=_count, metavar="N", help="repetitions of every benchmark")
    made.add_argument(
        "--quick",
        action="store_true",
        help="small inputs, one run: a smoke test; written only where --output says",
    )
    made.add_argument("--list", action="store_true", help="name every benchmark and end")
    made.add_argument(
        "--render", action="store_true", help="measure nothing; write the page from the results"
    )
    made.add_argument(
        "--output", type=Path, metavar="FILE", help="results file (benchmarks/results.json)"
    )
    made.add_argument(
        "--page",
        type=Path,
        metavar="FILE",
        help="page to render (docs/benchmarks.md; none beside another --output)",
    )
    made.add_argument(
        "--work",
        type=Path,
        default=WORK,
        metavar="DIR",
        help="folder on the disk to measure (.ami/benchmarks)",
    )
    return made


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("a whole number from 1 on")
    return number


def main(arguments: Sequence[str], benchmarks: Sequence[Benchmark] = BENCHMARKS) -> int:
    """Run the command; returns the exit status."""
    options = parser().parse_args(arguments)
    try:
        if options.list:
            print(listing(benchmarks))
            return 0
        if options.render:
            document = load(options.output or RESULTS)
            _write_page(options.page or PAGE, document, benchmarks)
            return 0
        return _measure(options, benchmarks)
    except SettingsError as error:
        _say(f"benchmarks: {error}")
        return 2
    except AmiError as error:
        _say(f"benchmarks: {error}")
        return 1


def listing(benchmarks: Sequence[Benchmark]) -> str:
    """One line per figure: id, target with unit, runs."""
    return "\n".join(
        f"{metric.id:34} {_target(metric):>12} "
        f"{metric.unit:14} {f'{b.runs} runs' if b.measure else NOT_MEASURED}"
        for b in benchmarks
        for metric in b.metrics
    )


def _target(metric: Metric) -> str:
    return shown_target(metric.target.value, metric.target.direction) if metric.target else ""


def _measure(options: argparse.Namespace, benchmarks: Sequence[Benchmark]) -> int:
    def wanted(name: str) -> bool:
        return not options.only or any(fnmatchcase(name, glob) for glob in options.only)

    chosen = [b for b in benchmarks if b.measure and any(wanted(m.id) for m in b.metrics)]
    if not chosen:
        raise SettingsError(
            f"--only {' '.join(options.only or [])}: names nothing that can be measured; see --list"
        )
    output = options.output or (None if options.quick else RESULTS)
    page = options.page or (PAGE if output == RESULTS else None)
    commit, dirty = surroundings.commit(ROOT, (RESULTS, PAGE.parent, ROOT / "README.md"))
    origin = Origin(
        machine=surroundings.machine(options.work),
        versions=surroundings.versions(),
        commit=commit,
        dirty=dirty,
        taken_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        load_1m=surroundings.load_1m(),
        quick=options.quick,
    )
    document = _start(output, origin, keep=bool(options.only))
    failed = False
    for benchmark in chosen:
        outcome = run(
            benchmark,
            wanted=wanted,
            runs=options.runs,
            quick=options.quick,
            work=options.work,
            report=_say,
        )
        failed |= bool(outcome.failures)
        # Written after each, so that an interrupted run keeps what it has.
        document = merged(document, outcome, origin, benchmarks)
        if output:
            save(output, document)
    if page:
        _write_page(page, document, benchmarks)
    print(text_table([row for row in table_rows(document, benchmarks) if wanted(row[0])]))
    return 1 if failed else 0


def _start(output: Path | None, origin: Origin, *, keep: bool) -> Document:
    """The document to add to: what `output` holds, when it is of this machine."""
    before = load(output) if output else {}
    if not before or surroundings.is_same_machine(before["machine"], origin.machine):
        return before
    if keep:
        raise SettingsError(
            f"{output} holds figures of another machine; measure everything (without --only), or "
            "name another --output"
        )
    return merged({}, Outcome(), origin, [])


def _write_page(page: Path, document: Document, benchmarks: Sequence[Benchmark]) -> None:
    write_bytes(page, render(document, benchmarks).encode())
    _say(f"wrote {page}")
    for name, picture in pictures(document).items():
        (page.parent / "img").mkdir(exist_ok=True)
        write_bytes(page.parent / "img" / name, picture)
    if page == PAGE:
        for told in pages(ROOT):
            _keep_in_step(told, document)


def _keep_in_step(page: Path, document: Document) -> None:
    """Renew the figures that a page of the documentation quotes."""
    before = page.read_text(encoding="utf-8")
    after = in_step(before, document)
    if after != before:
        write_bytes(page, after.encode())
        _say(f"renewed figures in {page}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
