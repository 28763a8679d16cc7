"""The links that are kept with a decision: all that were found and where, and which counts; few, short, printable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway import store
from gateway.binding import Bound, Links, bind
from gateway.decide import MAX_SEEN, MAX_SEEN_URL, Desk, _seen
from gateway.ics import read
from gateway.intake import Incoming, Intake, fresh_id
from gateway.pals import Pal
from gateway.platforms import Candidate, Link
from scheduler.database import connect
from tests.scenario import calendar_of

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
ANNA = "anna@invite.example.com"
START = "DTSTART:20260303T140000Z"
MEET = "https://meet.google.com/abc-defg-hij"
ZOOM = "https://us02web.zoom.us/j/88395547586"


def kept(*lines: str, method: str = "REQUEST", allow: Sequence[str] = (), body: str = "") -> list[dict[str, Any]]:
    """What stands in the journal after an invitation with these lines."""
    engine = connect("sqlite://")
    store.create_throwaway(engine)
    with engine.begin() as connection:
        store.add_pal(connection, Pal("p1", "Anna", ANNA, "face", tuple(allow)), NOW)
    head = 'From: alex@acme.example\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
    text = f"--b\r\nContent-Type: text/plain\r\n\r\n{body}\r\n"
    calendar = calendar_of(method, lines, ANNA, NOW)
    raw = f"{head}{text}--b\r\nContent-Type: text/calendar; method={method}\r\n\r\n{calendar}\r\n--b--\r\n"
    Intake(engine, Desk()).take(Incoming(fresh_id("m"), raw.encode(), "", (ANNA,)), NOW)
    with engine.connect() as connection:
        (row,) = store.account_invites(connection, "default", None, None, None, 10).rows
    return [dict(link) for link in row.link_candidates]


def short(*lines: str, **more: Any) -> list[str]:
    """The same in one line each: `field platform`, `+` for joinable, `*` for the one that counts."""
    marks = ((one, "+" * one["joinable"] + "*" * one["chosen"]) for one in kept(*lines, **more))
    return [f"{one['field']} {one['platform']} {mark}".strip() for one, mark in marks]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([f"LOCATION:{MEET}"], ["LOCATION google_meet +*"]),
        ([f"LOCATION:{ZOOM}"], ["LOCATION zoom *"]),
        ([f"LOCATION:{ZOOM}", f"DESCRIPTION:{MEET}"], ["LOCATION zoom", "DESCRIPTION google_meet +*"]),
        ([f"LOCATION:{MEET}", f"DESCRIPTION:{MEET} {MEET}"], ["LOCATION google_meet +*", "DESCRIPTION google_meet +"]),
        (["LOCATION:Room 7"], []),
        # Two dates, each with its own: both count.
        (
            [
                *(START, f"LOCATION:{MEET}", "RRULE:FREQ=DAILY;COUNT=3", "--", "RECURRENCE-ID:20260304T140000Z"),
                *("DTSTART:20260304T150000Z", "LOCATION:https://meet.google.com/xyz-defg-hij"),
            ],
            ["LOCATION google_meet +*", "LOCATION google_meet +*"],
        ),
    ],
)
def test_where_and_which(lines: list[str], found: list[str]) -> None:
    assert short(*lines, *([] if START in lines else [START])) == found


def test_the_mails_own_text_and_a_cancellation_are_looked_into() -> None:
    assert short(START, "NO-LINK", body=f"Come to {ZOOM} please") == ["BODY zoom *"]
    assert short(START, "STATUS:CANCELLED", method="CANCEL") == ["X-GOOGLE-CONFERENCE google_meet +*"]


def test_a_strangers_mail_and_one_that_is_invalid_show_none() -> None:
    assert kept(START, allow=["boss@acme.example"]) == []
    assert kept("DTSTART:20260230T140000Z") == []


def test_the_link_is_the_canonical_one() -> None:
    (one,) = kept(START, "LOCATION:HTTPS://Meet.Google.com/abc-defg-hij?authuser=1&hs=122#x")
    assert one == {"field": "LOCATION", "platform": "google_meet", "url": MEET, "joinable": True, "chosen": True}


def test_a_few_are_kept_and_the_one_that_counts_among_them() -> None:
    many = " ".join(f"https://us02web.zoom.us/j/883955475{number}" for number in range(10, 60))
    found = kept(START, f"DESCRIPTION:{many} {MEET}")
    assert len(found) == MAX_SEEN
    assert [one["url"] for one in found if one["chosen"]] == [MEET]


def test_a_link_that_no_platform_should_have_made_is_cut() -> None:
    hostile = Candidate("LOCATION", Link("zoom", "https://zoom.us/\u202e\x00\r\n" + "a" * 5000, room=True))
    (invitation,) = read(calendar_of("REQUEST", (START,), ANNA, NOW).encode())
    bound = bind(invitation.events[0], invitation, Pal("p1", "Anna", ANNA, "face"), Links(), NOW)
    assert isinstance(bound, Bound)
    (one,) = _seen((replace(bound, seen=(hostile,)),), Links())
    assert one.url == "https://zoom.us/" + "a" * (MAX_SEEN_URL - len("https://zoom.us/")) + "…"


@pytest.mark.parametrize(
    "url",
    [
        "https://us02web.zoom.us/j/88395547586?pwd=%00%0d%0a%e2%80%ae%1b[2J",
        "https://meet.jit.si/%e2%80%aeRoom%0aX",
        "https://meet.jit.si/<script>alert(1)</script>",
        "https://meet.jit.si/" + "a" * 5000,
        f"https://us02web.zoom.us/my/{'x' * 3000}?pwd=1",
        "javascript:alert(1)//https://meet.google.com/abc-defg-hij",
        "https://evil.example/?u=https://meet.google.com/abc-defg-hij",
    ],
)
def test_a_hostile_link_is_short_and_printable(url: str) -> None:
    for one in kept(START, f"LOCATION:{url}", f"DESCRIPTION:{MEET}"):
        assert one["url"].isprintable()
        assert one["url"].startswith("https://")
        assert len(one["url"]) <= MAX_SEEN_URL + 1
        assert "evil.example" not in one["url"]
