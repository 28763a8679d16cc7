"""Where a join can send a PAL: into a call (`conversation`), into a meeting made from a scenario. Pure.

Rules of this file:
- A target says requests and reads answers, as values; `scheduler.platform` is what sends them.
- One file per target, with `TARGET` in it: a new one needs no line elsewhere. Its address and key are in the settings
  under its kind.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from importlib import import_module
from typing import Any, Protocol

from scheduler.joins import Join, JoinState


@dataclass(frozen=True)
class Call:
    """One HTTP request: the path is under the target's address."""

    method: str
    path: str
    body: Any = None
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Started:
    """The target took the order: what it calls the call, and where people find it."""

    conversation_id: str
    room: dict[str, Any] = field(default_factory=dict)  # url, token


@dataclass(frozen=True)
class Seen:
    """How a call goes (JOINED or ENDED), with the target's own words for its end."""

    state: JoinState
    reason: str = ""


class Target(Protocol):
    """One place to send a PAL to. What it cannot do is None."""

    kind: str
    look_every: timedelta  # how long it may be silent before it is asked how a call goes

    def faults(self, options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the options that a PAL has for it."""

    def headers(self, api_key: str) -> dict[str, str]:
        """How it wants to be shown the key."""

    def start(self, join: Join, callback_url: str) -> Call:
        """Send the PAL of a join. Its order id makes a second request harmless, where the target honours it."""

    def started(self, answer: Any) -> Started | None:
        """What the answer to `start` says, None when it says nothing."""

    def search(self) -> Call | None:
        """Ask for the newest calls, to find one whose answer was lost."""

    def found(self, answer: Any, callback_url: str) -> Started | None:
        """The call among them that was started with this callback URL."""

    def look(self, conversation_id: str) -> Call:
        """Ask how a call goes."""

    def seen(self, answer: Any) -> Seen | None:
        """What that answer says; None: nothing is known yet."""

    def end(self, conversation_id: str) -> Call | None:
        """End a call."""


@lru_cache(maxsize=1)
def targets() -> dict[str, Target]:
    """All targets by kind."""
    found = [import_module(f"{__name__}.{module.name}").TARGET for module in pkgutil.iter_modules(__path__)]
    return {target.kind: target for target in found}


def option_faults(options: Mapping[str, Any]) -> list[str]:
    """What is wrong with the target that a PAL names."""
    kind = options.get("kind")
    target = targets().get(kind) if isinstance(kind, str) else None
    if target is None:
        return [f"kind: It is one of {', '.join(sorted(targets()))}."]
    return target.faults({name: value for name, value in options.items() if name != "kind"})
