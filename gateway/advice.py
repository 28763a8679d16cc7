"""What is known to be wrong with settings before anything is started, and what is likely a mistake. Shell.

Rules of this file:
- It looks at files, and asks nobody: no store is opened, no name is looked up. What needs that is `doctor`.
- A refusal is what would end a start; a doubt is one sentence with what to do, and a start goes on.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path as FilePath
from typing import Final
from urllib.parse import urlsplit

from gateway.authentication import Require
from gateway.environment import Origin
from gateway.kinds import Secret
from gateway.outline import Path, secret_of
from gateway.settings import Settings

NO_STORE: Final = "store.url is not a store; write sqlite:///PATH or postgresql://USER@HOST/NAME."
BY_RUNTIMES: Final = FilePath("/run/secrets")  # where container runtimes put secrets, with modes of their own


def refusals(settings: Settings) -> Iterator[str]:
    """What a start would say, so far as it can be known from files."""
    from sqlalchemy.exc import ArgumentError

    from gateway.inbound.certificate import BadCertificate, Certificate
    from scheduler import database

    try:
        database.check(settings.store.url)
    except ArgumentError:
        yield NO_STORE
    smtp = settings.smtp
    if "smtp" in settings.roles and smtp.tls_certificate is not None and smtp.tls_key is not None:
        try:
            Certificate(smtp.tls_certificate, smtp.tls_key)
        except BadCertificate as error:
            yield str(error)
    yield from _ports(settings)


def _ports(settings: Settings) -> Iterator[str]:
    """Ports of one process that are the same."""
    smtp, http, metrics = settings.smtp, settings.http, settings.metrics
    opened: list[tuple[str, str, int | None]] = []
    if "smtp" in settings.roles:
        opened += [(f"smtp.{name}", smtp.host, getattr(smtp, name)) for name in ("port", "tls_port", "lmtp_port")]
    if "http" in settings.roles:
        opened.append(("http.port", http.host, http.port))
    opened.append(("metrics.port", metrics.host, metrics.port))
    seen: dict[tuple[str, int], str] = {}
    for name, host, port in opened:
        if port and (host, port) in seen:
            yield f"{seen[host, port]} and {name} are both {port} at {host}; give one of them another port."
        elif port:
            seen[host, port] = name


def doubts(settings: Settings, origins: Mapping[Path, Origin]) -> Iterator[str]:
    """What is likely a mistake."""
    yield from _relay(settings)
    yield from _platform(settings)
    if "http" in settings.roles and not settings.http.public_url and not _is_loopback(settings.http.host):
        yield (
            f"http.host is {settings.http.host}, but http.public_url is not set: the platform's callbacks and calendar "
            "addresses would name this machine; set it to the address by which others reach this gateway."
        )
    if settings.senders.sender_auth is Require.OFF:
        yield "senders.sender_auth is off: every From is believed, so anybody can invite as anybody."
    yield from _networks(settings)
    yield from _readable(settings, origins)


def _networks(settings: Settings) -> Iterator[str]:
    """Networks that are believed, and have everybody in them."""
    believed = {
        "senders.pinned_peers": settings.senders.pinned_peers,
        "smtp.proxy_from": settings.smtp.proxy_from,
        "smtp.xclient_from": settings.smtp.xclient_from,
    }
    for name, networks in believed.items():
        whole = next((one for one in networks if one.prefixlen == 0), None)
        if whole is not None:
            yield f"{name} has {whole}, where everybody says for himself who he is: write the networks of your servers."


def _relay(settings: Settings) -> Iterator[str]:
    relay = settings.relay
    if relay.username and not relay.password:
        yield "relay.username is set without relay.password: the relay would refuse the login."
    if relay.password and not relay.username:
        yield "relay.password is set without relay.username: nobody logs in."
    if (relay.username or relay.password) and not relay.host:
        yield f"relay.host is not set: replies are written to {relay.folder}, and reach nobody."
    if (relay.host or settings.platform.base_url) and settings.domain == Settings.model_fields["domain"].default:
        yield f"domain is the example's, {settings.domain}: set it to the domain whose mail comes here."


def _platform(settings: Settings) -> Iterator[str]:
    platform, sandbox = settings.platform, type(settings.platform).model_fields["api_key"].default
    if platform.base_url and platform.api_key == sandbox:
        yield f"platform.api_key is still {sandbox!r}: set your key for platform.base_url."
    if platform.api_key != sandbox and not platform.base_url:
        yield "platform.api_key is set without platform.base_url: the sandbox joins in place of the platform."
    if urlsplit(platform.base_url).path.rstrip("/").endswith("/v2"):
        yield "platform.base_url ends in /v2, which is added to it: leave it off."


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _readable(settings: Settings, origins: Mapping[Path, Origin]) -> Iterator[str]:
    """Files with secrets that every user of the machine can read."""
    holders = {FilePath(one.path): name for name, one in _holders(origins)}
    if settings.smtp.tls_key is not None:
        holders[settings.smtp.tls_key] = "smtp.tls_key"
    for path, name in holders.items():
        if is_for_everybody(path):
            yield f"{path} can be read by every user of this machine, and {name} is in it: chmod o-r {path}"


def _holders(origins: Mapping[Path, Origin]) -> Iterator[tuple[str, Origin]]:
    for place, origin in origins.items():
        is_held = secret_of(place) is Secret.ALL or origin.kind == "secret file"
        if origin.path and is_held:
            yield ".".join(place), origin


def is_for_everybody(path: FilePath) -> bool:
    """Whether others than owner and group can read a file and come to it."""
    try:
        real = path.resolve(strict=True)
        if real.is_relative_to(BY_RUNTIMES) or not real.stat().st_mode & stat.S_IROTH:
            return False
        return all(one.stat().st_mode & stat.S_IXOTH for one in real.parents)
    except OSError:
        return False
