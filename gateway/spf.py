"""SPF (RFC 7208): whether a domain lets an address send for it. Pure.

Rules of this file:
- pyspf evaluates the record; what it would ask DNS is looked up in the answers that are there.
- Only public addresses are asked about: records that name 127.0.0.1 or a private network exist, and behind a front
  server that does not tell its client's address they would make anybody's mail pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import spf

from gateway.lookups import Answers, Records, Trouble, Wanted, records
from gateway.senders import Origin


@dataclass(frozen=True)
class Permission:
    """What SPF says of a domain.

    `verdict` is pass, fail, softfail, neutral, none, permerror, trouble, or skipped.
    """

    domain: str
    verdict: str
    why: str = ""


class _Query(spf.query):  # type: ignore[misc]
    """pyspf's evaluation, fed from answers."""

    def __init__(self, answers: Answers, **words: Any) -> None:
        super().__init__(**words)
        self._answers = answers

    def dns(self, name: str, qtype: str, cnames: object = None, ignore_void: bool = False) -> list[Any]:
        try:
            found: Records = records(self._answers, str(name), qtype)
        except Trouble as trouble:
            raise spf.TempError(str(trouble)) from trouble
        if not found and not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > spf.MAX_VOID_LOOKUPS:
                raise spf.PermError(f"more than {spf.MAX_VOID_LOOKUPS} look-ups without an answer")
        # pyspf takes a TXT record as its strings.
        return [(one,) for one in found] if qtype == "TXT" else list(found)


def identity(mail_from: str, origin: Origin) -> str:
    """The domain whose record is asked: of MAIL FROM, or of HELO for a null sender (RFC 7208 2.4)."""
    return (mail_from.rpartition("@")[2] if mail_from else origin.helo).lower().removesuffix(".")


def permission(mail_from: str, origin: Origin, answers: Answers) -> Permission:
    """Whether the sending server may send for its MAIL FROM. Raises Wanted while an answer is missing."""
    domain, address = identity(mail_from, origin), public_address(origin.address)
    if address is None:
        return Permission(domain, "skipped", f"{origin.address or 'the client'} has no public address")
    try:
        said, _, why = _Query(answers, i=str(address), s=mail_from, h=origin.helo or "unknown").check()
    except Wanted:
        raise
    except Exception as error:  # noqa: BLE001  a record that pyspf cannot take permits nothing
        return Permission(domain, "permerror", type(error).__name__)
    return Permission(domain, "trouble" if said == "temperror" else said, str(why)[:200] if said != "pass" else "")


def public_address(text: str) -> IPv4Address | IPv6Address | None:
    """An address of the public internet, an IPv4 one that is written as IPv6 included; None for any other."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    plain = getattr(address, "ipv4_mapped", None) or address
    return plain if plain.is_global else None
