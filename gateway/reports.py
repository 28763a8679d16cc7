"""What came back to a bounce address: not delivered, late, delivered, or an automatic answer. Pure.

A report of delivery has a part for programs (RFC 3464, internationalized: RFC 6533); its Action counts. qmail, old Exim
and others write for people only: such a mail says that the reply was not delivered, unless it says something else.

Rules of this file:
- It is asked about mail with the null sender to an address that we signed, and about nothing else.
- The mail that is returned is not looked into: what it says was said by us.
- What comes out is one printable line of at most MAX_WORDS characters, whatever came in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import Message as Mail
from email.parser import HeaderParser
from enum import StrEnum
from itertools import pairwise
from typing import Final

from gateway.address import mailbox
from gateway.mime import parts_of, subject_of, text_of
from gateway.reply import clean

MAX_WORDS: Final = 300  # characters
_MAX_TEXT: Final = 10_000  # characters of a text for people that are looked at
_MAX_LINES: Final = 60

_STATUS_TYPES: Final = ("message/delivery-status", "message/global-delivery-status")
_STATUS: Final = re.compile(r"(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?![\d.])", re.ASCII)  # RFC 3463 2
_CODED: Final = re.compile(r"(?<![\d.])(?:[45][0-5]\d[ -]|[45]\.\d{1,3}\.\d{1,3}(?![\d.]))", re.ASCII)
_ADDRESS: Final = re.compile(r"[^\s@]+@[^\s@]+")  # alone in its line: qmail and Exim say below it what was wrong
_TAG: Final = re.compile(r"<[a-z!/][^<>]{0,1000}>", re.IGNORECASE)
_COPY: Final = re.compile(r"^\s*-{3}.*\b(?:copy|original|returned|undelivered|below)\b", re.IGNORECASE)
_LATE: Final = re.compile(
    r"\bdelayed\b|\bdelay in delivery\b|\bdelivery delay\b|\bnot yet been delivered\b|\bwarning message only\b"
    r"|\bcould not send message for past\b|\bstill (?:being retried|trying|in the queue|queued)\b"
    r"|\bwill (?:keep trying|continue to (?:try|be tried))\b",
    re.IGNORECASE,
)
_OVER: Final = re.compile(
    r"\bpermanent|\b(?:gave|given|giving) up\b|\bundeliverable\b|\breturn(?:ed|ing) to sender\b"
    r"|\bmail delivery failed\b|\bfailure notice\b",
    re.IGNORECASE,
)
_ROBOTS: Final = ("mailer-daemon", "postmaster", "mail-daemon", "maildaemon", "mailerdaemon")
_NOTICE: Final = re.compile(
    r"\bundeliver|\bdelivery (?:status|fail)|\bdelivery has failed|\bfailure notice|\breturned (?:mail|to sender)"
    r"|\bmail delivery|\bnon-?delivery|\bcould not be delivered|\bwasn't able to deliver",
    re.IGNORECASE,
)
_ANSWER: Final = re.compile(
    r"^\s*(?:auto(?:matic)?(?:[- ]?(?:reply|response))?\s*:|out of (?:the )?office)", re.IGNORECASE
)


class Fate(StrEnum):
    FAILED = "not delivered"
    DELAYED = "delayed"  # it is still tried
    DELIVERED = "delivered"  # or handed on to a system that reports no more
    ANSWERED = "answered automatically"  # a vacation note, a receipt: it says nothing of the delivery


@dataclass(frozen=True)
class Report:
    """What a mail to a bounce address says. `status`: its code (RFC 3463), '' when it has none."""

    fate: Fate
    status: str = ""
    words: str = ""
    message_id: str = ""

    @property
    def line(self) -> str:
        """All of it in one line."""
        code = f" ({self.status})" if self.status else ""
        return f"{self.fate}{code}: {self.words}" if self.words else f"{self.fate}{code}"


def report_of(data: bytes) -> Report:
    """The report in a mail's bytes. Raises Unreadable for a mail over the limits."""
    parts = parts_of(data)
    mail, own = parts[0], list(_own_parts(parts[0]))
    message_id = str(mail.get("Message-ID", "")).replace("\0", "").strip()[:500]
    found = _for_programs(own) or _for_people(mail, own)
    return Report(found.fate, found.status, found.words, message_id)


def _own_parts(part: Mail) -> Iterator[Mail]:
    """The parts of a mail, without what is inside a mail that it returns."""
    yield part
    if part.get_content_maintype() == "multipart" and part.is_multipart():
        for inner in part.get_payload():
            if isinstance(inner, Mail):
                yield from _own_parts(inner)


def _for_programs(parts: list[Mail]) -> Report | None:
    """What the delivery-status part says, None when there is none that says anything."""
    status = next((part for part in parts if part.get_content_type() in _STATUS_TYPES), None)
    if status is None:
        return None
    told = [one for one in map(_recipient, _blocks(status)) if one is not None]
    # One recipient was written to; where its address stands for several, the worst that happened is what is told.
    worst = next((one for fate in Fate for one in told if one.fate is fate), None)
    if worst is None or worst.words:
        return worst
    return Report(worst.fate, worst.status, _first_words(_text(parts))[1])


