"""What a file would do: one message for one PAL, decided and not written; and what an edit would change. Pure.

Rules of this file:
- Values first (`Weighed`, `Change`), their documented JSON and their lines for people after: a page shows the same.
- Nothing that came from outside reaches a line with control or bidi characters in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from gateway.decide import Decision
from gateway.explain import instant_text, join_json, printable, story
from gateway.pals import Pal
from gateway.reply import Reply
from gateway.senders import Sender
from gateway.verdict import TO_OPERATOR
from scheduler.event import Event
from scheduler.joins import LIVE, Join, JoinState, Policy, ahead, too_late
from scheduler.occurrences import Occurrence, expand, is_excluded

SHOWN: Final = 10  # dates of one event
COMPARED: Final = 500  # dates of one event that are held against those after an edit
_LOOK_AHEAD: Final = (timedelta(days=40), timedelta(days=400), timedelta(days=3660))


@dataclass(frozen=True)
class Weighed:
    """What one message would mean for one PAL. `uid` None: there is no event in it. `event` and `joins` are as they
    would be afterwards. `kept_back`: why an answer would not go out, by its key."""

    pal: Pal
    is_known: bool  # the store has this PAL
    uid: str | None
    sender: Sender
    decision: Decision
    event: Event | None
    joins: tuple[Join, ...]
    policy: Policy
    now: datetime
    kept_back: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What the event is called, as far as that is known."""
        one = ahead(self.event, self.now, self.policy) if self.event is not None else None
        master = self.event.master if self.event is not None else None
        component = one.component if one is not None else master
        return component.summary if component is not None else ""

    @property
    def link(self) -> str | None:
        """Where its next join leads."""
        return next((join.url for join in self.coming_joins), None)

    @property
    def coming_joins(self) -> tuple[Join, ...]:
        """The joins that would be owed, by start."""
        live = [join for join in self.joins if join.state in LIVE and join.until > self.now]
        return tuple(sorted(live, key=lambda join: (join.starts, join.id)))

    def coming(self, at_most: int = SHOWN) -> list[Occurrence]:
        """The next dates of the event, whether the PAL joins them or not."""
        found: list[Occurrence] = []
        for reach in _LOOK_AHEAD if self.event is not None else ():
            assert self.event is not None  # noqa: S101  for mypy
            dates = expand(self.event, self.now - self.policy.open_end, self.now + reach)
            found = [one for one in dates if too_late(one, self.policy) > self.now]
            if len(found) >= at_most:
                break
        return found[:at_most]

    def as_json(self) -> dict[str, Any]:
        """The documented form of a decision of `explain FILE --json`; times are UTC, `…_local` the event's own."""
        decision, sender = self.decision, self.sender
        due = {join.recurrence_id: join for join in self.coming_joins}
        return {
            "pal": self.pal.address,
            "pal_known": self.is_known,
            "uid": self.uid,
            "title": self.title,
            "verdict": decision.verdict.value,
            "reason": decision.reason.value if decision.reason else None,
            "platform": decision.platform,
            "detail": _detail(decision),
            "sender": sender.shown,
            "authentication": sender.as_json() if sender.checked else None,
            "allowed_by": decision.allowed_by,
            "link_candidates": [vars(link) for link in decision.seen],
            "occurrences": [_occurrence_json(one, due.get(one.recurrence_id)) for one in self.coming()],
            "joins": [join_json(join) for join in self.coming_joins[:SHOWN]],
            "joins_total": len(self.coming_joins),
            "replies": [self._reply_json(reply) for reply in decision.replies],
        }

    def _reply_json(self, reply: Reply) -> dict[str, Any]:
        return {
            "to": reply.to,
            "partstat": reply.partstat,
            "recurrence_id": instant_text(reply.recurrence_id),
            "comment": reply.comment,
            "calendar": reply.calendar,
            "kept_back": self.kept_back.get(reply.key),
        }

    def as_lines(self) -> list[str]:
        """The same for people."""
        who = self.pal.address + ("" if self.is_known else " (which the store does not have)")
        lines = ["", *story(self._as_invite(), who)]
        lines += [f"Title: {printable(self.title)}"] if self.title else []
        return [
            *lines,
            *self._date_lines(),
            *(line for one in self.decision.replies for line in self._reply_lines(one)),
        ]

    def _as_invite(self) -> dict[str, Any]:
        """The columns that `story` tells of, as they would be written."""
        decision, sender = self.decision, self.sender
        return {
            "id": printable(self.uid or "no event"),
            "verdict": decision.verdict.value,
            "reason": decision.reason.value if decision.reason else None,
            "platform": decision.platform,
            "sender": sender.shown,
            "authentication": sender.as_json() if sender.checked else None,
            "allowed_by": decision.allowed_by,
            "has_allowlist": bool(self.pal.allowlist),
            "link_candidates": [vars(link) for link in decision.seen],
            "detail": "; ".join(filter(None, (decision.detail, *decision.notes))),
        }

    def _date_lines(self) -> Iterator[str]:
        due = {join.recurrence_id: join for join in self.coming_joins}
        dates = self.coming()
        yield f"Dates, the next {len(dates)}:" if dates else "Dates: none to come"
        for one in dates:
            yield "  " + printable(_date_line(one, due.get(one.recurrence_id)))
        more = len(self.coming_joins) - len([one for one in dates if one.recurrence_id in due])
        if more > 0:
            yield f"  and {more} more that would be joined"

    def _reply_lines(self, reply: Reply) -> Iterator[str]:
        date = f" for {reply.recurrence_id:%Y-%m-%d %H:%M} UTC" if reply.recurrence_id else ""
        yield printable(f"Reply: {reply.partstat}{date} to {reply.to}: {reply.comment}")
        if reply.key in self.kept_back:
            yield f"  It would not go out: {printable(self.kept_back[reply.key])}"
        for line in reply.calendar.splitlines():
            yield "  " + printable(line)


