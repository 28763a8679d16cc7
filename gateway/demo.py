"""The main path, shown: a mail to the demo PAL through our own port, its reply, its join. Shell.

Rules of this file:
- Everything is real (SMTP, the store, HTTP to the sandbox platform); only the invitation is made up.
- Nothing leaves this machine: no platform, no relay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta
from email import message_from_bytes
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import compat32
from pathlib import Path
from random import choices
from secrets import token_urlsafe
from string import ascii_lowercase
from typing import Any, Final

import aiosmtplib
from sqlalchemy.exc import IntegrityError

import scheduler.store
from gateway import store
from gateway.address import domain_of
from gateway.app import Gateway, heeded, until_stopped
from gateway.intake import fresh_id
from gateway.keys import Key, digest
from gateway.kinds import ROLES
from gateway.logs import configure
from gateway.pals import DEFAULT_ACCOUNT, Pal, pal_id
from gateway.ports import CannotStart, PortTaken
from gateway.settings import Senders, Settings
from scheduler.clock import utc_now
from scheduler.joins import Join, JoinState

PATIENCE: Final = 30.0  # seconds for the whole path; it takes about one
LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
ORGANIZER: Final = "alex@acme.example"


def demo(settings: Settings, *, stay: bool) -> int:
    """Run it; 0 when the PAL was joined, 1 when not in time. Raises CannotStart."""
    for name, is_set in (
        ("platform.base_url", settings.platform.base_url),
        ("targets", settings.targets),
        ("relay.host", settings.relay.host),
    ):
        if is_set:
            raise CannotStart(f"The demo stays on this machine, and {name} is set: leave it away, or use serve.")
    configure(settings.log)
    return asyncio.run(_demo(settings, stay))


async def _demo(settings: Settings, stay: bool) -> int:
    gateway = _start_anywhere(_as_shown(settings))
    pal = _demo_pal(gateway)
    await gateway.start()
    stopped = heeded(settings.stop_seconds)
    joined = await _in_time(gateway, _show(gateway, pal))
    if not joined:
        print("The PAL was not joined in time; the lines above say why.")
    if stay and joined:
        page = f"http://{settings.http.host}:{gateway.http_port}/"
        print(f"\nWatch it at {page}, signed in with the key {_key(gateway)} (for a day, from this machine).")
        print(f"Invite {pal.address} yourself: mail to 127.0.0.1:{gateway.smtp_port}. Ctrl-C ends.\n", flush=True)
        await until_stopped(gateway, stopped)
    else:
        await gateway.stop()
    return 0 if joined else 1


def _as_shown(settings: Settings) -> Settings:
    """The settings with which the demo's own mail is taken, and answered at once."""
    own = {
        "replies": settings.replies.model_copy(update={"hold_seconds": 0}),
        "http": settings.http.model_copy(update={"public_url": ""}),  # where the sandbox calls back
        "smtp": settings.smtp.model_copy(update={"proxy_from": (), "xclient_from": ()}),
        "senders": Senders(),
        "roles": ROLES,
    }
    return settings.model_copy(update=own)


