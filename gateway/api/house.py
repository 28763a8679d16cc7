"""What the resources of the API work with. A door."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from gateway.api.mirror import Mirror
from gateway.domains import Domains
from gateway.feed import Feeds
from gateway.intake import Played
from gateway.outward import Network
from scheduler.joins import Policy


@dataclass(frozen=True)
class House:
    """The store and the operator's settings, as far as resources ask for them."""

    engine: Engine
    domains: Domains  # of PALs' addresses
    feeds: Feeds
    mirror: Mirror  # what the platform is told of PALs
    kinds: frozenset[str]  # of targets that PALs can be sent to
    policy: Policy
    private: Sequence[Network]  # networks of the operator's that messages may be sent to
    play_again: Callable[[str, datetime], list[Played] | str]  # a mail that is kept aside; raises StoreAway
    wake: Callable[[], None]  # called, from any thread, after something was written that is to be done
