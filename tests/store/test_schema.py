"""The schema: a fresh one equals a migrated one, and starting twice changes nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Integer, MetaData, Table, insert, inspect, select
from sqlalchemy.exc import StatementError

from gateway import store
from scheduler.database import UtcDateTime, connect, metadata


def test_a_migrated_schema_is_the_one_the_code_describes(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/g.db")
    store.migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    fresh = connect("sqlite://")
    store.create_throwaway(fresh)
    with engine.connect() as one, fresh.connect() as other:
        for table in metadata.tables:
            ours = {index["name"]: index["column_names"] for index in inspect(one).get_indexes(table)}
            theirs = {index["name"]: index["column_names"] for index in inspect(other).get_indexes(table)}
            assert ours == theirs


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", "gateway:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == store.HEAD


def test_several_may_start_at_once(tmp_path: Path) -> None:
    engines = [connect(f"sqlite:///{tmp_path}/g.db") for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(store.migrate, engines))
    with engines[0].connect() as connection:
        assert inspect(connection).has_table("joins")


def test_every_update_counts_when_threads_write_at_once(tmp_path: Path) -> None:
    """The driver's own transactions lose most of them."""
    url = f"sqlite:///{tmp_path}/g.db"
    counter = Table("counter", MetaData(), Column("n", Integer))
    engines = [connect(url) for _ in range(4)]
    counter.metadata.create_all(engines[0])
    with engines[0].begin() as connection:
        connection.execute(insert(counter).values(n=0))

    def count(number: int) -> None:
        with engines[number % 4].begin() as connection:
            n = connection.execute(select(counter.c.n)).scalar_one()
            connection.execute(counter.update().values(n=n + 1))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(count, range(100)))
    with engines[0].connect() as connection:
        assert connection.execute(select(counter.c.n)).scalar_one() == 100


def test_instants_come_back_as_utc_and_naive_ones_are_refused() -> None:
    engine = connect("sqlite://")
    table = Table("t", MetaData(), Column("at", UtcDateTime))
    table.metadata.create_all(engine)
    berlin = timezone(timedelta(hours=1))
    with engine.begin() as connection:
        connection.execute(insert(table).values(at=datetime(2026, 3, 2, 14, tzinfo=berlin)))
        assert connection.execute(select(table.c.at)).scalar_one() == datetime(2026, 3, 2, 13, tzinfo=UTC)
    with pytest.raises(StatementError), engine.begin() as connection:
        connection.execute(insert(table).values(at=datetime(2026, 3, 2, 14)))
