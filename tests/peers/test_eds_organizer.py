"""Our replies, as the mails that we send, reach an organizer whose calendar is EDS: it must know our answer.

Bob's answer, and everything else that the organizer holds, stays as it was.
"""

from __future__ import annotations

import email
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
    held, when = eds.held(), _occurrences(eds)
    [decision] = decisions
    [reply] = decision.replies
    eds.answer(_calendar_part(reply))
    assert _without_anna(eds.held()) == _without_anna(held)
    assert _occurrences(eds) == when


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
