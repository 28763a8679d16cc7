"""Many processes that start at once on a store that nobody has seen, and one that starts on a newer one."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import select, text

from gateway import store
from scheduler.database import connect
from tests.process.processes import serving

pytestmark = pytest.mark.timeout(150)  # processes start slowly on a busy machine


def test_six_start_at_once_on_a_fresh_store(tmp_path: Path, store_url: str) -> None:
    with ExitStack() as stack:
        running = [
            stack.enter_context(serving(store_url, tmp_path, roles, HTTP__PORT=port))
            for roles, port in (("smtp", 0), ("http", 0), ("scheduler", 9)) * 2
        ]
        for process in running:
            process.ready()
        for process in running:
            process.popen.terminate()
        assert [process.popen.wait(30) for process in running] == [0] * 6
        assert [process.other for process in running] == [[]] * 6
    engine = connect(store_url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [store.HEAD]
        names = connection.execute(select(store.secrets.c.name)).scalars().all()
    engine.dispose()
    assert sorted(names) == ["bounces", "calendars", "callbacks", store.OLDEST_NAME, "zone-data"]


def test_a_process_says_that_the_store_is_newer_and_goes_on_or_why_it_cannot(tmp_path: Path, store_url: str) -> None:
    engine = connect(store_url)
    store.migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with serving(store_url, tmp_path, "http") as process:
        process.ready()
        (line,) = process.said("the store has the schema of a newer release, which goes on beside this one")
        assert line["schema"] == "9999"
        assert process.stop() == 0
    with engine.begin() as connection:
        store.remember(connection, store.OLDEST_NAME, b"9999")
    engine.dispose()
    with serving(store_url, tmp_path, "http") as process:
        assert process.popen.wait(30) == 2
    assert [line.startswith("pal-gateway: The store has the schema 9999") for line in process.other] == [True]
