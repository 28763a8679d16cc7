"""Recurrence rules: RRULE text to a `Rule`, and a `Rule` to wall-clock times. Pure.

Rules of this file:
- Everything runs on naive wall-clock time; zones come later (`occurrences`), or a weekly 14:00 would drift over DST.
- We walk the rule's periods (years, months, weeks, days, hours) from the one that holds `after`, so the cost does not
  depend on the age of a series, and stop at `before`, so a rule that matches nothing ends too. dateutil alone does
  neither: it starts at DTSTART and searches up to the year 9999.
- Inside one month or year dateutil says which days match: one period per call, made by an interval that leaps past
  its last year.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from itertools import islice, product
from typing import Final

from dateutil import rrule as du

FREQUENCIES: Final = ("HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY")
WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")

MAX_INTERVAL: Final = 1000  # no calendar offers more; larger ones only serve to exhaust us
MAX_COUNT: Final = 10_000  # a daily series of 27 years
MAX_PARTS: Final = 400  # numbers over all BY parts; BYYEARDAY with every day is 366
MAX_TIMES_A_DAY: Final = 24  # BYHOUR x BYMINUTE x BYSECOND
COUNT_SEARCH: Final = timedelta(days=366 * 70)  # how far the COUNTth date is looked for
MAX_STEPS: Final = 18_000  # periods and times that are looked at for it: a monthly date for 70 years
FRUITLESS: Final = timedelta(days=366 * 40)  # 29 February falls on each weekday within it
MAX_FRUITLESS: Final = 4_000  # periods and times that are looked at for a first match
_STEPS: Final = {"YEARLY": 20, "MONTHLY": 20}  # what a period costs; dateutil's calls are dear
_LEAP: Final = {"YEARLY": 10_000, "MONTHLY": 120_000}  # periods: past year 9999 from anywhere

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
    full, steps = with_defaults(rule, start), 0
    last, seen, low = _leapt(full, start, rule.count)
    for walls, looked_at in _sets(full, start, low, start + COUNT_SEARCH):
        later = [wall for wall in walls if wall > last][: rule.count - seen]
        last, seen, steps = (later or [last])[-1], seen + len(later), steps + looked_at
        if seen == rule.count:
            break
        if steps > MAX_STEPS:
            raise RuleRefused(f"the end of COUNT={rule.count} is too far to look for")
    return replace(rule, last=last)


def _leapt(rule: Rule, start: datetime, count: int) -> tuple[datetime, int, datetime]:
    """(last date seen, how many, from where to go on) just before the COUNTth date, where every period has as many.

    Counting an hourly rule of 10,000 one by one would take longer than all else that a mail asks for.
    """
    filtered = rule.by_month or rule.by_monthday or rule.by_yearday or (rule.by_day and rule.freq != "WEEKLY")
    if rule.freq in _LEAP or filtered or (rule.by_hour and rule.freq == "HOURLY"):
        return start, 1, start
    first, second = islice(_periods(rule, start, start, start + COUNT_SEARCH), 2)
    early = [wall for wall in _set(rule, start, first) if wall > start]
    each, step = _set(rule, start, second), second - first
    if not each or 1 + len(early) >= count:
        return start, 1, start
    whole = min((count - 2 - len(early)) // len(each), (COUNT_SEARCH - step) // step)
    if whole < 1:
        return start, 1, start
    return each[-1] + (whole - 1) * step, 1 + len(early) + whole * len(each), second + whole * step


def gives_nothing(rule: Rule, start: datetime) -> bool:
    """Whether a rule is seen to match nothing from DTSTART (a wall clock) on, such as 30 February.

    One that matches next to nothing, or that cannot be looked through quickly, is given the benefit of the doubt.
    """
    if not _can_match(rule):
        return True
    if rule.count is not None:  # then it was searched already
        return rule.count > 1 and rule.last == start
    steps = 0
    for walls, looked_at in _sets(with_defaults(rule, start), start, start, start + FRUITLESS):
        steps += looked_at
        if steps > MAX_FRUITLESS or any(wall >= start for wall in walls):
            return False
    return True


def _can_match(rule: Rule) -> bool:
    """False where a rule asks for what no period has: no year needs to be searched for that."""
    if rule.by_month and rule.by_monthday:
        longest = max(monthrange(2024, month)[1] for month in rule.by_month)
        if all(abs(day) > longest for day in rule.by_monthday):
            return False  # 30 February
    if rule.by_setpos and rule.freq not in _LEAP:
        size = _times_a_day(rule) * (max(1, len(rule.by_day)) if rule.freq == "WEEKLY" else 1)
        return any(abs(position) <= size for position in rule.by_setpos)
    return True


def wall_clocks(rule: Rule, start: datetime, after: datetime, before: datetime) -> Iterator[datetime]:
    """Wall clocks that match the rule, ascending, with start <= wall, after <= wall < before and wall <= rule.last.

    `start` is DTSTART's wall clock; it is yielded only if the rule matches it. `rule.until` is the caller's: it is
    an instant and needs the zone.
    """
    if rule.last is not None:
        before = min(before, rule.last + timedelta(microseconds=1))
    low = max(start, after)
    for walls, _ in _sets(with_defaults(rule, start), start, low, before):
        for wall in walls:
            if wall >= before:
                return
            if wall >= low:
                yield wall


def _sets(rule: Rule, start: datetime, low: datetime, before: datetime) -> Iterator[tuple[list[datetime], int]]:
    """The set of each period, ascending, and how much work it was."""
    if not _can_match(rule):
        return
    for period in _periods(rule, start, low, before):
        walls = sorted(set(_in_period(rule, start, period)))
        yield _positions(walls, rule.by_setpos), len(walls) + _STEPS.get(rule.freq, 1)


def _set(rule: Rule, start: datetime, period: datetime) -> list[datetime]:
    return _positions(sorted(set(_in_period(rule, start, period))), rule.by_setpos)


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


def _periods(rule: Rule, start: datetime, low: datetime, before: datetime) -> Iterator[datetime]:
    """First instants (wall clock) of the periods to look at, from the one that can hold `low`."""
    if rule.freq in ("YEARLY", "MONTHLY"):
        yield from _month_periods(rule, start, low, before)
        return
    if rule.freq == "WEEKLY":
        # The week that holds DTSTART, by WKST, is week 0 (RFC 5545 3.3.10).
        first = _midnight(start) - timedelta(days=(start.weekday() - rule.week_start) % 7)
        step = timedelta(weeks=rule.interval)
    elif rule.freq == "DAILY":
        first, step = _midnight(start), timedelta(days=rule.interval)
    else:
        first, step = start.replace(minute=0, second=0, microsecond=0), timedelta(hours=rule.interval)
    period = first + max(0, (low - first) // step) * step
    while period < before:
        yield period
        period += step


def _month_periods(rule: Rule, start: datetime, low: datetime, before: datetime) -> Iterator[datetime]:
    yearly = rule.freq == "YEARLY"
    step = 12 * rule.interval if yearly else rule.interval
    first = start.year * 12 + (0 if yearly else start.month - 1)
    index = first + max(0, (low.year * 12 + low.month - 1 - first) // step) * step
    while index // 12 < date.max.year and (period := datetime(index // 12, index % 12 + 1, 1)) < before:
        if yearly or not rule.by_month or period.month in rule.by_month:
            yield period
        index += step


def _midnight(wall: datetime) -> datetime:
    return datetime.combine(wall.date(), time())


def _in_period(rule: Rule, start: datetime, period: datetime) -> Iterator[datetime]:
    if rule.freq in _LEAP:
        yield from _by_dateutil(rule, start, period)
        return
    if rule.freq == "WEEKLY":
        days = [period + timedelta(days=(day - rule.week_start) % 7) for day, _ in rule.by_day]
    else:
        days = [period]
    minutes, seconds = rule.by_minute or (start.minute,), rule.by_second or (start.second,)
    if rule.freq == "HOURLY":
        hours: tuple[int, ...] = (period.hour,) if not rule.by_hour or period.hour in rule.by_hour else ()
    else:
        hours = rule.by_hour or (start.hour,)
    for day in days:
        if _day_allowed(rule, day):
            for hour, minute, second in product(hours, minutes, seconds):
                # Second 60 is a leap second; datetime has none.
                yield day.replace(hour=hour, minute=minute, second=min(second, 59))


def _day_allowed(rule: Rule, day: datetime) -> bool:
    """The parts that limit a daily, weekly or hourly rule (the table in RFC 5545 3.3.10)."""
    if rule.by_month and day.month not in rule.by_month:
        return False
    if rule.by_day and rule.freq != "WEEKLY" and all(day.weekday() != wanted for wanted, _ in rule.by_day):
        return False
    if rule.by_monthday:
        length = (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
        if day.day not in rule.by_monthday and day.day - length.day - 1 not in rule.by_monthday:
            return False
    if rule.by_yearday:
        year_length = date(day.year, 12, 31).timetuple().tm_yday
        yearday = day.timetuple().tm_yday
        return yearday in rule.by_yearday or yearday - year_length - 1 in rule.by_yearday
    return True


def _by_dateutil(rule: Rule, start: datetime, period: datetime) -> Iterator[datetime]:
    plain = [du.weekdays[day] for day, n in rule.by_day if not n]
    # No month has a sixth Monday, and dateutil looks for a 53rd behind the end of its table.
    most = 5 if rule.freq == "MONTHLY" or rule.by_month else 53
    ordinal = [du.weekdays[day](n) for day, n in rule.by_day if n and abs(n) <= most]
    # BYDAY lists days (RFC 5545 3.3.10); dateutil wants a day to match both, when some have a number and some have not.
    for days in filter(None, (plain, ordinal)) if rule.by_day else (None,):
        found = _one_period(rule, start, period, days)
        yield from (wall for wall in found if not rule.by_weekno or _week_allowed(rule, wall))


def _week_allowed(rule: Rule, wall: datetime) -> bool:
    """BYWEEKNO. A week is of the year that has its fourth day (RFC 5545 3.3.10); dateutil errs at some new years."""
    fourth = wall + timedelta(days=3 - (wall.weekday() - rule.week_start) % 7)
    last = date(fourth.year, 12, 31)
    last -= timedelta(days=(last.weekday() - rule.week_start - 3) % 7)
    number, weeks = ((day.timetuple().tm_yday + 6) // 7 for day in (fourth, last))
    return number in rule.by_weekno or number - weeks - 1 in rule.by_weekno


def _one_period(rule: Rule, start: datetime, period: datetime, days: list[du.weekday] | None) -> du.rrule:
    return du.rrule(
        getattr(du, rule.freq),
        dtstart=period,
        interval=_LEAP[rule.freq],
        wkst=rule.week_start,
        bymonth=rule.by_month or None,
        bymonthday=rule.by_monthday or None,
        byyearday=rule.by_yearday or None,
        byweekday=days,
        byhour=rule.by_hour or (start.hour,),
        byminute=rule.by_minute or (start.minute,),
        bysecond=tuple(min(second, 59) for second in rule.by_second) or (start.second,),
    )


def _positions(walls: list[datetime], positions: tuple[int, ...]) -> list[datetime]:
    """BYSETPOS: the nth of the period's set, counted from its end when negative."""
    if not positions:
        return walls
    size = len(walls)
    return sorted({walls[n - 1 if n > 0 else size + n] for n in positions if abs(n) <= size})
