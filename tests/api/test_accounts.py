"""Who may ask, and what an account sees: keys, isolation, pages, joins and invites, and what OpenAPI tells of it."""

from __future__ import annotations

import smtplib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest

import scheduler.store
from gateway import store
from gateway.demo import invitation
from gateway.keys import digest
from scheduler.clock import utc_now
from scheduler.joins import JoinState
from tests.api.conftest import Running
from tests.api.test_specification import at_rcpt, created, document, refused

NOW = utc_now()
HOUR = timedelta(hours=1)

KEYS: dict[str, tuple[dict[str, Any], int]] = {
    "plain": ({}, 200),
    "not-yet-expired": ({"expires_at": NOW + HOUR}, 200),
    "expired": ({"expires_at": NOW - HOUR}, 401),
    "revoked": ({"revoked_at": NOW}, 401),
    "from-here": ({"networks": ("10.0.0.0/8", "127.0.0.0/8")}, 200),
    "from-elsewhere": ({"networks": ("10.0.0.0/8", "::1/128")}, 403),
    "expired-and-from-elsewhere": ({"networks": ("10.0.0.0/8",), "expires_at": NOW - HOUR}, 401),
}


@pytest.mark.parametrize(("more", "status"), KEYS.values(), ids=KEYS)
def test_keys(served: Running, account: str, more: dict[str, Any], status: int) -> None:
    client = served.client(served.key(account, **more))
    answer = client.get("/v2/pals")
    assert answer.status_code == status
    if status != 200:
        assert refused(answer, status) == {}


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [("10.1.2.3", 200), ("203.0.113.9", 403), ("10.1.2.3, 203.0.113.9", 403), ("nonsense", 403)],
)
def test_behind_a_proxy_on_this_machine_its_word_counts(
    served: Running, account: str, forwarded: str, status: int
) -> None:
    client = served.client(served.key(account, networks=("10.0.0.0/8",)))
    assert client.get("/v2/pals", headers={"x-forwarded-for": forwarded}).status_code == status


ROUTES = [
    ("POST", "/v2/pals"),
    ("GET", "/v2/pals"),
    ("GET", "/v2/pals/check-username?username=ada"),
    ("GET", "/v2/pals/p1"),
    ("PATCH", "/v2/pals/p1"),
    ("DELETE", "/v2/pals/p1"),
    ("POST", "/v2/pals/p1/calendar-token"),
    ("POST", "/v2/personas"),
    ("DELETE", "/v2/personas/p1"),
    ("GET", "/v2/joins"),
    ("GET", "/v2/invites"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=" ".join)
@pytest.mark.parametrize("key", [None, "", "pg_nonsense", "\xff\xfe"], ids=["none", "empty", "unknown", "bytes"])
def test_every_route_wants_a_key(served: Running, method: str, path: str, key: str | None) -> None:
    client = served.client(None)
    headers = {} if key is None else {"x-api-key": key.encode("latin-1")}
    refused(client.request(method, path, headers=headers), 401)  # type: ignore[arg-type]


def test_a_key_opens_nothing_once_it_is_revoked(served: Running, account: str) -> None:
    secret = served.key(account)
    client = served.client(secret)
    assert client.get("/v2/pals").status_code == 200
    with served.gateway.engine.begin() as connection:
        key = store.find_key(connection, digest(secret))
        assert key is not None
        assert store.revoke_key(connection, key.id, utc_now())
    assert client.get("/v2/pals").status_code == 401


def test_another_accounts_pal_is_not_there(api: httpx.Client, other: httpx.Client, name: str) -> None:
    pal_id = created(api, document(name))["pal_id"]
    whole = api.get(f"/v2/pals/{pal_id}").json()
    for prefix in ("/v2/pals", "/v2/personas"):
        path = f"{prefix}/{pal_id}"
        operation = {"op": "replace", "path": "/pal_name", "value": "Mine"}
        for answer in (other.get(path), other.delete(path), other.patch(path, json=[operation])):
            refused(answer, 404)
    assert other.get("/v2/pals").json() == {"data": [], "total_count": 0, "next_cursor": None}
    assert api.get(f"/v2/pals/{pal_id}").json() == whole


@pytest.mark.parametrize("pal_id", ["nobody", "%00", "%ff", "p%20", "x" * 300, "%F0%9F%90%8D", "..%2f"])
def test_a_pal_that_is_not_there(api: httpx.Client, pal_id: str) -> None:
    for method in ("GET", "DELETE"):
        refused(api.request(method, f"/v2/pals/{pal_id}"), 404)


def test_a_slash_at_the_end_is_no_other_path(api: httpx.Client) -> None:
    """The specification's examples have some."""
    said = api.post("/v2/personas/", json={"system_prompt": "You are Ada."}).json()
    assert api.get(f"/v2/personas/{said['persona_id']}/").status_code == 200
    assert api.get("/v2/pals/").json()["total_count"] == 1


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v2/pals", "GET, POST"),
        ("/v2/personas/p1/", "DELETE, GET, PATCH"),
        ("/v2/conversations/c1", "DELETE, GET"),
        ("/v2/pals/check-username", "GET"),
        ("/v2/joins", "GET"),
        ("/healthz", "GET"),
    ],
)
def test_a_method_that_is_not_there_is_told_which_are(api: httpx.Client, path: str, allowed: str) -> None:
    answer = api.put(path)
    refused(answer, 405)
    assert answer.headers["allow"] == allowed


