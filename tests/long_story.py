"""Reads a long story that can be repeated by its seed; gives its exit status.

It is told in a folder of its own, which stays when the story ends badly or somebody wants it.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from ami_cli.terminal import interrupted_by_sigterm

INTERRUPTED = 130


def seed_of(asked: int | None) -> int:
    """The seed that was asked for, else a random one."""
    return random.SystemRandom().getrandbits(31) if asked is None else asked


def tell(name: str, seed: int, story: Callable[[Path], bool], *, keep: bool) -> int:
    """Run a story; gives 0 when it ends well, 1 when not, 130 when it was stopped.

    Args:
        name: of the folder.
        seed: for whoever wants to repeat it.
        story: takes the folder; tells whether it ended well.
        keep: whether the folder stays in any case.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"ami-{name}-"))
    say(f"seed {seed}, in {folder}; stop with Ctrl-C at any time")
    keeps = True
    try:
        with interrupted_by_sigterm():
            is_good = story(folder)
        keeps = keep or not is_good
    except KeyboardInterrupt:
        say("stopped")
        keeps = keep
        return INTERRUPTED
    finally:
        if keeps:
            say(f"data and logs stay in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if is_good else 1


def say(line: str) -> None:
    """One line for whoever watches."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
