"""`python -m tests.mutation MODULE`: puts faults into a copy of a module, gives the share noticed.

Score: noticed (a test fails or takes too long) of all mutants, without those that no database
accepts and without those that equivalent.yaml lists.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import yaml

from .faults import Mutant, Outcome
from .modules import MODULES, PythonModule, SqlModule
from .operators import python_faults, sql_faults

EQUIVALENT = Path(__file__).with_name("equivalent.yaml")
LEAST_LIMIT_S = 60.0


def chosen(found: list[Mutant], arguments: argparse.Namespace) -> list[Mutant]:
    """The mutants that are judged: drawn, and not listed in equivalent.yaml."""
    listed = yaml.safe_load(EQUIVALENT.read_text()) or []
    known = {(entry["path"], entry["line"], entry.get("becomes")) for entry in listed}
    if arguments.file:
        found = [mutant for mutant in found if arguments.file in mutant.path]
    drawn = random.Random(arguments.seed).sample(found, len(found))[: arguments.limit]
    kept = [mutant for mutant in drawn if not is_known(mutant, known)]
    print(
        f"{arguments.module}: {len(drawn)} of {len(found)} mutants, seed {arguments.seed}, "
        f"{len(drawn) - len(kept)} of them known to be equivalent",
        flush=True,
    )
    if arguments.list:
        print("\n".join(mutant.diff() for mutant in kept))
        return []
    return kept


def is_known(mutant: Mutant, known: set[tuple[str, str, str | None]]) -> bool:
    """Whether the mutant is listed, or every mutant of its line is."""
    line, becomes = mutant.lines()
    return {(mutant.path, line, becomes), (mutant.path, line, None)} & known != set()


def judge_python(module: PythonModule, arguments: argparse.Namespace) -> list[Outcome]:
    """Outcomes of a module in Python, by its tests."""
    from .sandbox import ROOT, Judges

    paths = sorted(path for pattern in module.sources for path in ROOT.glob(pattern))
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in paths}
    found = [
        Mutant(path, text, fault) for path, text in texts.items() for fault in python_faults(text)
    ]
    kept = chosen(found, arguments)
    if not kept:
        return []
    with tempfile.TemporaryDirectory() as folder:
        judges = Judges(module, Path(folder), arguments.workers)
        seconds = judges.unharmed()
        limit_s = max(LEAST_LIMIT_S, 4 * seconds)
        print(f"unharmed {seconds:.1f} s; at most {limit_s:.0f} s each", flush=True)
        return shown(judges.outcomes(kept, limit_s))


def judge_sql(module: SqlModule, arguments: argparse.Namespace) -> list[Outcome]:
    """Outcomes of models, by the check of their stage."""
    from . import compiled, stages

    with tempfile.TemporaryDirectory() as folder:
        stage = getattr(stages, module.stage)(Path(folder))
        models = compiled.models_of(stage)
        found = [
            Mutant(models[name].path, models[name].sql, fault)
            for name in module.models
            for fault in sql_faults(models[name].sql)
        ]
        kept = chosen(found, arguments)
        if not kept:
            return []
        seconds = compiled.unharmed(stage, models, module.models)
        limit_s = max(LEAST_LIMIT_S, 4 * seconds)
        print(f"unharmed {seconds:.1f} s; at most {limit_s:.0f} s each", flush=True)
        return shown(compiled.outcomes(stage, models, kept, limit_s))


def shown(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The outcomes, printed as they come."""
    done = []
    for outcome in outcomes:
        done.append(outcome)
        line = outcome.mutant.text.count("\n", 0, outcome.mutant.fault.start) + 1
        place = f"{outcome.mutant.path}:{line}"
        print(f"{len(done):4d} {outcome.status:8} {outcome.seconds:5.1f} s  {place}", flush=True)
        if outcome.status == "survived":
            print(outcome.mutant.diff(), flush=True)
    return done


def score(outcomes: list[Outcome]) -> float:
    """Share of the mutants that were noticed, in percent; prints it."""
    counts = Counter(outcome.status for outcome in outcomes)
    judged = len(outcomes) - counts["invalid"]
    noticed = counts["killed"] + counts["timeout"]
    percent = 100 * noticed / judged if judged else 100.0
    print(
        f"{judged} mutants: {counts['killed']} killed, {counts['timeout']} timeouts, "
        f"{counts['survived']} survived ({counts['invalid']} more were invalid): {percent:.1f} %"
    )
    return percent


def main() -> int:
    """Run the command; its status says whether the score reaches `--least`."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("module", choices=MODULES)
    parser.add_argument("--limit", type=int, help="mutants drawn; all of them when not given")
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    parser.add_argument("--workers", type=int, default=1, help="Python mutants judged at a time")
    parser.add_argument("--file", help="only mutants of files whose path contains this")
    parser.add_argument("--least", type=float, default=90.0, help="score that is enough, percent")
    parser.add_argument("--list", action="store_true", help="show the mutants, judge none")
    arguments = parser.parse_args()

    began_s = time.monotonic()
    module = MODULES[arguments.module]
    judge = judge_python if isinstance(module, PythonModule) else judge_sql
    outcomes = judge(module, arguments)  # type: ignore[operator]
    percent = score(outcomes)
    print(f"{arguments.module}: {time.monotonic() - began_s:.0f} s")
    return 0 if percent >= arguments.least else 1


if __name__ == "__main__":
    sys.exit(main())
