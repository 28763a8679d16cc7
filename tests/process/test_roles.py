"""One gateway in several processes: each does its role, opens only its own ports, and the store is what they share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

import scheduler.store
from gateway import store
from gateway.demo import invitation
from gateway.keys import Key, digest
from scheduler.clock import utc_now
from scheduler.database import connect
from scheduler.joins import Join, JoinState
from tests.process.processes import ANNA, add_anna, free_port, send, serving, until

pytestmark = pytest.mark.timeout(150)  # processes start slowly on a busy machine


def joins(engine: Engine) -> list[Join]:
    with engine.connect() as connection:
        return scheduler.store.find_joins(connection)


def in_state(engine: Engine, state: JoinState) -> list[Join]:
    return [join for join in joins(engine) if join.state is state]


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    add_anna(store_url)
    engine = connect(store_url)
    yield engine
    engine.dispose()


def test_three_processes_are_one_gateway(tmp_path: Path, store_url: str, engine: Engine) -> None:
    """All of them are told the same ports: only the one whose role it is may open it."""
    ports = {"SMTP__PORT": free_port(), "HTTP__PORT": free_port()}
    with ExitStack() as stack:
        taking, answering, working = (
            stack.enter_context(serving(store_url, tmp_path, role, **ports)) for role in ("smtp", "http", "scheduler")
        )
        assert taking.ready()["smtp"] == ports["SMTP__PORT"]
        assert answering.ready()["http"] == ports["HTTP__PORT"]
        assert working.ready().keys().isdisjoint({"smtp", "http"})
        _, raw = invitation(ANNA, utc_now())
        send(ports["SMTP__PORT"], raw)
        (join,) = until(lambda: in_state(engine, JoinState.JOINED))
        assert join.conversation_id is not None
        until(lambda: list((tmp_path / "replies").glob("*.eml")))
        until(lambda: answering.said("join joined"))  # a line is written after what it tells is committed
        assert (len(taking.said("mail accepted")), len(working.said("join started"))) == (1, 1)
        assert len(answering.said("join joined")) == 1
        assert [one.stop() for one in (working, taking, answering)] == [0, 0, 0]
        assert [one.other for one in (working, taking, answering)] == [[], [], []]


def test_what_a_process_without_the_scheduler_queues_waits_for_one(
    tmp_path: Path, store_url: str, engine: Engine
) -> None:
    with ExitStack() as stack:
        taking = stack.enter_context(serving(store_url, tmp_path, "smtp,http"))
        ready = taking.ready()
        _, raw = invitation(ANNA, utc_now())
        send(ready["smtp"], raw)
        # Nothing to be seen can prove that nothing happens; what it would write stands in the store.
        (join,) = joins(engine)
        assert (join.state, join.attempt) == (JoinState.PLANNED, 0)
        working = stack.enter_context(serving(store_url, tmp_path, "scheduler", HTTP__PORT=ready["http"]))
        until(lambda: in_state(engine, JoinState.JOINED))
        until(lambda: working.said("reply sent"))
        assert not taking.said("join started")


def test_a_process_without_the_scheduler_carries_out_orders_itself(
    tmp_path: Path, store_url: str, engine: Engine
) -> None:
    with engine.begin() as connection:
        store.add_key(connection, Key("k1", "default", digest("pg_secret"), "", (), utc_now(), None, None))
    engine.dispose()
    with serving(store_url, tmp_path, "http") as answering:
        body = {"pal_id": "p1", "meeting_url": "https://meet.google.com/abc-defg-hij"}
        url = f"http://127.0.0.1:{answering.ready()['http']}/v2/conversations"
        answer = httpx.post(url, json=body, headers={"x-api-key": "pg_secret"}, timeout=20, trust_env=False)
        assert answer.status_code == 200, answer.text
        assert answer.json()["meeting_url"] == body["meeting_url"]
        (join,) = until(lambda: in_state(engine, JoinState.JOINED))
        assert join.conversation_id == answer.json()["conversation_id"]
        # uvicorn waits for the sandbox's own word to us, which is a request to this process.
        assert answering.stop() == 0


def test_a_scheduler_that_cannot_know_where_callbacks_arrive_does_not_start(tmp_path: Path) -> None:
    with serving(f"sqlite:///{tmp_path}/g.db", tmp_path, "scheduler") as process:
        assert process.popen.wait(30) == 2
    (sentence,) = process.other
    assert "needs the http.port" in sentence
