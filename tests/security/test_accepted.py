"""The shapes in which real invitations come, over SMTP: each is believed, as whom, by which rule, and answered.

The PAL's allowlist has the expected identity and nobody else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_bytes
from typing import Final

import pytest

from tests.security.conftest import Street
from tests.security.world import (
    ACME_SERVER,
    BOSS,
    COVERS,
    EVE_SERVER,
    GOOGLE_COVERS,
    GOOGLE_SENDER,
    GOOGLE_SERVER,
    MICROSOFT,
    Mail,
    compose,
    key,
    seal,
    sign,
)

GOOGLE_BOUNCES: Final = "3x@calendar-server.bounces.google.com"
GROUP: Final = "mailto:c_1234abcd@group.calendar.google.com"
AT_APPLE: Final = "2_HAYTGMJX@imip.me.com"
TOKEN: Final = f';CN=Alex;EMAIL="alex@solo.example":mailto:{AT_APPLE}'
APPLE_ROBOT: Final = "Alex <noreply@insideicloud.icloud.com>"
FOUND: Final = "dkim=pass header.d=acme.example header.s=s1; dmarc=pass (p=none) header.from=acme.example"


@dataclass(frozen=True)
class Shape:
    """An invitation, who it is from, by which rule, at which gateway, and to whom the reply goes, if it does."""

    make: Callable[[str], Mail]
    auth_id: str
    rule: str
    at: str = "require"
    answered: str | None = ""  # '': who sent it


def plain(
    from_: str, mail_from: str = "", client: str = ACME_SERVER, helo: str = "mta", **more: str
) -> Callable[[str], Mail]:
    """Unsigned, from a server that may send for its domain."""
    address = from_.rpartition("<")[2].rstrip(">")

    def make(to: str) -> Mail:
        raw, uid = compose(to, from_=from_, organizer=f"mailto:{address}")
        return Mail(raw, uid, mail_from or address, client, "mta")

    return make


def null_sender(to: str) -> Mail:
    raw, uid = compose(to)
    return Mail(raw, uid, "", ACME_SERVER, "acme.example")


def google(
    from_: str = f"Boss <{BOSS}>",
    organizer: str = f"mailto:{BOSS}",
    own: tuple[str, ...] = ("acme.example",),
    mail_from: str = GOOGLE_BOUNCES,
) -> Callable[[str], Mail]:
    """Google Calendar: the top signature is google.com's, the tenant's own second; Content-Type is not covered."""
    address = from_.rpartition("<")[2].rstrip(">")

    def make(to: str) -> Mail:
        headers = {"Reply-To": from_, "Sender": GOOGLE_SENDER, "Auto-Submitted": "auto-generated"}
        raw, uid = compose(to, from_=from_, organizer=organizer, headers=headers)
        for domain in (*own, "google.com"):
            raw = sign(raw, domain, covers=GOOGLE_COVERS)
        assert address
        return Mail(raw, uid, mail_from, GOOGLE_SERVER, "mail-sor-f41.google.com")

    return make


def signed(
    *domains: str, from_: str = f"Boss <{BOSS}>", organizer: str = f"mailto:{BOSS}", **options: object
) -> Callable[[str], Mail]:
    """Signed by these domains, the last one on top, and sent by a server that SPF knows nothing of."""

    def make(to: str) -> Mail:
        raw, uid = compose(to, from_=from_, organizer=organizer)
        for domain in domains:
            raw = sign(raw, domain, **options)  # type: ignore[arg-type]
        return Mail(raw, uid, "bounce@relay.example", EVE_SERVER)

    return make


def edited(
    make: Callable[[str], Mail], change: Callable[[bytes], bytes], client: str = EVE_SERVER
) -> Callable[[str], Mail]:
    """The same mail with its bytes changed on the way."""

    def again(to: str) -> Mail:
        mail = make(to)
        return Mail(change(mail.raw), mail.uid, mail.mail_from, client, mail.helo)

    return again


def icloud(signer: str) -> Callable[[str], Mail]:
    return signed(signer, from_=APPLE_ROBOT, organizer=TOKEN, covers=[*COVERS, "content-type"])


def forwarded(sender: str, *, by_spf: bool) -> Callable[[str], Mail]:
    """Exchange: From stays the foreign organizer, Sender is who forwards."""

    def make(to: str) -> Mail:
        headers = {"Sender": sender, "X-MS-Exchange-MeetingForward-Message": "Forward"}
        raw, uid = compose(to, headers=headers)
        if not by_spf:
            raw = sign(raw, "partner.example", covers=[*COVERS, "sender"])
        return Mail(raw, uid, sender if by_spf else "", MICROSOFT if by_spf else EVE_SERVER)

    return make


def behind_front(results: str, from_: str = f"Boss <{BOSS}>") -> Callable[[str], Mail]:
    """What the operator's own front server found, in a header of its own."""

    def make(to: str) -> Mail:
        raw, uid = compose(to, from_=from_)
        return Mail(f"Authentication-Results: {results}\r\n".encode() + raw, uid, BOSS, "10.9.8.7", "mx")

    return make


