"""Events and joins in the database: all SQL of this room. Shell.

Rules of this file:
- Every function works in the caller's transaction; nothing here begins or commits.
- What is due is claimed as `leases` says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    Row,
    Select,
    String,
    Table,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal,
    literal_column,
    null,
    select,
    true,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from scheduler import journal, leases
from scheduler.database import Text, UtcDateTime, metadata
from scheduler.event import Event
from scheduler.happening import Happening, moved_from, what_became, what_changed, what_happened
from scheduler.joins import LIVE, SENT, Join, JoinState, order_parts
from scheduler.lanes import Lanes
from scheduler.leases import Lease, held_values, index_kept, index_waiting, is_ours, lease_values, taking
from scheduler.request import CONVERSATION, Attendant
from scheduler.retry import STOP_BEFORE_END, after_end

LOOK_AHEAD: Final = timedelta(seconds=2)  # longer than the sweep, which sees to what is due later

events = Table(
    "events",
    metadata,
    Column("pal_id", String, primary_key=True),
    Column("uid", Text, primary_key=True),
    Column("event", JSON, nullable=False),
    Column("attendant", JSON, nullable=False),  # the PAL as the joins of this event are ordered for it
    Column("refill_at", UtcDateTime),  # when its joins are to be planned further; NULL: never again
    Column("kept_until", UtcDateTime),  # until when it is needed for certain; NULL: it has changed since that was asked
    Index("events_refill", "refill_at"),
    Index("events_kept", "kept_until"),
)

joins = Table(
    "joins",
    metadata,
    Column("id", String, primary_key=True),
    Column("pal_id", String, nullable=False),
    Column("face_id", String, nullable=False),
    Column("uid", Text, nullable=False),
    Column("recurrence_id", UtcDateTime, nullable=False),
    Column("starts", UtcDateTime, nullable=False),
    Column("ends", UtcDateTime, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("until", UtcDateTime, nullable=False),
    Column("url", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", Text),
    Column("wake_at", UtcDateTime),  # when something is to be done for it; NULL: nothing
    Column("attempt", Integer, nullable=False),
    Column("owner", String),
    Column("conversation_id", Text),
    Column("request", JSON, nullable=False),
    Column("room", JSON, nullable=False),
    Column("entry", Integer, nullable=False),
    Column("inviter", Text),  # whom it is counted for, and the organisation that is in
    Column("inviter_domain", Text),
    Column("forgotten_at", UtcDateTime),  # when what people wrote in it was emptied
    Column("broken_at", UtcDateTime),  # since when it is missed or failed and nobody was told; NULL: nothing to tell
    Index("joins_event", "pal_id", "uid"),
    Index("joins_inviter", "inviter", "state"),
    Index("joins_inviter_domain", "inviter_domain", "state"),
    Index("joins_pal", "pal_id", "state"),
    Index("joins_starts", "starts"),
)
index_waiting(joins)
index_kept(joins, joins.c.until)
# Who sits in which room, or is on the way there.
_in_a_call = joins.c.state.in_([JoinState.CLAIMED, JoinState.STARTED, JoinState.JOINED])
Index("joins_room", joins.c.pal_id, joins.c.url, sqlite_where=_in_a_call, postgresql_where=_in_a_call)
# Whose callback or end this is.
_has_call = joins.c.conversation_id.is_not(None)
Index("joins_conversation", joins.c.conversation_id, sqlite_where=_has_call, postgresql_where=_has_call)
# What was tried and waits: a few rows, which would have to be looked for among all that are planned. A literal, for
# SQLite knows of a parameter nothing when it looks for an index.
has_been_tried = joins.c.attempt > literal_column("0")
waits_again = joins.c.wake_at.is_not(None) & has_been_tried
Index("joins_tried", joins.c.wake_at, sqlite_where=waits_again, postgresql_where=waits_again)
_is_broken = joins.c.broken_at.is_not(None)
Index("joins_broken", joins.c.broken_at, sqlite_where=_is_broken, postgresql_where=_is_broken)

_COLUMNS: Final = tuple(column.name for column in joins.columns)
# What a claim makes of the state.
_CLAIMED: Final = case((joins.c.state == JoinState.PLANNED, JoinState.CLAIMED), else_=joins.c.state)
# Of a join that may be in a room, or on the way into it or out.
_NEAR: Final = sorted(SENT | {JoinState.PLANNED, JoinState.LEAVING})

# What the platform may have a call for: `Join.may_be_sent`.
_MAY_BE_SENT: Final = joins.c.state.in_(sorted(SENT)) | ((joins.c.state == JoinState.PLANNED) & has_been_tried)

# What the plan writes; the rest of a row is the dispatcher's.
PLANNED_COLUMNS: Final = (
    "face_id", "recurrence_id", "starts", "ends", "at", "until", "url", "name", "request", "inviter", "inviter_domain",
    "state", "reason", "wake_at", "forgotten_at",
)  # fmt: skip


@lru_cache(maxsize=1)
def _event_codec() -> TypeAdapter[Event]:
    return TypeAdapter(Event)


_THIS: Final = (events.c.pal_id == bindparam("of_pal")) & (events.c.uid == bindparam("of_uid"))
_SEEN_EVENT: Final = select(events.c.event).where(_THIS)
_EVENT: Final = _SEEN_EVENT.with_for_update()


def load_event(connection: Connection, pal_id: str, uid: str, *, locked: bool = True) -> Event | None:
    """What a PAL knows of a UID; `locked`: its row stays as it is until the transaction ends."""
    row = connection.execute(_EVENT if locked else _SEEN_EVENT, {"of_pal": pal_id, "of_uid": uid}).first()
    return event_of(row.event) if row is not None else None


def look_at_events(connection: Connection, pal_id: str, uids: Collection[str]) -> list[Event]:
    """Some events of a PAL as they are now, without locking them."""
    query = select(events.c.event).where(events.c.pal_id == pal_id, events.c.uid.in_(uids)).order_by(events.c.uid)
    return [event_of(row.event) for row in connection.execute(query)] if uids else []


@lru_cache(maxsize=1)
def _attendant_codec() -> TypeAdapter[Attendant]:
    return TypeAdapter(Attendant)


def load_attendance(connection: Connection, pal_id: str, uid: str) -> tuple[Attendant, Event] | None:
    """An event with the PAL as its joins are ordered, the row locked until the transaction ends."""
    query = select(events.c.attendant, events.c.event).where(_THIS).with_for_update()
    row = connection.execute(query, {"of_pal": pal_id, "of_uid": uid}).first()
    return (_attendant_codec().validate_python(row.attendant), event_of(row.event)) if row is not None else None


_ADD_EVENT: Final = insert(events)
_CHANGE_EVENT: Final = update(events).where(_THIS)


def save_event(
    connection: Connection, attendant: Attendant, event: Event, refill_at: datetime | None, *, is_new: bool
) -> None:
    """Write an event of a PAL. `is_new`: it was not there when it was loaded; IntegrityError when it is by now.

    Written over, what another process has decided meanwhile would be lost.
    """
    values = {
        "event": event_as_stored(event),
        "attendant": _attendant_codec().dump_python(attendant, mode="json"),
        "refill_at": refill_at,
        "kept_until": None,
    }
    if is_new:
        connection.execute(_ADD_EVENT, {"pal_id": attendant.pal_id, "uid": event.uid, **values})
    else:
        connection.execute(_CHANGE_EVENT, {"of_pal": attendant.pal_id, "of_uid": event.uid, **values})


def save_answers(connection: Connection, pal_id: str, event: Event) -> None:
    """Write an event that is as it was but for its answers: when it is planned further stays as it is."""
    changed = update(events).where(events.c.pal_id == pal_id, events.c.uid == event.uid)
    connection.execute(changed.values(event=_event_codec().dump_python(event, mode="json")))


def change_attendant(connection: Connection, attendant: Attendant, now: datetime) -> int:
    """A PAL has another face or other settings: its events are planned anew with them; how many owed joins."""
    of_pal = events.c.pal_id == attendant.pal_id
    values = {"attendant": _attendant_codec().dump_python(attendant, mode="json")}
    connection.execute(update(events).where(of_pal).values(values))
    return plan_anew(connection, now, of_pal)


def events_to_refill(connection: Connection, now: datetime, limit: int) -> list[tuple[Attendant, Event]]:
    """Events whose joins are to be planned further, with the PAL they are for, locked."""
    query = (
        select(events.c.attendant, events.c.event)
        .where(events.c.refill_at <= now)
        .order_by(events.c.refill_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = connection.execute(query)
    return [(_attendant_codec().validate_python(row.attendant), event_of(row.event)) for row in rows]


def plan_anew(connection: Connection, now: datetime, those: ColumnElement[bool] | None = None) -> int:
    """Let every event (of `those`) that owes joins be planned again from now on; how many events that were."""
    due = update(events).where(_owes_joins(), those if those is not None else true())
    return connection.execute(due.values(refill_at=now)).rowcount


def _owes_joins() -> ColumnElement[bool]:
    """Of an event: whether one of its joins is to come or under way."""
    return exists().where(
        joins.c.pal_id == events.c.pal_id, joins.c.uid == events.c.uid, joins.c.state.in_(sorted(LIVE))
    )


def event_as_stored(event: Event) -> Any:
    """An event as it stands in the column."""
    return _event_codec().dump_python(event, mode="json")


def event_of(stored: Any) -> Event:
    """The event that stands in the column, its dates where today's time-zone data puts them."""
    return _event_codec().validate_python(stored).anchored()


