"""What is asked again and again is answered from an index, on both stores: it costs the same however much is kept.

The statements are those that the functions run, explained by the store. A whole table, or a whole index, is read by
none of them; a partial index may be, for it holds only what waits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, func, select, text

import scheduler.store
from gateway import store, store_calls, store_figures, store_outbox, store_page, store_retention, store_webhooks
from gateway.pals import Pal
from gateway.quotas import Inviter, Quotas
from gateway.store_quotas import load_of
from scheduler import journal
from scheduler.database import metadata
from scheduler.happening import Happening
from scheduler.joins import Join, JoinState
from scheduler.lanes import Lanes

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
BEFORE = NOW - timedelta(days=30)
LEASE = timedelta(minutes=1)
KEPT = metadata.tables.keys() - {"secrets", "keys", "webhooks"}
PARTIAL = {
    index.name
    for table in metadata.tables.values()
    for index in table.indexes
    if index.dialect_kwargs["sqlite_where"] is not None
}
JOIN = Join(
    "j1",
    "p1",
    "face",
    "uid",
    NOW,
    NOW,
    NOW,
    NOW,
    NOW + LEASE,
    "https://x.example",
    "x",
    conversation_id="c1",
    owner="o",
)
BUSY = Lanes(busy=frozenset({"p1"}), open=frozenset({"conversation"}))
PROBING = Lanes(open=frozenset({"x"}), probes=frozenset({"x"}), pauses=(("x", 1.0),))
QUESTIONS: dict[str, Callable[[Connection], object]] = {
    "the next instant": lambda it: scheduler.store.next_wake(it, NOW, Lanes()),
    "the next instant beside a busy PAL": lambda it: scheduler.store.next_wake(it, NOW, BUSY),
    "the next instant beside an open circuit": lambda it: scheduler.store.next_wake(it, NOW, PROBING),
    "joins that are due": lambda it: scheduler.store.claim(it, NOW, "o", LEASE, 50, Lanes()),
    "joins that are due beside a busy PAL": lambda it: scheduler.store.claim(it, NOW, "o", LEASE, 50, BUSY),
    "a join for a probe": lambda it: scheduler.store.claim(it, NOW, "o", LEASE, 50, PROBING),
    "events to plan further": lambda it: scheduler.store.events_to_refill(it, NOW, 100),
    "who is in a room": lambda it: scheduler.store.in_rooms(it, [JOIN], NOW),
    "who shares a call": lambda it: scheduler.store.is_shared(it, JOIN),
    "the outcome of a join": lambda it: scheduler.store.settle(it, JOIN, now=NOW, state=JoinState.STARTED),
    "a callback": lambda it: scheduler.store.observe(it, "j1", JoinState.ENDED, now=NOW, conversation_id="c1"),
    "a callback kept": lambda it: store_calls.note(it, "j1", "x", b"x", NOW),
    "a call that was ended": lambda it: scheduler.store.call_is_over(it, "c1", "x", NOW),
    "one conversation": lambda it: store_calls.owned(it, "account", "c1"),
    "broken joins": lambda it: scheduler.store.broken_events(it, NOW, 20),
    "an event": lambda it: scheduler.store.load_event(it, "p1", "uid"),
    "the joins of an event": lambda it: scheduler.store.load_joins(it, "p1", "uid"),
    "what a feed says was declined": lambda it: store.declined_of(it, "p1", 50),
    "the events that were declined": lambda it: scheduler.store.look_at_events(it, "p1", ["uid"]),
    "a feed": lambda it: scheduler.store.attended(it, "p1", NOW, 500),
    "quotas": lambda it: load_of(it, "p1", Inviter("a@b.example", "b.example"), Quotas(), NOW, is_new=True),
    "answers that were not heard": lambda it: store_outbox.unheard(it, "p1", "uid"),
    "answers within an hour": lambda it: store.replies_to(it, "a@b.example", NOW),
    "letters that are due": lambda it: store.claim_letters(it, NOW, "o", LEASE, 50),
    "the next letter": lambda it: store.next_letter(it),
    "callbacks that are due": lambda it: store_calls.claim_callbacks(it, NOW, "o", LEASE, 50),
    "the next callback": lambda it: store_calls.next_callback(it),
    "a PAL": lambda it: store.find_pal(it, "a@b.example"),
    "a removed PAL": lambda it: scheduler.store.forget_pal(it, "p1", NOW),
    "events to forget": lambda it: store_retention.events_to_look_at(it, BEFORE),
    "mails to forget": lambda it: store_retention.mails_to_look_at(it, BEFORE),
    "what happened and was not told": lambda it: store_webhooks.tell(it, NOW, 100),
    "what happened to a PAL that is removed": lambda it: store_webhooks.tell(it, NOW, 100, "p1"),
    "messages that are due": lambda it: store_webhooks.claim(it, NOW, "o", LEASE, 5, {"w2"}),
    "the next message": lambda it: store_webhooks.next_delivery(it, {"w2"}),
    "an endpoint that is gone": lambda it: store_webhooks.disable(it, "w1", "gone", NOW),
    "what an endpoint was told": lambda it: store_webhooks.log_of(it, "w1", None, 50),
    "the history of joins": lambda it: journal.history_of(it, ["j1", "j2"]),
    "how late joins were": lambda it: journal.lateness(it, BEFORE),
    "the journal to forget": lambda it: store_retention.forget_history(it, BEFORE),
    "joins around now": lambda it: store_page.around(it, "account", None, NOW, 50),
    "joins of a PAL around now": lambda it: store_page.around(it, "account", "p1", NOW, 50),
    "a week": lambda it: store_page.between(it, "account", "p1", NOW, NOW + timedelta(days=7), 500),
    "the newest invitations": lambda it: store_page.recent_invites(it, store_page.Wanted("account"), None, 50),
    "older invitations": lambda it: store_page.recent_invites(it, store_page.Wanted("account"), (NOW, "m1"), 50),
    "invitations of a PAL": lambda it: store_page.recent_invites(it, store_page.Wanted("account", "p1"), None, 50),
    "invitations with a verdict and words": lambda it: store_page.recent_invites(
        it, store_page.Wanted("account", None, "declined", "alex board"), None, 50
    ),
    "titles": lambda it: store_page.titles(it, {("p1", "uid"), ("p2", "uid")}),
    "one invitation": lambda it: store_page.one_invite(it, "account", "m1-0"),
    "the joins of a story": lambda it: store_page.joins_of_event(it, "p1", "uid", NOW, 20),
    "the mails of a story": lambda it: store_page.other_invites(it, "p1", "uid", 20),
    "the answers of a story": lambda it: store_outbox.answers_to(it, ["m1-0"]),
    "answers as they were sent": lambda it: store_page.letters_raw(it, ["r1", "r2"]),
    "what was called back about joins": lambda it: store_calls.heard_of(it, ["j1", "j2"]),
    "whether a join is an account's": lambda it: store.owns_join(it, "account", "j1"),
    "the PALs that can be chosen from": lambda it: store_page.newest_pals(it, "account", 200),
    "what PALs are called": lambda it: store_page.called(it, ["p1", "p2"]),
    "the PALs of an account": lambda it: store.account_pals(it, "account", None, 50),
    "what waits": lambda it: store_page.queues(it, NOW),
    "what is planned for the hour": lambda it: store_page.planned_until(it, NOW, NOW + timedelta(hours=1)),
    "what became of answers": lambda it: store_page.letters_lately(it, NOW),
    "what became of joins": lambda it: store_page.joins_lately(it, NOW),
    "the last refusal": lambda it: store_page.last_refusal(it, NOW),
    "what is kept aside": lambda it: store_page.newest_aside(it, 20),
    "time-zone data that is the same": lambda it: store.follow_zone_data(it, "2026a", NOW),
    "figures of what waits": lambda it: store_figures.waiting(it, NOW),
    "figures of quarantine": lambda it: store_figures.quarantined(it),
    "whether it can be written to": lambda it: store_figures.prove_writable(it, NOW),
    "leases that ended": lambda it: scheduler.store.ended_leases(it, NOW, 50),
    **{
        f"{table.name} to forget": partial(store_retention.forget_by_date, table=table, before=BEFORE, now=NOW)
        for table in store_retention.BY_DATE
    },
}


def statements(connection: Connection, ask: Callable[[Connection], object]) -> list[tuple[str, Any]]:
    """What a question says to the store, with its values."""
    said: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, values: Any, ___: Any, ____: Any) -> None:
        said.append((statement, values))

    event.listen(connection, "before_cursor_execute", note)
    ask(connection)
    event.remove(connection, "before_cursor_execute", note)
    return said


def plan_of(connection: Connection, statement: str, values: Any, without: tuple[str, ...] = ()) -> list[Any]:
    """The steps of a plan: SQLite's lines, PostgreSQL's nodes, `without` some of its ways if there are others."""
    if connection.dialect.name == "sqlite":
        return [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    for way in ("seqscan", *without):  # or what is small would be read whole
        connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
    plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values).scalar_one()
    return list(nodes(plan[0]["Plan"]))


def read_whole(connection: Connection, statement: str, values: Any) -> list[str]:
    """The tables and indexes that are read from one end to the other."""
    return [found for step in plan_of(connection, statement, values) if (found := whole(step))]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def whole(node: Any) -> str:
    """What a step reads from one end to the other, '' when it does not."""
    if isinstance(node, str):
        scanned = re.match(r"SCAN (\w+)(?: USING INDEX (\w+))?", node)
        return scanned[1] if scanned and scanned[1] in KEPT and scanned[2] not in PARTIAL else ""
    if node["Node Type"] == "Seq Scan":
        return str(node["Relation Name"]) if node["Relation Name"] in KEPT else ""
    name = node.get("Index Name", "")
    return "" if "Index Cond" in node or name in PARTIAL else str(name)


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_reads_a_whole_table(engine: Engine, question: str) -> None:
    with engine.connect() as connection:
        said = statements(connection, QUESTIONS[question])
        assert said
        found = {statement: read for statement, values in said if (read := read_whole(connection, statement, values))}
        assert not found, json.dumps(found, indent=1)


@pytest.mark.parametrize("question", [one for one in QUESTIONS if one.startswith(("joins that are due", "a join for"))])
def test_what_is_due_is_not_sorted(engine: Engine, question: str) -> None:
    """At the top of an hour as much is due as is asked for a hundred times."""
    with engine.connect() as connection:
        steps = [
            str(step)
            for statement, values in statements(connection, QUESTIONS[question])
            for step in plan_of(connection, statement, values, ("sort", "bitmapscan"))
        ]
        assert any("joins_wake" in step for step in steps)
        assert not [step for step in steps if re.search("ORDER BY|'Node Type': '[A-Za-z ]*Sort'", step)]


def test_beside_an_open_circuit_only_what_was_tried_is_looked_at(engine: Engine) -> None:
    with engine.connect() as connection:
        *_, last = statements(connection, QUESTIONS["the next instant beside an open circuit"])
        assert any("joins_tried" in str(step) for step in plan_of(connection, *last))


def test_a_table_without_its_index_is_found(engine: Engine) -> None:
    with engine.begin() as connection:
        for index, question in (("joins_broken", "broken joins"), ("joins_conversation", "a callback")):
            connection.execute(text(f"DROP INDEX {index}"))
            said = statements(connection, QUESTIONS[question])
            assert any(read_whole(connection, statement, values) for statement, values in said), question


def test_what_is_told_to_an_endpoint_is_found_by_indexes(engine: Engine) -> None:
    """With an endpoint the rest of the question is asked."""
    with engine.begin() as connection:
        store_webhooks.add(connection, store_webhooks.fresh_webhook("a", "https://x.example", (), NOW))
        store.add_pal(connection, Pal("p1", "Anna", "a@b.example", "face", account="a"), NOW)
        scheduler.store.save_joins(connection, [JOIN], (), now=NOW)
        scheduler.store.save_joins(connection, [replace(JOIN, starts=NOW + LEASE)], [JOIN], now=NOW)
        scheduler.store.add_order(connection, replace(JOIN, id="j2", uid="j2", pal_id="theirs"), NOW)
        row = journal.entry("p1", "uid", Happening.ACCEPTED, NOW, data={"invite": "m1-0"})
        journal.write(connection, [row])
        said = statements(connection, lambda it: store_webhooks.tell(it, NOW, 100))
        assert connection.execute(select(func.count()).select_from(store_webhooks.deliveries)).scalar() == 3
        assert len(said) > 8
        asked = [(one, values) for one, values in said if isinstance(values, tuple | dict)]
        found = {one: read for one, values in asked if (read := read_whole(connection, one, values))}
        assert not found, json.dumps(found, indent=1)
