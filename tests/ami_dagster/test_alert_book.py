"""The book of alerts: once per change, damped, delivered at least once and then no more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ami_dagster.alerts.book import Book, DeliveryError, Hold, Notice
from ami_dagster.alerts.kinds import AlertKind

START = datetime(2026, 3, 1, 15, 0, tzinfo=UTC)
POLE = AlertKind.POLE_SILENT
HOLD = Hold(evaluations=3, time=timedelta(minutes=2))


class Receiver:
    """A channel that remembers what it took; it refuses while `refuses`."""

    def __init__(self, name: str = "one") -> None:
        self.name = name
        self.refuses = False
        self.took: list[Notice] = []

    def send(self, notice: Notice) -> None:
        if self.refuses:
            raise DeliveryError(f"{self.name} is away")
        self.took.append(notice)


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def look(
    book: Book, minute: float, *wrong: str, hold: Hold = HOLD, undecided: tuple[str, ...] = ()
) -> list[tuple[str, list[str]]]:
    """Take poles that are wrong at a minute; events and subjects told."""
    found = {POLE: {**dict.fromkeys(undecided), **dict.fromkeys(wrong, "silent")}}
    notices = book.take(found, at(minute), hold=lambda kind: hold, channels=["one"])
    return [(notice.event, list(notice.subjects)) for notice in notices]


def test_a_change_is_told_once_when_it_has_lasted() -> None:
    book = Book()
    assert [look(book, minute, "p1") for minute in range(5)] == [
        [],
        [],
        [("alert", ["p1"])],
        [],
        [],
    ]


def test_recovery_is_told_once_and_says_since_when_it_was_wrong() -> None:
    book = Book()
    for minute in range(3):
        look(book, minute, "p1")
    assert [look(book, minute) for minute in (3, 4)] == [[], []]
    [notice] = book.take({POLE: {}}, at(5), hold=lambda kind: HOLD)
    assert (notice.event, notice.since) == ("recovery", START)
    assert notice.subjects == {"p1": "was so from 2026-03-01 15:00:00Z"}
    assert look(book, 6) == []


def test_flapping_tells_nothing() -> None:
    book = Book()
    told = [look(book, minute, *(["p1"] if minute % 3 else [])) for minute in range(30)]
    assert told == [[]] * 30


def test_flapping_while_wrong_tells_no_recovery() -> None:
    book = Book()
    for minute in range(3):
        look(book, minute, "p1")
    told = [look(book, 3 + minute, *([] if minute % 3 else ["p1"])) for minute in range(30)]
    assert told == [[]] * 30


def test_many_looks_in_no_time_and_few_over_a_long_time_both_wait() -> None:
    quick = Book()
    assert [look(quick, second / 60, "p1") for second in range(60)] == [[]] * 60
    slow = Book()
    assert [look(slow, minute, "p1") for minute in (0, 180)] == [[], []]
    assert look(slow, 181, "p1") == [("alert", ["p1"])]


def test_what_is_not_judged_stays_as_it_was() -> None:
    book = Book()
    for minute in range(3):
        look(book, minute, "p1")
    for minute in range(3, 20):
        assert look(book, minute, undecided=("p1",)) == []
        assert book.take({}, at(minute)) == []
    assert book.wrong(POLE) == {"p1"}


def test_a_further_subject_is_told_alone() -> None:
    book = Book()
    for minute in range(3):
        look(book, minute, "p1")
    assert [look(book, minute, "p1", "p2") for minute in (3, 4, 5)] == [
        [],
        [],
        [("alert", ["p2"])],
    ]


def test_subjects_that_go_wrong_together_share_a_notice() -> None:
    book = Book()
    assert look(book, 0, "p2", "p1", hold=Hold()) == [("alert", ["p1", "p2"])]


def test_the_book_survives_in_a_cursor_between_any_two_looks() -> None:
    cursor: str | None = None
    told = []
    for minute in range(8):
        book = Book.of_cursor(cursor)
        told += look(book, minute, *(["p1"] if minute < 4 else []))
        cursor = book.cursor()
    assert told == [("alert", ["p1"]), ("recovery", ["p1"])]


def test_a_cursor_of_another_kind_begins_anew() -> None:
    assert Book.of_cursor("2026-03-01T15:00:00+00:00").waiting == []


def test_a_book_in_which_all_is_well_is_empty_again() -> None:
    book = Book()
    receiver = Receiver()
    for minute in range(3):
        look(book, minute, "p1")
    for minute in range(3, 6):
        look(book, minute)
    book.deliver([receiver])
    assert book.cursor() == Book().cursor()


def test_a_notice_waits_for_the_channel_that_refused_and_only_for_it() -> None:
    book = Book()
    well, away = Receiver("well"), Receiver("away")
    away.refuses = True
    book.take({POLE: {"p1": "silent"}}, START, channels=["well", "away"])
    assert book.deliver([well, away]) == ["away is away; it is offered again"]
    book = Book.of_cursor(book.cursor())
    away.refuses = False
    assert book.deliver([well, away]) == []
    assert book.deliver([well, away]) == []
    assert (len(well.took), len(away.took)) == (1, 1)
    assert well.took == away.took


def test_notices_come_in_their_order_after_an_outage_of_the_channel() -> None:
    book = Book()
    receiver = Receiver()
    receiver.refuses = True
    look(book, 0, "p1", hold=Hold())
    book.deliver([receiver])
    look(book, 1, hold=Hold())
    book.deliver([receiver])
    receiver.refuses = False
    book.deliver([receiver])
    assert [notice.event for notice in receiver.took] == ["alert", "recovery"]


def test_a_killed_evaluation_repeats_the_notice_under_its_id() -> None:
    receiver = Receiver()
    before = Book()
    look(before, 0, "p1")
    look(before, 1, "p1")
    for minute in (2, 2.5):
        book = Book.of_cursor(before.cursor())
        look(book, minute, "p1")
        book.deliver([receiver])
    first, again = receiver.took
    assert first.id == again.id


def test_notices_for_a_channel_that_is_gone_are_given_up() -> None:
    book = Book()
    book.take({POLE: {"p1": "silent"}}, START, channels=["gone"])
    assert book.deliver([Receiver("one")]) == []
    assert book.waiting == []


def test_the_outbox_is_bounded_and_says_so() -> None:
    book = Book()
    receiver = Receiver()
    receiver.refuses = True
    for number in range(205):
        book.take(
            {POLE: {f"p{number}": "silent", **dict.fromkeys(book.wrong(POLE))}},
            at(number),
            channels=["one"],
        )
    problems = book.deliver([receiver])
    assert problems[-1] == "gave up 5 notices that no channel took"
    assert len(book.waiting) == 200


def test_a_long_list_is_cut_in_the_text() -> None:
    notice = Notice(POLE, "alert", START, START, {f"p{n:02}": "silent" for n in range(23)})
    lines = notice.text.splitlines()
    assert lines[0] == "Poles are silent while others speak"
    assert (lines[1], lines[20], lines[21]) == ("p00: silent", "p19: silent", "and 3 more")
    assert len(lines) == 22
