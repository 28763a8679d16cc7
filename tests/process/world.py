"""A gateway in a process of its own, with the world around it, and the books that are compared in the end.

Rules of this file:
- A sending server is played as one is: what gets no 250 is offered again, until it does.
- Everything is waited for by looking, with a limit; nothing is proved by having slept.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from sqlalchemy import Engine, text

import scheduler.store
from gateway import store
from gateway.keys import Key, digest
from gateway.pals import DEFAULT_ACCOUNT, Pal, pal_id
from gateway.settings import PREFIX
from gateway.sockets import listen
from scheduler.clock import utc_now
from scheduler.database import connect
from scheduler.joins import LIVE, Join, JoinState
from tests.forks import FORKS
from tests.process.outside import ONWARD, Platform, Relay, Sent, deliver, platform, relay
from tests.process.victim import run

DOMAIN: Final = "invite.example.com"
ANNA: Final = f"anna@{DOMAIN}"
API_KEY: Final = "pg_test"
QUEUED: Final = "SELECT count(*) FROM outbox WHERE state = 'queued'"
BUSY: Final = LIVE - {JoinState.JOINED} | {JoinState.LEAVING}
WHOM: Final = ("INVITER", "DOMAIN", "PAL")
PATIENCE: Final = 30.0  # seconds for what is to happen


def wait_for(what: Callable[[], bool], sentence: str, seconds: float = PATIENCE, more: Callable[[], str] = str) -> None:
    """Look until it is so. `more` is asked for when it is not."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, f"not within {seconds:g} s: {sentence} {more()}"
        time.sleep(0.02)


def seconds(length: timedelta) -> str:
    """A length of time, for people."""
    return f"{length.total_seconds():.1f} s"


def free_port() -> int:
    """A port that nobody has now."""
    with listen("127.0.0.1", 0) as sock:
        return int(sock.getsockname()[1])


@dataclass(frozen=True)
class Meeting:
    """A meeting that somebody invites a PAL to."""

    uid: str
    url: str
    starts: datetime
    organizer: str = "alex@acme.example"
    length: timedelta = timedelta(hours=1)
    pal: str = ANNA
    lines: tuple[str, ...] = ()  # further content lines

    @property
    def raw(self) -> bytes:
        """The invitation, as a mail."""
        return self.mail("REQUEST", 0)

    def mail(self, method: str, sequence: int) -> bytes:
        """A mail about it."""
        stamp = "%Y%m%dT%H%M%SZ"
        lines = [
            "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Acme//Test//EN", f"METHOD:{method}", "BEGIN:VEVENT",
            f"UID:{self.uid}", f"DTSTAMP:{utc_now():{stamp}}", f"DTSTART:{self.starts:{stamp}}",
            f"DTEND:{self.starts + self.length:{stamp}}", f"SEQUENCE:{sequence}", f"ORGANIZER:mailto:{self.organizer}",
            f"ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:{self.pal}", f"X-GOOGLE-CONFERENCE:{self.url}",
            f"SUMMARY:{self.uid.partition('@')[0]}", *self.lines, "END:VEVENT", "END:VCALENDAR", "",
        ]  # fmt: skip
        mail = MIMEMultipart("alternative")
        mail["From"], mail["To"], mail["Subject"] = self.organizer, self.pal, "Invitation"
        mail["Message-ID"] = f"<{self.uid}>"
        mail.attach(MIMEText("You are invited.\n", "plain", "us-ascii"))
        part = MIMEText("\r\n".join(lines), "calendar", "us-ascii")
        part.set_param("method", method)
        mail.attach(part)
        return mail.as_bytes(policy=mail.policy.clone(linesep="\r\n"))


