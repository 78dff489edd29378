"""Client of the GoogleSQL database: takes SQL and rows, gives columns and rows or what is refused.

Rows are JSON: timestamps in microseconds since 1970, dates and local times in ISO 8601.
"""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SERVER = Path(__file__).with_name("googlesql_server.py")


class RefusedSql(Exception):
    """GoogleSQL refuses a statement; the message is its own."""


class GoogleSql:
    """A database in a child process; threads take turns."""

    def __init__(self, python: Path) -> None:
        self._process = subprocess.Popen(
            [str(python), str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._turn = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Answer of one request; raises RefusedSql."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._turn:
            self._process.stdin.write(json.dumps({"operation": operation, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise RefusedSql(f"the GoogleSQL process ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RefusedSql(answer["error"])
        return answer

    def close(self) -> None:
        """End the child process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