async def _in_time(gateway: Gateway, showing: Coroutine[Any, Any, bool]) -> bool:
    """Whether the path was walked before patience ends; the fault of a part that fails is raised."""
    tasks = [asyncio.create_task(showing), asyncio.create_task(gateway.failed())]
    done, pending = await asyncio.wait(tasks, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    for task in done:
        task.result()
    return tasks[0] in done


def _start_anywhere(settings: Settings) -> Gateway:
    """On the ports of the settings, or on free ones where they are taken."""
    try:
        return Gateway(settings)
    except PortTaken as error:
        print(
            f"{error} Using free ports. If another gateway works on this store, stop one of the two: each has a "
            "sandbox of its own, and ends the calls of the other."
        )
        free = {name: getattr(settings, name).model_copy(update={"port": 0}) for name in ("smtp", "http")}
        return Gateway(settings.model_copy(update=free))


def _demo_pal(gateway: Gateway) -> Pal:
    address = f"anna@{gateway.settings.mail_domains().of(DEFAULT_ACCOUNT)}"
    pal = Pal(pal_id(address), "Anna", address, "sandbox-face")
    try:
        with gateway.engine.begin() as connection:
            store.add_pal(connection, pal, utc_now())
    except IntegrityError:  # an earlier demo added it, or somebody did
        with gateway.engine.connect() as connection:
            pal = store.find_pal(connection, address) or pal
    return pal


def _key(gateway: Gateway) -> str:
    """A fresh key for the page, of the operator's account."""
    secret, now = "pg_" + token_urlsafe(32), utc_now()
    key = Key(fresh_id("k"), DEFAULT_ACCOUNT, digest(secret), "demo", LOOPBACK, now, now + timedelta(days=1))
    with gateway.engine.begin() as connection:
        store.add_key(connection, key)
    return secret


async def _show(gateway: Gateway, pal: Pal) -> bool:
    now = utc_now()
    uid, mail = invitation(pal.address, now)
    print(f"\n1. {ORGANIZER} invites {pal.address} to a meeting that began ten minutes ago (SMTP {gateway.smtp_port}).")
    await aiosmtplib.send(
        mail,
        sender=ORGANIZER,
        recipients=[pal.address],
        hostname="127.0.0.1",
        port=gateway.smtp_port,
        local_hostname=domain_of(ORGANIZER),
        start_tls=False,
    )
    folder = gateway.settings.relay.folder
    path = await _reply_to(gateway, uid, folder)
    print(f"2. The reply, {path}:\n\n{_readable(path.read_bytes())}")
    join = await _joined(gateway, pal, uid)
    print(
        f"\n3. {pal.name} is in the call: join {join.id}, {join.url}, conversation {join.conversation_id}.", flush=True
    )
    return True


def _readable(raw: bytes) -> str:
    """The reply's headers, its sentence and its calendar, decoded and indented."""
    mail = message_from_bytes(raw)
    lines = [
        f"{name}: {mail[name]}" for name in ("From", "To", "Subject", "Message-ID", "In-Reply-To", "Auto-Submitted")
    ]
    for wanted in ("text/plain", "text/calendar"):
        part = next(part for part in mail.walk() if part.get_content_type() == wanted)
        payload = part.get_payload(decode=True)
        lines += [
            "",
            f"[{part['Content-Type']}]",
            *(payload.decode().splitlines() if isinstance(payload, bytes) else []),
        ]
    return "\n".join("   " + line for line in lines)


async def _reply_to(gateway: Gateway, uid: str, folder: Path) -> Path:
    """The file that the reply was written to, once it is there."""
    while True:
        with gateway.engine.connect() as connection:
            sent = store.letters_of(connection, uid, "sent")
        if sent:
            return folder / f"{sent[0]}.eml"
        await asyncio.sleep(0.05)


async def _joined(gateway: Gateway, pal: Pal, uid: str) -> Join:
    while True:
        with gateway.engine.connect() as connection:
            joins = scheduler.store.load_joins(connection, pal.id, uid)
        if joins and joins[0].state is JoinState.JOINED and joins[0].conversation_id:
            return joins[0]
        await asyncio.sleep(0.05)


def invitation(pal_address: str, now: datetime) -> tuple[str, bytes]:
    """(UID, mail): a Google-shaped invitation to a meeting that began ten minutes before `now` (UTC)."""
    code = "-".join("".join(choices(ascii_lowercase, k=size)) for size in (3, 4, 3))  # noqa: S311  no secret
    uid = f"demo-{now:%Y%m%dT%H%M%S}-{code}@google.com"
    begin, end = now - timedelta(minutes=10), now + timedelta(minutes=50)
    calendar = _CALENDAR.format(
        uid=uid,
        pal=pal_address,
        organizer=ORGANIZER,
        code=code,
        now=f"{now:%Y%m%dT%H%M%SZ}",
        begin=f"{begin:%Y%m%dT%H%M%SZ}",
        end=f"{end:%Y%m%dT%H%M%SZ}",
    )
    mail = MIMEMultipart("alternative")
    mail["From"] = f"Alex <{ORGANIZER}>"
    mail["To"] = pal_address
    mail["Subject"] = "Invitation: Stand-up"
    mail["Message-ID"] = f"<{uid}>"
    mail.attach(MIMEText("You have been invited to Stand-up.\n", "plain", "us-ascii"))
    part = MIMEText(calendar, "calendar", "us-ascii")
    part.set_param("method", "REQUEST")
    mail.attach(part)
    return uid, mail.as_bytes(policy=compat32.clone(linesep="\r\n"))


_CALENDAR: Final = """BEGIN:VCALENDAR
PRODID:-//Google Inc//Google Calendar 70.9054//EN
VERSION:2.0
CALSCALE:GREGORIAN
METHOD:REQUEST
BEGIN:VEVENT
DTSTART:{begin}
DTEND:{end}
DTSTAMP:{now}
ORGANIZER;CN=Alex:mailto:{organizer}
UID:{uid}
ATTENDEE;CUTYPE=INDIVIDUAL;ROLE=REQ-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:{pal}
X-GOOGLE-CONFERENCE:https://meet.google.com/{code}
SEQUENCE:0
STATUS:CONFIRMED
SUMMARY:Stand-up
END:VEVENT
END:VCALENDAR
"""
