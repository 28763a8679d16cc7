"""Invitations as a calendar sends them, with what a test wants in them."""

from __future__ import annotations

import smtplib
from datetime import datetime, timedelta
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import compat32
from itertools import count

from gateway.app import Gateway
from scheduler.clock import utc_now

ALEX = "alex@acme.example"
_NUMBERS = count(1)


def room() -> str:
    """A meeting link that no other mail has."""
    letters = "".join(chr(97 + int(digit)) for digit in f"{next(_NUMBERS):03}")
    return f"https://meet.google.com/{letters}-wxyz-{letters}"


def invitation(
    address: str,
    title: str,
    starts: datetime,
    *more: str,
    length: timedelta = timedelta(minutes=30),
    zone: str = "",
    organizer: str = ALEX,
    link: str | None = None,
) -> bytes:
    """A mail that invites an address. `starts`: UTC, or the wall clock of `zone`; `more`: further lines of the event;
    `link`: '' for none, None for one that no other mail has."""
    at = f";TZID={zone}:%Y%m%dT%H%M%S" if zone else ":%Y%m%dT%H%M%SZ"
    uid, link = f"browser-{next(_NUMBERS)}@google.com", room() if link is None else link
    lines = [
        "BEGIN:VCALENDAR", "PRODID:-//Google Inc//Google Calendar 70.9054//EN", "VERSION:2.0", "METHOD:REQUEST",
        "BEGIN:VEVENT", "DTSTART" + starts.strftime(at), "DTEND" + (starts + length).strftime(at),
        f"DTSTAMP:{utc_now():%Y%m%dT%H%M%SZ}", f"ORGANIZER;CN=Alex:mailto:{organizer}", f"UID:{uid}",
        f"ATTENDEE;CUTYPE=INDIVIDUAL;ROLE=REQ-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:{address}",
        *([f"X-GOOGLE-CONFERENCE:{link}"] if link else []), "SEQUENCE:0", "STATUS:CONFIRMED",
        *_folded(f"SUMMARY:{title}"), *more, "END:VEVENT", "END:VCALENDAR", "",
    ]  # fmt: skip
    mail = MIMEMultipart("alternative")
    mail["From"], mail["To"], mail["Subject"] = f"Alex <{organizer}>", address, "Invitation"
    mail["Message-ID"] = f"<{uid}>"
    mail.attach(MIMEText("You have been invited.\n", "plain", "us-ascii"))
    part = MIMEText("\r\n".join(lines), "calendar", "utf-8")
    part.set_param("method", "REQUEST")
    mail.attach(part)
    return mail.as_bytes(policy=compat32.clone(linesep="\r\n"))


def _folded(line: str) -> list[str]:
    """A content line as lines of 60 characters at most (RFC 5545, 3.1)."""
    return [line[:60], *(" " + line[at : at + 60] for at in range(60, len(line), 60))]


def send(gateway: Gateway, address: str, raw: bytes, organizer: str = ALEX) -> None:
    """Send it by SMTP; what is not taken raises."""
    with smtplib.SMTP("127.0.0.1", gateway.smtp_port) as client:
        assert client.sendmail(organizer, [address], raw) == {}
