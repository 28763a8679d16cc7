"""Who there is, for the tests of senders: domains with keys made here, what DNS has of them, and mails they sign."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from itertools import count
from secrets import randbits

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from dkim.canonicalization import CanonicalizationPolicy
from dkim.crypto import HASH_ALGORITHMS, parse_pem_private_key

from gateway.lookups import Question, Records
from scheduler.clock import utc_now

BOSS = "boss@acme.example"
EVE = "eve@evil.example"
GOOGLE_SENDER = "Google Calendar <calendar-notification@google.com>"
# What Google signs: no Content-Type, and some names twice, so that none can be added.
GOOGLE_COVERS = (
    "to",
    "from",
    "subject",
    "date",
    "message-id",
    "sender",
    "reply-to",
    "mime-version",
    "from",
    "to",
    "subject",
)
COVERS = ("from", "to", "subject", "date", "message-id")

ACME_SERVER, EVE_SERVER, MICROSOFT, GOOGLE_SERVER = "5.9.10.11", "45.33.32.156", "40.92.0.10", "209.85.220.41"
_NUMBERS = count(1)


@dataclass(frozen=True)
class Key:
    """A signing key: PEM, and what DNS has of it."""

    private: bytes
    record: bytes


@cache
def key(bits: int = 1024, name: str = "") -> Key:
    """A key of its own for each size and name."""
    made = rsa.generate_private_key(65537, bits) if bits >= 1024 else _short_key(bits)
    der = made.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    private = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return Key(private, b"v=DKIM1; k=rsa; p=" + base64.b64encode(der))


def _short_key(bits: int) -> rsa.RSAPrivateKey:
    """Nobody makes keys as short as that any more, so here it is by hand."""
    p, q = _prime(bits // 2), _prime(bits // 2)
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


def _prime(bits: int) -> int:
    while True:
        found = randbits(bits) | 1 | 3 << (bits - 2)
        if found % 65537 != 1 and all(pow(base, found - 1, found) == 1 for base in (2, 3, 5, 7, 11)):
            return found


@dataclass
class Zone:
    """What DNS has; it does not answer for what is in `silent`. Counts what it is asked."""

    records: dict[Question, Records] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    asked: list[Question] = field(default_factory=list)

    async def answer(self, question: Question, seconds: float) -> Records | None:
        self.asked.append(question)
        return None if question.name in self.silent else self.records.get(question, ())

    def add(self, name: str, *found: object, kind: str = "TXT") -> None:
        texts = (one.encode() if isinstance(one, str) and kind == "TXT" else one for one in found)
        self.records[Question(name, kind)] = tuple(texts)


SIGNERS = (
    "acme.example",
    "google.com",
    "gmail.com",
    "evil.example",
    "icloud.com",
    "apple.com",
    "insideicloud.icloud.com",
    "mail.acme.example",
    "acme.onmicrosoft.com",
    "evil.onmicrosoft.com",
    "forwarder.example",
    "lists.example",
    "acme-example.com",
    "acme.example.evil.example",
    "google.com.evil.example",
    "co.uk",
    "evil.co.uk",
    "boss.co.uk",
    "partner.example",
    "xn--mller-kva.example",
)


def world() -> Zone:
    """DNS as it is for all the tests."""
    zone = Zone()
    for domain in SIGNERS:
        zone.add(f"s1._domainkey.{domain}", key(name=domain).record)
    zone.add("big._domainkey.acme.example", key(2048, "acme").record)
    zone.add("big._domainkey.google.com", key(2048, "google").record)
    zone.add("revoked._domainkey.acme.example", "v=DKIM1; p=")
    zone.add("twice._domainkey.acme.example", key(name="acme.example").record, key(name="evil.example").record)
    zone.add("short._domainkey.acme.example", key(768, "acme").record)
    zone.add("junk._domainkey.acme.example", "v=DKIM1; k=rsa; p=AAAA%%%%")
    zone.add("acme.example", "google-site-verification=x", f"v=spf1 ip4:{ACME_SERVER} ip4:127.0.0.1 -all")
    zone.add("google.com", f"v=spf1 ip4:{GOOGLE_SERVER} -all")
    zone.add("evil.example", "v=spf1 +all")
    zone.add("evil.onmicrosoft.com", "v=spf1 +all")
    zone.add("strict.example", f"v=spf1 ip4:{ACME_SERVER} -all")
    zone.add("_dmarc.strict.example", "v=DMARC1; p=reject; rua=mailto:d@strict.example")
    zone.add("_dmarc.quarantine.example", "v=DMARC1; p=quarantine")
    zone.add("_dmarc.inherited.example", "v=DMARC1; p=none; sp=reject")
    zone.add("_dmarc.relaxed.example", "v=DMARC1; p=none; rua=mailto:d@relaxed.example")
    zone.add("partner.example", "v=spf1 include:spf.protection.outlook.example -all")
    zone.add("spf.protection.outlook.example", "v=spf1 ip4:40.92.0.0/15 include:more.outlook.example -all")
    zone.add("more.outlook.example", "v=spf1 ip6:2a01:111:f400::/48 -all")
    zone.add("by-mx.example", "v=spf1 mx -all")
    zone.add("by-mx.example", (10, "mx1.by-mx.example"), kind="MX")
    zone.add("mx1.by-mx.example", ACME_SERVER, kind="A")
    zone.add("by-a.example", "v=spf1 a:out.by-a.example -all")
    zone.add("out.by-a.example", ACME_SERVER, kind="A")
    zone.add("elsewhere.example", "v=spf1 redirect=_spf.elsewhere.example")
    zone.add("_spf.elsewhere.example", f"v=spf1 ip4:{ACME_SERVER} -all")
    zone.add("macro.example", "v=spf1 exists:%{i}._ip.macro.example -all")
    zone.add(f"{ACME_SERVER}._ip.macro.example", "127.0.0.2", kind="A")
    zone.add("loop.example", "v=spf1 include:loop.example -all")
    zone.add("mta.strict.example", f"v=spf1 ip4:{ACME_SERVER} -all")
    return zone


@dataclass(frozen=True)
class Mail:
    """A mail as it is sent: header lines, calendar, envelope, the client's address."""

    raw: bytes
    uid: str
    mail_from: str = EVE
    client: str = EVE_SERVER
    helo: str = "mta.evil.example"


