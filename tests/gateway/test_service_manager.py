"""What a service manager is told, over a real datagram socket, as sd_notify(3) has it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.service_manager import ALIVE, READY, ServiceManager


@pytest.fixture(params=["file", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A socket, as systemd has one, and its name as it writes it into the environment."""
    name = f"{tmp_path}/notify" if request.param == "file" else f"@pal-gateway-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind("\0" + name[1:] if name.startswith("@") else name)
        found.settimeout(10)
        yield name, found


def test_a_word_is_one_datagram(listening: tuple[str, socket.socket]) -> None:
    name, found = listening
    ServiceManager.of({"NOTIFY_SOCKET": name}).tell(READY)
    assert found.recv(100) == b"READY=1"


def test_a_watchdog_hears_of_us_until_we_end(listening: tuple[str, socket.socket]) -> None:
    name, found = listening
    manager = ServiceManager.of({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000"})

    async def live() -> list[bytes]:
        telling = asyncio.create_task(manager.keep_telling())
        heard = [await asyncio.to_thread(found.recv, 100) for _ in range(3)]
        telling.cancel()
        return heard

    assert asyncio.run(live()) == [ALIVE.encode()] * 3


@pytest.mark.parametrize(
    "more",
    [{}, {"WATCHDOG_USEC": ""}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "no"},
     {"WATCHDOG_USEC": "30000", "WATCHDOG_PID": "1"}],
)  # fmt: skip
def test_who_watches_somebody_else_or_nobody_is_told_nothing(tmp_path: Path, more: dict[str, str]) -> None:
    manager = ServiceManager.of({"NOTIFY_SOCKET": f"{tmp_path}/notify", **more})
    asyncio.run(asyncio.wait_for(manager.keep_telling(), 10))  # it ends at once, and nobody is asked for


def test_without_a_service_manager_nothing_is_sent() -> None:
    with capture_logs() as lines:
        ServiceManager.of({}).tell(READY)
    assert lines == []


def test_one_that_is_away_is_a_log_line(tmp_path: Path) -> None:
    with capture_logs() as lines:
        ServiceManager.of({"NOTIFY_SOCKET": f"{tmp_path}/nobody"}).tell(READY)
    assert [line["why"] for line in lines] == ["No such file or directory"]
