"""Mails a second on a disk whose flush takes 5 ms: twenty connections, whose commits are shared, beside one.

With one connection each mail has a commit of its own, as without sharing every mail would have. The flush is slowed by
a library that is loaded before the C library's own; it is built here, with the machine's C compiler.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from statistics import median

from bench.figure import Row
from bench.servers import Client, add_pals, gateway

GOAL = 5.0
STRETCH = 3.0  # seconds
TURNS = 3
SLOW = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
static int slowed(const char *name, int fd) {
    int (*flush)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    usleep(5000);
    return flush(fd);
}
int fsync(int fd) { return slowed("fsync", fd); }
int fdatasync(int fd) { return slowed("fdatasync", fd); }
"""


def measure() -> list[Row]:
    """One row; none where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        print("P15 is not measured: there is no C compiler (cc)")
        return []
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        library = folder / "slow.so"
        build = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", str(library), "-ldl"]
        subprocess.run(build, input=SLOW.encode(), check=True)
        add_pals(f"sqlite:///{folder}/gateway.db")
        with gateway(folder, LD_PRELOAD=str(library)) as port:
            many, one = Client(), Client(connections=1, first=500_000)
            many.pour(port, 1.0)
            rates = [(many.pour(port, STRETCH).rate, one.pour(port, STRETCH).rate) for _ in range(TURNS)]
    ours, other = (median(side) for side in zip(*rates, strict=True))
    met = ours / other >= GOAL
    where = "the other side waits for its flush; with twenty connections the cores are what is waited for (see P1)"
    name = "P15 mails/s, a flush takes 5 ms, 20 connections | one commit a mail"
    return [Row(name, ours, other, "/s", f"≥ {GOAL:g}", met, "" if met else where)]
