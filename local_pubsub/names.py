"""Reads resource names from requests; gives them back when they obey Pub/Sub's naming rules.

Source: https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names and, for projects,
https://cloud.google.com/resource-manager/docs/creating-managing-projects.
"""

from __future__ import annotations

import re

from local_pubsub.errors import InvalidArgument

DELETED_TOPIC = "_deleted-topic_"

_PROJECT = r"projects/(?:(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|[0-9]{1,19})"
_IDENTIFIER = r"(?!goog)[A-Za-z][A-Za-z0-9._~+%-]{2,254}"
_RULES = (
    "the project id has 6 to 30 lower-case letters, digits or hyphens and starts with a letter; "
    "topic and subscription ids have 3 to 255 characters out of letters, digits and -._~+%, "
    "start with a letter and not with 'goog'"
)
_PATTERNS = {
    "project": (re.compile(_PROJECT), "projects/PROJECT"),
    "topic": (re.compile(f"{_PROJECT}/topics/{_IDENTIFIER}"), "projects/PROJECT/topics/TOPIC"),
    "subscription": (
        re.compile(f"{_PROJECT}/subscriptions/{_IDENTIFIER}"),
        "projects/PROJECT/subscriptions/SUBSCRIPTION",
    ),
}


def _checked(kind: str, name: str) -> str:
    pattern, shape = _PATTERNS[kind]
    if pattern.fullmatch(name) is None:
        raise InvalidArgument(
            f"Invalid {kind} name given (name={name}): expected {shape}, where {_RULES}."
        )
    return name


def project_name(name: str) -> str:
    """Return `name` if it is `projects/PROJECT`; raise InvalidArgument otherwise."""
    return _checked("project", name)


def topic_name(name: str) -> str:
    """Return `name` if it is a full topic name; raise InvalidArgument otherwise."""
    return _checked("topic", name)


def subscription_name(name: str) -> str:
    """Return `name` if it is a full subscription name; raise InvalidArgument otherwise."""
    return _checked("subscription", name)
