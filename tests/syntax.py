"""Reads Python's source; gives its syntax tree."""

from __future__ import annotations

import ast

_TRIES = 5


def syntax_of(source: str) -> ast.Module:
    """The tree of a module; raises SyntaxError.

    CPython 3.11 keeps the depth of its recursion for all threads at once, so a thread that a test
    before this one has left behind can make parsing fail now and then
    (https://github.com/python/cpython/issues/106905).
    """
    for _ in range(_TRIES - 1):
        try:
            return ast.parse(source)
        except SystemError:
            continue
    return ast.parse(source)
