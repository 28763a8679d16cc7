"""Waking the schedulers of other processes, by PostgreSQL's NOTIFY and LISTEN; SQLite has the sweep only. Shell.

Rules of this file:
- A ring that is lost costs one sweep and nothing else: nobody waits for one, and no fault of it ends anything.
- It is sent after the commit, not in it: NOTIFY holds a lock of the whole database until its transaction is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import psycopg
import structlog
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

CHANNEL: Final = "pal_gateway"
LISTENER: Final = "pal-gateway-bell"  # what PostgreSQL shows of a connection that listens
AGAIN: Final = 2.0  # seconds until a listener that was cut off tries again
QUIET: Final = 30.0  # seconds of silence after which a listener asks whether the server is still there
PATIENCE: Final = 5.0  # seconds for its answer

log = structlog.get_logger("gateway")


class Bell:
    """Rings in all processes of a store but its own, which is called `name`."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name
        self._works = engine.dialect.name == "postgresql"
        self._is_rung = self._is_cut = False
        self._sending: asyncio.Task[None] | None = None

    def ring(self) -> None:
        """Ring soon; rings that come while one is being sent become one."""
        self._is_rung = self._works
        if self._is_rung and (self._sending is None or self._sending.done()):
            self._sending = asyncio.create_task(self._send())

    async def finish(self) -> None:
        """Wait for what is being rung."""
        if self._sending is not None:
            await self._sending

    async def listen(self, heard: Callable[[], None]) -> None:
        """Call `heard` at every ring, until cancelled."""
        while self._works:
            try:
                await self._hear(heard)
            except (psycopg.Error, OSError, TimeoutError) as error:
                if not self._is_cut:
                    log.warning("not woken by other processes for now", cause=str(error).strip())
                self._is_cut = True
            await asyncio.sleep(AGAIN)
        await asyncio.Event().wait()

    async def _send(self) -> None:
        while self._is_rung:
            self._is_rung = False
            try:
                await asyncio.to_thread(self._notify)
            except SQLAlchemyError as error:
                log.warning("other processes were not woken", cause=str(error.__cause__ or error).strip())

    def _notify(self) -> None:
        # A database may hold several stores, each in a schema.
        said = func.current_schema().concat(f" {self._name}")
        with self._engine.begin() as connection:
            connection.execute(select(func.pg_notify(CHANNEL, said)))

    async def _hear(self, heard: Callable[[], None]) -> None:
        _, found = self._engine.dialect.create_connect_args(self._engine.url)
        arguments = {"application_name": LISTENER, **found}
        async with await psycopg.AsyncConnection.connect(**arguments, autocommit=True) as connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            row = await (await connection.execute("SELECT current_schema()")).fetchone()
            ours = f"{row[0] if row is not None else ''} "
            self._is_cut = False
            heard()  # nobody heard what was rung until now
            while True:
                async for note in connection.notifies(timeout=QUIET):
                    if note.payload.startswith(ours) and note.payload != ours + self._name:
                        heard()
                await asyncio.wait_for(connection.execute("SELECT 1"), PATIENCE)
