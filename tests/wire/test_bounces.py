"""What comes back of replies, over SMTP and LMTP on loopback: what is taken, what it changes; it causes no mail."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text, update

import scheduler.store
from gateway import sockets, store, store_outbox
from gateway.app import Gateway
from gateway.bounces import Bounces
from gateway.decide import Desk
from gateway.demo import invitation
from gateway.inbound.dialogue import Kind
from gateway.intake import Incoming, fresh_id
from gateway.keys import Key, digest
from gateway.pals import Pal, pal_id
from gateway.readers import Limits, Readers
from gateway.reports import Fate
from gateway.returns import Returns
from gateway.store_outbox import LetterRow, LetterState
from scheduler.clock import utc_now
from scheduler.database import connect
from tests.returned import BARE_INVITATION, EXIM_LATE, FORMS, POSTFIX, RELAYED, SIEVE_AWAY, WITH_INVITATION, Returned
from tests.wire.ports import ANNA, BOUNCES, DOMAIN, MAIL, Port, port, talk
from tests.wire.test_main_path import running, send, settings_for, until


def answered(here: Port, *, state: str = LetterState.SENT, uid: str = "") -> str:
    """The id of a new answer to an invitation, which is in a state."""
    uid = uid or fresh_id("u")
    _, raw = invitation(ANNA, utc_now())
    raw = raw.replace(b"UID:", f"UID:{uid}".encode(), 1)
    here.desk._intake.take(Incoming(fresh_id("m"), raw, "alex@acme.example", (ANNA,)), utc_now())
    with here.engine.begin() as connection:
        (letter,) = connection.execute(select(store.outbox.c.id).where(store.outbox.c.uid.startswith(uid))).scalars()
        offered = {"state": state, "attempt": 1, "wake_at": None}
        connection.execute(update(store.outbox).where(store.outbox.c.id == letter).values(offered))
    return str(letter)


def letter_of(here: Any, letter_id: str) -> LetterRow:
    with here.engine.connect() as connection:
        found = store_outbox.find_letter(connection, letter_id)
    assert found is not None
    return found


def counted(here: Any) -> tuple[int, ...]:
    """How many there are of all that a mail may make: decisions, joins, answers."""
    with here.engine.connect() as connection:
        tables = (store.invites, scheduler.store.joins, store.outbox)
        return tuple(connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables)


async def deliver(here: Port, raw: bytes, *recipients: str, sender: str = "", hello: str = "EHLO mx.example") -> str:
    """What is said to the mail, by a client that says the lines itself."""
    async with talk(here.number) as client:
        await client.begin(*recipients, sender=sender, hello=hello)
        return await client.say(raw + b".")


def on_port(
    folder: Path, path: Callable[[Port], Awaitable[None]], *, url: str = "", kind: Kind = Kind.SMTP, **values: Any
) -> None:
    async def run() -> None:
        async with port(folder, kind, url=url, **values) as here:
            await path(here)

    asyncio.run(run())


@pytest.mark.parametrize("name", FORMS)
def test_each_form_marks_the_answer_and_causes_nothing(tmp_path: Path, store_url: str, name: str) -> None:
    form = FORMS[name]

    async def path(here: Port) -> None:
        letter = answered(here)
        before, sent = counted(here), letter_of(here, letter)
        address = BOUNCES.address(letter, DOMAIN)
        raw = form.mail(address)
        assert (await deliver(here, raw, address)).startswith("250 2.0.0 Noted and written down as m")
        found = letter_of(here, letter)
        line = f"{form.fate}{f' ({form.status})' if form.status else ''}{f': {form.words}' if form.words else ''}"
        if form.fate is Fate.FAILED:
            assert (found.state, found.error, found.note) == (LetterState.UNDELIVERABLE, line, None)
            assert found.settled_at is not None
        else:
            assert (found.state, found.error, found.note) == (sent.state, None, line)
        assert found.wake_at is None
        assert counted(here) == before
        (mail,) = [one for one in here.mails() if one.recipients == (address,)]
        assert (mail.raw, mail.mail_from) == (raw, "")

    on_port(tmp_path, path, url=store_url)


def test_the_invitation_inside_would_be_accepted_if_it_came_to_a_pal(tmp_path: Path) -> None:
    """Else the tests of what it causes at a bounce address could not fail."""

    async def path(here: Port) -> None:
        for form in (WITH_INVITATION, BARE_INVITATION):
            before = counted(here)
            said = await deliver(here, form.mail(ANNA).replace(b"UID:", fresh_id("UID:u").encode()), ANNA)
            assert said.startswith("250 2.0.0 Decided")
            assert counted(here) == tuple(number + 1 for number in before)

    on_port(tmp_path, path)


def test_only_what_we_signed_for_a_letter_that_is_kept_is_taken(tmp_path: Path, store_url: str) -> None:
    async def path(here: Port) -> None:
        letter = answered(here)
        address = BOUNCES.address(letter, DOMAIN)
        dialogue = [
            (Bounces(b"guessed").address(letter, DOMAIN), "550 5.1.1 No mail that is known here left with this sender"),
            (BOUNCES.address("r" + "0" * 24, DOMAIN), "550 5.1.1 No mail that is known here left with this sender"),
            (f"bounce+{letter}@{DOMAIN}", "550 5.1.1 No PAL has this address"),
            (f"bounce@{DOMAIN}", "550 5.1.1 No PAL has this address"),
            (BOUNCES.address(letter, "elsewhere.example"), "550 5.7.1 This gateway takes no mail for that domain"),
            (address.upper(), "250 2.1.5 OK"),
        ]
        async with talk(here.number) as client:
            for line in ("EHLO mx.example", "MAIL FROM:<>"):
                assert (await client.say(line)).startswith("250")
            for to, answer in dialogue:
                assert await client.say(f"RCPT TO:<{to}>") == answer, to

    on_port(tmp_path, path, url=store_url)


def test_any_other_sender_is_refused_in_data_and_may_ask_before(tmp_path: Path) -> None:
    """Postfix asks about a recipient as double-bounce@, and caches what it hears; a mail from there is refused."""

    async def path(here: Port) -> None:
        letter = answered(here)
        before = here.mails()
        address = BOUNCES.address(letter, DOMAIN)
        said = await deliver(here, POSTFIX.mail(address), address, sender="double-bounce@front.example")
        assert said == "550 5.7.1 Only reports of delivery come to this address, with the null sender MAIL FROM:<>"
        assert letter_of(here, letter).state == LetterState.SENT
        assert here.mails() == before

    on_port(tmp_path, path)


def test_a_report_comes_to_its_address_alone(tmp_path: Path) -> None:
    async def path(here: Port) -> None:
        one, other = (BOUNCES.address(answered(here), DOMAIN) for _ in range(2))
        alone = "452 4.5.3 A report comes to its address alone; send it to the others in another mail"
        for first, second in ((one, ANNA), (ANNA, one), (one, other), (one, f"postmaster@{DOMAIN}")):
            async with talk(here.number) as client:
                for line in ("EHLO mx.example", "MAIL FROM:<>", f"RCPT TO:<{first}>"):
                    assert (await client.say(line)).startswith("250"), line
                assert await client.say(f"RCPT TO:<{second}>") == alone
                # What was taken before is served, the rest comes again.
                assert (await client.say("DATA")).startswith("354")
                assert (await client.say(POSTFIX.mail(first) + b".")).startswith("250")
        assert letter_of(here, one.partition("+")[2].partition(".")[0]).state == LetterState.UNDELIVERABLE
        assert letter_of(here, other.partition("+")[2].partition(".")[0]).state == LetterState.SENT

    on_port(tmp_path, path)


def test_over_lmtp(tmp_path: Path) -> None:
    async def path(here: Port) -> None:
        letter = answered(here)
        address = BOUNCES.address(letter, DOMAIN)
        said = await deliver(here, POSTFIX.mail(address), address, address, hello="LHLO front.example")
        assert said.startswith("250 2.0.0 Noted")
        assert letter_of(here, letter).state == LetterState.UNDELIVERABLE

    on_port(tmp_path, path, kind=Kind.LMTP)


def test_while_the_store_is_away_it_comes_again(tmp_path: Path) -> None:
    async def path(here: Port) -> None:
        address = BOUNCES.address(answered(here), DOMAIN)
        async with talk(here.number) as client:
            for line in ("EHLO mx.example", "MAIL FROM:<>", f"RCPT TO:<{address}>"):
                assert (await client.say(line)).startswith("250")
            assert (await client.say("DATA")).startswith("354")
            with here.engine.begin() as connection:
                connection.execute(text("ALTER TABLE outbox RENAME TO elsewhere"))
            assert (await client.say(POSTFIX.mail(address) + b".")).startswith("451 4.3.0")
            assert [one for one in here.mails() if one.recipients == (address,)] == []
            for line in ("MAIL FROM:<>", f"RCPT TO:<{address}>"):
                answer = await client.say(line)
            assert answer.startswith("451 4.3.0")
            with here.engine.begin() as connection:
                connection.execute(text("ALTER TABLE elsewhere RENAME TO outbox"))
            assert (await client.say(f"RCPT TO:<{address}>")).startswith("250")

    on_port(tmp_path, path)


@pytest.mark.parametrize(
    ("state", "attempt", "after"),
    [
        ("sent", 1, "undeliverable"),
        ("queued", 1, "undeliverable"),  # the relay took it, and its answer was lost
        ("queued", 0, "queued"),  # the relay was never offered it
        ("superseded", 1, "superseded"),
        ("failed", 3, "failed"),
        ("undeliverable", 1, "undeliverable"),
    ],
)
def test_what_a_bounce_means_in_each_state(tmp_path: Path, state: str, attempt: int, after: str) -> None:
    async def path(here: Port) -> None:
        letter = answered(here, state=state)
        wake = utc_now() + timedelta(hours=1) if state == "queued" else None
        with here.engine.begin() as connection:
            known = update(store.outbox).where(store.outbox.c.id == letter)
            connection.execute(known.values(attempt=attempt, wake_at=wake, error="as it was"))
        address = BOUNCES.address(letter, DOMAIN)
        await deliver(here, POSTFIX.mail(address), address)
        found = letter_of(here, letter)
        assert found.state == after
        assert found.wake_at == (wake if after == "queued" else None)
        if state == after and state != "queued":
            assert found.error == "as it was"

    on_port(tmp_path, path)


def test_the_same_bounce_twice_and_what_comes_after_it(tmp_path: Path, store_url: str) -> None:
    async def path(here: Port) -> None:
        letter = answered(here)
        address = BOUNCES.address(letter, DOMAIN)
        await deliver(here, EXIM_LATE.mail(address), address)
        await deliver(here, POSTFIX.mail(address), address)
        first = letter_of(here, letter)
        await deliver(here, POSTFIX.mail(address), address)
        assert letter_of(here, letter) == first
        await deliver(here, SIEVE_AWAY.mail(address), address)
        last = letter_of(here, letter)
        assert (last.state, last.error) == (first.state, first.error)
        assert last.note == "answered automatically: Auto: Accepted: Weekly"

    on_port(tmp_path, path, url=store_url)


def test_a_storm_to_one_address_ends_and_keeps_nobody_else_out(tmp_path: Path, store_url: str) -> None:
    async def path(here: Port) -> None:
        letter, other = answered(here), answered(here)
        address, calm = BOUNCES.address(letter, DOMAIN), BOUNCES.address(other, DOMAIN)
        before = counted(here)

        async def client() -> list[str]:
            said = []
            async with talk(here.number) as found:
                await found.say("EHLO mx.example")
                for _ in range(10):
                    await found.say("MAIL FROM:<>")
                    said.append(await found.say(f"RCPT TO:<{address}>"))
                    if said[-1].startswith("250"):
                        await found.say("DATA")
                        said[-1] = await found.say(POSTFIX.mail(address) + b".")
                    await found.say("RSET")
            return said

        said = [one[:9] for heard in await asyncio.gather(*(client() for _ in range(5))) for one in heard]
        assert set(said) == {"250 2.0.0", "550 5.1.1"}
        kept = [one for one in here.mails() if one.recipients == (address,)]
        assert store_outbox.MAX_REPORTS <= len(kept) == said.count("250 2.0.0") < store_outbox.MAX_REPORTS + 5
        assert letter_of(here, letter).state == LetterState.UNDELIVERABLE
        assert (await deliver(here, POSTFIX.mail(calm), calm)).startswith("250")
        assert counted(here) == before

    on_port(tmp_path, path, url=store_url)


def test_what_cannot_be_read_is_kept_and_changes_nothing(tmp_path: Path) -> None:
    async def path(here: Port) -> None:
        letter = answered(here)
        address = BOUNCES.address(letter, DOMAIN)
        nested = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(40))
        raw = Returned(nested, Fate.FAILED, "", "").mail(address)
        assert (await deliver(here, raw, address)).startswith("250")
        found = letter_of(here, letter)
        assert (found.state, found.error, found.note) == (LetterState.SENT, None, None)
        assert [one.raw for one in here.mails() if one.recipients == (address,)] == [raw]

    on_port(tmp_path, path)


def test_a_reader_that_dies_of_a_bounce_leaves_it_kept(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/g.db")
    store.create_throwaway(engine)
    readers = Readers(Limits(size=1, seconds=5, megabytes=96), Desk())
    address = BOUNCES.address("r" + "1" * 24, DOMAIN)
    try:
        readers.start()
        returns = Returns(engine, BOUNCES, readers.read_report)
        huge = b"From: a@b.example\r\n\r\n" + b"\r\n" * 5_000_000
        returns.take(Incoming("m1", huge, "", (address,)), utc_now())
        returns.take(Incoming("m2", POSTFIX.mail(address), "", (address,)), utc_now())
        with engine.connect() as connection:
            kept = {one.id: one.message_id for one in store.find_mails(connection, None, 9)}
        assert kept == {"m1": "", "m2": "<20260302090000.7F3A1@mx.acme.example>"}
    finally:
        readers.close()
        engine.dispose()


_PIECES = st.sampled_from(
    [piece for form in FORMS.values() for piece in form.text.split("\n\n")]
    + [WITH_INVITATION.text, BARE_INVITATION.text, MAIL.decode().replace("\r\n", "\n")]
)


def test_no_bounce_ever_queues_a_mail_or_plans_a_join(tmp_path: Path) -> None:
    async def path(here: Port) -> None:
        letter = answered(here)
        address = BOUNCES.address(letter, DOMAIN)
        returns, before = here.desk._returns, counted(here)

        @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
        @given(st.lists(_PIECES, max_size=12).map("\n\n".join))
        def holds(written: str) -> None:
            raw = Returned(written, Fate.FAILED, "", "").mail(address)
            returns.take(Incoming(fresh_id("m"), raw, "", (address,)), utc_now())
            assert counted(here) == before
            with here.engine.connect() as connection:
                assert store.next_letter(connection) is None

        await asyncio.to_thread(holds)

    on_port(tmp_path, path)


# The whole way, through a relay that says what it is told


@dataclass
class RelayServer:
    """A relay on loopback: what it was given, and (`bouncing`) what it does before it says that it took a mail."""

    given: list[tuple[str, str, bytes]] = field(default_factory=list)
    helo: list[str | None] = field(default_factory=list)
    offers_utf8: bool = False
    answer: str = "250 2.0.0 Queued"
    bouncing: Callable[[str], None] | None = None

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.helo.append(session.host_name)
        self.given.append((envelope.mail_from or "", envelope.rcpt_tos[0], envelope.content))
        if self.bouncing is not None:
            await asyncio.to_thread(self.bouncing, envelope.mail_from or "")
        return self.answer

    async def open(self) -> tuple[asyncio.Server, int]:
        sock = sockets.listen("127.0.0.1", 0)
        make = lambda: SMTP(self, hostname="relay", enable_SMTPUTF8=self.offers_utf8)  # noqa: E731
        server = await asyncio.get_running_loop().create_server(make, sock=sock)
        return server, sock.getsockname()[1]


def bounce(gateway: Gateway, form: Returned, address: str) -> None:
    """A bounce, as a mail server sends it."""
    with smtplib.SMTP("127.0.0.1", gateway.smtp_port) as client:
        assert client.sendmail("", [address], form.mail(address)) == {}


async def only_letter(gateway: Gateway, state: str) -> LetterRow:
    async def look() -> LetterRow | None:
        with gateway.engine.connect() as connection:
            return next(iter(store_outbox.find_letters(connection, [state], 2)), None)

    found = await until(look)
    assert isinstance(found, LetterRow)
    return found


async def invites_over_http(gateway: Gateway) -> list[dict[str, Any]]:
    secret = fresh_id("pg_")
    with gateway.engine.begin() as connection:
        store.add_key(connection, Key(fresh_id("k"), "default", digest(secret), "", (), utc_now()))
    async with httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{gateway.http_port}/v2/invites"
        return list((await client.get(url, headers={"x-api-key": secret})).json()["data"])


def test_a_reply_leaves_with_its_address_comes_back_and_is_told(tmp_path: Path, store_url: str) -> None:
    async def path() -> None:
        relay = RelayServer()
        server, number = await relay.open()
        via = {"host": "127.0.0.1", "port": number, "start_tls": False}
        async with running(settings_for(tmp_path, store={"url": store_url}, relay=via)) as gateway:
            _, raw = invitation(ANNA, utc_now() + timedelta(days=1))
            await asyncio.to_thread(send, gateway, raw)
            letter = await only_letter(gateway, LetterState.SENT)
            ((address, to, _),) = relay.given
            assert address == gateway.bounces.address(letter.id, DOMAIN)
            assert (to, relay.helo) == ("alex@acme.example", [DOMAIN])
            await asyncio.to_thread(bounce, gateway, POSTFIX, address)
            (invite,) = await invites_over_http(gateway)
            (reply,) = invite["replies"]
            assert (reply["reply_id"], reply["partstat"], reply["state"]) == (letter.id, "ACCEPTED", "undeliverable")
            assert reply["error"] == f"not delivered (5.1.1): {POSTFIX.words}"
            # The organizer has not heard it: the next version is answered, although it changes nothing but a title.
            again = raw.replace(b"SUMMARY:", b"SUMMARY:New ", 1).replace(b"DTSTAMP:2", b"DTSTAMP:3", 1)
            await asyncio.to_thread(send, gateway, again)
            await only_letter(gateway, LetterState.SENT)
            assert len(relay.given) == 2
            assert relay.given[1][0] != address
        server.close()
        await server.wait_closed()

    asyncio.run(path())


def test_a_bounce_that_is_faster_than_the_relays_answer_stays(tmp_path: Path, store_url: str) -> None:
    async def path() -> None:
        relay = RelayServer()
        server, number = await relay.open()
        via = {"host": "127.0.0.1", "port": number, "start_tls": False}
        async with running(settings_for(tmp_path, store={"url": store_url}, relay=via)) as gateway:
            relay.bouncing = lambda address: bounce(gateway, POSTFIX, address)
            _, raw = invitation(ANNA, utc_now() + timedelta(days=1))
            await asyncio.to_thread(send, gateway, raw)
            letter = await only_letter(gateway, LetterState.UNDELIVERABLE)
            assert gateway.work is not None
            for worker in gateway.work._workers:
                await worker.finish()  # the relay's answer has been written down, too
            assert letter_of(gateway, letter.id) == letter
            assert letter.wake_at is None
        server.close()
        await server.wait_closed()

    asyncio.run(path())


def test_relay_bounces_false_is_the_null_sender(tmp_path: Path) -> None:
    async def path() -> None:
        relay = RelayServer()
        server, number = await relay.open()
        via = {"host": "127.0.0.1", "port": number, "start_tls": False, "bounces": False}
        async with running(settings_for(tmp_path, relay=via)) as gateway:
            _, raw = invitation(ANNA, utc_now() + timedelta(days=1))
            await asyncio.to_thread(send, gateway, raw)
            letter = await only_letter(gateway, LetterState.SENT)
            assert [address for address, *_ in relay.given] in ([""], ["<>"])
            # What left with an address before the setting was changed may still come back to it.
            await asyncio.to_thread(bounce, gateway, RELAYED, gateway.bounces.address(letter.id, DOMAIN))
            assert letter_of(gateway, letter.id).note == f"delivered (2.1.5): {RELAYED.words}"
        server.close()
        await server.wait_closed()

    asyncio.run(path())


def test_bounces_pass_where_every_sender_must_be_verified(tmp_path: Path) -> None:
    async def path() -> None:
        async with running(settings_for(tmp_path, senders={"sender_auth": "require"})) as gateway:
            letter = "r" + "2" * 24
            with gateway.engine.begin() as connection:
                values = {"id": letter, "key": "k", "pal_id": pal_id(ANNA), "uid": "u", "partstat": "ACCEPTED"}
                more = {
                    "anew": True,
                    "sender": ANNA,
                    "recipient": "a@b.example",
                    "organizer": "a@b.example",
                    "raw": b"",
                }
                settled = {"state": "sent", "created_at": utc_now(), "attempt": 1}
                connection.execute(store.outbox.insert().values({**values, **more, **settled}))
            await asyncio.to_thread(bounce, gateway, POSTFIX, gateway.bounces.address(letter, DOMAIN))
            assert letter_of(gateway, letter).state == LetterState.UNDELIVERABLE

    asyncio.run(path())


def test_a_pal_that_is_gone_keeps_its_bounce_addresses(tmp_path: Path) -> None:
    async def path(here: Port) -> None:
        letter = answered(here)
        with here.engine.begin() as connection:
            store.remove_pal(connection, pal_id(ANNA))
        address = BOUNCES.address(letter, DOMAIN)
        assert (await deliver(here, POSTFIX.mail(address), address)).startswith("250")
        assert letter_of(here, letter).state == LetterState.UNDELIVERABLE

    on_port(tmp_path, path)


def test_a_pal_called_bounce_gets_its_own_mail(tmp_path: Path) -> None:
    async def path(here: Port) -> None:
        letter, address = answered(here), f"bounce@{DOMAIN}"
        with here.engine.begin() as connection:
            store.add_pal(connection, Pal("p9", "Bounce", address, "face"), utc_now())
        _, raw = invitation(address, utc_now() + timedelta(days=1))
        for to in (address, f"bounce+tag@{DOMAIN}"):
            assert (await deliver(here, raw, to, sender="alex@acme.example")).startswith("250 2.0.0 Decided")
        bounced = BOUNCES.address(letter, DOMAIN)
        assert (await deliver(here, POSTFIX.mail(bounced), bounced)).startswith("250 2.0.0 Noted")

    on_port(tmp_path, path)
