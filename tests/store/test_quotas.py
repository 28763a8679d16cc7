"""What is counted against the quotas, on both stores: today's invitations, joins to come and under way."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

import scheduler.store
from gateway import store
from gateway.decide import Desk
from gateway.intake import Incoming, Intake, Played
from gateway.pals import Pal, pal_id
from gateway.quotas import Counts, Inviter, Load, Quotas
from gateway.senders import Sender
from gateway.store_quotas import load_of
from scheduler.joins import JoinState

RAW = (Path(__file__).parent.parent.parent / "samples/google/01-new.eml").read_bytes()
ANNA = Pal(pal_id("anna@invite.example.com"), "Anna", "anna@invite.example.com", "face")
BERT = Pal(pal_id("bert@invite.example.com"), "Bert", "bert@invite.example.com", "face")
NOW = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
ALEX = "alex@acme.example"
QUOTAS = Quotas()


@pytest.fixture
def intake(engine: Engine) -> Intake:
    with engine.begin() as connection:
        store.add_pal(connection, ANNA, NOW)
        store.add_pal(connection, BERT, NOW)
    return Intake(engine, Desk())


def invite(intake: Intake, uid: str, *, sender: str = ALEX, pal: Pal = ANNA, now: datetime = NOW) -> Played:
    raw = re.sub(rb"UID:\S+", b"UID:" + uid.encode(), RAW)
    who = Sender(sender, verified=True, checked=True, claimed=sender)
    (played,) = intake.take(Incoming(f"m-{uid}-{pal.name}-{now:%d%H%M}", raw, "", (pal.address,), sender=who), now)
    return played


def load(engine: Engine, inviter: Inviter, pal: Pal = ANNA, now: datetime = NOW, quotas: Quotas = QUOTAS) -> Load:
    with engine.connect() as connection:
        return load_of(connection, pal.id, inviter, quotas, now, is_new=True)


def test_invitations_and_joins_are_counted_for_sender_organisation_and_pal(engine: Engine, intake: Intake) -> None:
    invite(intake, "one")
    invite(intake, "two", sender="bob@mail.acme.example")
    invite(intake, "three", sender="carl@gmail.com")
    invite(intake, "four", pal=BERT)
    invite(intake, "one", now=NOW + timedelta(minutes=1))  # the same once more
    three = Counts(inviter=2, domain=3, pal=3)
    assert load(engine, Inviter(ALEX, "acme.example")) == Load(three, three)
    carl = Counts(inviter=1, domain=0, pal=3)
    assert load(engine, Inviter("carl@gmail.com", None)) == Load(carl, carl)
    nobody = Counts(pal=1)
    assert load(engine, Inviter("dora@other.example", "other.example"), BERT) == Load(nobody, nobody)


def test_yesterdays_invitations_do_not_count_and_their_joins_do(engine: Engine, intake: Intake) -> None:
    invite(intake, "one")
    next_day = NOW + timedelta(minutes=30)
    assert next_day.day != NOW.day
    invite(intake, "two", now=next_day)
    found = load(engine, Inviter(ALEX, "acme.example"), now=next_day)
    assert found == Load(Counts(1, 1, 1), Counts(2, 2, 2))


@pytest.mark.parametrize("state", list(JoinState))
def test_joins_count_until_they_are_settled(engine: Engine, intake: Intake, state: JoinState) -> None:
    invite(intake, "one")
    with engine.begin() as connection:
        connection.execute(update(scheduler.store.joins).values(state=state))
    counts = int(state in {"planned", "claimed", "started", "joined"})
    assert load(engine, Inviter(ALEX, "acme.example")).joins == Counts(counts, counts, counts)


def test_nothing_is_counted_beyond_its_limit_or_without_one(engine: Engine, intake: Intake) -> None:
    for number in range(3):
        invite(intake, f"u{number}")
    limits = Quotas(invitations=Counts(inviter=2), joins=Counts(domain=1, pal=9))
    found = load(engine, Inviter(ALEX, "acme.example"), quotas=limits)
    assert found == Load(Counts(inviter=2), Counts(domain=1, pal=3))
    assert load(engine, Inviter(ALEX, "acme.example"), quotas=Quotas(Counts(), Counts())) == Load()


def test_what_is_refused_is_not_counted(engine: Engine, intake: Intake) -> None:
    desk = Intake(engine, Desk(quotas=replace(QUOTAS, invitations=Counts(inviter=1))))
    verdicts = [invite(desk, f"u{number}").decision.verdict for number in range(3)]
    assert verdicts == ["accepted", "declined", "declined"]
    assert load(engine, Inviter(ALEX, "acme.example")) == Load(Counts(1, 1, 1), Counts(1, 1, 1))
