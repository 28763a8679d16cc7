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
from email.charset import QP, Charset
from email.header import Header
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.nonmultipart import MIMENonMultipart
from email.utils import format_datetime, formataddr
from typing import Final

from icalendar import vText
from icalendar.parser import Contentline

from gateway.ics import Block, Property, stamp

PRODID: Final = "-//PAL gateway//invite//EN"
MAX_SUBJECT: Final = 200  # characters of a title that reach a Subject
MAX_ECHO: Final = 2000  # characters of a title that goes back: an answer is not to be larger than what it answers
MAX_ZONE_LINES: Final = 1500  # the longest real VTIMEZONE, with every change since 1891, has 1,100

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_MESSAGE_ID: Final = re.compile(r"<(?!.*=\?)[!-;=?-~]+>", re.ASCII)  # RFC 5322 3.6.4, and no encoded word
_READABLE: Final = Charset("utf-8")
_READABLE.body_encoding = QP  # the sentence can be read in the raw mail
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
    return "".join(Contentline(line).to_ical().decode() + "\r\n" for line in lines)


_ECHOED: Final = ("UID", "RECURRENCE-ID", "ORGANIZER", "SEQUENCE", "DTSTART", "DTEND", "DURATION", "SUMMARY")


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
    return found[0] if found else None


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
    outer = MIMEMultipart("mixed")
    outer["From"] = formataddr((clean(reply.sender_name), reply.sender))
    outer["To"] = reply.to
    outer["Subject"] = _subject(f"{_SUBJECTS[reply.partstat]}: {clean(reply.summary)[:MAX_SUBJECT]}")
    outer["Date"] = format_datetime(now.astimezone(UTC))
    outer["Message-ID"] = message_id
    if _MESSAGE_ID.fullmatch(reply.in_reply_to):
        outer["In-Reply-To"] = outer["References"] = reply.in_reply_to
    outer["Auto-Submitted"] = "auto-replied"  # RFC 3834: whoever answers mail automatically leaves this one alone
    alternative = MIMEMultipart("alternative")
    sentence = MIMENonMultipart("text", "plain")
    sentence.set_payload(_titled(reply) + "\r\n", _READABLE)
    alternative.attach(sentence)
    # Outlook needs method=REPLY in the MIME header, Google the charset.
    alternative.attach(_part("text", "calendar", reply.calendar, method="REPLY", charset="UTF-8"))
    outer.attach(alternative)
    attachment = _part("application", "ics", reply.calendar, name="invite.ics")
    attachment["Content-Disposition"] = 'attachment; filename="invite.ics"'
    outer.attach(attachment)
    return outer.as_bytes(policy=outer.policy.clone(linesep="\r\n"))


def _titled(reply: Reply) -> str:
    """The sentence, with the event it speaks of: a mail is often read without its Subject."""
    title = clean(reply.summary)[:MAX_SUBJECT]
    return f"“{title}”: {reply.comment}" if title else reply.comment


def _subject(text: str) -> str:
    # With the name counted in: else the first line is too long, is folded once more, and the title begins with a space.
    return Header(text, "us-ascii" if text.isascii() else "utf-8", header_name="Subject").encode()


def _part(main: str, sub: str, text: str, **params: str) -> MIMEBase:
    part = MIMENonMultipart(main, sub, policy=None, **params)
    part["Content-Transfer-Encoding"] = "base64"
    part.set_payload(encodebytes(text.encode()).decode("ascii"))
    return part


def clean(text: str) -> str:
    """Text from outside that may stand in a header or a line: no control or bidi characters, no encoded words.

    An encoded word in a title put into our Subject makes a header of the attacker's choice in some parsers.
    """
    return _CONTROL.sub(" ", text).replace("=?", "= ?").strip()
