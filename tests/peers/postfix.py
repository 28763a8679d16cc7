"""A private Postfix (Debian's package) made of deploy/postfix, and what is around it: receiving servers, a milter.

Rules of this file:
- What operators are told to write is what runs: `_main` adds what only a test needs, and changes no line but paths.
- It listens on loopback only, reads nothing of /etc/postfix, and nothing of it is left, whatever happens in a test.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import signal
import struct
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.utils import parseaddr
from pathlib import Path
from typing import Any, Final

from aiosmtpd.smtp import SMTP, Envelope, Session

from gateway.address import domain_of
from gateway.sockets import listen
from tests.process.world import free_port, wait_for

SHIPPED: Final = Path(__file__).parents[2] / "deploy" / "postfix"
DAEMONS: Final = Path("/usr/lib/postfix/sbin")
OWNER: Final = "postfix"
# The ways of deploy/postfix/transport, each for a domain of its own.
BY_SMTP, BY_LMTP, BY_SOCKET = "invite.example.com", "lmtp.example.com", "socket.example.com"
SERVER: Final = "mx.example.com"

# Appended to main.cf: where it is, who the outside world is, and timers for people who cannot wait.
_PRIVATE: Final = """
compatibility_level = 3.6
myhostname = {server}
mydestination =
queue_directory = {root}/queue
data_directory = {root}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
mail_owner = {owner}
multi_instance_name = postfix-test
multi_instance_enable = yes
maillog_file_prefixes = {root}
maillog_file = {root}/log
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.1/32
default_transport = smtp:[127.0.0.1]:{outside}
smtp_host_lookup = native
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
smtpd_client_event_limit_exceptions = static:all
smtpd_authorized_xclient_hosts = 127.0.0.1
smtpd_milters = inet:127.0.0.1:{milter}
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 1s
transport_retry_time = 1s
address_verify_negative_refresh_time = 1s
address_verify_negative_expire_time = 1s
"""
# As Debian's, with what needs no files of /etc where Debian has it: in a chroot.
_MASTER: Final = """
127.0.0.1:{port} inet n - n - - smtpd
pickup    unix  n - n 60    1 pickup
cleanup   unix  n - y -     0 cleanup
qmgr      unix  n - n 1     1 qmgr
tlsmgr    unix  - - y 1000? 1 tlsmgr
rewrite   unix  - - y -     - trivial-rewrite
bounce    unix  - - y -     0 bounce
defer     unix  - - y -     0 bounce
trace     unix  - - y -     0 bounce
verify    unix  - - y -     1 verify
flush     unix  n - y 1000? 0 flush
proxymap  unix  - - n -     - proxymap
proxywrite unix - - n -     1 proxymap
smtp      unix  - - y -     - smtp
relay     unix  - - y -     - smtp
lmtp      unix  - - y -     - lmtp
showq     unix  n - y -     - showq
error     unix  - - y -     - error
retry     unix  - - y -     - error
discard   unix  - - y -     - discard
anvil     unix  - - y -     1 anvil
scache    unix  - - y -     1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


class Missing(Exception):
    """It is not here, and why."""


