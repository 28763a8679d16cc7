"""What is to be thought of what `doctor` was told: each answer judged, with the mend. Pure.

Rules of this file:
- A `Line` for each thing that was looked at; what could not be looked at is skipped and says why, and is no fault.
- `found` never holds a secret: `without` takes out what the settings name as one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.lookups import Records

MAX_SKEW: Final = timedelta(seconds=5)
MIN_FREE: Final = 512 * 1024 * 1024  # bytes; mails are kept whole
ENDS_SOON: Final = timedelta(days=14)
_HIDDEN: Final = "***"


class State(StrEnum):
    OK = "ok"
    NOT_OK = "not ok"
    SKIPPED = "skipped"  # it cannot be looked at, or there is nothing to look at


@dataclass(frozen=True)
class Line:
    """One thing that was looked at, what was found, and the mend where it is not as it should be."""

    check: str
    state: State
    found: str
    mend: str = ""

    def as_json(self) -> dict[str, Any]:
        """The documented form of `doctor --json`."""
        return {"check": self.check, "state": self.state.value, "found": self.found, "mend": self.mend or None}

    def without(self, secrets: Iterable[str]) -> Line:
        """The same without what nobody is to read, whoever said it, and without what a terminal would obey."""
        found, mend = self.found, self.mend
        for secret in filter(None, secrets):
            found, mend = found.replace(secret, _HIDDEN), mend.replace(secret, _HIDDEN)
        return replace(self, found=_printable(found), mend=_printable(mend))


def _printable(text: str) -> str:
    """One line: servers write several, with tabs."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(text.split()))


def good(check: str, found: str) -> Line:
    return Line(check, State.OK, found)


def bad(check: str, found: str, mend: str) -> Line:
    return Line(check, State.NOT_OK, found, mend)


def skipped(check: str, why: str, mend: str = "") -> Line:
    return Line(check, State.SKIPPED, why, mend)


def clock(difference: timedelta, whose: str) -> Line:
    """Our clock against another's; a Date header has whole seconds (RFC 9110 5.6.7)."""
    seconds = difference.total_seconds()
    found = f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} {whose}"
    if abs(difference) > MAX_SKEW:
        return bad("clock", found, "let this machine follow NTP (timedatectl set-ntp true): joins are due by its clock")
    return good("clock", f"within {MAX_SKEW.seconds} s of {whose}")


def closed(why: str, *, is_file: bool) -> Line:
    """A store that cannot be asked, in its own words; `is_file`: SQLite."""
    if "not a database" in why or "malformed" in why:
        return bad("store", why, "this file is no store, or damaged: look at store.url, or put a copy in its place")
    if is_file:
        return bad("store", why, "look at store.url, and whether the gateway's user may read and write that file")
    return bad("store", why, "look at store.url, and whether its server runs")


def space(check: str, folder: str, free: int) -> Line:
    """How many bytes are free where something is written."""
    found = f"{free // (1024 * 1024):,} MB free in {folder}"
    if free < MIN_FREE:
        return bad(
            check, found, f"make room: mails are answered 452 when it is full; {MIN_FREE >> 20} MB should be free"
        )
    return good(check, found)


def zone_data(version: str, now: datetime) -> Line:
    """The release of the time-zone data (such as 2026a, '' unknown), and whether it knows next summer."""
    berlin, year = ZoneInfo("Europe/Berlin"), now.year + 1
    winter, summer = (datetime(year, month, 15, tzinfo=berlin).utcoffset() for month in (1, 7))
    mend = "install the newest tzdata (of the system, or this environment's package): countries change their clocks"
    if winter == summer:
        return bad("time zones", f"Europe/Berlin has no summer time in {year}", mend)
    if not re.fullmatch(r"\d{4}[a-z]+", version):
        return good("time zones", f"Europe/Berlin changes its clock in {year}; the release is not known")
    if int(version[:4]) < now.year - 1:
        return bad("time zones", f"release {version}", mend)
    return good("time zones", f"release {version}")


def exchangers(domain: str, found: Records | None, addresses: Mapping[str, Collection[str] | None]) -> Line:
    """Whether mail to a domain has somewhere to go: MX records, and addresses of each host (None: DNS trouble)."""
    check = f"MX of {domain}"
    if found is None:
        return _no_dns(check)
    hosts = [str(host) for _, host in sorted(found)]
    if not hosts:
        return bad(
            check, "none", f"add `{domain}. MX 10 HOST`, where HOST is this gateway or the server in front of it"
        )
    lost = [host for host in hosts if addresses.get(host) is not None and not addresses[host]]
    if lost:
        return bad(check, f"{', '.join(lost)} has no address", "add an A or AAAA record for it")
    if any(addresses.get(host) is None for host in hosts):
        return _no_dns(check)
    return good(check, ", ".join(hosts))