_SEEN_JOINS: Final = (
    select(joins)
    .where(joins.c.pal_id == bindparam("pal_id"), joins.c.uid == bindparam("uid"))
    .order_by(joins.c.starts, joins.c.id)
)
_JOINS: Final = _SEEN_JOINS.with_for_update()


def load_joins(connection: Connection, pal_id: str, uid: str, *, locked: bool = True) -> tuple[Join, ...]:
    """All joins of an event for a PAL, by start; `locked`: against the dispatcher."""
    query = _JOINS if locked else _SEEN_JOINS
    return tuple(_join(row) for row in connection.execute(query, {"pal_id": pal_id, "uid": uid}))


_ADD_JOIN: Final = insert(joins)
_CHANGE_JOIN: Final = update(joins).where(joins.c.id == bindparam("of_id"))


def save_joins(connection: Connection, rows: Iterable[Join], existing: Iterable[Join], *, now: datetime) -> None:
    """Write what `plan` returned, given the rows it was made from, at an instant (UTC)."""
    known = {join.id: join for join in existing}
    rows = list(rows)
    fresh = [_values(join) for join in rows if join.id not in known]
    if fresh:
        connection.execute(_ADD_JOIN, fresh)
    changed = [join for join in rows if join.id in known]
    if changed:
        planned = ({name: getattr(join, name) for name in PLANNED_COLUMNS} | {"of_id": join.id} for join in changed)
        connection.execute(_CHANGE_JOIN, list(planned))
    journal.write(connection, _of_plan(rows, known, now))


