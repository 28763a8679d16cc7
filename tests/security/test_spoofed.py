"""Mails that pretend to be from boss@acme.example, over SMTP: none is believed, and none makes us send anything.

Each row says how it is forged and what is said to it where a verified sender is required. Then the same mail comes to
a PAL whose allowlist has the boss, with the default settings: nothing is planned, and nothing goes out.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Final

import dkim
import pytest

from tests.security.conftest import LOOPBACK, Street
from tests.security.world import (
    ACME_SERVER,
    BOSS,
    COVERS,
    EVE,
    GOOGLE_COVERS,
    GOOGLE_SENDER,
    Mail,
    compose,
    key,
    seal,
    sign,
)

BROKEN: Final = "550 5.6.0"
UNKNOWN: Final = "550 5.7.26"
AS_EVE: Final = EVE  # it is taken for what it is: the forger's own

Forge = Callable[[str], Mail]
Row = tuple[str, Forge, str]

FORGED_FROM: Final = f"Boss <{BOSS}>"
HONEST_FROM: Final = f"Eve <{EVE}>"


def combinations() -> list[Row]:
    """From lies; so do MAIL FROM, Sender, Reply-To and the signature, in every combination."""
    senders = {
        "no Sender": {},
        "Sender boss": {"Sender": BOSS},
        "Sender Google's calendar": {"Sender": GOOGLE_SENDER},
        "Sender eve, Reply-To boss": {"Sender": EVE, "Reply-To": BOSS},
    }
    signatures: dict[str, Callable[[bytes], bytes]] = {
        "unsigned": lambda raw: raw,
        "signed by a stranger": lambda raw: sign(raw, "evil.example", covers=[*COVERS, "sender", "reply-to"]),
        "signed with a wrong key": lambda raw: sign(raw, "acme.example", with_key=key(name="evil.example")),
    }
    envelopes = {"MAIL FROM eve": EVE, "MAIL FROM boss": BOSS, "null MAIL FROM": ""}

    def row(headers: dict[str, str], signed: Callable[[bytes], bytes], mail_from: str) -> Forge:
        def forge(to: str) -> Mail:
            raw, uid = compose(to, headers=headers)
            return Mail(signed(raw), uid, mail_from)

        return forge

    return [
        (
            f"{sender}, {signature}, {envelope}",
            row(senders[sender], signatures[signature], envelopes[envelope]),
            UNKNOWN,
        )
        for sender, signature, envelope in product(senders, signatures, envelopes)
    ]


def honest_from() -> list[Row]:
    """From is the forger's own and signed; the lie stands elsewhere."""
    covers = [*COVERS, "sender", "reply-to"]
    lies: dict[str, tuple[str, dict[str, str]]] = {
        "ORGANIZER lies": (f"mailto:{BOSS}", {}),
        "EMAIL= lies": (f";EMAIL={BOSS}:mailto:x@elsewhere.example", {}),
        "SENT-BY lies": (f';SENT-BY="mailto:{EVE}":mailto:{BOSS}', {}),
        "Reply-To lies": (f"mailto:{BOSS}", {"Reply-To": BOSS.replace("boss", "dora")}),
        "Sender lies": (f"mailto:{BOSS}", {"Sender": BOSS}),
        "Sender and Resent-From lie": (f"mailto:{BOSS}", {"Sender": BOSS, "Resent-From": BOSS}),
        "iCloud's token with the boss's EMAIL=": (f";EMAIL={BOSS}:mailto:2_ABC@acme.example", {}),
    }

    def row(organizer: str, headers: dict[str, str]) -> Forge:
        def forge(to: str) -> Mail:
            raw, uid = compose(to, from_=HONEST_FROM, organizer=organizer, headers=headers)
            return Mail(sign(raw, "evil.example", covers=covers), uid)

        return forge

    return [(f"honest From, {name}", row(*lie), AS_EVE) for name, lie in lies.items()]


