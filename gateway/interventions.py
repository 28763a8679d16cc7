"""What operators and accounts ask of one join, written down: cancel it, let it come now, try it again. A door.

Rules of this file:
- What is to be done is decided in `scheduler.by_hand`; a refusal is a sentence.
- In the caller's transaction, rows locked in the order event, joins. The serving process finds it at its next sweep.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

import scheduler.store
from gateway import store
from scheduler.by_hand import brought_forward, kept_away, tried_again
from scheduler.joins import Join, Policy


def cancel(connection: Connection, join_id: str, now: datetime) -> Join | str:
    """Keep the PAL of a join away from its meeting, from now (UTC) on; the join as it is then, or why not."""
    join = scheduler.store.lock_join(connection, join_id)
    return _written(connection, kept_away(join, now), join, now) if join is not None else _unknown(join_id)


def come_now(connection: Connection, join_id: str, now: datetime) -> Join | str:
    """Let the PAL of a join come at once (UTC), before its time; the join as it is then, or why not."""
    join = scheduler.store.lock_join(connection, join_id)
    return _written(connection, brought_forward(join, now), join, now) if join is not None else _unknown(join_id)


def retry(connection: Connection, join_id: str, now: datetime, policy: Policy) -> Join | str:
    """Plan a join once more, at an instant (UTC); the join as it is then, or why not."""
    join = scheduler.store.get_join(connection, join_id)
    if join is None:
        return _unknown(join_id)
    attendance = scheduler.store.load_attendance(connection, join.pal_id, join.uid)
    others = scheduler.store.load_joins(connection, join.pal_id, join.uid)
    join = next((one for one in others if one.id == join_id), join)
    if attendance is not None and store.pal_with_id(connection, join.pal_id) is None:
        return f"The PAL of {join_id} was removed."
    attendant, event = attendance or (None, None)
    return _written(connection, tried_again(join, others, event, attendant, now, policy), join, now)


def _written(connection: Connection, decided: Join | str, before: Join, now: datetime) -> Join | str:
    if isinstance(decided, Join):
        scheduler.store.rewrite(connection, decided, before, now)
    return decided


def _unknown(join_id: str) -> str:
    return f"There is no join {join_id}; see pal-gateway joins list."