@dataclass(frozen=True)
class Change:
    """What an edit would change for one PAL: a message's decision before it and after it."""

    before: Weighed
    after: Weighed

    @property
    def moved(self) -> tuple[tuple[Occurrence, Occurrence], ...]:
        """Dates that take place at another time than before, with the new one."""
        same = {one.recurrence_id: one for one in self._new}
        kept = [(one, same[one.recurrence_id]) for one in self._old if one.recurrence_id in same]
        found = [pair for pair in kept if (pair[0].starts, pair[0].ends) != (pair[1].starts, pair[1].ends)]
        return tuple(sorted([*found, *self._paired], key=lambda pair: pair[0].starts))

    @property
    def removed(self) -> tuple[Occurrence, ...]:
        """Dates that take place no more."""
        elsewhere = {one.recurrence_id for one, _ in self._paired}
        kept = {one.recurrence_id for one in self._new} | elsewhere
        return tuple(one for one in self._old if one.recurrence_id not in kept)

    @property
    def added(self) -> tuple[Occurrence, ...]:
        """Dates that did not take place before."""
        elsewhere = {one.recurrence_id for _, one in self._paired}
        kept = {one.recurrence_id for one in self._old} | elsewhere
        return tuple(one for one in self._new if one.recurrence_id not in kept)

    @property
    def _paired(self) -> list[tuple[Occurrence, Occurrence]]:
        """A reschedule changes the original starts: dates that lost theirs follow those that are new, as joins do."""
        olds, news = ({one.recurrence_id for one in dates} for dates in (self._old, self._new))
        event = self.after.event
        homeless = [
            one
            for one in self._old
            if one.recurrence_id not in news and event is not None and not is_excluded(event, one.recurrence_id)
        ]
        fresh = [one for one in self._new if one.recurrence_id not in olds]
        return list(zip(homeless, fresh, strict=False))

    @property
    def _old(self) -> list[Occurrence]:
        return self._within(self.before)

    @property
    def _new(self) -> list[Occurrence]:
        return self._within(self.after)

    def _within(self, one: Weighed) -> list[Occurrence]:
        """The dates to come within the horizon, seen from the edit's instant."""
        if one.event is None:
            return []
        policy, now = self.after.policy, self.after.now
        found = expand(one.event, now - policy.open_end, now + policy.horizon)
        coming = [date for date in found if too_late(date, policy) > now]
        return (coming or one.coming(1))[:COMPARED]

    @property
    def cancelled(self) -> tuple[Join, ...]:
        """Joins that were owed before, and are not any more."""
        owed = {join.id for join in self.after.coming_joins}
        return tuple(join for join in self.before.coming_joins if join.id not in owed)

    @property
    def pairs(self) -> dict[str, tuple[Any, Any]]:
        """What is told before and after, by name."""
        before, after = self.before, self.after
        verdicts = (_verdict(before.decision), _verdict(after.decision))
        times = tuple(next((_when(one) for one in side), None) for side in (self._old, self._new))
        return {
            "verdict": verdicts,
            "title": (before.title, after.title),
            "link": (before.link, after.link),
            "next": (times[0], times[1]),
            "joins": (len(before.coming_joins), len(after.coming_joins)),
        }

    def as_json(self) -> dict[str, Any]:
        """The documented form of a change of `explain FILE --edit OTHER --json`."""
        return {
            "pal": self.after.pal.address,
            "uid": self.after.uid,
            "changed": sorted(name for name, (old, new) in self.pairs.items() if old != new),
            **{name: {"before": old, "after": new} for name, (old, new) in self.pairs.items()},
            "added": [_span(one) for one in self.added],
            "removed": [_span(one) for one in self.removed],
            "moved": [{"from": _span(old), "to": _span(new)} for old, new in self.moved],
            "joins_cancelled": [join_json(join) for join in self.cancelled],
            "replies": [{"partstat": one.partstat, "comment": one.comment} for one in self.after.decision.replies],
        }

    def as_lines(self) -> Iterator[str]:
        """The same for people."""
        yield ""
        yield printable(f"What the edit changes of {self.after.uid or 'no event'} for {self.after.pal.address}:")
        for name, (old, new) in self.pairs.items():
            said = _said(name, old) if old == new else f"{_said(name, old)} → {_said(name, new)}"
            yield printable(f"  {name.capitalize()}: {said}" + (" (as before)" if old == new else ""))
        for old, new in _some(self.moved):
            yield f"  Moved: {_when(old)} → {_when(new)}"
        for what, dates in (("Removed", self.removed), ("Added", self.added)):
            for one in _some(dates):
                yield f"  {what}: {_when(one)}"
        for what, count in (("moved", self.moved), ("removed", self.removed), ("added", self.added)):
            if len(count) > SHOWN:
                yield f"  {len(count)} dates are {what}, of which {SHOWN} are shown"
        for join in _some(self.cancelled):
            yield printable(f"  Join cancelled: {join.starts:%a %Y-%m-%d %H:%M} UTC  {join.url}")
        if not self.after.decision.replies:
            yield "  Reply: none is owed"
        for reply in self.after.decision.replies:
            yield printable(f"  Reply: {reply.partstat} to {reply.to}: {reply.comment}")