def bytes_that_differ() -> list[Row]:
    """Two parsers would read them differently; the boss's own good signature stands on what the verifier reads."""

    def edited(change: Callable[[bytes], bytes]) -> Forge:
        def forge(to: str) -> Mail:
            raw, uid = compose(to)
            return Mail(change(sign(raw, "acme.example")), uid, BOSS, ACME_SERVER)

        return forge

    def before_from(more: bytes) -> Callable[[bytes], bytes]:
        return lambda raw: raw.replace(b"\r\nFrom: ", b"\r\n" + more + b"From: ", 1)

    doubled = (
        "From: eve@evil.example",
        "Sender: a@b.example",
        "To: a@b.example",
        "Subject: x",
        "Content-Type: a/b",
        "Date: Mon, 2 Mar 2026 08:00:00 +0000",
        "Message-ID: <x@y>",
    )
    rows: list[tuple[str, Callable[[bytes], bytes]]] = [
        ("a bare CR before a forged From", before_from(b"X: y\rFrom: dora@acme.example\r\n")),
        ("a bare LF before a forged From", before_from(b"X: y\nFrom: dora@acme.example\r\n")),
        ("a bare LF in the body", lambda raw: raw + b"x\ny\r\n"),
        ("a bare CR in the body", lambda raw: raw + b"x\ry\r\n"),
        ("a NUL", lambda raw: raw + b"\0\r\n"),
        ("a header of 70 kB", before_from(b"X: " + b"\r\n ".join([b"y" * 900] * 80) + b"\r\n")),
        ("a line that is no header", before_from(b"no header\r\n")),
        ("a From with a space before its colon", before_from(b"From : dora@acme.example\r\n")),
        ("a first line that is a continuation", lambda raw: b" X: y\r\n" + raw),
        *((f"two {line.partition(':')[0]}", before_from(line.encode() + b"\r\n")) for line in doubled[:1]),
        *((f"two {line.partition(':')[0]}", before_from(f"{line}\r\n{line}\r\n".encode())) for line in doubled[1:]),
    ]
    return [(name, edited(change), BROKEN) for name, change in rows]


def froms() -> list[Row]:
    """A From that is not exactly one mailbox, signed by the forger's domain."""

    def row(value: str) -> Forge:
        def forge(to: str) -> Mail:
            raw, uid = compose(to, from_=value)
            return Mail(sign(raw, "evil.example"), uid)

        return forge

    values = {
        "two mailboxes": f"{BOSS}, {EVE}",
        "a group": f"team: {BOSS};",
        "no address": "Boss",
        "an address as display name": f"{BOSS} <{EVE}>",
        "an encoded address": "=?utf-8?q?boss=40acme=2Eexample?=",
        "a route": f"<@evil.example:{BOSS}>",
        "an address behind the angle": f"<{EVE}> {BOSS}",
        "a quoted local part": '"boss@acme.example x"@evil.example',
        "an open comment": f"{BOSS} (x <{EVE}>",
        "an open quote": f'"{BOSS} <{EVE}>',
    }
    return [(f"From is {name}", row(value), BROKEN) for name, value in values.items()]