def test_pages_go_on_where_the_last_one_ended(api: httpx.Client) -> None:
    ids = [created(api, document(pal_name=f"Ada {number}"))["pal_id"] for number in range(5)]
    seen: list[str] = []
    path = "/v2/pals?limit=2"
    for _ in range(3):
        answer = api.get(path).json()
        assert answer["total_count"] == 5 - (1 if len(seen) == 4 else 0)
        seen += [one["pal_id"] for one in answer["data"]]
        path = f"/v2/pals?limit=2&cursor={answer['next_cursor']}"
        if len(seen) == 4:  # a row of a page that was read is gone: nothing is left out
            api.delete(f"/v2/pals/{ids[4]}")
    assert answer["next_cursor"] is None
    assert seen == ids[::-1]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=x", "cursor=", "cursor=x", "cursor=%00", "cursor=MDAwMS0wMS0wMSAx", "cursor=ä"],
)
@pytest.mark.parametrize("path", ["/v2/pals", "/v2/joins", "/v2/invites"])
def test_pages_that_cannot_be(api: httpx.Client, path: str, query: str) -> None:
    assert set(refused(api.get(f"{path}?{query}"))) == {query.partition("=")[0]}


def invite(served: Running, username: str, sender: str = "alex@acme.example") -> None:
    """Invite a PAL to a meeting in some days, by SMTP."""
    address = f"{username}@invite.example.com"
    _, raw = invitation(address, utc_now() + timedelta(days=3))
    raw = raw.replace(b"alex@acme.example", sender.encode())
    with smtplib.SMTP("127.0.0.1", served.gateway.smtp_port) as client:
        client.sendmail(sender, [address], raw)


def test_joins_and_invites_of_an_account(api: httpx.Client, other: httpx.Client, name: str, served: Running) -> None:
    layers = {"conferencing": {"username": name, "allowlist": [r".*@acme\.example"]}}
    pal_id = created(api, document(layers=layers))["pal_id"]
    second = created(api, document(f"{name}-2"))["pal_id"]
    for sender in ("alex@acme.example", "eve@evil.example", "bea@acme.example"):
        invite(served, name, sender)
    invite(served, f"{name}-2")

    joins = api.get("/v2/joins").json()
    assert (joins["total_count"], len(joins["data"])) == (3, 3)
    assert {one["state"] for one in joins["data"]} == {"planned"}
    assert [one["starts"] for one in joins["data"]] == sorted(one["starts"] for one in joins["data"])
    assert api.get(f"/v2/joins?pal_id={second}").json()["total_count"] == 1
    assert api.get("/v2/joins?state=cancelled&state=ended").json()["total_count"] == 0
    assert api.get("/v2/joins?state=planned&limit=2").json()["next_cursor"]
    refused(api.get("/v2/joins?state=lost"))

    invites = api.get(f"/v2/invites?pal_id={pal_id}").json()
    assert [(one["sender"], one["verdict"], one["reason"], one["allowed_by"]) for one in invites["data"]] == [
        ("bea@acme.example", "accepted", None, r".*@acme\.example"),
        ("eve@evil.example", "declined", "not-on-allowlist", None),
        ("alex@acme.example", "accepted", None, r".*@acme\.example"),
    ]
    assert {"invite_id", "pal_id", "uid", "platform", "detail", "decided_at"} < set(invites["data"][0])
    (link,) = invites["data"][0]["link_candidates"]
    assert link.pop("url").startswith("https://meet.google.com/")
    assert link == {"field": "X-GOOGLE-CONFERENCE", "platform": "google_meet", "joinable": True, "chosen": True}
    for one, partstat in zip(invites["data"], ("ACCEPTED", "DECLINED", "ACCEPTED"), strict=True):
        (reply,) = one["replies"]
        assert (reply["partstat"], reply["recipient"], reply["recurrence_id"]) == (partstat, one["sender"], None)
        assert reply["state"] in ("queued", "sent")
        assert (reply["error"], reply["note"]) == (None, None)
    # Of a stranger's mail nothing is looked into.
    assert invites["data"][1]["link_candidates"] == []
    assert api.get("/v2/invites?verdict=declined").json()["total_count"] == 1
    refused(api.get("/v2/invites?verdict=perhaps"))
    for path in ("/v2/joins", "/v2/invites", f"/v2/joins?pal_id={pal_id}", f"/v2/invites?pal_id={pal_id}"):
        assert other.get(path).json()["total_count"] == 0


