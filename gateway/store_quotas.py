"""How many invitations and joins there are, for the quotas. Shell.

Rules of this file:
- One question for all counts, each answered from an index alone and not counted beyond its limit.
- Works in the caller's transaction. Where several decide at once, a quota may be exceeded by as many mails.
"""

from __future__ import annotations

from dataclasses import astuple, fields
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, literal, select

from gateway.quotas import Counts, Inviter, Load, Quotas
from gateway.store import invites
from scheduler.joins import LIVE
from scheduler.store import joins

_NAMES = tuple(one.name for one in fields(Counts))


def load_of(
    connection: Connection, pal_id: str, inviter: Inviter, quotas: Quotas, now: datetime, *, is_new: bool
) -> Load:
    """What counts against the quotas at an instant (UTC); without invitations for an event that is known."""
    invitations = quotas.invitations if is_new else Counts()
    query = _query(_limited(invitations, inviter), _limited(quotas.joins, inviter))
    if query is None:
        return Load()
    values: dict[str, Any] = {"inviter": inviter.address, "domain": inviter.domain, "pal": pal_id}
    values["since"] = now.replace(hour=0, minute=0, second=0, microsecond=0)
    values |= {f"invitations_{name}_limit": limit for name, limit in zip(_NAMES, astuple(invitations), strict=True)}
    values |= {f"joins_{name}_limit": limit for name, limit in zip(_NAMES, astuple(quotas.joins), strict=True)}
    found = connection.execute(query, values).one()._mapping
    counts = [Counts(**{one: found.get(f"{what}_{one}", 0) for one in _NAMES}) for what in ("invitations", "joins")]
    return Load(*counts)


def _limited(limits: Counts, inviter: Inviter) -> tuple[str, ...]:
    """The counts that are needed: where there is a limit, and the inviter's domain is one organisation's."""
    return tuple(name for name in _NAMES if getattr(limits, name) and (name != "domain" or inviter.domain))


@lru_cache(maxsize=128)
def _query(invitations: tuple[str, ...], of_joins: tuple[str, ...]) -> Select[Any] | None:
    today = invites.c.decided_at >= bindparam("since")
    live = joins.c.state.in_(sorted(LIVE))
    whose = {
        "inviter": (invites.c.inviter == bindparam("inviter"), joins.c.inviter == bindparam("inviter")),
        "domain": (invites.c.inviter_domain == bindparam("domain"), joins.c.inviter_domain == bindparam("domain")),
        "pal": (
            (invites.c.pal_id == bindparam("pal")) & invites.c.inviter.is_not(None),
            joins.c.pal_id == bindparam("pal"),
        ),
    }
    counts = [_count(f"invitations_{name}", whose[name][0] & today) for name in invitations]
    counts += [_count(f"joins_{name}", whose[name][1] & live) for name in of_joins]
    if not counts:
        return None
    query: Select[*tuple[Any, ...]] = select(*counts)
    return query


def _count(name: str, those: ColumnElement[bool]) -> ColumnElement[int]:
    """How many rows there are, up to the limit `name_limit`."""
    found = select(literal(1)).where(those).limit(bindparam(f"{name}_limit")).subquery()
    return select(func.count()).select_from(found).scalar_subquery().label(name)
