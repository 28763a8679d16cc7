"""Many processes that start at once on a store that nobody has seen, and one that starts on a newer one."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import select, text

from gateway import store
from gateway.settings import PREFIX
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
    assert sorted(names) == ["bounces", "calendars", "callbacks", store.OLDEST_NAME, "sessions", "zone-data"]


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


SERVE_UNTIL_READY = """
import gc
from gateway import app
from gateway.config import load
app.until_stopped = lambda gateway, *_: (print(gc.get_freeze_count()), gateway.stop())[1]
app.serve(load(None))
"""


def test_what_is_there_at_the_start_is_not_searched_for_garbage_again(tmp_path: Path) -> None:
    """It is half a million objects, through which everybody waits."""
    own = {"STORE__URL": f"sqlite:///{tmp_path}/gateway.db", "SMTP__PORT": "0", "HTTP__PORT": "0"}
    environment = {**os.environ, **{PREFIX + name: value for name, value in own.items()}}
    command = [sys.executable, "-c", SERVE_UNTIL_READY]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert int(done.stdout.split()[-1]) > 100_000