@dataclass(frozen=True)
class Front:
    """A Postfix that runs, and the ports of all that it talks to."""

    root: Path
    port: int
    smtp: int = field(default_factory=free_port)  # the gateway's, as `lmtp` and `socket`
    lmtp: int = field(default_factory=free_port)
    outside: int = field(default_factory=free_port)  # the organizers' server
    milter: int = field(default_factory=free_port)

    @property
    def socket(self) -> Path:
        return self.root / "queue" / "pal-gateway" / "lmtp"

    @property
    def log(self) -> str:
        return (self.root / "log").read_text("utf-8", "replace")

    def queued(self) -> str:
        """What waits in the queue, as `postqueue -j` says it; '' for nothing."""
        return _run("postqueue", "-c", f"{self.root}/etc", "-j")


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        raise Missing(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


@contextmanager
def running_postfix() -> Iterator[Front]:
    """A Postfix of deploy/postfix, started. Raises Missing."""
    if shutil.which("postfix") is None or not DAEMONS.is_dir():
        raise Missing("it is not installed")
    if os.geteuid() != 0:
        raise Missing("it is started by root only")
    root = Path(tempfile.mkdtemp(prefix="postfix-"))  # its own users go through all folders above
    try:
        front = Front(root, free_port())
        _write(front)
        config = f"{root}/etc"
        try:
            _run("postfix", "-c", config, "start")
            yield front
        finally:
            _stop(root)
    finally:
        shutil.rmtree(root)


def _write(front: Front) -> None:
    """Its folders and files."""
    owner, root = pwd.getpwnam(OWNER), front.root
    root.chmod(0o755)
    for name in ("etc", "queue", "data"):
        (root / name).mkdir(mode=0o755)
    os.chown(root / "data", owner.pw_uid, owner.pw_gid)
    # As docs/how-to/postfix.md has it: whatever is made in there belongs to Postfix's group.
    front.socket.parent.mkdir()
    os.chown(front.socket.parent, os.geteuid(), owner.pw_gid)
    front.socket.parent.chmod(0o2710)
    (root / "etc" / "main.cf").write_text(_main(front), "utf-8")
    (root / "etc" / "master.cf").write_text(_MASTER.format(port=front.port), "utf-8")
    shutil.copy(SHIPPED / "header_checks", root / "etc")
    domains = (SHIPPED / "pal_domains").read_text("utf-8")
    (line,) = [one for one in domains.splitlines() if one.startswith(BY_SMTP)]
    others = "".join(f"{line.replace(BY_SMTP, one)}\n" for one in (BY_LMTP, BY_SOCKET))
    (root / "etc" / "pal_domains").write_text(domains + others, "utf-8")
    (root / "etc" / "transport").write_text(_transport(front), "utf-8")
    for name in ("pal_domains", "transport"):
        _run("postmap", "-c", f"{root}/etc", f"hash:{root}/etc/{name}")


def _main(front: Front) -> str:
    """deploy/postfix/main.cf without the lines that a test needs otherwise, and those."""
    private = _PRIVATE.format(
        server=SERVER, root=front.root, daemons=DAEMONS, owner=OWNER, outside=front.outside, milter=front.milter
    )
    otherwise = {line.partition(" =")[0] for line in private.splitlines() if line}
    shipped = (SHIPPED / "main.cf").read_text("utf-8").replace("/etc/postfix/", f"{front.root}/etc/")
    kept = [line for line in shipped.splitlines() if line.partition(" =")[0] not in otherwise]
    return "\n".join(kept) + private


def _transport(front: Front) -> str:
    """The three ways of deploy/postfix/transport, each for a domain of its own."""
    lines = re.findall(rf"^#?({re.escape(BY_SMTP)}\s.*)$", (SHIPPED / "transport").read_text("utf-8"), re.MULTILINE)
    ways = zip((BY_SMTP, BY_LMTP, BY_SOCKET), lines, strict=True)
    text = "".join(f"{line.replace(BY_SMTP, domain)}\n" for domain, line in ways)
    return text.replace(":2525", f":{front.smtp}").replace(":2424", f":{front.lmtp}")


def _stop(root: Path) -> None:
    """End all of its processes: the master and its group, and `verify`, which has a group of its own."""
    with suppress(FileNotFoundError, ValueError, ProcessLookupError):
        os.kill(int((root / "queue" / "pid" / "master.pid").read_text().strip()), signal.SIGTERM)
    try:
        wait_for(lambda: not list(_processes(root)), "Postfix has not ended", 5)
    except AssertionError:
        for one in _processes(root):
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        wait_for(lambda: not list(_processes(root)), "Postfix cannot be killed", 5)


def _processes(root: Path) -> Iterator[int]:
    """Those who work in its queue: every part of Postfix does, and nobody else."""
    for one in Path("/proc").iterdir():
        with suppress(OSError):  # it has ended meanwhile
            if one.name.isdecimal() and os.readlink(one / "cwd").startswith(f"{root}/"):
                yield int(one.name)


# Who is around it


@dataclass
class Organizers:
    """The organizers' mail server: what it took, as (MAIL FROM, recipient, bytes); `says` answers each mail."""

    taken: list[tuple[str, str, bytes]] = field(default_factory=list)
    says: str = "250 2.0.0 Taken"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        if self.says.startswith("250"):
            self.taken.append((envelope.mail_from or "", envelope.rcpt_tos[0], envelope.content))
        return self.says


@asynccontextmanager
async def organizers(number: int) -> AsyncIterator[Organizers]:
    """It on a port of loopback."""
    found = Organizers()
    async with _serving(lambda: SMTP(found, hostname="mx.acme.example"), number):
        yield found


class Milter(asyncio.Protocol):
    """What rspamd or OpenDMARC is to Postfix: it writes what it found into the header of each mail.

    The mail filter protocol, version 6: packets of a length, a letter and data. Here a From at acme.example passes
    DMARC, and of others nothing is known.
    """

    ADD_HEADERS: Final = 0x01
    # No connect, HELO, MAIL, RCPT, body, end of headers, unknown commands, DATA; headers need no answer.
    WITHOUT: Final = 0x01 | 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200

    def __init__(self) -> None:
        self._read, self._sender = b"", ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        while len(self._read) >= 4 and len(self._read) >= 4 + (size := struct.unpack("!I", self._read[:4])[0]):
            packet, self._read = self._read[4 : 4 + size], self._read[4 + size :]
            self._heard(packet[:1], packet[1:])

    def _heard(self, command: bytes, data: bytes) -> None:
        if command == b"O":
            self._say(b"O" + struct.pack("!III", 6, self.ADD_HEADERS, self.WITHOUT))
        elif command == b"L":
            name, value, _ = data.split(b"\0")
            if name.lower() == b"from":
                self._sender = parseaddr(value.decode())[1]
        elif command == b"E":
            domain = domain_of(self._sender)
            verdict = "pass" if domain == "acme.example" else "none"
            found = f"{SERVER}; dmarc={verdict} header.from={domain}"
            self._say(b"i" + struct.pack("!I", 0) + b"Authentication-Results\0" + found.encode() + b"\0")
            self._say(b"c")
        elif command == b"Q":
            self._transport.close()

    def _say(self, packet: bytes) -> None:
        self._transport.write(struct.pack("!I", len(packet)) + packet)


@asynccontextmanager
async def milter(number: int) -> AsyncIterator[None]:
    """It on a port of loopback."""
    async with _serving(Milter, number):
        yield


@asynccontextmanager
async def _serving(make: Callable[[], asyncio.Protocol], number: int) -> AsyncIterator[None]:
    """A protocol on a port; whoever is connected in the end is cut off."""
    connections: list[asyncio.BaseTransport] = []

    def kept() -> asyncio.Protocol:
        protocol = make()
        made = protocol.connection_made

        def note(transport: asyncio.BaseTransport) -> None:
            connections.append(transport)
            made(transport)

        protocol.connection_made = note  # type: ignore[method-assign]
        return protocol

    server = await asyncio.get_running_loop().create_server(kept, sock=listen("127.0.0.1", number))
    try:
        yield
    finally:
        server.close()
        for one in connections:
            one.close()
        await server.wait_closed()


def header_lines(raw: bytes, name: str) -> list[str]:
    """The values of a header of a mail."""
    values: list[Any] = message_from_bytes(raw).get_all(name, [])
    return [" ".join(str(one).split()) for one in values]
