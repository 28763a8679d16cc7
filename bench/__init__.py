"""Figures: what the gateway costs, beside a peer or beside itself without the burden, measured in the same run.

One file per figure, with `measure() -> list[Row]`; `python -m bench` runs all and writes RESULTS.md, `python -m bench
7` one. Both sides of a row are measured in turns, so that a busy machine is busy for both. No row is a test.
"""

# Modules that several figures use, and that are none.
SHARED = ("dispatching", "loopback", "mails", "planned", "servers")