def signatures() -> list[Row]:
    """Signatures that do not hold, or do not count."""

    def row(make: Callable[[bytes], bytes], from_: str = FORGED_FROM) -> Forge:
        def forge(to: str) -> Mail:
            raw, uid = compose(to, from_=from_)
            return Mail(make(raw), uid)

        return forge

    def after(change: tuple[bytes, bytes]) -> Callable[[bytes], bytes]:
        return lambda raw: sign(raw, "acme.example").replace(*change)

    def many(raw: bytes) -> bytes:
        raw = sign(raw, "acme.example")
        for _ in range(5):
            raw = sign(raw, "evil.example")
        return raw

    acme = "acme.example"
    return [
        ("l= and a body that was added to", row(lambda raw: sign(raw, acme, l=20)), UNKNOWN),
        ("l= over the whole body", row(lambda raw: sign(raw, acme, l=len(raw.partition(b"\r\n\r\n")[2]))), UNKNOWN),
        ("expired", row(lambda raw: sign(raw, acme, t=1700000000, x=1700600000)), UNKNOWN),
        ("signed in the future", row(lambda raw: sign(raw, acme, t=4000000000)), UNKNOWN),
        ("expired before it was made", row(lambda raw: sign(raw, acme, t=1700000000, x=1600000000)), UNKNOWN),
        ("From is not covered", row(lambda raw: sign(raw, acme, covers=["to", "subject"])), UNKNOWN),
        ("SHA-1", row(lambda raw: sign(raw, acme, algorithm="rsa-sha1")), UNKNOWN),
        ("the body was changed", row(after((b"SUMMARY:Weekly", b"SUMMARY:Wookly"))), UNKNOWN),
        ("the subject was changed", row(after((b"Subject: Weekly", b"Subject: Other"))), UNKNOWN),
        ("From was changed", row(after((b"boss@", b"dora@")), FORGED_FROM), UNKNOWN),
        ("a revoked key", row(lambda raw: sign(raw, acme, selector="revoked")), UNKNOWN),
        ("no such key", row(lambda raw: sign(raw, acme, selector="nowhere")), UNKNOWN),
        ("two keys at one selector", row(lambda raw: sign(raw, acme, selector="twice")), UNKNOWN),
        ("a key that is junk", row(lambda raw: sign(raw, acme, selector="junk")), UNKNOWN),
        ("a key of 768 bits", row(lambda raw: sign(raw, acme, selector="short", with_key=SHORT)), UNKNOWN),
        ("b= is no base64", row(lambda raw: sign(raw, acme).replace(b" b=", b" b=%", 1)), UNKNOWN),
        ("nothing but a tag", row(lambda raw: b"DKIM-Signature: v=1\r\n" + raw), UNKNOWN),
        ("no tag at all", row(lambda raw: b"DKIM-Signature: \r\n" + raw), UNKNOWN),
        (
            "only the first signature is good, and foreign",
            row(lambda raw: sign(sign(raw, acme, selector="no"), "evil.example")),
            UNKNOWN,
        ),
        ("the boss's signature is the sixth", row(many), UNKNOWN),
        ("a look-alike with a hyphen", row(lambda raw: sign(raw, "acme-example.com")), UNKNOWN),
        ("a look-alike that begins alike", row(lambda raw: sign(raw, "acme.example.evil.example")), UNKNOWN),
        ("signed by a public suffix", row(lambda raw: sign(raw, "co.uk"), "x@boss.co.uk"), UNKNOWN),
        ("signed by a neighbour below a suffix", row(lambda raw: sign(raw, "evil.co.uk"), "x@boss.co.uk"), UNKNOWN),
        (
            "signed by another tenant",
            row(lambda raw: sign(raw, "evil.onmicrosoft.com"), "x@acme.onmicrosoft.com"),
            UNKNOWN,
        ),
    ]


def servers() -> list[Row]:
    """What the sending server's address does not prove."""

    def row(mail_from: str, client: str, from_: str = FORGED_FROM, helo: str = "mta.evil.example") -> Forge:
        def forge(to: str) -> Mail:
            raw, uid = compose(to, from_=from_)
            return Mail(raw, uid, mail_from, client, helo)

        return forge

    return [
        ("SPF passes for the forger's domain", row(EVE, ACME_SERVER), UNKNOWN),
        ("SPF names 127.0.0.1, and that is the client", row(BOSS, LOOPBACK), UNKNOWN),
        ("SPF of another tenant", row("x@evil.onmicrosoft.com", ACME_SERVER, "x@acme.onmicrosoft.com"), UNKNOWN),
        ("HELO of the forger", row("", ACME_SERVER), UNKNOWN),
        ("SPF that includes itself", row("x@loop.example", ACME_SERVER, "x@loop.example"), UNKNOWN),
    ]


