"""A PAL's feed as Evolution reads it: its parser, its calendar, its times."""

from __future__ import annotations

from datetime import timedelta

from icalendar import Event

from tests.gateway.test_feed import HOUR, JOIN, START, declined, declined_feed
from tests.peers.eds.client import Eds


def test_evolution_holds_what_is_attended_and_what_was_declined(eds: Eds) -> None:
    raw = declined_feed(*declined(*HOUR, "SUMMARY:Lunch\\, with all \U0001f40d" + " and more" * 20)).decode()
    # What it subscribes to it reads as it is; here it is handed over, for which it wants a METHOD.
    eds.receive(raw.replace("VERSION:2.0\r\n", "VERSION:2.0\r\nMETHOD:PUBLISH\r\n"))
    held = {str(read["SUMMARY"]): read for read in (Event.from_ical(one.text) for one in eds.held())}
    (title,) = held.keys() - {"Stand-up"}
    assert title.startswith("Declined: Lunch, with all \U0001f40d and more")
    assert (held[title]["TRANSP"], held[title]["DESCRIPTION"]) == ("TRANSPARENT", "No link.")
    day = timedelta(days=1)
    assert eds.occurrences(START - day, START + 3 * day) == [
        (JOIN.starts, JOIN.ends),
        (JOIN.starts + day, JOIN.ends + day),
    ]
