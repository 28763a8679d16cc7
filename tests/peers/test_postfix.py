"""Postfix (Debian's package) in front of a gateway, as deploy/postfix has it: in, out, back, and while one is away."""

from __future__ import annotations

import asyncio
import re
import smtplib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email import message_from_bytes
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import text

from gateway import store
from gateway.app import Gateway
from gateway.bounces import is_bounce_address
from gateway.config import load
from gateway.demo import ORGANIZER, invitation
from gateway.pals import Pal, pal_id
from scheduler.clock import utc_now
from tests.conftest import not_here
from tests.peers.postfix import (
    BY_LMTP,
    BY_SMTP,
    BY_SOCKET,
    SERVER,
    SHIPPED,
    Front,
    Missing,
    Organizers,
    header_lines,
    milter,
    organizers,
    running_postfix,
)
from tests.wire.test_bounces import invites_over_http
from tests.wire.test_main_path import ANNA, running, settings_for, until

HOW_TO: Final = SHIPPED.parents[1] / "docs" / "how-to" / "postfix.md"
STRANGER: Final = "198.51.100.7"  # a server of the Internet (RFC 5737)
WAYS: Final = (BY_SMTP, BY_LMTP, BY_SOCKET)
ANNAS: Final = tuple(f"anna@{domain}" for domain in WAYS)
PINNED: Final = {"auth_results": SERVER, "pinned_peers": ["127.0.0.0/8"]}  # as deploy/postfix/gateway.toml
_NUMBERS: Final = count(1)


@dataclass
class Scene:
    """A Postfix, the organizers' server and a gateway that goes down and comes up again, with other settings or not."""

    front: Front
    outside: Organizers
    folder: Path
    settings: dict[str, Any] | None = None  # None: it is down
    gateway: Gateway = field(init=False)
    _up: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def up(self, **settings: Any) -> None:
        self.gateway = await self._up.enter_async_context(behind(self.front, self.folder, settings))
        self.settings = settings

    async def down(self) -> None:
        self.settings = None
        await self._up.aclose()

    def mails(self) -> list[store.MailRow]:
        with self.gateway.engine.connect() as connection:
            return store.find_mails(connection, None, 100)

    async def mail(self, about: str) -> store.MailRow:
        """The mail with words in it, once it is here."""

        async def look() -> store.MailRow | None:
            return next((one for one in self.mails() if about.encode() in one.raw), None)

        found = await until(look)
        assert isinstance(found, store.MailRow)
        return found

    async def invite(self, uid: str) -> dict[str, Any]:
        """What was decided on an invitation."""

        async def look() -> dict[str, Any] | None:
            return next((one for one in await invites_over_http(self.gateway) if one["uid"] == uid), None)

        return dict(await until(look))


Story = Callable[[Scene], Awaitable[None]]
Play = Callable[[Story], None]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[asyncio.Runner, Scene]]:
    """One Postfix, and one loop for all that is around it, for all tests of this file."""
    try:
        with running_postfix() as front, asyncio.Runner() as runner:
            around = AsyncExitStack()
            runner.run(around.enter_async_context(milter(front.milter)))
            outside = runner.run(around.enter_async_context(organizers(front.outside)))
            scene = Scene(front, outside, tmp_path_factory.mktemp("gateway"))
            yield runner, scene
            runner.run(scene.down())
            runner.run(around.aclose())
    except Missing as missing:
        not_here(f"Postfix: {missing} (tests/peers/install.sh installs it)")


@pytest.fixture
def play(stage: tuple[asyncio.Runner, Scene]) -> Play:
    """Plays a path with a gateway of deploy/postfix/gateway.toml behind the Postfix."""
    runner, scene = stage

    async def begin_and(path: Story) -> None:
        if scene.settings != {}:
            await scene.down()
            await scene.up()
        scene.outside.taken.clear()
        scene.outside.says = Organizers.says
        await path(scene)

    return lambda path: runner.run(begin_and(path))


@asynccontextmanager
async def behind(front: Front, folder: Path, settings: dict[str, Any]) -> AsyncIterator[Gateway]:
    """A gateway where Postfix looks for it, with Anna in each of its domains."""
    values: dict[str, Any] = {
        "smtp": {"port": front.smtp, "lmtp_port": front.lmtp, "lmtp_socket": front.socket},
        "relay": {"host": "127.0.0.1", "port": front.port, "start_tls": False},
        "domains": {"by_lmtp": BY_LMTP, "by_socket": BY_SOCKET},
        "senders": PINNED,
        "reading": {"readers": 1},
    }
    async with running(settings_for(folder, **{**values, **settings})) as gateway:
        with gateway.engine.begin() as connection:
            for address in ANNAS:
                if store.find_pal(connection, address) is None:
                    store.add_pal(connection, Pal(pal_id(address), "Anna", address, "face-1"), utc_now())
        yield gateway