def room(number: int) -> str:
    """The link of the `number`-th room."""
    letters = "".join(chr(97 + number // 26**place % 26) for place in range(10))
    return f"https://meet.google.com/{letters[:3]}-{letters[3:7]}-{letters[7:]}"


def meeting(number: int, starts: datetime, length: timedelta = Meeting.length) -> Meeting:
    """The `number`-th meeting, each in a room of its own."""
    return Meeting(f"meeting-{number}@acme.example", room(number), starts, length=length)


@dataclass
class Place:
    """Where a gateway runs: its ports stay the same when it is started again, and callbacks find it."""

    world: World
    name: str
    smtp: int = field(default_factory=free_port)
    http: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | BaseProcess | None = None
    role: str = ""

    @property
    def log(self) -> Path:
        return self.world.folder / f"{self.name}.log"

    @property
    def kill_at(self) -> Path:
        return self.world.folder / f"{self.name}.kill"

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text()[-2000:] if self.log.exists() else ""

    def environment(self) -> dict[str, str]:
        values = {
            "DOMAIN": DOMAIN, "LOG": "json", "STORE__URL": self.world.url, "SMTP__PORT": str(self.smtp),
            "HTTP__PORT": str(self.http), "PLATFORM__BASE_URL": self.world.platform.url, "PLATFORM__API_KEY": "key",
            "RELAY__HOST": "127.0.0.1", "RELAY__PORT": str(self.world.relay.port), "RELAY__START_TLS": "false",
            "REPLIES__HOLD_SECONDS": "0.5", "REPLIES__HOURLY_PER_ORGANIZER": "1000000", "SENDERS__SENDER_AUTH": "off",
            "CALLBACKS__PRIVATE_NETWORKS": '["127.0.0.0/8"]', "READING__READERS": "1",
            **{f"QUOTAS__{name}_PER_{whom}": "0" for name in ("INVITATIONS", "JOINS") for whom in WHOM},
            **self.world.settings,
        }  # fmt: skip
        own = {PREFIX + name: value for name, value in values.items()}
        return {**os.environ, **own, **self.world.environment, "KILL_AT": str(self.kill_at)}

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it answers."""
        if self.world.command:
            command = [*self.world.command, sys.executable, "-m", "tests.process.victim"]
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(command, env=self.environment(), stdout=log, stderr=log)
        else:
            self.process = FORKS.Process(target=run, args=(self.environment(), str(self.log)))
            self.process.start()
        if wait:
            wait_for(self.is_ready, f"{self.name} is ready", more=self.tail)

    def is_ready(self) -> bool:
        assert self.exit_code() is None, f"{self.name} ended: {self.tail()}"
        with suppress(OSError, URLError), urlopen(f"http://127.0.0.1:{self.http}/readyz", timeout=2) as response:
            return bool(response.status == 200)
        return False

    def exit_code(self) -> int | None:
        """None while it lives."""
        if isinstance(self.process, subprocess.Popen):
            return self.process.poll()
        assert self.process is not None
        return self.process.exitcode

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def halts(self) -> None:
        """Wait until it has halted (SIGSTOP)."""
        assert self.process is not None
        stat = Path(f"/proc/{self.process.pid}/stat")
        wait_for(lambda: stat.read_text().rpartition(") ")[2][0] == "T", f"{self.name} halts", more=self.tail)

    def health(self, seconds: float = 20) -> int:
        """The status of its /readyz, 0 when it does not answer in time."""
        try:
            with urlopen(f"http://127.0.0.1:{self.http}/readyz", timeout=seconds) as response:
                return int(response.status)
        except HTTPError as error:
            return error.code
        except OSError:
            return 0

    def ended(self, seconds: float = PATIENCE) -> int:
        """Wait for its end; its exit code."""
        wait_for(lambda: self.exit_code() is not None, f"{self.name} ends", seconds)
        return self.exit_code() or 0

    def kill(self) -> None:
        """kill -9, if it lives."""
        if self.process is not None and self.exit_code() is None:
            self.signal(signal.SIGKILL)
            self.ended()

    def stop(self, seconds: float = 20) -> int:
        """SIGTERM; its exit code."""
        self.signal(signal.SIGTERM)
        return self.ended(seconds)

    def dies(self) -> None:
        """Wait until it has killed itself."""
        code = self.ended()
        assert code == -signal.SIGKILL, f"ended with {code}: {self.tail()}"


@dataclass
class World:
    """A store, the platform, the relay, the places where gateways run, and the meetings that were accepted with 250."""

    folder: Path
    url: str
    platform: Platform
    relay: Relay
    engine: Engine
    settings: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()  # put in front of the gateway's own, such as faketime
    places: list[Place] = field(default_factory=list)
    meetings: list[Meeting] = field(default_factory=list)
    offered: Counter[str] = field(default_factory=Counter)  # how often a mail was offered until it got its 250
    numbers: Iterator[int] = field(default_factory=count)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def place(self) -> Place:
        """One more place for a gateway."""
        self.places.append(Place(self, f"gateway-{len(self.places)}"))
        return self.places[-1]

    def running(self, begun: timedelta = timedelta(minutes=5)) -> Meeting:
        """A new meeting that began a while ago: whoever is invited is to come at once."""
        with self.lock:
            number = next(self.numbers)
        return meeting(number, utc_now() - begun)

    def send(self, one: Meeting, seconds: float = PATIENCE) -> None:
        """Offer an invitation to one place after the other, until one takes it."""
        until = time.monotonic() + seconds
        while True:
            place = self.places[self.offered[one.uid] % len(self.places)]
            self.offered[one.uid] += 1
            answer = deliver(place.smtp, one.raw, one.pal)
            if answer.startswith("250"):
                with self.lock:
                    self.meetings.append(one)
                return
            assert answer[:1] in ("", "4"), answer
            assert time.monotonic() < until, f"{one.uid} was not taken: {answer}"
            time.sleep(0.1)

    def order(self, one: Meeting, seconds: float = PATIENCE) -> None:
        """Order a PAL into a meeting's room by HTTP, and hear of the call; asked again until there is an answer."""
        body = {
            "pal_id": pal_id(ANNA),
            "meeting_url": one.url,
            "callback_url": self.platform.url + ONWARD,
        }
        headers = {"x-api-key": API_KEY, "Idempotency-Key": one.uid, "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self.places[0].http}/v2/conversations"
        until = time.monotonic() + seconds
        while True:
            try:
                with urlopen(Request(url, json.dumps(body).encode(), headers), timeout=20):
                    return
            except HTTPError as error:
                status = error.code
                if status == 409:
                    return  # it is under way: the answer was lost, the order was not
            except OSError:
                status = 599
            assert status >= 500, f"{one.uid} was refused with {status}"
            assert time.monotonic() < until, f"{one.uid} was not ordered"
            time.sleep(0.1)

    def offer(self, one: Meeting, place: int = 0) -> str:
        """Offer an invitation once: the answer, '' when there was none. What gets 250 is in the books."""
        self.offered[one.uid] += 1
        answer = deliver(self.places[place].smtp, one.raw, one.pal)
        if answer.startswith("250"):
            with self.lock:
                self.meetings.append(one)
        return answer

    def join_of(self, one: Meeting) -> Join:
        """The only join of a meeting."""
        (join,) = (join for join in self.joins() if join.uid == one.uid)
        return join

    def joins(self) -> list[Join]:
        with self.engine.connect() as connection:
            return scheduler.store.find_joins(connection, limit=100_000)

    def scalar(self, query: str) -> object:
        with self.engine.connect() as connection:
            return connection.execute(text(query)).scalar()

    def is_settled(self) -> bool:
        """Whether nothing is under way: each meeting was joined, each reply sent, each callback passed on."""
        joins = self.joins()
        wanted = {one.uid for one in self.meetings}
        joined = {join.uid for join in joins if join.state in (JoinState.JOINED, JoinState.ENDED)}
        busy = [join for join in joins if join.state in BUSY and join.at <= utc_now()]
        waiting = self.scalar(QUEUED)
        onward = self.scalar("SELECT count(*) FROM callbacks WHERE state = 'queued'")
        return wanted <= joined and not busy and not waiting and not onward

    def is_told(self) -> bool:
        """Whether all that happened was told to whoever asked for it."""
        untold = self.scalar("SELECT count(*) FROM journal WHERE wake_at IS NOT NULL")
        return not untold and not self.scalar("SELECT count(*) FROM deliveries WHERE state = 'queued'")

    def settle(self, seconds: float = PATIENCE) -> None:
        """Wait until nothing is under way."""
        until = time.monotonic() + seconds
        while not self.is_settled():
            assert time.monotonic() < until, "not settled: " + "; ".join(self.unsettled())
            time.sleep(0.05)

    def unsettled(self) -> list[str]:
        """What is under way, for people."""
        joins = [join for join in self.joins() if join.state in BUSY]
        known = {join.uid for join in self.joins()}
        lost = [one.uid for one in self.meetings if one.uid not in known]
        return [
            f"no join for {lost[:5]}",
            f"joins {[(join.uid, join.state.value, join.attempt, str(join.wake_at)) for join in joins[:5]]}",
            f"replies {self.scalar(QUEUED)}",
            *(f"{place.name}: {place.tail()[-600:]}" for place in self.places),
        ]

    def answers(self, one: Meeting, partstat: str) -> list[Sent]:
        """The answers of a kind to a meeting that the relay has taken."""
        query = text("SELECT id FROM outbox WHERE uid = :uid AND partstat = :partstat")
        with self.engine.connect() as connection:
            known = connection.execute(query, {"uid": one.uid, "partstat": partstat}).scalars()
            names = {f"<{name}@{DOMAIN}>" for name in known}
        return [sent for sent in self.relay.sent if sent.message_id in names]

    def between_relay_and_record(self) -> set[str]:
        """The replies that the relay has taken and the store does not know to be sent, by Message-ID."""
        with self.engine.connect() as connection:
            known = {
                f"<{name}@{DOMAIN}>"
                for name in connection.execute(text("SELECT id FROM outbox WHERE state = 'sent'")).scalars()
            }
        return {one.message_id for one in self.relay.sent} - known

    def balance(self) -> Balance:
        """The books of store, platform and relay, beside what was promised with 250."""
        urls = Counter(call["meeting_url"] for call in self.platform.calls)
        replies = Counter(one.message_id for one in self.relay.sent)
        bodies: dict[str, set[bytes]] = {}
        for one in self.relay.sent:
            bodies.setdefault(one.message_id, set()).add(one.raw)
        with self.engine.connect() as connection:
            kept = {one.message_id for one in store.find_mails(connection, None, 1_000_000)}
            answered = {
                row.uid: f"<{row.id}@{DOMAIN}>"
                for row in connection.execute(text("SELECT id, uid FROM outbox WHERE state = 'sent'"))
            }
        return Balance(
            mails=len(self.meetings),
            lost_mails=[one.uid for one in self.meetings if f"<{one.uid}>" not in kept],
            lost_joins=[one.uid for one in self.meetings if not urls[one.url]],
            double_joins=[url for url, number in urls.items() if number > 1],
            lost_replies=[one.uid for one in self.meetings if replies[answered.get(one.uid, "")] == 0],
            double_replies=[name for name, number in replies.items() if number > 1],
            changed_replies=[name for name, raws in bodies.items() if len(raws) > 1],
        )


@dataclass(frozen=True)
class Balance:
    """What is lost, and what was done twice."""

    mails: int
    lost_mails: list[str]
    lost_joins: list[str]
    double_joins: list[str]
    lost_replies: list[str]
    double_replies: list[str]
    changed_replies: list[str]

    def check(self, may_double: Collection[str] = ()) -> None:
        """Nothing lost, nothing twice; a reply that came twice (only those that may have) was the same mail."""
        assert not self.lost_mails, f"lost mails: {self.lost_mails}"
        assert not self.lost_joins, f"lost joins: {self.lost_joins}"
        assert not self.double_joins, f"double joins: {self.double_joins}"
        assert not self.lost_replies, f"lost replies: {self.lost_replies}"
        assert not self.changed_replies, f"replies that changed: {self.changed_replies}"
        doubled = set(self.double_replies) - set(may_double)
        assert not doubled, f"double replies: {doubled}"


@contextmanager
def world(folder: Path, url: str = "", **settings: str) -> Iterator[World]:
    """A world with a PAL in its store (of a URL, or a file in `folder`), and no gateway yet."""
    url = url or f"sqlite:///{folder}/gateway.db"
    with ExitStack() as stack:
        engine = connect(url)
        stack.callback(engine.dispose)
        store.migrate(engine)
        with engine.begin() as connection:
            store.add_key(connection, Key("k-test", DEFAULT_ACCOUNT, digest(API_KEY), "test", (), utc_now(), None))
            store.add_pal(connection, Pal(pal_id(ANNA), "Anna", ANNA, "face-1"), utc_now())
        found = World(folder, url, stack.enter_context(platform()), stack.enter_context(relay()), engine, settings)
        try:
            yield found
        finally:
            for place in found.places:
                place.kill()
