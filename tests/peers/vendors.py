"""Invitations in the shapes of Google, Outlook and Apple: from alex@acme.example to Anna and Bob. Pure text.

The shapes are those of real mails, the people and the words are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.peers.stories import zones

MEET: Final = "https://meet.google.com/abc-defg-hij"
ZOOM: Final = "https://us02web.zoom.us/j/88395547586?pwd=4KcslVk8qLNSDcTSjalXdrLbGG8xmR.1"


@dataclass(frozen=True)
class Vendor:
    """How one vendor writes an invitation. In `event`: {when} {sequence} {stamp} {link} and {anna}, her address."""

    name: str
    prodid: str
    zone: str
    anna: str
    event: str

    def series(self, sequence: int = 0, link: str = MEET, anna: str = "") -> str:
        """Mondays at nine, four of them."""
        return self._request(f"{self._span('20260302')}\nRRULE:FREQ=WEEKLY;COUNT=4;BYDAY=MO", sequence, link, anna)

    def single(self, sequence: int = 0, link: str = MEET, anna: str = "") -> str:
        """One Monday at nine."""
        return self._request(self._span("20260302"), sequence, link, anna)

    def date(self, sequence: int = 0, link: str = MEET, anna: str = "") -> str:
        """The second Monday of the series, moved to the Tuesday."""
        named = f"RECURRENCE-ID;TZID={self.zone}:20260309T090000"
        return self._request(f"{self._span('20260310')}\n{named}", sequence, link, anna)

    def _span(self, day: str) -> str:
        return f"DTSTART;TZID={self.zone}:{day}T090000\nDTEND;TZID={self.zone}:{day}T093000"

    def _request(self, when: str, sequence: int, link: str, anna: str) -> str:
        event = self.event.format(
            when=when, sequence=sequence, stamp=f"20260110T00{sequence:02}00Z", link=link, anna=anna or self.anna
        )
        head = f"BEGIN:VCALENDAR\nPRODID:{self.prodid}\nVERSION:2.0\nCALSCALE:GREGORIAN\nMETHOD:REQUEST"
        text = f"{head}\n{zones()[self.zone]}\n{event.strip()}\nEND:VCALENDAR\n"
        return "\r\n".join(text.splitlines()) + "\r\n"


GOOGLE: Final = Vendor(
    "google",
    "-//Google Inc//Google Calendar 70.9054//EN",
    "Europe/Berlin",
    "anna@invite.example.com",
    """
BEGIN:VEVENT
{when}
DTSTAMP:{stamp}
ORGANIZER;CN=Alex:mailto:alex@acme.example
UID:4vk2o1q8s7p0m3n6@google.com
ATTENDEE;CUTYPE=INDIVIDUAL;ROLE=REQ-PARTICIPANT;PARTSTAT=ACCEPTED;RSVP=TRUE
 ;CN=Alex;X-NUM-GUESTS=0:mailto:alex@acme.example
ATTENDEE;CUTYPE=INDIVIDUAL;ROLE=REQ-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=
 TRUE;CN={anna};X-NUM-GUESTS=0:mailto:{anna}
ATTENDEE;CUTYPE=INDIVIDUAL;ROLE=REQ-PARTICIPANT;PARTSTAT=TENTATIVE;RSVP=TRUE
 ;CN="Bob, B.";X-NUM-GUESTS=0:mailto:bob@acme.example
CREATED:20260109T150000Z
DESCRIPTION:Planning\\, first half\\n
LAST-MODIFIED:{stamp}
LOCATION:{link}
SEQUENCE:{sequence}
STATUS:CONFIRMED
SUMMARY:Planning
TRANSP:OPAQUE
BEGIN:VALARM
ACTION:EMAIL
DESCRIPTION:This is an event reminder
SUMMARY:Alarm notification
ATTENDEE:mailto:anna@invite.example.com
TRIGGER:-P0DT0H10M0S
END:VALARM
END:VEVENT
""",
)

OUTLOOK: Final = Vendor(
    "outlook",
    "Microsoft Exchange Server 2010",
    "W. Europe Standard Time",
    "Anna@Invite.example.com",  # Exchange keeps the capitals of the address book
    """
