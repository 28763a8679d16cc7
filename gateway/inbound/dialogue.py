"""One connection, command by command: aiosmtpd's protocol, with our answers and within our limits. A door.

Rules of this file:
- Whoever is connected stands in the `Crowd` until the connection is over, so that every wait has an end.
- A last word (`part`) waits while a mail is being written down: its answer comes first.
- aiosmtpd's own answers go out in our words (`answers.in_our_words`).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import partial
from typing import Any, Final

import structlog
from aiosmtpd.proxy_protocol import get_proxy
from aiosmtpd.smtp import SMTP, Session, TLSSetupException

from gateway.inbound import answers
from gateway.inbound.certificate import Certificate
from gateway.inbound.content import Content
from gateway.inbound.peers import XCLIENT_OFFER, address_of, group_of, is_among, proxied, xclient
from gateway.settings import Smtp

CHUNK: Final = 256 * 1024  # bytes that are read at once after DATA
COMMAND_LIMIT: Final = 1000  # characters; RFC 5321 4.5.3.1.4 asks for 512 and room for extensions
HERE: Final = "127.0.0.1"  # who comes by a Unix socket is on this machine, too, and may be listed as that
HEADER_SECONDS: Final = 10  # for a proxy's header, which comes at once
LINGER_SECONDS: Final = 5  # for the last word to be read
OVERRUN: Final = 1.2  # times the size, after which nobody listens any more

log = structlog.get_logger("smtp")


class Kind(Enum):
    """What is spoken on a port."""

    SMTP = "smtp"
    SMTPS = "smtps"  # TLS from the first byte (RFC 8314)
    LMTP = "lmtp"  # RFC 2033


class Visit(Session):
    """aiosmtpd's session, and who really is at the other end: a front server may have said so."""

    def __init__(self, loop: asyncio.AbstractEventLoop, address: str, helo: str | None, front: str) -> None:
        super().__init__(loop)
        self.address, self.helo, self.front = address, helo, front


def origin_of(session: Session) -> tuple[str, str, str]:
    """The IP address that a mail comes from, the name its server gives itself, and the address that hands it to us.

    The last one is another than the first when a front server says by XCLIENT for whom it speaks. '': nobody knows.
    """
    return session.address, session.helo or session.host_name or "", session.front


class Crowd:
    """Who is connected now: not more than so many, and not more than so many from one place."""

    def __init__(self, most: int, most_from_one: int) -> None:
        self._most = most
        self._most_from_one = most_from_one
        self._places: dict[Dialogue, str] = {}
        self.is_closed = False

    def __iter__(self) -> Iterator[Dialogue]:
        return iter(tuple(self._places))

    def __len__(self) -> int:
        return len(self._places)

    def enter(self, who: Dialogue) -> str | None:
        """Count a connection; the answer when it is one too many."""
        self._places[who] = ""
        if self.is_closed:
            return answers.STOPPING
        return answers.CROWDED if len(self._places) > self._most else None

    def place(self, who: Dialogue, group: str) -> str | None:
        """Count it for where it comes from ('': not counted); the answer when it is one too many."""
        self._places[who] = group
        there = sum(1 for one in self._places.values() if group and one == group)
        return answers.CROWDED_FROM_THERE if there > self._most_from_one else None

    def leave(self, who: Dialogue) -> None:
        """It is over."""
        self._places.pop(who, None)


