"""Postfix (Debian's package) in front of a gateway, as deploy/postfix has it: in, out, back, and while one is away."""

from __future__ import annotations

import asyncio
import re
import smtplib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from email import message_from_bytes
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import text

from gateway import store, store_outbox
from gateway.app import Gateway
from gateway.bounces import is_bounce_address
from gateway.config import load
from gateway.demo import ORGANIZER, invitation
from gateway.pals import Pal, pal_id
from gateway.store_outbox import LetterRow, LetterState
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


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    """One Postfix for all tests of this file."""
    try:
        with running_postfix() as found:
            yield found
    except Missing as missing:
        not_here(f"Postfix: {missing} (tests/peers/install.sh installs it)")


@dataclass
class Scene:
    """A gateway behind a Postfix, and the organizers' server."""

    front: Front
    gateway: Gateway
    outside: Organizers

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

    async def letter(self, state: str) -> LetterRow:
        """The only answer in a state, once there is one."""

        async def look() -> list[LetterRow]:
            with self.gateway.engine.connect() as connection:
                return store_outbox.find_letters(connection, [state], 2)

        (found,) = await until(look)
        assert isinstance(found, LetterRow)
        return found

    async def invite(self, uid: str) -> dict[str, Any]:
        """What was decided on an invitation."""

        async def look() -> dict[str, Any] | None:
            return next((one for one in await invites_over_http(self.gateway) if one["uid"] == uid), None)

        return dict(await until(look))


def in_front(folder: Path, front: Front, path: Callable[[Scene], Awaitable[None]], **settings: Any) -> None:
    """Play a path with a gateway behind a Postfix."""

    async def run() -> None:
        async with milter(front.milter), organizers(front.outside) as outside, behind(front, folder, settings) as here:
            await path(Scene(front, here, outside))

    asyncio.run(run())


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


def test_in_by_each_way_with_what_the_milter_found_and_the_reply_out(tmp_path: Path, front: Front) -> None:
    async def one(here: Scene, address: str) -> None:
        uid, raw = invited(address)
        assert (await send(front, raw, address)).startswith("250 2.0.0 Ok: queued")
        mail = await here.mail(uid)
        assert (mail.recipients, mail.mail_from) == ((address,), ORGANIZER)
        found = (await here.invite(uid))["authentication"]
        assert (found["auth_id"], found["rule"]) == (ORGANIZER, "authentication-results")

    async def path(here: Scene) -> None:
        await asyncio.gather(*(one(here, address) for address in ANNAS))

        async def answered() -> bool:
            return len(here.outside.taken) == len(ANNAS)

        await until(answered)
        assert {mail_from.rpartition("@")[2] for mail_from, _, _ in here.outside.taken} == set(WAYS)
        for mail_from, to, reply in here.outside.taken:
            assert to == ORGANIZER
            assert message_from_bytes(reply)["Subject"] == "Accepted: Stand-up"
            assert is_bounce_address(mail_from)
            (_, by) = header_lines(reply, "Received")[0].split(" by ", 1)  # it left through the same Postfix
            assert by.startswith(SERVER)

    in_front(tmp_path, front, path)


def test_an_unknown_pal_is_refused_in_our_words_and_a_known_one_asked_for_without_a_trace(
    tmp_path: Path, front: Front
) -> None:
    async def path(here: Scene) -> None:
        strangers = [send(front, b"", f"nobody@{domain}") for domain in WAYS]
        known = [asyncio.to_thread(asked, front, address) for address in (*ANNAS, f"postmaster@{BY_SMTP}")]
        foreign, *said = await asyncio.gather(send(front, b"", "alex@elsewhere.example"), *strangers, *known)
        assert foreign.startswith("554 5.7.1 ")  # it is no open relay
        for one in said[: len(WAYS)]:
            assert one.startswith("550 5.1.1 ")
            assert "550 5.1.1 No PAL has this address" in one
        assert set(said[len(WAYS) :]) == {"250 2.1.5 Ok"}
        assert here.mails() == []
        assert here.outside.taken == []

        # One that is made after a first try is known soon.
        late = f"nobody@{BY_SMTP}"
        with here.gateway.engine.begin() as connection:
            store.add_pal(connection, Pal(pal_id(late), "Late", late, "face-1"), utc_now())

        async def known_now() -> bool:
            return (await asyncio.to_thread(asked, front, late)).startswith("250")

        await until(known_now)

    in_front(tmp_path, front, path)


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


