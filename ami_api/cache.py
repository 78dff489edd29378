"""Answers that were made before: reads keys, gives bytes, within a bound of memory."""

from __future__ import annotations

import asyncio
import gzip
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Final

# Shorter bodies fit a packet as they are.
LEAST_GZIPPED_BYTES: Final = 1024
_LEVEL: Final = 5
# What an entry takes beside its bytes.
_OVERHEAD_BYTES: Final = 1024


@dataclass
class Body:
    """The bytes of an answer.

    Attributes:
        plain: as they are.
        media_type: what they are.
        etag: names them.
        link: value of the header Link; empty without one.
    """

    plain: bytes
    media_type: str
    etag: str
    link: str = ""
    _gzipped: bytes | None = field(default=None, repr=False)

    def gzipped(self) -> bytes | None:
        """The same bytes gzipped; None where that does not pay."""
        if self._gzipped is None and len(self.plain) >= LEAST_GZIPPED_BYTES:
            self._gzipped = gzip.compress(self.plain, _LEVEL, mtime=0)
        return self._gzipped

    @property
    def held_bytes(self) -> int:
        """Memory that it holds, about."""
        return len(self.plain) + len(self._gzipped or b"") + _OVERHEAD_BYTES


class BodyCache:
    """The bodies used last, up to so many bytes; each is made once however many ask for it."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held_bytes = 0
        self._bodies: OrderedDict[Hashable, tuple[Body, int]] = OrderedDict()
        self._being_made: dict[Hashable, asyncio.Task[Body]] = {}

    @property
    def held_bytes(self) -> int:
        """Memory that all bodies hold, about."""
        return self._held_bytes

    def get(self, key: Hashable) -> Body | None:
        """The body kept under `key`."""
        found = self._bodies.get(key)
        if found is None:
            return None
        self._bodies.move_to_end(key)
        return found[0]

    async def get_or_make(self, key: Hashable, make: Callable[[], Awaitable[Body]]) -> Body:
        """The body kept under `key`, or the one that `make` gives; an error is not kept.

        `make` is called at once, and only by the first of those who ask at the same time.
        """
        found = self.get(key)
        if found is not None:
            return found
        task = self._being_made.get(key)
        if task is None:
            task = asyncio.ensure_future(self._made(key, make()))
            self._being_made[key] = task
            task.add_done_callback(lambda _done: self._being_made.pop(key, None))
        # Who stops waiting does not stop it for the others.
        return await asyncio.shield(task)

    async def _made(self, key: Hashable, making: Awaitable[Body]) -> Body:
        body = await making
        self.put(key, body)
        return body

    def put(self, key: Hashable, body: Body) -> None:
        """Keep `body`, letting go of those not used for longest."""
        size = body.held_bytes
        self._forget(key)
        if size > self._most_bytes:
            return
        self._bodies[key] = (body, size)
        self._held_bytes += size
        while self._held_bytes > self._most_bytes:
            self._forget(next(iter(self._bodies)))

    def clear(self) -> None:
        """Forget all; what is being made will still be kept."""
        self._bodies.clear()
        self._held_bytes = 0

    def _forget(self, key: Hashable) -> None:
        found = self._bodies.pop(key, None)
        if found:
            self._held_bytes -= found[1]
