"""Callbacks onward, to addresses on loopback of which one hangs."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

from sqlalchemy import insert

from gateway import store
from gateway.forwarding import MAX_UNDER_WAY, Forwarding
from gateway.store_calls import callbacks
from scheduler.clock import Clock, utc_now
from scheduler.database import connect


def test_an_address_that_hangs_keeps_the_others_waiting_no_longer(tmp_path: Path) -> None:
    async def test() -> None:
        heard, hanging = asyncio.Queue[bytes](), list[asyncio.StreamWriter]()

        async def good(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.put_nowait(await reader.readline())
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            await writer.drain()
            writer.close()

        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            hanging.append(writer)

        servers = [await asyncio.start_server(one, "127.0.0.1", 0) for one in (hang, good)]
        hangs, works = (f"http://127.0.0.1:{one.sockets[0].getsockname()[1]}/x" for one in servers)
        engine, now = connect(f"sqlite:///{tmp_path}/s.db"), utc_now()
        store.create_throwaway(engine)
        rows = [
            {
                "id": f"c{number:03}", "join_id": "j", "event_type": "x", "raw": b"{}", "received_at": now, "url": url,
                "state": "queued", "wake_at": now - timedelta(seconds=100 - number), "attempt": 0,
            }
            for number, url in enumerate([*[hangs] * (2 * MAX_UNDER_WAY), works])
        ]  # fmt: skip
        with engine.begin() as connection:
            connection.execute(insert(callbacks), rows)
        forwarding, clock = Forwarding(engine, [ip_network("127.0.0.0/8")], utc_now, "us"), Clock()
        clock.start()
        running = asyncio.create_task(forwarding.run(clock.alarm("callbacks")))
        await asyncio.wait_for(heard.get(), 4)  # less than the time-out of those that hang
        forwarding.stop()
        for writer in hanging:
            writer.close()
        await forwarding.finish(5)
        await running
        clock.stop()
        for server in servers:
            server.close()
            await server.wait_closed()
        engine.dispose()

    asyncio.run(test())
