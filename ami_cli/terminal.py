"""Terminal helpers: read counters, give progress lines where a person or a log reads them."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

console = Console(stderr=True, highlight=False)


def is_interactive() -> bool:
    """Whether a person watches standard error."""
    return sys.stderr.isatty()


def say(line: str) -> None:
    """One line on standard error, unwrapped, above a spinner if one turns."""
    console.print(line, markup=False, soft_wrap=True)


class Working:
    """A spinner with what is being done and for how long, where a person watches.

    Args:
        what: the first thing that is done.
    """

    def __init__(self, what: str) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not is_interactive(),
        )
        self._task = self._progress.add_task(what, total=None)

    def now(self, what: str) -> None:
        """Say what is being done now."""
        self._progress.update(self._task, description=what)

    def __enter__(self) -> Working:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt like Ctrl-C, so that what was started is stopped too.

    So does the end of the terminal, unless it is ignored (nohup), and SIGINT where it was ignored,
    as in a script's background job: Dagster would pass that on to SIGTERM.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    previous = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def stopping_on_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; a second signal ends the process the usual way."""
    stop = threading.Event()
    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def ask(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in previous:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
