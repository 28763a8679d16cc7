"""What organizers say, and where a PAL has to be after what was delivered of it so far: a model, small on purpose.

Rules of this file:
- It imports nothing of ours: its verdicts are those of a person with a calendar and RFC 5546, in few lines.
- What is known is the set of messages that were delivered, so their order cannot matter; only answers depend on the
  instant of receipt, because what is over is not accepted any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

LEAD = timedelta(seconds=60)  # specification: one minute before the start
TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Meeting:
    """A date that is on: which event, from when until when (UTC), in which room ('': none), under which title."""

    uid: str
    start: datetime
    until: datetime
    room: str
    title: str

    @property
    def due(self) -> datetime:
        """When the PAL is to go in."""
        return self.start - LEAD

    def overlaps(self, other: Meeting) -> bool:
        """Whether they go on at once."""
        return self.start < other.until and other.start < self.until


@dataclass(frozen=True)
class Date:
    """One date of a series as the organizer has changed it; `start` None: cancelled."""

    start: datetime | None
    room: str = ""


@dataclass(frozen=True)
class Said:
    """One message. `kind`: series (with all its `dates` if the organizer sends everything), date, or cancel.

    `epoch` counts what voids earlier changes of single dates: reschedules of the series, and inviting again.
    """

    uid: str
    kind: str
    is_whole: bool
    epoch: int
    sequence: int
    stamp: datetime
    start: datetime
    count: int
    step: timedelta
    length: timedelta
    room: str
    title: str
    dates: tuple[tuple[int, Date], ...] = ()

    @property
    def version(self) -> tuple[int, datetime]:
        return self.sequence, self.stamp

    def original(self, index: int) -> datetime:
        """RECURRENCE-ID of a date."""
        return self.start + index * self.step

    def meeting(self, start: datetime, room: str) -> Meeting:
        return Meeting(self.uid, start, start + self.length, room, self.title)


@dataclass(frozen=True)
class View:
    """What the messages of one event say together: the dates that are on, by original start, and those changed."""

    is_cancelled: bool
    meetings: dict[datetime, Meeting]
    changed: frozenset[datetime]


def view(said: Iterable[Said]) -> View:
    """The newest version of the series, and of each date that no later reschedule made void (RFC 5546 2.1.5, 4.4.7)."""
    known = sorted(said, key=lambda one: one.version)
    versions = [one for one in known if one.kind != "date"]
    series = versions[-1] if versions else None
    found: dict[datetime, Meeting] = {}
    if series is not None and series.kind == "series":
        found = {series.original(n): series.meeting(series.original(n), series.room) for n in range(series.count)}
    changed = {}
    for one in known:
        if one.kind == "date" and (not versions or _stands(one, versions, found)):
            changed[one.original(one.dates[0][0])] = one, one.dates[0][1]
    if series is not None:
        changed |= {series.original(index): (series, date) for index, date in series.dates}
    for original, (one, date) in changed.items():
        found.pop(original, None)
        if date.start is not None:
            found[original] = one.meeting(date.start, date.room)
    return View(series is not None and series.kind == "cancel", found, frozenset(changed))


def _stands(date: Said, versions: list[Said], found: dict[datetime, Meeting]) -> bool:
    """Whether a change of one date counts beside the versions of its series that are known, the oldest first."""
    first, newest = versions[0], versions[-1]
    if newest.kind == "cancel" or newest.is_whole:
        return newest.kind == "cancel" and date.stamp > newest.stamp
    if date.sequence < first.sequence and date.stamp < first.stamp:
        return False  # the first that is known has new times already
    new_times = (
        after for before, after in pairwise(versions) if (before.kind, before.epoch) != (after.kind, after.epoch)
    )
    is_void = any(one.stamp > date.stamp for one in new_times)
    return not is_void and (date.original(date.dates[0][0]) in found or date.stamp >= newest.stamp)


@dataclass
class Calendar:
    """What one PAL was told, and the answers that its organizers are to have at the end."""

    heard: dict[str, list[Said]] = field(default_factory=dict)
    answers: dict[tuple[str, datetime | None], str] = field(default_factory=dict)

    def meetings(self) -> tuple[Meeting, ...]:
        """The dates that are on and have a room."""
        views = (view(said) for said in self.heard.values())
        return tuple(one for each in views for one in each.meetings.values() if one.room)

    def is_cancelled(self, uid: str) -> bool:
        return view(self.heard.get(uid, ())).is_cancelled and not view(self.heard[uid]).meetings

    def take(self, said: Said, now: datetime) -> None:
        """One message is delivered at an instant."""
        before = self.heard.setdefault(said.uid, [])
        if said in before:
            return
        old = view(before)
        before.append(said)
        self._answer(said, old, view(before), now)

    def _answer(self, said: Said, old: View, new: View, now: datetime) -> None:
        """What the organizer is to be answered last, where the message says anything new."""
        if new == old or (said.kind != "date" and said.version != self._newest(said.uid)):
            return
        if new.is_cancelled and said.kind == "cancel":
            self.answers = {key: one for key, one in self.answers.items() if key[0] != said.uid}
        elif said.kind == "series":
            self._answer_series(said, new, now)
        for index, date in said.dates:
            if said.original(index) in new.changed:
                self._set(said.uid, said.original(index), said, date, now)

    def _newest(self, uid: str) -> tuple[int, datetime]:
        return max(one.version for one in self.heard[uid] if one.kind != "date")

    def _answer_series(self, said: Said, new: View, now: datetime) -> None:
        if not said.is_whole:  # what its dates were answered stood under the answer before
            self.answers = {key: one for key, one in self.answers.items() if key[0] != said.uid}
        if not said.room:
            self.answers[said.uid, None] = "DECLINED"
        elif any(one.until > now for one in new.meetings.values()):
            self.answers[said.uid, None] = "ACCEPTED"
        else:
            self.answers.pop((said.uid, None), None)

    def _set(self, uid: str, original: datetime, said: Said, date: Date, now: datetime) -> None:
        if date.start is None or (date.room and date.start + said.length <= now):
            self.answers.pop((uid, original), None)  # nothing is owed, or nothing is said any more
        else:
            self.answers[uid, original] = "ACCEPTED" if date.room else "DECLINED"

    def owed(self) -> Iterator[tuple[str, datetime | None, str]]:
        """The answers that must stand at the end: those of dates that are still changed, and those of the series."""
        for (uid, original), answer in self.answers.items():
            if original is None or original in view(self.heard[uid]).changed:
                yield uid, original, answer


@dataclass
class Organizer:
    """One organizer with one event. `is_whole`: every message has all of it; otherwise each date is sent alone.

    Who sends dates alone raises SEQUENCE for new times of the series only, who sends everything for everything.
    """

    uid: str
    address: str
    pals: tuple[str, ...]
    is_whole: bool
    count: int
    step: timedelta
    start: datetime
    length: timedelta
    room: str
    epoch: int = 0
    sequence: int = -1
    stamp: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    number: int = 0
    is_live: bool = True
    dates: dict[int, Date] = field(default_factory=dict)
    starts: set[datetime] = field(default_factory=set)

    def invite(self, now: datetime) -> Said:
        """Send the series as it is, for the first time."""
        self.starts.add(self.start)
        return self._series(now, raised=True)

    def edit(self, now: datetime) -> Said:
        return self._series(now, raised=False)

    def relink(self, now: datetime, room: str) -> Said:
        self.room = room
        return self._series(now, raised=False)

    def resize(self, now: datetime, length: timedelta) -> Said:
        self.length = length
        return self._series(now, raised=False)

    def reschedule(self, now: datetime, start: datetime) -> Said:
        """Other times for the whole series; also how a cancelled one is invited again."""
        while start in self.starts:
            start += timedelta(minutes=1)
        self.starts.add(start)
        self.start, self.is_live, self.dates, self.epoch = start, True, {}, self.epoch + 1
        return self._series(now, raised=True)

    def change(self, now: datetime, index: int, date: Date) -> Said:
        self.dates[index] = date
        if self.is_whole:
            return self._series(now, raised=True)
        return replace(self._said(now, "date", raised=False), dates=((index, date),))

    def cancel(self, now: datetime) -> Said:
        self.is_live, self.dates = False, {}
        return self._said(now, "cancel", raised=True)

    def _series(self, now: datetime, *, raised: bool) -> Said:
        said = self._said(now, "series", raised=raised or self.is_whole)
        return replace(said, dates=tuple(self.dates.items())) if self.is_whole else said

    def _said(self, now: datetime, kind: str, *, raised: bool) -> Said:
        self.sequence += raised
        self.number += 1
        # Who raises SEQUENCE for everything may say two things in one second.
        apart = timedelta(seconds=0 if self.is_whole else 1)
        self.stamp = max(now.replace(microsecond=0), self.stamp + apart)
        return Said(
            self.uid,
            kind,
            self.is_whole,
            self.epoch,
            self.sequence,
            self.stamp,
            self.start,
            self.count,
            self.step,
            self.length,
            self.room,
            f"{self.uid} {self.number}",
        )


def mail_of(said: Said, organizer: Organizer) -> bytes:
    """The message as the organizer's server sends it."""
    method = "REQUEST" if said.kind == "series" else "CANCEL"
    if said.kind == "date" and said.dates[0][1].start is not None:
        method = "REQUEST"
    blocks = [_block(said, organizer, *lines) for lines in _components(said)]
    calendar = ["BEGIN:VCALENDAR", "VERSION:2.0", f"METHOD:{method}", *(line for one in blocks for line in one)]
    head = [
        f"From: {organizer.address}",
        f"To: {', '.join(organizer.pals)}",
        f"Subject: {said.title}",
        f"Message-ID: <{said.title.replace(' ', '-')}@acme.example>",
        "MIME-Version: 1.0",
        f"Content-Type: text/calendar; charset=utf-8; method={method}",
    ]
    return "\r\n".join([*head, "", *calendar, "END:VCALENDAR", ""]).encode()


