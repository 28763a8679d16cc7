"""Our replies, as the mails that we send, reach an organizer whose calendar is EDS: it must know our answer.

Bob's answer, and everything else that the organizer holds, stays as it was.
"""

from __future__ import annotations

import email
from collections.abc import Sequence
from datetime import UTC, datetime
from email.policy import default as policy

import pytest

from gateway.decide import Decision
from gateway.reply import Reply, render
from tests.peers.eds.client import Eds, Held
from tests.peers.ours import NOW, Ours
from tests.peers.vendors import MEET, VENDORS, ZOOM, Vendor

ANNA, BOB = "anna@invite.example.com", "bob@acme.example"
SECOND_MONDAY = "20260309T090000"
NO_LINK = "Room 7"

pytestmark = pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)


def test_a_single_event_is_accepted(eds: Eds, vendor: Vendor) -> None:
    _organize(eds, Ours(), vendor.single())

    assert _answers(eds) == {None: "ACCEPTED"}


def test_a_series_is_accepted(eds: Eds, vendor: Vendor) -> None:
    _organize(eds, Ours(), vendor.series())

    assert _answers(eds) == {None: "ACCEPTED"}


def test_a_moved_date_of_a_series_is_accepted(eds: Eds, vendor: Vendor) -> None:
    ours = Ours()
    _organize(eds, ours, vendor.series())
    eds.receive(vendor.date(1))
    assert _answers(eds) == {None: "ACCEPTED", SECOND_MONDAY: "NEEDS-ACTION"}

    _answer(eds, ours.receive(vendor.date(1)))

    assert _answers(eds) == {None: "ACCEPTED", SECOND_MONDAY: "ACCEPTED"}


def test_one_date_of_a_series_is_declined(eds: Eds, vendor: Vendor) -> None:
    ours = Ours()
    _organize(eds, ours, vendor.series())
    _organize(eds, ours, vendor.date(1, ZOOM))

    assert _answers(eds) == {None: "ACCEPTED", SECOND_MONDAY: "DECLINED"}


def test_an_invitation_to_one_date_alone_is_accepted(eds: Eds, vendor: Vendor) -> None:
    # The organizer holds the series, and has invited the PAL to this date only.
    eds.receive(vendor.series(anna="carol@acme.example"))
    _organize(eds, Ours(), vendor.date(1))

    assert _answers(eds) == {None: None, SECOND_MONDAY: "ACCEPTED"}


def test_an_event_without_a_link_is_declined(eds: Eds, vendor: Vendor) -> None:
    _organize(eds, Ours(), vendor.single(link=NO_LINK))

    assert _answers(eds) == {None: "DECLINED"}


def test_a_link_that_comes_later_turns_declined_into_accepted(eds: Eds, vendor: Vendor) -> None:
    ours = Ours()
    _organize(eds, ours, vendor.series(link=NO_LINK))
    assert _answers(eds) == {None: "DECLINED"}

    _organize(eds, ours, vendor.series(1, MEET))

    assert _answers(eds) == {None: "ACCEPTED"}


def test_a_rescheduled_event_is_accepted_again(eds: Eds, vendor: Vendor) -> None:
    ours = Ours()
    _organize(eds, ours, vendor.single())
    moved = vendor.single(1).replace("T090000", "T083000")
    _organize(eds, ours, moved)

    assert _answers(eds) == {None: "ACCEPTED"}
    assert [held.sequence for held in eds.held()] == [1]


def test_an_invitation_to_a_tagged_address_is_answered_from_it(eds: Eds, vendor: Vendor) -> None:
    _organize(eds, Ours(), vendor.single(anna="anna+team@invite.example.com"))

    assert _answers(eds, "anna+team@invite.example.com") == {None: "ACCEPTED"}


