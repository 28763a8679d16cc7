"""Quotas as values: whom an invitation is counted for, what exceeds a limit, how many joins a plan adds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.quotas import Counts, Inviter, Load, Quotas, exceeded, inviter_of, is_invitation, more_joins
from gateway.senders import Sender
from gateway.settings import QuotaSettings
from scheduler.event import Answer, Component, Event, Revision
from scheduler.joins import Join, JoinState
from scheduler.zones import Zone

START = datetime(2026, 3, 2, 14, tzinfo=UTC)
VERSION = Component(Revision(0, START), START.replace(tzinfo=None), Zone("UTC"))


@pytest.mark.parametrize(
    ("sender", "inviter"),
    [
        (Sender("a@acme.example"), Inviter("a@acme.example", "acme.example")),
        (Sender("a@mail.eu.acme.co.uk", verified=True, checked=True), Inviter("a@mail.eu.acme.co.uk", "acme.co.uk")),
        (Sender("a@gmail.com", verified=True, checked=True), Inviter("a@gmail.com", None)),
        (Sender("a@one.onmicrosoft.com"), Inviter("a@one.onmicrosoft.com", "one.onmicrosoft.com")),
        (
            Sender("", checked=True, claimed="a@acme.example"),
            Inviter("unverified:a@acme.example", "unverified:acme.example"),
        ),
        (
            Sender("a@acme.example", checked=True, claimed="a@acme.example"),
            Inviter("unverified:a@acme.example", "unverified:acme.example"),
        ),
        (Sender("", checked=True, claimed="a@gmail.com"), Inviter("unverified:a@gmail.com", None)),
        (Sender("", checked=True), Inviter("unverified:", None)),
    ],
)
def test_whom_an_invitation_is_counted_for(sender: Sender, inviter: Inviter) -> None:
    assert inviter_of(sender) == inviter


LIMITS = Quotas(invitations=Counts(inviter=2, domain=5, pal=3), joins=Counts(inviter=10, domain=0, pal=20))


@pytest.mark.parametrize(
    ("invitations", "joins", "more", "name"),
    [
        (Counts(), Counts(), (1, 1), None),
        (Counts(inviter=1), Counts(inviter=9), (1, 1), None),
        (Counts(inviter=2), Counts(), (1, 1), "quotas.invitations_per_inviter"),
        (Counts(domain=5), Counts(), (1, 1), "quotas.invitations_per_domain"),
        (Counts(pal=3), Counts(), (1, 1), "quotas.invitations_per_pal"),
        (Counts(2, 5, 3), Counts(), (0, 1), None),
        (Counts(), Counts(inviter=9), (0, 2), "quotas.joins_per_inviter"),
        (Counts(), Counts(domain=9999), (0, 2), None),
        (Counts(), Counts(pal=20), (0, 1), "quotas.joins_per_pal"),
        (Counts(), Counts(), (1, 11), "quotas.joins_per_inviter"),
        (Counts(), Counts(99, 99, 99), (0, 0), None),
        (Counts(), Counts(99, 99, 99), (0, -3), None),
    ],
)
def test_what_exceeds_a_quota(invitations: Counts, joins: Counts, more: tuple[int, int], name: str | None) -> None:
    assert exceeded(Load(invitations, joins), LIMITS, invitations=more[0], joins=more[1]) == name
    none = Quotas(invitations=Counts(), joins=Counts())
    assert exceeded(Load(invitations, joins), none, invitations=more[0], joins=more[1]) is None


def join(name: str, state: JoinState) -> Join:
    return Join(name, "p", "f", "u", START, START, START, START, START, "https://meet.google.com/x", "", state)


@pytest.mark.parametrize(
    ("before", "after", "more"),
    [
        (None, JoinState.PLANNED, 1),
        (JoinState.CANCELLED, JoinState.PLANNED, 1),
        (JoinState.PLANNED, JoinState.PLANNED, 0),
        (JoinState.PLANNED, JoinState.CANCELLED, -1),
        (JoinState.JOINED, JoinState.LEAVING, -1),
        (JoinState.ENDED, JoinState.ENDED, 0),
    ],
)
def test_how_many_more_joins_there_are(before: JoinState | None, after: JoinState, more: int) -> None:
    existing = [join("other", JoinState.PLANNED)] + ([join("one", before)] if before else [])
    assert more_joins([join("one", after)], existing) == more


@pytest.mark.parametrize(
    ("known", "is_new"),
    [
        (None, True),
        (Event("u", "o"), True),
        (Event("u", "o", answers=(Answer(None, "DECLINED"),)), True),
        (Event("u", "o", master=VERSION), False),
        (Event("u", "o", master=replace(VERSION, attending=False)), True),
        (Event("u", "o", overrides=(replace(VERSION, recurrence_id=START),)), False),
    ],
)
def test_what_is_a_new_invitation(known: Event | None, is_new: bool) -> None:
    assert is_invitation(known) is is_new


def test_the_settings_default_to_what_the_desk_has() -> None:
    assert QuotaSettings().quotas() == Quotas()
