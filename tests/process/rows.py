"""Joins that are due now, written into a store, and what became of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Engine

import scheduler.store
from scheduler.clock import utc_now
from scheduler.joins import Join, JoinState


def due(name: str, *, pal_id: str = "p1", url: str = "", **more: Any) -> Join:
    """A join of a meeting that runs since a minute, and for an hour."""
    at = utc_now() - timedelta(minutes=1)
    until = at + timedelta(hours=1)
    values: dict[str, Any] = {
        "id": f"j{name}",
        "pal_id": pal_id,
        "face_id": "f1",
        "uid": name,
        "recurrence_id": at,
        "starts": at,
        "ends": until,
        "at": at,
        "until": until,
        "url": url or f"https://meet.google.com/{name}",
        "name": name,
        "state": JoinState.PLANNED,
        "wake_at": at,
    }
    return Join(**{**values, **more})


def write(engine: Engine, *joins: Join) -> None:
    """Write them down as planned."""
    with engine.begin() as connection:
        scheduler.store.save_joins(connection, joins, (), now=utc_now())


def joins(engine: Engine) -> dict[str, Join]:
    """All joins by name."""
    with engine.connect() as connection:
        return {join.name: join for join in scheduler.store.find_joins(connection)}


def states(engine: Engine) -> dict[str, str]:
    """Their states by name."""
    return {name: join.state.value for name, join in joins(engine).items()}