def _of_plan(rows: Iterable[Join], known: Mapping[str, Join], now: datetime) -> list[dict[str, Any]]:
    """What the journal says of a plan: all that was planned in one row."""
    said: list[dict[str, Any]] = []
    planned: list[Join] = []
    for join in rows:
        before = known.get(join.id)
        kind = what_changed(before, join) if before is not None else Happening.PLANNED
        if kind is Happening.PLANNED:
            planned.append(join)
        elif kind is not None:
            more = moved_from(before, join) if before is not None and kind is Happening.MOVED else {}
            reason = None if kind is Happening.MOVED else join.reason
            said.append(journal.happened(join, kind, now, reason=reason, **more))
    return [*said, *journal.planned(planned, now)]


def claim(
    connection: Connection, now: datetime, owner: str, lease: timedelta, limit: int, lanes: Lanes | None = None
) -> list[Join]:
    """Take up to `limit` rows whose instant has come, as far as the lanes are open; they are ours until now + lease.

    A planned row becomes claimed; one that is leaving stays so. Each claim counts as an attempt.
    """
    lanes = lanes or Lanes()
    found: list[Join] = []
    # Not in one question, by order: with an index on wake_at alone all that is due would be looked at each time.
    for is_tried in (False, True):
        if len(found) < limit:
            ours = lease_values(Lease(now, owner, lease, limit - len(found)))
            found += _taken(connection, _claiming(is_tried, lanes.hold_back), ours | _lane_values(lanes, now))
    for kind in lanes.probes:
        ours = lease_values(Lease(now, owner, lease, 1))
        found += _taken(connection, _probing(), {**ours, "lane_kind": kind})
    return sorted(found, key=lambda join: join.at)


