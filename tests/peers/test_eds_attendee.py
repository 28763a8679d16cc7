"""The same stories told to EDS as an attendee and to us: both must hold the same occurrences.

Where they do not, DIFFERENCES says what differs and who is right. A difference that is not in the table fails, and so
does one that has changed or gone: the table is what we know, not what we tolerate.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

import pytest

from tests.peers.eds.client import Eds, Refused
from tests.peers.ours import Ours
from tests.peers.stories import Story, stories

AFTER: Final = datetime(2026, 2, 1, tzinfo=UTC)
BEFORE: Final = datetime(2027, 1, 1, tzinfo=UTC)
MEASURED: Final = "3.46.4"  # the EDS (Debian 12) that the table was made with

Occurrences = list[tuple[datetime, datetime]]


@dataclass(frozen=True)
class Difference:
    """What only we hold, what only EDS holds (`_shown` says how they are written), and who is right by which section.

    `ours-wrong` is a bug of ours, still to be mended. `open`: the standard leaves it open, contradicts itself, or
    forbids the message; then `why` says what we chose.
    """

    ours: str
    eds: str
    right: Literal["ours-right", "ours-wrong", "open"]
    why: str


# EDS applies what comes last: versions are compared in Evolution's mail view, not in EDS.
_OLDER = "RFC 5546 2.1.5: the lower SEQUENCE, or the earlier DTSTAMP at the same one, is ignored"
_BEFORE = "RFC 5546 2.1.5: the cancellation has the higher SEQUENCE, also when it arrives first"
_DETAILS = (
    "RFC 5546 4.4.7 lets go of single dates when a series is changed without them; "
    "we keep them while its times stay as they were"
)

DIFFERENCES: Final[dict[str, Difference]] = {
    # Which message wins.
    "order/stale request by sequence": Difference("03-03 13:00/30", "03-02 08:00/30", "ours-right", _OLDER),
    "order/stale request by stamp": Difference("03-03 13:00/30", "03-02 08:00/30", "ours-right", _OLDER),
    "order/stale cancel": Difference("03-02 08:00/30", "", "ours-right", _OLDER),
    "order/stale move of one date": Difference("03-11 10:00/30", "03-10 09:00/30", "ours-right", _OLDER),
    "order/cancel before its request": Difference("", "03-02 08:00/30", "ours-right", _BEFORE),
    "order/cancel of one date before the series": Difference("", "03-09 08:00/30", "ours-right", _BEFORE),
    "order/moved date before its series": Difference(
        "03-10 09:00/30",
        "03-09 08:00/30",
        "ours-right",
        "RFC 5546 2.1.5: versions are compared per UID and RECURRENCE-ID; the older series does not undo the move",
    ),
    "cancel/series, then a late move of one date": Difference("", "03-10 09:00/30", "ours-right", _OLDER),
    "dates/moved, then the series rescheduled, then the move again late": Difference(
        "", "03-10 09:00/30", "ours-right", _OLDER + "; the date is not in the series any more (4.4.7)"
    ),
    # What a cancellation takes.
    "cancel/moved date": Difference(
        "", "03-10 09:00/30", "ours-right", "RFC 5546 3.2.5: RECURRENCE-ID names the instance, moved or not"
    ),
    "cancel/moved date in UTC": Difference(
        "", "03-10 09:00/30", "ours-right", "RFC 5546 3.2.5: RECURRENCE-ID names the instance, moved or not"
    ),
    "cancel/the only date": Difference(
        "", "03-09 08:00/30", "ours-right", "RFC 5546 3.2.5, 3.7.1: an instance is cancelled without its series, too"
    ),
    "cancel/this and following with a moved date after it": Difference(
        "", "03-24 09:00/30", "ours-right", "RFC 5546 3.2.5: THISANDFUTURE takes every later instance, moved or not"
    ),
    "cancel/one date, then another title for the series without it excluded": Difference(
        "", "03-09 08:00/30", "open", _DETAILS
    ),
    # Single dates.
    "dates/moved, then another title for the series alone": Difference(
        "03-10 09:00/30", "03-09 08:00/30", "open", _DETAILS
    ),
    "dates/moved, then cut short after it by the series alone": Difference(
        "03-10 09:00/30", "03-09 08:00/30", "open", _DETAILS
    ),
    "dates/this and following moved": Difference(
        "03-24 10:00/30",
        "",
        "ours-right",
        "RFC 5545 3.8.4.4: the later dates move by the same difference; EDS loses them",
    ),
    "dates/this and following moved, then one of them": Difference(
        "03-24 10:00/30",
        "",
        "ours-right",
        "RFC 5545 3.8.4.4: the later dates move by the same difference; EDS loses them",
    ),
    "dates/added by ADD": Difference(
        "03-04 13:00/30", "", "ours-right", "RFC 5546 3.2.4; EDS answers that it does not support the method"
    ),
    # When a rule falls due.
    "rules/once in the hour that spring leaves out": Difference(
        "03-29 01:30/30", "03-29 00:30/30", "ours-right", "RFC 5545 3.3.5: read with the offset before the gap"
    ),
    "rules/daily in the hour that spring leaves out": Difference(
        "03-30 00:30/30", "03-30 01:30/30", "ours-right", "RFC 5545 3.3.10: the day after is at 02:30 again"
    ),
    "rules/daily in the hour that autumn has twice": Difference(
        "10-25 00:30/30", "10-25 01:30/30", "ours-right", "RFC 5545 3.3.5: the first of the two"
    ),
    "rules/hourly over the change of the clock": Difference(
        "03-29 00:30/30",
        "03-29 00:30/-30, 03-29 03:30/30",
        "open",
        "RFC 5545 3.3.10 says both that a time in the gap is read as in 3.3.5, as we do (two of five fall together), "
        "and that it is not counted, as EDS does here; its negative length is a fault in either reading",
    ),
    "rules/start off its rule, counted": Difference(
        "",
        "03-30 07:00/30",
        "open",
        "RFC 5545 3.3.10: DTSTART always counts as the first occurrence, as we count; 3.8.5.3 calls the set undefined",
    ),
    "rules/a part nobody knows": Difference(
        "03-09 08:00/30, 03-16 08:00/30",
        "",
        "open",
        "RFC 5545 3.3.10 has no such part; we leave out the part, EDS the rule",
    ),
    # Zones and lengths.
    "zones/by a Windows name without its definition": Difference(
        "03-23 08:00/30, 03-30 07:00/30, 04-06 07:00/30",
        "03-23 09:00/30, 03-30 09:00/30, 04-06 09:00/30",
        "open",
        "RFC 5545 3.2.19: the VTIMEZONE must be there; we know the name, EDS takes the times for floating",
    ),
    "zones/a day long over the change of the clock": Difference(
        "03-28 11:00/1380",
        "03-28 11:00/1320",
        "ours-right",
        "RFC 5545 3.3.6: a day ends at the same wall clock, 23 h here",
    ),
    "zones/24 hours long over the change of the clock": Difference(
        "03-28 11:00/1440", "03-28 11:00/1320", "ours-right", "RFC 5545 3.3.6: hours are exact"
    ),
}


@pytest.mark.parametrize("story", stories(), ids=lambda story: story.name)
def test_both_hold_the_same_occurrences(eds: Eds, story: Story) -> None:
    ours = Ours()
    for message in story.messages:
        ours.receive(message)
        _tell(eds, message)
    here, there = ours.occurrences(AFTER, BEFORE), eds.occurrences(AFTER, BEFORE)
    found = (_shown(here, there), _shown(there, here))
    known = DIFFERENCES.get(story.name)
    expected = (known.ours, known.eds) if known is not None else ("", "")
    assert found == expected, f"(only we have, only EDS {eds.version} has); the table is for {MEASURED}"


def test_the_table_has_no_entry_without_a_story() -> None:
    assert DIFFERENCES.keys() <= {story.name for story in stories()}


def _tell(eds: Eds, message: str) -> None:
    with suppress(Refused):  # what it does not take, it does not hold: the occurrences show it
        eds.receive(message)


def _shown(one: Occurrences, other: Occurrences) -> str:
    """What `one` has and `other` has not, as text: every date up to three, else the first, the last and the number."""
    only = sorted((Counter(one) - Counter(other)).elements())
    texts = [f"{start:%m-%d %H:%M}/{int((end - start).total_seconds() // 60)}" for start, end in only]
    return ", ".join(texts) if len(texts) <= 3 else f"{texts[0]} … {texts[-1]} ({len(texts)})"
