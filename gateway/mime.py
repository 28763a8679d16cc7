"""Mail bytes to the facts of the mail and its calendar parts. Pure.

Rules of this file:
- The email package's compat32 policy: `policy.default` is quadratic in hostile headers.
- Limits before work: header bytes, parts, depth. What is over them is refused whole.
- The first text/calendar part that names a METHOD counts; a copy of the same object as .ics is the same invitation.
"""

from __future__ import annotations

import re
from codecs import lookup
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message as Mail
from email.utils import collapse_rfc2231_value, getaddresses
from typing import Final

from gateway.address import mailbox, normal
from gateway.ics import Unreadable, decode

MAX_HEADER_BYTES: Final = 64 * 1024
MAX_FIELD_BYTES: Final = 4 * 1024  # of a Content-… field; the email package is quadratic in its parameters
MAX_PARTS: Final = 100
MAX_DEPTH: Final = 20
MAX_DASHES: Final = 20_000  # lines that may be boundaries: each part is made before it can be counted

_CALENDAR_TYPES: Final = ("text/calendar", "text/x-vcalendar")
_FILE_TYPES: Final = ("application/ics", "application/octet-stream", "application/calendar")
_TEXT_TYPES: Final = ("text/plain", "text/html")
_TNEF_TYPES: Final = ("application/ms-tnef", "application/vnd.ms-tnef")
_METHOD: Final = re.compile(rb"^METHOD[:;]", re.MULTILINE | re.IGNORECASE)
_QUADRATIC: Final = ("punycode", "idna")  # no charsets of mail, and 200 kB of the first take six seconds
_FOLD: Final = re.compile(r"[\r\n]+(?=[ \t])")
_FIELD: Final = re.compile(rb"(?<![^\r\n])Content-[^\r\n]*(?:(?:\r\n|\r|\n)[ \t][^\r\n]*)*", re.IGNORECASE)
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True)
class CalendarPart:
    """The bytes of a calendar part, and the METHOD that its MIME header says, '' when it says none."""

    data: bytes
    method: str = ""


@dataclass(frozen=True)
class MailFacts:
    """What the desk needs to know of a mail. Addresses are comparable ones, '' when there is none."""

    message_id: str
    subject: str
    from_address: str
    calendars: tuple[CalendarPart, ...]
    body: str
    is_report: bool = False  # a bounce or an automatic answer: never an invitation
    has_tnef: bool = False


def parse(data: bytes) -> MailFacts:
    """Mail bytes to facts. Raises Unreadable for a mail over the limits."""
    parts = parts_of(data)
    mail = parts[0]
    senders = [str(value) for value in mail.get_all("From", [])]
    return MailFacts(
        message_id=str(mail.get("Message-ID", "")).replace("\0", "").strip()[:500],
        subject=subject_of(mail),
        from_address=mailbox(_FOLD.sub("", senders[0])) if len(senders) == 1 else "",
        calendars=_calendars(parts),
        body=_body(parts),
        is_report=_is_report(mail),
        has_tnef=any(map(_is_tnef, parts)),
    )


def recipients_of(data: bytes) -> tuple[str, ...]:
    """Whom a mail says that it is for. Raises Unreadable for a mail over the limits."""
    return _addresses(parts_of(data)[0], "To", "Cc", "Delivered-To", "X-Original-To")


def parts_of(data: bytes) -> list[Mail]:
    """A mail and all that is in it, the mail itself first. Raises Unreadable for a mail over the limits."""
    _check_size(data)
    try:
        mail = message_from_bytes(data, policy=policy.compat32)
    except RecursionError as error:
        raise Unreadable(f"parts nested more than {MAX_DEPTH} deep") from error
    parts = list(_walk(mail, 0))
    if len(parts) > MAX_PARTS:
        raise Unreadable(f"more than {MAX_PARTS} parts")
    return parts


def subject_of(mail: Mail) -> str:
    """The Subject as people read it, at most 500 characters."""
    return _decoded(str(mail.get("Subject", "")))


def text_of(part: Mail) -> str:
    """A text part as people read it, at most 100,000 characters."""
    return decode(_payload(part))[:100_000]


def _check_size(data: bytes) -> None:
    """The limits that must hold before the email package sees the mail. Raises Unreadable."""
    head = _HEAD_END.split(data, maxsplit=1)[0]
    if len(head) > MAX_HEADER_BYTES:
        raise Unreadable(f"the header is larger than {MAX_HEADER_BYTES // 1024} kB")
    if any(len(field[0]) > MAX_FIELD_BYTES for field in _FIELD.finditer(data)):
        raise Unreadable(f"a Content- field is larger than {MAX_FIELD_BYTES // 1024} kB")
    if data.count(b"\n--") + data.count(b"\r--") > MAX_DASHES:
        raise Unreadable(f"more than {MAX_PARTS} parts")


