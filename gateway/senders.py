"""Who sent a mail: one identity that the allowlist and the owner rule are asked about. Pure.

Rules of this file:
- The identity is never ORGANIZER alone, Reply-To or the envelope's sender: anybody can write those.
- What is not yet done here: verifying DKIM, SPF and ARC. Until then the identity is the From header, `verified` is
  False, and the gateway says so in one loud line when it starts.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.address import domain_of
from scheduler.event import Event


@dataclass(frozen=True)
class Sender:
    """The identity behind a mail. `is_file`: a bare .ics played by hand, which nobody sent."""

    address: str
    verified: bool = False
    is_file: bool = False


def pinned(sender: Sender, organizer: str, known: Event) -> bool:
    """Whether this sender is the one whose message made the event known, or the same organizer's side.

    An organizer's side is its domain: assistants and shared calendars send for it. A file has no sender to ask.
    """
    if sender.is_file or known.owner is None or sender.address == known.owner:
        return True
    return organizer == known.organizer and domain_of(sender.address) == domain_of(known.owner)


def owns(sender: Sender, organizer: str, known: Event) -> bool:
    """Whether this sender may change an event: whom it is pinned to, and the organizer where a guest forwarded it."""
    return pinned(sender, organizer, known) or sender.address == organizer == known.organizer
