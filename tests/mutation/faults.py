"""What the judges share: a fault in a text of the project, and what came of it."""

from __future__ import annotations

import difflib
from typing import NamedTuple

from .operators import Fault, apply


class Mutant(NamedTuple):
    """A fault in a text: a Python file, or a model as dbt compiled it; by its path below the
    repository."""

    path: str
    text: str
    fault: Fault

    def diff(self) -> str:
        """The fault as a unified diff."""
        before, after = self.text.splitlines(True), apply(self.text, self.fault).splitlines(True)
        return "".join(difflib.unified_diff(before, after, self.path, self.path, n=1))

    def lines(self) -> tuple[str, str]:
        """The lines that it removes and those that it adds, each without indentation."""
        removed, added = [], []
        for line in difflib.ndiff(
            self.text.splitlines(), apply(self.text, self.fault).splitlines()
        ):
            if line.startswith("- "):
                removed.append(line[2:].strip())
            elif line.startswith("+ "):
                added.append(line[2:].strip())
        return " ".join(removed), " ".join(added)


class Outcome(NamedTuple):
    """What came of a mutant: killed, survived, timeout or invalid; how long it took, in s; what its
    tests said."""

    mutant: Mutant
    status: str
    seconds: float
    output: str