def _no_dns(check: str) -> Line:
    return bad(check, "DNS does not answer", "look at /etc/resolv.conf; without DNS mail is answered 451")


def sender_policy(domain: str, found: Records | None) -> Line:
    """The SPF record of a domain (RFC 7208 3.2: exactly one)."""
    check = f"SPF of {domain}"
    if found is None:
        return _no_dns(check)
    records = [text for text in _texts(found) if re.match(r"v=spf1( |$)", text, re.IGNORECASE)]
    if not records:
        return bad(check, "none", f'add `{domain}. TXT "v=spf1 …"` that names your relay, or replies look forged')
    if len(records) > 1:
        return bad(check, f"{len(records)} records", "leave one: with two nobody's mail passes (RFC 7208 4.5)")
    return good(check, records[0])


def signing_key(domain: str, selector: str, found: Records | None) -> Line:
    """The DKIM key that a relay signs with (RFC 6376 3.6.1)."""
    check = f"DKIM of {domain}"
    if found is None:
        return _no_dns(check)
    keys = [text for text in _texts(found) if "p=" in text]
    if not keys:
        return bad(check, f"no key at {selector}._domainkey", "publish the key that your relay signs with")
    if any(re.search(r"(^|;)\s*p=\s*(;|$)", text) for text in keys):
        return bad(check, f"the key at {selector}._domainkey is revoked", "publish the key that your relay signs with")
    return good(check, f"a key at {selector}._domainkey")


def alignment_policy(domain: str, found: Records | None) -> Line:
    """The DMARC record (RFC 7489 6.1)."""
    check = f"DMARC of {domain}"
    if found is None:
        return _no_dns(check)
    records = [text for text in _texts(found) if text.lower().startswith("v=dmarc1")]
    if not records:
        return bad(check, "none", f'add `_dmarc.{domain}. TXT "v=DMARC1; p=none"`: Gmail and Outlook ask for one')
    return good(check, records[0])


def _texts(found: Records) -> list[str]:
    return [one.decode("utf-8", "replace") for one in found]


@dataclass(frozen=True)
class Held:
    """A certificate: its names, and when it ends (UTC)."""

    names: tuple[str, ...]
    ends: datetime


def certificate(found: Held, hosts: Sequence[str], now: datetime) -> Line:
    """A certificate that fits its key; `hosts` are those that mail is sent to by name."""
    check, ends = "TLS certificate", f"{found.ends:%Y-%m-%d}"
    renew = "renew it; the gateway reads it again by itself"
    if found.ends <= now:
        return bad(check, f"it ended on {ends}", renew)
    if found.ends - now < ENDS_SOON:
        return bad(check, f"it ends on {ends}", renew)
    if not found.names:
        return bad(check, "it names nobody (no subjectAltName)", "get one for the names in MX: clients look there only")
    names = ", ".join(found.names)
    missing = [host for host in hosts if not any(_covers(name, host) for name in found.names)]
    if missing:
        return bad(check, f"it is for {names}, not for {', '.join(missing)}", "get one for the names in MX")
    return good(check, f"for {names}, until {ends}")


def _covers(name: str, host: str) -> bool:
    """Whether a name of a certificate is a host's (RFC 6125 6.4.3: * is one whole label, the first)."""
    name, host = name.lower(), host.lower()
    return name == host or (name.startswith("*.") and host.partition(".")[2] == name[2:])


def certificate_of(peer: Mapping[str, Any]) -> Held:
    """What `ssl.getpeercert` says of one."""
    names = [value for kind, value in peer.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
    ends = datetime.strptime(str(peer["notAfter"]), "%b %d %H:%M:%S %Y %Z").replace(tzinfo=UTC)
    return Held(tuple(names), ends)


def target(setting: str, status: int | None, detail: str, *, knows: bool) -> Line:
    """What the platform (or another target) said to a question that changes nothing; None: no answer came. `knows`:
    whether it has what was asked for; otherwise a 404 is the answer."""
    check = setting
    if status is None:
        return bad(check, detail, f"look at {setting}.base_url, and at the firewall")
    if status in (401, 403):
        return bad(check, f"it refuses the key ({status})", f"put a valid key into {setting}.api_key")
    if not (200 <= status < 300 or (status == 404 and not knows)):
        return bad(check, f"it answers {status}", f"look at {setting}.base_url")
    return good(check, "it answers, and takes the key")