def invited(to: str = ANNA) -> tuple[str, bytes]:
    """(UID, mail): an invitation for tomorrow that nobody had before."""
    uid, raw = invitation(to, utc_now() + timedelta(days=1))
    new = f"{next(_NUMBERS)}-{uid}"
    return new, raw.replace(uid.encode(), new.encode())


def talk(front: Front, raw: bytes, to: str, sender: str = ORGANIZER, client: str = STRANGER) -> str:
    """The last thing that Postfix says to a mail from a server of the Internet."""
    with smtplib.SMTP("127.0.0.1", front.port, timeout=20) as smtp:
        smtp.ehlo()
        assert smtp.docmd(f"XCLIENT ADDR={client}")[0] == 220
        smtp.ehlo("mail.acme.example")
        for say in (partial(smtp.mail, sender), partial(smtp.rcpt, to), partial(smtp.data, raw)):
            code, words = say()
            if code >= 400:
                break
        return f"{code} {words.decode()}"


async def send(front: Front, raw: bytes, to: str = ANNA, **more: str) -> str:
    return await asyncio.to_thread(talk, front, raw, to, **more)


async def empty(front: Front) -> None:
    """Wait until nothing is left in the queue."""

    async def look() -> bool:
        return not await asyncio.to_thread(front.queued)

    await until(look)


def test_in_by_each_way_with_what_the_milter_found_and_the_reply_out(play: Play) -> None:
    async def one(here: Scene, address: str) -> None:
        uid, raw = invited(address)
        assert (await send(here.front, raw, address)).startswith("250 2.0.0 Ok: queued")
        mail = await here.mail(uid)
        assert (mail.recipients, mail.mail_from) == ((address,), ORGANIZER)
        found = (await here.invite(uid))["authentication"]
        assert (found["auth_id"], found["rule"]) == (ORGANIZER, "authentication-results")

    async def path(here: Scene) -> None:
        await asyncio.gather(*(one(here, address) for address in ANNAS))

        async def answered() -> bool:
            return {mail_from.rpartition("@")[2] for mail_from, _, _ in here.outside.taken} == set(WAYS)

        await until(answered)
        for mail_from, to, reply in here.outside.taken:
            assert to == ORGANIZER
            assert message_from_bytes(reply)["Subject"] == "Accepted: Stand-up"
            assert is_bounce_address(mail_from)
            (_, by) = header_lines(reply, "Received")[0].split(" by ", 1)  # it left through the same Postfix
            assert by.startswith(SERVER)

    play(path)


def test_an_unknown_pal_is_refused_in_our_words_and_a_known_one_asked_for_without_a_trace(play: Play) -> None:
    async def path(here: Scene) -> None:
        before = here.mails()
        strangers = [send(here.front, b"", f"nobody@{domain}") for domain in WAYS]
        known = [asyncio.to_thread(asked, here.front, address) for address in (*ANNAS, f"postmaster@{BY_SMTP}")]
        foreign, *said = await asyncio.gather(send(here.front, b"", "alex@elsewhere.example"), *strangers, *known)
        assert foreign.startswith("554 5.7.1 ")  # it is no open relay
        for one in said[: len(WAYS)]:
            assert one.startswith("550 5.1.1 ")
            assert "550 5.1.1 No PAL has this address" in one
        assert set(said[len(WAYS) :]) == {"250 2.1.5 Ok"}
        assert here.mails() == before
        assert "alex@elsewhere.example" not in {to for _, to, _ in here.outside.taken}

        # One that is made after a first try is known soon.
        late = f"nobody@{BY_SMTP}"
        with here.gateway.engine.begin() as connection:
            store.add_pal(connection, Pal(pal_id(late), "Late", late, "face-1"), utc_now())

        async def known_now() -> bool:
            return (await asyncio.to_thread(asked, here.front, late)).startswith("250")

        await until(known_now)

    play(path)


def asked(front: Front, address: str) -> str:
    """What is said to a recipient of a mail that does not come; to the null sender, which is asked for the same."""
    said = set()
    for sender in (ORGANIZER, ""):
        with smtplib.SMTP("127.0.0.1", front.port, timeout=20) as smtp:
            smtp.ehlo("mail.acme.example")
            smtp.mail(sender)
            code, words = smtp.rcpt(address)
            said.add(f"{code} {words.decode()}")
    (found,) = said
    return found


def test_while_the_gateway_is_down_its_mail_waits(play: Play) -> None:
    """Of PALs that Postfix knows; another one is answered 450, and the sender's own server comes again."""

    async def path(here: Scene) -> None:
        known = await asyncio.gather(*(asyncio.to_thread(asked, here.front, address) for address in ANNAS))
        assert set(known) == {"250 2.1.5 Ok"}
        await here.down()
        mails = [(*invited(address), address) for address in ANNAS]
        stranger = send(here.front, b"", f"stranger@{BY_SMTP}")
        unknown, *said = await asyncio.gather(stranger, *(send(here.front, raw, address) for _, raw, address in mails))
        assert unknown.startswith("450 4.1.1 ")
        assert {one[:20] for one in said} == {"250 2.0.0 Ok: queued"}

        async def tried() -> bool:
            waiting = await asyncio.to_thread(here.front.queued)
            return waiting.count('"delay_reason"') == len(ANNAS)

        await until(tried)
        await here.up()
        for uid, _, address in mails:
            assert (await here.mail(uid)).recipients == (address,)
        await empty(here.front)

        async def refused() -> bool:  # what was "not now" a moment ago
            return (await send(here.front, b"", f"stranger@{BY_SMTP}")).startswith("550 5.1.1 ")

        await until(refused)

    play(path)


