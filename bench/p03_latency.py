"""How long a mail waits for its 250 after its last byte, at half of the load that can be borne, beside one at a time.

Twenty connections share the load; the other side is one connection of the same gateway, one mail after the other.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.figure import Row, percentile
from bench.servers import Client, add_pals, gateway

GOAL = 5.0
STRETCH = 4.0  # seconds
TURNS = 4
WHERE = (
    "a mail shares one interpreter with the others: what comes while one is decided on waits for it, and both cores\n"
    "are busy with the readers and the client of this bench meanwhile"
)


def measure() -> list[Row]:
    """The 99th percentile."""
    together: list[float] = []
    alone: list[float] = []
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        add_pals(f"sqlite:///{folder}/gateway.db")
        with gateway(folder) as port:
            many, one = Client(), Client(connections=1, first=500_000)
            many.pour(port, 1.0)
            most = many.pour(port, STRETCH).rate
            for _ in range(TURNS):
                together += many.pour(port, STRETCH, every=2 / most).waits
                alone += one.pour(port, STRETCH / 2).waits
    ours, other = (percentile(waits, 0.99) * 1000 for waits in (together, alone))
    met = ours / other <= GOAL
    name = f"P3 250 after the last byte, p99, at {most / 2:.0f} mails/s | one at a time"
    return [Row(name, ours, other, "ms", f"≤ {GOAL:g}", met, "" if met else WHERE)]