BEGIN:VEVENT
ORGANIZER;CN=Alex Doe:MAILTO:alex@acme.example
ATTENDEE;ROLE=REQ-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=TRUE;CN={anna}:MAILTO:{anna}
ATTENDEE;ROLE=OPT-PARTICIPANT;PARTSTAT=TENTATIVE;RSVP=TRUE;CN="Doe, Bob":MAILTO:bob@acme.example
DESCRIPTION;LANGUAGE=en-US:\\n____\\nJoin: {link}\\n
UID:040000008200E00074C5B7101A82E00800000000A0B1C2D3E4F5DA01000000000000000
 01000000022B8F1A4D6E30C41
SUMMARY;LANGUAGE=en-US:Planning
{when}
CLASS:PUBLIC
PRIORITY:5
DTSTAMP:{stamp}
TRANSP:OPAQUE
STATUS:CONFIRMED
SEQUENCE:{sequence}
LOCATION;LANGUAGE=en-US:Room 1
X-MICROSOFT-CDO-APPT-SEQUENCE:{sequence}
X-MICROSOFT-CDO-BUSYSTATUS:TENTATIVE
X-MICROSOFT-CDO-INTENDEDSTATUS:BUSY
X-MICROSOFT-CDO-ALLDAYEVENT:FALSE
X-MICROSOFT-CDO-IMPORTANCE:1
X-MICROSOFT-DISALLOW-COUNTER:FALSE
BEGIN:VALARM
DESCRIPTION:REMINDER
TRIGGER;RELATED=START:-PT15M
ACTION:DISPLAY
END:VALARM
END:VEVENT
""",
)

APPLE: Final = Vendor(
    "apple",
    "-//Apple Inc.//macOS 14.4//EN",
    "America/New_York",
    "anna@invite.example.com",
    """
BEGIN:VEVENT
CREATED:20260109T150000Z
UID:6A1F0C52-9B7E-4D38-A0C4-5E2D7B9F1A63
{when}
TRANSP:OPAQUE
X-APPLE-TRAVEL-ADVISORY-BEHAVIOR:AUTOMATIC
SUMMARY:Planning 🗓
LAST-MODIFIED:{stamp}
DTSTAMP:{stamp}
URL;VALUE=URI:{link}
SEQUENCE:{sequence}
ORGANIZER;CN="Alex";EMAIL="alex@acme.example":mailto:alex@acme.example
ATTENDEE;CN="Alex";CUTYPE=INDIVIDUAL;EMAIL="alex@acme.example";PARTSTAT=ACC
 EPTED;ROLE=CHAIR:mailto:alex@acme.example
ATTENDEE;CN="{anna}";CUTYPE=INDIVIDUAL;EMAIL="{anna}";PARTSTAT=NEEDS-ACTION;
 ROLE=REQ-PARTICIPANT;RSVP=TRUE:mailto:{anna}
ATTENDEE;CN="Bob";CUTYPE=INDIVIDUAL;PARTSTAT=TENTATIVE;SCHEDULE-STATUS="1.2
 ";ROLE=REQ-PARTICIPANT:mailto:bob@acme.example
END:VEVENT
""",
)

# iCloud sends for its user: ORGANIZER is an address made for this event, who it is stands in EMAIL=.
ICLOUD: Final = Vendor(
    "icloud",
    "-//CALENDARSERVER.ORG//NONSGML Version 1//EN",
    "Europe/Berlin",
    "anna@invite.example.com",
    """
BEGIN:VEVENT
UID:65BEB44C-9B9F-4DE3-BA5F-8153629CA077
SUMMARY:Point d’équipe du lundi\\, à ne pas manquer
LOCATION:
URL;VALUE=URI:{link}
{when}
LAST-MODIFIED:{stamp}
ATTENDEE;ROLE=REQ-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:{anna}
ATTENDEE;ROLE=CHAIR;PARTSTAT=ACCEPTED;CN=Alex;EMAIL=alex@icloud.example:mai
 lto:alex@icloud.example
ORGANIZER;CN=Alex;EMAIL=alex@icloud.example:mailto:2_HAYTGMJXGI3DIMBTHAYTGM
 JXGKQXKTOWBNTDXZA5J7OK4X6H4WQSK@imip.me.com
DTSTAMP:{stamp}
CREATED:20260109T150000Z
SEQUENCE:{sequence}
STATUS:CONFIRMED
END:VEVENT
""",
)

VENDORS: Final = (GOOGLE, OUTLOOK, APPLE)
