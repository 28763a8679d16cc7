"""Looks at an installation as it stands: store, folders, clock, DNS, ports, certificate, relay, platform. Shell.

Rules of this file:
- Nothing is changed, and no mail is sent. It asks; what the answers mean is `diagnosis`'s.
- Whatever is asked over the network has `SECONDS`, all of it at once; no answer is a finding, never a hang.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import TZPATH

import aiosmtplib
import httpx
from sqlalchemy import Engine, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError

from gateway import diagnosis, store
from gateway.checkup import written
from gateway.diagnosis import Line, bad, good, skipped
from gateway.inbound.answers import greeting
from gateway.inbound.certificate import BadCertificate, Certificate
from gateway.lookups import Question, Records
from gateway.resolver import Resolver
from gateway.settings import Settings
from gateway.sockets import reachable
from scheduler.clock import utc_now
from scheduler.database import connect
from scheduler.platform import Platform, Refused
from scheduler.request import CONVERSATION
from scheduler.targets import targets

SECONDS: Final = 5.0  # for each question over the network
SMTP_PORT: Final = 25  # where other servers bring mail to (RFC 5321 4.5.4.2)
EXAMPLE: Final = ("example", "example.com", "example.net", "example.org")  # RFC 2606: nobody's
EXPIRED: Final = 10  # of OpenSSL's X509_V_ERR: the certificate has ended


@dataclass(frozen=True)
class Doctor:
    """Who looks. `mx_port`: where servers in MX are tried; `selector`: the DKIM selector that the relay signs with."""

    settings: Settings
    resolver: Resolver
    selector: str | None = None
    mx_port: int = SMTP_PORT
    seconds: float = SECONDS
    hosts: list[str] = field(default_factory=list)  # in MX, once DNS was asked

    async def examine(self) -> list[Line]:
        """All lines, in one order whatever answers first."""
        parts = await asyncio.gather(
            self._within("store", asyncio.to_thread(lambda: list(self._store()))),
            self._within("folders", asyncio.to_thread(lambda: list(self._folders()))),
            self._within("clock", self._clock()),
            self._domains(),
            self._within("smtp.port", self._mail_port()),
            self._within("relay", self._relay()),
            self._targets(),
            self._within("http", self._public()),
        )
        lines = [good("settings", "they can be used"), *(line for part in parts[:3] for line in part)]
        lines += [diagnosis.zone_data(_zone_release(), utc_now()), *parts[3], *parts[4], self._certificate()]
        lines += [line for part in parts[5:] for line in part]
        return [line.without(self._secrets()) for line in lines]

    def _secrets(self) -> Iterator[str]:
        settings = self.settings
        yield settings.relay.password
        yield from (one.api_key for one in settings.targets.values())
        if settings.platform.base_url:
            yield settings.platform.api_key
        try:
            yield make_url(settings.store.url).password or ""
        except (ArgumentError, ValueError):
            yield settings.store.url

    async def _within(self, check: str, asking: Awaitable[Sequence[Line]]) -> Sequence[Line]:
        """What comes of it in time."""
        try:
            async with asyncio.timeout(self.seconds * 2):  # each of its steps has half of that
                return await asking
        except TimeoutError:
            return [bad(check, f"no answer within {self.seconds * 2:.0f} s", "is it there, and is a firewall between?")]

    def _store(self) -> Iterator[Line]:
        """Whether it can be opened, has our schema, and takes a row."""
        url = self.settings.store.url
        path = _file_of(url)
        if path is not None and not path.exists():
            if _no_place(path.parent):
                yield bad("store", f"there is no {path}, and none can be made", "look at the folder of store.url")
                return
            yield bad("store", f"there is no {path} yet", "pal-gateway db upgrade makes it, and so does serve")
            return
        try:
            engine = connect(_impatient(url, self.seconds))
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError):
            yield bad("store", "store.url is no store", "write sqlite:///PATH or postgresql://USER@HOST/NAME")
            return
        try:
            yield from _inside(engine)
        except DatabaseError as error:
            yield diagnosis.closed(str(error.orig), is_file=path is not None)
        finally:
            engine.dispose()

    def _folders(self) -> Iterator[Line]:
        """Where files are written: whether they can be, and how much room there is."""
        path = _file_of(self.settings.store.url)
        wanted = {"folder of store.url": path.parent} if path is not None else {}
        if not self.settings.relay.host:
            wanted["relay.folder"] = self.settings.relay.folder
        for name, folder in wanted.items():
            fault = _no_place(folder)
            if fault:
                setting = name.removeprefix("folder of ")
                yield bad(name, fault, f"let the gateway's user write there, or change {setting}")
            else:
                yield diagnosis.space(name, str(folder), shutil.disk_usage(_nearest(folder)).free)

    async def _clock(self) -> list[Line]:
        known = [self.settings.platform.base_url]
        known += [one.base_url for one in self.settings.targets.values()]
        url = next(filter(None, known), "")
        if not url:
            return [skipped("clock", "there is no platform whose clock could be asked", "set platform.base_url")]
        before = utc_now()
        try:
            async with _client(self.seconds) as client:
                said = (await client.get(url)).headers.get("date", "")
        except httpx.HTTPError as error:
            return [skipped("clock", f"the platform's clock cannot be asked ({type(error).__name__})")]
        after = utc_now()
        try:
            theirs = parsedate_to_datetime(said)
        except ValueError:
            return [skipped("clock", "the platform does not tell its time")]
        theirs = theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC)
        ours = before + (after - before) / 2
        return [diagnosis.clock(ours - theirs, "the platform")]

    async def _ask(self, name: str, kind: str = "TXT") -> Records | None:
        return await self.resolver.answer(Question(name.lower().removesuffix("."), kind), self.seconds)

    async def _domains(self) -> list[Line]:
        """What DNS has of the domains that PALs have their addresses in."""
        settings = self.settings
        parts = await asyncio.gather(
            *(self._domain(one) for one in dict.fromkeys((settings.domain, *settings.domains.values())))
        )
        return [line for part in parts for line in part]

    async def _domain(self, domain: str) -> list[Line]:
        if any(domain == one or domain.endswith("." + one) for one in EXAMPLE):
            return [skipped(f"DNS of {domain}", "it is an example's, which nobody can have", "set domain to your own")]
        found, spf, dmarc = await asyncio.gather(
            self._ask(domain, "MX"), self._ask(domain), self._ask(f"_dmarc.{domain}")
        )
        hosts = [str(host) for _, host in sorted(found or ())]
        addresses = dict(zip(hosts, await asyncio.gather(*map(self._addresses, hosts)), strict=True))
        self.hosts.extend(host for host in hosts if host not in self.hosts)
        ports = await asyncio.gather(*(self._exchanger(host, addresses[host] or ()) for host in hosts))
        lines = [diagnosis.exchangers(domain, found, addresses), *ports, diagnosis.sender_policy(domain, spf)]
        return [*lines, await self._signing_key(domain), diagnosis.alignment_policy(domain, dmarc)]

    async def _signing_key(self, domain: str) -> Line:
        if self.selector is None:
            mend = "look at the selector (s=) in the DKIM-Signature of a reply, and name it by --dkim-selector"
            return skipped(f"DKIM of {domain}", "the relay signs, and its selector is not known here", mend)
        found = await self._ask(f"{self.selector}._domainkey.{domain}")
        return diagnosis.signing_key(domain, self.selector, found)

    async def _addresses(self, host: str) -> tuple[str, ...] | None:
        """The addresses of a host, None: that cannot be said."""
        found = await asyncio.gather(*(self._ask(host, kind) for kind in ("A", "AAAA")))
        known = [str(one) for some in found if some is not None for one in some]
        return tuple(known) if known or None not in found else None

    async def _exchanger(self, host: str, addresses: Sequence[str]) -> Line:
        """Whether a host in MX takes mail at its port 25, as seen from here."""
        check = f"port {self.mx_port} of {host}"
        if not addresses:
            return skipped(check, "it has no address")
        why = "nobody answers"
        for address in addresses:
            try:
                banner = await self._banner(address, self.mx_port)
                return good(check, banner) if banner.startswith("220") else bad(check, banner, "is that a mail server?")
            except (OSError, TimeoutError) as error:
                why = f"{address}: {_words(error)}"
        mend = "open it in the firewall; where this machine's own provider blocks port 25, look from another network"
        return bad(check, why, mend)

    async def _banner(self, host: str, port: int) -> str:
        """The first line that an SMTP server says (RFC 5321 4.2). Raises OSError, TimeoutError."""
        async with asyncio.timeout(self.seconds), _connected(host, port) as (reader, writer):
            line = (await reader.readline())[:200].decode("utf-8", "replace").strip()
            writer.write(b"QUIT\r\n")
            return line or "it closes without a word"

    async def _mail_port(self) -> list[Line]:
        smtp = self.settings.smtp
        check = f"smtp.port {smtp.port}"
        if "smtp" not in self.settings.roles or smtp.port == 0:
            return [skipped("smtp.port", "this process takes no mail" if smtp.port else "it is any free port")]
        if smtp.proxy_from:
            return [skipped(check, "it is answered to proxies only (smtp.proxy_from)", "connect by way of the proxy")]
        try:
            banner = await self._banner(reachable(smtp.host), smtp.port)
        except (OSError, TimeoutError) as error:
            mend = "is the gateway running? pal-gateway serve; or look at smtp.host"
            return [bad(check, _words(error), mend)]
        if not banner.startswith("220"):
            return [bad(check, banner, "something else is there, or it is full (smtp.max_connections)")]
        if banner != greeting(self.settings.domain):
            return [bad(check, banner, f"that is not this gateway: it would say {greeting(self.settings.domain)}")]
        return [good(check, banner)]

    def _certificate(self) -> Line:
        smtp = self.settings.smtp
        if smtp.tls_certificate is None or smtp.tls_key is None:
            why = "there is none, so mail comes in unencrypted"
            return skipped("TLS certificate", why, "set smtp.tls_certificate and smtp.tls_key")
        mend = "look at smtp.tls_certificate and smtp.tls_key"
        try:
            server = Certificate(smtp.tls_certificate, smtp.tls_key).context()
            return diagnosis.certificate(_shown(server, smtp.tls_certificate), self.hosts, utc_now())
        except BadCertificate as error:
            found, _, own = str(error).removesuffix(".").partition("; ")
            return bad("TLS certificate", found, own or mend)
        except ssl.SSLCertVerificationError as error:
            ended = error.verify_code == EXPIRED
            found = "it has ended" if ended else error.verify_message
            return bad("TLS certificate", found, "renew it; the gateway reads it again by itself" if ended else mend)
        except ssl.SSLError as error:
            return bad("TLS certificate", str(error.reason), mend)

    async def _relay(self) -> list[Line]:
        """Connect, STARTTLS, login, and nothing more."""
        relay = self.settings.relay
        if not relay.host:
            return [skipped("relay", f"replies are written into {relay.folder}", "set relay.host, so that they arrive")]
        try:
            async with aiosmtplib.SMTP(
                hostname=relay.host,
                port=relay.port,
                local_hostname=self.settings.domain,
                username=relay.username or None,
                password=relay.password or None,
                start_tls=relay.start_tls,
                timeout=self.seconds,
            ):
                pass
        except aiosmtplib.SMTPAuthenticationError as error:
            return [bad("relay", f"it refuses the login ({error.code})", "look at relay.username and relay.password")]
        except (aiosmtplib.SMTPException, OSError) as error:
            return [bad("relay", _words(error), "look at relay.host, relay.port and relay.start_tls")]
        done = ["connected", *(["TLS"] if relay.start_tls else []), *(["logged in"] if relay.username else [])]
        return [good("relay", f"{relay.host}:{relay.port}: {', '.join(done)}; nothing was sent")]

    async def _targets(self) -> list[Line]:
        settings = self.settings
        asked = [(CONVERSATION, "platform", settings.platform.base_url, settings.platform.api_key)]
        asked += [(kind, f"targets.{kind}", one.base_url, one.api_key) for kind, one in settings.targets.items()]
        return list(await asyncio.gather(*(self._target(*one) for one in asked)))

    async def _target(self, kind: str, setting: str, base_url: str, api_key: str) -> Line:
        if not base_url:
            return skipped(setting, "the built-in sandbox answers, and no PAL enters a call", f"set {setting}.base_url")
        search = targets()[kind].search()
        # Where nothing can be listed, a call is asked for that nobody has begun.
        call = replace(search, params={**search.params, "limit": 1}) if search else targets()[kind].look("doctor")
        platform = Platform(base_url, api_key, kind)
        where = urlsplit(base_url).netloc.rpartition("@")[2]
        try:
            async with asyncio.timeout(self.seconds):
                said = await platform.ask(call)
        except TimeoutError:
            return diagnosis.target(setting, None, f"{where}: no answer within {self.seconds:.0f} s", knows=True)
        finally:
            await platform.close()
        detail = f"{where}: {said.detail}" if isinstance(said, Refused) else ""
        return diagnosis.target(setting, said.status, detail, knows=search is not None)

    async def _public(self) -> list[Line]:
        """Whether callbacks find us."""
        settings, http = self.settings, self.settings.http
        lines = []
        if settings.platform.base_url and not http.public_url:
            why = f"the platform would call back to {http.host}:{http.port}"
            lines.append(
                bad("http.public_url", why, "set it to the address by which the platform reaches this gateway")
            )
        if not http.public_url and ("http" not in settings.roles or http.port == 0):
            return [*lines, skipped("http", "this process answers no HTTP" if http.port else "it is any free port")]
        url = (http.public_url or f"http://{_in_url(reachable(http.host))}:{http.port}").rstrip("/") + "/healthz"
        check = "http.public_url" if http.public_url else f"http.port {http.port}"
        mend = "is the gateway running, and does the proxy in front pass everything on to http.port?"
        try:
            async with _client(self.seconds) as client:
                status = (await client.get(url)).status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return [*lines, bad(check, f"{url}: {type(error).__name__}", mend)]
        line = (
            good(check, f"{url} answers") if status == httpx.codes.OK else bad(check, f"{url} answers {status}", mend)
        )
        return [*lines, line]


def _inside(engine: Engine) -> Iterator[Line]:
    with engine.connect() as connection:
        schema = store.schema_of(connection)
    if schema != store.HEAD:
        found, _, mend = store.not_at_head(schema).partition("; ")
        yield bad("store", found, mend)
        return
    can = written(engine)
    yield good("store", f"schema {schema}, {can.found}") if can.is_good else bad("store", can.found, can.mend)


def _file_of(url: str) -> Path | None:
    """The file of a SQLite store."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(one for one in (folder.absolute(), *folder.absolute().parents) if _is_there(one))


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # of a folder above
        return False


