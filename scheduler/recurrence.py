"""Recurrence rules: RRULE text to a `Rule`, and a `Rule` to wall-clock times. Pure.

Rules of this file:
- Everything runs on naive wall-clock time; zones come later (`occurrences`), or a weekly 14:00 would drift over DST.
- A rule is walked by months (by weeks or years where BYSETPOS counts within them), from the one that holds `after`, so
  the cost does not depend on the age of a series, and up to `before`, so a rule that matches nothing ends too.
- What matches is reckoned as days (ordinals) and times of day, apart: where dates are only counted, none is made.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from calendar import isleap, monthrange
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import groupby, product
from math import gcd
from operator import itemgetter
from typing import Final, NamedTuple, TypeVar

from dateutil import rrule as du

FREQUENCIES: Final = ("HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY")
WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")

MAX_INTERVAL: Final = 1000  # no calendar offers more; larger ones only serve to exhaust us
MAX_COUNT: Final = 10_000  # a daily series of 27 years
MAX_PARTS: Final = 400  # numbers over all BY parts; BYYEARDAY with every day is 366
MOST_IN_MONTH: Final = 5  # days of a month that are on one day of the week
MAX_TIMES_A_DAY: Final = 24  # BYHOUR x BYMINUTE x BYSECOND
COUNT_SEARCH: Final = timedelta(days=366 * 70)  # how far the COUNTth date is looked for
MAX_STEPS: Final = 1_000  # sets that are looked at for it: all months, or weeks of 19 years, or single days of three
FRUITLESS: Final = timedelta(days=366 * 40)  # 29 February falls on each weekday within it
MAX_FRUITLESS: Final = 1_000  # sets that are looked at for a first match

# Part name -> (lowest, highest) absolute value; RFC 5545 3.3.10.
_RANGES: Final = {
    "BYSECOND": (0, 60),
    "BYMINUTE": (0, 59),
    "BYHOUR": (0, 23),
    "BYMONTHDAY": (1, 31),
    "BYYEARDAY": (1, 366),
    "BYWEEKNO": (1, 53),
    "BYMONTH": (1, 12),
    "BYSETPOS": (1, 366),
}
_NUMBER: Final = re.compile(r"[+-]?\d{1,6}", re.ASCII)
_T = TypeVar("_T")
_SIGNED: Final = frozenset({"BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYSETPOS"})


@dataclass(frozen=True)
class Rule:
    """One RRULE (RFC 5545 3.3.10), its limits turned into comparable values.

    `until` is the last instant (UTC, inclusive); `last` the last wall clock (inclusive), made from COUNT by
    `count_to_last`. `by_day` holds (weekday 0 = Monday, ordinal or 0).
    """

    freq: str
    interval: int = 1
    count: int | None = None
    until: datetime | None = None
    last: datetime | None = None
    week_start: int = 0
    by_second: tuple[int, ...] = ()
    by_minute: tuple[int, ...] = ()
    by_hour: tuple[int, ...] = ()
    by_day: tuple[tuple[int, int], ...] = ()
    by_monthday: tuple[int, ...] = ()
    by_yearday: tuple[int, ...] = ()
    by_weekno: tuple[int, ...] = ()
    by_month: tuple[int, ...] = ()
    by_setpos: tuple[int, ...] = ()


class RuleRefused(ValueError):
    """The rule is broken or beyond the limits; the message says which part, for people."""


def parse_rule(text: str, until: Callable[[str], datetime]) -> Rule:
    """RRULE value to `Rule`; `until` turns the UNTIL text into the last instant (UTC).

    Liberal where vendors are: any case, a trailing semicolon, unknown X- parts. Raises RuleRefused.
    """
    parts = _split(text)
    freq = parts.pop("FREQ", "").upper()
    if freq not in FREQUENCIES:
        raise RuleRefused(f"FREQ={freq or '(none)'} is not one of {', '.join(FREQUENCIES)}")
    if "RSCALE" in parts and parts.pop("RSCALE").upper() != "GREGORIAN":
        raise RuleRefused("only the Gregorian calendar is known (RSCALE)")
    if parts.pop("SKIP", "OMIT").upper() != "OMIT":
        raise RuleRefused("dates that do not exist are left out, not moved (SKIP)")
    rule = Rule(
        freq=freq,
        interval=_number("INTERVAL", parts.pop("INTERVAL", "1"), 1, MAX_INTERVAL),
        count=_number("COUNT", parts.pop("COUNT"), 1, MAX_COUNT) if "COUNT" in parts else None,
        until=until(parts.pop("UNTIL")) if "UNTIL" in parts else None,
        week_start=_weekday(parts.pop("WKST", "MO")),
        by_day=_by_day(parts.pop("BYDAY", "")),
        by_second=_numbers("BYSECOND", parts),
        by_minute=_numbers("BYMINUTE", parts),
        by_hour=_numbers("BYHOUR", parts),
        by_monthday=_numbers("BYMONTHDAY", parts),
        by_yearday=_numbers("BYYEARDAY", parts),
        by_weekno=_numbers("BYWEEKNO", parts),
        by_month=_numbers("BYMONTH", parts),
        by_setpos=_numbers("BYSETPOS", parts),
    )
    unknown = [name for name in parts if not name.startswith("X-")]
    if unknown:
        raise RuleRefused(f"{unknown[0]} is not a part of a recurrence rule")
    _check_parts(rule)
    _check_size(rule)
    return rule


def _split(text: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for piece in text.strip().split(";"):
        if not piece.strip():
            continue
        name, equals, value = piece.partition("=")
        if not equals:
            raise RuleRefused(f"{piece[:40]!r} is not NAME=VALUE")
        parts[name.strip().upper()] = value.strip()
    return parts


def _number(name: str, text: str, low: int, high: int) -> int:
    if not _NUMBER.fullmatch(text) or not low <= int(text) <= high:
        raise RuleRefused(f"{name}={text[:20]} is outside {low} to {high}")
    return int(text)


def _numbers(name: str, parts: dict[str, str]) -> tuple[int, ...]:
    low, high = _RANGES[name]
    values = []
    for text in parts.pop(name, "").split(","):
        if not text:
            continue
        number = _number(name, text, -high if name in _SIGNED else low, high)
        if abs(number) < low:
            raise RuleRefused(f"{name}={text} is outside {low} to {high}")
        values.append(number)
    return tuple(sorted(set(values)))


def _weekday(text: str) -> int:
    if text.upper() not in WEEKDAYS:
        raise RuleRefused(f"{text[:20]!r} is not a day of the week")
    return WEEKDAYS.index(text.upper())


def _by_day(text: str) -> tuple[tuple[int, int], ...]:
    found = set()
    for piece in filter(None, text.split(",")):
        ordinal, day = piece.strip()[:-2], piece.strip()[-2:]
        found.add((_weekday(day), _number("BYDAY", ordinal, -53, 53) if ordinal else 0))
    return tuple(sorted(found))


def _check_parts(rule: Rule) -> None:
    """The parts that RFC 5545 3.3.10 keeps from a frequency and that have no plain meaning there."""
    if rule.by_weekno and rule.freq != "YEARLY":
        raise RuleRefused(f"BYWEEKNO does not go with FREQ={rule.freq}")
    if rule.by_yearday and rule.freq in ("DAILY", "WEEKLY", "MONTHLY"):
        raise RuleRefused(f"BYYEARDAY does not go with FREQ={rule.freq}")


def _times_a_day(rule: Rule) -> int:
    return max(1, len(rule.by_hour)) * max(1, len(rule.by_minute)) * max(1, len(rule.by_second))


def _check_size(rule: Rule) -> None:
    if rule.freq == "HOURLY" and rule.count is None:
        raise RuleRefused("an hourly rule needs a COUNT")
    times = _times_a_day(rule)
    if times > MAX_TIMES_A_DAY:
        raise RuleRefused(f"more than {MAX_TIMES_A_DAY} times a day")
    if len(rule.by_yearday) * times > MAX_PARTS:
        raise RuleRefused(f"more than {MAX_PARTS} times a year by BYYEARDAY")
    lists = (rule.by_second, rule.by_minute, rule.by_hour, rule.by_day, rule.by_monthday, rule.by_yearday)
    if sum(len(part) for part in (*lists, rule.by_weekno, rule.by_month, rule.by_setpos)) > MAX_PARTS:
        raise RuleRefused(f"more than {MAX_PARTS} numbers in its BY parts")


def count_to_last(rule: Rule, start: datetime) -> Rule:
    """The rule with COUNT turned into `last`, so that it can be entered anywhere. `start` is DTSTART's wall clock.

    COUNT counts DTSTART also when the rule does not match it (RFC 5545 3.3.10). Raises RuleRefused when the search
    would be long: a rule that matches next to nothing must not keep us busy.
    """
    if rule.count is None:
        return rule
    walk = _Walk(rule, start)
    last, seen, low = _leapt(walk, rule.count)
    latest: tuple[_Set, int] | None = None  # the date counted last, not made yet: a place in a set
    for steps, one in enumerate(walk.sets(low, start + COUNT_SEARCH)):
        if steps > MAX_STEPS:
            raise RuleRefused(f"the end of COUNT={rule.count} is too far to look for")
        early = 0 if latest else walk.up_to(one, last)
        more = min(walk.size(one) - early, rule.count - seen)
        if more:
            seen, latest = seen + more, (one, early + more - 1)
        if seen == rule.count:
            break
    return replace(rule, last=walk.wall_at(*latest) if latest else last)


def _leapt(walk: _Walk, count: int) -> tuple[datetime, int, datetime]:
    """(last date seen, how many, from where to go on) just before the COUNTth date, where every period has as many."""
    start, first, step = walk.start, *walk.steady_period()
    if not step:
        return start, 1, start
    early = [wall for wall in walk.between(start, first + step) if wall > start]
    each = walk.between(first + step, first + 2 * step)
    if not each or 1 + len(early) >= count:
        return start, 1, start
    whole = min((count - 2 - len(early)) // len(each), (COUNT_SEARCH - step) // step)
    if whole < 1:
        return start, 1, start
    return each[-1] + (whole - 1) * step, 1 + len(early) + whole * len(each), first + (1 + whole) * step


def gives_nothing(rule: Rule, start: datetime) -> bool:
    """Whether a rule is seen to match nothing from DTSTART (a wall clock) on, such as 30 February.

    One that matches next to nothing, or that cannot be looked through quickly, is given the benefit of the doubt.
    """
    if rule.count is not None:  # then it was searched already
        return rule.count > 1 and rule.last == start
    walk = _Walk(rule, start)
    for steps, one in enumerate(walk.sets(start, start + FRUITLESS)):
        size = walk.size(one)
        if steps > MAX_FRUITLESS or (size and walk.wall_at(one, size - 1) >= start):
            return False
    return True


def wall_clocks(rule: Rule, start: datetime, after: datetime, before: datetime) -> Iterator[datetime]:
    """Wall clocks that match the rule, ascending, with start <= wall, after <= wall < before and wall <= rule.last.

    `start` is DTSTART's wall clock; it is yielded only if the rule matches it. `rule.until` is the caller's: it is
    an instant and needs the zone.
    """
    if rule.last is not None:
        before = min(before, rule.last + timedelta(microseconds=1))
    walk, low = _Walk(rule, start), max(start, after)
    for one in walk.sets(low, before):
        yield from walk.walls(one, low, before)


def with_defaults(rule: Rule, start: datetime) -> Rule:
    """What the rule leaves open is taken from DTSTART (RFC 5545 3.3.10)."""
    if rule.freq == "WEEKLY" and not rule.by_day:
        return replace(rule, by_day=((start.weekday(), 0),))
    if rule.freq not in ("MONTHLY", "YEARLY") or rule.by_day or rule.by_monthday or rule.by_yearday:
        return rule
    if rule.by_weekno:
        return replace(rule, by_day=((start.weekday(), 0),))
    months = rule.by_month or ((start.month,) if rule.freq == "YEARLY" else ())
    return replace(rule, by_month=months, by_monthday=(start.day,))


_Times = Sequence[timedelta]  # since midnight, ascending


class _Set(NamedTuple):
    """Wall clocks: each of the days at each of the times. Days are counted from `base`, an ordinal (date.toordinal)."""

    base: int
    days: Sequence[int]
    times: _Times


_LATEST: Final = datetime(9999, 12, 31)
_LAST_DAY: Final = _LATEST.toordinal()
_END: Final = _LATEST.year * 12  # no month from there on is looked at


class _Walk:
    """A rule and its DTSTART (a wall clock), laid out to be entered anywhere.

    Which days of a month or a year fit is found once for each kind of it: there are fourteen calendars.
    """

    def __init__(self, rule: Rule, start: datetime) -> None:
        self.rule = rule = with_defaults(rule, start)
        self.start, self.day = start, start.toordinal()
        self.week = self.day - (start.weekday() - rule.week_start) % 7  # by WKST; weeks are counted from this one
        self.hour = self.day * 24 + start.hour
        # BYSETPOS takes times of a day or an hour, always the same; of longer periods days, if each has one time.
        is_short = rule.freq in ("DAILY", "HOURLY")
        hours = (0,) if rule.freq == "HOURLY" else rule.by_hour or (start.hour,)
        self.times = _placed(_times(rule, start, hours), rule.by_setpos if is_short else ())
        self.places_of_days = rule.by_setpos if not is_short and len(self.times) == 1 else ()
        self.places = rule.by_setpos if not is_short and len(self.times) > 1 else ()
        numbered = rule.freq in ("MONTHLY", "YEARLY")
        self.by_day = rule.by_day if numbered else tuple({(weekday, 0): None for weekday, _ in rule.by_day})
        self._kinds: dict[tuple[int, ...], Sequence[int]] = {}  # the days, from 0 on, of a kind of month or year
        self._at_hours: dict[int, _Times] = {}
        self._chosen: dict[int, Sequence[int]] = {}

    def sets(self, low: datetime, before: datetime) -> Iterator[_Set]:
        """The sets that BYSETPOS chooses from, whole, or months of dates where it has no say."""
        freq = self.rule.freq
        if not self._has_places():
            return iter(())
        if freq == "YEARLY":
            return (self._of_year(year) for year in self._years(low, before))
        if freq == "MONTHLY":
            return (self._of_month(index) for index in self._months(low, before))
        if freq == "WEEKLY" and self.rule.by_setpos:
            return self._weeks(low.toordinal(), before.toordinal())
        months = self._stretches(low.toordinal(), before.toordinal() + 1)
        return self._by_hours(months) if freq == "HOURLY" else months

    def _has_places(self) -> bool:
        """Whether BYSETPOS takes anything even of the largest set: then no month needs to be looked at for that."""
        most = {"WEEKLY": len(self.by_day), "MONTHLY": 31, "YEARLY": 366}.get(self.rule.freq)
        return bool(_placed(range(most * len(self.times)), self.rule.by_setpos) if most else self.times)

    def size(self, one: _Set) -> int:
        """How many wall clocks a set has."""
        whole = len(one.days) * len(one.times)
        return len(self._choice(whole)) if self.places else whole

    def wall_at(self, one: _Set, place: int) -> datetime:
        """The wall clock at a place of a set."""
        base, days, times = one
        if self.places:
            place = self._choice(len(days) * len(times))[place]
        day, number = divmod(place, len(times))
        return datetime.fromordinal(base + days[day]) + times[number]

    def up_to(self, one: _Set, wall: datetime) -> int:
        """How many wall clocks of a set are not later than another."""
        base, days, times = one
        day = wall.toordinal() - base
        if not days or day < days[0]:
            return 0
        if self.places:
            return bisect_right(self.walls(one), wall)
        place = bisect_left(days, day)
        is_there = place < len(days) and days[place] == day
        return place * len(times) + (bisect_right(times, wall - datetime.fromordinal(base + day)) if is_there else 0)

    def walls(self, one: _Set, low: datetime = datetime(1, 1, 1), before: datetime | None = None) -> list[datetime]:
        """The wall clocks of a set from `low` on and before `before`, ascending."""
        base, days, times = one
        if self.places:
            places = [divmod(place, len(times)) for place in self._choice(len(days) * len(times))]
            found = [datetime.fromordinal(base + days[day]) + times[number] for day, number in places]
        elif len(times) == 1:
            found = [datetime.fromordinal(base + day) + times[0] for day in days]
        else:
            first, last = low.toordinal(), (before or _LATEST).toordinal()
            midnights = [datetime.fromordinal(base + day) for day in days if first <= base + day <= last]
            found = [midnight + clock for midnight in midnights for clock in times]
        if found and (found[0] < low or (before is not None and found[-1] >= before)):
            found = [wall for wall in found if low <= wall and (before is None or wall < before)]
        return found

    def between(self, low: datetime, before: datetime) -> list[datetime]:
        """The wall clocks of a short time."""
        return [wall for one in self.sets(low, before) for wall in self.walls(one, low, before)]

    def steady_period(self) -> tuple[datetime, timedelta]:
        """Where the period of DTSTART begins and how long each is, nothing when not all have as many dates."""
        rule, midnight = self.rule, datetime.fromordinal(self.day)
        if rule.by_month or rule.by_monthday or rule.by_yearday or (rule.by_day and rule.freq != "WEEKLY"):
            return midnight, timedelta()
        if rule.freq == "WEEKLY":
            return datetime.fromordinal(self.week), timedelta(weeks=rule.interval)
        if rule.freq == "DAILY":
            return midnight, timedelta(days=rule.interval)
        if rule.freq == "HOURLY" and not rule.by_hour:
            return midnight + timedelta(hours=self.start.hour), timedelta(hours=rule.interval)
        return midnight, timedelta()

    def _years(self, low: datetime, before: datetime) -> Iterator[int]:
        first, step = self.start.year, self.rule.interval
        return iter(range(first + max(0, (low.year - first) // step) * step, _year_past(before), step))

    def _months(self, low: datetime, before: datetime) -> Iterator[int]:
        """Months of a monthly rule, counted from year 0."""
        first, step = _month_index(self.start), self.rule.interval
        begin = first + max(0, (_month_index(low) - first) // step) * step
        return self._listed(range(begin, min(_month_index(before) + 1, _END), step))

    def _listed(self, months: Iterable[int]) -> Iterator[int]:
        """Those that BYMONTH allows."""
        by_month = self.rule.by_month
        return (index for index in months if not by_month or index % 12 + 1 in by_month)

    def _of_year(self, year: int) -> _Set:
        first = _new_year(year)
        weeks = (_weeks_of(self.rule, year - 1), _weeks_of(self.rule, year + 1)) if self.rule.by_weekno else ()
        kind = (_weekday_of(first), isleap(year), *weeks)
        if kind not in self._kinds:
            self._kinds[kind] = _placed(self._in_year(year), self.places_of_days)
        return _Set(first, self._kinds[kind], self.times)

    def _in_year(self, year: int) -> list[int]:
        """The days of a year, from 0 on, that every BY part allows."""
        rule, first, length = self.rule, _new_year(year), 365 + isleap(year)
        days = list(range(length))
        if rule.by_month or rule.by_monthday:
            months = [self._of_month(index) for index in self._listed(range(year * 12, year * 12 + 12))]
            days = [month.base - first + day for month in months for day in month.days]
        if rule.by_yearday:
            named = {day - 1 if day > 0 else length + day for day in rule.by_yearday}
            days = [day for day in days if day in named]
        if days and rule.by_day and not rule.by_month:
            on_weekdays = _on_weekdays(self.by_day, _weekday_of(first), length)
            days = [day for day in days if day in on_weekdays]
        if days and rule.by_weekno:
            weeks, begin = _listed_weeks(rule, year), first - rule.week_start - 1
            days = [day for day in days if first + day - (begin + day) % 7 in weeks]
        return days

    def _of_month(self, index: int) -> _Set:
        first = _first_of(index)
        return _Set(first, self._fitting(first, _first_of(index + 1)), self.times)

    def _fitting(self, first: int, past: int) -> Sequence[int]:
        """The days, from 0 on, that BYMONTHDAY and BYDAY (and a monthly BYSETPOS) allow in a month."""
        kind = ((first - 1) % 7, past - first)
        if kind not in self._kinds:
            places = self.places_of_days if self.rule.freq == "MONTHLY" else ()
            # The numbers of a yearly BYDAY count in the month only beside BYMONTH (RFC 5545 3.3.10).
            by_day = self.by_day if self.rule.freq != "YEARLY" or self.rule.by_month else ()
            self._kinds[kind] = _placed(_in_month(self.rule.by_monthday, by_day, *kind), places)
        return self._kinds[kind]

    def _stretches(self, first: int, past: int) -> Iterator[_Set]:
        """The days of a daily, weekly or hourly rule in the months from a day on and before another."""
        rule = self.rule
        begin, end = (_month_index(date.fromordinal(min(max(day, 1), _LAST_DAY))) for day in (first, past))
        filtered = rule.by_yearday or rule.by_monthday or (rule.by_day and rule.freq != "WEEKLY")
        by_yearday = frozenset(rule.by_yearday)
        for index in self._listed(range(begin, min(end + 1, _END))):
            opens, closes = _first_of(index), _first_of(index + 1)
            days = self._stepping(max(opens, first), min(closes, past))
            if filtered:
                days = [opens + day for day in self._fitting(opens, closes) if opens + day in days]
            if by_yearday and days:
                new_year, length = _new_year(index // 12), 365 + isleap(index // 12)
                days = [n for n in days if n - new_year + 1 in by_yearday or n - new_year - length in by_yearday]
            if days:
                yield _Set(0, days, self.times)

    def _stepping(self, first: int, past: int) -> Sequence[int]:
        """The days (ordinals) from one on and before another that FREQ and INTERVAL (and a weekly BYDAY) allow."""
        rule, step = self.rule, self.rule.interval
        if rule.freq == "DAILY":
            return range(first + (self.day - first) % step, past, step)
        if rule.freq == "WEEKLY":
            if step == 1:
                weekdays = {wanted for wanted, _ in self.by_day}
                return [day for day in range(first, past) if (day - 1) % 7 in weekdays]
            begins = [self.week + (wanted - rule.week_start) % 7 for wanted, _ in self.by_day]
            return sorted(day for one in begins for day in range(first + (one - first) % (7 * step), past, 7 * step))
        if step <= 24:
            return range(first, past)
        return sorted({h // 24 for h in range(first * 24 + (self.hour - first * 24) % step, past * 24, step)})

    def _weeks(self, first: int, last: int) -> Iterator[_Set]:
        """The days of whole weeks, from that which holds a day to that which holds another."""
        opens, past = (day - (day - self.week) % 7 for day in (first, last + 7))
        days: list[int] = []
        for month in self._stretches(opens, past):
            days += month.days
            at = 0
            while at < len(days):
                end = bisect_left(days, days[at] - (days[at] - self.week) % 7 + 7)
                if end == len(days):
                    break  # this week may go on in the next month
                yield self._of_week(days[at:end])
                at = end
            del days[:at]
        if days:
            yield self._of_week(days)

    def _of_week(self, days: list[int]) -> _Set:
        chosen = [days[place] for place in self._choice(len(days))] if self.places_of_days else days
        return _Set(0, chosen, self.times)

    def _by_hours(self, months: Iterator[_Set]) -> Iterator[_Set]:
        """The days of an hourly rule with the hours that it has on each."""
        step = self.rule.interval
        turn = step // gcd(24, step)  # days, after which the same hours come again
        wanted = {hour % step for hour in self.rule.by_hour or range(24)}
        good = {day for day in range(turn) if (self.hour - day * 24) % step in wanted}
        if not good:
            return
        for base, days, _ in months:
            if turn == 1:
                yield _Set(base, days, self._from_hour(self.hour % step))
                continue
            for day in [day for day in days if (base + day) % turn in good]:
                yield _Set(base, [day], self._from_hour((self.hour - (base + day) * 24) % step))

    def _from_hour(self, hour: int) -> _Times:
        """The times of a day on which an hourly rule comes first at this hour."""
        if hour not in self._at_hours:
            by_hour = self.rule.by_hour
            hours = [one for one in range(hour, 24, self.rule.interval) if not by_hour or one in by_hour]
            self._at_hours[hour] = [timedelta(hours=one) + time for one in hours for time in self.times]
        return self._at_hours[hour]

    def _choice(self, size: int) -> Sequence[int]:
        """The places of a set of this size that BYSETPOS takes."""
        if size not in self._chosen:
            self._chosen[size] = _placed(range(size), self.rule.by_setpos)
        return self._chosen[size]


def _month_index(day: date) -> int:
    """Months since year 0."""
    return day.year * 12 + day.month - 1


@lru_cache(maxsize=4096)
def _first_of(index: int) -> int:
    """The ordinal of a month's first day."""
    return date(index // 12, index % 12 + 1, 1).toordinal()


def _year_past(before: datetime) -> int:
    """The first year that does not begin before an instant."""
    return min(before.year + (before > datetime(before.year, 1, 1)), _LATEST.year)


def _new_year(year: int) -> int:
    """The ordinal of 1 January, also of years that `date` does not know."""
    past = year - 1
    return past * 365 + past // 4 - past // 100 + past // 400 + 1


def _weekday_of(day: int) -> int:
    """0 = Monday, on which ordinal 1 was."""
    return (day - 1) % 7


def _times(rule: Rule, start: datetime, hours: Iterable[int]) -> _Times:
    minutes, seconds = rule.by_minute or (start.minute,), rule.by_second or (start.second,)
    # Second 60 is a leap second; datetime has none.
    clocks = {(hour, minute, min(second, 59)) for hour, minute, second in product(hours, minutes, seconds)}
    return [timedelta(hours=hour, minutes=minute, seconds=second) for hour, minute, second in sorted(clocks)]


@lru_cache(maxsize=256)
def _in_month(
    by_monthday: tuple[int, ...], by_day: tuple[tuple[int, int], ...], weekday: int, length: int
) -> tuple[int, ...]:
    """The days, from 0 on, that BYMONTHDAY and BYDAY allow in a month of a length that begins on a day of the week.

    dateutil is asked for BYDAY in one month of that kind, and for nothing else: it looks for a match up to the year
    9999, and there is none where BYMONTHDAY never meets it.
    """
    days = set(range(length))
    if by_monthday:
        days = {day - 1 if day > 0 else length + day for day in by_monthday if abs(day) <= length}
    return tuple(sorted(days & _by_day_in_month(by_day, weekday, length) if by_day else days))


@lru_cache(maxsize=256)
def _by_day_in_month(by_day: tuple[tuple[int, int], ...], weekday: int, length: int) -> frozenset[int]:
    first = _month_of(weekday, length)
    plain = [du.weekdays[day] for day, number in by_day if not number]
    numbered = [du.weekdays[day](number) for day, number in by_day if number and abs(number) <= MOST_IN_MONTH]
    found: set[int] = set()
    # BYDAY lists days (RFC 5545 3.3.10); dateutil wants a day to match both, when some have a number and some have not.
    for days in filter(None, (plain, numbered)):
        month = du.rrule(du.MONTHLY, first, until=first + timedelta(days=length - 1), byweekday=days)
        found.update(wall.day - 1 for wall in month)
    return frozenset(found)


@lru_cache(maxsize=28)
def _month_of(weekday: int, length: int) -> datetime:
    """The first day of some month of a kind."""
    months = (datetime(index // 12, index % 12 + 1, 1) for index in range(2000 * 12, 2028 * 12))
    return next(one for one in months if (one.weekday(), monthrange(one.year, one.month)[1]) == (weekday, length))


def _on_weekdays(by_day: tuple[tuple[int, int], ...], weekday: int, length: int) -> set[int]:
    """BYDAY in so many days, from 0 on, of which the first is on this day of the week."""
    found: set[int] = set()
    for wanted, pairs in groupby(by_day, itemgetter(0)):
        days, numbers = range((wanted - weekday) % 7, length, 7), [number for _, number in pairs]
        if 0 in numbers:
            found.update(days)
        else:
            found.update([days[n - 1 if n > 0 else n] for n in numbers if abs(n) <= len(days)])
    return found


def _listed_weeks(rule: Rule, year: int) -> set[int]:
    """BYWEEKNO: the first days (ordinals) of weeks in a year. A week is of the year that has its fourth day."""
    found: set[int] = set()
    for one in (year - 1, year, year + 1):
        first, weeks = _week_one(rule, one), _weeks_of(rule, one)
        near = {year - 1: {weeks - 1}, year: set(range(weeks)), year + 1: {0}}[one]
        listed = {number - 1 if number > 0 else weeks + number for number in rule.by_weekno}
        found.update(first + 7 * number for number in near & listed)
    return found


def _weeks_of(rule: Rule, year: int) -> int:
    """How many weeks a year has."""
    return (_week_one(rule, year + 1) - _week_one(rule, year)) // 7


def _week_one(rule: Rule, year: int) -> int:
    """The first day of week 1."""
    first = _new_year(year)
    before = (_weekday_of(first) - rule.week_start) % 7  # days of its week in the year before
    return first - before if before <= 3 else first - before + 7


def _placed(found: Sequence[_T], places: tuple[int, ...]) -> Sequence[_T]:
    """BYSETPOS: the nth of a set, counted from its end when negative."""
    if not places:
        return found
    size = len(found)
    return [found[place] for place in sorted({n - 1 if n > 0 else size + n for n in places if abs(n) <= size})]
