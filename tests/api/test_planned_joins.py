"""What a change of a PAL does to what it is going to attend."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx

import scheduler.store
from gateway.demo import invitation
from scheduler.clock import utc_now
from scheduler.joins import Join
from tests.api.conftest import Running
from tests.wire.test_main_path import send


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