def _components(said: Said) -> Iterator[list[str]]:
    """The lines of each VEVENT that are its own."""
    if said.kind != "date":
        rule = [f"RRULE:FREQ={_frequency(said.step)};COUNT={said.count}"] if said.count > 1 else []
        out = [f"EXDATE:{_utc(said.original(index))}" for index, date in said.dates if date.start is None]
        status = "CANCELLED" if said.kind == "cancel" else "CONFIRMED"
        yield [f"DTSTART:{_utc(said.start)}", f"STATUS:{status}", *rule, *out, *_link(said.room)]
    for index, date in said.dates:
        rid = f"RECURRENCE-ID:{_utc(said.original(index))}"
        if date.start is not None:
            yield [rid, f"DTSTART:{_utc(date.start)}", "STATUS:CONFIRMED", *_link(date.room)]
        elif said.kind == "date":
            yield [rid, f"DTSTART:{_utc(said.original(index))}", "STATUS:CANCELLED"]


def _block(said: Said, organizer: Organizer, *lines: str) -> list[str]:
    who = [f"ORGANIZER:mailto:{organizer.address}", *(f"ATTENDEE:mailto:{pal}" for pal in organizer.pals)]
    version = [f"SEQUENCE:{said.sequence}", f"DTSTAMP:{_utc(said.stamp)}"]
    length = f"DURATION:PT{int(said.length.total_seconds())}S"
    return ["BEGIN:VEVENT", f"UID:{said.uid}", *who, *version, f"SUMMARY:{said.title}", length, *lines, "END:VEVENT"]


def _frequency(step: timedelta) -> str:
    return "WEEKLY" if step.days == 7 else "DAILY"


def _link(room: str) -> list[str]:
    return [f"X-GOOGLE-CONFERENCE:https://meet.google.com/{room}"] if room else []


def _utc(instant: datetime) -> str:
    return f"{instant:%Y%m%dT%H%M%SZ}"
