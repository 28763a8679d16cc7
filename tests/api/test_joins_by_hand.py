"""Cancelling and trying again: over HTTP and by command, at a gateway that serves, on both stores."""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta
from typing import Any

import httpx
import pytest

from gateway import store
from gateway.demo import invitation
from scheduler.clock import utc_now
from scheduler.joins import BY_HAND, Join
from tests.api.conftest import Running
from tests.api.test_planned_joins import invited, joins, until
from tests.commands.words import run
from tests.wire.test_main_path import send


def a_pal(api: httpx.Client, name: str) -> dict[str, Any]:
    """A new PAL."""
    pal = {
        "pal_name": "Ada",
        "system_prompt": "You are Ada.",
        "default_face_id": "face-1",
        "layers": {"conferencing": {"username": name}},
    }
    return dict(api.post("/v2/pals", json=pal).json())


def in_a_call(served: Running, api: httpx.Client, name: str) -> tuple[str, str]:
    """The id and the address of a PAL that is in a call."""
    pal = a_pal(api, name)
    _, mail = invitation(pal["conferencing_email"], utc_now())
    assert send(served.gateway, mail, pal["conferencing_email"]) == {}
    (join,) = until(lambda: [one for one in joins(served, pal["pal_id"]) if one.state == "joined"])
    assert join.conversation_id
    return pal["pal_id"], pal["conferencing_email"]


def only(served: Running, pal_id: str) -> Join:
    (join,) = joins(served, pal_id)
    return join


def command(served: Running, *words: str) -> subprocess.CompletedProcess[str]:
    return run(*words, env={"GATEWAY_STORE__URL": served.gateway.settings.store.url})


def test_one_in_a_call_leaves_it_and_is_sent_again_by_command(served: Running, api: httpx.Client, name: str) -> None:
    pal_id, address = in_a_call(served, api, name)
    first = only(served, pal_id)
    cancelled = command(served, "joins", "cancel", first.id)
    assert (cancelled.returncode, cancelled.stderr) == (0, "")
    assert f"leaving ({BY_HAND})" in cancelled.stdout
    assert address in cancelled.stdout
    gone = until(lambda: only(served, pal_id).state == "cancelled" and only(served, pal_id))
    assert gone.reason == BY_HAND
    ended = api.get(f"/v2/conversations/{first.conversation_id}").json()
    assert ended["status"] == "ended"
    again = command(served, "joins", "retry", first.id, "--json")
    assert (again.returncode, json.loads(again.stdout)["state"]) == (0, "planned"), again.stderr
    (back,) = until(lambda: [one for one in joins(served, pal_id) if one.state == "joined"])
    assert (back.id, back.entry) == (first.id, 1)
    assert back.conversation_id not in (None, first.conversation_id)
    refused = command(served, "joins", "retry", first.id)
    assert (refused.returncode, "under way" in refused.stderr) == (1, True)
    assert command(served, "joins", "cancel", "j0").stderr == (
        "pal-gateway: There is no join j0; see pal-gateway joins list.\n"
    )
    assert command(served, "joins", "retry", "j0").returncode == 1


def test_the_same_over_http(served: Running, api: httpx.Client, other: httpx.Client, name: str) -> None:
    pal_id, _ = in_a_call(served, api, name)
    join = only(served, pal_id)
    for path in ("cancel", "retry"):
        assert other.post(f"/v2/joins/{join.id}/{path}").status_code == 404
    assert api.post(f"/v2/joins/{join.id}/retry").status_code == 409
    left = api.post(f"/v2/joins/{join.id}/cancel").json()
    assert (left["join_id"], left["state"], left["reason"]) == (join.id, "leaving", BY_HAND)
    until(lambda: only(served, pal_id).state == "cancelled")
    twice = api.post(f"/v2/joins/{join.id}/cancel")
    assert (twice.status_code, twice.json()["message"]) == (
        409,
        f"{join.id} is cancelled already; there is nothing to cancel.",
    )
    assert api.post(f"/v2/joins/{join.id}/retry").json()["state"] == "planned"
    assert until(lambda: only(served, pal_id).state == "joined")


@pytest.mark.parametrize("what", ["title", "face"])
def test_who_was_cancelled_before_the_call_stays_away(served: Running, api: httpx.Client, name: str, what: str) -> None:
    pal_id = invited(served, api, name)
    join = only(served, pal_id)
    assert api.post(f"/v2/joins/{join.id}/cancel").json()["state"] == "cancelled"
    pal = api.get(f"/v2/pals/{pal_id}").json()
    address = pal["conferencing_email"]
    second, mail = invitation(address, utc_now() + timedelta(days=6))
    assert send(served.gateway, mail, address) == {}
    if what == "face":  # its events are planned anew
        change = [{"op": "replace", "path": "/default_face_id", "value": "face-2"}]
        assert api.patch(f"/v2/pals/{pal_id}", json=change).status_code == 200
        assert until(lambda: [one for one in joins(served, pal_id) if one.face_id == "face-2"])
    else:
        (invite,) = [one for one in api.get(f"/v2/invites?pal_id={pal_id}").json()["data"] if one["uid"] == join.uid]
        raw = stored(served, invite["invite_id"])
        update = raw.replace(b"SEQUENCE:0", b"SEQUENCE:1").replace(b"SUMMARY:Stand-up", b"SUMMARY:Another title")
        assert send(served.gateway, update, address) == {}
    found = {one.uid: one for one in joins(served, pal_id)}
    assert (found[join.uid].state, found[join.uid].reason) == ("cancelled", BY_HAND)
    assert found[second].state == "planned"
    removed_pal(served, api, pal_id, join)


def stored(served: Running, invite_id: str) -> bytes:
    """The mail that an invitation came by."""
    with served.gateway.engine.connect() as connection:
        mail = store.load_mail(connection, invite_id.partition("-")[0])
    assert mail is not None
    return mail.raw


def removed_pal(served: Running, api: httpx.Client, pal_id: str, join: Join) -> None:
    """What was cancelled for a PAL that is gone is not tried again."""
    assert api.delete(f"/v2/pals/{pal_id}").status_code == 204
    refused = command(served, "joins", "retry", join.id)
    assert (refused.returncode, "was removed" in refused.stderr) == (1, True)


@pytest.mark.parametrize("by", ["http", "command"])
def test_who_is_to_come_now_is_in_the_call_long_before_the_start(
    served: Running, api: httpx.Client, other: httpx.Client, name: str, by: str
) -> None:
    pal = a_pal(api, name)
    _, mail = invitation(pal["conferencing_email"], utc_now() + timedelta(hours=5))
    assert send(served.gateway, mail, pal["conferencing_email"]) == {}
    join = only(served, pal["pal_id"])
    assert join.state == "planned"
    if by == "http":
        assert other.post(f"/v2/joins/{join.id}/now").status_code == 404
        assert api.post(f"/v2/joins/{join.id}/now").json()["state"] == "planned"
    else:
        done = command(served, "joins", "now", join.id, "--json")
        assert (done.returncode, json.loads(done.stdout)["state"]) == (0, "planned"), done.stderr
    (there,) = until(lambda: [one for one in joins(served, pal["pal_id"]) if one.state == "joined"])
    assert (there.id, there.starts) == (join.id, join.starts)
    assert api.post(f"/v2/joins/{join.id}/now").status_code == 409
