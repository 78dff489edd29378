"""Reads a list request's page size and token; gives the page of names and the next token."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Iterable

from local_pubsub.errors import InvalidArgument
from local_pubsub.limits import MAX_PAGE_SIZE


def page_of(names: Iterable[str], page_size: int, page_token: str) -> tuple[list[str], str]:
    """Return up to `page_size` names (0 = the maximum) after the token, in order, and a token.

    The next token is empty on the last page. A token names the last name given, so names created
    or deleted between two pages shift nothing. Raises InvalidArgument for a negative size or a
    token that is none.
    """
    if page_size < 0:
        raise InvalidArgument(f"Invalid page size given (page_size={page_size}).")
    size = min(page_size or MAX_PAGE_SIZE, MAX_PAGE_SIZE)
    ordered = sorted(names)
    start = bisect_right(ordered, _last_name(page_token)) if page_token else 0
    page = ordered[start : start + size]
    if start + size >= len(ordered):
        return page, ""
    return page, base64.urlsafe_b64encode(page[-1].encode()).decode()


def _last_name(page_token: str) -> str:
    try:
        return base64.b64decode(page_token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidArgument(f"Invalid page token given (page_token={page_token}).") from error