def test_while_the_gateway_is_down_its_mail_waits(tmp_path: Path, front: Front) -> None:
    """Of PALs that Postfix knows; another one is answered 450, and the sender's own server comes again."""

    async def path() -> None:
        async with milter(front.milter), organizers(front.outside):
            async with behind(front, tmp_path, {}):
                known = await asyncio.gather(*(asyncio.to_thread(asked, front, address) for address in ANNAS))
                assert set(known) == {"250 2.1.5 Ok"}
            mails = [(*invited(address), address) for address in ANNAS]
            unknown, *said = await asyncio.gather(
                send(front, b"", f"stranger@{BY_SMTP}"), *(send(front, raw, address) for _, raw, address in mails)
            )
            assert unknown.startswith("450 4.1.1 ")
            assert {one[:20] for one in said} == {"250 2.0.0 Ok: queued"}

            async def tried() -> bool:
                waiting = await asyncio.to_thread(front.queued)
                return waiting.count('"delay_reason"') == len(ANNAS)

            await until(tried)
            async with behind(front, tmp_path, {}) as gateway:
                here = Scene(front, gateway, Organizers())
                for uid, _, address in mails:
                    assert (await here.mail(uid)).recipients == (address,)
                await empty(front)

                async def refused() -> bool:  # what was "not now" a moment ago
                    return (await send(front, b"", f"stranger@{BY_SMTP}")).startswith("550 5.1.1 ")

                await until(refused)

    asyncio.run(path())


def test_while_the_store_is_away_its_mail_waits(tmp_path: Path, front: Front) -> None:
    async def path(here: Scene) -> None:
        assert (await asyncio.to_thread(asked, front, ANNA)).startswith("250")
        with here.gateway.engine.begin() as connection:
            connection.execute(text("ALTER TABLE invites RENAME TO elsewhere"))
        uid, raw = invited()
        assert (await send(front, raw)).startswith("250 2.0.0 Ok: queued")

        async def deferred() -> bool:
            return "451 4.3.0 The gateway cannot write this down now" in await asyncio.to_thread(front.queued)

        await until(deferred)
        with here.gateway.engine.begin() as connection:
            connection.execute(text("ALTER TABLE elsewhere RENAME TO invites"))
        assert (await here.mail(uid)).recipients == (ANNA,)

    in_front(tmp_path, front, path)


def test_a_reply_that_is_refused_later_comes_back_as_a_report(tmp_path: Path, front: Front) -> None:
    async def path(here: Scene) -> None:
        here.outside.says = "550 5.7.1 No replies from robots here"
        uid, raw = invited()
        assert (await send(front, raw)).startswith("250 2.0.0 Ok: queued")
        letter = await here.letter(LetterState.UNDELIVERABLE)
        assert letter.error == "not delivered (5.7.1): 550 5.7.1 No replies from robots here"
        (reply,) = (await here.invite(uid))["replies"]
        assert (reply["state"], reply["error"]) == ("undeliverable", letter.error)
        (report,) = [one for one in here.mails() if is_bounce_address(one.recipients[0])]
        assert report.mail_from == ""
        assert message_from_bytes(report.raw)["Subject"] == "Undelivered Mail Returned to Sender"
        await empty(front)

    in_front(tmp_path, front, path)


def test_what_the_sender_says_of_itself_is_taken_out(tmp_path: Path, front: Front) -> None:
    """A forged DKIM verdict beside the milter's DMARC verdict would speak for its From."""

    async def path(here: Scene) -> None:
        name, _, rest = SERVER.partition(".")
        for server in (SERVER, f"{name}.(x){rest}"):
            uid, raw = invited()
            forged = f"Authentication-Results: {server}; dkim=pass header.d=boss.example\r\n".encode()
            await send(front, forged + raw.replace(ORGANIZER.encode(), b"eve@boss.example"), sender="eve@evil.example")
            found = (await here.invite(uid))["authentication"]
            assert (found["auth_id"], found["rule"]) == (None, "f")
            (written,) = header_lines((await here.mail(uid)).raw, "Authentication-Results")
            assert written == f"{SERVER}; dmarc=none header.from=boss.example"

    in_front(tmp_path, front, path)


def test_what_the_milter_found_counts_from_pinned_peers_only(tmp_path: Path, front: Front) -> None:
    async def path(here: Scene) -> None:
        uid, raw = invited()
        await send(front, raw)
        found = (await here.invite(uid))["authentication"]
        assert (found["auth_id"], found["rule"]) == (None, "f")
        assert "authentication-results" not in {step["check"] for step in found["chain"]}

    in_front(tmp_path, front, path, senders={**PINNED, "pinned_peers": ["192.0.2.0/24"]})


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