def calendar(uid: str, to: str, organizer: str = f"mailto:{BOSS}", method: str = "REQUEST", sequence: int = 0) -> str:
    """An invitation to a meeting tomorrow; `organizer` is what follows ORGANIZER, parameters and all."""
    line = f"ORGANIZER{organizer if organizer.startswith(';') else ':' + organizer}"
    starts = utc_now() + timedelta(days=1)
    return "\r\n".join(
        (
            "BEGIN:VCALENDAR",
            "PRODID:-//test//EN",
            "VERSION:2.0",
            f"METHOD:{method}",
            "BEGIN:VEVENT",
            f"UID:{uid}",
            f"SEQUENCE:{sequence}",
            f"DTSTAMP:{utc_now():%Y%m%dT%H%M%SZ}",
            f"DTSTART:{starts:%Y%m%dT%H%M%SZ}",
            "DURATION:PT1H",
            line,
            f"ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:{to}",
            "SUMMARY:Weekly",
            f"X-GOOGLE-CONFERENCE:https://meet.google.com/{_meet(uid)}",
            "END:VEVENT",
            "END:VCALENDAR",
            "",
        )
    )


def _meet(uid: str) -> str:
    letters = re.sub("[^a-z]", "", base64.b32encode(uid.encode()).decode().lower() + "abcdefghij")
    return f"{letters[:3]}-{letters[3:7]}-{letters[7:10]}"


def compose(
    to: str,
    *,
    from_: str = f"Boss <{BOSS}>",
    organizer: str = f"mailto:{BOSS}",
    headers: Mapping[str, str] | None = None,
    padding: int = 0,
    method: str = "REQUEST",
    uid: str = "",
    sequence: int = 0,
) -> tuple[bytes, str]:
    """(mail, UID): an unsigned invitation. `headers` come after the usual ones."""
    uid = uid or f"u{next(_NUMBERS)}@test.example"
    head = [
        f"From: {from_}",
        f"To: {to}",
        "Subject: Weekly",
        f"Date: {utc_now():%a, %d %b %Y %H:%M:%S +0000}",
        f"Message-ID: <{next(_NUMBERS)}.{uid}>",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
        "MIME-Version: 1.0",
    ]
    part = [
        f"Content-Type: text/calendar; charset=UTF-8; method={method}",
        "",
        calendar(uid, to, organizer, method, sequence),
    ]
    lines = [*head, *(_with_html(part, padding) if padding else part)]
    return "\r\n".join(lines).encode(), uid


def _with_html(part: list[str], size: int) -> list[str]:
    """The calendar beside a page of so many bytes, as Google and Outlook send it."""
    page = [f"<tr><td>{number:08d} {'x' * 50}</td></tr>" for number in range(size // 79)]
    html = ["--b", "Content-Type: text/html; charset=UTF-8", "", *page]
    return ['Content-Type: multipart/alternative; boundary="b"', "", *html, "--b", *part, "--b--", ""]


def sign(
    raw: bytes,
    domain: str,
    *,
    selector: str = "s1",
    with_key: Key | None = None,
    covers: Iterable[str] = COVERS,
    canon: str = "relaxed/relaxed",
    algorithm: str = "rsa-sha256",
    **tags: object,
) -> bytes:
    """The mail with one more DKIM signature on top; further tags (x=, l=, t=) by name."""
    signer = dkim.DKIM(raw, signature_algorithm=algorithm.encode())
    signer.hasher = HASH_ALGORITHMS[algorithm.encode()]
    policy = CanonicalizationPolicy.from_c_value(canon.encode())
    body = policy.canonicalize_body(signer.body)
    if "l" in tags:
        body = body[: int(str(tags["l"]))]
    names = [name.encode() for name in covers]
    fields = [
        (b"v", b"1"),
        (b"a", algorithm.encode()),
        (b"c", canon.encode()),
        (b"d", domain.encode()),
        (b"s", selector.encode()),
        *((name.encode(), str(value).encode()) for name, value in tags.items()),
        (b"h", b":".join(names)),
        (b"bh", base64.b64encode(signer.hasher(body).digest())),
        (b"b", b"0" * 60),
    ]
    private = parse_pem_private_key((with_key or key(name=domain)).private)
    value = signer.gen_header(fields, names, policy, b"DKIM-Signature", private)
    return bytes(b"DKIM-Signature: " + value + raw)


def seal(raw: bytes, domain: str, results: str, with_key: Key | None = None) -> bytes:
    """The mail with one more ARC set on top, made from what the sealer found."""
    found = f"Authentication-Results: {domain}; {results}\r\n".encode()
    private = (with_key or key(name=domain)).private
    lines = dkim.arc_sign(found + raw, b"s1", domain.encode(), private, domain.encode(), COVER_ARC)
    assert lines
    return b"".join(line if line.endswith(b"\r\n") else line + b"\r\n" for line in lines) + raw


COVER_ARC: Sequence[bytes] = (b"from", b"to", b"subject", b"date", b"message-id")