def joins_of(served: Running, pal_id: str) -> list[tuple[str, str | None]]:
    with served.gateway.engine.connect() as connection:
        return [(one.state, one.reason) for one in scheduler.store.find_joins(connection, pal_id=pal_id)]


def test_joins_stay_when_a_pal_is_renamed(api: httpx.Client, name: str, served: Running) -> None:
    pal_id = created(api, document(name))["pal_id"]
    invite(served, name)
    operation = {"op": "replace", "path": "/layers/conferencing/username", "value": f"{name}-new"}
    assert api.patch(f"/v2/pals/{pal_id}", json=[operation]).status_code == 200
    assert joins_of(served, pal_id) == [(JoinState.PLANNED, None)]


def test_removing_conferencing_cancels_what_is_planned(api: httpx.Client, name: str, served: Running) -> None:
    pal_id = created(api, document(name))["pal_id"]
    invite(served, name)
    answer = api.patch(f"/v2/pals/{pal_id}", json=[{"op": "remove", "path": "/layers/conferencing"}])
    assert answer.status_code == 200
    assert not {"layers", "conferencing_email"} & set(answer.json())
    assert joins_of(served, pal_id) == [(JoinState.CANCELLED, "pal-removed")]
    assert at_rcpt(served, name) == 550
    assert api.get(f"/v2/pals/check-username?username={name}").json() == {"available": True}


def test_deleting_a_pal_cancels_what_is_planned(api: httpx.Client, name: str, served: Running) -> None:
    pal_id = created(api, document(name))["pal_id"]
    invite(served, name)
    answer = api.delete(f"/v2/pals/{pal_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert joins_of(served, pal_id) == [(JoinState.CANCELLED, "pal-removed")]
    assert at_rcpt(served, name) == 550
    for again in (api.get(f"/v2/pals/{pal_id}"), api.delete(f"/v2/pals/{pal_id}")):
        refused(again, 404)


def test_of_many_who_want_a_username_one_gets_it(served: Running, account: str, name: str) -> None:
    clients = [served.client(served.key(f"{account}-{number}")) for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda client: client.post("/v2/pals", json=document(name)), clients))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 7


def test_openapi_tells_of_every_route(served: Running) -> None:
    told = served.client(None).get("/openapi.json").json()
    assert told["openapi"].startswith("3.1")
    for method, path in ROUTES:
        path = path.partition("?")[0].replace("/p1", "/{pal_id}")
        operation = told["paths"][path][method.lower()]
        assert {"401", "403"} <= set(operation["responses"])
        assert ("404" in operation["responses"]) is ("{pal_id}" in path)
        assert "422" not in operation["responses"]
        assert ("requestBody" in operation) is (method in ("POST", "PATCH") and not path.endswith("-token"))
        assert operation["security"]
    feed = told["paths"]["/v2/personas/{pal_id}/calendar.ics"]["get"]
    assert list(feed["responses"]["200"]["content"]) == ["text/calendar"]
    assert "security" not in feed
    assert told["paths"]["/v2/pals"]["post"]["requestBody"]["content"]["application/json"]["schema"]["required"]
    new = told["paths"]["/v2/personas"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"persona_name", "default_replica_id", "layers"} <= set(new["properties"])
    assert not {"pal_name", "default_face_id"} & set(new["properties"])
    assert "$defs" not in str(told)
