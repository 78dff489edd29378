"""Reads resource names by hand from Pub/Sub's naming rules; gives which are taken."""

from __future__ import annotations

import pytest

from local_pubsub import names
from local_pubsub.errors import InvalidArgument
from local_pubsub.paging import page_of

TOPIC = "projects/ami-local/topics/"


@pytest.mark.parametrize(
    "name",
    [
        TOPIC + "abc",
        TOPIC + "a" * 255,
        TOPIC + "Meter.readings_v2~x+y%z-1",
        "projects/example.com:meter-lab/topics/readings",
        "projects/123456789012/topics/readings",
    ],
)
def test_names_within_the_rules_are_taken(name: str) -> None:
    assert names.topic_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "readings",
        TOPIC + "ab",
        TOPIC + "a" * 256,
        TOPIC + "1abc",
        TOPIC + "goog-readings",
        TOPIC + "read ings",
        TOPIC + "readings/x",
        TOPIC + "readings\n",
        "projects/p/topics/readings",
        "projects/Ami-Local/topics/readings",
        "projects/ami-local-/topics/readings",
        "projects/ami-local/subscriptions/readings",
        "_deleted-topic_",
    ],
)
def test_names_outside_the_rules_are_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidArgument, match="topic name given") as refused:
        names.topic_name(name)
    assert f"(name={name})" in str(refused.value)


def test_a_subscription_is_no_topic_and_a_project_neither() -> None:
    assert names.subscription_name("projects/ami-local/subscriptions/sub-1")
    assert names.project_name("projects/ami-local")
    with pytest.raises(InvalidArgument):
        names.subscription_name(TOPIC + "readings")
    with pytest.raises(InvalidArgument):
        names.project_name("projects/ami-local/")


def test_pages_follow_the_names_although_names_come_and_go() -> None:
    page, token = page_of(["d", "b", "a", "c"], 2, "")
    assert page == ["a", "b"]
    # b, the last name given, is deleted and bb created before the next page is asked for.
    assert page_of(["a", "bb", "c", "d"], 2, token)[0] == ["bb", "c"]
    assert page_of(["a", "b"], 2, "") == (["a", "b"], "")
    assert page_of([], 0, "") == ([], "")


def test_a_bad_page_size_or_token_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="page_size=-1"):
        page_of(["a"], -1, "")
    with pytest.raises(InvalidArgument, match="page_token"):
        page_of(["a"], 1, "not a token")