def test_while_the_store_is_away_its_mail_waits(play: Play) -> None:
    async def path(here: Scene) -> None:
        assert (await asyncio.to_thread(asked, here.front, ANNA)).startswith("250")
        with here.gateway.engine.begin() as connection:
            connection.execute(text("ALTER TABLE invites RENAME TO elsewhere"))
        uid, raw = invited()
        assert (await send(here.front, raw)).startswith("250 2.0.0 Ok: queued")

        async def deferred() -> bool:
            return "451 4.3.0 The gateway cannot write this down now" in await asyncio.to_thread(here.front.queued)

        await until(deferred)
        with here.gateway.engine.begin() as connection:
            connection.execute(text("ALTER TABLE elsewhere RENAME TO invites"))
        assert (await here.mail(uid)).recipients == (ANNA,)

    play(path)


def test_a_reply_that_is_refused_later_comes_back_as_a_report(play: Play) -> None:
    async def path(here: Scene) -> None:
        here.outside.says = "550 5.7.1 No replies from robots here"
        uid, raw = invited()
        assert (await send(here.front, raw)).startswith("250 2.0.0 Ok: queued")

        async def returned() -> dict[str, Any] | None:
            (reply,) = (await here.invite(uid))["replies"]
            return reply if reply["state"] == "undeliverable" else None

        reply = await until(returned)
        assert reply["error"] == "not delivered (5.7.1): 550 5.7.1 No replies from robots here"
        (report,) = [one for one in here.mails() if one.recipients[0].startswith(f"bounce+{reply['reply_id']}.")]
        assert report.mail_from == ""
        assert message_from_bytes(report.raw)["Subject"] == "Undelivered Mail Returned to Sender"
        await empty(here.front)

    play(path)


def test_what_the_sender_says_of_itself_is_taken_out(play: Play) -> None:
    """A forged DKIM verdict beside the milter's DMARC verdict would speak for its From."""

    async def path(here: Scene) -> None:
        name, _, rest = SERVER.partition(".")
        for server in (SERVER, f"{name}.(x){rest}"):
            uid, raw = invited()
            forged = f"Authentication-Results: {server}; dkim=pass header.d=boss.example\r\n".encode()
            await send(
                here.front, forged + raw.replace(ORGANIZER.encode(), b"eve@boss.example"), sender="eve@evil.example"
            )
            found = (await here.invite(uid))["authentication"]
            assert (found["auth_id"], found["rule"]) == (None, "f")
            (written,) = header_lines((await here.mail(uid)).raw, "Authentication-Results")
            assert written == f"{SERVER}; dmarc=none header.from=boss.example"

    play(path)


def test_what_the_milter_found_counts_from_pinned_peers_only(play: Play) -> None:
    async def path(here: Scene) -> None:
        await here.down()
        await here.up(senders={**PINNED, "pinned_peers": ["192.0.2.0/24"]})
        uid, raw = invited()
        await send(here.front, raw)
        found = (await here.invite(uid))["authentication"]
        assert (found["auth_id"], found["rule"]) == (None, "f")
        assert "authentication-results" not in {step["check"] for step in found["chain"]}

    play(path)


def test_the_settings_that_are_shipped() -> None:
    """deploy/postfix/gateway.toml is read, fits main.cf, transport and the page, and is what these tests run with."""
    settings = load(SHIPPED / "gateway.toml")
    shipped = (SHIPPED / "main.cf").read_text("utf-8")
    limit = next(int(line.partition("=")[2]) for line in shipped.splitlines() if line.startswith("message_size_limit"))
    assert limit + 64 * 1024 < settings.smtp.max_bytes
    transport = (SHIPPED / "transport").read_text("utf-8")
    assert f"relay:[{settings.smtp.host}]:{settings.smtp.port}" in transport
    page = HOW_TO.read_text("utf-8")
    for domain, way in re.findall(rf"^#?({re.escape(BY_SMTP)})\s+(\S+)$", transport, re.MULTILINE):
        assert f"`{domain} {way}`" in page
    for name in SHIPPED.iterdir():
        assert f"`{name.name}`" in page
    assert settings.domain == BY_SMTP
    assert settings.senders.auth_results == PINNED["auth_results"]
    assert [str(one) for one in settings.senders.pinned_peers] == PINNED["pinned_peers"]
    assert (settings.relay.host, settings.relay.start_tls) == ("127.0.0.1", False)