def test_a_pal_that_goes_takes_its_answers_back(eds: Eds, vendor: Vendor) -> None:
    ours = Ours()
    _organize(eds, ours, vendor.series())
    eds.receive(vendor.date(1))
    _answer(eds, ours.receive(vendor.date(1)))
    assert _answers(eds) == {None: "ACCEPTED", SECOND_MONDAY: "ACCEPTED"}

    _hear(eds, ours.leave())

    assert _answers(eds) == {None: "DECLINED", SECOND_MONDAY: "DECLINED"}


def test_a_pal_that_goes_declines_only_what_it_accepted(eds: Eds, vendor: Vendor) -> None:
    ours = Ours()
    _organize(eds, ours, vendor.series(link=NO_LINK))
    _organize(eds, ours, vendor.date(1))
    assert _answers(eds) == {None: "DECLINED", SECOND_MONDAY: "ACCEPTED"}

    replies = ours.leave()
    assert len(replies) == 1
    _hear(eds, replies)

    assert _answers(eds) == {None: "DECLINED", SECOND_MONDAY: "DECLINED"}


def test_a_date_that_was_moved_and_missed_is_declined_alone(eds: Eds, vendor: Vendor) -> None:
    ours = Ours()
    _organize(eds, ours, vendor.series())
    eds.receive(vendor.date(1))
    _answer(eds, ours.receive(vendor.date(1)))
    (second,) = (start for start, _ in ours.occurrences(NOW, datetime(2027, 1, 1, tzinfo=UTC)) if start.day == 10)

    replies = ours.miss(second)
    assert len(replies) == 1
    _hear(eds, replies)

    assert _answers(eds) == {None: "ACCEPTED", SECOND_MONDAY: "DECLINED"}


def test_a_reply_brings_nobody_new(eds: Eds, vendor: Vendor) -> None:
    eds.receive(vendor.series())
    before = eds.held()
    _answer(eds, Ours().receive(vendor.series()))

    assert [sorted(held.partstats) for held in eds.held()] == [sorted(held.partstats) for held in before]


def _organize(eds: Eds, ours: Ours, invitation: str) -> None:
    """The organizer keeps its own copy, sends it, and takes in our answer."""
    eds.receive(invitation)
    _answer(eds, ours.receive(invitation))


def _answer(eds: Eds, decisions: list[Decision]) -> None:
    when = _occurrences(eds)
    [decision] = decisions
    assert len(decision.replies) == 1
    _hear(eds, decision.replies)
    assert _occurrences(eds) == when


def _hear(eds: Eds, replies: Sequence[Reply]) -> None:
    """The organizer takes in our answers, and of what it holds nothing but our answers changes.

    What it lists as occurrences is not asked: after any answer to a series, also an Accepted, EDS no longer lists the
    dates that were moved before, although it holds them as they were.
    """
    held = eds.held()
    for reply in replies:
        eds.answer(_calendar_part(reply))
    assert _without_anna(eds.held()) == _without_anna(held)


def _calendar_part(reply: Reply) -> str:
    """The REPLY as it is found in the mail that we send."""
    mail = email.message_from_bytes(render(reply, "<reply@invite.example.com>", NOW), policy=policy)
    assert mail["To"] == "alex@acme.example"
    part = next(part for part in mail.walk() if part.get_content_type() == "text/calendar")
    assert part.get_param("method") == "REPLY"
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


def _answers(eds: Eds, who: str = ANNA) -> dict[str | None, str | None]:
    """What the organizer holds as the PAL's answer: for the event or series (None), and for single dates."""
    return {held.date: held.partstats.get(who) for held in eds.held()}


def _without_anna(held: list[Held]) -> dict[str | None, tuple[int, str, dict[str, str]]]:
    everybody = {one.date: (one.sequence, one.uid, dict(one.partstats)) for one in held}
    for _, _, partstats in everybody.values():
        assert partstats[BOB] == "TENTATIVE"
        for address in [one for one in partstats if one.startswith("anna")]:
            del partstats[address]
    return everybody


def _occurrences(eds: Eds) -> list[tuple[datetime, datetime]]:
    return eds.occurrences(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
