"""Our side of a conversation: `decide` with the state folded from message to message, and what it takes back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from gateway.decide import Case, Decision, Desk, decide
from gateway.ics import read
from gateway.pals import Pal
from gateway.promises import Heard, owed, promise_of, regret, sources
from gateway.reply import Reply
from gateway.senders import Sender
from gateway.verdict import Reason
from scheduler.event import Event
from scheduler.joins import Join, Policy
from scheduler.occurrences import expand

# EDS reads floating times in its session's zone, UTC; so does this PAL.
ANNA: Final = Pal(id="anna", name="Anna", address="anna@invite.example.com", face_id="face", zone="UTC")
ALEX: Final = Sender("alex@acme.example", verified=True)
NOW: Final = datetime(2026, 1, 15, 12, tzinfo=UTC)  # after every DTSTAMP, before every occurrence of a story


class Ours:
    """What one PAL holds after the messages it was given."""

    def __init__(self) -> None:
        self.events: dict[str, Event] = {}
        self.joins: dict[str, dict[str, Join]] = {}
        self.heard: list[Heard] = []

    def receive(self, ics: str) -> list[Decision]:
        """Decides on each message in a VCALENDAR, and keeps what the decision says is to be kept."""
        decisions = []
        for message in read(ics.encode()):
            joins = self.joins.setdefault(message.uid, {})
            known = self.events.get(message.uid)
            case = Case(message, ALEX, ANNA, known, tuple(joins.values()), "<story@acme.example>")
            decision = decide(case, Desk(), NOW)
            self.heard.insert(0, Heard(case, NOW, ""))
            if decision.event is not None:
                self.events[message.uid] = decision.event
            joins.update((join.id, join) for join in decision.joins)
            decisions.append(decision)
        return decisions

    def leave(self) -> list[Reply]:
        """The PAL goes: what it says to the organizers."""
        replies = []
        for event in self.events.values():
            promises = owed(event, NOW, Policy())
            heard = [one for one in self.heard if one.case.message.uid == event.uid]
            for promise, source in zip(promises, sources(event, promises, heard), strict=True):
                assert source is not None
                replies.append(regret(event, promise, source, Reason.PAL_REMOVED, [ANNA.address], NOW))
        return replies

    def miss(self, date: datetime) -> list[Reply]:
        """The PAL could not come to what takes place at an instant (UTC): what it says to the organizers."""
        replies = []
        for event in self.events.values():
            for one in expand(event, date, date + timedelta(seconds=1)):
                promise = promise_of(one)
                heard = [known for known in self.heard if known.case.message.uid == event.uid]
                (source,) = sources(event, [promise], heard)
                assert source is not None
                replies.append(regret(event, promise, source, Reason.MISSED, [ANNA.address], NOW))
        return replies

    def occurrences(self, after: datetime, before: datetime) -> list[tuple[datetime, datetime]]:
        """(start, end) in UTC of what starts in the window, by start."""
        found = [one for event in self.events.values() for one in expand(event, after, before)]
        return sorted((one.starts, one.ends) for one in found if after <= one.starts < before)
