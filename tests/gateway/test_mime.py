"""What gateway.mime finds in the forms in which invitations come, from whole mails to the bytes of their parts."""

from __future__ import annotations

import gzip
import time
from base64 import encodebytes
from quopri import encodestring

import pytest

from gateway.ics import Message, Unreadable, read
from gateway.mime import MAX_DEPTH, MAX_HEADER_BYTES, MAX_PARTS, MailFacts, parse, recipients_of
from gateway.reading import read_mail
from gateway.verdict import Reason

pytestmark = pytest.mark.usefixtures("without_collections")

CALENDAR = """BEGIN:VCALENDAR\r
VERSION:2.0\r
METHOD:REQUEST\r
BEGIN:VEVENT\r
UID:u1\r
DTSTAMP:20260301T080000Z\r
DTSTART:20260303T140000Z\r
ORGANIZER:mailto:alex@acme.example\r
SUMMARY:Größe prüfen\r
END:VEVENT\r
END:VCALENDAR\r
"""
ICS = CALENDAR.encode()
REQUEST = 'text/calendar; charset="UTF-8"; method=REQUEST'
Piece = tuple[str, bytes]


def part(content_type: str, data: bytes = ICS, encoding: str = "8bit", **headers: str) -> Piece:
    coded = {"base64": encodebytes, "quoted-printable": encodestring}.get(encoding, bytes)(data)
    more = "".join(f"\r\n{name.replace('_', '-')}: {value}" for name, value in headers.items())
    return f"Content-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}{more}", coded


def box(kind: str, *pieces: Piece, boundary: str = "b") -> Piece:
    body = b"".join(f"--{boundary}\r\n{head}\r\n\r\n".encode() + data + b"\r\n" for head, data in pieces)
    quoted = kind if ";" in kind else f"{kind}; "
    return f'Content-Type: {quoted}boundary="{boundary}"', body + f"--{boundary}--\r\n".encode()


def mail(piece: Piece, head: str = "") -> bytes:
    known = "From: Alex <Alex@Acme.example>\r\nTo: anna@invite.example.com\r\nMessage-ID: <1@acme.example>\r\n"
    return f"{known}{head}MIME-Version: 1.0\r\n{piece[0]}\r\n\r\n".encode() + piece[1]


PLAIN = part("text/plain; charset=utf-8", b"You are invited")
HTML = part("text/html; charset=utf-8", b"<p>You are invited</p>")
LATIN = CALENDAR.encode("latin-1")
SPLIT = ICS.replace("ü".encode(), b"\xc3\r\n \xbc")
COPY = part(
    'application/ics; name="invite.ics"', encoding="base64", Content_Disposition="attachment; filename=invite.ics"
)

