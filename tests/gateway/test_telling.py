"""Webhooks out, on both stores: who is told what, signed how, how often, and that nobody waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

import gateway
import scheduler.store
from gateway import regrets, store, store_calls, store_webhooks
from gateway.decide import Desk
from gateway.intake import Incoming, Intake
from gateway.outward import Network
from gateway.pals import Pal
from gateway.store_webhooks import Webhook, deliveries
from gateway.telling import LEASE, Telling
from gateway.webhooks import WAITS
from scheduler.clock import Clock, utc_now
from scheduler.database import connect
from scheduler.joins import Join, JoinState, Policy
from scheduler.journal import journal
from tests.receiver import Heard, Receiver, receiving
from tests.scenario import calendar_of

ANNA = Pal("p1", "Anna", "anna@invite.example.com", "face", account="acme")
BEN = Pal("p2", "Ben", "ben@invite.example.com", "face", account="books", allowlist=("nobody@acme\\.example",))
ALEX = "alex@acme.example"
LOOPBACK = (ip_network("127.0.0.0/8"),)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


class House:
    """A store with two PALs of two accounts, endpoints, and a clock that is moved by hand."""

    def __init__(self, url: str, more: ExitStack) -> None:
        self.url = url
        self.more = more
        self.now = utc_now()
        self.engine = connect(url)
        store.migrate(self.engine)
        with self.engine.begin() as connection:
            for pal in (ANNA, BEN):
                store.add_pal(connection, pal, self.now)

    def endpoint(self, account: str = "acme", events: Sequence[str] = ()) -> tuple[Receiver, Webhook]:
        receiver = self.more.enter_context(receiving())
        webhook = store_webhooks.fresh_webhook(account, receiver.url, events, self.now)
        with self.engine.begin() as connection:
            store_webhooks.add(connection, webhook)
        return receiver, webhook

    def plan(self, pal: Pal = ANNA, number: int = 1, **values: Any) -> Join:
        """A join that is planned."""
        starts = self.now + timedelta(minutes=1)
        join = Join(
            f"j{pal.id}{number}", pal.id, "face", f"u{number}", starts, starts, starts + HOUR, self.now, starts + HOUR,
            "https://meet.google.com/abc-defg-hij", "x", wake_at=self.now,
        )  # fmt: skip
        join = replace(join, **values)
        with self.engine.begin() as connection:
            scheduler.store.save_joins(connection, [join], (), now=self.now)
        return join

    def worker(self, private: Sequence[Network] = LOOPBACK, owner: str = "us", engine: Engine | None = None) -> Telling:
        return Telling(engine or self.engine, private, lambda: self.now, owner, jitter=lambda: 0.0)

    def work(self, worker: Telling | None = None) -> None:
        asyncio.run((worker or self.worker()).work())

    def rows(self) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(select(deliveries).order_by(deliveries.c.created_at, deliveries.c.id)))

    def webhook(self, webhook: Webhook) -> Webhook:
        with self.engine.connect() as connection:
            found = store_webhooks.find(connection, webhook.id)
        assert found is not None
        return found


@pytest.fixture
def house(store_url: str) -> Iterator[House]:
    with ExitStack() as more:
        house = House(store_url, more)
        yield house
        house.engine.dispose()


def test_each_account_hears_of_its_own_pals_and_can_tell_that_it_was_us(house: House) -> None:
    (ours, acme), (theirs, books) = house.endpoint("acme"), house.endpoint("books")
    join = house.plan(ANNA)
    house.plan(BEN)
    house.work()
    (heard,), (other,) = ours.heard, theirs.heard
    assert heard.said == {
        "type": "join.planned",
        "timestamp": f"{house.now:%Y-%m-%dT%H:%M:%S}.{house.now.microsecond // 1000:03}Z",
        "data": {
            "pal_id": "p1",
            "address": ANNA.address,
            "uid": "u1",
            "joins": [
                {
                    "join_id": join.id, "start": heard.said["data"]["joins"][0]["start"],
                    "end": heard.said["data"]["joins"][0]["end"], "url": join.url, "state": "planned",
                    "conversation_id": None,
                }
            ],
        },
    }  # fmt: skip
    assert datetime.fromisoformat(heard.said["data"]["joins"][0]["start"]) - join.starts < SECOND
    assert (other.said["data"]["pal_id"], other.said["data"]["address"]) == (BEN.id, BEN.address)
    assert heard.is_signed_with(acme.secrets[0].value)
    assert not heard.is_signed_with(books.secrets[0].value)
    assert not Heard(heard.headers, heard.body.replace(b"planned", b"plannet", 1)).is_signed_with(acme.secrets[0].value)
    assert heard.headers["user-agent"] == f"pal-gateway/{gateway.__version__}"
    house.work()
    assert (len(ours.heard), len(theirs.heard)) == (1, 1)


def test_a_join_from_its_plan_to_its_end(house: House) -> None:
    receiver, _ = house.endpoint()
    join = house.plan()
    later = replace(join, starts=join.starts + HOUR, ends=join.ends + HOUR, until=join.until + HOUR)
    with house.engine.begin() as connection:
        scheduler.store.save_joins(connection, [later], [join], now=house.now)
        for state, values in (("planned", {"wake_at": house.now}), ("started", {"conversation_id": "c1"})):
            (claimed,) = scheduler.store.claim(connection, house.now, "us", HOUR, 1)
            scheduler.store.settle(connection, claimed, now=house.now, state=JoinState(state), **values)
        for state in ("joined", "ended"):
            scheduler.store.observe(connection, join.id, JoinState(state), now=house.now, reason="over")
    house.work()
    told = {one.type: one.said["data"] for one in receiver.heard}
    assert sorted(told) == ["join.ended", "join.joined", "join.moved", "join.planned", "join.started"]
    moved = told["join.moved"]
    assert datetime.fromisoformat(moved["start"]) - datetime.fromisoformat(moved["before"]["start"]) == HOUR
    assert (moved["state"], moved["has_new_link"]) == ("ended", False)
    assert (told["join.started"]["state"], told["join.started"]["attempt"]) == ("started", 2)
    assert (told["join.ended"]["reason"], told["join.ended"]["conversation_id"]) == ("over", "c1")
    with house.engine.connect() as connection:
        assert connection.execute(select(journal.c.id).where(journal.c.wake_at.is_not(None))).first() is None


def test_an_invitation(house: House) -> None:
    (ours, _), (theirs, _) = house.endpoint("acme"), house.endpoint("books")
    at = f"{house.now + 48 * HOUR:%Y%m%dT%H0000Z}"
    for pal in (ANNA, BEN):
        calendar = calendar_of("REQUEST", (f"DTSTART:{at}", "DURATION:PT1H"), pal.address, house.now)
        raw = f"From: {ALEX}\r\nContent-Type: text/calendar; charset=utf-8; method=REQUEST\r\n\r\n{calendar}"
        Intake(house.engine, Desk()).take(Incoming(f"m{pal.id}", raw.encode(), ALEX, (pal.address,)), house.now)
    house.work()
    assert ours.types == ["invite.accepted", "join.planned"]
    (accepted,) = [one.said["data"] for one in ours.heard if one.type == "invite.accepted"]
    assert accepted == {
        "invite_id": "mp1-0", "pal_id": "p1", "address": ANNA.address, "uid": accepted["uid"], "verdict": "accepted",
        "reason": None, "organizer": ALEX,
    }  # fmt: skip
    (declined,) = theirs.heard
    assert (declined.type, declined.said["data"]["reason"]) == ("invite.declined", "not-on-allowlist")
    assert declined.said["data"]["organizer"] == ALEX


def test_who_wants_only_some_events_and_what_was_before_it_came(house: House) -> None:
    house.plan(number=1)
    house.now += SECOND
    receiver, _ = house.endpoint(events=["join.cancelled"])
    other, _ = house.endpoint()
    join = house.plan(number=2)
    with house.engine.begin() as connection:
        dropped = replace(join, state=JoinState.CANCELLED, reason="cancelled", wake_at=None)
        scheduler.store.save_joins(connection, [dropped], [join], now=house.now)
    house.work()
    assert (receiver.types, other.types) == (["join.cancelled"], ["join.cancelled", "join.planned"])
    assert receiver.heard[0].said["data"]["reason"] == "cancelled"


def test_a_pal_that_is_removed_and_one_that_only_the_platform_knows(house: House) -> None:
    receiver, _ = house.endpoint()
    house.plan()
    order = replace(house.plan(number=9), id="jo", uid="jo", pal_id="theirs", state=JoinState.CLAIMED, owner="us")
    with house.engine.begin() as connection:
        store_calls.begin(connection, store_calls.Begun("jo", "acme", None, "digest", "", house.now))
        scheduler.store.add_order(connection, order, house.now)
        regrets.release(connection, ANNA, house.now, Policy())
        store.remove_pal(connection, ANNA.id)
    house.work()
    assert receiver.types == ["join.cancelled"] * 2 + ["join.planned"] * 3
    assert {one.said["data"]["reason"] for one in receiver.heard if one.type == "join.cancelled"} == {"pal-removed"}
    assert [one.said["data"]["pal_id"] for one in receiver.heard if not one.said["data"]["address"]] == ["theirs"]


def test_without_an_endpoint_nothing_waits(house: House) -> None:
    house.plan()
    house.work()
    receiver, _ = house.endpoint()
    house.work()
    assert (receiver.heard, house.rows()) == ([], [])


def test_what_is_not_taken_is_sent_again_for_days(house: House) -> None:
    receiver, webhook = house.endpoint()
    receiver.answers = [500, 302, 404, 429, 503]
    house.plan()
    worker, waits = house.worker(), list[timedelta]()
    while True:
        house.work(worker)
        (row,) = house.rows()
        if row.state != "queued":
            break
        waits.append(row.wake_at - house.now)
        house.now = row.wake_at - SECOND
        house.work(worker)
        assert len(receiver.heard) == len(waits)
        house.now += SECOND
    assert waits == list(WAITS)
    assert sum(waits, timedelta()) > timedelta(days=3)
    assert (row.state, row.status, row.error, row.attempt) == ("failed", 503, "answered 503", 10)
    assert {one.id for one in receiver.heard} == {row.id}
    assert len({one.headers["webhook-timestamp"] for one in receiver.heard}) == 10
    receiver.answers = [200]
    with house.engine.begin() as connection:
        store_webhooks.queue_again(connection, row.id, house.now)
    house.work(worker)
    (row,) = house.rows()
    assert (row.state, row.status, row.settled_at, len(receiver.heard)) == ("sent", 200, house.now, 11)
    assert house.webhook(webhook).disabled_at is None


def test_an_endpoint_that_is_gone_is_disabled(house: House) -> None:
    receiver, webhook = house.endpoint()
    other, _ = house.endpoint()
    receiver.answers = [500, 410]
    house.plan(number=1)
    worker = house.worker()
    house.work(worker)
    house.now += WAITS[0]
    house.plan(number=2)
    with house.engine.begin() as connection:  # it waits for longer than what follows
        store_webhooks.tell(connection, house.now, 100)
        mine = (deliveries.c.webhook_id == webhook.id) & (deliveries.c.attempt == 0)
        connection.execute(update(deliveries).where(mine).values(wake_at=house.now + HOUR))
    house.work(worker)
    house.now += 2 * HOUR
    house.plan(number=3)
    house.work(worker)
    assert (len(receiver.heard), len(other.heard)) == (2, 3)
    gone = house.webhook(webhook)
    assert (gone.disabled_reason, gone.disabled_at) == ("it answered 410 Gone", house.now - 2 * HOUR)
    told = [row for row in house.rows() if row.webhook_id == webhook.id]
    assert [(row.state, row.wake_at) for row in told] == [("failed", None)] * 2


def test_a_private_address_is_refused_unless_it_is_named(house: House) -> None:
    receiver, _ = house.endpoint()
    house.plan()
    house.work(house.worker(private=()))
    (row,) = house.rows()
    assert (row.state, row.status, receiver.heard) == ("failed", None, [])
    assert "callbacks.private_networks" in row.error


def test_while_a_secret_is_replaced_both_sign(house: House) -> None:
    receiver, webhook = house.endpoint()
    first = webhook.secrets[0].value
    with house.engine.begin() as connection:
        webhook = store_webhooks.with_new_secret(webhook, house.now)
        store_webhooks.save(connection, webhook)
    second = webhook.secrets[0].value
    assert first != second
    house.plan(number=1)
    house.work()
    house.now += 25 * HOUR
    house.plan(number=2)
    house.work()
    before, after = (one.headers["webhook-signature"].split(" ") for one in receiver.heard)
    assert (len(before), len(after)) == (2, 1)
    assert receiver.heard[0].is_signed_with(first)
    assert receiver.heard[0].is_signed_with(second)


def test_who_dies_after_the_claim_is_followed_by_another_with_the_same_id(house: House) -> None:
    receiver, _ = house.endpoint()
    house.plan()
    (lost,) = house.worker(owner="dead").claim(5)
    house.work()
    assert receiver.heard == []
    house.now += LEASE
    house.work()
    (heard,) = receiver.heard
    assert (heard.id, house.rows()[0].attempt) == (lost.id, 2)


def test_several_processes_tell_each_thing_once(house: House) -> None:
    receiver, _ = house.endpoint()
    house.endpoint("books")
    for number in range(40):
        house.plan(number=number)
    engines = [connect(house.url) for _ in range(4)]
    workers = [house.worker(owner=f"w{number}", engine=engine) for number, engine in enumerate(engines)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(house.work, workers))
    for engine in engines:
        engine.dispose()
    assert (len(receiver.heard), len({one.id for one in receiver.heard})) == (40, 40)


def test_an_endpoint_that_hangs_keeps_nobody_waiting(house: House) -> None:
    receiver, _ = house.endpoint("books")

    async def test() -> None:
        hanging: list[asyncio.StreamWriter] = []

        async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            hanging.append(writer)

        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        with house.engine.begin() as connection:
            store_webhooks.add(connection, store_webhooks.fresh_webhook("acme", url, (), house.now))
        for number in range(200):
            house.plan(ANNA, number)
        house.plan(BEN)
        worker, clock = Telling(house.engine, LOOPBACK, utc_now, "us"), Clock()
        clock.start()
        running = asyncio.create_task(worker.run(clock.alarm("webhooks")))
        async with asyncio.timeout(8):  # less than the time-out of those that hang
            while not receiver.heard:
                await asyncio.sleep(0.01)
        worker.stop()
        for writer in hanging:
            writer.close()
        await worker.finish(5)
        await running
        clock.stop()
        server.close()
        await server.wait_closed()

    asyncio.run(test())
