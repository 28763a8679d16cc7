"""The specification's page "Google Meet", a test for each of its sections, named after it: real SMTP, real HTTP."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from scheduler.clock import utc_now
from tests.api.conftest import Running, serving
from tests.api.test_planned_joins import until
from tests.conftest import not_here
from tests.wire.test_main_path import send, settings_for, written

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "http-api.md"
MEET = "https://meet.google.com/xgq-epxn-ccp"
ORGANIZER = "alex@acme.com"
FACE = "r90bbd427f71"

_MAIL = """From: Alex <{sender}>
To: {pal}
Subject: Invitation
Message-ID: <{uid}.{sequence}@acme.com>
MIME-Version: 1.0
Content-Type: text/calendar; charset="utf-8"; method={method}

BEGIN:VCALENDAR
PRODID:-//Google Inc//Google Calendar 70.9054//EN
VERSION:2.0
METHOD:{method}
BEGIN:VEVENT
UID:{uid}
DTSTART:{start:%Y%m%dT%H%M%SZ}
DTEND:{end:%Y%m%dT%H%M%SZ}
DTSTAMP:{stamp:%Y%m%dT%H%M%SZ}
ORGANIZER;CN=Alex:mailto:{sender}
ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:{pal}
SEQUENCE:{sequence}
SUMMARY:{title}
{more}END:VEVENT
END:VCALENDAR
"""


class Guest:
    """A PAL of this test, and an organizer who invites it from Google Calendar."""

    def __init__(self, served: Running, api: httpx.Client, username: str, **conferencing: Any) -> None:
        self.served, self.api = served, api
        layers = {"conferencing": {"username": username, **conferencing}}
        pal = {"pal_name": "Anna", "system_prompt": "You are Anna.", "default_face_id": FACE, "layers": layers}
        answer = api.post("/v2/pals", json=pal)
        assert answer.status_code == 200, answer.text
        self.pal_id, self.address = answer.json()["pal_id"], answer.json()["conferencing_email"]
        self.sequence = -1

    def mail(self, starts: datetime, *more: str, link: str = MEET, **values: Any) -> None:
        """Send one version of the event; each is newer than the one before."""
        self.sequence += 1
        lines = [f"X-GOOGLE-CONFERENCE:{link}" if link else "", *more]
        told = {"sender": ORGANIZER, "uid": f"{self.pal_id}@google.com", "method": "REQUEST", "title": "Stand-up"}
        text = _MAIL.format(
            **{**told, **values},
            pal=self.address,
            start=starts,
            end=starts + timedelta(hours=1),
            stamp=utc_now() + timedelta(seconds=self.sequence),
            sequence=self.sequence,
            more="".join(line + "\n" for line in lines if line),
        )
        assert send(self.served.gateway, text.replace("\n", "\r\n").encode(), self.address) == {}

    def joins(self, *states: str) -> list[dict[str, Any]]:
        params: dict[str, Any] = {"pal_id": self.pal_id, "state": list(states)}
        return list(self.api.get("/v2/joins", params=params).json()["data"])

    def replies(self) -> list[str]:
        """PARTSTAT of the answers that went out, in any order."""
        found = []
        for letter in written(self.served.gateway):
            if self.address in str(letter["From"]):
                (part,) = [one for one in letter.walk() if one.get_content_type() == "text/calendar"]
                calendar = bytes(part.get_payload(decode=True)).decode().replace("\r\n ", "")
                found += re.findall(r"PARTSTAT=(\w+)", calendar)
        return sorted(found)

    def answered(self, *partstats: str) -> bool:
        return bool(until(lambda: self.replies() == sorted(partstats)))


Make = Callable[..., Guest]


@pytest.fixture
def guest(served: Running, api: httpx.Client, name: str) -> Make:
    return lambda **conferencing: Guest(served, api, name, **conferencing)


def in_an_hour() -> datetime:
    return utc_now().replace(microsecond=0) + timedelta(hours=1)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def test_how_it_works(guest: Make) -> None:
    anna, starts = guest(), in_an_hour()
    anna.mail(starts)
    assert anna.answered("ACCEPTED")
    (join,) = anna.joins("planned")
    assert instant(join["at"]) == starts - timedelta(minutes=1)


def test_prerequisites(api: httpx.Client, name: str) -> None:
    layers = {"conferencing": {"username": name}}
    answer = api.post("/v2/pals", json={"pal_name": "Anna", "system_prompt": "x", "layers": layers})
    assert answer.status_code == 400
    assert [one["field"] for one in answer.json()["errors"]] == ["default_face_id"]


def test_configuring_the_conferencing_layer(guest: Make, name: str) -> None:
    assert guest(allowlist=["alex@acme.com", ".*@acme\\.com"]).address == f"{name}@invite.example.com"


@pytest.mark.parametrize(
    ("username", "good"), [("ab", True), ("a", False), ("-ab", False), ("ab.", False), ("bot42", False)]
)
def test_username(api: httpx.Client, username: str, good: bool) -> None:
    assert api.get("/v2/pals/check-username", params={"username": username}).json()["available"] is good


def test_allowlist(guest: Make) -> None:
    anna = guest(allowlist=["boss@other.com", r".*@acme\.com"])
    anna.mail(in_an_hour(), sender="alex@acme.com")
    assert anna.answered("ACCEPTED")
    (invite,) = anna.api.get("/v2/invites", params={"pal_id": anna.pal_id}).json()["data"]
    assert invite["allowed_by"] == r".*@acme\.com"


def test_checking_availability_before_you_commit(guest: Make, name: str) -> None:
    anna = guest()
    taken = anna.api.get("/v2/pals/check-username", params={"username": name}).json()
    assert taken == {"available": False, "reason": "Username is already taken."}
    assert anna.api.get("/v2/pals/check-username", params={"username": f"{name}-x"}).json() == {"available": True}


def test_username_uniqueness_and_limitations(guest: Make, other: httpx.Client, name: str) -> None:
    anna = guest()
    pal = {"system_prompt": "x", "default_face_id": FACE, "layers": {"conferencing": {"username": name.upper()}}}
    taken = other.post("/v2/pals", json=pal)
    assert taken.status_code == 400
    assert "choose a different username" in taken.json()["message"]
    rename = [{"op": "replace", "path": "/layers/conferencing/username", "value": f"{name}-2"}]
    assert anna.api.patch(f"/v2/pals/{anna.pal_id}", json=rename).status_code == 200
    assert other.post("/v2/pals", json=pal).status_code == 200


def test_join_a_google_meet_via_api(guest: Make) -> None:
    anna = guest(allowlist=["nobody@acme.com"])
    asked = {"face_id": FACE, "pal_id": anna.pal_id, "meeting_url": MEET}
    assert anna.api.post("/v2/conversations", json=asked).status_code == 200
    (join,) = until(lambda: anna.joins("joined"))
    assert join["url"] == MEET


def test_scheduling_calls_via_google_calendar_invites(guest: Make) -> None:
    anna = guest()
    anna.mail(in_an_hour(), link="")
    assert anna.answered("DECLINED")
    assert anna.joins() == []


def test_joining_a_meeting_that_is_already_in_progress(guest: Make) -> None:
    anna = guest()
    anna.mail(in_an_hour() - timedelta(minutes=70))
    assert anna.answered("ACCEPTED")
    assert until(lambda: anna.joins("joined"))


def test_recurring_meetings(guest: Make) -> None:
    anna, starts = guest(), in_an_hour()
    anna.mail(starts, "RRULE:FREQ=DAILY;COUNT=5")
    assert [instant(join["at"]) for join in anna.joins("planned")] == [
        starts + timedelta(days=day, minutes=-1) for day in range(5)
    ]


def test_updates_reschedules_and_cancellations(guest: Make) -> None:
    anna, starts = guest(), in_an_hour()
    anna.mail(starts)
    (first,) = anna.joins("planned")
    later, elsewhere = starts + timedelta(hours=3), "https://meet.google.com/abc-defg-hij"
    anna.mail(later, link=elsewhere)
    (moved,) = anna.joins("planned")
    assert (instant(moved["at"]), moved["url"]) == (later - timedelta(minutes=1), elsewhere)
    anna.mail(later, link=elsewhere, title="Retro")
    (renamed,) = anna.joins("planned")
    assert {**renamed, "title": "Stand-up"} == moved
    assert (renamed["join_id"], renamed["title"]) == (first["join_id"], "Retro")
    anna.mail(later, link=elsewhere, method="CANCEL")
    assert [join["state"] for join in anna.joins()] == ["cancelled"]


def test_one_occurrence_is_cancelled_and_then_the_series(guest: Make) -> None:
    """Of "Updates, reschedules, and cancellations"."""
    anna, starts = guest(), in_an_hour()
    anna.mail(starts, "RRULE:FREQ=DAILY;COUNT=3")
    second = starts + timedelta(days=1)
    anna.mail(second, f"RECURRENCE-ID:{second:%Y%m%dT%H%M%SZ}", method="CANCEL")
    assert [join["state"] for join in anna.joins()] == ["planned", "cancelled", "planned"]
    anna.mail(starts, method="CANCEL")
    assert [join["state"] for join in anna.joins()] == ["cancelled"] * 3


def test_allowlist_enforcement_at_invite_time(guest: Make) -> None:
    anna = guest(allowlist=[r".*@acme\.com"])
    anna.mail(in_an_hour(), sender="eve@acme.com.evil.example")
    assert anna.answered("DECLINED")
    assert anna.joins() == []


@pytest.mark.parametrize(
    "link", ["https://us02web.zoom.us/j/87654321098?pwd=abc", "https://teams.live.com/meet/9412345678901?p=abcdefghij"]
)
def test_supported_meeting_platforms(guest: Make, link: str) -> None:
    anna = guest()
    anna.mail(in_an_hour(), f"LOCATION:{link}", link="")
    assert anna.answered("DECLINED")
    (invite,) = anna.api.get("/v2/invites", params={"pal_id": anna.pal_id}).json()["data"]
    assert (invite["reason"], invite["platform"]) == ("link-not-joinable", "zoom" if "zoom" in link else "teams")


def test_modifying_conferencing_on_an_existing_pal(api: httpx.Client, name: str) -> None:
    pal = {"pal_name": "Anna", "system_prompt": "x", "default_face_id": FACE}
    path = f"/v2/pals/{api.post('/v2/pals', json=pal).json()['pal_id']}"
    add = [{"op": "add", "path": "/layers/conferencing/username", "value": name}]
    assert api.patch(path, json=add).json()["conferencing_email"] == f"{name}@invite.example.com"
    replace = [{"op": "replace", "path": "/layers/conferencing/allowlist", "value": ["alex@acme.com"]}]
    assert api.patch(path, json=replace).json()["layers"]["conferencing"]["allowlist"] == ["alex@acme.com"]
    remove = [{"op": "remove", "path": "/layers/conferencing"}]
    assert "conferencing_email" not in api.patch(path, json=remove).json()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Running]:
    with serving(settings_for(tmp_path)) as served:
        yield served


def test_end_to_end_example(fresh: Running) -> None:
    """The curl lines of the documentation as they stand there, the host aside."""
    if shutil.which("curl") is None:
        not_here("curl is not installed")
    commands = re.findall(r"^(curl .*?(?:'|json))$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(commands) == 2
    here = {**os.environ, "KEY": fresh.key("acme")}
    answers = []
    for command in commands:
        command = command.replace("http://127.0.0.1:8080", f"http://127.0.0.1:{fresh.gateway.http_port}")
        done = subprocess.run(["bash", "-c", command], env=here, capture_output=True, text=True, timeout=30, check=True)
        answers.append(json.loads(done.stdout))
    created, began = answers
    assert created["conferencing_email"] == "acme-anna@invite.example.com"
    assert (began["meeting_url"], began["status"]) == (MEET, "active")
