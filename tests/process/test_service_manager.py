"""A gateway as systemd starts it (Type=notify): READY when its doors are open, alive meanwhile, STOPPING at a stop."""

from __future__ import annotations

import signal
import smtplib
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from gateway.store import HEAD
from scheduler.database import connect
from tests.process.processes import PATIENCE, free_port, serving

pytestmark = pytest.mark.timeout(150)  # processes start slowly on a busy machine


def test_it_is_ready_when_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, url = tmp_path / "notify", f"sqlite:///{tmp_path}/gateway.db"
    ports: dict[str, Any] = {"SMTP__PORT": free_port(), "HTTP__PORT": free_port()}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(name))
        manager.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(name))
        monkeypatch.setenv("WATCHDOG_USEC", "300000")
        with serving(url, tmp_path, **ports) as process:
            assert manager.recv(100) == b"READY=1"
            # No second try: whoever waits for us begins now.
            with smtplib.SMTP("127.0.0.1", ports["SMTP__PORT"]) as client:
                assert client.noop()[0] == 250
            assert httpx.get(f"http://127.0.0.1:{ports['HTTP__PORT']}/healthz", trust_env=False).status_code == 200
            engine = connect(url)
            with engine.connect() as connection:
                assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == HEAD
            engine.dispose()
            assert [manager.recv(100) for _ in range(2)] == [b"WATCHDOG=1"] * 2
            process.popen.send_signal(signal.SIGTERM)
            heard = [manager.recv(100)]
            while heard[-1] == b"WATCHDOG=1":
                heard.append(manager.recv(100))
            assert heard[-1] == b"STOPPING=1"
            assert process.popen.wait(PATIENCE) == 0


def test_one_that_cannot_start_is_never_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = tmp_path / "notify"
    with socket.socket() as taken, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        manager.bind(str(name))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(name))
        with serving(f"sqlite:///{tmp_path}/g.db", tmp_path, SMTP__PORT=taken.getsockname()[1]) as process:
            assert process.popen.wait(PATIENCE) == 2  # RestartPreventExitStatus of the unit
        with pytest.raises(BlockingIOError):
            manager.recv(100)
