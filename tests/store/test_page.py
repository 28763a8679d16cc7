"""What the page asks of the store, on both stores: whose it is, in which part of the day, found by which words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

import scheduler.store
from gateway import store, store_page
from gateway.decide import Desk
from gateway.intake import Incoming, Intake, Played
from gateway.pals import Pal
from gateway.store_page import Wanted
from scheduler.joins import Join, JoinState
from tests.scenario import calendar_of

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ANNA = Pal("p1", "Anna", "anna@invite.example.com", "face", account="acme")
BEN = Pal("p2", "Ben", "ben@invite.example.com", "face", account="acme")
EVE = Pal("p3", "Eve", "eve@invite.example.com", "face", account="other")


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """A store with three PALs of two accounts."""
    with engine.begin() as connection:
        for pal in (ANNA, BEN, EVE):
            store.add_pal(connection, pal, NOW)
    return engine


def a_join(name: str, start: datetime, pal: Pal = ANNA) -> Join:
    at = start - timedelta(minutes=1)
    join = Join(name, pal.id, "face", name, start, start, start + HOUR, at, start + HOUR, "https://x.example", name)
    return replace(join, wake_at=at)


def keep(engine: Engine, *joins: Join) -> None:
    with engine.begin() as connection:
        for join in joins:
            scheduler.store.add_order(connection, join, NOW)


def names(joins: list[Join]) -> list[str]:
    return [join.id for join in joins]


def test_the_day_has_what_goes_on_what_comes_and_what_is_over(filled: Engine) -> None:
    keep(
        filled,
        replace(a_join("sits", NOW - 2 * HOUR), state=JoinState.JOINED),
        a_join("overdue", NOW),
        replace(a_join("tried", NOW), attempt=2, wake_at=NOW + HOUR / 2),
        a_join("later", NOW + 2 * HOUR),
        a_join("soon", NOW + HOUR, BEN),
        a_join("far", NOW + timedelta(days=9)),
        replace(a_join("ended", NOW - 3 * HOUR), state=JoinState.ENDED, wake_at=None),
        replace(a_join("missed", NOW - HOUR, BEN), state=JoinState.MISSED, wake_at=None),
        replace(a_join("long ago", NOW - timedelta(days=2)), state=JoinState.ENDED, wake_at=None),
        replace(a_join("called off", NOW + HOUR), state=JoinState.CANCELLED, wake_at=None),
        a_join("foreign", NOW + HOUR, EVE),
        replace(a_join("foreign call", NOW, EVE), state=JoinState.JOINED),
    )
    with filled.connect() as connection:
        found = store_page.around(connection, "acme", None, NOW, 50)
        of_ben = store_page.around(connection, "acme", BEN.id, NOW, 50)
        stolen = store_page.around(connection, "acme", EVE.id, NOW, 50)
        few = store_page.around(connection, "acme", None, NOW, 1)
    assert [names(found.going), names(found.coming), names(found.past)] == [
        ["sits", "overdue", "tried"],
        ["soon", "later"],
        ["called off", "missed", "ended"],
    ]
    assert [names(of_ben.going), names(of_ben.coming), names(of_ben.past)] == [[], ["soon"], ["missed"]]
    assert (stolen.going, stolen.coming, stolen.past) == ([], [], [])
    assert [names(few.going), names(few.coming), names(few.past)] == [["sits"], ["soon"], ["called off"]]


def test_a_week_has_what_begins_in_it_but_not_what_was_cancelled(filled: Engine) -> None:
    keep(
        filled,
        a_join("first", NOW),
        a_join("after", NOW + timedelta(days=7)),
        replace(a_join("gone", NOW + HOUR), state=JoinState.CANCELLED, wake_at=None),
    )
    with filled.connect() as connection:
        week = (NOW, NOW + timedelta(days=7), 50)
        assert names(store_page.between(connection, "acme", ANNA.id, *week)) == ["first"]
        assert store_page.between(connection, "other", ANNA.id, *week) == []


def mail(engine: Engine, pal: Pal, title: str, sender: str, *lines: str, now: datetime = NOW) -> Played:
    """What was decided on an invitation to a PAL."""
    fields = (f"UID:{title}", f"SUMMARY:{title}", f"ORGANIZER:mailto:{sender}", "DTSTART:20260303T140000Z", *lines)
    calendar = calendar_of("REQUEST", fields, pal.address, now)
    head = f"From: {sender}\r\nMIME-Version: 1.0\r\nContent-Type: text/calendar; method=REQUEST; charset=utf-8\r\n\r\n"
    incoming = Incoming(f"m{title}", f"{head}{calendar}".encode(), sender, (pal.address,))
    (played,) = Intake(engine, Desk()).take(incoming, now)
    return played


MEET = "LOCATION:https://meet.google.com/abc-defg-hij"


def test_invitations_are_found_by_pal_verdict_and_words_the_newest_first(filled: Engine) -> None:
    mail(filled, ANNA, "Weekly 100%", "alex@acme.example", MEET)
    mail(filled, BEN, "Planning", "Alex@acme.example", MEET, now=NOW + HOUR)
    mail(filled, ANNA, "Nowhere", "kim@acme.example", "LOCATION:Room 7", now=NOW + 2 * HOUR)
    mail(filled, EVE, "Foreign", "alex@acme.example", MEET, now=NOW + 3 * HOUR)
    with filled.connect() as connection:

        def found(**wanted: str) -> list[str | None]:
            rows, _ = store_page.recent_invites(connection, Wanted("acme", **wanted), None, 50)
            return [one.uid for one in rows]

        assert found() == ["Nowhere", "Planning", "Weekly 100%"]
        assert found(pal_id=BEN.id) == ["Planning"]
        assert found(pal_id=EVE.id) == []
        assert found(verdict="declined") == ["Nowhere"]
        assert found(words="ALEX") == ["Planning", "Weekly 100%"]
        assert found(words="weekly") == ["Weekly 100%"]
        assert found(words="alex plan") == ["Planning"]
        assert found(words="no-meeting-link") == ["Nowhere"]
        assert found(words="100%") == ["Weekly 100%"]
        assert found(words="%") == ["Weekly 100%"]
        assert found(words="_") == []
        first, mark = store_page.recent_invites(connection, Wanted("acme"), None, 2)
        rest, end = store_page.recent_invites(connection, Wanted("acme"), mark, 2)
        assert ([one.uid for one in (*first, *rest)], end) == (["Nowhere", "Planning", "Weekly 100%"], None)
        named = {(ANNA.id, "Nowhere"), (BEN.id, "Planning"), (BEN.id, "unknown")}
        assert store_page.titles(connection, named) == {
            (ANNA.id, "Nowhere"): "Nowhere",
            (BEN.id, "Planning"): "Planning",
        }
        assert store_page.one_invite(connection, "acme", rest[0].id) == rest[0]
        assert store_page.one_invite(connection, "other", rest[0].id) is None
        assert store_page.one_invite(connection, "acme", "nul\0") is None


def test_health_tells_what_is_due_and_what_became_of_the_last_day(filled: Engine) -> None:
    mail(filled, ANNA, "Weekly", "alex@acme.example", MEET)
    keep(filled, a_join("overdue", NOW - HOUR), a_join("soon", NOW + HOUR / 2))
    failed = replace(a_join("failed", NOW - 2 * HOUR), state=JoinState.FAILED, reason="refused-400", wake_at=None)
    keep(filled, failed)
    with filled.connect() as connection:
        queues = {one.name: (one.due, one.oldest) for one in store_page.queues(connection, NOW)}
        assert queues["joins"] == (1, NOW - HOUR - timedelta(minutes=1))
        assert queues["replies"] == (1, NOW)
        assert queues["webhooks"] == (0, None)
        assert store_page.planned_until(connection, NOW, NOW + HOUR) == 1
        assert store_page.joins_lately(connection, NOW) == {"planned": 1, "failed": 1}
        refused = store_page.last_refusal(connection, NOW)
        assert refused is not None
        assert (refused.id, refused.reason) == ("failed", "refused-400")
        lately = store_page.letters_lately(connection, NOW)
        assert (lately.letters, lately.relay_took, lately.relay_said) == ({"queued": 1}, None, None)
        assert store_page.newest_aside(connection, 10) == []
