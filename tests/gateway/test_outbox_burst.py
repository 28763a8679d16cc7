"""A burst of edits: answers are held, and only the last is sent, if it says something else than the last one sent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from gateway import store
from gateway.decide import Desk
from gateway.intake import Incoming, Intake, fresh_id
from gateway.pals import Pal
from gateway.store import Letter
from scheduler.database import connect
from tests.scenario import calendar_of

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
HOLD = timedelta(seconds=5)
LEASE = timedelta(seconds=120)
MEETING = ("DTSTART:20260303T140000Z",)
NO_LINK = (*MEETING, "NO-LINK")
SERIES = (*MEETING, "RRULE:FREQ=WEEKLY;COUNT=3")
DATE = ("RECURRENCE-ID:20260310T140000Z", "DTSTART:20260310T140000Z")


class Desktop:
    """A desk with an outbox, on a clock that is moved by hand."""

    def __init__(self) -> None:
        self.engine = connect("sqlite://")
        store.create_throwaway(self.engine)
        with self.engine.begin() as connection:
            store.add_pal(connection, Pal("p1", "Anna", "anna@invite.example.com", "face"), START)
        self.intake = Intake(self.engine, Desk(), HOLD)
        self.now = START

    def after(self, seconds: float) -> Desktop:
        self.now += timedelta(seconds=seconds)
        return self

    def mail(self, *lines: str, method: str = "REQUEST", sender: str = "alex@acme.example") -> None:
        calendar = calendar_of(method, lines, "anna@invite.example.com", self.now)
        raw = (
            f"From: {sender}\r\nContent-Type: text/calendar; charset=utf-8; method={method}\r\n\r\n{calendar}".encode()
        )
        self.intake.take(Incoming(fresh_id("m"), raw, "", ("anna@invite.example.com",)), self.now)

    def claimed(self) -> list[Letter]:
        with self.engine.begin() as connection:
            return store.claim_letters(connection, self.now, "us", LEASE, 100)

    def settle(self, letter: Letter, state: str, wake_at: datetime | None = None) -> bool:
        with self.engine.begin() as connection:
            return store.settle_letter(connection, letter, state=state, wake_at=wake_at)

    def sent(self) -> list[str]:
        """What goes out now."""
        letters = self.claimed()
        assert all(self.settle(letter, "sent") for letter in letters)
        return [letter.partstat for letter in letters]


@pytest.fixture
def desk() -> Iterator[Desktop]:
    made = Desktop()
    yield made
    made.engine.dispose()


def test_an_answer_is_held(desk: Desktop) -> None:
    desk.mail(*MEETING)
    assert desk.after(4.9).sent() == []
    assert desk.after(0.1).sent() == ["ACCEPTED"]
    assert desk.after(3600).sent() == []


def test_only_the_last_of_a_burst_is_sent(desk: Desktop) -> None:
    desk.mail(*MEETING)
    desk.after(1).mail(*NO_LINK)
    desk.after(1).mail("DTSTART:20260304T140000Z", "SEQUENCE:1")
    desk.after(1).mail("DTSTART:20260304T140000Z", "SEQUENCE:1", "NO-LINK")
    assert desk.after(4.9).sent() == []
    assert desk.after(0.1).sent() == ["DECLINED"]


def test_an_edit_of_details_leaves_the_answer_that_waits(desk: Desktop) -> None:
    desk.mail(*MEETING)
    desk.after(2).mail(*MEETING, "SUMMARY:Other")
    assert desk.after(3).sent() == ["ACCEPTED"]
    assert desk.after(60).sent() == []


def test_back_to_what_was_sent_last_is_not_sent(desk: Desktop) -> None:
    desk.mail(*MEETING)
    assert desk.after(5).sent() == ["ACCEPTED"]
    desk.after(60).mail(*NO_LINK)
    desk.after(1).mail(*MEETING)
    assert desk.after(60).sent() == []
    desk.after(1).mail(*NO_LINK)
    assert desk.after(5).sent() == ["DECLINED"]
    desk.after(1).mail(*MEETING)
    assert desk.after(5).sent() == ["ACCEPTED"]


def test_a_reschedule_is_answered_although_the_answer_is_the_same(desk: Desktop) -> None:
    desk.mail(*MEETING)
    assert desk.after(5).sent() == ["ACCEPTED"]
    desk.after(60).mail("DTSTART:20260304T140000Z", "SEQUENCE:1")
    assert desk.after(5).sent() == ["ACCEPTED"]


def test_asked_anew_inside_a_burst_stays_asked(desk: Desktop) -> None:
    desk.mail(*MEETING)
    assert desk.after(5).sent() == ["ACCEPTED"]
    desk.after(60).mail("DTSTART:20260304T140000Z", "SEQUENCE:1")
    desk.after(1).mail("DTSTART:20260304T140000Z", "SEQUENCE:1", "NO-LINK")
    desk.after(1).mail("DTSTART:20260304T140000Z", "SEQUENCE:1")
    assert desk.after(5).sent() == ["ACCEPTED"]


def test_a_cancelled_event_needs_no_answer(desk: Desktop) -> None:
    desk.mail(*MEETING)
    desk.after(1).mail(*MEETING, "SEQUENCE:1", "STATUS:CANCELLED", method="CANCEL")
    assert desk.after(60).sent() == []


def test_cancelled_and_brought_back_is_answered(desk: Desktop) -> None:
    desk.mail(*MEETING)
    assert desk.after(5).sent() == ["ACCEPTED"]
    desk.after(60).mail(*MEETING, "SEQUENCE:1", "STATUS:CANCELLED", method="CANCEL")
    desk.after(1).mail(*MEETING, "SEQUENCE:2")
    assert desk.after(5).sent() == ["ACCEPTED"]


def test_a_date_is_held_apart_from_its_series(desk: Desktop) -> None:
    desk.mail(*SERIES)
    desk.after(1).mail(*DATE, "NO-LINK")
    assert desk.after(5).sent() == ["ACCEPTED", "DECLINED"]


def test_a_date_that_differs_from_the_answer_of_its_series_that_waits_is_answered(desk: Desktop) -> None:
    desk.mail(*SERIES)
    assert desk.after(5).sent() == ["ACCEPTED"]
    desk.after(60).mail(*SERIES, "SEQUENCE:1", "NO-LINK", "--", *DATE, "SEQUENCE:1")
    assert desk.after(5).sent() == ["DECLINED", "ACCEPTED"]


def test_a_date_back_to_the_answer_of_its_series_is_not_sent(desk: Desktop) -> None:
    desk.mail(*SERIES)
    assert desk.after(5).sent() == ["ACCEPTED"]
    desk.after(60).mail(*DATE, "NO-LINK")
    desk.after(1).mail(*DATE)
    assert desk.after(60).sent() == []


def test_a_cancelled_date_takes_only_its_own_answer_back(desk: Desktop) -> None:
    desk.mail(*SERIES)
    desk.after(1).mail(*DATE, "NO-LINK")
    desk.after(1).mail(*DATE, "SEQUENCE:1", "STATUS:CANCELLED", method="CANCEL")
    assert desk.after(5).sent() == ["ACCEPTED"]


def test_a_cancelled_series_takes_the_answers_of_its_dates_back(desk: Desktop) -> None:
    desk.mail(*SERIES)
    desk.after(1).mail(*DATE, "NO-LINK")
    desk.after(1).mail(*SERIES, "SEQUENCE:1", "STATUS:CANCELLED", method="CANCEL")
    assert desk.after(60).sent() == []


def test_what_waits_for_the_relay_is_replaced(desk: Desktop) -> None:
    desk.mail(*MEETING)
    (letter,) = desk.after(5).claimed()
    assert desk.settle(letter, "queued", wake_at=desk.now + timedelta(seconds=30))
    desk.after(10).mail(*NO_LINK)
    assert desk.after(60).sent() == ["DECLINED"]


def test_what_is_on_its_way_is_noted_and_followed(desk: Desktop) -> None:
    desk.mail(*MEETING)
    (letter,) = desk.after(5).claimed()
    desk.after(1).mail(*NO_LINK)
    assert desk.settle(letter, "sent")
    assert desk.after(5).sent() == ["DECLINED"]


def test_what_failed_on_its_way_is_not_tried_again_once_replaced(desk: Desktop) -> None:
    desk.mail(*MEETING)
    (letter,) = desk.after(5).claimed()
    desk.after(1).mail(*NO_LINK)
    assert desk.settle(letter, "queued", wake_at=desk.now)
    with desk.engine.connect() as connection:
        assert store.letters_of(connection, "u1", "superseded") == [letter.id]
    assert desk.after(5).sent() == ["DECLINED"]
    assert desk.after(3600).sent() == []


def test_what_may_not_have_arrived_is_said_again(desk: Desktop) -> None:
    desk.mail(*MEETING)
    (letter,) = desk.after(5).claimed()
    desk.settle(letter, "failed")
    desk.after(60).mail(*NO_LINK)
    desk.after(1).mail(*MEETING)
    assert desk.after(5).sent() == ["ACCEPTED"]


def test_a_stranger_is_answered_once(desk: Desktop) -> None:
    with desk.engine.begin() as connection:
        store.add_pal(connection, Pal("p2", "Bea", "bea@invite.example.com", "face", ("boss@acme.example",)), START)

    def to_bea(*lines: str) -> None:
        calendar = calendar_of("REQUEST", lines, "bea@invite.example.com", desk.now)
        raw = f"From: eve@evil.example\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\n{calendar}".encode()
        desk.intake.take(Incoming(fresh_id("m"), raw, "", ("bea@invite.example.com",)), desk.now)

    to_bea(*MEETING)
    assert desk.after(5).sent() == ["DECLINED"]
    desk.after(60)
    to_bea(*MEETING, "SEQUENCE:1")
    assert desk.after(60).sent() == []


def test_two_events_do_not_replace_each_other(desk: Desktop) -> None:
    desk.mail(*MEETING)
    desk.after(1).mail(*MEETING, "UID:u2")
    assert desk.after(5).sent() == ["ACCEPTED", "ACCEPTED"]


def test_two_messages_without_dtstamp_have_two_answers(desk: Desktop) -> None:
    desk.mail(*MEETING, "DTSTAMP:")
    assert desk.after(5).sent() == ["ACCEPTED"]
    desk.after(60).mail("DTSTART:20260304T140000Z", "DTSTAMP:")
    assert desk.after(5).sent() == ["ACCEPTED"]


def test_the_same_refused_mail_twice_is_answered_once(desk: Desktop) -> None:
    unknown = ("DTSTART;TZID=Nowhere:20260303T140000", "DTSTAMP:20260301T080000Z")
    desk.mail(*unknown)
    assert desk.after(5).sent() == ["DECLINED"]
    desk.after(60).mail(*unknown)
    assert desk.after(60).sent() == []
