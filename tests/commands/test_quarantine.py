"""Mails kept aside by a fault of ours: listed, played again as sent by whom they were, forgotten; on both stores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from sqlalchemy import Engine, select

import scheduler.store
from gateway import quarantine, store
from gateway.app import open_store
from gateway.decide import Desk
from gateway.demo import ORGANIZER, invitation
from gateway.intake import Incoming, Intake
from gateway.pals import Pal, pal_id
from gateway.reading import Reading
from gateway.senders import Sender, Step
from scheduler.clock import utc_now
from tests.commands.words import run

ANNA, BEN = "anna@invite.example.com", "ben@invite.example.com"
BROKEN = Desk(scheduling=cast(Any, None))  # a desk that fails whenever it plans
ALEX = Sender(
    ORGANIZER,
    verified=True,
    checked=True,
    claimed=ORGANIZER,
    rule="a",
    reply_to="calendar@acme.example",
    signers=("acme.example",),
    chain=(Step("dkim", "acme.example", "pass"),),
)
NOBODY = Sender("", checked=True, claimed=ORGANIZER, rule="f", chain=(Step("dkim", "acme.example", "fail"),))


def faulty(raw: bytes, now: datetime, recipients: int) -> Reading:
    """A reader with a fault of ours."""
    raise LookupError("a fault of ours")


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    """A store with two PALs: Anna, whom only Alex may invite, and Ben, who is open to all."""
    engine = open_store(store_url)
    with engine.begin() as connection:
        for address, allowlist in ((ANNA, (ORGANIZER,)), (BEN, ())):
            pal = Pal(pal_id(address), address[:3].title(), address, "face", allowlist)
            store.add_pal(connection, pal, utc_now())
    yield engine
    engine.dispose()


def kept_aside(
    engine: Engine,
    sender: Sender | None,
    *recipients: str,
    starts: timedelta = timedelta(days=2),
    came: timedelta = timedelta(days=1),
    mail_id: str = "m1",
) -> str:
    """The UID of an invitation that came some time ago and met a fault."""
    now = utc_now()
    uid, raw = invitation(recipients[0], now + starts)
    (aside, *_) = Intake(engine, Desk(), read=faulty).take(
        Incoming(mail_id, raw, "", recipients, sender=sender), now - came
    )
    assert (aside.decision.verdict, aside.decision.reason) == ("quarantined", "error")
    return uid


def command(engine: Engine, *words: str, **settings: str) -> tuple[int, str, str]:
    url = engine.url.render_as_string(hide_password=False)
    done = run("quarantine", *words, env={"GATEWAY_STORE__URL": url, **settings})
    return done.returncode, done.stdout, done.stderr


def invites(engine: Engine) -> list[store.InviteRow]:
    with engine.connect() as connection:
        found = store.find_invites(connection, pal_id=None, verdict=None, confirmations=False, limit=100)
    return sorted(found, key=lambda one: one.id)


def said(engine: Engine) -> list[tuple[str, str | None]]:
    return [(one.verdict, one.reason) for one in invites(engine)]


def test_what_a_fault_of_ours_kept_aside_is_decided_written_and_answered(engine: Engine) -> None:
    uid = kept_aside(engine, ALEX, ANNA)
    (before,) = invites(engine)
    code, listed, _ = command(engine, "list", "--json")
    row = json.loads(listed)
    assert (code, row["id"], row["sender"], row["verified"], row["pals"]) == (0, "m1", ORGANIZER, True, [ANNA])
    assert "error" in command(engine, "list")[1]
    _, shown, _ = command(engine, "show", "m1")
    assert f"Sender: {ORGANIZER}: its From, aligned with DKIM or SPF" in shown
    assert "  Subject: Invitation: Stand-up" in shown
    code, played, said_wrong = command(engine, "replay", "m1", "--json")
    assert (code, said_wrong) == (0, "")
    answer = json.loads(played)
    assert (answer["verdict"], answer["uid"], answer["reply"]["partstat"]) == ("accepted", uid, "ACCEPTED")
    assert [join["state"] for join in answer["joins"]] == ["planned"]
    (after,) = invites(engine)
    assert (after.id, after.mail_id, after.verdict, after.allowed_by) == (before.id, "m1", "accepted", ORGANIZER)
    assert after.authentication == before.authentication == ALEX.as_json()
    assert after.decided_at > before.decided_at
    with engine.connect() as connection:
        event = scheduler.store.load_event(connection, pal_id(ANNA), uid)
        assert event is not None
        assert (event.owner, event.owner_verified) == (ORGANIZER, True)
        assert store.letters_of(connection, uid, "queued")
        mail = store.load_mail(connection, "m1")
    assert mail is not None
    assert (mail.message_id, mail.received_at) == (f"<{uid}>", before.decided_at)
    assert command(engine, "list")[:2] == (0, "")
    code, _, refused = command(engine, "replay", "m1")
    assert (code, refused) == (1, "pal-gateway: m1 is not in quarantine; see pal-gateway quarantine list.\n")


@pytest.mark.parametrize(
    ("sender", "checks", "outcome"),
    [
        (NOBODY, "allowlist", ("rejected", "not-authenticated")),
        (NOBODY, "off", ("rejected", "not-authenticated")),
        (None, "allowlist", ("rejected", "not-authenticated")),
        (None, "off", ("accepted", None)),
    ],
)
def test_who_sent_it_is_nobody_else_by_then(
    engine: Engine, sender: Sender | None, checks: str, outcome: tuple[str, str | None]
) -> None:
    kept_aside(engine, sender, ANNA)
    code, _, _ = command(engine, "replay", "--all", GATEWAY_SENDERS__SENDER_AUTH=checks)
    assert code == 0
    assert said(engine) == [outcome]


@pytest.mark.parametrize("sender", [ALEX, NOBODY, replace(ALEX, reply_to="", signers=(), chain=())])
def test_a_sender_is_kept_whole(sender: Sender) -> None:
    assert Sender.kept(json.loads(json.dumps(sender.as_json()))) == sender
    older = {name: value for name, value in sender.as_json().items() if name not in ("reply_to", "signers")}
    assert Sender.kept(older) == replace(sender, reply_to="", signers=())


def test_what_is_over_by_now_is_declined_as_over(engine: Engine) -> None:
    kept_aside(engine, ALEX, ANNA, starts=timedelta(hours=-5))
    assert command(engine, "replay", "m1")[0] == 0
    assert said(engine) == [("declined", "already-ended")]


def test_a_second_fault_leaves_it_where_it_is(engine: Engine) -> None:
    kept_aside(engine, ALEX, ANNA, BEN)
    before = invites(engine)
    again = quarantine.play_again(engine, Intake(engine, BROKEN), "m1", utc_now(), checks=True)
    assert "stays aside" in str(again)
    assert invites(engine) == before
    with engine.connect() as connection:
        assert scheduler.store.find_joins(connection) == []
        assert connection.execute(select(store.outbox)).all() == []


def test_what_is_too_costly_waits_for_who_takes_the_time(engine: Engine) -> None:
    kept_aside(engine, ALEX, ANNA)
    kept_aside(engine, ALEX, BEN, mail_id="m2", came=timedelta(hours=1))
    with engine.begin() as connection:
        connection.execute(store.mails.update().where(store.mails.c.id == "m1").values(raw=COSTLY))
    code, _, stayed = command(engine, "replay", "m1", GATEWAY_READING__SECONDS="0.1")
    assert (code, stayed) == (1, "pal-gateway: m1 stays aside: it was not read within 0.1 s.\n")
    code, played, _ = command(engine, "replay", "--all", "--without-limits")
    assert (code, played.splitlines()[0]) == (0, f"m1 → {ANNA}: ignored (unreadable)")
    assert said(engine)[1] == ("accepted", None)


def test_what_is_dropped_is_forgotten(engine: Engine) -> None:
    kept_aside(engine, ALEX, ANNA, BEN)
    assert command(engine, "drop", "m1") == (0, "m1 is forgotten.\n", "")
    assert invites(engine) == []
    with engine.connect() as connection:
        assert store.load_mail(connection, "m1") is None
    assert command(engine, "drop", "m1")[0] == 1


def test_a_mail_of_several_events_for_several_pals_keeps_the_ids_it_had(engine: Engine) -> None:
    kept_aside(engine, ALEX, ANNA, BEN)
    (_, first), (_, second) = invitation(ANNA, utc_now()), invitation(ANNA, utc_now() + timedelta(days=9))
    calendars = [one.partition(b"END:VCALENDAR")[0] + b"END:VCALENDAR\r\n" for one in (first, second)]
    bodies = [b"BEGIN:VCALENDAR" + one.partition(b"BEGIN:VCALENDAR")[2] for one in calendars]
    raw = first.replace(bodies[0].rstrip(), bodies[0] + bodies[1].rstrip())
    with engine.begin() as connection:
        connection.execute(store.mails.update().values(raw=raw))
        store.remove_pal(connection, pal_id(BEN))
    assert command(engine, "replay", "m1")[0] == 0
    found = {one.id: (one.pal_id, one.verdict) for one in invites(engine)}
    assert found == {
        "m1-0": (pal_id(ANNA), "accepted"),
        "m1-1": (pal_id(BEN), "quarantined"),  # its PAL is gone: only to be dropped
        "m1-2": (pal_id(ANNA), "accepted"),
    }
    code, _, why = command(engine, "replay", "m1")
    assert (code, "quarantine drop" in why) == (1, True)
    assert command(engine, "drop", "m1")[0] == 0
    assert len(invites(engine)) == 2


def test_a_newer_message_that_was_taken_meanwhile_wins(engine: Engine) -> None:
    uid = kept_aside(engine, ALEX, ANNA)
    with engine.connect() as connection:
        mail = store.load_mail(connection, "m1")
    assert mail is not None
    newer = mail.raw.replace(b"SEQUENCE:0", b"SEQUENCE:1").replace(b"SUMMARY:Stand-up", b"SUMMARY:Newer")
    Intake(engine, Desk()).take(Incoming("m2", newer, "", (ANNA,), sender=ALEX), utc_now())
    assert command(engine, "replay", "m1")[0] == 0
    assert said(engine)[0] == ("outdated", None)
    with engine.connect() as connection:
        (join,) = scheduler.store.find_joins(connection)
    assert (join.uid, join.name) == (uid, "Newer")


def test_wrong_words(engine: Engine) -> None:
    assert command(engine, "replay")[0] == 2
    assert command(engine, "replay", "m1", "--all")[0] == 2
    assert command(engine, "show", "m1")[0] == 1


def _costly() -> bytes:
    """A mail of thousands of parts, which takes a reader longer than a tenth of a second."""
    part = b"--x\r\nContent-Type: text/plain\r\n\r\n\r\n"
    return b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n' + part * 400_000 + b"--x--\r\n"


COSTLY = _costly()
