"""The answer to an invitation: an iMIP METHOD:REPLY (RFC 5546 3.2.3, RFC 6047). Pure.

Rules of this file (each vendor's demand beside the line that meets it):
- Exactly one ATTENDEE: two break Google. SEQUENCE as received: a raised one loses the organizer's next update.
- ORGANIZER, UID and RECURRENCE-ID go back byte for byte: iCloud's token address and Google's UTC dates are matched.
- Nothing that came from outside can add a header, a content line, or a part.
"""

from __future__ import annotations

import re
from base64 import encodebytes
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.header import Header
from email.policy import compat32
from email.quoprimime import body_encode
from email.utils import format_datetime, formataddr
from typing import Final

from icalendar import vText
from icalendar.parser import Contentline

from gateway.ics import Block, Property, stamp

PRODID: Final = "-//PAL gateway//invite//EN"
MAX_SUBJECT: Final = 200  # characters of a title that reach a Subject
MAX_ECHO: Final = 2000  # characters of a title that goes back: an answer is not to be larger than what it answers
LONGEST_LINE: Final = 1000  # bytes, CRLF and all (RFC 5322 2.1.1)
MAX_LINE: Final = 76  # characters of a header line that is not folded
SHORT_LINE: Final = 75  # octets of a content line
MAX_ZONE_LINES: Final = 1500  # the longest real VTIMEZONE, with every change since 1891, has 1,100

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_MESSAGE_ID: Final = re.compile(r"<(?!.*=\?)[!-;=?-~]+>", re.ASCII)  # RFC 5322 3.6.4, and no encoded word
_FOLDING: Final = compat32.clone(linesep="\r\n")
_SUBJECTS: Final = {"ACCEPTED": "Accepted", "DECLINED": "Declined"}


@dataclass(frozen=True)
class Reply:
    """One answer: to whom, as whom, and the REPLY calendar with the sentence for people.

    `recurrence_id` is the date it is for, None for a whole event. `key` is the same for the same answer to the same
    version of an invitation, so that it is sent once. `anew`: the organizer waits for it, also if it is the same as
    the last one.
    """

    uid: str
    recurrence_id: datetime | None
    partstat: str
    comment: str
    to: str
    sender: str
    sender_name: str
    summary: str
    calendar: str
    in_reply_to: str
    key: str
    anew: bool = True


def calendar_text(
    event: Block, calendar: Block, *, attendee: Property, name: str, partstat: str, comment: str, now: datetime
) -> str:
    """The REPLY for one VEVENT as received, CRLF and folded, with the VTIMEZONEs its dates name."""
    echoed = [one for name_ in _ECHOED if (one := _echo(event, name_)) is not None]
    if any(one.name == "DTEND" for one in echoed):
        echoed = [one for one in echoed if one.name != "DURATION"]  # RFC 5545 3.6.1: never both
    lines = ["BEGIN:VCALENDAR", f"PRODID:{PRODID}", "VERSION:2.0", "CALSCALE:GREGORIAN", "METHOD:REPLY"]
    lines += _zones(echoed, calendar)
    lines += ["BEGIN:VEVENT", *(one.line for one in echoed)]
    # Outlook and Google want the answering attendee as it was invited, and no other.
    params = f'PARTSTAT={partstat};CN="{clean(name).replace(chr(34), "")}"{_delegated_from(attendee)}'
    lines.append(f"ATTENDEE;{params}:{attendee.value}")
    lines.append(f"DTSTAMP:{now.astimezone(UTC):%Y%m%dT%H%M%SZ}")
    if partstat == "DECLINED":
        lines.append(f"COMMENT:{vText(clean(comment)).to_ical().decode()}")
    lines += ["REQUEST-STATUS:2.0;Success", "END:VEVENT", "END:VCALENDAR"]
    return "".join(map(_line, lines))


def _line(line: str) -> str:
    """A content line with its end, folded where it is long (RFC 5545 3.1)."""
    is_short = len(line) <= SHORT_LINE and line.isascii() and line.isprintable()
    return f"{line if is_short else Contentline(line).to_ical().decode()}\r\n"


_OUTLOOKS_SEQUENCE: Final = "X-MICROSOFT-CDO-APPT-SEQUENCE"
_ECHOED: Final = (
    *("UID", "RECURRENCE-ID", "ORGANIZER", "SEQUENCE", _OUTLOOKS_SEQUENCE),
    *("DTSTART", "DTEND", "DURATION", "SUMMARY"),
)


def _echo(event: Block, name: str) -> Property | None:
    """A property that goes back as it came, once; of two SEQUENCEs the larger, which is the one that counts."""
    found = list(event.all(name))
    if name == "SUMMARY":
        # For people only: nobody compares it, and control characters must not stand in a line (RFC 5545 3.3.11).
        title = found[0] if found and len(found[0].line) <= MAX_ECHO else None
        return replace(title, line=_CONTROL.sub(" ", title.line)) if title is not None else None
    if name == "SEQUENCE":
        numbered = [one for one in found if one.value.strip().isdecimal()]
        return max(numbered, key=lambda one: int(one.value[:30]), default=None)
    if name == _OUTLOOKS_SEQUENCE:
        return _outlooks_sequence(event)
    return found[0] if found else None


def _outlooks_sequence(event: Block) -> Property | None:
    """Outlook's own number, where it is the one that counts: old Outlook counts there and leaves SEQUENCE at 0.

    Exchange and Outlook read it before SEQUENCE (MS-OXCICAL 2.1.3.1.1.20.22); with SEQUENCE alone the answer would be
    one to a version long past.
    """
    own, outlooks = _echo(event, "SEQUENCE"), event.first(_OUTLOOKS_SEQUENCE)
    if outlooks is None or not re.fullmatch("[0-9]{1,10}", outlooks.value.strip()):
        return None
    is_counted = own is None or int(own.value[:30]) == 0
    return outlooks if is_counted and int(outlooks.value) > 0 else None


