"""A line that never ends costs no memory, in a command or in a mail: measured at a gateway in its own process."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.wire.ports import DOMAIN, serving

MEGABYTE = 1_000_000
SENT = 60 * MEGABYTE  # by each of
TIMES = 5
GROWTH = 20 * MEGABYTE


def peak(process: int) -> int:
    """The most memory that a process ever had, in bytes."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


def pour(number: int, *, in_data: bool) -> str:
    """Send an endless line; the last thing that the gateway said."""
    with socket.create_connection(("127.0.0.1", number)) as client, client.makefile("rb") as answers:
        answers.readline()
        if in_data:
            for line in ("HELO c", "MAIL FROM:<>", f"RCPT TO:<postmaster@{DOMAIN}>", "DATA"):
                client.sendall(line.encode() + b"\r\n")
                assert answers.readline()[:1] in (b"2", b"3")
        try:
            for _ in range(SENT // MEGABYTE):
                client.sendall(b"x" * MEGABYTE)
        except ConnectionError:
            pass
        else:
            return "all of it was taken"
        return answers.readline().decode()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says what memory a process had")
@pytest.mark.parametrize("in_data", [False, True], ids=["command", "mail"])
def test_an_endless_line(tmp_path: Path, in_data: bool) -> None:
    with serving(tmp_path) as served, ThreadPoolExecutor(TIMES) as pool:
        before = peak(served.process)
        said = list(pool.map(lambda _: pour(served.number, in_data=in_data), range(TIMES)))
        assert [answer[:9] for answer in said] == ["421 4.3.4"] * TIMES
        assert peak(served.process) - before <= GROWTH
