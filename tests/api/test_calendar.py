"""The feed of a PAL over HTTP: who may read it, what is in it, and what it costs to ask again."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import update

import scheduler.store
from gateway import store
from gateway.demo import invitation
from gateway.feed import MAX_ENTRIES
from scheduler.clock import utc_now
from scheduler.joins import Join, JoinState
from tests.api.conftest import Running
from tests.api.test_accounts import invite
from tests.api.test_specification import created, document, refused
from tests.gateway.test_feed import events

HOUR = timedelta(hours=1)


@pytest.fixture
def anyone(served: Running) -> httpx.Client:
    return served.client(None)


def url_of(api: httpx.Client, pal_id: str) -> str:
    return str(api.get(f"/v2/pals/{pal_id}").json()["calendar_url"])


def entries(answer: httpx.Response) -> list[tuple[str, str]]:
    """UID and title of what is in a feed."""
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/calendar; charset=utf-8"
    return [(str(one["UID"]), str(one["SUMMARY"])) for one in events(answer.content)]


def plan(served: Running, pal_id: str, join_id: str, state: JoinState, days: float) -> None:
    """Write a join of an hour that began some days ago; nothing is to be done for it."""
    starts = utc_now() - timedelta(days=days)
    join = Join(
        join_id, pal_id, "r1", f"u-{join_id}", starts, starts, starts + HOUR, starts, starts + HOUR,
        "https://meet.google.com/abc-defg-hij", state.value, state,
    )  # fmt: skip
    with served.gateway.engine.begin() as connection:
        scheduler.store.save_joins(connection, [join], (), now=utc_now())


def test_what_a_pal_will_attend(api: httpx.Client, anyone: httpx.Client, name: str, served: Running) -> None:
    pal_id = created(api, document(name))["pal_id"]
    url = url_of(api, pal_id)
    assert url.startswith(f"http://127.0.0.1:{served.gateway.http_port}/v2/pals/{pal_id}/calendar.ics?token=")
    empty = anyone.get(url)
    assert entries(empty) == []
    invite(served, name)
    with served.gateway.engine.connect() as connection:
        (join,) = scheduler.store.find_joins(connection, pal_id=pal_id)
    answer = anyone.get(url)
    assert entries(answer) == [(f"{join.id}@invite.example.com", "Stand-up")]
    (event,) = events(answer.content)
    assert (event["DTSTART"].dt, event["DTEND"].dt, event["URL"]) == (join.starts, join.ends, join.url)
    assert utc_now() - event["LAST-MODIFIED"].dt < HOUR
    older = anyone.get(url.replace("/v2/pals/", "/v2/personas/"))
    assert older.content == answer.content
    assert api.get(f"/v2/personas/{pal_id}").json()["calendar_url"] == url


def test_which_joins_are_in_it(api: httpx.Client, anyone: httpx.Client, name: str, served: Running) -> None:
    pal_id = created(api, document(name))["pal_id"]
    other = created(api, document(f"{name}-2"))["pal_id"]
    for state in JoinState:
        plan(served, pal_id, f"{name}-{state}", state, 0.01)
    plan(served, pal_id, f"{name}-week", JoinState.ENDED, 7)
    plan(served, pal_id, f"{name}-before", JoinState.ENDED, 7.1)
    plan(served, pal_id, f"{name}-lost", JoinState.STARTED, 30)
    plan(served, other, f"{name}-other", JoinState.ENDED, 1)
    found = [uid.partition("@")[0].removeprefix(f"{name}-") for uid, _ in entries(anyone.get(url_of(api, pal_id)))]
    assert found == ["week", "planned", "claimed", "started", "joined", "ended"]


def test_it_is_bounded(api: httpx.Client, anyone: httpx.Client, name: str, served: Running) -> None:
    pal_id = created(api, document(name))["pal_id"]
    starts = utc_now() + timedelta(days=9)
    one = Join(
        "", pal_id, "r1", "u", starts, starts, starts + HOUR, starts, starts + HOUR, "https://meet.google.com/a", "x"
    )
    later = [starts + timedelta(hours=number) for number in range(MAX_ENTRIES + 1)]
    rows = [
        replace(one, id=f"{name}-{number}", recurrence_id=at, starts=at, ends=at + HOUR, until=at + HOUR)
        for number, at in enumerate(later)
    ]
    with served.gateway.engine.begin() as connection:
        scheduler.store.save_joins(connection, rows, (), now=utc_now())
    found = entries(anyone.get(url_of(api, pal_id)))
    assert len(found) == MAX_ENTRIES
    assert found[0][0].startswith(f"{name}-0@")


def test_only_the_right_token_opens_it(api: httpx.Client, anyone: httpx.Client, name: str) -> None:
    pal_id = created(api, document(name))["pal_id"]
    second = created(api, document(f"{name}-2"))["pal_id"]
    url, path = url_of(api, pal_id), f"/v2/pals/{pal_id}/calendar.ics"
    unknown = anyone.get("/v2/pals/p-nobody/calendar.ics?token=x")
    refused(unknown, 404)
    wrong = [
        path,
        f"{path}?token=",
        url[:-1] + ("0" if url[-1] != "0" else "1"),
        url.upper().replace("/V2/PALS/", "/v2/pals/").replace("CALENDAR.ICS?TOKEN", "calendar.ics?token"),
        url_of(api, second).replace(second, pal_id),
        url.replace(pal_id, "%00"),
        url.replace(pal_id, "%ff"),
        f"{path}?token=%00",
        f"{path}?token=%ff%C3%A4",
        f"{path}?token={'x' * 5000}",
    ]
    for one in wrong:
        for client in (anyone, api):  # a key is no token
            answer = client.get(one)
            assert (answer.status_code, answer.content) == (404, unknown.content), one


def test_a_token_can_be_changed(api: httpx.Client, other: httpx.Client, anyone: httpx.Client, name: str) -> None:
    pal_id = created(api, document(name))["pal_id"]
    before, path = url_of(api, pal_id), f"/v2/pals/{pal_id}/calendar-token"
    refused(other.post(path), 404)
    refused(anyone.post(path), 401)
    assert anyone.get(before).status_code == 200
    after = api.post(path).json()
    assert set(after) == {"calendar_url"}
    assert url_of(api, pal_id) == after["calendar_url"] != before
    assert (anyone.get(before).status_code, anyone.get(after["calendar_url"]).status_code) == (404, 200)
    again = api.post(path.replace("/pals/", "/personas/")).json()["calendar_url"]
    assert len({before, after["calendar_url"], again}) == 3
    edit = [{"op": "replace", "path": "/pal_name", "value": "Bea"}]
    assert api.patch(f"/v2/pals/{pal_id}", json=edit).json()["calendar_url"] == again
    assert b"NAME:Bea\r\n" in anyone.get(again).content


def test_without_conferencing_there_is_no_calendar(api: httpx.Client, anyone: httpx.Client, name: str) -> None:
    plain = created(api, document())["pal_id"]
    assert "calendar_url" not in api.get(f"/v2/pals/{plain}").json()
    assert set(refused(api.post(f"/v2/pals/{plain}/calendar-token"))) == {"layers.conferencing"}
    pal_id = created(api, document(name))["pal_id"]
    url = url_of(api, pal_id)
    api.patch(f"/v2/pals/{pal_id}", json=[{"op": "remove", "path": "/layers/conferencing"}])
    assert anyone.get(url).status_code == 404
    back = {"op": "add", "path": "/layers/conferencing/username", "value": name}
    assert api.patch(f"/v2/pals/{pal_id}", json=[back]).json()["calendar_url"] == url
    api.delete(f"/v2/pals/{pal_id}")
    assert anyone.get(url).status_code == 404


def test_what_has_not_changed_is_not_sent_again(
    api: httpx.Client, anyone: httpx.Client, name: str, served: Running
) -> None:
    pal_id = created(api, document(name))["pal_id"]
    invite(served, name)
    url = url_of(api, pal_id)
    tag = anyone.get(url).headers["etag"]
    for held in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        answer = anyone.get(url, headers={"if-none-match": held})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    for held in ("", '"x"', tag.strip('"')):
        assert anyone.get(url, headers={"if-none-match": held}).status_code == 200
    assert anyone.get(url.rpartition("=")[0], headers={"if-none-match": "*"}).status_code == 404
    table = scheduler.store.joins
    with served.gateway.engine.begin() as connection:
        connection.execute(update(table).where(table.c.pal_id == pal_id).values(name="Retrospective"))
    answer = anyone.get(url, headers={"if-none-match": tag})
    assert answer.status_code == 200
    assert answer.headers["etag"] != tag
    assert [title for _, title in entries(answer)] == ["Retrospective"]


def send(served: Running, name: str, change: Callable[[bytes], bytes], sequence: int = 0) -> None:
    """Invite a PAL to a meeting in three days at a fixed hour, changed."""
    address = f"{name}@invite.example.com"
    starts = (utc_now() + timedelta(days=3)).replace(hour=12, minute=0, second=0, microsecond=0)
    raw = invitation(address, starts)[1]
    raw = re.sub(rb"UID:[^\r\n]+", b"UID:" + name.encode(), raw).replace(b"SEQUENCE:0", b"SEQUENCE:%d" % sequence)
    with smtplib.SMTP("127.0.0.1", served.gateway.smtp_port) as client:
        client.sendmail("alex@acme.example", [address], change(raw))


def without_link(raw: bytes) -> bytes:
    assert b"https://meet.google.com/" in raw
    return raw.replace(b"https://meet.google.com/", b"https://elsewhere.example/")


def test_what_it_declined_is_in_it_until_it_is_accepted(
    api: httpx.Client, anyone: httpx.Client, name: str, served: Running
) -> None:
    pal_id = created(api, document(name))["pal_id"]
    url = url_of(api, pal_id)
    send(served, name, without_link)
    answer = anyone.get(url)
    ((uid, title),) = entries(answer)
    assert title == "Declined: Stand-up"
    assert uid.endswith("@invite.example.com")
    (one,) = events(answer.content)
    assert one["DESCRIPTION"].startswith("There is no Google Meet link in this event.")
    again = anyone.get(url)
    assert (again.content, again.headers["etag"]) == (answer.content, answer.headers["etag"])
    assert anyone.get(url, headers={"if-none-match": answer.headers["etag"]}).status_code == 304
    send(served, name, lambda raw: raw, sequence=1)
    accepted = anyone.get(url)
    assert [title for _, title in entries(accepted)] == ["Stand-up"]
    assert accepted.headers["etag"] != answer.headers["etag"]


def test_who_may_not_invite_writes_nothing_into_it(
    api: httpx.Client, anyone: httpx.Client, name: str, served: Running
) -> None:
    layers = {"conferencing": {"username": name, "allowlist": ["boss@acme.example"]}}
    pal_id = created(api, document(layers=layers))["pal_id"]
    send(served, name, lambda raw: raw)
    found = api.get(f"/v2/invites?pal_id={pal_id}").json()["data"]
    assert [one["reason"] for one in found] == ["not-on-allowlist"]
    assert entries(anyone.get(url_of(api, pal_id))) == []


def test_another_pals_invitations_are_not_in_it(
    api: httpx.Client, anyone: httpx.Client, name: str, served: Running
) -> None:
    first = created(api, document(name))["pal_id"]
    second = created(api, document(f"{name}-2"))["pal_id"]
    send(served, name, without_link)
    assert len(entries(anyone.get(url_of(api, first)))) == 1
    assert entries(anyone.get(url_of(api, second))) == []


def test_what_is_forgotten_is_not_in_it(api: httpx.Client, anyone: httpx.Client, name: str, served: Running) -> None:
    pal_id = created(api, document(name))["pal_id"]
    send(served, name, without_link)
    url = url_of(api, pal_id)
    assert len(entries(anyone.get(url))) == 1
    with served.gateway.engine.begin() as connection:
        connection.execute(update(store.invites).where(store.invites.c.pal_id == pal_id).values(forgotten_at=utc_now()))
    assert entries(anyone.get(url)) == []
