"""What the value of a setting may be, and what of it is shown. Pure.

Rules of this file: a kind says what is wrong with a value in words, without the value.
"""

from __future__ import annotations

import json
import re
from enum import Enum, auto
from ipaddress import ip_network
from typing import Annotated, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, IPvAnyNetwork, StringConstraints
from pydantic_core import PydanticCustomError

from gateway.domains import domain_name

ROLES: Final = ("smtp", "http", "scheduler")  # what a process can do, see `gateway.roles`

# Loopback and what no router of the Internet passes on (RFC 1918, RFC 4193, RFC 4291).
PRIVATE: Final = tuple(
    map(ip_network, ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"))
)


STORE_URL: Final = "store_url"  # the type of an error whose input is not shown
_LOGIN: Final = re.compile(r"[\w+]+://(?:[^:/]*(?::[^@]*)?@)?")
_HOST: Final = re.compile(r"(?:\[[^\[\]]+\]|[^\[\]:]*)(?::(?P<port>.*))?")


LONGEST_SOCKET_NAME: Final = 107  # unix(7): sun_path is 108 bytes with the NUL at its end


class Secret(Enum):
    """What of a setting's value is shown to nobody."""

    ALL = auto()
    WITHIN = auto()  # the password within an address


def _domain(text: str) -> str:
    name = domain_name(text)
    if name is None:
        raise PydanticCustomError("domain", "A domain is labels of letters, digits and - with dots between them")
    return name


def _address(text: str) -> str:
    try:
        parts = urlsplit(text)
        good = not text or (parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0)
    except ValueError:
        good = False
    if not good:
        raise PydanticCustomError("address", "Write an http or https address")
    return text


def _store_url(text: str) -> str:
    """The address of a database as SQLAlchemy takes it apart: up to the first @ is the login. No error has the text,
    because what stands in a wrong place may be the password."""
    login = _LOGIN.match(text)
    if login is None or text.lower().startswith("sqlite"):
        return text  # a path may be called anything; and what is no address at all is no store
    address = text[login.end() :].partition("?")[0]
    if "@" in address:
        raise PydanticCustomError(STORE_URL, "Write @ as %40 and / as %2F within the password")
    host = _HOST.fullmatch(address.partition("/")[0])
    if host is None:
        raise PydanticCustomError(STORE_URL, "The host is a name, an IPv4 address, or an IPv6 address in [ ]")
    if host["port"] is not None and not (host["port"].isdecimal() and 0 < int(host["port"]) <= 65535):
        raise PydanticCustomError(STORE_URL, "The port is a number from 1 to 65535")
    return text


def is_in_memory(url: str) -> bool:
    """Whether what is written to a store is gone when its process ends."""
    scheme, _, rest = url.partition("://")
    if scheme.lower().partition("+")[0] != "sqlite":
        return False
    path, _, query = rest.partition("?")
    name, parameters = unquote(path.removeprefix("/")), parse_qs(query)
    is_marked = "memory" in parameters.get("mode", ()) or "memdb" in parameters.get("vfs", ())
    return is_marked or name in ("", ":memory:") or name.startswith("file::memory:")


def _header_text(text: str) -> str:
    if not text or not text.isascii() or not text.isprintable() or text.strip() != text:
        raise PydanticCustomError("key", "A key is printable ASCII without spaces around it")
    return text


def _header_text_or_none(text: str) -> str:
    return _header_text(text) if text else text


def _socket_name(path: Any) -> Any:
    if len(str(path).encode("utf-8", "surrogateescape")) > LONGEST_SOCKET_NAME:
        raise PydanticCustomError("socket", f"The path of a socket has at most {LONGEST_SOCKET_NAME} bytes")
    return path


def words(given: Any) -> Any:
    """Words with commas between them, as they are written on the command line; or a list in JSON."""
    if not isinstance(given, str):
        return given
    if given.lstrip().startswith("["):
        try:
            return json.loads(given)
        except ValueError:
            return given
    return [word.strip() for word in given.split(",")]


def _roles(given: tuple[str, ...]) -> tuple[str, ...]:
    if not given or not set(given) <= set(ROLES):
        raise PydanticCustomError("roles", f"The roles of a process are {', '.join(ROLES[:-1])} and {ROLES[-1]}")
    return tuple(role for role in ROLES if role in given)


Domain = Annotated[str, AfterValidator(_domain)]
Account = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Key = Annotated[str, AfterValidator(_header_text), Secret.ALL]
KeyOrNone = Annotated[str, AfterValidator(_header_text_or_none), Secret.ALL]
SocketName = AfterValidator(_socket_name)  # of a path
StoreUrl = Annotated[str, AfterValidator(_store_url), Secret.WITHIN]
HttpAddress = Annotated[str, AfterValidator(_address), Secret.WITHIN]
Roles = Annotated[tuple[str, ...], BeforeValidator(words), AfterValidator(_roles)]
Networks = tuple[IPvAnyNetwork, ...]
