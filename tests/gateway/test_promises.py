"""An acceptance is a promise: who is told when a PAL goes, of what, and in which words of the organizer's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

import scheduler.store
from gateway import store
from gateway.decide import Case, Desk
from gateway.ics import Block, Property, read
from gateway.intake import Incoming, Intake, fresh_id
from gateway.pals import Pal
from gateway.promises import Heard, owed, promise_of, regret, sources
from gateway.regrets import release
from gateway.reply import block_of_date
from gateway.senders import Sender
from gateway.verdict import Reason
from scheduler.database import connect
from scheduler.event import Event
from scheduler.joins import LIVE, Policy
from scheduler.occurrences import expand
from tests.scenario import calendar_of

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
HOLD = timedelta(seconds=5)
ANNA = Pal("p1", "Anna", "anna@invite.example.com", "face")
ALEX = "alex@acme.example"
MEETING = ("DTSTART:20260303T140000Z",)
BERLIN = "DTSTART;TZID=Europe/Berlin:20260303T150000"
SERIES = (BERLIN, "RRULE:FREQ=WEEKLY;COUNT=4")
DATE = "RECURRENCE-ID;TZID=Europe/Berlin:20260310T150000"
MOVED = (DATE, "DTSTART;TZID=Europe/Berlin:20260311T150000")
ZOOM = "LOCATION:https://us02web.zoom.us/j/88395547586"
CANCELLED = ("SEQUENCE:1", "STATUS:CANCELLED")


class Front:
    """A desk on a clock that is moved by hand, with the PAL Anna."""

    def __init__(self) -> None:
        self.engine = connect("sqlite://")
        store.create_throwaway(self.engine)
        self.pal = ANNA
        with self.engine.begin() as connection:
            store.add_pal(connection, ANNA, START)
        self.desk = Desk()
        self.now = START

    def after(self, **span: float) -> Front:
        self.now += timedelta(**span)
        return self

    def mail(
        self,
        *lines: str,
        method: str = "REQUEST",
        sender: str = ALEX,
        to: str = "",
        head: str = "",
        checked: Sender | None = None,
    ) -> None:
        calendar = calendar_of(method, lines, to or self.pal.address, self.now)
        raw = f"From: {sender}\r\n{head}Content-Type: text/calendar; charset=utf-8; method={method}\r\n\r\n{calendar}"
        mail = Incoming(fresh_id("m"), raw.encode(), "", (to or self.pal.address,), sender=checked)
        Intake(self.engine, self.desk, HOLD).take(mail, self.now)

    def file(self, *lines: str, method: str = "") -> None:
        text = calendar_of(method or None, lines, self.pal.address, self.now)
        Intake(self.engine, self.desk, HOLD).take_file(text.encode(), [self.pal], self.now)

    def rename(self, username: str) -> None:
        self.change(replace(self.pal, address=f"{username}@invite.example.com"))

    def allow(self, entry: str) -> None:
        self.change(replace(self.pal, allowlist=(entry,)))

    def change(self, pal: Pal) -> None:
        self.pal = pal
        with self.engine.begin() as connection:
            store.save_pal(connection, pal, {})

    def sent(self) -> list[EmailMessage]:
        """What goes out at this instant, in the order in which it was written."""
        mails = []
        with self.engine.begin() as connection:
            for letter in store.claim_letters(connection, self.now, "us", timedelta(seconds=120), 100):
                store.settle_letter(connection, letter, state="sent")
                mail = message_from_bytes(letter.raw, policy=policy.default)
                assert isinstance(mail, EmailMessage)
                mails.append(mail)
        return mails

    def release(self) -> list[str]:
        """Anna goes, at this instant: what is said at once, as `said` has it."""
        with self.engine.begin() as connection:
            release(connection, self.pal, self.now, Policy())
        return sorted(map(said, self.sent()))

    def planned(self) -> list[str]:
        with self.engine.connect() as connection:
            joins = scheduler.store.find_joins(connection)
        return [f"{join.starts:%d %H:%M}" for join in joins if join.state in LIVE]

    def event(self, uid: str = "u1") -> Event:
        with self.engine.connect() as connection:
            event = scheduler.store.load_event(connection, self.pal.id, uid)
        assert event is not None
        return event


@pytest.fixture
def front() -> Iterator[Front]:
    made = Front()
    yield made
    made.engine.dispose()


def lines_of(mail: EmailMessage) -> list[str]:
    """The content lines of the REPLY, unfolded."""
    (part,) = [part for part in mail.walk() if part.get_content_type() == "text/calendar"]
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode().replace("\r\n ", "").split("\r\n")


def line(mail: EmailMessage, name: str) -> str | None:
    found = [one for one in lines_of(mail) if one.replace(";", ":").split(":")[0] == name]
    assert len(found) <= 1
    return found[0] if found else None


def said(mail: EmailMessage) -> str:
    """The answer in one line: `DECLINED u1 to alex@acme.example`, and the date if it is for one."""
    assert "METHOD:REPLY" in lines_of(mail)
    partstat = (line(mail, "ATTENDEE") or "").partition("PARTSTAT=")[2].partition(";")[0]
    date = line(mail, "RECURRENCE-ID")
    uid = (line(mail, "UID") or "").removeprefix("UID:")
    return f"{partstat} {uid} to {mail['To']}" + (f" {date.rpartition(':')[2]}" if date else "")


SAID = f"DECLINED u1 to {ALEX}"

# What came, five minutes apart; what is said when the PAL goes an hour later.
STORIES: dict[str, tuple[list[tuple[str, ...]], list[str]]] = {
    "one meeting": ([MEETING], [SAID]),
    "a series": ([SERIES], [SAID]),
    "an endless series": ([(BERLIN, "RRULE:FREQ=DAILY")], [SAID]),
    "dates of its own alone": ([MOVED], [f"{SAID} 20260310T150000"]),
    "a date that came along with its series": ([(*SERIES, "--", *MOVED)], [SAID]),
    "a date answered by itself": ([SERIES, MOVED], [SAID, f"{SAID} 20260310T150000"]),
    "a date that was declined": ([SERIES, (*MOVED, ZOOM)], [SAID]),
    "a declined series with one date": ([(*SERIES, ZOOM), MOVED], [f"{SAID} 20260310T150000"]),
    "declined": ([(*MEETING, ZOOM)], []),
    "over": ([("DTSTART:20260228T140000Z",)], []),
    "a series that is over": ([("DTSTART:20260201T140000Z", "RRULE:FREQ=DAILY;COUNT=3")], []),
    "running": ([("DTSTART:20260301T083000Z", "DURATION:PT4H")], [SAID]),
    "running without an end": ([("DTSTART:20260301T083000Z", "NO-END")], [SAID]),
    "accepted, over an hour later": ([("DTSTART:20260301T083000Z", "DURATION:PT10M")], []),
    "the PAL taken out": ([MEETING, (*MEETING, "SEQUENCE:1", "ATTENDEE:mailto:bob@acme.example")], []),
    "STATUS:CANCELLED": ([MEETING, (*MEETING, *CANCELLED)], []),
    "this and following": (
        [SERIES, (DATE.replace(";", ";RANGE=THISANDFUTURE;", 1), "DTSTART;TZID=Europe/Berlin:20260310T160000")],
        [SAID, f"{SAID} 20260310T150000"],
    ),
    "this and following, of a Zoom series": (
        [(*SERIES, ZOOM), (DATE.replace(";", ";RANGE=THISANDFUTURE;", 1), "DTSTART:20260310T140000Z")],
        [f"{SAID} 20260310T150000"],
    ),
    "all that is left of a series was answered date by date": (
        [(BERLIN, "RRULE:FREQ=WEEKLY;COUNT=2", "EXDATE;TZID=Europe/Berlin:20260303T150000"), MOVED],
        # DTSTART is excluded, the other date has an answer of its own.
        [f"{SAID} 20260310T150000"],
    ),
    "the series is over, its last date runs": (
        [
            ("DTSTART:20260228T083000Z", "RRULE:FREQ=DAILY;COUNT=2", "DURATION:PT30M"),
            ("RECURRENCE-ID:20260301T083000Z", "DTSTART:20260301T084500Z", "DURATION:PT4H"),
        ],
        [f"{SAID} 20260301T083000Z"],
    ),
    "an edit of details": ([MEETING, (*MEETING, "SUMMARY:Other")], [SAID]),
    "two events": ([MEETING, (*MEETING, "UID:u2")], [SAID, f"DECLINED u2 to {ALEX}"]),
    "an all-day event": ([("DTSTART;VALUE=DATE:20260303", "DURATION:P1D")], []),
    "today of an all-day series": (
        [("DTSTART;VALUE=DATE:20260301", "DURATION:P1D", "RRULE:FREQ=DAILY;COUNT=5")],
        [f"{SAID} 20260301"],
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_who_is_told_and_of_what(front: Front, story: str) -> None:
    mails, wanted = STORIES[story]
    for lines in mails:
        front.mail(*lines)
        front.after(minutes=5).sent()
    assert front.after(hours=1).release() == sorted(wanted)
    # Once, and for good.
    assert front.after(hours=1).release() == []
    assert front.planned() == []


def test_a_cancelled_series_and_a_cancelled_date_are_not_spoken_of(front: Front) -> None:
    front.mail(*SERIES)
    front.after(minutes=1).mail(*MOVED)
    front.after(minutes=1).mail(*MOVED, *CANCELLED, method="CANCEL")
    front.mail(*MEETING, "UID:u2")
    front.after(minutes=1).mail(*MEETING, "UID:u2", *CANCELLED, method="CANCEL")
    front.after(minutes=1).sent()
    assert front.release() == [SAID]


def test_what_is_said(front: Front) -> None:
    front.mail(*MEETING, "SUMMARY:Größe\\, Rest", head="Message-ID: <one@acme.example>\r\n")
    front.after(minutes=1).sent()
    with front.engine.begin() as connection:
        assert release(connection, ANNA, front.now, Policy()) == 1
    (mail,) = front.sent()
    assert (mail["Subject"], mail["In-Reply-To"]) == ("Declined: Größe, Rest", "<one@acme.example>")
    plain = mail.get_body(("plain",))
    assert plain is not None
    sentence = "Anna is not available any more and will not join."
    assert plain.get_content().strip() == f"“Größe, Rest”: {sentence}"
    assert line(mail, "COMMENT") == f"COMMENT:{sentence}"
    assert line(mail, "DTSTAMP") == f"DTSTAMP:{front.now:%Y%m%dT%H%M%SZ}"


ECHOED = {
    "UID": "UID:u1",
    "ORGANIZER": "ORGANIZER;CN=\"Lee, Pat: 'Boss'\";EMAIL=pat@acme.example:MAILTO:2_GEYTS@IMIP.me.com",
    "SEQUENCE": "SEQUENCE:1407317367304",
    "RECURRENCE-ID": "RECURRENCE-ID;X-B=2;TZID=Europe/Berlin:20260310T140000",
    "DTSTART": "DTSTART;TZID=Europe/Berlin;X-A=1:20260310T150000",
    "DTEND": "DTEND;TZID=America/New_York:20260310T110000",
    "SUMMARY": "SUMMARY;LANGUAGE=de:Größe\\, prüfen\\; weiter\\n" + "ü" * 90,
}


@pytest.mark.parametrize("name", ECHOED)
@pytest.mark.parametrize("as_file", [False, True])
def test_echoed_byte_for_byte(front: Front, name: str, as_file: bool) -> None:
    if as_file:
        front.file(*ECHOED.values())
    else:
        front.mail(*ECHOED.values())
    front.after(minutes=1).sent()
    with front.engine.begin() as connection:
        release(connection, ANNA, front.now, Policy())
    (mail,) = front.sent()
    assert line(mail, name) == ECHOED[name]
    assert mail["To"] == "2_GEYTS@IMIP.me.com"


def test_a_date_of_a_shift_keeps_its_range(front: Front) -> None:
    named = DATE.replace(";", ";RANGE=THISANDFUTURE;", 1)
    front.mail(*SERIES)
    front.after(minutes=1).mail(named, "DTSTART;TZID=Europe/Berlin:20260310T160000")
    front.after(minutes=1).sent()
    with front.engine.begin() as connection:
        release(connection, ANNA, front.now, Policy())
    assert named in [line(mail, "RECURRENCE-ID") for mail in front.sent()]


def test_the_attendee_is_the_one_that_was_invited(front: Front) -> None:
    own = "ATTENDEE;CN=Ann;RSVP=TRUE:MAILTO:Anna+Team@Invite.Example.COM"
    front.mail(*MEETING, own, "ATTENDEE:mailto:anna@invite.example.com", to="anna+team@invite.example.com")
    (accepted,) = front.after(minutes=1).sent()
    front.rename("ada")
    with front.engine.begin() as connection:
        release(connection, front.pal, front.now, Policy())
    (mail,) = front.sent()
    assert (line(mail, "ATTENDEE") or "").endswith(":MAILTO:Anna+Team@Invite.Example.COM")
    assert mail["From"].addresses[0].addr_spec == accepted["From"].addresses[0].addr_spec


def test_a_forwarded_invitation_is_declined_as_it_was_accepted(front: Front) -> None:
    front.mail(*MEETING, "ATTENDEE:mailto:team@acme.example")
    (accepted,) = front.after(minutes=1).sent()
    front.rename("ada")
    with front.engine.begin() as connection:
        release(connection, front.pal, front.now, Policy())
    (mail,) = front.sent()
    assert (line(mail, "ATTENDEE") or "").endswith(":mailto:anna@invite.example.com")
    assert mail["From"] == accepted["From"]


def test_who_was_not_answered_because_somebody_else_sent_it_is_told_nothing(front: Front) -> None:
    bob = Sender("bob@other.example", verified=True, checked=True)
    front.mail(*MEETING, checked=bob)
    assert front.planned() == ["03 14:00"]
    assert front.after(minutes=1).sent() == []
    assert front.release() == []


def test_two_organizers_are_told_each_of_their_own(front: Front) -> None:
    front.mail(*MEETING)
    group = "ORGANIZER;CN=Team:mailto:c_team@group.calendar.google.com"
    front.mail(*MEETING, "UID:u2", group, sender="bea@acme.example")
    front.after(minutes=1).sent()
    assert front.release() == [SAID, "DECLINED u2 to c_team@group.calendar.google.com"]


def test_who_took_the_event_over_is_told(front: Front) -> None:
    front.mail(*SERIES)
    taken_over = "ORGANIZER;CN=Bea:mailto:Bea@acme.example"
    front.after(minutes=1).mail(*MOVED, taken_over)
    front.after(minutes=1).sent()
    with front.engine.begin() as connection:
        release(connection, ANNA, front.now, Policy())
    mails = front.sent()
    assert [mail["To"] for mail in mails] == ["Bea@acme.example"] * 2
    assert [line(mail, "ORGANIZER") for mail in mails] == [taken_over] * 2


def test_the_newest_version_is_answered(front: Front) -> None:
    front.mail(*MEETING)
    front.after(minutes=1).mail(*MEETING, "SEQUENCE:4", "SUMMARY:New")
    front.after(minutes=1).mail(*MEETING, "SEQUENCE:2", "SUMMARY:Late and old")
    front.after(minutes=1).sent()
    with front.engine.begin() as connection:
        release(connection, ANNA, front.now, Policy())
    (mail,) = front.sent()
    assert (line(mail, "SEQUENCE"), line(mail, "SUMMARY")) == ("SEQUENCE:4", "SUMMARY:New")


def test_a_strangers_copy_is_not_believed(front: Front) -> None:
    stamp = f"DTSTAMP:{START:%Y%m%dT%H%M%SZ}"
    front.mail(*MEETING, stamp)
    front.after(minutes=1).mail(*MEETING, stamp, "ORGANIZER:mailto:eve@evil.example", sender="eve@evil.example")
    front.after(minutes=1).sent()
    assert front.release() == [SAID]


def test_a_version_that_was_declined_before_it_was_accepted(front: Front) -> None:
    stamp = f"DTSTAMP:{START:%Y%m%dT%H%M%SZ}"
    front.allow("boss@acme.example")
    front.mail(*MEETING, stamp)
    assert list(map(said, front.after(minutes=1).sent())) == [SAID]
    front.allow(ALEX)
    front.mail(*MEETING, stamp)
    assert list(map(said, front.after(minutes=1).sent())) == [SAID.replace("DECLINED", "ACCEPTED")]
    assert front.release() == [SAID]


def test_an_accepted_that_waits_is_withdrawn(front: Front) -> None:
    front.mail(*MEETING)
    assert front.after(seconds=1).release() == [SAID]
    assert front.after(hours=1).sent() == []


def test_who_heard_a_declined_last_hears_it_once(front: Front) -> None:
    front.mail(*MEETING, ZOOM)
    front.after(minutes=1).sent()
    front.mail(*MEETING, "SEQUENCE:1", "DTSTAMP:20260301T090000Z")
    assert front.after(seconds=1).release() == []
    assert front.after(hours=1).sent() == []


def test_an_accepted_that_waits_for_what_is_over_is_withdrawn_too(front: Front) -> None:
    front.mail("DTSTART:20260301T080500Z", "DURATION:PT10M")
    assert front.after(hours=2).release() == []
    assert front.sent() == []


def test_a_date_that_was_added_and_never_answered_is_declined(front: Front) -> None:
    front.mail(*MEETING, method="ADD")
    assert front.after(minutes=1).sent() == []
    assert len(front.planned()) == 1
    assert front.release() == [SAID]


def test_afterwards_nothing_is_joined_until_the_organizer_sends_it_again(front: Front) -> None:
    front.mail(*SERIES, "--", *MOVED)
    front.after(minutes=1).mail("RECURRENCE-ID:20260317T140000Z", "DTSTART:20260318T140000Z")
    front.after(minutes=1).sent()
    assert front.planned() == ["03 14:00", "11 14:00", "18 14:00", "24 14:00"]
    assert len(front.release()) == 2
    assert {one.partstat for one in front.event().answers} == {"DECLINED"}
    # Anna is there again: one date is sent, the rest stays declined.
    front.after(minutes=1).mail("RECURRENCE-ID:20260324T140000Z", "DTSTART:20260325T140000Z")
    assert front.planned() == ["25 14:00"]
    assert list(map(said, front.after(minutes=1).sent())) == [f"ACCEPTED u1 to {ALEX} 20260324T140000Z"]
    # The series is sent, as the organizer has it: with our answer. Its moved date comes back with it.
    front.mail(*SERIES, "SEQUENCE:1", f"ATTENDEE;PARTSTAT=DECLINED:mailto:{ANNA.address}")
    assert list(map(said, front.after(minutes=1).sent())) == [f"ACCEPTED u1 to {ALEX}"]
    assert front.planned() == ["03 14:00", "11 14:00", "25 14:00"]
    # And it can go once more.
    assert front.release() == [SAID, f"{SAID} 20260324T140000Z"]


def test_without_its_mail_another_version_speaks_with_our_sequence(front: Front) -> None:
    front.mail(*MEETING, "SUMMARY:First")
    front.after(minutes=1).mail(*MEETING, "SEQUENCE:3", "SUMMARY:Second")
    front.after(minutes=1).sent()
    with front.engine.begin() as connection:
        lost = store.mails.c.received_at > START
        connection.execute(update(store.mails).where(lost).values(raw=b"Subject: lost\r\n\r\n"))
        release(connection, ANNA, front.now, Policy())
    (mail,) = front.sent()
    assert (line(mail, "SEQUENCE"), line(mail, "SUMMARY")) == ("SEQUENCE:3", "SUMMARY:First")


def test_a_date_of_a_series_that_was_declined_since_is_no_promise(front: Front) -> None:
    front.mail(*SERIES, "--", *MOVED)
    front.after(minutes=1).mail(*SERIES, "SEQUENCE:1", ZOOM)
    assert front.planned() == ["11 14:00"]
    assert owed(front.event(), front.now, Policy()) == ()


def test_a_fault_in_one_event_hinders_nothing(front: Front) -> None:
    for uid in ("u1", "u2", "u3", "u4"):
        front.mail(*MEETING, f"UID:{uid}")
    front.after(minutes=1).sent()
    with front.engine.begin() as connection:
        events = scheduler.store.events
        connection.execute(update(events).where(events.c.uid == "u1").values(event={"no": "event"}))
        of_u2 = store.mails.c.id.in_(
            store.invites.select().where(store.invites.c.uid == "u2").with_only_columns(store.invites.c.mail_id)
        )
        connection.execute(update(store.mails).where(of_u2).values(raw=b""))
        # Its answer is queued before: that is undone.
        connection.exec_driver_sql(
            "CREATE TRIGGER t BEFORE UPDATE OF event ON events WHEN OLD.uid = 'u3' BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    with capture_logs() as logged:
        assert front.release() == [f"DECLINED u4 to {ALEX}"]
    assert [(one["event"], one["uid"]) for one in logged] == [
        ("promise not taken back", "u1"),
        ("nobody told: the invitation is not kept", "u2"),
        ("promise not taken back", "u3"),
    ]
    assert front.planned() == []


# One occurrence of a series: DTSTART as written, which occurrence; the REPLY's RECURRENCE-ID and DTSTART.
DATES = [
    ("DTSTART:20260303T140000Z", 1, "RECURRENCE-ID:20260304T140000Z", "DTSTART:20260304T140000Z"),
    (
        "DTSTART;X-A=1;TZID=Europe/Berlin:20260328T140000",
        1,
        "RECURRENCE-ID;X-A=1;TZID=Europe/Berlin:20260329T140000",
        "DTSTART;X-A=1;TZID=Europe/Berlin:20260329T140000",
    ),
    ("dtstart;VALUE=DATE:20260303", 2, "RECURRENCE-ID;VALUE=DATE:20260305", "DTSTART;VALUE=DATE:20260305"),
    ("DTSTART:20260303T140000", 0, "RECURRENCE-ID:20260303T140000", "DTSTART:20260303T140000"),
]


@pytest.mark.parametrize(("start", "number", "recurrence_id", "dtstart"), DATES)
def test_one_occurrence_of_a_series(front: Front, start: str, number: int, recurrence_id: str, dtstart: str) -> None:
    front.change(replace(ANNA, zone="Europe/Berlin"))
    front.desk = Desk(join_all_day=True)
    lines = (start, "RRULE:FREQ=DAILY;COUNT=5", "SEQUENCE:2")
    front.mail(*lines)
    text = calendar_of("REQUEST", lines, ANNA.address, START)
    (message,) = read(text.encode())
    event = front.event()
    one = expand(event, START, START + timedelta(days=60))[number]
    promise = promise_of(one)
    heard = Heard(Case(message, Sender(ALEX), front.pal, event), START, "i1")
    (source,) = sources(event, [promise], [heard])
    assert source is not None
    reply = regret(event, promise, source, Reason.PAL_REMOVED, [ANNA.address], START)
    assert reply.recurrence_id == one.recurrence_id
    body = reply.calendar.split("BEGIN:VEVENT")[1].split("\r\n")
    assert [line for line in body if line.startswith(("RECURRENCE-ID", "DTSTART", "SEQUENCE"))] == [
        recurrence_id,
        "SEQUENCE:2",
        dtstart,
    ]
    assert not [line for line in body if line.startswith(("RRULE", "DTEND"))]


def test_one_occurrence_of_what_has_one_is_the_whole(front: Front) -> None:
    front.mail(*MEETING)
    front.mail(*MOVED, "UID:u2")
    for uid, date in (("u1", None), ("u2", datetime(2026, 3, 10, 14, tzinfo=UTC))):
        event = front.event(uid)
        (one,) = expand(event, START, START + timedelta(days=60))
        assert promise_of(one) == owed(event, START, Policy())[0]
        assert promise_of(one).recurrence_id == date


def test_the_first_date_of_a_shift_is_one_date_of_it(front: Front) -> None:
    front.mail(*SERIES)
    named = DATE.replace(";", ";RANGE=THISANDFUTURE;", 1)
    front.after(minutes=1).mail(named, "DTSTART;TZID=Europe/Berlin:20260310T160000")
    event = front.event()
    _, one, *_ = expand(event, START, START + timedelta(days=60))
    promise = promise_of(one)
    assert (promise.component.this_and_future, promise.recurrence_id, promise.starts) == (
        True,
        one.recurrence_id,
        one.starts,
    )
    block = block_of_date(
        Block(
            "VEVENT",
            [
                Property("DTSTART", {}, "20260310T150000Z", "DTSTART:20260310T150000Z"),
                Property("RECURRENCE-ID", {}, "20260310T140000Z", named),
            ],
        ),
        datetime(2026, 3, 10, 14),
        datetime(2026, 3, 10, 15),
    )
    assert [one.line for one in block.properties] == ["RECURRENCE-ID:20260310T140000Z", "DTSTART:20260310T150000Z"]
