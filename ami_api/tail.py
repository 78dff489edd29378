"""The live tail: reads what is stored and not built yet, gives provisional events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from ami_api.answers import Question
from ami_contract.settings import Settings
from ami_store.serving import LandedVersion, Row
from ami_store.statements import RECENT_EVENTS

# When builds have stood still for longer, what is older waits for the next one.
REACH: Final = timedelta(hours=6)
# Events may go on, and readings come late, so long before the newest reading of the build.
_OVERLAP: Final = timedelta(minutes=15)


def live_tail_s(settings: Settings) -> float:
    """How old events that no build has seen may be told. [s]"""
    if settings.api_live_tail_s is not None:
        return settings.api_live_tail_s
    return 2.0 if settings.profile == "local" else 0.0


class LiveTail:
    """Events that no build has seen, looked for anew when something was stored.

    Args:
        landed: names what is stored.
        most_age_s: how long a look holds, whatever is stored meanwhile.
        now: clock.
    """

    def __init__(
        self, landed: LandedVersion, most_age_s: float, now: Callable[[], datetime]
    ) -> None:
        self._landed = landed
        self._most_age_s = most_age_s
        self._now = now
        self._version = ""
        self._looked_s: float | None = None
        self._found: tuple[tuple[str, str], list[Row]] | None = None
        self._turn = threading.Lock()

    def version(self) -> str:
        """Another text when `events` may say something else; runs in a thread."""
        with self._turn:
            now_s = time.monotonic()
            if self._looked_s is None or now_s - self._looked_s >= self._most_age_s:
                self._version = self._landed()
                self._looked_s = now_s
            return self._version

    def events(self, question: Question, version: str) -> list[Row]:
        """Provisional events, with the columns of `voltage_events`.

        One that the snapshot has too carries the same `event_id` and stands for its newer state.

        Raises:
            WarehouseError: they cannot be told.
        """
        key = (question.snapshot.id, version)
        with self._turn:
            if self._found is None or self._found[0] != key:
                since = max(question.facts.newest - _OVERLAP, self._now() - REACH)
                self._found = (key, question.rows(RECENT_EVENTS, since=since))
            return self._found[1]
