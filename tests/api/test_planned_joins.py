"""What a change of a PAL does to what it is going to attend."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from email.message import Message
from typing import Any

import httpx
import pytest

import scheduler.store
from gateway import store
from gateway.demo import invitation
from scheduler.clock import utc_now
from scheduler.joins import Join
from tests.api.conftest import Running
from tests.wire.test_main_path import send, written


def invited(served: Running, api: httpx.Client, name: str) -> str:
    """The id of a PAL that accepted a meeting of next week."""
    pal = {
        "pal_name": "Ada",
        "system_prompt": "You are Ada.",
        "default_face_id": "face-1",
        "layers": {"conferencing": {"username": name}},
    }
    created = api.post("/v2/pals", json=pal).json()
    address = created["conferencing_email"]
    _, mail = invitation(address, utc_now() + timedelta(days=7))
    assert send(served.gateway, mail, address) == {}
    return str(created["pal_id"])


def joins(served: Running, pal_id: str) -> list[Join]:
    with served.gateway.engine.connect() as connection:
        return scheduler.store.find_joins(connection, pal_id=pal_id)


def until(found: Callable[[], Any]) -> Any:
    """What is found, once it is: the dispatcher plans anew in its own time."""
    end = time.monotonic() + 20
    while not (answer := found()) and time.monotonic() < end:
        time.sleep(0.02)
    return answer


def test_another_face_and_more_context_reach_what_is_planned(served: Running, api: httpx.Client, name: str) -> None:
    pal_id = invited(served, api, name)
    (before,) = joins(served, pal_id)
    assert before.face_id == "face-1"
    assert before.request["conversational_context"] == "You are in the meeting “Stand-up”."
    change = [
        {"op": "replace", "path": "/default_face_id", "value": "face-2"},
        {"op": "add", "path": "/layers/conferencing/context", "value": "full"},
        {"op": "add", "path": "/layers/conferencing/properties", "value": {"participant_left_timeout": 7}},
    ]
    assert api.patch(f"/v2/pals/{pal_id}", json=change).status_code == 200
    (after,) = until(lambda: [one for one in joins(served, pal_id) if one.face_id == "face-2"])
    assert after.id == before.id
    assert "Organizer: alex@acme.example." in after.request["conversational_context"]
    assert after.request["properties"]["participant_left_timeout"] == 7


def test_a_rename_leaves_what_is_planned_and_frees_the_name(served: Running, api: httpx.Client, name: str) -> None:
    pal_id = invited(served, api, name)
    rename = [{"op": "replace", "path": "/layers/conferencing/username", "value": f"{name}-2"}]
    assert api.patch(f"/v2/pals/{pal_id}", json=rename).status_code == 200
    assert [one.state for one in joins(served, pal_id)] == ["planned"]
    assert api.get("/v2/pals/check-username", params={"username": name}).json() == {"available": True}


def test_without_conferencing_nothing_is_joined_any_more(served: Running, api: httpx.Client, name: str) -> None:
    pal_id = invited(served, api, name)
    remove = [{"op": "remove", "path": "/layers/conferencing"}]
    assert api.patch(f"/v2/pals/{pal_id}", json=remove).status_code == 200
    assert [(one.state, one.reason) for one in joins(served, pal_id)] == [("cancelled", "pal-removed")]


def replies(served: Running, username: str, subject: str) -> list[Message]:
    """The mails that a PAL has sent, as the relay has them."""
    sender = f"<{username}@invite.example.com>"
    return [one for one in written(served.gateway) if sender in one["From"] and str(one["Subject"]).startswith(subject)]


def calendar_of(mail: Message) -> list[str]:
    """The content lines of a REPLY, unfolded."""
    (part,) = [one for one in mail.walk() if one.get_content_type() == "text/calendar"]
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode().replace("\r\n ", "").split("\r\n")


def is_told(served: Running, username: str) -> None:
    """The organizer has heard an Accepted, and hears now that the PAL does not come."""
    (mail,) = until(lambda: replies(served, username, "Declined"))
    assert mail["To"] == "alex@acme.example"
    lines = calendar_of(mail)
    assert {"METHOD:REPLY", "ORGANIZER;CN=Alex:mailto:alex@acme.example", "SEQUENCE:0"} < set(lines)
    (attendee,) = [one for one in lines if one.startswith("ATTENDEE")]
    assert "PARTSTAT=DECLINED" in attendee
    assert attendee.endswith(f":mailto:{username}@invite.example.com")
    assert "COMMENT:Ada is not available any more and will not join." in lines


def answers(served: Running, pal_id: str) -> list[str]:
    with served.gateway.engine.connect() as connection:
        rows = connection.execute(store.invites.select().where(store.invites.c.pal_id == pal_id)).all()
        events = [scheduler.store.load_event(connection, pal_id, uid) for uid in {row.uid for row in rows}]
    return [one.partstat for event in events if event is not None for one in event.answers]


def test_a_pal_that_is_deleted_declines_what_it_accepted(served: Running, api: httpx.Client, name: str) -> None:
    pal_id = invited(served, api, name)
    assert until(lambda: replies(served, name, "Accepted"))
    assert api.delete(f"/v2/pals/{pal_id}").status_code == 204
    is_told(served, name)
    assert answers(served, pal_id) == ["DECLINED"]
    assert [(one.state, one.reason) for one in joins(served, pal_id)] == [("cancelled", "pal-removed")]


@pytest.mark.parametrize("way", ["DELETE", "PATCH"])
def test_the_mail_leaves_at_once(served: Running, api: httpx.Client, name: str, way: str) -> None:
    """The outbox looks by itself every two seconds: four PALs that go one after the other would take six or more."""
    names = [f"{name}-{number}" for number in range(4)]
    pals = {one: invited(served, api, one) for one in names}
    assert until(lambda: all(replies(served, one, "Accepted") for one in names))
    asked = time.monotonic()
    for one, pal_id in pals.items():
        body = [{"op": "remove", "path": "/layers/conferencing"}] if way == "PATCH" else None
        assert api.request(way, f"/v2/pals/{pal_id}", json=body).status_code in (200, 204)
        is_told(served, one)
    assert time.monotonic() - asked < 4


def test_conferencing_taken_off_and_put_on_again(served: Running, api: httpx.Client, name: str) -> None:
    pal_id = invited(served, api, name)
    (before,) = joins(served, pal_id)
    until(lambda: replies(served, name, "Accepted"))
    remove = [{"op": "remove", "path": "/layers/conferencing"}]
    assert api.patch(f"/v2/pals/{pal_id}", json=remove).status_code == 200
    is_told(served, name)
    assert answers(served, pal_id) == ["DECLINED"]
    again = [{"op": "add", "path": "/layers/conferencing", "value": {"username": name}}]
    assert api.patch(f"/v2/pals/{pal_id}", json=again).status_code == 200
    assert [one.state for one in joins(served, pal_id)] == ["cancelled"]
    # The organizer edits the event, and has our Declined in it.
    address = f"{name}@invite.example.com"
    uid, mail = invitation(address, before.starts + timedelta(minutes=10))
    edited = mail.replace(uid.encode(), before.uid.encode()).replace(b"SEQUENCE:0", b"SEQUENCE:1")
    edited = edited.replace(b"PARTSTAT=NEEDS-ACTION", b"PARTSTAT=DECLINED")
    assert send(served.gateway, edited, address) == {}
    assert [one.state for one in joins(served, pal_id)] == ["planned"]
    assert len(until(lambda: replies(served, name, "Accepted")[1:])) == 1
    assert answers(served, pal_id) == ["ACCEPTED"]


def test_a_rename_is_nothing_to_tell(served: Running, api: httpx.Client, name: str) -> None:
    pal_id = invited(served, api, name)
    rename = [{"op": "replace", "path": "/layers/conferencing/username", "value": f"{name}-2"}]
    assert api.patch(f"/v2/pals/{pal_id}", json=rename).status_code == 200
    assert answers(served, pal_id) == ["ACCEPTED"]
    # Deleted under its new name it is declined under the one that was invited, and that is all it ever says.
    assert api.delete(f"/v2/pals/{pal_id}").status_code == 204
    is_told(served, name)
    assert replies(served, f"{name}-2", "") == []


def test_a_patch_that_is_refused_takes_nothing_back(served: Running, api: httpx.Client, name: str) -> None:
    pal_id = invited(served, api, name)
    wrong = [{"op": "remove", "path": "/layers/conferencing"}, {"op": "test", "path": "/pal_name", "value": "Eve"}]
    assert api.patch(f"/v2/pals/{pal_id}", json=wrong).status_code == 400
    assert answers(served, pal_id) == ["ACCEPTED"]
    assert [one.state for one in joins(served, pal_id)] == ["planned"]
