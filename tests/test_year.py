"""One PAL, many mails: a year of a weekly meeting, played through `replay` at its instants, checked after each mail.

The model beside it is as plain as can be: a dictionary of local start times, changed by hand as the mails say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway import store
from gateway.decide import Desk
from gateway.intake import Intake
from gateway.pals import Pal, pal_id
from gateway.replay import Shown, play
from scheduler.database import connect
from scheduler.joins import LIVE, Policy

BERLIN = ZoneInfo("Europe/Berlin")
ANNA = "anna@invite.example.com"
DAYS = timedelta(days=400)
OLD, NEW = "weekly@google.com", "weekly_R20260902T090000@google.com"
LINKS = [
    "https://meet.google.com/one-aaaa-bbb",
    "https://meet.google.com/two-aaaa-bbb",
    "https://meet.google.com/tri-aaaa-bbb",
]


@dataclass
class Year:
    """The desk, the folder the mails are written to, and what the calendar of a careful attendee says."""

    folder: Path
    intake: Intake = field(init=False)
    pal: Pal = field(init=False)
    truth: dict[str, dict[date, tuple[datetime, str]]] = field(default_factory=lambda: {OLD: {}, NEW: {}})
    mails: int = 0

    def __post_init__(self) -> None:
        self.engine = connect("sqlite://")
        store.create_throwaway(self.engine)
        self.pal = Pal(pal_id(ANNA), "Anna", ANNA, "face")
        with self.engine.begin() as connection:
            store.add_pal(connection, self.pal, datetime(2026, 1, 1, tzinfo=UTC))
        self.intake = Intake(self.engine, Desk(scheduling=Policy(horizon=DAYS)))

    def mail(self, now: str, method: str, uid: str, *lines: str) -> Shown:
        """Play one mail at an instant, then compare all that is to come with the truth."""
        instant = datetime.fromisoformat(now + "+00:00")
        self.mails += 1
        path = self.folder / f"{self.mails:02}.ics"
        head = [
            "BEGIN:VCALENDAR",
            "VERSION:2.0",
            "PRODID:-//Google Inc//Google Calendar 70.9054//EN",
            f"METHOD:{method}",
        ]
        people = ["ORGANIZER:mailto:alex@acme.example", f"ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:{ANNA}"]
        event = [
            "BEGIN:VEVENT",
            f"UID:{uid}",
            f"DTSTAMP:{instant:%Y%m%dT%H%M%SZ}",
            "DURATION:PT1H",
            "SUMMARY:Weekly",
            *people,
        ]
        path.write_text("\r\n".join([*head, *event, *lines, "END:VEVENT", "END:VCALENDAR", ""]))
        (shown,) = play(self.intake, self.engine, path, [self.pal], instant, DAYS)
        self.compare(shown, uid, instant)
        return shown

    def compare(self, shown: Shown, uid: str, now: datetime) -> None:
        coming = (one for one in self.truth[uid].values() if now < one[0].astimezone(UTC) < now + DAYS)
        wanted = sorted((start.astimezone(UTC), link) for start, link in coming)
        found = sorted((join.starts, join.url) for join in shown.joins if join.state in LIVE and join.starts > now)
        assert found == wanted, f"after mail {self.mails}"

    def weekly(self, uid: str, first: datetime, link: str, until: date = date(2028, 1, 1)) -> None:
        """The truth of a series that was set anew: one entry a week."""
        self.truth[uid] = {
            day: (datetime.combine(day, first.time(), BERLIN), link) for day in _weeks(first.date(), until)
        }

    def relink(self, uid: str, link: str) -> None:
        self.truth[uid] = {day: (start, link) for day, (start, _) in self.truth[uid].items()}


def _weeks(first: date, until: date) -> Iterator[date]:
    while first <= until:
        yield first
        first += timedelta(weeks=1)


def _at(day: date, hour: int) -> str:
    return f";TZID=Europe/Berlin:{day:%Y%m%d}T{hour:02}0000"


def _series(first: date, hour: int, rule: str, link: str, sequence: int) -> tuple[str, ...]:
    return (
        f"DTSTART{_at(first, hour)}",
        f"RRULE:FREQ=WEEKLY;{rule}",
        f"X-GOOGLE-CONFERENCE:{link}",
        f"SEQUENCE:{sequence}",
    )


def _moved(old: date, old_hour: int, new: date, hour: int, link: str, sequence: int) -> tuple[str, ...]:
    rid = f"RECURRENCE-ID{_at(old, old_hour)}"
    return (rid, f"DTSTART{_at(new, hour)}", f"X-GOOGLE-CONFERENCE:{link}", f"SEQUENCE:{sequence}")


def _gone(day: date, hour: int, sequence: int) -> tuple[str, ...]:
    """As Google cancels one date: in UTC, whatever the zone of the series."""
    instant = datetime(day.year, day.month, day.day, hour, tzinfo=BERLIN).astimezone(UTC)
    stamp = f"{instant:%Y%m%dT%H%M%SZ}"
    return (f"RECURRENCE-ID:{stamp}", f"DTSTART:{stamp}", "STATUS:CANCELLED", f"SEQUENCE:{sequence}")


def _local(day: date, hour: int) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=BERLIN)


def test_a_year_of_a_weekly_meeting(tmp_path: Path) -> None:
    year = Year(tmp_path)

    year.weekly(OLD, datetime(2026, 1, 5, 14), LINKS[0])
    first = year.mail("2026-01-02T09:00:00", "REQUEST", OLD, *_series(date(2026, 1, 5), 14, "BYDAY=MO", LINKS[0], 0))
    assert [reply.partstat for reply, _ in first.replies] == ["ACCEPTED"]

    _move(year, "2026-01-20T09:00:00", date(2026, 1, 26), 14, date(2026, 1, 27), 10, LINKS[0], 1)
    _drop(year, "2026-02-02T09:00:00", date(2026, 2, 9), 14, 1)

    year.relink(OLD, LINKS[1])  # the first changed link; SEQUENCE stays, as Google has it
    relinked = year.mail("2026-02-20T09:00:00", "REQUEST", OLD, *_series(date(2026, 1, 5), 14, "BYDAY=MO", LINKS[1], 1))
    assert relinked.replies == ()

    _move(year, "2026-03-10T09:00:00", date(2026, 3, 16), 14, date(2026, 3, 17), 9, LINKS[1], 2)

    year.weekly(OLD, datetime(2026, 1, 6, 15), LINKS[1])  # rescheduled to Tuesdays at three
    again = year.mail("2026-03-20T09:00:00", "REQUEST", OLD, *_series(date(2026, 1, 6), 15, "BYDAY=TU", LINKS[1], 3))
    assert [reply.partstat for reply, _ in again.replies] == ["ACCEPTED"]

    _move(year, "2026-04-01T09:00:00", date(2026, 4, 7), 15, date(2026, 4, 8), 15, LINKS[1], 4)
    _drop(year, "2026-04-02T09:00:00", date(2026, 4, 21), 15, 4)
    _move(year, "2026-04-28T09:00:00", date(2026, 5, 5), 15, date(2026, 5, 6), 8, LINKS[1], 4)

    year.weekly(OLD, datetime(2026, 1, 7, 11), LINKS[1])  # rescheduled to Wednesdays at eleven
    year.mail("2026-05-20T09:00:00", "REQUEST", OLD, *_series(date(2026, 1, 7), 11, "BYDAY=WE", LINKS[1], 5))

    _move(year, "2026-06-10T09:00:00", date(2026, 6, 17), 11, date(2026, 6, 18), 11, LINKS[1], 6)
    moved = year.truth[OLD][date(2026, 6, 17)]
    year.relink(OLD, LINKS[2])  # the second changed link: the moved date is a component of its own and keeps its own
    year.truth[OLD][date(2026, 6, 17)] = moved
    year.mail("2026-06-12T09:00:00", "REQUEST", OLD, *_series(date(2026, 1, 7), 11, "BYDAY=WE", LINKS[2], 6))
    _drop(year, "2026-06-25T09:00:00", date(2026, 7, 1), 11, 7)

    # "This and following" from 2 September: the old UID is cut, a new one begins; the new one comes first.
    year.weekly(NEW, datetime(2026, 9, 2, 16), LINKS[2])
    year.mail("2026-08-20T09:00:02", "REQUEST", NEW, *_series(date(2026, 9, 2), 16, "BYDAY=WE", LINKS[2], 0))
    year.truth[OLD] = {day: one for day, one in year.truth[OLD].items() if day < date(2026, 9, 2)}
    cut = _series(date(2026, 1, 7), 11, "BYDAY=WE;UNTIL=20260901T215959Z", LINKS[2], 8)
    year.mail("2026-08-20T09:00:05", "REQUEST", OLD, *cut)

    year.truth[NEW] = {}
    last = year.mail("2026-11-10T09:00:00", "CANCEL", NEW, f"DTSTART{_at(date(2026, 9, 2), 16)}", "SEQUENCE:1")
    assert (last.played.decision.verdict, last.replies) == ("cancelled", ())
    assert year.mails == 16


def _move(year: Year, now: str, day: date, hour: int, to: date, to_hour: int, link: str, sequence: int) -> None:
    year.truth[OLD][day] = (_local(to, to_hour), link)
    shown = year.mail(now, "REQUEST", OLD, *_moved(day, hour, to, to_hour, link, sequence))
    assert [(reply.partstat, reply.recurrence_id) for reply, _ in shown.replies] == [("ACCEPTED", _local(day, hour))]


def _drop(year: Year, now: str, day: date, hour: int, sequence: int) -> None:
    del year.truth[OLD][day]
    shown = year.mail(now, "CANCEL", OLD, *_gone(day, hour, sequence))
    assert shown.replies == ()
