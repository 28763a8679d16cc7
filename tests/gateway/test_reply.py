"""The REPLY as Google, Outlook and Apple demand it: whole mails through the desk, read again by other parsers."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from icalendar import Calendar

from gateway import store
from gateway.decide import Desk
from gateway.intake import Incoming, Intake
from gateway.pals import Pal
from scheduler.database import connect
from tests.scenario import calendar_of

NOW = datetime(2026, 3, 1, 8, 0, 7, tzinfo=UTC)
ANNA = "anna@invite.example.com"
START = "DTSTART:20260303T140000Z"
LINK = "X-GOOGLE-CONFERENCE:https://meet.google.com/abc-defg-hij"
BERLIN = """BEGIN:VTIMEZONE
TZID:Customized Time Zone
X-LIC-LOCATION:Europe/Berlin
BEGIN:STANDARD
DTSTART:16010101T030000
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:16010101T020000
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3
END:DAYLIGHT
END:VTIMEZONE"""


def answer(
    *lines: str, head: str = "Message-ID: <one@acme.example>", name: str = "Anna", to: str = ANNA
) -> EmailMessage:
    """The one reply to an invitation with these lines, read by the standard parser."""
    pal = Pal("p1", name, ANNA, "face")
    engine = connect("sqlite://")
    store.create_throwaway(engine)
    with engine.begin() as connection:
        store.add_pal(connection, pal, NOW)
    block = tuple("\n".join(lines).split("\n"))
    raw = (
        f"From: alex@acme.example\r\nTo: {to}\r\n{head}\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/calendar; charset=UTF-8; method=REQUEST\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        + calendar_of("REQUEST", block, ANNA, NOW)
    )
    (played,) = Intake(engine, Desk()).take(Incoming("m1", raw.encode(), "", (to,)), NOW)
    (reply,) = played.decision.replies
    with engine.connect() as connection:
        sent = store.letter_by_key(connection, reply.key)
    assert b"\n" not in sent.replace(b"\r\n", b"")
    parsed = message_from_bytes(sent, policy=policy.default)
    assert not [defect for piece in parsed.walk() for defect in piece.defects]
    assert isinstance(parsed, EmailMessage)
    return parsed


def calendar_bytes(mail: EmailMessage) -> bytes:
    (piece,) = [piece for piece in mail.walk() if piece.get_content_type() == "text/calendar"]
    data = piece.get_payload(decode=True)
    assert isinstance(data, bytes)
    return data


def content_lines(mail: EmailMessage) -> list[str]:
    return calendar_bytes(mail).decode().replace("\r\n ", "").split("\r\n")[:-1]


def event_of(mail: EmailMessage) -> Any:
    (event,) = Calendar.from_ical(calendar_bytes(mail)).walk("VEVENT")
    return event


def test_the_shape_of_the_mail() -> None:
    mail = answer(START, "SUMMARY:Weekly")
    assert [piece.get_content_type() for piece in mail.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/calendar",
        "application/ics",
    ]
    calendar, attachment = list(mail.walk())[3:]
    assert calendar.get_param("method") == "REPLY"
    assert str(calendar.get_param("charset")).upper() == "UTF-8"
    assert calendar.get_content_disposition() is None
    assert attachment.get_content_disposition() == "attachment"
    assert attachment.get_filename() == "invite.ics"
    assert attachment.get_payload(decode=True) == calendar_bytes(mail)


def test_the_headers() -> None:
    mail = answer(START, "SUMMARY:Weekly")
    assert (mail["From"], mail["To"], mail["Subject"]) == (f"Anna <{ANNA}>", "alex@acme.example", "Accepted: Weekly")
    assert mail["Auto-Submitted"] == "auto-replied"
    assert mail["In-Reply-To"] == mail["References"] == "<one@acme.example>"
    assert mail["Message-ID"].endswith("@invite.example.com>")
    assert mail["Date"].datetime == NOW
    assert mail["MIME-Version"] == "1.0"


def test_the_headers_of_a_refusal() -> None:
    mail = answer(START, "NO-LINK")
    assert mail["Subject"] == "Declined: Weekly"
    assert event_of(mail)["COMMENT"].startswith("There is no Google Meet link in this event.")


def test_the_sentence_for_people() -> None:
    mail = answer(START)
    plain = mail.get_body(("plain",))
    assert plain is not None
    assert plain.get_content().rstrip("\r\n") == "“Weekly”: Anna will join at 13:59 UTC on Tuesday 3 March 2026."
    assert b"=0D" not in bytes(mail)


def test_the_calendar_object() -> None:
    mail = answer(START, "SEQUENCE:3", "SUMMARY:Weekly", "DTSTAMP:20260201T000000Z")
    calendar = Calendar.from_ical(calendar_bytes(mail))
    assert (calendar["METHOD"], calendar["VERSION"]) == ("REPLY", "2.0")
    event = event_of(mail)
    assert event["UID"] == "u1"
    assert event["SEQUENCE"] == 3
    assert event["DTSTAMP"].dt == NOW
    assert event["REQUEST-STATUS"] == "2.0;Success"
    assert content_lines(mail).count("METHOD:REPLY") == 1


ECHOED = {
    "UID": "UID:qwerty:oce__ÜÄ 100%\\,\\;",
    "ORGANIZER": "ORGANIZER;CN=\"Lee, Pat: 'Boss'\";EMAIL=pat@acme.example:MAILTO:2_GEYTS@IMIP.me.com",
    "SEQUENCE": "SEQUENCE:1407317367304",
    "RECURRENCE-ID": "RECURRENCE-ID;RANGE=THISANDFUTURE;TZID=Europe/Berlin:20260310T140000",
    "DTSTART": "DTSTART;TZID=Europe/Berlin;X-A=1:20260310T140000",
    "DTEND": "DTEND;TZID=America/New_York:20260310T100000",
    "SUMMARY": "SUMMARY;LANGUAGE=de:Größe\\, prüfen\\; weiter\\n" + "ü" * 90,
}


@pytest.mark.parametrize("name", ECHOED)
def test_echoed_as_received(name: str) -> None:
    mail = answer(*ECHOED.values())
    assert [line for line in content_lines(mail) if line.startswith(name)] == [ECHOED[name]]


def test_nothing_else_is_echoed() -> None:
    alarm = "BEGIN:VALARM\nACTION:EMAIL\nATTENDEE:mailto:anna@invite.example.com\nTRIGGER:-PT10M\nEND:VALARM"
    bob = "ATTENDEE;RSVP=TRUE;CN=Bob:mailto:bob@acme.example"
    own = f"ATTENDEE;RSVP=TRUE;X-NUM-GUESTS=0:mailto:{ANNA}"
    mail = answer(START, own, bob, "RRULE:FREQ=DAILY", "EXDATE:20260304T140000Z", "DESCRIPTION:secret", LINK, alarm)
    names = [line.replace(";", ":").split(":")[0] for line in content_lines(mail)]
    assert names == [
        *("BEGIN", "PRODID", "VERSION", "CALSCALE", "METHOD", "BEGIN", "UID", "ORGANIZER", "DTSTART", "DURATION"),
        *("SUMMARY", "ATTENDEE", "DTSTAMP", "REQUEST-STATUS", "END", "END"),
    ]
    assert b"RSVP" not in calendar_bytes(mail)


@pytest.mark.parametrize(
    ("invited", "sender"),
    [
        (f"mailto:{ANNA}", ANNA),
        ("MAILTO:Anna@Invite.Example.COM", ANNA),
        ("mailto:anna%40invite.example.com", ANNA),
        ("mailto:anna+Q1@invite.example.com", "anna+q1@invite.example.com"),
        ("mailto:anna+ü@invite.example.com", ANNA),
    ],
)
def test_exactly_one_attendee_as_invited(invited: str, sender: str) -> None:
    mail = answer(START, f"ATTENDEE;CN=Ann:{invited}", "ATTENDEE:mailto:anna+2@invite.example.com")
    attendee = event_of(mail)["ATTENDEE"]
    assert not isinstance(attendee, list)
    assert str(attendee) == invited
    assert attendee.params["PARTSTAT"] == "ACCEPTED"
    assert mail["From"].addresses[0].addr_spec == sender


def test_forwarded_the_attendee_is_the_pal() -> None:
    assert str(event_of(answer(START, "ATTENDEE:mailto:team@acme.example"))["ATTENDEE"]) == f"mailto:{ANNA}"


def test_doubled_properties_come_back_once() -> None:
    mail = answer(START, "DTSTART:20260304T140000Z", "SEQUENCE:2", "SEQUENCE:7", "SUMMARY:One", "SUMMARY:Two", "UID:u1")
    lines = content_lines(mail)
    assert [line for line in lines if line.startswith(("SEQ", "SUM", "DTSTART"))] == [
        "SEQUENCE:7",
        START,
        "SUMMARY:One",
    ]


def test_form_of_the_lines() -> None:
    data = calendar_bytes(answer(START, "SUMMARY:" + "Größe 🚀 " * 30, f"ATTENDEE;CN={'ä' * 80}:mailto:{ANNA}"))
    assert data.endswith(b"END:VCALENDAR\r\n")
    lines = data.split(b"\r\n")[:-1]
    assert all(len(line) <= 75 for line in lines)
    assert not any(b"\n" in line or b"\r" in line for line in lines)
    for line in lines:
        line.decode()  # folded between characters


def test_no_control_character_of_a_title_goes_back() -> None:
    data = calendar_bytes(answer(START, "SUMMARY:a\x07b\u2028c\u202ed"))
    assert b"SUMMARY:a b c d\r\n" in data


def test_the_zones_of_echoed_dates_come_along() -> None:
    mail = answer(BERLIN, "DTSTART;TZID=Customized Time Zone:20260403T140000")
    data = calendar_bytes(mail)
    assert data.count(b"BEGIN:VTIMEZONE") == 1
    assert [line for line in content_lines(mail) if line in BERLIN.splitlines()] == BERLIN.splitlines()
    assert event_of(mail)["DTSTART"].dt.utcoffset().total_seconds() == 7200


def test_zones_of_no_echoed_date_stay_behind() -> None:
    assert b"VTIMEZONE" not in calendar_bytes(answer(BERLIN, START))


def header_names(mail: EmailMessage) -> list[str]:
    return [name.lower() for name, _ in message_from_bytes(bytes(mail), policy=policy.default).items()]


KNOWN = ["content-type", "mime-version", "from", "to", "subject", "date", "message-id", "auto-submitted"]
THREAD = ["in-reply-to", "references"]


@pytest.mark.parametrize(
    "summary",
    [
        "x\\r\\nBcc: eve@evil.example",
        "x\\nBcc: eve@evil.example\\n\\n<script>",
        "=?utf-8?q?x=0D=0ABcc:_eve@evil.example?=",
        "=?utf-8?q?x?=\t=?utf-8?b?DQpCY2M6IGV2ZUBldmlsLmV4YW1wbGU=?=",
        "\u202eelpmaxe\u2066 \u2028Bcc: eve@evil.example",
        "a\x0bb\x0cc\x1cd\x85Bcc: eve@evil.example",
        "--===============",
        "a" * 5000,
        "日本語" * 500,
        "",
    ],
)
def test_a_title_adds_no_header(summary: str) -> None:
    mail = answer(START, f"SUMMARY:{summary}")
    assert sorted(header_names(mail)) == sorted(KNOWN + THREAD)
    subject = str(mail["Subject"])
    assert subject.startswith("Accepted:")
    assert len(subject) <= len("Accepted: ") + 201
    assert not any(ord(char) < 32 or char in "\u202e\u2066\u2028\x85" for char in subject)
    assert [piece.get_content_type() for piece in mail.walk()].count("text/plain") == 1


@pytest.mark.parametrize(
    "name", ['Anna" <eve@evil.example>, "', "An\r\nBcc: eve@evil.example", "=?utf-8?q?=0ABcc?=", "Änna, PAL"]
)
def test_a_name_adds_nothing(name: str) -> None:
    mail = answer(START, name=name)
    assert sorted(header_names(mail)) == sorted(KNOWN + THREAD)
    assert [address.addr_spec for address in mail["From"].addresses] == [ANNA]
    assert str(event_of(mail)["ATTENDEE"]) == f"mailto:{ANNA}"


@pytest.mark.parametrize(
    "organizer",
    [
        "mailto:alex@acme.example%0D%0ABcc:eve@evil.example",
        "mailto:alex@acme.example,eve@evil.example",
        "mailto:alex@acme.example>,<eve@evil.example",
        'mailto:"eve@evil.example"@acme.example',
        "mailto:alex@acme.example;eve",
        "mailto:alex@",
        "urn:uuid:1",
    ],
)
def test_an_organizer_that_is_no_address_gets_nothing(organizer: str) -> None:
    with pytest.raises(ValueError, match="not enough values"):
        answer(START, f"ORGANIZER:{organizer}")


@pytest.mark.parametrize("tag", ["anna+x>,<eve", "anna+x,eve", 'anna+"x', "anna+%0D%0ABcc:eve"])
def test_a_tag_that_is_none_is_not_our_address(tag: str) -> None:
    mail = answer(START, f"ATTENDEE:mailto:{tag}@invite.example.com")
    assert [address.addr_spec for address in mail["From"].addresses] == [ANNA]
    assert sorted(header_names(mail)) == sorted(KNOWN + THREAD)


@pytest.mark.parametrize(
    "message_id",
    [
        "Message-ID: <a@b>\r\n Bcc: eve@evil.example",
        "Message-ID: <a@b> <c@d>",
        "Message-ID: =?utf-8?q?=3Ca=40b=3E=0ABcc:_eve?=",
        "Message-ID: <=?utf-8?q?=0ABcc:_eve?=@b>",
        "Message-ID: <ä@b>",
        "Message-ID: none",
        "Message-ID:",
        "X-A: b",
    ],
)
def test_what_is_no_message_id_is_not_referred_to(message_id: str) -> None:
    assert sorted(header_names(answer(START, head=message_id))) == sorted(KNOWN)


def test_a_line_of_ours_is_one_line() -> None:
    mail = answer(START, "NO-LINK", name="Anna\nATTENDEE:mailto:eve@evil.example")
    assert len([line for line in content_lines(mail) if line.startswith("ATTENDEE")]) == 1
