"""Why a mail was decided as it was, in lines."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.explain import story, tries

INVITE: dict[str, Any] = {
    "id": "m1-0",
    "verdict": "accepted",
    "reason": None,
    "sender": "alex@acme.example",
    "platform": "google_meet",
    "allowed_by": r".*@acme\.example",
    "detail": "",
    "link_candidates": [
        {"field": "LOCATION", "platform": "zoom", "url": "https://zoom.us/j/1", "joinable": False, "chosen": False},
        {
            "field": "X-GOOGLE-CONFERENCE",
            "platform": "google_meet",
            "url": "https://meet.google.com/abc-defg-hij",
            "joinable": True,
            "chosen": True,
        },
    ],
    "authentication": {
        "auth_id": "alex@acme.example",
        "from": "alex@acme.example",
        "rule": "a",
        "chain": [
            {"check": "dkim", "of": "google.com", "verdict": "pass", "detail": ""},
            {"check": "dkim", "of": "acme.example", "verdict": "pass", "detail": "aligned"},
            {"check": "rule", "of": "a", "verdict": "alex@acme.example", "detail": ""},
        ],
    },
}


def at(hour: int) -> datetime:
    return datetime(2026, 3, 1, hour, tzinfo=UTC)


ANSWER: dict[str, Any] = {
    "id": "r1",
    "partstat": "ACCEPTED",
    "recurrence_id": None,
    "recipient": "alex@acme.example",
    "state": "queued",
    "created_at": at(8),
    "settled_at": None,
    "error": None,
    "note": None,
}


def test_the_whole_way_is_told() -> None:
    assert story(INVITE, "anna@invite.example.com") == [
        "m1-0: accepted, for anna@invite.example.com",
        "Sender: alex@acme.example: its From, aligned with DKIM or SPF (rule a; From says alex@acme.example)",
        "  dkim: google.com: pass",
        "  dkim: acme.example: pass (aligned)",
        "  rule: a: alex@acme.example",
        r"Allowlist: the entry .*@acme\.example",
        "Links:",
        "  LOCATION: zoom, https://zoom.us/j/1 (cannot be joined)",
        "  X-GOOGLE-CONFERENCE: google_meet, https://meet.google.com/abc-defg-hij (chosen)",
    ]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"authentication": None}, "Sender: alex@acme.example; senders were not checked"),
        (
            {"authentication": {"auth_id": None, "from": "boss@acme.example", "rule": None, "chain": []}},
            "Sender: nobody vouches for one; From says boss@acme.example",
        ),
        ({"reason": "no-organizer"}, "  the event has no ORGANIZER, so there is nobody to answer"),
        ({"link_candidates": []}, "Links: none"),
        ({"allowed_by": None}, "Allowlist: the PAL has none"),
        ({"allowed_by": None, "has_allowlist": True}, "Allowlist: the PAL had none then"),
        ({"allowed_by": None, "verdict": "ignored", "has_allowlist": True}, "Allowlist: no entry admitted it"),
        ({"allowed_by": None, "verdict": "ignored", "has_allowlist": False}, "Allowlist: the PAL has none"),
        ({"allowed_by": None, "verdict": "ignored"}, "Allowlist: the PAL is gone, and its list with it"),
        ({"allowed_by": None, "verdict": "rejected", "reason": "not-on-allowlist"}, "Allowlist: no entry admitted it"),
        (
            {"verdict": "ignored", "reason": "already-ended"},
            "  no reply is owed: an edit of what is over, or over for longer than retention.days",
        ),
        (
            {"verdict": "declined", "reason": "already-ended"},
            "  This event is already over. Choose a time to come and send the invitation again.",
        ),
        (
            {"verdict": "declined", "reason": "link-not-joinable", "platform": "teams"},
            "  This event has a Microsoft Teams link, which the PAL cannot join yet. "
            "Add a Google Meet link and send the invitation again.",
        ),
        ({"title": "Lunch\x1b[2J"}, "Title: Lunch\N{REPLACEMENT CHARACTER}[2J"),
        (
            {"mail": {"received_at": datetime(2026, 3, 1, 8, tzinfo=UTC), "message_id": "<a@b>"}},
            "Mail: came 2026-03-01 08:00:00 UTC, Message-ID <a@b>",
        ),
        ({"detail": "a\x1b[2Jb"}, "Remarks: a\N{REPLACEMENT CHARACTER}[2Jb"),
    ],
)
def test_what_is_missing_is_said(change: dict[str, Any], line: str) -> None:
    assert line in story({**INVITE, **change}, "anna@invite.example.com")


def test_what_is_for_the_organizer_is_not_said_where_nobody_is_answered() -> None:
    told = story({**INVITE, "verdict": "ignored", "reason": "already-ended"}, "anna@invite.example.com")
    assert not any("send the invitation again" in line for line in told)


def happening(kind: str, attempt: int | None = None, **data: Any) -> dict[str, Any]:
    return {"at": at(8), "kind": kind, "attempt": attempt, "detail": "", "data": data}


@pytest.mark.parametrize(
    ("history", "numbers"),
    [
        ([("planned", None), ("tried", 1), ("started", 2), ("joined", 2), ("ended", 2)], [None, 1, 2, None, None]),
        # Looked at while it was silent (4), told to leave, in two attempts (5, 6).
        ([("started", 3), ("joined", 4), ("cancelled", None), ("tried", 5), ("ended", 6)], [1, None, None, None, None]),
        # The answer came after the callback; it came back to the call.
        ([("joined", 1), ("started", 1), ("tried", 2), ("started", 3)], [1, 1, None, 2]),
        ([("cancelled", None), ("planned", None), ("failed", 1)], [None, None, 1]),
        ([("planned", None), ("missed", 1)], [None, None]),
    ],
)
def test_only_what_was_sent_is_a_try(history: list[tuple[str, int | None]], numbers: list[int | None]) -> None:
    assert tries([happening(*one) for one in history]) == numbers


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        ({}, ["Reply r1: ACCEPTED to alex@acme.example: queued since 2026-03-01 08:00 UTC"]),
        (
            {
                "state": "undeliverable",
                "settled_at": at(9),
                "error": "not delivered (5.1.1): 550 \x1b no",
                "note": "delayed",
            },
            [
                "Reply r1: ACCEPTED to alex@acme.example: undeliverable since 2026-03-01 09:00 UTC",
                "  not delivered (5.1.1): 550 \N{REPLACEMENT CHARACTER} no",
                "  delayed",
            ],
        ),
        (
            {"raw": b"Subject: Yes\r\nContent-Type: text/plain\r\n\r\nI will \x1b[2J be there.\r\n"},
            [
                "Reply r1: ACCEPTED to alex@acme.example: queued since 2026-03-01 08:00 UTC",
                "  Subject: Yes",
                "  Content-Type: text/plain",
                "  ",
                "  I will \N{REPLACEMENT CHARACTER}[2J be there.",
            ],
        ),
        (
            {"state": "sent", "settled_at": at(9), "recurrence_id": at(14)},
            ["Reply r1: ACCEPTED for 2026-03-01 14:00 UTC to alex@acme.example: sent since 2026-03-01 09:00 UTC"],
        ),
    ],
)
def test_what_became_of_an_answer_is_told_last(change: dict[str, Any], lines: list[str]) -> None:
    told = story(INVITE, "anna@invite.example.com", [{**ANSWER, **change}])
    assert told[-len(lines) :] == lines
