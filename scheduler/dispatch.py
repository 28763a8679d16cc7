"""Carrying joins out: claim, send, write the outcome. Shell.

Rules of this file:
- The attempt is committed before the request leaves, the outcome after. Whoever finds an attempt without an outcome
  looks at the platform first and sends again only what is not there: late beats double.
- What may be begun beside what is under way is decided in `lanes`: no target and no PAL waits for another that hangs.
- What an answer means is decided in `retry`, which rows are due in the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from random import random
from time import monotonic
from typing import Any, Final, TypeGuard
from weakref import WeakValueDictionary

import structlog
from sqlalchemy import Connection, Engine

from scheduler import store
from scheduler.database import AWAY, is_deadlock
from scheduler.fates import Fates, named
from scheduler.gate import Gate
from scheduler.joins import BROKEN, Join, JoinState, Policy, plan, refill_at
from scheduler.lanes import ROOM, SENDING, Lanes, lanes
from scheduler.platform import Answer, Platform, Refused
from scheduler.retry import TOO_MANY, Again, after_failure
from scheduler.targets import Seen, Started
from scheduler.together import Gathered, Write
from scheduler.worker import Worker

LEASE: Final = timedelta(seconds=60)  # longer than two time-outs of the platform
GIVE_WAY: Final = timedelta(seconds=1)
REMEMBERED: Final = 10_000  # joins that were turned away
REFILLS: Final = 20  # events that are planned further at a claim, some 40 ms: what is due does not wait for all of them

log = structlog.get_logger("joins")


def plan_further(connection: Connection, now: datetime, policy: Policy, limit: int) -> list[tuple[str, list[str]]]:
    """Plan the joins of up to `limit` events that are due for it; for each its PAL and the joins that were written."""
    events = store.events_to_refill(connection, now, limit)
    written = []
    # In one order, because each locks its joins.
    for attendant, event in sorted(events, key=lambda one: (one[0].pal_id, one[1].uid)):
        existing = store.load_joins(connection, attendant.pal_id, event.uid)
        rows = plan(event, existing, attendant, now, policy)
        store.save_joins(connection, rows, existing, now=now)
        store.save_event(connection, attendant, event, refill_at(event, now, policy), is_new=False)
        written.append((attendant.pal_id, [join.id for join in rows]))
    return written


class Dispatcher(Worker[Join]):
    """Sends what is due. `platforms`: by the kind of target; `callback_url` makes the address at which a platform
    reports on a join."""

    def __init__(
        self,
        engine: Engine,
        platforms: Mapping[str, Platform],
        callback_url: Callable[[str], str],
        now: Callable[[], datetime],
        owner: str,
        policy: Policy,
        jitter: Callable[[], float] = random,
        fates: Fates | None = None,
    ) -> None:
        super().__init__(ROOM, engine)
        self._platforms = platforms
        self._callback_url = callback_url
        self._now = now
        self._owner = owner
        self._policy = policy
        self._jitter = jitter
        self._fates = fates or Fates()
        self._sent_now: set[str] = set()  # joins whose order may be on its way, or is and has not been written down
        self._waits_for: dict[str, str] = {}  # joins that gave way, and for which other one
        self._turned_away: dict[str, int] = {}  # joins whose last attempt was no call for certain, and which one it was
        self._lanes = Lanes()
        self._rooms: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._gates = {kind: Gate(platform, SENDING) for kind, platform in platforms.items()}
        self._looks: Gathered[Join, store.InRoom | None] = Gathered(self._in_rooms)

    def room(self) -> int:
        circuits = {kind: platform.circuit for kind, platform in self._platforms.items()}
        self._lanes = lanes(self.under_way(), circuits, monotonic())
        return self._lanes.room

    def is_full(self) -> bool:
        self.room()
        return self._lanes.is_full

    def holds_back(self) -> bool:
        return self._lanes.hold_back

    def claim(self, limit: int) -> list[Join]:
        now = self._now()
        self.is_behind = self._plans_further(now)
        with self._engine.begin() as connection:
            ended = store.ended_leases(connection, now, limit)
            claimed = store.claim(connection, now, self._owner, LEASE, limit, self._lanes)
        self._fates.taken_over([join for join in claimed if join.id in ended and join.id not in self._under_way])
        return claimed

    def _plans_further(self, now: datetime) -> bool:
        """Plan some events further; whether there are more. It waits for rows of others, so what is claimed does not
        wait with it."""
        try:
            with self._engine.begin() as connection:
                written = plan_further(connection, now, self._policy, REFILLS)
        except AWAY as error:
            if is_deadlock(error):
                return True
            raise
        for pal_id, ids in written:
            if ids:
                log.info("joins planned further", pal=pal_id, joins=len(ids), join_ids=named(ids))
        return len(written) == REFILLS

    def order_of(self, item: Join) -> tuple[str, ...]:
        return item.pal_id, item.uid, item.starts.isoformat(), item.id

    def give_back(self, items: Sequence[Join]) -> None:
        with self._engine.begin() as connection:
            store.give_back(connection, items, self._now())

    def has_left(self, item: Join) -> bool:
        # Who takes it over at once would look for the call before the platform shows it.
        return item.id in self._sent_now

    def next_due(self) -> datetime | None:
        with self._engine.begin() as connection:
            return store.next_wake(connection, self._now(), self._lanes)

    async def carry_out(self, join: Join) -> None:
        if join.target["kind"] not in self._platforms:
            await self._settle(join, JoinState.FAILED, reason="target-not-configured")
        elif join.state is JoinState.LEAVING:
            await self._leave(join)
        elif join.state in (JoinState.STARTED, JoinState.JOINED):
            await (self._look(join) if join.conversation_id is not None else self._look_for(join))
        elif self._now() >= join.until:
            await self._miss(join)
        else:
            await self._enter(join)

    async def _miss(self, join: Join) -> None:
        """The meeting is over; the PAL may have been there all the same, if the answer to an attempt was lost."""
        found = None
        if join.attempt > 1:
            found = await self._found(join)
        if not isinstance(found, Started):
            why = self._why_missed(join)
            await self._settle(join, JoinState.MISSED, reason="ended-before-we-could-join", detail=why)
            return
        await self._settle(
            join,
            JoinState.STARTED,
            conversation_id=found.conversation_id,
            room=found.room,
            wake_at=self._now(),
        )

    def _why_missed(self, join: Join) -> str:
        """For people: whether anybody tried."""
        if join.attempt > 1:
            return f"no try before the end ({join.until:%Y-%m-%d %H:%M:%S} UTC) came to a call"
        due, now = f"{join.at:%Y-%m-%d %H:%M:%S} UTC", f"{self._now():%Y-%m-%d %H:%M:%S} UTC"
        return f"due at {due}, taken at {now}: until then no scheduler was running, or the store was away"

    async def order(self, join: Join) -> Answer | Refused | str:
        """Carry out a join at once that somebody waits for: claimed by us, and committed. What the platform answers,
        or the id of the call where the PAL sits in that room already.

        Who waits hears of a refusal and asks again, so it is final here; an order whose answer was lost is taken back.
        """
        answer = await self._enter(join, is_final=True)
        return answer if answer is not None else Refused(None, None, "the order was lost to another process")

    @property
    def fates(self) -> Fates:
        """Where is said what became of joins."""
        return self._fates

    @property
    def owner(self) -> str:
        """The name that this process claims under."""
        return self._owner

    def platform_of(self, join: Join) -> Platform:
        """The platform that a join is sent to."""
        return self._platforms[join.target["kind"]]

    async def _enter(self, join: Join, *, is_final: bool = False) -> Answer | Refused | str | None:
        # One PAL is in one room once, however many invitations to it there are.
        async with self._rooms.setdefault((join.pal_id, join.url), asyncio.Lock()):
            # A second attempt may follow one whose answer was lost.
            # Unless each attempt before was turned away for certain.
            is_known = self._turned_away.pop(join.id, 0) == join.attempt - 1
            found = None if is_known else await self._found(join)
            if found is not None:
                return await self._sent(join, found, is_final=is_final)
            other = await self._in_room(join)
            if other is None:
                return await self._send(join, is_final=is_final, is_known=is_known)
            if other.conversation_id is None or (other.is_before and not await self._hand_over(other)):
                return await self._give_way(join, other, is_final=is_final)
            if other.is_before:
                return await self._send(join, is_final=is_final, is_known=is_known)
            look = self._next_look(join)
            await self._settle(join, other.join.state, conversation_id=other.conversation_id, wake_at=look, like=other)
            return other.conversation_id

    async def _found(self, join: Join) -> Started | Refused | None:
        async with self._gate(join):
            return await self.platform_of(join).find(self._callback_url(join.order_id))

    def _gate(self, join: Join, *, is_final: bool = False) -> AbstractAsyncContextManager[None]:
        """Who was not tried yet goes first. Who waits for an order does not queue behind the joins that are due."""
        return nullcontext() if is_final else self._gates[join.target["kind"]].passed(rank=min(join.attempt, 2))

    async def _in_room(self, join: Join) -> store.InRoom | None:
        """What sits in the room of a join, once more after a call was found to be over, which nobody had told."""

        while (other := await self._looks.ask(join)) is not None and other.conversation_id is not None:
            held = replace(other.join, conversation_id=other.conversation_id)
            seen = await self.platform_of(held).look(other.conversation_id)
            if not isinstance(seen, Seen) or seen.state is not JoinState.ENDED:
                break
            await asyncio.to_thread(self._observe, held, seen)
        return other

    def _in_rooms(self, joins: Sequence[Join]) -> list[store.InRoom | None]:
        with self._engine.connect() as connection:
            return store.in_rooms(connection, joins, self._now())

    async def _hand_over(self, other: store.InRoom) -> bool:
        """A meeting that follows in the same room has a call of its own: the one before ends with its meeting."""
        if self._now() < other.join.until or other.conversation_id is None:
            return False
        if await self.platform_of(other.join).end(other.conversation_id) is not None:
            return False
        held = replace(other.join, conversation_id=other.conversation_id)
        await asyncio.to_thread(self._observe, held, Seen(JoinState.ENDED, "next-meeting-in-the-room"))
        return True

    async def _give_way(self, join: Join, other: store.InRoom, *, is_final: bool) -> Refused | None:
        """The PAL is being sent into this room, may be there, or is just leaving it: look again, once that is over. It
        is said once for each that is waited for."""
        since = max(self._now(), other.free_at)
        if is_final:
            await self._settle(join, JoinState.CANCELLED, reason="another-order")
            return Refused(409, None, "another order", {"message": "This PAL is being sent into that call already."})
        wait = GIVE_WAY * (1 + self._jitter()) if since <= self._now() else timedelta()
        is_news = self._waits_for.get(join.id) != other.join.id
        if len(self._waits_for) >= REMEMBERED:  # it is said once more of some
            self._waits_for.clear()
        self._waits_for[join.id] = other.join.id
        says = f"waits for {other.join.id}, by which this PAL is in this room, or may be"
        await self._settle(join, JoinState.PLANNED, wake_at=since + wait, owner=None, detail=says, is_news=is_news)
        return None

    def _remember_turned_away(self, join: Join) -> None:
        if len(self._turned_away) >= REMEMBERED:  # others have tried them since
            self._turned_away.clear()
        self._turned_away[join.id] = join.attempt

    async def _send(self, join: Join, *, is_final: bool, is_known: bool) -> Answer | Refused | None:
        """`is_known`: no attempt before this one can be a call."""
        try:
            async with self._gate(join, is_final=is_final):
                if self._is_late(join):
                    log.warning("join left to the next claim", join=join.id, attempt=join.attempt)
                    return None
                self._sent_now.add(join.id)
                sent = await self.platform_of(join).start(join, self._callback_url(join.order_id))
            if is_known and isinstance(sent, Refused) and sent.status == TOO_MANY:
                self._remember_turned_away(join)
            return await self._sent(join, sent, is_final=is_final)
        finally:
            self._sent_now.discard(join.id)

    async def _sent(
        self, join: Join, sent: tuple[Started, Answer] | Started | Refused, *, is_final: bool
    ) -> Answer | Refused | None:
        """Write down what came of sending a join, or of looking for one that was sent before."""
        if isinstance(sent, Refused):
            await (self._take_back if is_final else self._refused)(join, sent)
            return sent
        started, answer = sent if isinstance(sent, tuple) else (sent, None)
        await self._settle(
            join,
            JoinState.STARTED,
            conversation_id=started.conversation_id,
            room=started.room,
            # One that was found may be over by now, which nobody could be told.
            wake_at=self._next_look(join) if answer is not None else self._now(),
        )
        return answer

    def _is_late(self, join: Join) -> bool:
        """Whether its lease is all but over: a process that was halted meanwhile must not do what another does."""
        return join.wake_at is not None and self._now() > join.wake_at - LEASE / 4

    async def _refused(self, join: Join, answer: Refused) -> None:
        verdict = after_failure(
            status=answer.status,
            retry_after=answer.retry_after,
            attempt=join.attempt,
            now=self._now(),
            until=join.until,
            starts=join.starts,
            jitter=self._jitter(),
        )
        if isinstance(verdict, Again):
            await self._settle(join, JoinState.PLANNED, wake_at=verdict.at, detail=_said(answer))
        else:
            await self._settle(join, JoinState.FAILED, reason=verdict.reason, detail=_said(answer))

    async def _take_back(self, join: Join, answer: Refused) -> None:
        if answer.status is not None:
            await self._settle(
                join, JoinState.FAILED, reason=f"platform-answered-{answer.status}", detail=answer.detail
            )
            return
        # It may have been taken all the same: whoever is told that it was not must not find the PAL in the call.
        again = self._now() + LEASE / 4
        await self._settle(join, JoinState.LEAVING, reason="platform-unreachable", wake_at=again, detail=answer.detail)

    async def _look(self, join: Join) -> None:
        """A call that has said nothing for long is asked how it goes."""
        conversation_id = join.conversation_id or ""
        async with self._gate(join):
            seen = await self.platform_of(join).look(conversation_id)
        if isinstance(seen, Seen) and seen.state is JoinState.ENDED:
            await asyncio.to_thread(self._observe, join, seen)
        else:
            state = seen.state if isinstance(seen, Seen) else join.state
            now, next_look = self._now(), self._next_look(join)
            write = partial(store.settle, claimed=join, now=now, state=state, wake_at=next_look)
            (await self._commits.ask(Write(write, self.order_of(join)))).result()

    async def _look_for(self, join: Join) -> None:
        """The platform told that the PAL is in the call, and not which one it is; the answer that does was lost."""
        found = await self._found(join)
        if isinstance(found, Started):
            name, room = found.conversation_id, found.room
            await self._settle(join, join.state, wake_at=self._now(), conversation_id=name, room=room)
        elif self._now() < join.until:
            await self._settle(join, join.state, wake_at=self._next_look(join))
        else:
            await asyncio.to_thread(self._observe, join, Seen(JoinState.ENDED, "no-longer-there"))

    def _observe(self, join: Join, seen: Seen) -> None:
        now = self._now()
        with self._engine.begin() as connection:
            moved = store.observe(
                connection,
                join.order_id,
                seen.state,
                now=now,
                reason=seen.reason,
                conversation_id=join.conversation_id or "",
            )
        self._fates.moved(moved, seen.reason, now, found="by looking")

    def _next_look(self, join: Join) -> datetime:
        return self._now() + self.platform_of(join).look_every

    async def _leave(self, join: Join) -> None:
        platform, conversation_id = self.platform_of(join), join.conversation_id
        answer: Started | Refused | None = None
        if conversation_id is None:
            answer = await platform.find(self._callback_url(join.order_id))
            conversation_id = answer.conversation_id if isinstance(answer, Started) else None
        held = replace(join, conversation_id=conversation_id)
        if conversation_id is not None and not await asyncio.to_thread(self._is_shared, held):
            answer = await platform.end(conversation_id)
        if isinstance(answer, Refused) and self._now() < join.until:
            await self._settle(join, JoinState.LEAVING, wake_at=self._now() + LEASE / 4, detail=answer.detail)
        else:
            await self._settle(join, JoinState.CANCELLED, conversation_id=conversation_id)

    def _is_shared(self, join: Join) -> bool:
        with self._engine.connect() as connection:
            return store.is_shared(connection, join)

    async def _settle(
        self,
        join: Join,
        state: JoinState,
        *,
        wake_at: datetime | None = None,
        detail: str = "",
        like: store.InRoom | None = None,
        is_news: bool = True,
        **values: Any,
    ) -> None:
        """Write down what came of a join. `like`: it is in the call of another, and as far as that one is by now, since
        the platform says it once; a call that this one is no longer in is looked at, at once. `is_news`: or it was said
        before."""
        now = self._now()
        broken_at = now if state in BROKEN and _was_promised(join) else None

        def write(connection: Connection, attempt: int) -> bool:
            held, into, at = replace(join, attempt=attempt), state, wake_at
            if like is not None:
                there = store.lock_join(connection, like.join.id)
                into, at = (there.state, wake_at) if _sits(there, like) else (JoinState.STARTED, self._now())
            told: dict[str, Any] = {"broken_at": broken_at, "detail": detail, "is_news": is_news}
            return store.settle(connection, held, now=now, state=into, wake_at=at, **told, **values)

        ours = await self.written(join, write)
        again = state is JoinState.PLANNED
        waits = again or state is JoinState.LEAVING
        outcome = _outcome(state, ours=ours, is_shared=like is not None, gave_way="owner" in values)
        self._fates.settled(join, state if ours else join.state, outcome, values.get("reason"), now)
        if ours and not is_news:
            return
        say = log.warning if again or state in (JoinState.FAILED, JoinState.MISSED) else log.info
        more = {
            "reason": values.get("reason"),
            "again": wake_at.strftime("%H:%M:%SZ") if wake_at and waits else "",
            "detail": detail,
        }
        say(
            f"join {'not taken' if again else state.value}" if ours else "join lost to another",
            **self._fates.facts(join, values.get("conversation_id")),
            attempt=join.attempt,
            starts=join.starts.strftime("%Y-%m-%dT%H:%M:%SZ"),
            late=round((now - join.at).total_seconds(), 2),
            **{key: value for key, value in more.items() if value},
        )


def _said(answer: Refused) -> str:
    """What a target answered, for people."""
    return f"answered {answer.status}: {answer.detail}" if answer.status is not None else f"no answer: {answer.detail}"


def _outcome(state: JoinState, *, ours: bool, is_shared: bool, gave_way: bool) -> str:
    """What came of an attempt, in one of few words."""
    if not ours:
        return "lost"
    if is_shared:
        return "shared"
    if state is JoinState.PLANNED:
        return "gave-way" if gave_way else "retried"
    return state.value


def _sits(there: Join | None, like: store.InRoom) -> TypeGuard[Join]:
    return there is not None and there.sits and there.conversation_id == like.conversation_id


def _was_promised(join: Join) -> bool:
    """Whether somebody counts on a join and cannot know what came of it: whoever ordered it was answered, and where it
    was in a call before, it came."""
    return join.uid != join.id and not join.entry
