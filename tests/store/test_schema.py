"""The schema: a fresh one equals a migrated one, and starting twice changes nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Engine, MetaData, Table, insert, inspect, select
from sqlalchemy.exc import StatementError

import gateway.app  # noqa: F401  every table
from gateway import store
from scheduler.database import Text, UtcDateTime, metadata
from tests.store.conftest import Connect


def indexes(engine: Engine) -> dict[str, dict[str | None, object]]:
    with engine.connect() as connection:
        known = {table: inspect(connection).get_indexes(table) for table in metadata.tables}
    return {table: {one["name"]: one["column_names"] for one in found} for table, found in known.items()}


def test_a_migrated_schema_is_the_one_the_code_describes(engine: Engine) -> None:
    with engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    migrated = indexes(engine)
    metadata.drop_all(engine)
    store.create_throwaway(engine)
    assert indexes(engine) == migrated


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", "gateway:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == store.HEAD


def test_several_may_start_at_once(process: Connect) -> None:
    """As each process does at its start: the schema, then the secret that all of them sign callbacks with."""
    engines = [process() for _ in range(4)]

    def start(number: int) -> bytes:
        store.migrate(engines[number])
        with engines[number].begin() as connection:
            secret = store.secret(connection, "callbacks", bytes([number]))
            store.follow_zone_data(connection, "2026a", datetime(2026, 3, 2, tzinfo=UTC))
            return secret

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(start, range(4)))) == 1


def test_instants_come_back_as_utc_and_naive_ones_are_refused(process: Connect) -> None:
    engine = process()
    table = Table("t", MetaData(), Column("at", UtcDateTime))
    table.metadata.create_all(engine)
    berlin = timezone(timedelta(hours=1))
    with engine.begin() as connection:
        connection.execute(insert(table).values(at=datetime(2026, 3, 2, 14, 0, 0, 1, tzinfo=berlin)))
        found = connection.execute(select(table.c.at).where(table.c.at < datetime(2026, 3, 2, 13, 1, tzinfo=UTC)))
        assert found.scalar_one() == datetime(2026, 3, 2, 13, 0, 0, 1, tzinfo=UTC)
    with pytest.raises(StatementError), engine.begin() as connection:
        connection.execute(insert(table).values(at=datetime(2026, 3, 2, 14)))


def test_text_of_any_characters_can_be_kept_and_found(process: Connect) -> None:
    engine = process()
    table = Table("t", MetaData(), Column("said", Text))
    table.metadata.create_all(engine)
    with engine.begin() as connection:
        for said, kept in (("a\x00b", "a�b"), ("\ud800\x00", "��"), ("", ""), ("ä🐍\x01", "ä🐍\x01")):
            connection.execute(insert(table).values(said=said))
            assert connection.execute(select(table.c.said).where(table.c.said == said)).scalar_one() == kept
