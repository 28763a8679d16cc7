"""Who sent a mail: one identity that the allowlist and the owner rule are asked about. Pure.

Rules of this file:
- The identity is never ORGANIZER alone, Reply-To or the envelope's sender: anybody can write those.
- `address` is what somebody vouches for. Where nothing was checked (a trial, a file) it is the From header, and
  `checked` says so: then whoever writes a From header is believed.
- Domains belong together by the public suffix list, and not where strangers share them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Final

from publicsuffixlist import PublicSuffixList

from gateway.address import domain_of
from gateway.pals import ALWAYS_ALLOWED
from scheduler.event import Event

# Suffixes that the public suffix list does not have: each name below them is another customer's.
_TENANTS: Final = ("mail.onmicrosoft.com", "onmicrosoft.com", "onmicrosoft.us", "onmschina.cn")
# Where strangers have mailboxes side by side: the domain says nothing of who belongs to whom.
_SHARED: Final = frozenset({
    "gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "live.com", "msn.com", "icloud.com",
    "me.com", "mac.com", "yahoo.com", "aol.com", "gmx.de", "gmx.net", "gmx.com", "web.de", "t-online.de",
    "freenet.de", "mail.ru", "yandex.ru", "yandex.com", "qq.com", "163.com", "proton.me", "protonmail.com",
    "fastmail.com", "zoho.com", "hey.com", "orange.fr", "free.fr", "laposte.net", "libero.it", "naver.com",
    "comcast.net", "ymail.com", "rocketmail.com", "att.net", "verizon.net", "cox.net", "btinternet.com", "mail.com",
    "gmx.at", "gmx.ch", "posteo.de", "mailbox.org", "tutanota.com", "tuta.com", "hushmail.com", "pm.me", "duck.com",
    "seznam.cz", "wp.pl", "o2.pl", "bluewin.ch", "ukr.net", "daum.net", "hanmail.net", "sina.com", "126.com",
    "virgilio.it", "telenet.be", "ziggo.nl", "shaw.ca", "bigpond.com", "rediffmail.com", "googlegroups.com",
    "wanadoo.fr", "sfr.fr", "rogers.com", "sbcglobal.net", "bellsouth.net", "charter.net", "mail.de", "arcor.de",
})  # fmt: skip
# The same under the name of a country.
_SHARED_BRANDS: Final = frozenset({"outlook", "hotmail", "live", "yahoo", "gmx", "aol", "yandex"})
# Calendars that take replies for whoever owns them: Google's shared calendars, iCloud's tokens.
_REPLY_DOMAINS: Final = ("group.calendar.google.com", "imip.me.com")
GOOGLE: Final = "google.com"


@dataclass(frozen=True)
class Origin:
    """Where a mail came from: the sending server's address and HELO name, and the peer that is connected to us.

    The peer is another than the sending server where a front server passes the address of its own client on.
    """

    address: str = ""
    helo: str = ""
    peer: str = ""


@dataclass(frozen=True)
class Step:
    """One thing that was looked at, of what, and the verdict.

    `check` is dkim, spf, arc, dmarc, authentication-results, or rule.
    """

    check: str
    of: str
    verdict: str
    detail: str = ""


@dataclass(frozen=True)
class Sender:
    """The identity behind a mail, '' when nobody vouches for one, and how it came about.

    `claimed` is the From header. `rule` is the letter of the rule that gave the identity. `reply_to` and `signers` are
    what a good signature that counts covers and who made it. `is_file`: a bare .ics played by hand, which nobody sent.
    """

    address: str
    verified: bool = False
    is_file: bool = False
    checked: bool = False
    claimed: str = ""
    rule: str = ""
    reply_to: str = ""
    signers: tuple[str, ...] = ()
    chain: tuple[Step, ...] = ()

    @property
    def shown(self) -> str:
        """Whom the operator sees: the identity, else what the mail says of itself."""
        return self.address or self.claimed

    @property
    def is_google_forwarding(self) -> bool:
        """Whether this is the robot of Google's that asks to confirm a forwarding, and Google signed it."""
        return self.address == ALWAYS_ALLOWED and (not self.checked or GOOGLE in self.signers)

    def as_json(self) -> dict[str, Any]:
        """The documented form of `authentication`."""
        return {
            "auth_id": self.address if self.verified else None,
            "from": self.claimed,
            "rule": self.rule or None,
            "chain": [asdict(step) for step in self.chain],
            "reply_to": self.reply_to,
            "signers": list(self.signers),
        }

    @classmethod
    def kept(cls, found: Mapping[str, Any]) -> Sender:
        """The sender of a mail that was checked, from what `as_json` kept of it; what is missing speaks for nobody."""
        return cls(
            address=found.get("auth_id") or "",
            verified=bool(found.get("auth_id")),
            checked=True,
            claimed=found.get("from") or "",
            rule=found.get("rule") or "",
            reply_to=found.get("reply_to") or "",
            signers=tuple(found.get("signers") or ()),
            chain=tuple(Step(**step) for step in found.get("chain") or ()),
        )


def taken_at_its_word(sender: Sender) -> Sender:
    """The sender as a PAL that is open to all hears it: unverified, by its From header."""
    return sender if sender.verified or not sender.checked else replace(sender, address=sender.claimed)


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def organisation(domain: str) -> str:
    """The organisational domain of a comparable domain (RFC 7489 3.2): one label below its public suffix."""
    for suffix in _TENANTS:
        if domain.endswith("." + suffix):
            return domain.removesuffix("." + suffix).rpartition(".")[2] + "." + suffix
    return str(_suffixes().privatesuffix(domain) or domain)


def own_organisation(domain: str) -> str | None:
    """The organisational domain of a comparable domain, None where strangers share it."""
    found = organisation(domain)
    return found if found and found not in _SHARED and found.partition(".")[0] not in _SHARED_BRANDS else None


def is_aligned(one: str, other: str) -> bool:
    """Whether two comparable domains belong to the same organisation."""
    return bool(one) and organisation(one) == organisation(other)


def is_same_side(one: str, other: str) -> bool:
    """Whether two comparable addresses are one, or of one organisation; neighbours at a mail provider are not."""
    if one == other:
        return True
    domain = domain_of(one)
    return is_aligned(domain, domain_of(other)) and own_organisation(domain) is not None


def may_be_answered(organizer: str, sender: Sender) -> bool:
    """Whether a reply to this ORGANIZER stays on the side of who sent the mail, and hits nobody else."""
    if not sender.checked or sender.is_file:
        return True
    if not sender.address:
        return False
    known = domain_of(organizer) in _REPLY_DOMAINS or organizer == sender.reply_to
    return known or is_same_side(organizer, sender.address)


def pinned(sender: Sender, organizer: str, known: Event) -> bool:
    """Whether this sender is the one whose message made the event known, or the same organizer's side.

    An organizer's side is its organisation: assistants and shared calendars send for it. A file has no sender to ask.
    """
    if sender.is_file or known.owner is None:
        return True
    if not _is_believed(sender, known):
        return False
    return sender.address == known.owner or (organizer == known.organizer and is_same_side(sender.address, known.owner))


def owns(sender: Sender, organizer: str, known: Event) -> bool:
    """Whether this sender may change an event: whom it is pinned to, and the organizer where a guest forwarded it."""
    invited_by = sender.address == organizer == known.organizer and _is_believed(sender, known)
    return pinned(sender, organizer, known) or invited_by


def _is_believed(sender: Sender, known: Event) -> bool:
    """An unverified mail cannot change what a verified one made known, whatever its From says."""
    return sender.verified or not sender.checked or not known.owner_verified