def _blocks(status: Mail) -> Iterator[Mail]:
    """The groups of fields (RFC 3464 2.1): of the mail, and of each recipient."""
    for inner in status.get_payload() if status.is_multipart() else ():
        if isinstance(inner, Mail):
            yield inner
            rest = inner.get_payload()
            # The email package takes an internationalized one for a mail: what follows the first group is its text.
            for block in re.split(r"(?:\r?\n){2,}", rest[: _MAX_TEXT * 10]) if isinstance(rest, str) else ():
                yield HeaderParser().parsestr(block)


def _recipient(block: Mail) -> Report | None:
    """What a group says of its recipient, None when it says nothing (the first one is of the mail)."""
    action = _field(block, "Action").partition(";")[0].strip().lower()
    status = _STATUS.search(_field(block, "Status"))
    code = status[0] if status else ""
    fate = _ACTIONS.get(action) or _CLASSES.get(code[:1])
    if fate is None:
        return None
    diagnostic = _field(block, "Diagnostic-Code") or _field(block, "X-Supplementary-Info")
    kind, semicolon, text = diagnostic.partition(";")
    words = text if semicolon and re.fullmatch(r"[\w-]{1,20}", kind.strip(), re.ASCII) else diagnostic
    return Report(fate, code, _printable(words))


_ACTIONS: Final = {
    "failed": Fate.FAILED,
    "delayed": Fate.DELAYED,
    "delivered": Fate.DELIVERED,
    "relayed": Fate.DELIVERED,
    "expanded": Fate.DELIVERED,
}
_CLASSES: Final = {"5": Fate.FAILED, "4": Fate.DELAYED, "2": Fate.DELIVERED}


def _field(block: Mail, name: str) -> str:
    return str(block.get(name, ""))


def _for_people(mail: Mail, parts: list[Mail]) -> Report:
    """What a mail without a part for programs says: not delivered, unless it says something else."""
    subject = subject_of(mail)
    text = _text(parts)
    told = f"{subject}\n{text}"
    if _is_automatic_answer(mail, subject, text, parts):
        return Report(Fate.ANSWERED, words=_printable(subject))
    status, words = _first_words(text)
    if _LATE.search(told) and not _OVER.search(told):
        return Report(Fate.DELAYED, status, words or _printable(subject))
    return Report(Fate.FAILED, status, words or _printable(subject))


def _is_automatic_answer(mail: Mail, subject: str, text: str, parts: list[Mail]) -> bool:
    """Whether a robot of the organizer's answers: one that stands in for a person, not one that carries mail.

    Postfix's and Exim's bounces are `Auto-Submitted: auto-replied` too (RFC 3834 5), so that alone is no sign.
    """
    if mail.get_content_type() == "multipart/report":
        kind = _parameter(mail, "report-type")
        types = {part.get_content_type() for part in parts}
        return "message/disposition-notification" in types or kind not in ("", "delivery-status")
    if mail.get("X-Failed-Recipients") or _sent_by_mail_system(mail) or _NOTICE.search(subject):
        return False
    if _ANSWER.search(subject) or mail.get("X-Autoreply") or mail.get("X-Autorespond"):
        return True
    automatic = str(mail.get("Auto-Submitted", "no")).strip().lower()
    return automatic.startswith("auto-") and not _NOTICE.search(text)


def _sent_by_mail_system(mail: Mail) -> bool:
    """Whether its From is a server's own address, which many servers write without a domain, or is empty."""
    sender = " ".join(str(mail.get("From", "")).split()).lower()
    local = mailbox(sender).partition("@")[0]
    return not sender or "<>" in sender or local in _ROBOTS or any(name in sender for name in _ROBOTS[:1])


def _parameter(mail: Mail, name: str) -> str:
    value = mail.get_param(name, "")
    return value.strip().lower() if isinstance(value, str) else ""


def _text(parts: Iterable[Mail]) -> str:
    """The text for people: the plain one, else what a page shows."""
    texts = {part.get_content_type(): part for part in reversed(list(parts))}
    if "text/plain" in texts:
        return text_of(texts["text/plain"])[:_MAX_TEXT]
    page = text_of(texts["text/html"])[: _MAX_TEXT * 3] if "text/html" in texts else ""
    return _TAG.sub("\n", page)[:_MAX_TEXT]


def _first_words(text: str) -> tuple[str, str]:
    """(status code, line) that say why: the first line with a code, else what follows an address, else the first."""
    lines = list(_lines(text))
    coded = next((line for line in lines if _CODED.search(line)), None)
    if coded is None:
        after = (line for before, line in pairwise(lines) if _ADDRESS.fullmatch(before))
        return "", _printable(next(after, lines[0] if lines else ""))
    code = _STATUS.search(coded)
    return code[0] if code else "", _printable(coded)


def _lines(text: str) -> Iterator[str]:
    """The first lines that say something, up to the copy of the mail that came back."""
    for number, line in enumerate(text.splitlines()):
        if number == _MAX_LINES * 5 or _COPY.match(line):
            return
        if line.strip():
            yield line.strip()


def _printable(text: str) -> str:
    """Text from outside in one line that a terminal, a log and a page can show."""
    words = " ".join(clean(text[: MAX_WORDS * 10]).split())
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in words)
    return shown if len(shown) <= MAX_WORDS else shown[: MAX_WORDS - 1] + "…"