FORMS = {
    "Google: alternative, and the same object as application/ics": box(
        "multipart/mixed",
        box("multipart/alternative", PLAIN, HTML, part(REQUEST, encoding="base64"), boundary="a"),
        COPY,
    ),
    "Google, quoted-printable with soft breaks": box(
        "multipart/alternative", PLAIN, part(REQUEST, encoding="quoted-printable")
    ),
    "Exchange: alternative only, base64": box("multipart/alternative", PLAIN, part(REQUEST, encoding="base64")),
    "iCloud: the calendar part has an attachment's disposition": box(
        "multipart/alternative", PLAIN, part(REQUEST, Content_Disposition="attachment; filename=iCal-1.ics")
    ),
    "a single part": part(REQUEST),
    "text/x-vcalendar": part("text/x-vcalendar"),
    "only application/ics, without a name": box("multipart/mixed", PLAIN, part("application/ics")),
    "only application/octet-stream with a file name": box(
        "multipart/mixed",
        PLAIN,
        part("application/octet-stream", Content_Disposition='attachment; filename="INVITE.ICS"'),
    ),
    "only application/octet-stream with a name": box(
        "multipart/mixed", PLAIN, part('application/octet-stream; name="invite.ics"', encoding="base64")
    ),
    "a file name as an encoded word": box(
        "multipart/mixed", PLAIN, part('application/octet-stream; name="=?UTF-8?B?aW52aXRlLmljcw==?="')
    ),
    "a file name by RFC 2231": box(
        "multipart/mixed",
        part("application/octet-stream", Content_Disposition="attachment; filename*=utf-8''%C3%BC.ics"),
    ),
    "no method parameter": part("text/calendar; charset=utf-8"),
    "no METHOD in the object, but in the MIME header": part(REQUEST, ICS.replace(b"METHOD:REQUEST\r\n", b"")),
    "another method parameter than METHOD": part("text/calendar; charset=utf-8; method=PUBLISH"),
    "the method parameter by RFC 2231": part("text/calendar; charset=utf-8; method*=us-ascii''REQUEST"),
    "forwarded as message/rfc822": box("multipart/mixed", PLAIN, ("Content-Type: message/rfc822", mail(part(REQUEST)))),
    "signed": box(
        "multipart/signed; protocol=x; ",
        box("multipart/mixed", part(REQUEST), boundary="s"),
        part("application/x", b"-"),
    ),
    "the same part twice": box("multipart/mixed", part(REQUEST), part(REQUEST)),
    "a copy with other line ends and folds": box(
        "multipart/mixed", part(REQUEST), part(REQUEST, ICS.replace(b"\r\n", b"\n").replace(b"SUMM", b"SU\n MM"))
    ),
    "alternatives: the first with a METHOD": box(
        "multipart/alternative",
        part("text/calendar", ICS.replace(b"METHOD:REQUEST\r\n", b"").replace(b"u1", b"u0")),
        part(REQUEST),
        part(REQUEST, ICS.replace(b"u1", b"u2")),
    ),
    "a part with a METHOD beside one without": box(
        "multipart/mixed", part("text/calendar", b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"), part(REQUEST)
    ),
    "no charset": part("text/calendar; method=REQUEST"),
    "us-ascii, which it is not": part("text/calendar; charset=us-ascii; method=REQUEST"),
    "an unknown charset": part("text/calendar; charset=x-unheard-of; method=REQUEST"),
    "a charset that is none": part("text/calendar; charset=hex; method=REQUEST"),
    "Latin-1": part("text/calendar; charset=iso-8859-1; method=REQUEST", LATIN),
    "Latin-1 that is called UTF-8": part(REQUEST, LATIN),
    "Latin-1 that is called UTF-8, base64": part(REQUEST, LATIN, "base64"),
    "a BOM": part(REQUEST, b"\xef\xbb\xbf" + ICS),
    "a BOM, base64": part(REQUEST, b"\xef\xbb\xbf" + ICS, "base64"),
    "UTF-16 with a BOM": part("text/calendar; charset=utf-16; method=REQUEST", CALENDAR.encode("utf-16"), "base64"),
    "UTF-16 with a BOM, called UTF-8": part(REQUEST, CALENDAR.encode("utf-16"), "base64"),
    "UTF-16 without a BOM": part("text/calendar; charset=utf-16le", CALENDAR.encode("utf-16-le"), "base64"),
    "UTF-16 with folds": part(REQUEST, CALENDAR.replace("SUMM", "SU\r\n MM").encode("utf-16"), "base64"),
    "folded inside a character": part(REQUEST, SPLIT),
    "folded inside a character, base64": part(REQUEST, SPLIT, "base64"),
    "folded inside a character, quoted-printable": part(REQUEST, SPLIT, "quoted-printable"),
    "folded with a tab, inside a name": part(
        REQUEST, ICS.replace(b"SUMM", b"SU\r\n\tMM").replace(b"METH", b"ME\r\n TH")
    ),
    "LF only": part(REQUEST, ICS.replace(b"\r\n", b"\n")),
    "LF only, base64": part(REQUEST, ICS.replace(b"\r\n", b"\n"), "base64"),
    "CR only, base64": part(REQUEST, ICS.replace(b"\r\n", b"\r"), "base64"),
    "blank lines": part(REQUEST, b"\r\n" + ICS.replace(b"\r\nUID", b"\r\n\r\n  \r\nUID")),
}


def messages(facts: MailFacts) -> list[Message]:
    return [message for one in facts.calendars for message in read(one.data)]


@pytest.mark.parametrize("form", FORMS)
def test_one_invitation_is_found(form: str) -> None:
    facts = parse(mail(FORMS[form]))
    (message,) = messages(facts)
    assert message.uid == "u1"
    assert (message.method or facts.calendars[0].method) == "REQUEST"
    assert message.events[0].text("SUMMARY") == "Größe prüfen"
    assert (facts.from_address, recipients_of(mail(FORMS[form]))) == ("alex@acme.example", ("anna@invite.example.com",))
    assert not facts.is_report
    assert not facts.has_tnef


def test_a_mail_with_lf_only() -> None:
    (message,) = messages(parse(mail(FORMS["Exchange: alternative only, base64"]).replace(b"\r\n", b"\n")))
    assert message.uid == "u1"


@pytest.mark.parametrize("name", ["PUBLISH", "publish"])
def test_the_mime_header_is_kept_beside_the_object(name: str) -> None:
    (found,) = parse(mail(part(f"text/calendar; method={name}"))).calendars
    assert (found.method, read(found.data)[0].method) == ("PUBLISH", "REQUEST")


def test_no_method_at_all() -> None:
    (found,) = parse(mail(part("text/calendar", ICS.replace(b"METHOD:REQUEST\r\n", b"")))).calendars
    assert (found.method, read(found.data)[0].method) == ("", None)


def test_two_methods_in_one_object_are_refused() -> None:
    (found,) = parse(mail(part(REQUEST, ICS.replace(b"VERSION:2.0", b"METHOD:CANCEL")))).calendars
    with pytest.raises(Unreadable, match="METHOD stands more than once"):
        read(found.data)


def test_two_vcalendars_in_one_part() -> None:
    facts = parse(mail(part(REQUEST, ICS + ICS.replace(b"u1", b"u2"))))
    assert [message.uid for message in messages(facts)] == ["u1", "u2"]


def test_parts_with_different_methods_come_in_order() -> None:
    other = ICS.replace(b"METHOD:REQUEST", b"METHOD:CANCEL").replace(b"u1", b"u2")
    facts = parse(mail(box("multipart/mixed", part("text/calendar; method=CANCEL", other), part(REQUEST))))
    assert [(message.method, message.uid) for message in messages(facts)] == [("CANCEL", "u2"), ("REQUEST", "u1")]


@pytest.mark.parametrize("end", [40, len(ICS) // 2, len(ICS) - 20])
def test_a_truncated_part_is_refused(end: int) -> None:
    (found,) = parse(mail(part(REQUEST, ICS[:end]))).calendars
    with pytest.raises(Unreadable, match=r"cut off|not NAME:VALUE|without its BEGIN"):
        read(found.data)


def test_broken_base64_is_no_crash() -> None:
    facts = parse(mail((f"Content-Type: {REQUEST}\r\nContent-Transfer-Encoding: base64", b"QkVHSU4!!!\xff\x00=A")))
    with pytest.raises(Unreadable):
        messages(facts)


@pytest.mark.parametrize(
    "piece",
    [
        part("application/ms-tnef", b"\x78\x9f\x3e\x22"),
        part("application/vnd.ms-tnef; name=winmail.dat", b"\x78\x9f\x3e\x22"),
        part("application/octet-stream", b"\x78\x9f\x3e\x22", Content_Disposition="attachment; filename=WINMAIL.DAT"),
    ],
)
def test_winmail_dat(piece: Piece) -> None:
    facts = parse(mail(box("multipart/mixed", PLAIN, piece)))
    assert facts.has_tnef
    assert not facts.calendars


def test_a_bounce_is_a_report_whatever_it_carries() -> None:
    returned = ("Content-Type: message/rfc822", mail(part(REQUEST)))
    status = part("message/delivery-status", b"Reporting-MTA: dns; mx\r\n\r\nAction: failed\r\n")
    assert parse(mail(box("multipart/report; report-type=delivery-status; ", PLAIN, status, returned))).is_report


@pytest.mark.parametrize(
    ("value", "is_report"),
    [("auto-generated", False), ("no", False), ("auto-replied", True), ("Auto-Replied; x=1", True)],
)
def test_auto_submitted(value: str, is_report: bool) -> None:
    assert parse(mail(part(REQUEST), f"Auto-Submitted: {value}\r\n")).is_report is is_report


@pytest.mark.parametrize("piece", [PLAIN, part("application/octet-stream"), part("application/pdf; name=x.ics"), HTML])
def test_no_calendar(piece: Piece) -> None:
    assert not parse(mail(box("multipart/mixed", piece))).calendars


def test_the_text_of_the_mail() -> None:
    piece = box(
        "multipart/alternative", part("text/plain; charset=iso-8859-1", "Grüße".encode("latin-1")), part(REQUEST)
    )
    assert parse(mail(piece)).body == "Grüße"


@pytest.mark.parametrize(
    ("raw", "subject"),
    [
        ("=?utf-8?q?Gr=C3=B6=C3=9Fe?=", "Größe"),
        ("=?utf-8?B?R3LDtsOfZQ==?= =?utf-8?q?_2?=", "Größe 2"),
        ("=?x-unheard-of?q?a?=", "=?x-unheard-of?q?a?="),
        ("plain", "plain"),
    ],
)
def test_subjects(raw: str, subject: str) -> None:
    assert parse(mail(PLAIN, f"Subject: {raw}\r\n")).subject == subject


def test_two_authors_are_nobody() -> None:
    assert parse(mail(PLAIN).replace(b"From: ", b"From: eve@evil.example, ")).from_address == ""


def test_a_part_in_punycode_is_not_decoded() -> None:
    hostile = b"BEGIN:VCALENDAR\r\n" + b"a" * 4_000_000
    (found,) = parse(mail(part("text/calendar; charset=punycode; method=REQUEST", hostile))).calendars
    assert found.data == hostile


def test_a_large_header_is_refused() -> None:
    parse(mail(PLAIN, "X-A: " + "a" * (MAX_HEADER_BYTES - 500) + "\r\n"))
    with pytest.raises(Unreadable, match="header is larger"):
        parse(mail(PLAIN, "X-A: " + "a" * MAX_HEADER_BYTES + "\r\n"))
    with pytest.raises(Unreadable, match="header is larger"):
        parse(b"X-A: " + b"a" * MAX_HEADER_BYTES)


def test_many_parts_are_refused() -> None:
    parse(mail(box("multipart/mixed", *[PLAIN] * (MAX_PARTS - 1))))
    with pytest.raises(Unreadable, match=f"more than {MAX_PARTS} parts"):
        parse(mail(box("multipart/mixed", *[PLAIN] * MAX_PARTS)))


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 400, 3000])
def test_deep_parts_are_refused(depth: int) -> None:
    piece = PLAIN
    opened = "".join(f'Content-Type: multipart/mixed; boundary="{n}"\r\n\r\n--{n}\r\n' for n in range(depth))
    with pytest.raises(Unreadable, match="nested more than"):
        parse(mail((opened + piece[0], piece[1])))


def test_compressed_bytes_are_no_calendar() -> None:
    facts = parse(mail(part('application/octet-stream; name="invite.ics"', gzip.compress(ICS), "base64")))
    with pytest.raises(Unreadable):
        messages(facts)


LONG = b"; a=b" * 1000
OVER = {
    "a field of the head": (mail(part("text/calendar" + LONG.decode(), ICS)), "Content- field"),
    "a field of a part": (mail(box("multipart/mixed", part("text/calendar" + LONG.decode()))), "Content- field"),
    "a folded field": (mail(part("text/calendar" + LONG.decode().replace("; ", ";\r\n "), ICS)), "Content- field"),
    "a million empty parts": (mail(box("multipart/mixed", PLAIN)) + b"--b\r\n\r\n" * 1_000_000, "parts"),
    "calendar parts that are small each": (
        mail(box("multipart/mixed", *(part(REQUEST, ICS + b"X:%d\r\n" % n * 8000) for n in range(20)))),
        "calendar parts are larger",
    ),
    "many events": (
        mail(box("multipart/mixed", *(part(REQUEST, ICS.replace(b"UID:u1", b"UID:n%d" % n)) for n in range(30)))),
        "more than 20 events",
    ),
}


@pytest.mark.parametrize("name", OVER)
def test_what_is_over_a_limit_is_refused_before_it_costs(name: str) -> None:
    raw, fault = OVER[name]
    begun = time.process_time()
    found = read_mail(raw)
    assert found.fault is Reason.UNREADABLE
    assert fault in found.detail
    assert time.process_time() - begun < 1.5


def test_nested_comments_name_nobody() -> None:
    raw = mail(part(REQUEST))
    start = raw.index(b"From:")
    nested = raw[:start] + b"From: " + b"(" * 50_000 + raw[raw.index(b"\r\n", start) :]
    begun = time.process_time()
    assert read_mail(nested).sender.address == ""
    assert time.process_time() - begun < 1.5


@pytest.mark.parametrize("charset", ["idna", "punycode", "undefined", "hex", "x-unheard-of"])
@pytest.mark.parametrize("name", ["method", "name", "charset"])
def test_a_parameter_in_a_charset_that_is_none(charset: str, name: str) -> None:
    raw = mail(part(f"text/calendar; method=REQUEST; {name}*={charset}''%C3%BC"))
    assert read_mail(raw).messages
