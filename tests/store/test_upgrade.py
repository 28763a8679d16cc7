"""From one release to the next: rows of before keep working, and processes of before go on writing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, select, text

import scheduler.store
from gateway import store, store_calls
from gateway.decide import Desk
from gateway.forwarding import Forwarding
from gateway.intake import Incoming, Intake
from gateway.outbox import Outbox, Via
from gateway.senders import Sender
from gateway.sink import Sink
from scheduler.database import metadata
from scheduler.dispatch import Dispatcher
from scheduler.joins import JoinState, Policy
from scheduler.platform import Platform
from tests.process.platform import platform
from tests.store import frozen
from tests.store.conftest import Connect

ANNA = "anna@invite.example.com"
ALEX = "alex@acme.example"
SAMPLES = Path(__file__).parent.parent.parent / "samples/google"
EARLY = datetime(2026, 3, 1, 9, tzinfo=UTC)  # an hour after the rows were written
LATER = datetime(2026, 3, 9, 12, tzinfo=UTC)


@pytest.fixture(params=["rows of before", "rows that a process of before writes afterwards"])
def engine(request: pytest.FixtureRequest, process: Connect) -> Engine:
    """A migrated store with rows of the release before."""
    engine = process()
    tables = frozen.make(engine)
    if request.param == "rows of before":
        frozen.fill(engine, tables)
        store.migrate(engine)
    else:
        store.migrate(engine)
        with engine.begin() as connection:  # which have no name there
            connection.execute(text("DELETE FROM secrets"))
        frozen.fill(engine, tables)
    return engine


def test_its_schema_is_todays(engine: Engine) -> None:
    with engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_what_was_kept_is_read(engine: Engine) -> None:
    with engine.begin() as connection:
        pal = store.find_pal(connection, ANNA)
        assert pal is not None
        assert pal.allowlist == (".*@acme\\.example",)
        assert [key.networks for key in store.all_keys(connection)] == [("10.0.0.0/8",)]
        assert store.secret(connection, "callbacks", b"fresh") == b"0123456789abcdef0123456789abcdef"
        assert {mail.id for mail in store.find_mails(connection, None, 10)} == {"m0", "m1"}
        found = store.find_invites(connection, pal_id=pal.id, verdict=None, confirmations=False, limit=10)
        assert [(invite.verdict, invite.inviter) for invite in found] == [("accepted", ALEX)] * 2
        begun = store_calls.begun_with(connection, "default", "key-1", EARLY)
        assert begun is not None
        assert begun.answer == {"conversation_id": "c0"}
        (heard,) = store_calls.heard_of(connection, ["jorder"])["jorder"]
        assert heard[0] == "system.replica_joined"


def test_joins_are_dispatched_and_planned_further(engine: Engine) -> None:
    async def dispatch(url: str, at: datetime) -> None:
        client = Platform(url, "key")
        dispatcher = Dispatcher(engine, {"conversation": client}, "http://here/{}".format, lambda: at, "us", Policy())
        await dispatcher.work()
        await client.close()

    with platform() as there:
        asyncio.run(dispatch(there.url, datetime(2026, 3, 2, 12, 59, 30, tzinfo=UTC)))
        assert there.names() == ["Weekly sync"]
        asyncio.run(dispatch(there.url, LATER))
    with engine.connect() as connection:
        joins = scheduler.store.find_joins(connection)
    states = {join.name: join.state for join in joins if join.starts < LATER}
    assert states == {"Order": "started", "Weekly sync": "started", "Roadmap review": "missed"}
    with engine.connect() as connection:
        refills = connection.execute(select(scheduler.store.events.c.refill_at)).scalars().all()
    assert all(one is None or one > LATER for one in refills)


def test_replies_are_sent(engine: Engine, tmp_path: Path) -> None:
    async def send() -> int:
        sink = Sink(tmp_path)
        try:
            return await Outbox(engine, Via("127.0.0.1", await sink.open()), lambda: EARLY, "us").work()
        finally:
            await sink.close()

    assert asyncio.run(send()) == 2
    assert len(list(tmp_path.glob("r*.eml"))) == 2
    with engine.connect() as connection:
        assert set(connection.execute(select(store.outbox.c.state)).scalars()) == {"sent"}


def test_callbacks_are_passed_on(engine: Engine) -> None:
    """Their address is nobody's, so that they are tried again."""
    assert asyncio.run(Forwarding(engine, (), lambda: EARLY, "us").work()) == 1
    with engine.connect() as connection:
        (row,) = connection.execute(select(store_calls.callbacks)).all()
    assert (row.attempt, row.owner) == (1, "us")


def test_an_update_is_applied(engine: Engine) -> None:
    who = Sender(ALEX, verified=True, checked=True, claimed=ALEX)
    mail = Incoming("m9", (SAMPLES / "03-rescheduled.eml").read_bytes(), ALEX, (ANNA,), sender=who)
    (played,) = Intake(engine, Desk()).take(mail, EARLY)
    assert (played.decision.verdict, len(played.decision.replies)) == ("accepted", 1)
    with engine.connect() as connection:
        (join,) = scheduler.store.load_joins(connection, played.pal.id, played.uid or "")
    assert (join.state, join.starts) == (JoinState.PLANNED, datetime(2026, 3, 4, 15, tzinfo=UTC))


def test_a_newer_schema_is_left_alone_where_its_release_says_that_we_may_go_on(process: Connect) -> None:
    engine = process()
    store.migrate(engine)
    _pretend(engine, "9999", oldest=store.HEAD)
    assert store.migrate(engine) == "9999"
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"


@pytest.mark.parametrize("oldest", ["9998", None])
def test_a_newer_schema_that_we_cannot_use_is_one_sentence(process: Connect, oldest: str | None) -> None:
    engine = process()
    store.migrate(engine)
    _pretend(engine, "9999", oldest=oldest)
    with pytest.raises(store.NewerSchema, match=r"^The store has the schema 9999 .* cannot use\.$"):
        store.migrate(engine)


def test_what_this_release_says_of_older_ones_is_kept(process: Connect) -> None:
    engine = process()
    store.migrate(engine)
    with engine.begin() as connection:
        assert store.remember(connection, store.OLDEST_NAME, b"") == store.OLDEST.encode()


def _pretend(engine: Engine, revision: str, *, oldest: str | None) -> None:
    """What a newer release leaves behind."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": revision})
        if oldest is None:
            connection.execute(text("DELETE FROM secrets"))
        else:
            store.remember(connection, store.OLDEST_NAME, oldest.encode())