def block_of_date(block: Block, original: datetime, start: datetime) -> Block:
    """The VEVENT of a series as it would stand for one of its dates; its original start and its start are wall clocks
    in the zone of DTSTART, and written as DTSTART is."""
    model = block.first("DTSTART")
    named = [_dated("RECURRENCE-ID", original, model), _dated("DTSTART", start, model)]
    left_out = ("RRULE", "RDATE", "EXDATE", "EXRULE", "DTSTART", "DTEND", "DURATION", "RECURRENCE-ID")
    return Block(block.name, [*(one for one in block.properties if one.name not in left_out), *named])


def _dated(name: str, wall: datetime, model: Property | None) -> Property:
    written = stamp(model.value, {}) if model is not None else None
    if model is None or written is None or written.date_only:
        value = f"{wall:%Y%m%d}"
        return Property(name, {"VALUE": "DATE"}, value, f"{name};VALUE=DATE:{value}")
    value = f"{wall:%Y%m%dT%H%M%S}{'Z' if written.utc else ''}"
    params = model.line.rpartition(":")[0][len(model.name) :]
    return Property(name, model.params, value, f"{name}{params}:{value}")


def _delegated_from(attendee: Property) -> str:
    """A delegate's answer names who delegated to it (RFC 5546 3.2.2.3)."""
    value = clean(attendee.params.get("DELEGATED-FROM", "")).replace('"', "")
    return f';DELEGATED-FROM="{value}"' if value and "," not in value else ""


def _zones(echoed: list[Property], calendar: Block) -> list[str]:
    """The message's own VTIMEZONEs of the dates that are echoed: a TZID without one is invalid (RFC 5545 3.6.5)."""
    names = {one.params["TZID"].strip('"') for one in echoed if "TZID" in one.params}
    lines: list[str] = []
    for block in calendar.inner("VTIMEZONE"):
        if block.text("TZID").strip('"') in names:
            lines += block.lines()
    return lines if len(lines) <= MAX_ZONE_LINES else []


def render(reply: Reply, message_id: str, now: datetime) -> bytes:
    """The whole mail, as bytes with CRLF. `message_id` with its angle brackets."""
    header = [
        ("From", formataddr((clean(reply.sender_name), reply.sender))),
        ("To", reply.to),
        ("Subject", _subject(f"{_SUBJECTS[reply.partstat]}: {clean(reply.summary)[:MAX_SUBJECT]}")),
        ("Date", format_datetime(now.astimezone(UTC))),
        ("Message-ID", message_id),
    ]
    if _MESSAGE_ID.fullmatch(reply.in_reply_to):
        header += [("In-Reply-To", reply.in_reply_to), ("References", reply.in_reply_to)]
    header.append(("Auto-Submitted", "auto-replied"))  # RFC 3834: who answers mail automatically leaves this one alone
    return _MAIL.format(
        header="".join(_field(name, value) for name, value in header),
        sentence=_quoted_printable(_titled(reply)),
        calendar=encodebytes(reply.calendar.encode()).decode("ascii").replace("\n", "\r\n"),
    ).encode("utf-8", "surrogateescape")


# "=_" is in no quoted-printable and in no base64, so a boundary that begins so stands nowhere in a part.
_MAIL: Final = """\
Content-Type: multipart/mixed; boundary="=_mixed"
MIME-Version: 1.0
{header}
--=_mixed
Content-Type: multipart/alternative; boundary="=_alternative"

--=_alternative
Content-Type: text/plain; charset="utf-8"
Content-Transfer-Encoding: quoted-printable

{sentence}
--=_alternative
Content-Type: text/calendar; method="REPLY"; charset="UTF-8"
Content-Transfer-Encoding: base64

{calendar}
--=_alternative--

--=_mixed
Content-Type: application/ics; name="invite.ics"
Content-Disposition: attachment; filename="invite.ics"
Content-Transfer-Encoding: base64

{calendar}
--=_mixed--
""".replace("\n", "\r\n")  # Outlook needs method=REPLY in the MIME header, Google the charset


def _field(name: str, value: str) -> str:
    """A header field; one that is long is folded, one that is not ASCII encoded, unless it is an address."""
    line = f"{name}: {value}\r\n"
    if value.isascii() and value.isprintable() and len(line) <= MAX_LINE + 2:
        return line
    # An encoded word is no address (RFC 2047 5); one beyond ASCII stands as it is (RFC 6532 3.2).
    if name == "To" and not value.isascii() and value.isprintable() and len(line.encode()) <= LONGEST_LINE:
        return line
    return _FOLDING.fold(name, value)


def _titled(reply: Reply) -> str:
    """The sentence, with the event it speaks of: a mail is often read without its Subject."""
    title = clean(reply.summary)[:MAX_SUBJECT]
    return f"“{title}”: {reply.comment}" if title else reply.comment


def _subject(text: str) -> str:
    # With the name counted in: else the first line is too long, is folded once more, and the title begins with a space.
    return Header(text, "us-ascii" if text.isascii() else "utf-8", header_name="Subject").encode()


def _quoted_printable(text: str) -> str:
    """The sentence, as it can be read in the raw mail, too."""
    return body_encode(text.encode("utf-8", "surrogateescape").decode("latin-1")).replace("\n", "\r\n")


def clean(text: str) -> str:
    """Text from outside that may stand in a header or a line: no control or bidi characters, no encoded words.

    An encoded word in a title put into our Subject makes a header of the attacker's choice in some parsers.
    """
    return _CONTROL.sub(" ", text).replace("=?", "= ?").strip()
