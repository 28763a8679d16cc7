"""Any order of the messages of a story ends in the same joins as the story told in order.

A story is what an organizer does to one series; a model beside it says where the PAL has to be at its end. The messages
are delivered in a random permutation, some of them twice or more. Replies are not compared: what is answered depends on
what was known when.

Excluded, because no attendee can tell from the messages:
- Two messages of one component with equal (SEQUENCE, DTSTAMP) and other content: not ordered by RFC 5546 2.1.5.
- A SEQUENCE that falls for one (UID, RECURRENCE-ID): by 2.1.5 the older message wins.
- A series cut short and later made longer again: whether the moved dates past the first end come back is not said.
- In messages that hold the whole event, a moved date that is put back by leaving its override out: between a details
  update, which keeps moved dates, and this there is no difference. The story sends the override with the first time.
- A REQUEST that leaves the PAL out, met before any that names it: it looks like one that was forwarded. The story takes
  the PAL out by CANCEL, as RFC 5546 3.2.5 says.
- Everything that depends on the instant of receipt: the clock stands still before the first date.

STORIES in the environment says how many stories are told (500).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.decide import Case, Desk, decide
from gateway.ics import Message, read
from gateway.pals import Pal, pal_id
from gateway.senders import Sender
from scheduler.event import Event
from scheduler.joins import LIVE, Join

STORIES = int(os.environ.get("STORIES", "500"))
NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
ADDRESS = "anna@invite.example.com"
ANNA = Pal(pal_id(ADDRESS), "Anna", ADDRESS, "face")
ALEX = Sender("alex@acme.example")
WEEKS = 6
LINKS = ("abc-defg-hij", "new-link-xyz", "own-link-xyz")

Place = tuple[datetime, str]  # when (UTC) and in which room
told: Counter[str] = Counter()


@dataclass
class Date:
    """A date that the organizer changed: None for cancelled."""

    sequence: int
    stamp: datetime
    start: datetime | None
    link: str


@dataclass
class Organizer:
    """One organizer's calendar with one series of it, and the messages it has sent.

    `style`: google counts SEQUENCE for each component apart and leaves it alone for details; outlook has one count that
    rises with every message; whole sends the master with all its overrides, each with its own version, every time.
    """

    style: str
    start: datetime = datetime(2026, 3, 9, 14)  # wall clock in Berlin
    last: int = WEEKS - 1
    link: str = LINKS[0]
    title: int = 0
    sequence: int = 0
    stamp: datetime = datetime(2026, 2, 1, tzinfo=UTC)
    live: bool = True
    dates: dict[int, Date] = field(default_factory=dict)
    ended: int = WEEKS  # from this week on cancelled, as a range
    shifts: dict[int, tuple[timedelta, str]] = field(default_factory=dict)  # from a week on: by how much, and where
    counts: dict[str, int] = field(default_factory=dict)  # SEQUENCE of each RECURRENCE-ID, for ever
    sent: list[str] = field(default_factory=list)

    # What an organizer does; `week` and `hours` are taken as far as they fit.

    def title_edited(self, week: int, hours: int) -> None:
        if self.live:
            self.title += 1
            self._send_master(raised=False)

    def link_changed(self, week: int, hours: int) -> None:
        if self.live:
            self.link = LINKS[(LINKS.index(self.link) + 1) % 2]
            self._send_master(raised=False)

    def rescheduled(self, week: int, hours: int) -> None:
        if self.live and self.start.hour != 8 + hours:
            self.start = self.start.replace(hour=8 + hours)
            self._reset()
            self._send_master(raised=True)

    def cut(self, week: int, hours: int) -> None:
        if self.live and 0 < week < self.last:
            self.last = week
            self.dates = {key: one for key, one in self.dates.items() if key <= week}
            self._send_master(raised=True)

    def moved(self, week: int, hours: int) -> None:
        if self._has(week) and self.dates.get(week, Date(0, NOW, NOW, "")).start is not None:
            self._change(week, self._wall(week) + timedelta(hours=hours), LINKS[2])

    def cancelled_date(self, week: int, hours: int) -> None:
        if self._has(week):
            self._change(week, None, "")

    def brought_back(self, week: int, hours: int) -> None:
        if self._has(week) and week in self.dates and self.dates[week].start is None:
            self._change(week, self._wall(week), self.link)

    def cancelled(self, week: int, hours: int) -> None:
        if self.live:
            self.live = False
            self._reset()
            self._stamped(raised=True)
            self._send("CANCEL", [[*self._head(self.sequence, self.stamp), *self._times(self._wall(0), "CANCELLED")]])

    def invited_again(self, week: int, hours: int) -> None:
        if not self.live:
            self.live = True
            self._send_master(raised=True)

    def cancelled_from(self, week: int, hours: int) -> None:
        if self._ranges() and week > 0 and self._has(week):
            self.ended = week
            self.dates = {key: one for key, one in self.dates.items() if key < week}
            self._send_range(week, self._wall(week), "")

    def shifted_from(self, week: int, hours: int) -> None:
        if self._ranges() and week > 0 and self._has(week):
            self.shifts = {key: one for key, one in self.shifts.items() if key < week}
            self.shifts[week] = timedelta(hours=hours), LINKS[2]
            self._send_range(week, self._wall(week) + timedelta(hours=hours), LINKS[2])

    def places(self) -> list[Place]:
        """Where the PAL has to be."""
        if not self.live:
            return []
        return sorted(self._places())

    def _places(self) -> Iterator[Place]:
        for week in range(self.last + 1):
            changed = self.dates.get(week)
            if changed is not None:
                if changed.start is not None:
                    yield _utc(changed.start), changed.link
            elif week < self.ended:
                since = max((key for key in self.shifts if key <= week), default=-1)
                shift, link = self.shifts.get(since, (timedelta(), self.link))
                yield _utc(self._wall(week) + shift), link

    def _ranges(self) -> bool:
        return self.live and self.style != "whole"

    def _has(self, week: int) -> bool:
        return self.live and week <= self.last and week < self.ended

    def _wall(self, week: int) -> datetime:
        return self.start + timedelta(weeks=week)

    def _reset(self) -> None:
        self.dates, self.shifts, self.ended = {}, {}, WEEKS

    def _stamped(self, *, raised: bool) -> None:
        self.stamp += timedelta(minutes=1)
        self.sequence += raised or self.style == "outlook"

    def _change(self, week: int, start: datetime | None, link: str) -> None:
        self._stamped(raised=self.style == "whole")
        self.dates[week] = Date(self._counted(f"{self._wall(week)}", start is None), self.stamp, start, link)
        if self.style == "whole":
            self._send_whole()
        elif start is None:
            self._send("CANCEL", [self._date(week)])
        else:
            self._send("REQUEST", [self._date(week)])

    def _counted(self, key: str, raised: bool) -> int:
        known = self.counts.get(key)
        count = max(self.sequence, known + raised if known is not None else self.sequence + raised)
        if self.style == "outlook":
            count = self.sequence
        self.counts[key] = count
        return count

    def _send_master(self, *, raised: bool) -> None:
        self._stamped(raised=raised)
        if self.style == "whole":
            self._send_whole()
        else:
            self._send("REQUEST", [self._master()])

    def _send_whole(self) -> None:
        out = [week for week, one in self.dates.items() if one.start is None]
        moved = [week for week, one in self.dates.items() if one.start is not None]
        excluded = [f"EXDATE;TZID=Europe/Berlin:{self._wall(week):%Y%m%dT%H%M%S}" for week in out]
        # An override may stand before its master.
        self._send("REQUEST", [*(self._date(week) for week in moved), [*self._master(), *excluded]])

    def _send_range(self, week: int, start: datetime, link: str) -> None:
        self._stamped(raised=False)
        method, status = ("REQUEST", "CONFIRMED") if link else ("CANCEL", "CANCELLED")
        count = self._counted(f"{self._wall(week)} and later", not link)
        lines = [*self._head(count, self.stamp), self._id(week, ";RANGE=THISANDFUTURE"), *self._times(start, status)]
        self._send(method, [[*lines, *_conference(link)]])

    def _master(self) -> list[str]:
        until = _utc(self._wall(self.last))
        rule = f"RRULE:FREQ=WEEKLY;UNTIL={until:%Y%m%dT%H%M%SZ}"
        head = self._head(self.sequence, self.stamp)
        return [*head, *self._times(self.start, "CONFIRMED"), rule, *_conference(self.link)]

    def _date(self, week: int) -> list[str]:
        one = self.dates[week]
        head = self._head(one.sequence, one.stamp)
        if one.start is None:
            # As Google has it: the cancelled date in UTC.
            at = f"{_utc(self._wall(week)):%Y%m%dT%H%M%SZ}"
            return [*head, f"RECURRENCE-ID:{at}", f"DTSTART:{at}", "STATUS:CANCELLED"]
        return [*head, self._id(week), *self._times(one.start, "CONFIRMED"), *_conference(one.link)]

    def _id(self, week: int, range_: str = "") -> str:
        return f"RECURRENCE-ID;TZID=Europe/Berlin{range_}:{self._wall(week):%Y%m%dT%H%M%S}"

    def _head(self, sequence: int, stamp: datetime) -> list[str]:
        return [f"SEQUENCE:{sequence}", f"DTSTAMP:{stamp:%Y%m%dT%H%M%SZ}", f"SUMMARY:Weekly {self.title}"]

    def _times(self, start: datetime, status: str) -> list[str]:
        return [f"DTSTART;TZID=Europe/Berlin:{start:%Y%m%dT%H%M%S}", "DURATION:PT1H", f"STATUS:{status}"]

    def _send(self, method: str, events: list[list[str]]) -> None:
        lines = ["BEGIN:VCALENDAR", "VERSION:2.0", f"METHOD:{method}"]
        for event in events:
            who = ["ORGANIZER:mailto:alex@acme.example", f"ATTENDEE:mailto:{ADDRESS}"]
            lines += ["BEGIN:VEVENT", "UID:u1", *who, *event, "END:VEVENT"]
        self.sent.append("\r\n".join([*lines, "END:VCALENDAR", ""]))


def _conference(link: str) -> list[str]:
    return [f"X-GOOGLE-CONFERENCE:https://meet.google.com/{link}"] if link else []


def _utc(wall: datetime) -> datetime:
    return wall.replace(tzinfo=BERLIN).astimezone(UTC)


ACTIONS = (
    Organizer.title_edited,
    Organizer.link_changed,
    Organizer.rescheduled,
    Organizer.cut,
    Organizer.moved,
    Organizer.moved,
    Organizer.cancelled_date,
    Organizer.brought_back,
    Organizer.cancelled,
    Organizer.invited_again,
    Organizer.cancelled_from,
    Organizer.shifted_from,
)


@st.composite
def stories(draw: st.DrawFn) -> tuple[Organizer, list[int]]:
    """An organizer who has done it all, and the order in which the messages arrive (by index, some repeated)."""
    organizer = Organizer(draw(st.sampled_from(("google", "outlook", "whole"))))
    organizer._send_master(raised=False)
    weeks, hours = st.integers(0, WEEKS - 1), st.integers(1, 4)
    for action, week, by in draw(st.lists(st.tuples(st.sampled_from(ACTIONS), weeks, hours), min_size=4, max_size=14)):
        action(organizer, week, by)
    count = len(organizer.sent)
    again = draw(st.lists(st.integers(0, count - 1), max_size=4))
    return organizer, draw(st.permutations([*range(count), *again]))


def delivered(messages: list[Message]) -> list[Place]:
    """Where the PAL will be once the messages came in this order."""
    event: Event | None = None
    joins: dict[str, Join] = {}
    for message in messages:
        said = decide(Case(message, ALEX, ANNA, event, tuple(joins.values())), Desk(), NOW)
        assert said.verdict != "rejected", said
        event = said.event or event
        joins |= {join.id: join for join in said.joins}
    live = [join for join in joins.values() if join.state in LIVE]
    return sorted((join.starts, join.url.removeprefix("https://meet.google.com/")) for join in live)


@pytest.mark.timeout(3600)
def test_any_order_ends_as_the_story_does() -> None:
    told.clear()
    _tell()
    print(f"\nstories told: {dict(told)}")
    assert told["stories"] >= STORIES
    assert told["out of order"] > STORIES / 2, told


@settings(
    max_examples=STORIES,
    derandomize=os.environ.get("RANDOM") is None,
    database=None,
    deadline=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
@given(stories())
def _tell(story: tuple[Organizer, list[int]]) -> None:
    organizer, order = story
    messages = [message for text in organizer.sent for message in read(text.encode())]
    told["stories"] += 1
    told[organizer.style] += 1
    told["messages"] += len(order)
    told["out of order"] += order != sorted(order)
    wanted = organizer.places()
    assert delivered(messages) == wanted, "in order:\n" + "\n".join(organizer.sent)
    shown = "\n".join(organizer.sent[index] for index in order)
    assert delivered([messages[index] for index in order]) == wanted, f"{order}:\n{shown}"
