"""A made-up day of an installation, for those who look at its pages: calls, dates, declined mails, one kept aside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import httpx
from sqlalchemy import select

import scheduler.store
from gateway.decide import Desk as Rules
from gateway.intake import Incoming, Intake, fresh_id
from gateway.store import outbox
from scheduler.clock import utc_now
from tests.api.conftest import Running
from tests.api.test_planned_joins import until
from tests.browser.mails import ALEX, invitation, send

PRIYA, MARTA = "priya@northwind.example", "marta@fabrikam.example"


@dataclass(frozen=True)
class Day:
    """Where each page of a filled installation is."""

    key: str
    paths: dict[str, str]


def fill(served: Running) -> Day:
    """Have a day's mails sent to the operator's account, and wait until they are answered and the calls under way."""
    key = served.key("default")
    api = served.client(key)
    ada, noor = _pal(api, "Ada", "ada", [".*@acme\\.example", PRIYA]), _pal(api, "Noor", "noor", [])
    for pal, raw, organizer in _mails(ada["conferencing_email"], noor["conferencing_email"], utc_now()):
        send(served.gateway, pal, raw, organizer)
    aside = invitation(noor["conferencing_email"], "Kept aside", utc_now() + timedelta(days=1))
    broken = Intake(served.gateway.engine, Rules(scheduling=cast(Any, None)))  # it fails whenever it plans
    broken.take(Incoming(fresh_id("m"), aside, ALEX, (noor["conferencing_email"],)), utc_now())
    assert until(lambda: _is_done(served)), "the calls are under way and the mails answered"
    (story,) = [one for one in _invites(api, ada["pal_id"]) if one["sender"] == PRIYA]
    paths = {
        "today": "/",
        "week": f"/week?pal={ada['pal_id']}&of={(utc_now() + timedelta(days=3)).date()}",
        "invitations": "/invitations",
        "story": f"/invitations/{story['invite_id']}",
        "pals": "/pals",
        "pal": f"/pals/{ada['pal_id']}",
        "health": "/health",
    }
    return Day(key, paths)


def _mails(ada: str, noor: str, now: datetime) -> Iterator[tuple[str, bytes, str]]:
    """(PAL, mail, organizer) of each."""
    quarter = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
    daily = datetime(now.year, now.month, now.day, 14, tzinfo=UTC) - timedelta(days=now.weekday())
    hour = timedelta(hours=1)
    yield ada, invitation(ada, "Quarterly planning", quarter - hour / 4, length=hour, organizer=PRIYA), PRIYA
    yield noor, invitation(noor, "Interview: platform engineer", quarter, length=hour), ALEX
    yield ada, invitation(ada, "Design review", quarter + hour, length=hour), ALEX
    yield noor, invitation(noor, "Café con Martín ☕", quarter + 2 * hour, organizer=MARTA), MARTA
    yield ada, invitation(ada, "Stand-up", daily, "RRULE:FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", length=hour / 4), ALEX
    yield ada, invitation(ada, "Retrospective", daily + timedelta(days=9, hours=1), length=hour), ALEX
    yield noor, invitation(noor, "Lunch", quarter + 3 * hour, link=""), MARTA
    yield ada, invitation(ada, "A great offer", quarter + 4 * hour, organizer=MARTA), MARTA


def _pal(api: httpx.Client, name: str, username: str, allowlist: list[str]) -> dict[str, Any]:
    layer = {"username": username, "allowlist": allowlist}
    body = {"pal_name": name, "system_prompt": f"You are {name}.", "default_face_id": "face-1"}
    return dict(api.post("/v2/pals", json={**body, "layers": {"conferencing": layer}}).json())


def _invites(api: httpx.Client, pal_id: str) -> list[dict[str, Any]]:
    return list(api.get("/v2/invites", params={"pal_id": pal_id}).json()["data"])


def _is_done(served: Running) -> bool:
    with served.gateway.engine.connect() as connection:
        called = [one for one in scheduler.store.find_joins(connection) if one.state == "joined"]
        waiting = connection.execute(select(outbox.c.id).where(outbox.c.wake_at.is_not(None))).first()
    return len(called) >= 2 and waiting is None
