"""How much one inviter, one organisation and one PAL may have: invitations in a day, joins to come. Pure.

Rules of this file:
- A quota is far above what anybody needs who means well; 0 is no limit.
- What nobody vouches for is counted apart: whoever writes somebody's From uses up nothing of that somebody's.
- The counts are an argument; `gateway.store_quotas` has them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import timedelta

from gateway.address import domain_of
from gateway.senders import Sender, own_organisation
from scheduler.event import Event
from scheduler.joins import LIVE, Join

_UNVERIFIED = "unverified:"  # no comparable address begins so


@dataclass(frozen=True)
class Counts:
    """So many for one inviter, for the organisation it is in, and for the PAL; of limits 0: none."""

    inviter: int = 0
    domain: int = 0
    pal: int = 0


@dataclass(frozen=True)
class Quotas:
    """The limits: new invitations in a day (UTC), joins to come or under way, how long and how far ahead; 0: none."""

    invitations: Counts = Counts(inviter=200, domain=2000, pal=1000)
    joins: Counts = Counts(inviter=2000, domain=10_000, pal=5000)
    longest: timedelta = timedelta(hours=24)
    furthest: timedelta = timedelta(days=400)


@dataclass(frozen=True)
class Load:
    """What there is already: invitations since midnight (UTC), and joins. Counted up to the limits, not beyond."""

    invitations: Counts = Counts()
    joins: Counts = Counts()


@dataclass(frozen=True)
class Inviter:
    """Whom invitations are counted for. `domain` is the organisation's, None where strangers share it."""

    address: str
    domain: str | None


def inviter_of(sender: Sender) -> Inviter:
    """Whom an invitation is counted for."""
    address = sender.address or sender.claimed
    mark = _UNVERIFIED if sender.checked and not sender.verified else ""
    domain = own_organisation(domain_of(address))
    return Inviter(mark + address, mark + domain if domain else None)


def is_invitation(known: Event | None) -> bool:
    """Whether who is asked to come would come anew: nothing that is known of the event has the PAL attend."""
    if known is None:
        return True
    return not any(one is not None and one.attending for one in (known.master, *known.overrides))


def more_joins(rows: Iterable[Join], existing: Iterable[Join]) -> int:
    """How many more joins there are once `rows` are written over `existing`; below 0: fewer."""
    live = {join.id for join in existing if join.state in LIVE}
    return sum((join.state in LIVE) - (join.id in live) for join in rows)


def exceeded(load: Load, quotas: Quotas, *, invitations: int, joins: int) -> str | None:
    """The first quota that so many more would exceed, as its setting is called. What frees joins exceeds none."""
    for name, there, limits, more in (
        ("invitations", load.invitations, quotas.invitations, invitations),
        ("joins", load.joins, quotas.joins, joins),
    ):
        for one in fields(Counts):
            limit = getattr(limits, one.name)
            if limit and more > 0 and getattr(there, one.name) + more > limit:
                return f"quotas.{name}_per_{one.name}"
    return None
