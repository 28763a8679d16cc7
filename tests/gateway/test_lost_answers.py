"""Answers that did not arrive: what is said next, and what is sent again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from gateway import sockets, store_outbox
from gateway.intake import Incoming, fresh_id
from gateway.outbox import Outbox, Via
from gateway.returns import Returns
from gateway.store_outbox import LetterState
from tests.gateway.test_outbox_burst import MEETING, Desktop
from tests.returned import POSTFIX
from tests.wire.ports import BOUNCES, DOMAIN
from tests.wire.test_bounces import RelayServer, letter_of


def returned(desk: Desktop, letter_id: str) -> None:
    Returns(desk.engine, BOUNCES).take(
        Incoming(fresh_id("m"), POSTFIX.mail("x"), "", (BOUNCES.address(letter_id, DOMAIN),)), desk.now
    )


@pytest.fixture
def desk() -> Iterator[Desktop]:
    made = Desktop()
    yield made
    made.engine.dispose()


def lost(desk: Desktop, way: str) -> None:
    """The answer that is due goes out and does not arrive."""
    (letter,) = desk.after(5).claimed()
    if way == "bounced":
        assert desk.settle(letter, "sent")
        returned(desk, letter.id)
    else:
        assert desk.settle(letter, "failed")


WAYS = pytest.mark.parametrize("way", ["bounced", "refused by the relay"])


@WAYS
def test_after_a_lost_answer_the_next_version_is_answered(desk: Desktop, way: str) -> None:
    desk.mail(*MEETING)
    lost(desk, way)
    desk.after(60).mail(*MEETING, "SUMMARY:Other")
    assert desk.after(5).sent() == ["ACCEPTED"]
    desk.after(60).mail(*MEETING, "SUMMARY:Another")
    assert desk.after(5).sent() == []  # that one was heard


@WAYS
def test_a_lost_answer_to_a_series_is_given_for_a_date_that_stands_under_it(desk: Desktop, way: str) -> None:
    desk.mail(*MEETING, "RRULE:FREQ=WEEKLY;COUNT=3")
    lost(desk, way)
    date = ("RECURRENCE-ID:20260310T140000Z", "DTSTART:20260310T140000Z")
    desk.after(60).mail(*date, "SUMMARY:Other")
    assert desk.after(5).sent() == ["ACCEPTED"]


def test_a_lost_answer_to_a_date_leaves_the_series_alone(desk: Desktop) -> None:
    series = (*MEETING, "RRULE:FREQ=WEEKLY;COUNT=3")
    desk.mail(*series)
    assert desk.after(5).sent() == ["ACCEPTED"]
    desk.after(60).mail("RECURRENCE-ID:20260310T140000Z", "DTSTART:20260310T150000Z", "SEQUENCE:1")
    lost(desk, "bounced")
    desk.after(60).mail(*series, "SUMMARY:Other")
    assert desk.after(5).sent() == []


def test_what_is_sent_again_is_the_same_mail_and_tried_for_another_day(desk: Desktop) -> None:
    desk.mail(*MEETING)
    (first,) = desk.after(5).claimed()
    assert desk.settle(first, "failed")
    desk.after(30 * 3600)
    with desk.engine.begin() as connection:
        assert store_outbox.queue_again(connection, first.id, desk.now) == 1
        assert store_outbox.queue_again(connection, first.id, desk.now) == 0
    closed = sockets.listen("127.0.0.1", 0)
    number = closed.getsockname()[1]
    closed.close()

    async def path() -> None:
        gone = Outbox(desk.engine, Via("127.0.0.1", number), lambda: desk.now, "us", BOUNCES)
        assert await gone.work() == 1
        assert letter_of(desk, first.id).state == LetterState.QUEUED  # the relay is down, which ends
        relay = RelayServer()
        server, open_number = await relay.open()
        desk.after(3600)
        here = Outbox(desk.engine, Via("127.0.0.1", open_number), lambda: desk.now, "us", BOUNCES)
        assert await here.work() == 1
        assert [raw for _, _, raw in relay.given] == [first.raw]
        assert relay.given[0][0] == BOUNCES.address(first.id, DOMAIN)
        assert letter_of(desk, first.id).state == LetterState.SENT
        server.close()
        await server.wait_closed()

    asyncio.run(path())


def test_an_answer_that_a_later_one_has_followed_is_not_sent_again(desk: Desktop) -> None:
    desk.mail(*MEETING)
    lost(desk, "bounced")
    desk.after(60).mail(*MEETING, "NO-LINK")
    assert desk.after(5).sent() == ["DECLINED"]
    desk.after(60).mail(*MEETING, "UID:u2")
    lost(desk, "refused by the relay")
    with desk.engine.begin() as connection:
        assert store_outbox.queue_again(connection, None, desk.now) == 1
    assert [letter.partstat for letter in desk.claimed()] == ["ACCEPTED"]
