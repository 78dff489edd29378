"""Reads a number of faults and a seed; gives a verdict: faults by kind, readings lost, doubled.

python -m tests.chaos [--faults 200] [--seed S] [--only KIND] [--list]
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from ami_contract.lake import DataDir
from tests.chaos import namespaces
from tests.chaos.faults import KINDS, Condition, Kind, NotNow, Play, drawn
from tests.chaos.stage import Stage
from tests.chaos.story import START, Story
from tests.chaos.verdict import Verdict, close_ledger, compare_marts
from tests.faults.fault_platform import running
from tests.long_story import say, seed_of, tell

SPEED: Final = 30.0
AT_ONCE: Final = 8
SECONDS_PER_FAULT: Final = 5.0
LONGEST_S: Final = 300.0
_LOOK_S: Final = 0.1
_TRIES: Final = 40


@dataclass
class Playing:
    """A fault on its way."""

    kind: Kind
    play: Play
    begun_s: float
    awaits: Condition


@dataclass
class Course:
    """What was injected, and what came of it."""

    survived: Counter[str] = field(default_factory=Counter)
    fatal: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    tries: Counter[str] = field(default_factory=Counter)

    def instead_of(self, kind: Kind, kinds: Sequence[Kind], rng: random.Random) -> tuple[Kind, ...]:
        """What comes later for a fault that has nothing to hit: itself, in the end another."""
        self.tries[kind.name] += 1
        if self.tries[kind.name] <= _TRIES:
            return (kind,)
        self.skipped[kind.name] += 1
        others = [each for each in kinds if self.tries[each.name] <= _TRIES]
        return (rng.choice(others),) if others else ()

    @property
    def injected(self) -> int:
        """Faults that hit something and have ended."""
        return self.survived.total() + len(self.fatal)


def run_course(stage: Stage, kinds: Sequence[Kind], rng: random.Random) -> Course:
    """Inject `kinds` in their order, a few at a time, and wait until each is survived."""
    course, begun_s = Course(), time.monotonic()
    todo = list(kinds)
    on: list[Playing] = []
    next_s = begun_s
    try:
        while todo or on:
            stage.tend()
            for each in list(on):
                try:
                    if _goes_on(each, course):
                        continue
                    _tell(course, len(kinds), begun_s, each)
                except NotNow:
                    todo += course.instead_of(each.kind, kinds, rng)
                on.remove(each)
            held = {need for each in on for need in each.kind.needs}
            free = [kind for kind in todo if not kind.needs & held]
            if free and len(on) < AT_ONCE and time.monotonic() >= next_s:
                kind = free[0]
                todo.remove(kind)
                next_s = time.monotonic() + rng.uniform(0.1, 1.0)
                try:
                    play = kind.play(stage, random.Random(rng.getrandbits(64)))
                    on.append(Playing(kind, play, time.monotonic(), next(play)))
                except NotNow:
                    todo += course.instead_of(kind, kinds, rng)
            time.sleep(_LOOK_S)
    finally:
        for each in on:
            each.play.close()
    return course


def _goes_on(playing: Playing, course: Course) -> bool:
    """Move a fault on as far as it goes; False when it has ended.

    Raises:
        NotNow: there is nothing to hit.
    """
    name = playing.kind.name
    try:
        while playing.awaits():
            playing.awaits = next(playing.play)
    except StopIteration:
        course.survived[name] += 1
        course.tries.pop(name, None)
        return False
    if time.monotonic() - playing.begun_s > LONGEST_S:
        course.fatal.append(f"{name}: the platform did not recover within {LONGEST_S:.0f} s")
        playing.play.close()
        return False
    return True


def _tell(course: Course, number: int, begun_s: float, ended: Playing) -> None:
    passed_s = time.monotonic() - begun_s
    took_s = time.monotonic() - ended.begun_s
    say(f"{course.injected:4}/{number} {passed_s:5.0f} s  {ended.kind.name} ({took_s:.1f} s)")


def run_undisturbed(folder: Path, story: Story, failed: list[str]) -> None:
    """The same story with nobody in its way."""
    folder.mkdir()
    configs = story.write_configs(folder)
    with running(folder, {"AMI_INGEST_MAX_MESSAGES": "5000"}) as platform:
        platform.start_pubsub()
        gateways = [
            platform.start(*story.arguments(config, platform.data.truth, "max"))
            for config in configs.values()
        ]
        statuses = [gateway.wait(300) for gateway in gateways]
        statuses += [platform.run("ingest", "--drain", "3"), platform.run("build", timeout_s=600)]
    if any(statuses):
        failed.append(f"the undisturbed run failed ({statuses}); see {platform.log_path}")


def run_chaos(
    folder: Path, kinds: Sequence[Kind], faults: int, seed: int, *, has_dashboard: bool
) -> dict[str, object]:
    """Play it all; gives the report."""
    begun_s = time.monotonic()
    rng = random.Random(seed)
    length_s = max(120.0, faults * SECONDS_PER_FAULT) * SPEED
    story = Story(seed % 1_000_000, timedelta(seconds=length_s), SPEED)
    calm = DataDir(folder / "undisturbed" / "data")
    failed: list[str] = []
    stage = Stage(folder, story, is_isolated=namespaces.are_mine(), has_dashboard=has_dashboard)
    beside = threading.Thread(
        target=run_undisturbed, args=(folder / "undisturbed", story, failed), daemon=True
    )
    try:
        stage.start()
        say(f"{story.sampled} readings from {START:%Y-%m-%d %H:%M}Z on; faults begin")
        beside.start()
        possible = tuple(kind for kind in kinds if not kind.can(stage))
        for kind in kinds:
            if why := kind.can(stage):
                say(f"left out: {kind.name} ({why})")
        course = run_course(stage, drawn(possible, faults, rng), rng)
        failed += stage.settle(lambda line: say(f"settling: {line}"))
        beside.join()
        verdict = Verdict(problems=failed + course.fatal)
        if not failed:
            shutil.copytree(stage.truth, stage.data.truth, dirs_exist_ok=True)
            compare_marts(calm, stage.data, verdict)
            close_ledger(stage.data, calm, stage.dead_letters(), stage.poisoned, verdict)
    finally:
        stage.close()
    return {
        "seed": seed,
        "faults": course.injected,
        "survived": course.survived.total(),
        "by_kind": dict(sorted(course.survived.items())),
        "had_nothing_to_hit": dict(course.skipped),
        "builds": stage.builds,
        "failed_builds": stage.failed_builds,
        "restarts": sum(" started again" in line for line in stage.said),
        "duration_s": round(time.monotonic() - begun_s),
        "is_good": verdict.is_good,
        **asdict(verdict),
    }


def summarize(report: dict[str, object]) -> list[str]:
    """The report for people."""
    by_kind = report["by_kind"]
    assert isinstance(by_kind, dict)
    lines = [f"  {number:4}  {name}" for name, number in by_kind.items()]
    lines.append(
        f"{report['faults']} faults injected, {report['survived']} survived, in "
        f"{report['duration_s']} s; {report['expected']} readings: {report['lost']} lost, "
        f"{report['strange']} not sent by any meter, {report['duplicated']} duplicated in marts "
        f"({report['copies']} copies were stored and taken out; {report['letters']} dead letters "
        "of poison)"
    )
    differing, problems = report["differing"], report["problems"]
    assert isinstance(differing, dict)
    assert isinstance(problems, list)
    lines += [f"FAILED: {rows} rows of {name} differ" for name, rows in differing.items()]
    lines += [f"FAILED: {problem}" for problem in problems]
    verdict = "passed" if report["is_good"] else "failed"
    lines.append(
        f"{verdict}; again: python -m tests.chaos --faults {report['asked']} "
        f"--seed {report['seed']}"
    )
    return lines


def main(arguments: Sequence[str]) -> int:
    """Run as asked; gives the exit status: 1 when anything is lost, doubled or broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=200, help="how many (default: 200)")
    parser.add_argument("--seed", type=int, help="repeats a run's faults; default: a random one")
    parser.add_argument("--only", action="append", metavar="KIND", help="only these kinds")
    parser.add_argument("--list", action="store_true", help="list the kinds and end")
    parser.add_argument("--no-dashboard", action="store_true", help="leave the dashboard out")
    parser.add_argument("--out", type=Path, default=Path(".cache/chaos.json"), help="the report")
    parser.add_argument("--keep", action="store_true", help="keep all that was written")
    asked = parser.parse_args(arguments)
    if asked.list:
        for kind in KINDS:
            sys.stdout.write(f"{kind.name}\n")
        return 0
    names = {kind.name for kind in KINDS}
    if unknown := set(asked.only or []) - names:
        parser.error(f"{', '.join(sorted(unknown))}: no kind of fault; see --list")
    if asked.faults < 1:
        parser.error(f"--faults {asked.faults}: 1 or more")
    if not namespaces.are_mine():
        if not (why := namespaces.why_not()):
            return namespaces.run_inside("tests.chaos", list(arguments))
        say(f"without namespaces ({why}): disks are limited, not filled; the network is a relay")
    else:
        namespaces.become_init()
    kinds = [kind for kind in KINDS if not asked.only or kind.name in asked.only]
    seed = seed_of(asked.seed)

    def story(folder: Path) -> bool:
        report = run_chaos(folder, kinds, asked.faults, seed, has_dashboard=not asked.no_dashboard)
        report["asked"] = asked.faults
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(report, indent=2) + "\n")
        for line in summarize(report):
            say(line)
        return bool(report["is_good"])

    return tell("chaos", seed, story, keep=asked.keep)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
