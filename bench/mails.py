"""Invitations as Google Calendar writes them, 18 kB each: plain text, HTML, the calendar, and it again as a file.

No two are alike: each has a UID, a Message-ID, an organizer and a room of its own, and they go to many PALs, so that
they stay within the quotas. What is long in a real one (the HTML with its styles) is long here.
"""

from __future__ import annotations

from base64 import encodebytes
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

PALS = 20
NOW = datetime(2026, 2, 27, 14, 15, 5, tzinfo=UTC)  # when the mails of `invitation` come in
_HTML_BYTES = 10_400
_GUESTS = ("kim", "sam", "robin", "charlie")

_ZONE = """BEGIN:VTIMEZONE
TZID:Europe/Berlin
X-LIC-LOCATION:Europe/Berlin
BEGIN:DAYLIGHT
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
TZNAME:GMT+2
DTSTART:19700329T020000
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
END:DAYLIGHT
BEGIN:STANDARD
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
TZNAME:GMT+1
DTSTART:19701025T030000
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
END:STANDARD
END:VTIMEZONE"""


def pal(number: int) -> str:
    """Whom a mail is for."""
    return f"anna-{number % PALS}@invite.example.com"


def organizer(number: int) -> str:
    """Whom a mail is from."""
    return f"alex@acme-{number}.example"


