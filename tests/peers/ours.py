"""Our side of a conversation: `decide` with the state folded from message to message, nothing else of the product."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from gateway.decide import Case, Decision, Desk, decide
from gateway.ics import read
from gateway.pals import Pal
from gateway.senders import Sender
from scheduler.event import Event
from scheduler.joins import Join
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

    def receive(self, ics: str) -> list[Decision]:
        """Decides on each message in a VCALENDAR, and keeps what the decision says is to be kept."""
        decisions = []
        for message in read(ics.encode()):
            joins = self.joins.setdefault(message.uid, {})
            known = self.events.get(message.uid)
            case = Case(message, ALEX, ANNA, known, tuple(joins.values()), "<story@acme.example>")
            decision = decide(case, Desk(), NOW)
            if decision.event is not None:
                self.events[message.uid] = decision.event
            joins.update((join.id, join) for join in decision.joins)
            decisions.append(decision)
        return decisions

    def occurrences(self, after: datetime, before: datetime) -> list[tuple[datetime, datetime]]:
        """(start, end) in UTC of what starts in the window, by start."""
        found = [one for event in self.events.values() for one in expand(event, after, before)]
        return sorted((one.starts, one.ends) for one in found if after <= one.starts < before)
