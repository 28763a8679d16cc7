"""Webhooks over HTTP, and from a mail to the message, on a gateway that serves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from gateway.api.webhooks import MAX_WEBHOOKS
from gateway.demo import invitation
from gateway.webhooks import EVENTS
from scheduler.clock import utc_now
from tests.api.conftest import Running, serving
from tests.receiver import Receiver, receiving
from tests.wire.test_main_path import ANNA, send, settings_for

PATH = "/v2/webhooks"
URL = "https://hooks.acme.example/in"
T = TypeVar("T")


def until(look: Callable[[], T]) -> T:
    """What is found, as soon as there is something."""
    for _ in range(1000):
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("nothing is found")


def new(api: httpx.Client, **values: Any) -> dict[str, Any]:
    answer = api.post(PATH, json={"url": URL, **values})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def telling(tmp_path: Path, store_url: str) -> Iterator[Running]:
    """A gateway that may reach loopback."""
    loopback = {"private_networks": ["127.0.0.0/8"]}
    with serving(
        settings_for(tmp_path, store={"url": store_url}, callbacks=loopback, senders={"sender_auth": "off"})
    ) as one:
        yield one


def test_from_a_mail_to_the_message(telling: Running, receiver: Receiver) -> None:
    api = telling.client(telling.key("default"))
    made = new(api, url=receiver.url)
    _, raw = invitation(ANNA, utc_now())
    send(telling.gateway, raw)
    first = {"invite.accepted", "join.joined", "join.planned", "join.started"}
    until(lambda: first <= {*receiver.types})
    assert all(one.is_signed_with(made["secret"]) for one in receiver.heard)
    (accepted,) = [one.said["data"] for one in receiver.heard if one.type == "invite.accepted"]
    (invite,) = api.get("/v2/invites").json()["data"]
    assert (accepted["invite_id"], accepted["organizer"]) == (invite["invite_id"], "alex@acme.example")
    (joined,) = [one.said["data"] for one in receiver.heard if one.type == "join.joined"]
    (join,) = api.get("/v2/joins").json()["data"]
    assert (joined["join_id"], joined["conversation_id"]) == (join["join_id"], join["conversation_id"])
    assert api.post(f"/v2/joins/{join['join_id']}/cancel").status_code == 200
    until(lambda: "join.cancelled" in receiver.types)
    told = api.get(f"{PATH}/{made['webhook_id']}/deliveries").json()
    assert {one["delivery_id"] for one in told["data"]} >= {one.id for one in receiver.heard[:5]}


def test_a_test_and_once_more(telling: Running, receiver: Receiver) -> None:
    api = telling.client(telling.key("acme"))
    receiver.answers = [500, 204]
    path = f"{PATH}/{new(api, url=receiver.url)['webhook_id']}"
    queued = api.post(f"{path}/test").json()
    assert (queued["type"], queued["state"], queued["attempts"]) == ("webhook.test", "queued", 0)

    def delivery() -> dict[str, Any]:
        (found,) = api.get(f"{path}/deliveries").json()["data"]
        return dict(found)

    tried = until(lambda: found if (found := delivery())["status"] else {})
    assert (tried["state"], tried["error"], tried["settled_at"]) == ("queued", "answered 500", None)
    again = f"{path}/deliveries/{queued['delivery_id']}/retry"
    assert api.post(again).status_code == 409  # it is sent again by itself
    sent = until(lambda: found if (found := delivery())["state"] == "sent" else {})
    assert (sent["attempts"], sent["status"], sent["next_attempt_at"]) == (2, 204, None)
    assert api.post(again).json()["state"] == "queued"
    until(lambda: len(receiver.heard) == 3)
    assert {one.id for one in receiver.heard} == {queued["delivery_id"]}
    assert receiver.heard[0].said["data"] == {"webhook_id": path.rpartition("/")[2]}


def test_an_endpoint_is_made_changed_and_removed(api: httpx.Client) -> None:
    made = new(api, events=["join.failed", "join.missed"])
    assert made["secret"].startswith("whsec_")
    shown = {name: value for name, value in made.items() if name != "secret"}
    path = f"{PATH}/{made['webhook_id']}"
    assert api.get(path).json() == shown
    assert api.get(PATH).json()["data"] == [shown]
    assert (shown["events"], shown["disabled_at"]) == (["join.failed", "join.missed"], None)
    api.post(f"{path}/test")
    changed = api.patch(path, json={"disabled": True, "url": f"{URL}/2"}).json()
    assert (changed["url"], changed["events"]) == (f"{URL}/2", shown["events"])
    assert (bool(changed["disabled_at"]), changed["disabled_reason"]) == (True, "by its account")
    assert api.patch(path, json={"disabled": True}).json() == changed
    (given_up,) = api.get(f"{path}/deliveries").json()["data"]
    assert given_up["state"] == "failed"
    assert api.post(f"{path}/test").status_code == 409
    assert api.post(f"{path}/deliveries/{given_up['delivery_id']}/retry").status_code == 409
    assert api.patch(path, json={"disabled": False, "events": []}).json() == {
        **shown, "url": f"{URL}/2", "events": [],
    }  # fmt: skip
    rotated = api.post(f"{path}/rotate").json()
    assert rotated["secret"] not in ("", made["secret"])
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404
    assert api.get(PATH).json()["data"] == []


def test_another_accounts_endpoint_is_not_there(api: httpx.Client, other: httpx.Client) -> None:
    path = f"{PATH}/{new(other)['webhook_id']}"
    told = other.post(f"{path}/test").json()["delivery_id"]
    mine = new(api)["webhook_id"]
    for method, more in (
        ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate"), ("POST", "/test"), ("GET", "/deliveries"),
        ("POST", f"/deliveries/{told}/retry"),
    ):  # fmt: skip
        answer = api.request(method, f"{path}{more}", json={} if method == "PATCH" else None)
        assert (answer.status_code, answer.json()["message"]) == (404, "There is no such webhook.")
    answer = api.post(f"{PATH}/{mine}/deliveries/{told}/retry")
    assert (answer.status_code, answer.json()["message"]) == (404, "There is no such delivery.")
    assert other.get(path).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "ftp://acme.example/"}, "url"),
        ({"url": "https://"}, "url"),
        ({"url": "https://user:word@acme.example/"}, "url"),
        ({"url": f"https://acme.example/{'x' * 2000}"}, "url"),
        ({"url": URL, "events": ["join.tried"]}, "events.0"),
        ({"url": URL, "events": "all"}, "events"),
        ({"url": URL, "more": 1}, "more"),
        ([], ""),
    ],
)
def test_what_is_wrong_is_named(api: httpx.Client, body: Any, field: str) -> None:
    answer = api.post(PATH, json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, field)


@pytest.mark.parametrize("host", ["10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]", "0", "127.0.0.1"])
def test_an_address_that_nothing_is_sent_to_is_refused_at_once(api: httpx.Client, host: str) -> None:
    made = new(api, url="http://localhost:9/")  # a name may lead elsewhere by then
    for answer in (
        api.post(PATH, json={"url": f"http://{host}:9/"}),
        api.patch(f"{PATH}/{made['webhook_id']}", json={"url": f"http://{host}:9/"}),
    ):
        (fault,) = answer.json()["errors"]
        assert (answer.status_code, fault["field"]) == (400, "url")
        assert (
            fault["message"] == f"{host.strip('[]')} is no address on the Internet, nor in callbacks.private_networks."
        )
    assert api.get(f"{PATH}/{made['webhook_id']}").json()["url"] == "http://localhost:9/"


def test_an_account_has_so_many_at_most(api: httpx.Client) -> None:
    for _ in range(MAX_WEBHOOKS):
        new(api)
    assert api.post(PATH, json={"url": URL}).status_code == 409


def test_the_document_names_every_event(served: Running) -> None:
    schema = served.client(None).get("/openapi.json").json()["paths"][PATH]["post"]["requestBody"]
    events = schema["content"]["application/json"]["schema"]["properties"]["events"]
    assert tuple(events["items"]["enum"]) == EVENTS
