"""Bounce addresses, what mails to them say, and what becomes of the reply."""

from __future__ import annotations

from contextlib import suppress
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.address import normal
from gateway.bounces import Bounces, is_bounce_address
from gateway.ics import Unreadable
from gateway.reading import read_report
from gateway.reports import MAX_WORDS, Fate, report_of
from gateway.verdict import Reason
from tests.returned import FORMS, POSTFIX, Returned

pytestmark = pytest.mark.usefixtures("without_collections")

BOUNCES = Bounces(b"a secret")
LETTER = "r" + "0a" * 12
DOMAIN = "invite.example.com"
ADDRESS = BOUNCES.address(LETTER, DOMAIN)
LETTERS = st.text("0123456789abcdef", min_size=24, max_size=24).map(lambda text: "r" + text)


@given(LETTERS)
def test_an_address_names_its_letter_and_survives_the_way(letter: str) -> None:
    address = BOUNCES.address(letter, DOMAIN)
    assert len(address.partition("@")[0]) <= 64  # RFC 5321 4.5.3.1.1
    assert normal(address) == address  # it is compared as it was written, whoever lowers it
    assert is_bounce_address(address)
    assert BOUNCES.letter_of(address) == letter
    assert BOUNCES.letter_of(normal(address.upper())) == letter
    assert BOUNCES.address(letter, DOMAIN) == address


@pytest.mark.parametrize(
    "address",
    [
        ADDRESS.replace(".", ".0", 1)[:-1],
        ADDRESS.replace(LETTER, "r" + "0b" * 12),
        Bounces(b"another").address(LETTER, DOMAIN),
        f"bounce+{LETTER}@{DOMAIN}",
        f"bounce+{LETTER}.@{DOMAIN}",
        f"bounce+{LETTER}.{'0' * 24}@{DOMAIN}",
        f"bounce@{DOMAIN}",
        f"x{ADDRESS}",
        ADDRESS.replace("@", "@@"),
        "",
    ],
)
def test_a_forged_address_names_none(address: str) -> None:
    assert BOUNCES.letter_of(address) is None


def test_one_digit_more_or_less_is_another_signature() -> None:
    local, _, domain = ADDRESS.partition("@")
    for at in range(len(local)):
        forged = f"{local[:at]}{'1' if local[at] == '0' else '0'}{local[at + 1 :]}@{domain}"
        assert BOUNCES.letter_of(forged) is None, forged


@pytest.mark.parametrize("name", FORMS)
def test_what_came_back_is_understood(name: str) -> None:
    form = FORMS[name]
    report = report_of(form.mail(ADDRESS))
    assert (report.fate, report.status, report.words) == (form.fate, form.status, form.words)


@pytest.mark.parametrize("name", FORMS)
def test_no_calendar_is_read_of_it(name: str) -> None:
    reading = read_report(FORMS[name].mail(ADDRESS))
    assert reading.fault is Reason.REPORT
    assert reading.messages == ()
    assert reading.sender.address == ""
    assert reading.report is not None


def changed(old: str, new: str) -> bytes:
    assert old in POSTFIX.text
    return Returned(POSTFIX.text.replace(old, new), Fate.FAILED, "", "").mail(ADDRESS)


@pytest.mark.parametrize(
    ("action", "status", "fate"),
    [
        ("FAILED", "5.1.1", Fate.FAILED),
        ("failed", "4.4.7", Fate.FAILED),  # it was tried for days
        ("delayed", "4.4.1", Fate.DELAYED),
        ("delayed", "5.0.0", Fate.DELAYED),
        ("relayed", "2.0.0", Fate.DELIVERED),
        ("expanded", "2.0.0", Fate.DELIVERED),
        ("unheard-of", "5.1.1", Fate.FAILED),
        ("unheard-of", "4.2.2", Fate.DELAYED),
    ],
)
def test_the_action_counts_and_then_the_status(action: str, status: str, fate: Fate) -> None:
    raw = changed("Action: failed\nStatus: 5.1.1", f"Action: {action}\nStatus: {status}")
    report = report_of(raw)
    assert (report.fate, report.status) == (fate, status)


def test_of_several_recipients_the_worst_is_told() -> None:
    other = (
        "Final-Recipient: rfc822; list@acme.example\nAction: delivered\nStatus: 2.0.0\n\nFinal-Recipient: rfc822; boss"
    )
    assert report_of(changed("Final-Recipient: rfc822; boss", other)).fate is Fate.FAILED


def test_a_report_inside_the_mail_that_came_back_is_not_this_ones() -> None:
    inner = POSTFIX.text.replace("4D1C2A.1772442000", "inner").replace("5.1.1", "5.9.9")
    raw = FORMS["Gmail, late"].text.replace(
        "--00000000000001--", f"--00000000000001\nContent-Type: message/rfc822\n\n{inner}\n--00000000000001--"
    )
    report = report_of(Returned(raw, Fate.DELAYED, "", "").mail(ADDRESS))
    assert (report.fate, report.status) == (Fate.DELAYED, "4.4.1")


def test_words_are_bounded_and_printable() -> None:
    raw = changed("550 5.1.1 <boss", "550 \x1b]0;owned\x07\u202e" + "x" * 5000 + " <boss")
    report = report_of(raw)
    assert report.words.startswith("550 ]0;owned")
    assert report.words.endswith("…")
    assert len(report.words) == MAX_WORDS
    assert report.line.isprintable()


@pytest.mark.parametrize(
    "raw",
    [
        b"From: a@b.example\r\n\r\n" + b"<" * 2_000_000,
        b"Content-Type: text/html\r\n\r\n" + b"<a" * 1_000_000,
        b"\r\n\r\n" + b"-" * 2_000_000,
        b"\r\n\r\n" + b"\r\n".join([b"@:"] * 300_000),
        b"\r\n\r\n" + b"5.1." * 500_000,
        b"Subject: " + b"not yet been " * 4000 + b"\r\n\r\n" + b"will keep " * 200_000,
        b"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/global-delivery-status\r\n\r\n"
        + b"Action: x\r\n\r\n" * 100_000,
        b"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        + b"Diagnostic-Code: "
        + b";" * 2_000_000
        + b"\r\nAction: failed\r\n",
    ],
)
def test_what_costs_is_refused_or_read_quickly(raw: bytes) -> None:
    began = process_time()
    with suppress(Unreadable):
        assert report_of(raw).line.isprintable()
    assert process_time() - began < 1


_SCRAPS = st.sampled_from(
    [line for form in FORMS.values() for line in form.text.split("\n")]
    + [
        "Content-Type: message/delivery-status",
        "Content-Type: message/rfc822",
        "Action: delayed",
        "Status: 9.9.9",
        "\0",
        "\x80",
    ]
)


@given(st.lists(_SCRAPS, max_size=60).map("\r\n".join))
def test_whatever_comes_back_is_one_printable_line(text: str) -> None:
    try:
        report = report_of(text.encode("utf-8"))
    except Unreadable:
        return
    assert report.line.isprintable()
    assert len(report.words) <= MAX_WORDS
