"""What one process of a gateway does: take mail (smtp), answer HTTP (http), carry out what is due (scheduler). Shell.

Rules of this package:
- One file and one class for each role. What they have in common is `Shared`; none knows another.
- A role begins with `start`, takes nothing new after `take_no_more`, and ends what is under way in `finish`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine

from gateway.bounces import Bounces
from gateway.figures import Figures
from gateway.settings import Settings
from gateway.watch import Watch
from scheduler.bell import Bell
from scheduler.dispatch import Dispatcher
from scheduler.platform import Platform


@dataclass(frozen=True)
class Shared:
    """What every role of a process works with. `wake` is called, from any thread, after a commit that made work."""

    settings: Settings
    engine: Engine
    platforms: dict[str, Platform]
    dispatcher: Dispatcher
    bounces: Bounces
    bell: Bell  # wakes the schedulers of other processes
    figures: Figures
    watch: Watch
    wake: Callable[[], None]