def _walk(part: Mail, depth: int) -> Iterator[Mail]:
    if depth > MAX_DEPTH:
        raise Unreadable(f"parts nested more than {MAX_DEPTH} deep")
    yield part
    if part.is_multipart():
        for inner in part.get_payload():
            if isinstance(inner, Mail):
                yield from _walk(inner, depth + 1)


def _addresses(mail: Mail, *names: str) -> tuple[str, ...]:
    values = [str(value) for name in names for value in mail.get_all(name, [])]
    try:
        found = [normal(address) for _, address in getaddresses(values)]
    except RecursionError as error:
        raise Unreadable(f"comments nested too deep in {names[0]}") from error  # RFC 5322 3.2.2 lets them nest
    return tuple(address for address in found if address)


def _decoded(value: str) -> str:
    value = value[:2000]  # decoding has charsets in it that are quadratic
    try:
        return str(make_header(decode_header(value)))[:500]
    except (MessageError, LookupError, UnicodeError, ValueError):
        return value[:500]


def _calendars(parts: list[Mail]) -> tuple[CalendarPart, ...]:
    """The calendar parts that are messages of their own: those with a METHOD in the calendar type, else in a file."""
    typed = [part for part in parts if part.get_content_type() in _CALENDAR_TYPES]
    found = {id(part): CalendarPart(_payload(part), _method(part)) for part in typed}
    for box in parts:
        if box.get_content_type() == "multipart/alternative":
            # Alternatives are one message: the first that names a METHOD wins (RFC 6047 2.4).
            ways = [id(part) for part in box.get_payload() if id(part) in found]
            best = next((way for way in ways if _names_method(found[way])), None)
            found = {key: one for key, one in found.items() if key == best or key not in ways or best is None}
    files = [CalendarPart(_payload(part)) for part in parts if _is_file(part)]
    for group in (list(found.values()), files):
        messages = [one for one in group if _names_method(one)]
        if messages:
            return _without_copies(messages)
    return _without_copies([*found.values(), *files])[:1]


def _without_copies(parts: list[CalendarPart]) -> tuple[CalendarPart, ...]:
    """Each object once: a copy may have other line ends and folds."""
    seen: dict[bytes, CalendarPart] = {}
    for one in parts:
        seen.setdefault(b"".join(one.data.split()), one)
    return tuple(seen.values())


def _names_method(one: CalendarPart) -> bool:
    return bool(one.method or _METHOD.search(one.data))


def _method(part: Mail) -> str:
    try:
        return collapse_rfc2231_value(part.get_param("method", "")).strip().upper()[:40]
    except UnicodeError:  # a charset that decodes no matter what it is told, such as idna
        return ""


def _is_file(part: Mail) -> bool:
    named = _file_name(part).endswith(".ics")
    return part.get_content_type() == "application/ics" or (named and part.get_content_type() in _FILE_TYPES)


def _is_report(mail: Mail) -> bool:
    # auto-generated is no sign: every invitation of Google's has it. auto-replied quotes what it answers (RFC 3834 5).
    automatic = str(mail.get("Auto-Submitted", "")).strip().lower()
    return mail.get_content_type() == "multipart/report" or automatic.startswith("auto-replied")


def _is_tnef(part: Mail) -> bool:
    return part.get_content_type() in _TNEF_TYPES or _file_name(part) == "winmail.dat"


def _file_name(part: Mail) -> str:
    """In lower case; also one that is wrongly written as an encoded word."""
    if "Content-Disposition" not in part and "name" not in str(part.get("Content-Type", "")).lower():
        return ""
    try:
        return _decoded(part.get_filename() or "").strip().lower()
    except UnicodeError:
        return ""


def _payload(part: Mail) -> bytes:
    """The decoded part, to be read by `decode`: as UTF-8 whatever charset it says, else as it is."""
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        return b""
    charset = (part.get_content_charset() or "utf-8").lower()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return decode(data).encode()
    if charset in ("utf-8", "us-ascii"):
        return data  # a fold may stand inside a character: it is unfolded before it is decoded
    try:
        if lookup(charset).name in _QUADRATIC:
            return data
        return data.decode(charset).encode()
    except (LookupError, UnicodeError):
        return decode(data).encode()


def _body(parts: list[Mail]) -> str:
    """The mail's own text: the plain one, and the HTML one where a link may stand that the plain one leaves out."""
    texts = (next((part for part in parts if part.get_content_type() == kind), None) for kind in _TEXT_TYPES)
    return "\n".join(text_of(part) for part in texts if part is not None)