def room(number: int) -> str:
    """A meeting of its own for each number."""
    letters = "".join(chr(ord("a") + number // 26**place % 26) for place in range(10))
    return f"https://meet.google.com/{letters[:3]}-{letters[3:7]}-{letters[7:]}"


def calendar(number: int, starts: datetime | None = None, sender: str = "") -> bytes:
    """The iCalendar object: one meeting at `starts` (UTC), or (None) eight Mondays after `NOW`."""
    first = starts or datetime(2026, 3, 2, 13, tzinfo=UTC)
    rule = "" if starts else "RRULE:FREQ=WEEKLY;WKST=MO;UNTIL=20260420T215959Z;BYDAY=MO\n"
    zone = "" if starts else f"{_ZONE}\n"
    dates = [f"{one:%Y%m%dT%H%M%SZ}" for one in (first, first + timedelta(hours=1))]
    begin, end = (f":{date}" for date in dates)
    if not starts:
        begin, end = ";TZID=Europe/Berlin:20260302T140000", ";TZID=Europe/Berlin:20260302T150000"
    stamp = f"{first - timedelta(days=3):%Y%m%dT%H%M%SZ}"
    alex, anna = sender or organizer(number), pal(number)
    guests = "".join(
        f"ATTENDEE;CUTYPE=INDIVIDUAL;ROLE=REQ-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=TRUE;CN={guest}@acme.example;"
        f"X-NUM-GUESTS=0:mailto:{guest}@acme.example\n"
        for guest in _GUESTS
    )
    text = (
        "BEGIN:VCALENDAR\nPRODID:-//Google Inc//Google Calendar 70.9054//EN\nVERSION:2.0\nCALSCALE:GREGORIAN\n"
        f"METHOD:REQUEST\n{zone}BEGIN:VEVENT\nDTSTART{begin}\nDTEND{end}\n{rule}DTSTAMP:{stamp}\n"
        f"ORGANIZER;CN=Alex Kim:mailto:{alex}\nUID:{number:026d}@google.com\n"
        f"ATTENDEE;CUTYPE=INDIVIDUAL;ROLE=REQ-PARTICIPANT;PARTSTAT=ACCEPTED;RSVP=TRUE;CN=Alex Kim;"
        f"X-NUM-GUESTS=0:mailto:{alex}\n"
        f"ATTENDEE;CUTYPE=INDIVIDUAL;ROLE=REQ-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=TRUE;CN={anna};"
        f"X-NUM-GUESTS=0:mailto:{anna}\n{guests}"
        f"X-GOOGLE-CONFERENCE:{room(number)}\nX-MICROSOFT-CDO-OWNERAPPTID:-1130186283\nCREATED:20260226T091500Z\n"
        "DESCRIPTION:Agenda: what ships in spring.\\n\\n-::~:~::~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~::~:~"
        f"::-\\nJoin with Google Meet: {room(number)}\\n\\nLearn more about Meet at: https://support.google.com/a/users"
        "/answer/9282720\\n\\nPlease do not edit this section.\\n-::~:~::~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~::~:~"
        f"::-\nLAST-MODIFIED:{stamp}\nLOCATION:\nSEQUENCE:0\nSTATUS:CONFIRMED\nSUMMARY:Weekly sync\n"
        "TRANSP:OPAQUE\nEND:VEVENT\nEND:VCALENDAR\n"
    )
    return "".join(_folded(line) for line in text.splitlines()).encode()


def invitation(number: int, starts: datetime | None = None, sender: str = "") -> bytes:
    """The whole mail, lines with CRLF; `sender`: somebody else than `organizer(number)`."""
    ics, alex, anna = calendar(number, starts, sender), sender or organizer(number), pal(number)
    sent = format_datetime((starts or datetime(2026, 3, 2, 13, tzinfo=UTC)) - timedelta(days=3))
    lines = [
        "MIME-Version: 1.0",
        f"Reply-To: Alex Kim <{alex}>",
        "Sender: Google Calendar <calendar-notification@google.com>",
        "Auto-Submitted: auto-generated",
        f"Message-ID: <calendar-{number:032x}@google.com>",
        f"Date: {sent}",
        "Subject: Invitation: Weekly sync @ Weekly from 14:00 to 15:00 on Monday from Mon Mar 2 (CET) (Anna)",
        f"From: Alex Kim <{alex}>",
        f"To: {anna}",
        'Content-Type: multipart/mixed; boundary="0000000000000a11ce0645854f06"',
        "",
        "--0000000000000a11ce0645854f06",
        'Content-Type: multipart/alternative; boundary="0000000000000b0b0b0645854f06"',
        "",
        "--0000000000000b0b0b0645854f06",
        'Content-Type: text/plain; charset="UTF-8"; format=flowed; delsp=yes',
        "Content-Transfer-Encoding: base64",
        "",
        *_base64(_PLAIN.encode()),
        "--0000000000000b0b0b0645854f06",
        'Content-Type: text/html; charset="UTF-8"',
        "Content-Transfer-Encoding: quoted-printable",
        "",
        *_HTML,
        "--0000000000000b0b0b0645854f06",
        'Content-Type: text/calendar; charset="UTF-8"; method=REQUEST',
        "Content-Transfer-Encoding: 7bit",
        "",
        *ics.decode().split("\r\n"),
        "--0000000000000b0b0b0645854f06--",
        "",
        "--0000000000000a11ce0645854f06",
        'Content-Type: application/ics; name="invite.ics"',
        'Content-Disposition: attachment; filename="invite.ics"',
        "Content-Transfer-Encoding: base64",
        "",
        *_base64(ics),
        "--0000000000000a11ce0645854f06--",
        "",
    ]
    return "\r\n".join(lines).encode()


_PLAIN = (
    "Invitation: Weekly sync @ Weekly from 14:00 to 15:00 on Monday (CET)\r\n\r\nYou have been invited by Alex Kim to "
    "attend an event named Weekly sync.\r\n\r\nAgenda: what ships in spring.\r\n\r\n" + "Guests, time, place. " * 20
)
_STYLED = (
    '<td style=3D"font-family: Roboto, sans-serif;font-style: normal; font-weigh=\r\n'
    't: 400; font-size: 14px; line-height: 20px; letter-spacing: 0.2px;color: #3c=\r\n4043;">Weekly sync</td>\r\n'
)
_HTML = ("<html><body>\r\n" + _STYLED * (_HTML_BYTES // len(_STYLED)) + "</body></html>").split("\r\n")


def _base64(data: bytes) -> list[str]:
    return encodebytes(data).decode().splitlines()


def _folded(line: str) -> str:
    pieces = [line[:75], *(line[at : at + 74] for at in range(75, len(line), 74))]
    return "\r\n ".join(pieces) + "\r\n"
