"""What is looked at before any parser sees a mail: raw bytes that two parsers would read differently. Pure.

Rules of this file:
- It decides on bytes, by counting. Whatever passes is read alike by the signatures' verifier and by our parser.
- A refusal is one sentence for the sending server (550 5.6.0); nothing of the mail is kept.
- It is for what came by SMTP. A file played by hand may have any line ends.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from gateway.address import mailbox
from gateway.mime import MAX_HEADER_BYTES

# RFC 5322 3.6: these stand at most once, and a verifier and a parser may each take another one of two.
SINGLE: Final = ("from", "sender", "to", "subject", "date", "message-id", "content-type")

_FIELD: Final = re.compile(rb"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)
_FOLD: Final = re.compile(r"\r\n(?=[ \t])")

Fields = tuple[tuple[str, str], ...]


def fault_of(raw: bytes) -> str | None:
    """Why a mail is not looked at any further, None when it is."""
    if raw.count(b"\r") != raw.count(b"\r\n") or raw.count(b"\n") != raw.count(b"\r\n"):
        return "A line of this mail ends in a bare CR or a bare LF (RFC 5321 2.3.8)"
    if b"\0" in raw:
        return "This mail has a NUL in it (RFC 5321 4.5.2)"
    head = _head(raw)
    if len(head) > MAX_HEADER_BYTES:
        return f"The header of this mail is larger than {MAX_HEADER_BYTES // 1024} kB"
    fields = _split(head)
    if fields is None:
        return "The header of this mail has a line that is no header field (RFC 5322 2.2)"
    counted = Counter(name for name, _ in fields)
    twice = next((name for name in SINGLE if counted[name] > 1), None)
    if twice is not None:
        return f"This mail has more than one {twice.title()} header (RFC 5322 3.6)"
    if not mailbox(first(fields, "from")):
        return "The From header of this mail is not exactly one mailbox (RFC 5322 3.6.2)"
    return None


def fields_of(raw: bytes) -> Fields:
    """The header fields of a mail with CRLF, in order: name in lower case, value unfolded. () when it has none."""
    return _split(_head(raw)) or ()


def first(fields: Fields, name: str) -> str:
    """The first value of a field by its lower-case name, '' when it is not there."""
    return next((value for known, value in fields if known == name), "")


def _head(raw: bytes) -> bytes:
    if raw.startswith(b"\r\n"):
        return b""
    return raw.partition(b"\r\n\r\n")[0]


def _split(head: bytes) -> Fields | None:
    """None: there is a line that is neither a field nor the continuation of one."""
    lines = re.split(rb"\r\n(?![ \t])", head.removesuffix(b"\r\n"))
    found = []
    for line in filter(None, lines):
        field = _FIELD.fullmatch(line)
        if field is None:
            return None
        value = _FOLD.sub("", field[2].decode("utf-8", "replace"))
        found.append((field[1].decode("ascii").lower(), value.strip()))
    return tuple(found)