def _no_place(folder: Path) -> str:
    """Why nothing can be written into a folder, nor the folder be made; '' where it can."""
    there = _nearest(folder)
    is_missing = there != folder.absolute()
    # What the kernel shows as files (such as /proc) is of no size, and says of itself that it can be written to.
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK) and (not is_missing or shutil.disk_usage(there).total):
        return ""
    lacking = f"there is no {folder}, and " if is_missing else ""
    return f"{lacking}{there} cannot be written to"


def _impatient(url: str, seconds: float) -> str:
    """A store's URL whose server is not waited for longer."""
    if not url.startswith("postgresql") or "connect_timeout" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}connect_timeout={max(int(seconds), 2)}"


def _zone_release() -> str:
    """The release of the time-zone data, looked for where zoneinfo looks; '' when it does not say."""
    for root in map(Path, TZPATH):
        if (root / "Europe" / "Berlin").is_file():
            return _release_in(root)
    try:
        return _iana(version("tzdata"))
    except PackageNotFoundError:
        return ""


def _release_in(root: Path) -> str:
    """A system says it in the first line of tzdata.zi, or in +VERSION."""
    for name in ("tzdata.zi", "+VERSION"):
        try:
            with (root / name).open(encoding="ascii", errors="replace") as lines:
                return lines.readline().split()[-1]
        except (OSError, IndexError):
            continue
    return ""


def _iana(package: str) -> str:
    """2026.6 is IANA's 2026f."""
    year, _, number = package.partition(".")
    return year + chr(ord("a") + int(number) - 1) if number.isdecimal() and 0 < int(number) < 27 else ""


def _shown(server: ssl.SSLContext, chain: Path) -> diagnosis.Held:
    """The certificate as a client gets it, over no network. Raises SSLError: it has ended, or is no server's."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # its own word is enough here: who signed it is the clients'
    client.load_verify_locations(chain)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (asking, answering, asking, answering):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return diagnosis.certificate_of(asking.getpeercert() or {})


def _in_url(host: str) -> str:
    try:
        return f"[{host}]" if ip_address(host).version == 6 else host
    except ValueError:
        return host


def _words(error: BaseException) -> str:
    """What is to be said of an exception, in a line."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"[:200]


def _client(seconds: float) -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=seconds, trust_env=False)


@asynccontextmanager
async def _connected(host: str, port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()
