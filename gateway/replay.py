"""Plays files through the same desk as the SMTP port, and says what came of each. A door.

Rules of this file:
- Nothing is sent: replies stay in the outbox, joins in their table, so a story can be told file by file.
- What is shown is read back from the store, not from the decision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

import scheduler.store
from gateway import store
from gateway.binding import Bound, Links, Unbound, bind, organizer
from gateway.explain import instant_text as instant_text
from gateway.explain import join_json as join_json
from gateway.ics import Unreadable, read
from gateway.intake import Incoming, Intake, Played, fresh_id
from gateway.itip import apply
from gateway.mime import recipients_of
from gateway.pals import Pal
from gateway.reply import Reply
from gateway.store_outbox import LetterRow
from gateway.verdict import TO_OPERATOR
from scheduler.event import Event
from scheduler.joins import Join
from scheduler.occurrences import expand

SUFFIXES = (".eml", ".ics")


@dataclass(frozen=True)
class Shown:
    """What one file did for one PAL and event."""

    file: str
    played: Played
    joins: tuple[Join, ...]
    replies: tuple[tuple[Reply, str], ...]  # each with the whole mail

    def as_json(self) -> dict[str, Any]:
        """The documented form of `replay --json`; times are UTC."""
        decision = self.played.decision
        replies = [_reply_json(reply, raw) for reply, raw in self.replies]
        return {
            "file": self.file,
            "pal": self.played.pal.address,
            "uid": self.played.uid,
            "verdict": decision.verdict.value,
            "reason": decision.reason.value if decision.reason else None,
            "platform": decision.platform,
            "reply": replies[0] if replies else None,
            "replies": replies,
            "joins": [join_json(join) for join in self.joins],
            "detail": self.remark,
        }

    @property
    def remark(self) -> str:
        """What the operator should know of it: what the reason means, the detail, and what was noticed on the way."""
        decision = self.played.decision
        meaning = TO_OPERATOR.get(decision.reason, "") if decision.reason else ""
        return "; ".join(filter(None, (meaning, decision.detail, *decision.notes)))

    def as_text(self) -> str:
        """The same for people."""
        decision = self.played.decision
        reason = f" ({decision.reason})" if decision.reason else ""
        lines = [f"{self.file} → {self.played.pal.address}: {decision.verdict}{reason}"]
        lines += [f"  {self.remark}"] if self.remark else []
        lines += [f"  reply {reply.partstat} to {reply.to}: {reply.comment}" for reply, _ in self.replies]
        lines += [f"  {join.starts:%a %Y-%m-%d %H:%M} UTC  {join.state}  {join.url}" for join in self.joins]
        return "\n".join(lines)


def files(path: Path) -> Iterator[Path]:
    """The file itself, or the files of a folder sorted by name. Raises OSError when it is not there."""
    path.stat()
    if path.is_dir():
        yield from sorted(one for one in path.rglob("*") if one.suffix.lower() in SUFFIXES and one.is_file())
    else:
        yield path


def play(
    intake: Intake, engine: Engine, path: Path, pals: Sequence[Pal], now: datetime, within: timedelta
) -> list[Shown]:
    """Play one file at an instant (UTC). Raises OSError when it cannot be read, StoreAway when nothing was written."""
    data = path.read_bytes()
    if path.suffix.lower() == ".ics":
        played = intake.take_file(data, pals, now)
    else:
        played = intake.take(Incoming(fresh_id("m"), data, "", _recipients(data, pals)), now)
    with engine.connect() as connection:
        return [shown(connection, str(path), one, now + within) for one in played]


def _recipients(data: bytes, pals: Sequence[Pal]) -> tuple[str, ...]:
    """A file has no envelope: the PALs that its headers name, or all of them."""
    try:
        named = set(recipients_of(data))
    except Unreadable:
        named = set()
    found = tuple(pal.address for pal in pals if any(pal.is_called(address) for address in named))
    return found or tuple(pal.address for pal in pals)


def shown(connection: Connection, file: str, one: Played, before: datetime) -> Shown:
    """What was decided, with the joins that begin before an instant (UTC) and the replies as they are written."""
    joins: tuple[Join, ...] = ()
    if one.uid is not None:
        found = scheduler.store.load_joins(connection, one.pal.id, one.uid)
        joins = tuple(join for join in found if join.starts < before)
    replies = []
    for reply in one.decision.replies:
        raw = store.letter_by_key(connection, reply.key)
        replies.append((reply, raw.decode("utf-8", "replace")))
    return Shown(file, one, joins, tuple(replies))


def _reply_json(reply: Reply, raw: str) -> dict[str, Any]:
    return {
        "to": reply.to,
        "partstat": reply.partstat,
        "recurrence_id": instant_text(reply.recurrence_id),
        "comment": reply.comment,
        "raw": raw,
    }


def answer_json(answer: LetterRow) -> dict[str, Any]:
    """An answer in the outbox in the documented form; times are UTC."""
    return {
        "reply_id": answer.id,
        "invite_id": answer.invite_id,
        "uid": answer.uid,
        "recurrence_id": instant_text(answer.recurrence_id),
        "partstat": answer.partstat,
        "recipient": answer.recipient,
        "state": answer.state,
        "created_at": instant_text(answer.created_at),
        "settled_at": instant_text(answer.settled_at),
        "attempts": answer.attempt,
        "error": answer.error,
        "note": answer.note,
    }


def read_events(data: bytes, pal: Pal, now: datetime) -> tuple[list[Event], list[str]]:
    """The events of a calendar file, and one sentence for each that cannot be read."""
    try:
        messages = read(data)
    except Unreadable as error:
        return [], [f"The file cannot be read: {error}."]
    events, faults = [], []
    for message in messages:
        bound = [bind(one, message, pal, Links(), now) for one in message.events]
        faults += [f"{message.uid}: {one.detail}." for one in bound if isinstance(one, Unbound)]
        components = tuple(one.component for one in bound if isinstance(one, Bound))
        events.append(apply(Event(message.uid, organizer(message)), components).event)
    return events, faults


def occurrences_of(events: list[Event], after: datetime | None, before: datetime | None) -> list[dict[str, Any]]:
    """The occurrences of events between two instants, by start, in the documented form of `occurrences --json`."""
    starts = [one.zone.instant(one.start) for event in events for one in (event.master, *event.overrides) if one]
    if not starts:
        return []
    low = after or min(starts)
    high = before or low + timedelta(days=366)
    found = [one for event in events for one in expand(event, low, high)]
    return [
        {
            "starts": instant_text(one.starts),
            "ends": instant_text(one.ends),
            "recurrence_id": instant_text(one.recurrence_id),
            "url": one.component.url,
            "status": one.component.status.lower(),
        }
        for one in sorted(found, key=lambda one: (one.starts, one.recurrence_id))
    ]