def _taken(connection: Connection, taking: ReturningUpdate[Any], values: dict[str, Any]) -> list[Join]:
    return [_join(row) for row in connection.execute(taking, values)]


@lru_cache(maxsize=4)
def _claiming(is_tried: bool, hold_back: bool) -> ReturningUpdate[Any]:
    """The statement that claims joins that were tried before, or were not; with `_lane_values` where some wait."""
    those = has_been_tried if is_tried else joins.c.attempt == 0
    return taking(joins, list(joins.c), those & _in_open_lanes() if hold_back else those, state=_CLAIMED)


@lru_cache(maxsize=1)
def _probing() -> ReturningUpdate[Any]:
    those = (_kind() == bindparam("lane_kind", type_=String)) & has_been_tried
    return taking(joins, list(joins.c), those, state=_CLAIMED)


def _kind() -> ColumnElement[str]:
    """The kind of a join's target."""
    return func.coalesce(joins.c.request["target", "kind"].as_string(), CONVERSATION)


def _in_open_lanes() -> ColumnElement[bool]:
    """Of a join: whether it may be carried out; one that is over already needs nobody's answer."""
    is_over = joins.c.until <= bindparam("lane_now", type_=UtcDateTime)
    is_over &= joins.c.state.in_([JoinState.PLANNED, JoinState.CLAIMED])

    def among(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
        return column.in_(bindparam(f"lane_{name}", type_=String, expanding=True))

    may_go = ~among(_kind(), "open") | (joins.c.attempt == 0)
    return is_over | (~among(_kind(), "full") & ~among(joins.c.pal_id, "busy") & may_go)


def _lane_values(lanes: Lanes, now: datetime) -> dict[str, Any]:
    """The parameters of `_in_open_lanes`, none where nobody waits."""
    if not lanes.hold_back:
        return {}
    lists = {"full": lanes.full, "open": lanes.open, "busy": lanes.busy}
    return {"lane_now": now, **{f"lane_{name}": sorted(names) for name, names in lists.items()}}


_ENDED_LEASES: Final = (
    select(joins.c.id, joins.c.state)
    .where(joins.c.wake_at <= bindparam("lease_now", type_=UtcDateTime), has_been_tried)
    .order_by(joins.c.wake_at)
    .limit(bindparam("lease_limit", type_=Integer))
)


def ended_leases(connection: Connection, now: datetime, limit: int) -> set[str]:
    """Joins that a process claimed and did not bring to an end, among the `limit` of those tried before that a claim
    would take first."""
    rows = connection.execute(_ENDED_LEASES, {"lease_now": now, "lease_limit": limit})
    return {row.id for row in rows if row.state == JoinState.CLAIMED}


def give_back(connection: Connection, claimed: Iterable[Join], now: datetime) -> None:
    """Let anybody take joins at once that we claimed, and whose orders have not left."""
    state = case((joins.c.state == JoinState.CLAIMED, JoinState.PLANNED), else_=joins.c.state)
    leases.give_back(connection, joins, claimed, now, state=state)


def settle(
    connection: Connection,
    claimed: Join,
    *,
    now: datetime,
    state: JoinState,
    wake_at: datetime | None = None,
    broken_at: datetime | None = None,
    detail: str = "",
    is_news: bool = True,
    **values: Any,
) -> bool:
    """Write what came of a claim at an instant (UTC); False when it is no longer ours (the lease ran out, another took
    it). `broken_at`: now, if it comes to nothing and whoever counts on it is to be told; `detail`: for the journal,
    which is told what `is_news`.

    A row that was dropped while we were at it stays leaving, and is looked at again at once; one that the platform
    reported on before its answer was written down keeps what was reported.
    """
    written = {f"new_{name}": value for name, value in values.items()}
    found = {"held_state": claimed.state, "held_at": claimed.at, **held_values(claimed)}
    into = {"new_state": state, "new_wake_at": wake_at, "new_broken_at": broken_at, **written}
    # What somebody else may have brought about, too; of the rest the state that is left says who did.
    before = connection.execute(_STATE, {"of_id": claimed.id}).scalar() if state in _BY_OTHERS else claimed.state
    left = connection.execute(_settling(tuple(sorted(values))), found | into).scalar()
    if left is None:
        return False
    if not is_news:
        return True
    kind = what_became(claimed.state, state)
    had_call = claimed.conversation_id is not None or values.get("conversation_id") is not None
    is_new = before == claimed.state and left == state and (kind is not Happening.ENDED or had_call)
    # That the platform took it is true whatever was wanted or heard meanwhile.
    if kind is Happening.STARTED or (kind is not None and is_new):
        more = _outcome(claimed, kind, wake_at, now)
        reason = values.get("reason")
        row = journal.happened(claimed, kind, now, reason=reason, detail=detail, attempt=claimed.attempt, **more)
        journal.write(connection, [row])
    return True


_STATE: Final = select(joins.c.state).where(joins.c.id == bindparam("of_id")).with_for_update()
_BY_OTHERS: Final = frozenset({JoinState.JOINED, JoinState.LEAVING, JoinState.CANCELLED})


def _outcome(claimed: Join, kind: Happening, wake_at: datetime | None, now: datetime) -> dict[str, Any]:
    """What the journal says of an attempt besides: when there is another, how late it was."""
    if kind is Happening.TRIED and wake_at is not None:
        return {"again": wake_at.isoformat()}
    if kind is Happening.STARTED and not claimed.entry:
        return {"late": round((now - claimed.at).total_seconds(), 3)}
    return {}


@lru_cache(maxsize=32)
def _settling(names: tuple[str, ...]) -> ReturningUpdate[Any]:
    """The statement that settles a claim and writes further columns, and returns the state that it leaves; made once,
    because making it costs ten times what it costs to run."""
    changed_meanwhile = joins.c.state != bindparam("held_state")
    leaving = changed_meanwhile & (joins.c.state == JoinState.LEAVING)
    over = changed_meanwhile & joins.c.state.in_([JoinState.ENDED, JoinState.CANCELLED])
    at, broken_at = bindparam("held_at", type_=UtcDateTime), bindparam("new_broken_at", type_=UtcDateTime)
    changes = {
        "state": case((changed_meanwhile, joins.c.state), else_=bindparam("new_state")),
        "wake_at": case((leaving, at), (over, None), else_=bindparam("new_wake_at", type_=UtcDateTime)),
        "broken_at": case((changed_meanwhile, null()), else_=broken_at),
        **{name: bindparam(f"new_{name}", type_=joins.c[name].type) for name in names},
    }
    return update(joins).where(is_ours(joins)).values(changes).returning(joins.c.state)


def broken_events(connection: Connection, now: datetime, limit: int) -> list[tuple[str, str]]:
    """Events (PAL, UID) with joins that came to nothing and that nobody was told of, those of the `limit` oldest."""
    waiting = select(joins.c.pal_id, joins.c.uid).where(joins.c.broken_at <= now)
    query = waiting.order_by(joins.c.broken_at, joins.c.pal_id, joins.c.uid).limit(limit)
    # Grouped by the store, SQLite would read all joins in the order of their events.
    return list(dict.fromkeys((row.pal_id, row.uid) for row in connection.execute(query)))


def note_told(connection: Connection, pal_id: str, uid: str, again_at: datetime | None = None) -> None:
    """There is nothing more to tell of an event's broken joins; or not before an instant (UTC)."""
    marked = (joins.c.pal_id == pal_id) & (joins.c.uid == uid) & joins.c.broken_at.is_not(None)
    connection.execute(update(joins).where(marked).values(broken_at=again_at))


@dataclass(frozen=True)
class InRoom:
    """Another join of the PAL that is in the room of one. `conversation_id` None: whether it is, is being found out, or
    it is just leaving. `is_before`: its meeting is over when the one's begins."""

    join: Join
    conversation_id: str | None
    is_before: bool

    @property
    def free_at(self) -> datetime:
        """When the one may look again: at the end of a meeting before it, otherwise soon."""
        return self.join.until if self.is_before else datetime.min.replace(tzinfo=UTC)


def in_rooms(connection: Connection, asked: Sequence[Join], now: datetime) -> list[InRoom | None]:
    """For each of some claimed joins: what sits in its room already, or is being sent there, for another invitation.

    Asked after the claim was committed: of two processes that claim at once, at least one sees the other.
    """
    sits = joins.c.state.in_([JoinState.STARTED, JoinState.JOINED]) & joins.c.conversation_id.is_not(None)
    # Within a process the room's lock keeps them apart, but for one that was tried before: it may sit there already.
    is_others = joins.c.owner.not_in({join.owner for join in asked}) | (joins.c.attempt > 1)
    is_sent = (joins.c.state == JoinState.CLAIMED) & is_others & (joins.c.wake_at > now)
    # Whose last try failed may sit there all the same; who gave way or came out of a call has no owner.
    is_tried = (joins.c.state == JoinState.PLANNED) & (joins.c.attempt > 0) & joins.c.owner.is_not(None)
    query = (
        select(joins)
        .where(joins.c.pal_id.in_({join.pal_id for join in asked}), joins.c.url.in_({join.url for join in asked}))
        .where(joins.c.state.in_(_NEAR), sits | is_sent | is_tried | (joins.c.state == JoinState.LEAVING))
    )
    others: dict[tuple[str, str], list[Join]] = {}
    for row in connection.execute(query):
        other = _join(row)
        others.setdefault((other.pal_id, other.url), []).append(other)
    return [_in_room(join, others.get((join.pal_id, join.url), ())) for join in asked]


def _in_room(join: Join, others: Iterable[Join]) -> InRoom | None:
    """The one of those near the room of a join that it has to do with, None: it may go in."""
    near = [
        InRoom(other, other.conversation_id if other.sits else None, other.until <= join.starts)
        for other in others
        if other.id != join.id
        and other.starts < join.until
        # Whose meeting is over when this one begins is not waited for, unless it still sits there.
        and (other.sits or other.until > join.starts)
        and not (other.state is JoinState.CLAIMED and other.owner == join.owner and other.attempt <= 1)
    ]
    # Of several that are over by then, the last one is waited for.
    near.sort(key=lambda one: one.join.until, reverse=True)
    return min(near, key=lambda one: (one.conversation_id is None, one.is_before), default=None)


def is_shared(connection: Connection, join: Join) -> bool:
    """Whether another join still holds the conversation of this one."""
    others = select(joins.c.id).where(
        joins.c.conversation_id == join.conversation_id, joins.c.id != join.id, joins.c.state.in_(sorted(SENT))
    )
    return connection.execute(others).first() is not None


@dataclass(frozen=True)
class Moved:
    """A join that the platform spoke of, as it is now, and its state before."""

    join: Join
    before: JoinState


def observe(
    connection: Connection,
    order_id: str,
    state: JoinState,
    *,
    now: datetime,
    reason: str = "",
    conversation_id: str = "",
) -> list[Moved]:
    """What the platform says of a call under way; which joins that concerns, none that is unknown or settled already.

    A word about another conversation than the join's does not count: it is of an earlier attempt. It is true of every
    join that shares the conversation. Where the meeting goes on, a call may have ended only to be entered again. A join
    that waits for its next attempt is in the call all the same where the answer to the one before was lost.
    """
    join_id, entry = order_parts(order_id)
    possible = _MAY_BE_SENT
    if state is not JoinState.JOINED:
        possible |= joins.c.state == JoinState.LEAVING
    if not conversation_id:  # the order says which call it is about
        own = select(joins.c.conversation_id).where(joins.c.id == join_id, joins.c.entry == entry)
        conversation_id = connection.execute(own).scalar() or ""
    # Locked first: who waited for a row sees it anew, but not what its sub-selects say (PostgreSQL).
    concerned = (joins.c.id == join_id) | ((joins.c.conversation_id == conversation_id) & (conversation_id != ""))
    locked = connection.execute(
        select(joins.c.id, joins.c.state).where(concerned).order_by(joins.c.id).with_for_update()
    )
    was = {row.id: JoinState(row.state) for row in locked}
    this = (joins.c.id == join_id) & (joins.c.entry == entry) & joins.c.conversation_id.is_(None)
    if conversation_id:
        known = select(joins.c.id).where(joins.c.id == join_id, joins.c.conversation_id == conversation_id)
        this |= (joins.c.conversation_id == conversation_id) & exists(known)
    # Which they are is settled first: a join that comes back has no conversation any more.
    found = set(connection.execute(select(joins.c.id).where(this)).scalars())
    back = after_end(reason=reason, entry=entry, now=now) if state is JoinState.ENDED else None
    moved = _come_back(connection, joins.c.id.in_(found), reason, back.at, now) if back is not None else []
    others = joins.c.id.in_(found - {join.id for join in moved})
    moved += _observed(connection, others & possible, was, state, now, reason, conversation_id)
    return [Moved(join, was.get(join.id, join.state)) for join in sorted(moved, key=lambda join: join.id)]


def _come_back(
    connection: Connection, those: ColumnElement[bool], reason: str, at: datetime, now: datetime
) -> list[Join]:
    """Plan again what is still going on at an instant; what that was."""
    goes_on = those & _MAY_BE_SENT & (joins.c.until > at + STOP_BEFORE_END)
    values = {
        "state": JoinState.PLANNED,
        "reason": reason,
        "wake_at": at,
        "conversation_id": None,
        "entry": joins.c.entry + 1,
        "owner": None,  # whoever is still sending the order that is over writes nothing more of it
    }
    found = _changed(connection, goes_on, values)
    again = at.isoformat()
    said = (
        journal.happened(join, Happening.TRIED, now, reason=reason, attempt=join.attempt, again=again) for join in found
    )
    journal.write(connection, said)
    return found


def _changed(connection: Connection, those: ColumnElement[bool], values: dict[str, Any]) -> list[Join]:
    """Change joins; as they are then."""
    return [_join(row) for row in connection.execute(update(joins).where(those).values(values).returning(joins))]


def call_is_over(connection: Connection, conversation_id: str, reason: str, now: datetime) -> list[Moved]:
    """A call was ended, at an instant (UTC), by somebody else than the joins that are in it; which joins those were."""
    running = joins.c.state.in_(sorted(SENT | {JoinState.LEAVING}))
    those = (joins.c.conversation_id == conversation_id) & running
    over = _observed(connection, those, {}, JoinState.ENDED, now, reason, conversation_id)
    return [Moved(join, JoinState.STARTED) for join in over]  # or joined, which nobody asks of one that is over


def _observed(
    connection: Connection,
    those: ColumnElement[bool],
    was: Mapping[str, JoinState],
    state: JoinState,
    now: datetime,
    reason: str,
    conversation_id: str,
) -> list[Join]:
    """Write what is known of a call into its joins; as they are then. `was`: their states before, where it may be known
    already."""
    values = {
        # The answer that names the call may have been lost with its process: then this is how we hear of it.
        "conversation_id": func.coalesce(joins.c.conversation_id, literal(conversation_id or None, Text)),
        "state": case((joins.c.state == JoinState.LEAVING, JoinState.CANCELLED), else_=state),
        # Why it was to leave is more than how it left.
        "reason": case((joins.c.state == JoinState.LEAVING, joins.c.reason), else_=reason or joins.c.reason),
        # A call that goes on is still looked at when it has been silent for long.
        "wake_at": joins.c.wake_at if state is JoinState.JOINED else None,
    }
    found = _changed(connection, those, values)
    # A call of a join that was leaving has ended like any other.
    kind = what_happened(JoinState.STARTED, state)
    if kind is not None:
        said = (
            journal.happened(join, kind, now, reason=reason, attempt=join.attempt)
            for join in found
            if was.get(join.id) is not state
        )
        journal.write(connection, said)
    return found


def add_order(connection: Connection, join: Join, now: datetime) -> None:
    """Write a join that is carried out at once, by whoever orders it: it is claimed from its first moment."""
    connection.execute(insert(joins).values(_values(join)))
    journal.write(connection, journal.planned([join], now))


def next_wake(connection: Connection, now: datetime, lanes: Lanes) -> datetime | None:
    """The earliest instant at which a refill, or a join in an open lane, is due; where some wait, of the next second
    only, so that not all that are planned are looked at for one in an open lane."""
    soon = joins.c.wake_at <= bindparam("lane_until", type_=UtcDateTime)
    values = {"lane_until": now + LOOK_AHEAD, **_lane_values(lanes, now)}
    those = soon & _in_open_lanes() if lanes.hold_back else None
    earliest = [
        leases.next_wake(connection, joins, those, values if lanes.hold_back else {}),
        connection.execute(select(func.min(events.c.refill_at))).scalar(),
    ]
    for kind, seconds in lanes.pauses:
        waits_until = leases.next_wake(connection, joins, soon & has_been_tried & (_kind() == kind), values)
        earliest.append(max(waits_until, now + timedelta(seconds=seconds)) if waits_until is not None else None)
    return min((one for one in earliest if one is not None), default=None)


def lock_join(connection: Connection, join_id: str) -> Join | None:
    """One join by its id, its row locked until the transaction ends."""
    row = connection.execute(select(joins).where(joins.c.id == join_id).with_for_update()).first()
    return _join(row) if row is not None else None


def rewrite(connection: Connection, join: Join, before: Join, now: datetime) -> None:
    """Write a whole row that is locked by us, and that was as `before`."""
    connection.execute(update(joins).where(joins.c.id == join.id).values(_values(join)))
    journal.write(connection, _of_plan([join], {before.id: before}, now))


def find_joins(
    connection: Connection, *, pal_id: str | None = None, states: Iterable[str] = (), limit: int = 1000
) -> list[Join]:
    """Joins by PAL and state, by start."""
    query = select(joins).order_by(joins.c.starts, joins.c.id).limit(limit)
    if pal_id is not None:
        query = query.where(joins.c.pal_id == pal_id)
    wanted = list(states)
    if wanted:
        query = query.where(joins.c.state.in_(wanted))
    return [_join(row) for row in connection.execute(query)]


def find_rows(connection: Connection, query: Select[Any]) -> list[Join]:
    """The joins that a query of the whole table's columns finds."""
    return [_join(row) for row in connection.execute(query)]


def attended(connection: Connection, pal_id: str, since: datetime, limit: int) -> list[Join]:
    """Joins of a PAL that are planned, under way or over well, and were not over at `since` (UTC); by start."""
    query = (
        select(joins)
        .where(joins.c.pal_id == pal_id, joins.c.state.in_(sorted(LIVE | {JoinState.ENDED})), joins.c.until > since)
        .where(joins.c.forgotten_at.is_(None))
        .order_by(joins.c.starts, joins.c.id)
        .limit(limit)
    )
    return [_join(row) for row in connection.execute(query)]


def get_join(connection: Connection, join_id: str) -> Join | None:
    """One join by its id."""
    row = connection.execute(select(joins).where(joins.c.id == join_id)).first()
    return _join(row) if row is not None else None


def uids_ahead(connection: Connection, pal_id: str) -> list[str]:
    """The events of a PAL that have joins to come or under way, or dates beyond the horizon."""
    query = select(events.c.uid).where(events.c.pal_id == pal_id, _owes_joins() | events.c.refill_at.is_not(None))
    return list(connection.execute(query.order_by(events.c.uid)).scalars())


def forget_pal(connection: Connection, pal_id: str, now: datetime) -> int:
    """Cancel all that is planned for a PAL and let its running calls end; how many joins that were."""
    of_pal, reason = joins.c.pal_id == pal_id, "pal-removed"
    unsent = of_pal & (joins.c.state == JoinState.PLANNED) & (joins.c.attempt == 0)
    found = _changed(connection, unsent, {"state": JoinState.CANCELLED, "reason": reason, "wake_at": None})
    running = {"state": JoinState.LEAVING, "reason": reason, "wake_at": now}
    found += _changed(connection, of_pal & joins.c.state.in_(sorted(LIVE)), running)
    journal.write(connection, (journal.happened(join, Happening.CANCELLED, now, reason=reason) for join in found))
    connection.execute(update(events).where(events.c.pal_id == pal_id).values(refill_at=None, kept_until=now))
    return len(found)


def _values(join: Join) -> dict[str, Any]:
    return {name: getattr(join, name) for name in _COLUMNS}


def _join(row: Row[Any]) -> Join:
    values = {name: row._mapping[name] for name in _COLUMNS}
    values["state"] = JoinState(values["state"])
    return Join(**values)
