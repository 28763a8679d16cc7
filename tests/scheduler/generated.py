"""Series made up by Hypothesis: a rule, dates taken out, added, moved and cancelled, and a window to look through."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from scheduler.recurrence import WEEKDAYS, Rule, parse_rule, wall_clocks
from tests.scheduler.calendars import vcalendar, vevent

FREQUENCIES = ("MONTHLY", "YEARLY", "WEEKLY", "DAILY")
CLOCKS = ((0, 0), (0, 30), (1, 30), (2, 0), (2, 30), (3, 0), (9, 0), (14, 0), (23, 30), (23, 59))


@dataclass(frozen=True)
class Series:
    """`taken`, `cancelled` and the keys of `moved` are wall clocks of the rule; `added` are wall clocks, too."""

    zone: str
    all_day: bool
    start: datetime
    parts: str
    count: int | None
    until: datetime | None  # UTC
    minutes: int
    taken: tuple[datetime, ...]
    added: tuple[datetime, ...]
    periods: tuple[datetime, ...]
    cancelled: tuple[datetime, ...]
    moved: tuple[tuple[datetime, datetime, int], ...]
    utc_dates: bool
    after: datetime
    before: datetime
    on_rule: bool

    @property
    def rule(self) -> str:
        rule = self.parts
        if self.count is not None:
            rule += f";COUNT={self.count}"
        if self.until is not None:
            rule += f";UNTIL={self.until:%Y%m%d}" if self.all_day else f";UNTIL={self.until:%Y%m%dT%H%M%SZ}"
        return rule

    def instant(self, wall: datetime) -> datetime:
        return wall.replace(tzinfo=ZoneInfo(self.zone)).astimezone(UTC)

    def exists(self, wall: datetime) -> bool:
        """Whether the wall clock is not in a spring gap."""
        return self.instant(wall).astimezone(ZoneInfo(self.zone)).replace(tzinfo=None, fold=0) == wall

    def text(self) -> str:
        master = vevent(
            self._date("DTSTART", self.start),
            self._end(self.start, self.minutes),
            f"RRULE:{self.rule}",
            *(self._date("EXDATE", wall) for wall in self.taken),
            *(self._date("RDATE", wall) for wall in self.added),
            *(self._period(wall) for wall in self.periods),
        )
        return vcalendar(master, *self._overrides())

    def _overrides(self) -> list[str]:
        moved = [
            vevent(self._date("RECURRENCE-ID", wall), self._date("DTSTART", new), self._end(new, minutes))
            for wall, new, minutes in self.moved
        ]
        cancelled = [
            vevent(
                self._date("RECURRENCE-ID", wall),
                self._date("DTSTART", wall),
                self._end(wall, self.minutes),
                "STATUS:CANCELLED",
            )
            for wall in self.cancelled
        ]
        return moved + cancelled

    def _date(self, name: str, wall: datetime) -> str:
        if self.all_day:
            return f"{name};VALUE=DATE:{wall:%Y%m%d}"
        # DTSTART and RECURRENCE-ID speak of the zone, the dates of a list may come in UTC.
        if self.zone == "UTC" or (self.utc_dates and name in ("EXDATE", "RDATE")):
            return f"{name}:{self.instant(wall):%Y%m%dT%H%M%SZ}"
        return f"{name};TZID={self.zone}:{wall:%Y%m%dT%H%M%S}"

    def _end(self, wall: datetime, minutes: int) -> str:
        if self.all_day:
            return f"DTEND;VALUE=DATE:{wall + timedelta(days=1):%Y%m%d}"
        return self._date("DTEND", wall + timedelta(minutes=minutes))

    def _period(self, wall: datetime) -> str:
        return self._date("RDATE;VALUE=PERIOD", wall) + "/PT2H"


def _some(values: list[str], most: int = 3) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True).map(",".join)


DAYS = list(WEEKDAYS)
MONTHS = [str(month) for month in range(1, 13)]
MONTHDAYS = [str(day) for day in (*range(1, 32), *range(-28, 0))]
ORDINAL_DAYS = [f"{n}{day}" for n in (1, 2, 3, 4, -1, -2, 5, -5) for day in DAYS]
YEAR_DAYS = [f"{n}{day}" for n in (1, 10, 20, 26, 40, 52, -1, -10, -30) for day in DAYS]
YEARDAYS = [str(n) for n in (1, 31, 59, 60, 61, 100, 200, 300, 365, -1, -60, -306, -365)]
WEEKS = [str(n) for n in (1, 2, 9, 20, 40, 51, 52, 53, -1, -2)]
PLACES = ["1", "2", "3", "-1", "-2"]

_BY_FREQUENCY: dict[str, list[dict[str, st.SearchStrategy[str]]]] = {
    "DAILY": [
        {},
        {"BYDAY": _some(DAYS, 5)},
        {"BYMONTH": _some(MONTHS, 6)},
        {"BYMONTHDAY": _some(MONTHDAYS, 5)},
        {"BYHOUR": _some(["0", "2", "9", "17", "23"]), "BYDAY": _some(DAYS, 5)},
        {"BYHOUR": _some(["0", "2", "9", "17", "23"]), "BYSETPOS": _some(["1", "-1"], 1)},
    ],
    "WEEKLY": [
        {},
        {"BYDAY": _some(DAYS, 5)},
        {"BYDAY": _some(DAYS, 5), "BYMONTH": _some(MONTHS, 6)},
        {"BYDAY": _some(DAYS, 7), "BYSETPOS": _some(PLACES, 2)},
    ],
    "MONTHLY": [
        {},
        {"BYMONTHDAY": _some(MONTHDAYS)},
        {"BYDAY": _some(ORDINAL_DAYS)},
        {"BYDAY": _some([*ORDINAL_DAYS, *DAYS], 4)},
        {"BYDAY": _some(DAYS, 5), "BYSETPOS": _some(PLACES, 2)},
        {"BYDAY": _some(DAYS), "BYMONTHDAY": _some([str(day) for day in range(8, 22)], 7)},
        {"BYMONTH": _some(MONTHS), "BYDAY": _some(ORDINAL_DAYS)},
        {"BYMONTH": _some(MONTHS)},
    ],
    "YEARLY": [
        {},
        {"BYMONTH": _some(MONTHS)},
        {"BYMONTH": _some(MONTHS), "BYMONTHDAY": _some(MONTHDAYS)},
        {"BYMONTH": _some(MONTHS), "BYDAY": _some(ORDINAL_DAYS)},
        {"BYMONTHDAY": _some(MONTHDAYS, 2)},
        {"BYDAY": _some(YEAR_DAYS)},
        {"BYYEARDAY": _some(YEARDAYS)},
        {"BYWEEKNO": _some(WEEKS)},
        {"BYWEEKNO": _some(WEEKS), "BYDAY": _some(DAYS)},
        {"BYMONTH": _some(MONTHS), "BYDAY": _some(DAYS, 5), "BYSETPOS": _some(PLACES, 2)},
    ],
}


@st.composite
def rule_parts(draw: st.DrawFn) -> str:
    """A rule without its end."""
    freq = draw(st.sampled_from(FREQUENCIES))
    parts = {"FREQ": freq, "INTERVAL": str(draw(st.sampled_from((1, 1, 1, 2, 3, 4))))}
    parts |= {name: draw(values) for name, values in draw(st.sampled_from(_BY_FREQUENCY[freq])).items()}
    if draw(st.booleans()):
        parts["WKST"] = draw(st.sampled_from(DAYS))
    if parts["INTERVAL"] == "1":
        del parts["INTERVAL"]
    return ";".join(f"{name}={value}" for name, value in parts.items())


def start_times(all_day: bool) -> st.SearchStrategy[datetime]:
    days = st.integers(0, 12 * 365).map(lambda number: datetime(2014, 1, 1) + timedelta(days=number))
    clocks = st.just((0, 0)) if all_day else st.sampled_from(CLOCKS)
    return st.tuples(days, clocks).map(lambda pair: pair[0].replace(hour=pair[1][0], minute=pair[1][1]))


@st.composite
def series(draw: st.DrawFn, zone: str) -> Series:
    all_day = draw(st.integers(0, 9)) == 0
    start = draw(start_times(all_day))
    parts = draw(rule_parts().filter(lambda rule: not all_day or "BYHOUR" not in rule))
    plain = parse_rule(parts, _no_until)
    dates = _dates(plain, start)
    on_rule = draw(st.integers(0, 9)) > 0
    if dates and on_rule:
        # RFC 5545 3.8.5.3: DTSTART SHOULD be synchronized with the rule.
        start = dates[0]
        dates = _dates(plain, start)
    on_rule = bool(dates) and dates[0] == start
    end = draw(st.sampled_from(("none", "count", "until")))
    age = draw(st.one_of(st.integers(-20, 700), st.integers(0, 3000)))
    after = start + timedelta(days=age, hours=draw(st.integers(0, 23)))
    if end != "none" or draw(st.booleans()):
        after = draw(st.sampled_from(dates or [start])) - timedelta(days=10, hours=1)
    known = sorted({start, *dates})
    spread = draw(st.lists(st.tuples(st.sampled_from(known), st.sampled_from("tcmmn")), max_size=6, unique_by=_first))
    named = {kind: tuple(wall for wall, one in spread if one == kind) for kind in "tcm"}
    hours = st.sampled_from((24, -24, 72)) if all_day else st.sampled_from((1, -2, 5, 24, 49, -30))
    moves = tuple(
        (wall, wall + timedelta(hours=draw(hours)), draw(st.sampled_from((30, 60, 150)))) for wall in named["m"]
    )
    hop = st.integers(1, 90).map(lambda number: timedelta(days=number))
    clock = timedelta() if all_day else timedelta(hours=5, minutes=15)
    added = tuple(draw(st.sampled_from(known)) + draw(hop) + clock for _ in range(draw(st.integers(0, 2))))
    with_period = not all_day and draw(st.integers(0, 5)) == 5
    periods = (draw(st.sampled_from(known)) + timedelta(days=1),) if with_period else ()
    made = Series(
        zone=zone,
        all_day=all_day,
        start=start,
        parts=parts,
        count=draw(st.integers(1, 40)) if end == "count" else None,
        until=None,
        minutes=draw(st.sampled_from((0, 30, 60, 90, 600))),
        taken=named["t"],
        added=tuple(dict.fromkeys(added)),
        periods=periods,
        cancelled=named["c"],
        moved=moves,
        utc_dates=draw(st.booleans()),
        after=after.replace(tzinfo=UTC),
        before=after.replace(tzinfo=UTC) + timedelta(days=draw(st.sampled_from((3, 40, 200, 400)))),
        on_rule=on_rule,
    )
    if end == "until":
        days = st.integers(0, 900).map(lambda number: start + timedelta(days=number))
        last = draw(st.one_of(st.sampled_from(known), days))
        made = replace(made, until=last.replace(tzinfo=UTC) if all_day else made.instant(last))
    return made


def _dates(rule: Rule, start: datetime) -> list[datetime]:
    """Dates to do something to. Whether they are right is for the tests to say."""
    return list(islice(wall_clocks(rule, start, start, start + timedelta(days=366 * 5)), 60))


def _first(pair: tuple[datetime, str]) -> datetime:
    return pair[0]


def _no_until(text: str) -> datetime:
    raise AssertionError(text)
