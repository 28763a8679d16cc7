"""Zones: gaps and overlaps, VTIMEZONEs of every make, and what a TZID means."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON
from tzlocal.windows_tz import win_tz

from gateway.zone_names import MAX_CHANGES, MAX_PARTS, resolve
from scheduler.event import Component
from scheduler.zones import Zone
from tests.scheduler.calendars import (
    FIXED,
    NOW,
    PAL,
    at,
    bound,
    event,
    message,
    part,
    starts,
    vcalendar,
    vevent,
    vtimezone,
)

# As Exchange, Google and tzurl write them.
EXCHANGE_BERLIN = (
    part("STANDARD", "16010101T030000", "+0200", "+0100", "RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=10"),
    part("DAYLIGHT", "16010101T020000", "+0100", "+0200", "RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=3"),
)
EXCHANGE_FIXED = (
    part("STANDARD", "16010101T000000", "-0500", "-0500"),
    part("DAYLIGHT", "16010101T000000", "-0500", "-0500"),
)
FULL_BERLIN = (
    part("DAYLIGHT", "19810329T020000", "+0100", "+0200", "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU"),
    part("STANDARD", "19961027T030000", "+0200", "+0100", "RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU"),
    part(
        "STANDARD", "19810927T030000", "+0200", "+0100", "RRULE:FREQ=YEARLY;BYMONTH=9;BYDAY=-1SU;UNTIL=19950924T010000Z"
    ),
)
FULL_NEW_YORK = (
    part("DAYLIGHT", "20070311T020000", "-0500", "-0400", "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=2SU"),
    part("STANDARD", "20071104T020000", "-0400", "-0500", "RRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=1SU"),
    part(
        "DAYLIGHT", "19870405T020000", "-0500", "-0400", "RRULE:FREQ=YEARLY;BYMONTH=4;BYDAY=1SU;UNTIL=20060402T070000Z"
    ),
    part(
        "STANDARD",
        "19671029T020000",
        "-0400",
        "-0500",
        "RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU;UNTIL=20061029T060000Z",
    ),
)
DATED_BERLIN = (
    part("DAYLIGHT", "20250330T020000", "+0100", "+0200", "RDATE:20260329T020000,20270328T020000"),
    part("STANDARD", "20251026T030000", "+0200", "+0100", "RDATE:20261025T030000", "RDATE:20271031T030000"),
)


def defined(*parts: str, name: str = "Mine") -> Zone:
    zone = resolve(name, message(vcalendar(vtimezone(name, *parts), vevent("DTSTART:20260302T090000Z"))).calendar)
    assert zone is not None
    assert zone.observances or name != "Mine"
    return zone


def wall(text: str) -> datetime:
    return datetime.fromisoformat(text)


BERLINS = {
    "iana": Zone("Europe/Berlin"),
    "exchange": defined(*EXCHANGE_BERLIN),
    "full": defined(*FULL_BERLIN),
    "dated": defined(*DATED_BERLIN),
}


@pytest.mark.parametrize("zone", BERLINS.values(), ids=BERLINS)
@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2026-03-29 01:59", "2026-03-29 00:59"),
        ("2026-03-29 02:00", "2026-03-29 01:00"),  # the gap: read with the offset before it (RFC 5545 3.3.5)
        ("2026-03-29 02:30", "2026-03-29 01:30"),
        ("2026-03-29 03:00", "2026-03-29 01:00"),
        ("2026-10-25 01:59", "2026-10-24 23:59"),
        ("2026-10-25 02:00", "2026-10-25 00:00"),  # the overlap: the first of the two
        ("2026-10-25 02:59", "2026-10-25 00:59"),
        ("2026-10-25 03:00", "2026-10-25 02:00"),
        ("2026-07-01 12:00", "2026-07-01 10:00"),
        ("2026-12-31 23:30", "2026-12-31 22:30"),
        ("2027-01-01 00:30", "2026-12-31 23:30"),
    ],
)
def test_wall_clock_in_berlin(zone: Zone, local: str, utc: str) -> None:
    assert zone.instant(wall(local)) == at(utc)


ODD = {
    "lord-howe-half-hour-gap": ("Australia/Lord_Howe", "2026-10-04 02:15", "2026-10-03 15:45"),
    "lord-howe-half-hour-overlap": ("Australia/Lord_Howe", "2026-04-05 01:45", "2026-04-04 14:45"),
    "cairo-gap-at-midnight": ("Africa/Cairo", "2026-04-24 00:30", "2026-04-23 22:30"),
    "sao-paulo-gap-at-midnight": ("America/Sao_Paulo", "2018-11-04 00:30", "2018-11-04 03:30"),
    "new-york-gap": ("America/New_York", "2026-03-08 02:30", "2026-03-08 07:30"),
    "new-york-overlap": ("America/New_York", "2026-11-01 01:30", "2026-11-01 05:30"),
    "casablanca-ramadan": ("Africa/Casablanca", "2026-03-01 12:00", "2026-03-01 12:00"),
    "casablanca-otherwise": ("Africa/Casablanca", "2026-06-01 12:00", "2026-06-01 11:00"),
    "kathmandu": ("Asia/Kathmandu", "2026-03-01 12:00", "2026-03-01 06:15"),
    "apia-day-that-was-left-out": ("Pacific/Apia", "2011-12-30 12:00", "2011-12-30 22:00"),
}


@pytest.mark.parametrize(("name", "local", "utc"), ODD.values(), ids=ODD)
def test_wall_clock_in_an_odd_zone(name: str, local: str, utc: str) -> None:
    assert Zone(name).instant(wall(local)) == at(utc)


DEFINED: dict[str, tuple[tuple[str, ...], list[tuple[str, str]]]] = {
    "fixed-by-exchange": (
        EXCHANGE_FIXED,
        [("2026-01-15 09:00", "2026-01-15 14:00"), ("2026-07-15 09:00", "2026-07-15 14:00")],
    ),
    "one-part": ((part("STANDARD", "19700101T000000", "+0545", "+0545"),), [("2026-07-15 09:00", "2026-07-15 03:15")]),
    "seconds": (
        (part("STANDARD", "19700101T000000", "+005328", "+005328"),),
        [("2026-07-15 00:53", "2026-07-14 23:59:32")],
    ),
    "before-the-first-onset": (
        (part("STANDARD", "20260601T000000", "+0100", "+0300"),),
        [("2026-05-31 12:00", "2026-05-31 11:00"), ("2026-06-02 12:00", "2026-06-02 09:00")],
    ),
    "until-has-run-out": (
        (
            part(
                "DAYLIGHT",
                "20000326T020000",
                "+0100",
                "+0200",
                "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU;UNTIL=20100328T010000Z",
            ),
            part(
                "STANDARD",
                "20001029T030000",
                "+0200",
                "+0100",
                "RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU;UNTIL=20091025T010000Z",
            ),
        ),
        # Summer time for ever since 2010.
        [
            ("2009-12-15 12:00", "2009-12-15 11:00"),
            ("2010-12-15 12:00", "2010-12-15 10:00"),
            ("2026-12-15 12:00", "2026-12-15 10:00"),
        ],
    ),
    "until-local": (
        (
            part(
                "DAYLIGHT",
                "20000402T020000",
                "-0500",
                "-0400",
                "RRULE:FREQ=YEARLY;BYMONTH=4;BYDAY=1SU;UNTIL=20100404T020000",
            ),
            part(
                "STANDARD",
                "20001029T020000",
                "-0400",
                "-0500",
                "RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU;UNTIL=20091025",
            ),
        ),
        [("2009-12-15 12:00", "2009-12-15 17:00"), ("2010-12-15 12:00", "2010-12-15 16:00")],
    ),
    "until-for-ever": (
        (part("STANDARD", "20000101T000000", "+0900", "+0900", "RRULE:FREQ=YEARLY;UNTIL=99991231T235959Z"),),
        [("2026-12-15 12:00", "2026-12-15 03:00")],
    ),
    "count": (
        (
            part("DAYLIGHT", "20240331T020000", "+0100", "+0200", "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU;COUNT=2"),
            part("STANDARD", "20241027T030000", "+0200", "+0100", "RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU;COUNT=2"),
        ),
        [("2025-07-15 12:00", "2025-07-15 10:00"), ("2026-07-15 12:00", "2026-07-15 11:00")],
    ),
    "year-1": (
        (
            part("STANDARD", "00010101T000000", "+0100", "+0100"),
            part("DAYLIGHT", "00010101T000000", "+0100", "+0200", "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU"),
            part("STANDARD", "00010101T000000", "+0200", "+0100", "RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU"),
        ),
        [("2026-07-15 12:00", "2026-07-15 10:00"), ("2026-12-15 12:00", "2026-12-15 11:00")],
    ),
    "southern": (
        (
            part("STANDARD", "20080406T030000", "+1100", "+1000", "RRULE:FREQ=YEARLY;BYMONTH=4;BYDAY=1SU"),
            part("DAYLIGHT", "20081005T020000", "+1000", "+1100", "RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=1SU"),
        ),
        [("2026-01-15 12:00", "2026-01-15 01:00"), ("2026-07-15 12:00", "2026-07-15 02:00")],
    ),
    "x-properties": (
        (part("STANDARD", "19700101T000000", "+0100", "+0100", "TZNAME:X", "X-FOO;BAR=1:2", "COMMENT:x"),),
        [("2026-07-15 12:00", "2026-07-15 11:00")],
    ),
}


@pytest.mark.parametrize(("parts", "pairs"), DEFINED.values(), ids=DEFINED)
def test_zone_of_the_message(parts: tuple[str, ...], pairs: list[tuple[str, str]]) -> None:
    zone = defined(*parts)
    for local, utc in pairs:
        assert zone.instant(wall(local)) == at(utc)
        assert zone.wall(at(utc)) == wall(local)


COPIES = {
    "berlin": ("Europe/Berlin", defined(*FULL_BERLIN)),
    "new-york": ("America/New_York", defined(*FULL_NEW_YORK)),
}
SPAN = int(timedelta(days=366 * 45).total_seconds())
FIRST = wall("1990-01-01")
moments = st.one_of(
    st.integers(0, SPAN).map(lambda seconds: FIRST + timedelta(seconds=seconds)),
    # Near the changes, all of which are at night from Saturday to Sunday.
    st.tuples(st.integers(0, 45 * 52), st.integers(-120, 480)).map(
        lambda pair: FIRST + timedelta(days=6 + 7 * pair[0], minutes=pair[1])
    ),
)


@pytest.mark.parametrize(("name", "copy"), COPIES.values(), ids=COPIES)
def test_copy_of_a_zone_is_the_zone(name: str, copy: Zone) -> None:
    @settings(FIXED, max_examples=1500)
    @given(moments)
    def same(moment: datetime) -> None:
        assert copy.instant(moment) == Zone(name).instant(moment)
        assert copy.wall(moment.replace(tzinfo=UTC)) == Zone(name).wall(moment.replace(tzinfo=UTC))

    same()


@pytest.mark.parametrize(
    "zone",
    [*BERLINS.values(), *(Zone(name) for name, _, _ in ODD.values()), COPIES["new-york"][1]],
    ids=lambda zone: f"{zone.name}-{len(zone.observances)}",
)
def test_there_and_back(zone: Zone) -> None:
    @settings(FIXED, max_examples=300)
    @given(moments)
    def back(moment: datetime) -> None:
        instant = zone.instant(moment)
        shown = zone.wall(instant)
        # Outside a gap the clock shows what was asked for; in a gap it shows a later time, of the same instant.
        assert shown >= moment
        assert zone.instant(shown) == instant
        if shown != moment:
            earlier, later = (zone.instant(moment + timedelta(hours=hours)) for hours in (-26, 26))
            assert later - earlier < timedelta(hours=52)

    back()


NAMES = {
    "115-iana": ("Europe/Berlin", "Europe/Berlin"),
    "115-iana-lower-case": ("europe/berlin", "Europe/Berlin"),
    "115-iana-quoted": ('"Europe/Berlin"', "Europe/Berlin"),
    "115-iana-link": ("US/Eastern", "US/Eastern"),
    "119-windows": ("W. Europe Standard Time", "Europe/Berlin"),
    "119-windows-lower-case": ("eastern standard time", "America/New_York"),
    "119-windows-quoted": ('"Pacific Standard Time"', "America/Los_Angeles"),
    "120-numbered-copy": ("Eastern Standard Time 1", "America/New_York"),
    "120-numbered-copy-gmt": ("GMT Standard Time 12", "Europe/London"),
    "120-display-name": ("(UTC+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna", "Europe/Amsterdam"),
    "120-display-name-gmt": ("(GMT+01:00) Brussels, Copenhagen, Madrid, Paris", "Europe/Brussels"),
    "120-display-name-utc": ("(UTC) Coordinated Universal Time", "UTC"),
    "120-tzone": ("tzone://Microsoft/Utc", "UTC"),
    "121-freeassociation": ("/freeassociation.sourceforge.net/Europe/Berlin", "Europe/Berlin"),
    "121-freeassociation-tzfile": ("/freeassociation.sourceforge.net/Tzfile/Europe/Berlin", "Europe/Berlin"),
    "121-citadel": ("/citadel.org/20070227_1/America/Argentina/Salta", "America/Argentina/Salta"),
    "121-mozilla": ("/mozilla.org/20050126_1/Europe/Berlin", "Europe/Berlin"),
    "unknown": ("Customized Time Zone", None),
    "unknown-tzone": ("tzone://Microsoft/Custom", None),
    "unknown-offset": ("GMT+0100", None),
    "unknown-path": ("../../etc/passwd", None),
    "unknown-display": ("(UTC+01:00) Nowhere, Atlantis", None),
    "empty": ("", None),
}


@pytest.mark.parametrize(("tzid", "name"), NAMES.values(), ids=NAMES)
def test_name_without_a_definition(tzid: str, name: str | None) -> None:
    empty = message(vcalendar(vevent("DTSTART:20260302T090000Z"))).calendar
    assert resolve(tzid, empty) == (Zone(name) if name else None)


TOKYO_TIME = part("STANDARD", "19700101T000000", "+0900", "+0900")


@pytest.mark.parametrize(
    ("tzid", "utc"),
    [
        pytest.param("Europe/Berlin", "08:00", id="115-iana-wins"),
        pytest.param("W. Europe Standard Time", "00:00", id="118-windows-name-by-the-message"),
        pytest.param("Eastern Standard Time 1", "00:00", id="118-numbered-by-the-message"),
        pytest.param("Customized Time Zone", "00:00", id="116-custom"),
        pytest.param("GMT+0100", "00:00", id="116-offset-as-a-name"),
        pytest.param("tzone://Microsoft/Custom", "00:00", id="116-tzone"),
        pytest.param("/freeassociation.sourceforge.net/Europe/Berlin", "00:00", id="121-prefixed-by-the-message"),
    ],
)
@pytest.mark.parametrize("last", [False, True], ids=["before-the-event", "after-the-event"])
def test_name_with_a_definition(tzid: str, utc: str, last: bool) -> None:
    blocks = [vtimezone(tzid, TOKYO_TIME), vevent(f'DTSTART;TZID="{tzid}":20260302T090000', "DURATION:PT1H")]
    assert starts(event(vcalendar(*(reversed(blocks) if last else blocks)))) == [f"03-02 {utc}"]


def test_117_same_name_in_two_messages() -> None:
    def start(*parts: str) -> list[str]:
        blocks = (
            vtimezone("Customized Time Zone", *parts),
            vevent("DTSTART;TZID=Customized Time Zone:20260702T090000"),
        )
        return starts(event(vcalendar(*blocks)), "2026-07-01")

    assert start(*EXCHANGE_BERLIN) == ["07-02 07:00"]
    assert start(TOKYO_TIME) == ["07-02 00:00"]
    assert start(*EXCHANGE_FIXED) == ["07-02 14:00"]
    assert start(*EXCHANGE_BERLIN) == ["07-02 07:00"]


def test_definitions_that_differ_in_one_value_are_different() -> None:
    zones = {defined(part("STANDARD", start, before, after, *lines)) for start, before, after, lines in VARIANTS}
    assert len(zones) == len(VARIANTS)


VARIANTS: list[tuple[str, str, str, tuple[str, ...]]] = [
    ("19700101T000000", "+0100", "+0100", ()),
    ("19700102T000000", "+0100", "+0100", ()),
    ("19700101T000000", "+0200", "+0100", ()),
    ("19700101T000000", "+0100", "+0200", ()),
    ("19700101T000000", "+0100", "+0100", ("RRULE:FREQ=YEARLY",)),
    ("19700101T000000", "+0100", "+0100", ("RDATE:20260101T000000",)),
]

BROKEN = {
    "no-parts": (),
    "no-offset": (part("STANDARD", "19700101T000000", "+0100", ""),),
    "offset-of-a-day": (part("STANDARD", "19700101T000000", "+0100", "+2400"),),
    "no-start": (part("STANDARD", "", "+0100", "+0100"),),
    "broken-rule": (part("STANDARD", "19700101T000000", "+0100", "+0100", "RRULE:FREQ=OFTEN"),),
    "every-hour": (part("STANDARD", "19700101T000000", "+0100", "+0100", "RRULE:FREQ=HOURLY;COUNT=10000"),),
    "every-day": (part("STANDARD", "19700101T000000", "+0100", "+0100", "RRULE:FREQ=DAILY"),),
    "every-monday": (part("STANDARD", "19700101T000000", "+0100", "+0100", "RRULE:FREQ=YEARLY;BYDAY=MO"),),
    "every-hour-of-a-day": (
        part(
            "STANDARD",
            "19700101T000000",
            "+0100",
            "+0100",
            "RRULE:FREQ=YEARLY;BYHOUR=" + ",".join(map(str, range(24))) + ";BYMONTH=1,2",
        ),
    ),
    "year-9999": (part("STANDARD", "99991231T000000", "+0100", "+0100", "RRULE:FREQ=YEARLY;COUNT=2"),),
    "too-many-parts": (TOKYO_TIME,) * (MAX_PARTS + 1),
}


@pytest.mark.parametrize("parts", BROKEN.values(), ids=BROKEN)
def test_broken_definition_is_none(parts: tuple[str, ...]) -> None:
    text = vcalendar(vtimezone("Mine", *parts), vevent("DTSTART;TZID=Mine:20260302T090000"))
    assert resolve("Mine", message(text).calendar) is None
    # A name that is known otherwise is still known.
    windows = vcalendar(vtimezone("GMT Standard Time", *parts), vevent("DTSTART:20260302T090000Z"))
    assert resolve("GMT Standard Time", message(windows).calendar) == Zone("Europe/London")


def test_a_dozen_changes_a_year_are_a_zone() -> None:
    assert MAX_CHANGES >= 12
    assert defined(part("STANDARD", "20200101T000000", "+0100", "+0100", "RRULE:FREQ=YEARLY;BYMONTHDAY=1")).observances


def test_unknown_zone_is_the_pals_or_nobodys() -> None:
    text = vcalendar(vevent("DTSTART;TZID=Customized Time Zone:20260302T090000"))
    assert starts(event(text)) == ["03-02 08:00"]
    (nowhere,) = bound(text, pal=replace(PAL, zone=None), now=NOW)
    assert isinstance(nowhere, Component)
    assert not nowhere.zone_known
    assert nowhere.url is None
    assert "Customized Time Zone" in nowhere.notes[0]


def test_windows_names_are_as_many_as_elsewhere_and_exist() -> None:
    assert set(WINDOWS_TO_OLSON) <= set(win_tz)
    for name in win_tz.values():
        assert ZoneInfo(name)


def test_windows_names_mean_what_they_mean_elsewhere() -> None:
    year = [at("2026-01-15") + timedelta(days=30 * month) for month in range(12)]
    for windows, name in WINDOWS_TO_OLSON.items():
        ours = [moment.astimezone(ZoneInfo(win_tz[windows])).utcoffset() for moment in year]
        assert ours == [moment.astimezone(ZoneInfo(name)).utcoffset() for moment in year], windows