class Dialogue(SMTP):
    """A connection to an SMTP or LMTP port. `handler` has handle_RCPT, handle_DATA and handle_exception."""

    # aiosmtpd's, as long as a client is there
    session: Any
    transport: Any
    _smtp_methods: dict[str, Any]
    _handler_coroutine: asyncio.Task[None]

    def __init__(
        self, handler: Any, domain: str, kind: Kind, settings: Smtp, crowd: Crowd, certificate: Certificate | None
    ) -> None:
        super().__init__(
            handler,
            data_size_limit=settings.max_bytes,
            hostname=domain,
            ident=answers.IDENT,
            timeout=settings.command_seconds,
            enable_SMTPUTF8=True,
            tls_context=certificate.context() if certificate is not None else None,
        )
        self._kind, self._settings, self._crowd = kind, settings, crowd
        self._address = self._front = ""  # the client; and the front server that speaks for it, if there is one
        self._helo: str | None = None
        # aiosmtpd's is one for all connections, and grows with every EHLO.
        self.command_size_limits: dict[str, int] = defaultdict(lambda: COMMAND_LIMIT)
        self.command_size_limit = COMMAND_LIMIT
        self._smtp_methods = {
            name: partial(self._run, method) for name, method in self._smtp_methods.items() if name in self._commands()
        }
        self._said = self._refused = 0  # commands, and those among them that had a 5xx answer
        self._unanswered = 0  # bytes since the last answer
        self._in_data = self._is_taking = self._has_parted = False
        self._last_word: str | None = None

    def _commands(self) -> set[str]:
        hello = {"LHLO"} if self._kind is Kind.LMTP else {"HELO", "EHLO"}
        return hello | {"MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "VRFY", "HELP", "STARTTLS", "XCLIENT"}

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: it is open; once more when TLS has begun."""
        if self.transport is None:
            self._address = address_of(transport.get_extra_info("peername"))
            self._front = self._address or HERE
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """asyncio: some bytes. A line without an end, or a mail far beyond the size, ends here."""
        self._unanswered += len(data)
        if self._unanswered > self._settings.max_bytes * OVERRUN:
            self.part(answers.OVERRUN)
        if not self._has_parted:
            super().data_received(data)

    def part(self, last_word: str) -> None:
        """Say a last word and close the connection; while a mail is being written down, after its answer."""
        if self._is_taking:
            self._last_word = last_word
        elif self.transport is not None and not self._has_parted:
            self._has_parted = True
            log.info("connection ended", client=self._address, answer=last_word)
            self.transport.write(last_word.encode() + b"\r\n")
            self.transport.close()
            self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def stop(self) -> None:
        """Part, but let a mail that is under way come to its end."""
        if self._in_data:
            self._last_word = answers.STOPPING
        else:
            self.part(answers.STOPPING)

    def give_up(self) -> None:
        """Part at once, whatever is under way; what is being written down goes on."""
        self._is_taking = False
        self.part(answers.STOPPING)
        if self.transport is not None:
            self.transport.abort()
        self.talk.cancel()

    @property
    def talk(self) -> asyncio.Task[None]:
        """The task that lasts as long as the connection."""
        return self._handler_coroutine

    def _create_session(self) -> Visit:
        return Visit(self.loop, self._address, self._helo, self._front)

    async def _handle_client(self) -> None:
        limit = self.loop.call_later(self._settings.connection_seconds, self.part, answers.LONG)
        try:
            if await self._is_let_in():
                await super()._handle_client()
        except ConnectionError:
            pass  # the client has gone
        except TLSSetupException as error:
            await self.handle_exception(error)
            self.transport.close()
            self.connection_lost(None)  # asyncio tells only who had a connection
        finally:
            limit.cancel()
            self._crowd.leave(self)

    async def _is_let_in(self) -> bool:
        """Whether the talk may begin: there is room, the proxy has said for whom, TLS is there."""
        refusal = self._crowd.enter(self)
        if refusal is None:
            if is_among(self._address, self._settings.proxy_from) and not await self._reads_proxy_header():
                return False
            refusal = self._crowd.place(self, "" if self._may_say_client() else group_of(self._address))
        if refusal is not None:
            self.part(refusal)
            return False
        if self._kind is Kind.SMTPS:
            await self._begin_with_tls()
        return True

    async def _begin_with_tls(self) -> None:
        """The same as STARTTLS, unannounced; what came right behind a PROXY header belongs to the handshake."""
        early = await self._reader.read(CHUNK) if self._reader._buffer else b""

        def feed() -> None:
            self._tls_protocol.get_buffer(len(early))[: len(early)] = early
            self._tls_protocol.buffer_updated(len(early))

        if early:
            self.loop.call_soon(feed)  # once aiosmtpd waits for the handshake, and before what comes next
        await self.smtp_STARTTLS(None)

    async def _reads_proxy_header(self) -> bool:
        """Learn the client's address; False, and closed without a word, when the proxy says something else."""
        self._reset_timeout(HEADER_SECONDS)
        data = await get_proxy(self._reader)
        client = proxied(data)
        if client is None:
            log.warning("no PROXY header", peer=self._address, cause=data.error)
            self._has_parted = True
            self.transport.close()
            return False
        self._address = self._front = client or self._address
        self.session.address = self.session.front = self._address
        self._reset_timeout()
        return True

    def _timeout_cb(self) -> None:
        self.part(answers.SLOW if self._in_data else answers.SILENT)

    # Commands and answers

    async def _run(self, command: Callable[[str | None], Awaitable[None]], argument: str | None) -> None:
        self._said += 1
        if self._said > self._settings.max_commands:
            self.part(answers.TALKATIVE)
        elif argument is not None and not argument.replace("\t", " ").isprintable():
            await self.push(answers.BAD_ARGUMENT)  # not UTF-8, or a control character, which no store keeps
        elif not self._has_parted:
            await command(argument)

    async def handle_exception(self, error: Exception) -> str:
        """aiosmtpd: what is answered to a fault; a TLS handshake that failed is the client's, and has no answer."""
        if isinstance(error, TLSSetupException):
            log.info("no TLS", client=self._address, cause=repr(error.__cause__))
            return ""
        return str(await self.event_handler.handle_exception(error))

    async def push(self, status: str) -> None:
        """Send an answer."""
        self._unanswered = 0
        if self._has_parted or (status.startswith("220 Ready") and self._kind is Kind.SMTPS):
            return
        answer = answers.in_our_words(status)
        self._refused += answer.startswith("5")
        if self._refused > self._settings.max_refused or answer == answers.WRONG:
            self.part(answers.WRONG)
        else:
            await super().push(answer)

    async def smtp_EHLO(self, argument: str | None) -> None:
        """RFC 5321 4.1.1.1, and what is offered."""
        if not argument:
            await self.push(answers.BAD_ARGUMENT)
            return
        self._set_rset_state()
        self.session.extended_smtp = True
        self.session.host_name = argument
        offers = [self.hostname, "PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
        if self.tls_context and not self._tls_protocol:
            offers.append("STARTTLS")
        if self._may_say_client():
            offers.append(XCLIENT_OFFER)
        offers.append(f"SIZE {self.data_size_limit}")
        await self.push("\r\n".join([*(f"250-{offer}" for offer in offers[:-1]), f"250 {offers[-1]}"]))

    smtp_LHLO = smtp_EHLO  # RFC 2033 4.1

    async def smtp_STARTTLS(self, argument: str | None) -> None:
        """RFC 3207; aiosmtpd throws away what was sent in clear before the handshake."""
        if self._tls_protocol:
            await self.push(answers.BAD_SEQUENCE)
            return
        await super().smtp_STARTTLS(argument)
        if self._tls_protocol and self.session.ssl is None:
            raise TLSSetupException  # aborted in the handshake

    async def smtp_XCLIENT(self, argument: str | None) -> None:
        """A front server names its own client (Postfix, XCLIENT_README); then the session begins anew."""
        if not self._may_say_client():
            await self.push(answers.NOT_TRUSTED)
            return
        client = xclient(argument or "")
        if client is None:
            await self.push(answers.BAD_ARGUMENT)
        elif self.envelope.mail_from is not None:
            await self.push(answers.BAD_SEQUENCE)
        else:
            self._address, self._helo = client.address or "", client.helo
            tls, self.session = self.session.ssl, self._create_session()
            self.session.ssl = tls
            await self.push(answers.greeting(self.hostname))

    def _may_say_client(self) -> bool:
        return is_among(self._front, self._settings.xclient_from)

    async def smtp_VRFY(self, argument: str | None) -> None:
        """RFC 5321 7.3: the same answer for every address."""
        await self.push(answers.NOT_SAID if argument else answers.BAD_ARGUMENT)

    async def smtp_HELP(self, argument: str | None) -> None:
        """RFC 5321 4.1.1.8."""
        await self.push(answers.HELP)

    # The mail

    async def smtp_DATA(self, argument: str | None) -> None:
        """RFC 5321 4.1.1.4; LMTP wants an answer for each recipient (RFC 2033 4.2)."""
        if argument:
            await self.push(answers.BAD_ARGUMENT)
            return
        recipients = len(self.envelope.rcpt_tos)
        if not recipients:
            await self.push(answers.BAD_SEQUENCE)
            return
        with self._data():
            await self.push(answers.GO_AHEAD)
            content = await self._content()
            answer = content.fault or await self._taken(content.raw())
        self._set_post_data_state()
        if answer.startswith("250"):
            self._refused = 0  # it was a mail server, after all
        await self.push("\r\n".join([answer] * (recipients if self._kind is Kind.LMTP else 1)))
        if self._last_word is not None:
            self.part(self._last_word)

    @contextmanager
    def _data(self) -> Iterator[None]:
        self._in_data = True
        self._reset_timeout(self._settings.data_seconds)
        try:
            yield
        finally:
            self._in_data = False
        self._reset_timeout()

    async def _content(self) -> Content:
        content = Content(self._settings.max_bytes)
        while not content.complete:
            content.add(await self._reader.read(CHUNK))
        if content.rest:
            self._reader.feed_data(content.rest)
        return content

    async def _taken(self, raw: bytes) -> str:
        self._timeout_handle.cancel()  # from here on the client waits for us
        self._is_taking = True
        self.envelope.content = self.envelope.original_content = raw
        try:
            return str(await self.event_handler.handle_DATA(self, self.session, self.envelope))
        finally:
            self._is_taking = False