def vouching() -> list[Row]:
    """Google, Apple, forwarders and other servers are said to vouch, and do not."""

    def google(signer: str, covers: list[str], from_: str = "x@solo.example", sender: str = GOOGLE_SENDER) -> Forge:
        def forge(to: str) -> Mail:
            raw, uid = compose(to, from_=from_, headers={"Sender": sender, "Reply-To": from_})
            return Mail(sign(raw, signer, covers=covers), uid)

        return forge

    def made(change: Callable[[bytes], bytes], from_: str = FORGED_FROM, organizer: str = f"mailto:{BOSS}") -> Forge:
        def forge(to: str) -> Mail:
            raw, uid = compose(to, from_=from_, organizer=organizer)
            return Mail(change(raw), uid)

        return forge

    token = f';EMAIL="{BOSS}":mailto:2_ABC@imip.me.com'
    robot = "Boss <noreply@insideicloud.icloud.com>"
    found = "dkim=pass header.d=acme.example; dmarc=pass header.from=acme.example"
    ours = f"Authentication-Results: mx.invite.example.com; {found}\r\n".encode()
    boss_only = list(GOOGLE_COVERS)
    return [
        ("Google's Sender, signed by the forger", google("evil.example", boss_only), UNKNOWN),
        ("Google's Sender, not covered by Google", google("google.com", list(COVERS)), UNKNOWN),
        ("signed by google.com.evil.example", google("google.com.evil.example", boss_only), UNKNOWN),
        ("another Sender, signed by Google", google("google.com", boss_only, sender="x@google.com"), UNKNOWN),
        ("vouched for by Google against p=reject", google("google.com", boss_only, "x@strict.example"), UNKNOWN),
        (
            "vouched for by Google against p=quarantine",
            google("google.com", boss_only, "x@quarantine.example"),
            UNKNOWN,
        ),
        ("vouched for by Google against sp=reject", google("google.com", boss_only, "x@a.inherited.example"), UNKNOWN),
        ("EMAIL= at iCloud's token, unsigned", made(lambda raw: raw, robot, token), UNKNOWN),
        (
            "EMAIL= at iCloud's token, signed by the forger",
            made(lambda raw: sign(raw, "evil.example"), robot, token),
            UNKNOWN,
        ),
        (
            "EMAIL= by Apple's robot, but no token",
            made(lambda raw: sign(raw, "icloud.com"), robot, f";EMAIL={BOSS}:mailto:{EVE}"),
            "noreply@insideicloud.icloud.com",
        ),
        ("sealed by nobody we know", made(lambda raw: seal(raw, "evil.example", found)), UNKNOWN),
        ("sealed by a forwarder, not listed", made(lambda raw: seal(raw, "lists.example", found)), UNKNOWN),
        ("Authentication-Results with a server's name", made(lambda raw: ours + raw), UNKNOWN),
        ("Google's robot, unsigned", made(lambda raw: raw, "forwarding-noreply@google.com"), UNKNOWN),
        (
            "Google's robot, signed by the forger",
            made(lambda raw: sign(raw, "evil.example"), "forwarding-noreply@google.com"),
            UNKNOWN,
        ),
    ]


SHORT: Final = key(768, "acme")
SPOOFED: Final = [
    *combinations(), *honest_from(), *bytes_that_differ(), *froms(), *signatures(), *servers(), *vouching(),
]  # fmt: skip


def test_there_are_enough() -> None:
    assert len(SPOOFED) >= 60
    assert len({name for name, _, _ in SPOOFED}) == len(SPOOFED)


@pytest.mark.parametrize(("forge", "said"), [row[1:] for row in SPOOFED], ids=[row[0] for row in SPOOFED])
def test_a_forged_mail_is_nobody_s(street: Street, forge: Forge, said: str) -> None:
    door = street.doors["require"]
    open_to_all = door.add_pal()
    answer = door.deliver(forge(open_to_all), open_to_all)
    if said.startswith("550"):
        assert f"{answer.code} {answer.text}".startswith(said)
        assert answer.invites == []
        assert answer.joins == []
    else:
        assert answer.auth_id == said
    assert answer.letters == []

    door = street.doors["default"]
    guarded = door.add_pal(r".*@acme\.example", "x@boss.co.uk", ".*@solo.example", ".*@strict.example")
    answer = door.deliver(forge(guarded), guarded)
    assert answer.code == (550 if said == BROKEN else 250)
    assert [one.verdict for one in answer.invites if one.verdict not in ("rejected", "declined")] == []
    assert answer.joins == []
    assert answer.letters == []


def test_the_short_key_is_refused_for_its_length_only() -> None:
    raw, _ = compose("anna@invite.example.com")
    signed = sign(raw, "acme.example", selector="short", with_key=SHORT)
    assert dkim.verify(signed, dnsfunc=lambda name, timeout: SHORT.record, minkey=512)


def test_a_user_of_icloud_lends_herself_no_name(street: Street) -> None:
    """Apple signs what its users write, as it signs its own invitations."""
    door = street.doors["default"]
    guarded = door.add_pal(r".*@acme\.example")
    token = f';EMAIL="{BOSS}":mailto:2_ABC@imip.me.com'
    raw, uid = compose(guarded, from_="Eve <eve@icloud.com>", organizer=token)
    answer = door.deliver(Mail(sign(raw, "icloud.com"), uid), guarded)
    assert answer.auth_id == "eve@icloud.com"
    assert [one.reason for one in answer.invites] == ["not-on-allowlist"]
    assert answer.joins == []