def sealed(raw: bytes, *forwarders: str) -> bytes:
    """As a forwarder hands on what it changed: the signature is broken, the chain holds."""
    raw = raw.replace(b"Subject: Weekly", b"Subject: [list] Weekly")
    for forwarder in forwarders:
        raw = seal(raw, forwarder, FOUND)
    return raw


def broken_first(raw: bytes) -> bytes:
    return sign(raw, "acme.example", with_key=key(name="evil.example"))


PARTNER: Final = "Pat <pat@partner.example>"
SOLO: Final = "Alex <alex@solo.example>"
SHAPES: Final[dict[str, Shape]] = {
    "Workspace with a key of its own": Shape(google(), BOSS, "a"),
    "Workspace, the tenant's signature on top": Shape(signed("google.com", "acme.example"), BOSS, "a"),
    "Workspace without a key, no DMARC": Shape(google(SOLO, "mailto:alex@solo.example", ()), "alex@solo.example", "b"),
    "Workspace without a key, DMARC p=none": Shape(
        google("x@relaxed.example", "mailto:x@relaxed.example", ()), "x@relaxed.example", "b"
    ),
    "Workspace with a key, DMARC p=none for itself only": Shape(
        google("x@inherited.example", "mailto:x@inherited.example", ()), "x@inherited.example", "b"
    ),
    "Workspace, a group calendar is ORGANIZER": Shape(google(organizer=GROUP), BOSS, "a", answered=GROUP[7:]),
    "Workspace without a key, a group calendar": Shape(
        google(SOLO, GROUP, ()), "alex@solo.example", "b", answered=GROUP[7:]
    ),
    "Workspace, a colleague is ORGANIZER": Shape(
        google(organizer="mailto:dora@acme.example"), BOSS, "a", answered="dora@acme.example"
    ),
    "Gmail": Shape(google("a.b@gmail.com", "mailto:a.b@gmail.com", ("gmail.com",)), "a.b@gmail.com", "a"),
    "Gmail forwards it by itself": Shape(google(mail_from="me+caf_=pal=invite.example.com@gmail.com"), BOSS, "a"),
    "iCloud's token, signed by icloud.com": Shape(icloud("icloud.com"), "alex@solo.example", "d", answered=AT_APPLE),
    "iCloud's token, signed by insideicloud": Shape(
        icloud("insideicloud.icloud.com"), "alex@solo.example", "d", answered=AT_APPLE
    ),
    "iCloud's token, signed by apple.com": Shape(icloud("apple.com"), "alex@solo.example", "d", answered=AT_APPLE),
    "M365 with a key of its own": Shape(signed("acme.onmicrosoft.com", "acme.example"), BOSS, "a"),
    "M365 by SPF, signed by its onmicrosoft name": Shape(
        edited(plain(PARTNER), lambda raw: sign(raw, "acme.onmicrosoft.com"), MICROSOFT), "pat@partner.example", "a"
    ),
    "M365 by SPF over IPv6": Shape(plain(PARTNER, client="2a01:111:f400::1"), "pat@partner.example", "a"),
    "M365 by SPF, IPv4 written as IPv6": Shape(plain(PARTNER, client="::ffff:40.92.0.10"), "pat@partner.example", "a"),
    "M365, a tenant without a domain": Shape(
        signed("acme.onmicrosoft.com", from_="x@acme.onmicrosoft.com", organizer="mailto:x@acme.onmicrosoft.com"),
        "x@acme.onmicrosoft.com",
        "a",
    ),
    "M365 forward, signed": Shape(
        forwarded("pat@partner.example", by_spf=False), "pat@partner.example", "e", "trusting", None
    ),
    "M365 forward, by SPF": Shape(
        forwarded("pat@partner.example", by_spf=True), "pat@partner.example", "e", "trusting", None
    ),
    "sealed by a forwarder that is listed": Shape(
        edited(signed("acme.example"), lambda raw: sealed(raw, "forwarder.example")), BOSS, "c", "trusting"
    ),
    "sealed twice, the last by one that is listed": Shape(
        edited(
            signed("acme.example"),
            lambda raw: seal(sealed(raw, "lists.example"), "forwarder.example", "arc=pass; " + FOUND),
        ),
        BOSS,
        "c",
        "trusting",
    ),
    "Authentication-Results: DMARC": Shape(
        behind_front(f"mx.invite.example.com 1; {FOUND}"), BOSS, "authentication-results", "fronted"
    ),
    "Authentication-Results: DKIM": Shape(
        behind_front('MX.invite.example.com; dkim=pass (1024-bit key; x) header.d=acme.example header.b="a/b"'),
        BOSS,
        "authentication-results",
        "fronted",
    ),
    "Authentication-Results: SPF": Shape(
        behind_front("mx.invite.example.com; spf=pass smtp.mailfrom=boss@acme.example"),
        BOSS,
        "authentication-results",
        "fronted",
    ),
    "past the front server, with a signature": Shape(signed("acme.example"), BOSS, "a", "fronted"),
    "SPF by address": Shape(plain(f"Boss <{BOSS}>"), BOSS, "a"),
    "SPF of a subdomain": Shape(plain("x@strict.example", "bounce@mta.strict.example"), "x@strict.example", "a"),
    "SPF by mx": Shape(plain("x@by-mx.example"), "x@by-mx.example", "a"),
    "SPF by a": Shape(plain("x@by-a.example"), "x@by-a.example", "a"),
    "SPF by redirect": Shape(plain("x@elsewhere.example"), "x@elsewhere.example", "a"),
    "SPF by a macro": Shape(plain("x@macro.example"), "x@macro.example", "a"),
    "SPF of HELO, for the null sender": Shape(null_sender, BOSS, "a"),
    "signed by a subdomain": Shape(signed("mail.acme.example"), BOSS, "a"),
    "signed by the domain above": Shape(
        signed("acme.example", from_="x@eu.acme.example", organizer="mailto:x@eu.acme.example"),
        "x@eu.acme.example",
        "a",
    ),
    "the second signature is the one that counts": Shape(signed("acme.example", "evil.example"), BOSS, "a"),
    "the first of two of one domain is broken": Shape(edited(signed("acme.example"), broken_first), BOSS, "a"),
    "the fifth of five": Shape(signed("acme.example", *["evil.example"] * 4), BOSS, "a"),
    "a 2048-bit key": Shape(signed("acme.example", selector="big", with_key=key(2048, "acme")), BOSS, "a"),
    "simple canonicalization": Shape(signed("acme.example", canon="simple/simple"), BOSS, "a"),
    "an expiry ahead": Shape(signed("acme.example", x=4000000000), BOSS, "a"),
    "refolded on the way": Shape(
        edited(signed("acme.example"), lambda raw: raw.replace(b"Subject: Weekly", b"Subject:\r\n\tWeekly")), BOSS, "a"
    ),
    "a From with a comment": Shape(signed("acme.example", from_=f"{BOSS} (The Boss)"), BOSS, "a"),
    "a From with a quoted name": Shape(signed("acme.example", from_=f'"Boss, The (x)" <{BOSS}>'), BOSS, "a"),
    "a From with its address as name": Shape(signed("acme.example", from_=f"{BOSS} <{BOSS}>"), BOSS, "a"),
    "a From with a name in UTF-8": Shape(signed("acme.example", from_=f"Böss <{BOSS}>"), BOSS, "a"),
    "a domain in another script": Shape(
        signed("xn--mller-kva.example", from_="x@müller.example", organizer="mailto:x@xn--mller-kva.example"),
        "x@xn--mller-kva.example",
        "a",
    ),
}


def test_there_are_enough() -> None:
    assert len(SHAPES) >= 30


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_a_real_mail_is_believed(street: Street, shape: Shape) -> None:
    door = street.doors[shape.at]
    to = door.add_pal(shape.auth_id)
    mail = shape.make(to)
    answer = door.deliver(mail, to)
    assert (answer.code, answer.text[:5]) == (250, "2.0.0")
    (invite,) = answer.invites
    assert (invite.verdict, invite.reason, invite.sender) == ("accepted", None, shape.auth_id)
    assert invite.authentication is not None
    assert (invite.authentication["auth_id"], invite.authentication["rule"]) == (shape.auth_id, shape.rule)
    assert invite.authentication["chain"]
    assert invite.allowed_by == shape.auth_id
    assert [one.uid for one in answer.joins] == [mail.uid]
    sent_to = [str(message_from_bytes(letter)["To"]) for letter in answer.letters]
    assert sent_to == ([] if shape.answered is None else [shape.answered or shape.auth_id])