def changes(before: Sequence[Weighed], after: Sequence[Weighed]) -> list[Change]:
    """Each message of an edit beside what stood before it; what the first file does not speak of is no change."""
    known = {(one.pal.id, one.uid): one for one in before}
    return [Change(known[one.pal.id, one.uid], one) for one in after if (one.pal.id, one.uid) in known]


def _some(things: Sequence[Any]) -> Sequence[Any]:
    return things[:SHOWN]


_LACKING: Final = {"link": "no link", "next": "no date ahead", "title": "no title"}


def _said(name: str, value: object) -> str:
    return _LACKING.get(name, "none") if value in (None, "") else str(value)


def _verdict(decision: Decision) -> str:
    return decision.verdict.value + (f" ({decision.reason.value})" if decision.reason else "")


def _detail(decision: Decision) -> str:
    meaning = TO_OPERATOR.get(decision.reason, "") if decision.reason else ""
    return "; ".join(filter(None, (meaning, decision.detail, *decision.notes)))


def _span(one: Occurrence) -> dict[str, Any]:
    zone = one.component.zone
    return {
        "recurrence_id": instant_text(one.recurrence_id),
        "starts": instant_text(one.starts),
        "ends": instant_text(one.ends),
        "starts_local": f"{zone.wall(one.starts):%Y-%m-%dT%H:%M:%S}",
        "ends_local": f"{zone.wall(one.ends):%Y-%m-%dT%H:%M:%S}",
        "zone": zone.name,
    }


def _occurrence_json(one: Occurrence, join: Join | None) -> dict[str, Any]:
    return {
        **_span(one),
        "title": one.component.summary,
        "url": one.component.url,
        "join_at": instant_text(join.at) if join is not None else None,
    }


def _when(one: Occurrence) -> str:
    """Tue 2026-03-03 15:00–15:30 Europe/Berlin (14:00–14:30 UTC); the day in UTC where it is another."""
    zone = one.component.zone
    starts, ends = zone.wall(one.starts), zone.wall(one.ends)
    ends_on = f"{ends:%H:%M}" if ends.date() == starts.date() else f"{ends:%Y-%m-%d %H:%M}"
    local = f"{starts:%a %Y-%m-%d %H:%M}–{ends_on} {zone.name}"
    if zone.name == "UTC":
        return printable(local)
    day = "" if one.starts.date() == starts.date() else f"{one.starts:%Y-%m-%d} "
    return printable(f"{local} ({day}{one.starts:%H:%M}–{one.ends:%H:%M} UTC)")


def _date_line(one: Occurrence, join: Join | None) -> str:
    if join is not None:
        state = "" if join.state is JoinState.PLANNED else f", {join.state}"
        return f"{_when(one)}  joined at {join.at:%H:%M:%S} UTC{state}: {join.url}"
    return f"{_when(one)}  not joined{'' if one.component.url else ': there is no link that can be'}"
