"""A recurrence rule read day by day, as plain and slow as RFC 5545 3.3.10 has it: an opinion of its own."""

from calendar import isleap, monthrange
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from itertools import groupby, product

from scheduler.recurrence import Rule

DAY = timedelta(days=1)


def walls(rule: Rule, start: datetime, before: datetime) -> Iterator[datetime]:
    """The wall clocks that match the rule from `start` on; COUNT, UNTIL and a DTSTART off the rule are the caller's."""
    first = _period_start(rule, start.date())
    # A year more, so that the last period is whole.
    days = (first + DAY * number for number in range((before.date() - first).days + 367))
    for _, group in groupby(days, lambda day: _period_start(rule, day)):
        period = list(group)
        if _distance(rule, first, period[0]) % rule.interval:
            continue
        days_in = [day for day in period if _matches(rule, start, day)]
        chosen = [datetime.combine(*pair) for pair in product(days_in, _times(rule, start))]
        size = len(chosen)
        for index, wall in enumerate(chosen):
            if wall >= before:
                return
            at_place = not rule.by_setpos or index + 1 in rule.by_setpos or index - size in rule.by_setpos
            if wall >= start and at_place:
                yield wall


def hours(rule: Rule, start: datetime, before: datetime) -> Iterator[datetime]:
    """The same for an hourly rule, hour by hour."""
    hour = start.replace(minute=0)
    while hour < before:
        minutes = sorted(rule.by_minute or (start.minute,))
        fits = _matches(rule, start, hour.date()) and (not rule.by_hour or hour.hour in rule.by_hour)
        for index, minute in enumerate(minutes if fits else ()):
            wall = hour.replace(minute=minute)
            at_place = not rule.by_setpos or index + 1 in rule.by_setpos or index - len(minutes) in rule.by_setpos
            if start <= wall < before and at_place:
                yield wall
        hour += timedelta(hours=rule.interval)


def _period_start(rule: Rule, day: date) -> date:
    if rule.freq == "YEARLY":
        return date(day.year, 1, 1)
    if rule.freq == "MONTHLY":
        return date(day.year, day.month, 1)
    if rule.freq == "WEEKLY":
        return day - DAY * ((day.weekday() - rule.week_start) % 7)
    return day


def _distance(rule: Rule, first: date, period: date) -> int:
    if rule.freq == "YEARLY":
        return period.year - first.year
    if rule.freq == "MONTHLY":
        return (period.year - first.year) * 12 + period.month - first.month
    return (period - first).days // (7 if rule.freq == "WEEKLY" else 1)


def _times(rule: Rule, start: datetime) -> list[time]:
    hours, minutes = rule.by_hour or (start.hour,), rule.by_minute or (start.minute,)
    return [time(*parts) for parts in product(hours, minutes, rule.by_second or (start.second,))]


def _matches(rule: Rule, start: datetime, day: date) -> bool:
    """A day is in when no BY part forbids it; what is left open is taken from DTSTART."""
    by_day, by_monthday, by_month = rule.by_day, rule.by_monthday, rule.by_month
    coarse = rule.freq in ("YEARLY", "MONTHLY")
    if (rule.freq == "WEEKLY" and not by_day) or (rule.by_weekno and not (by_day or by_monthday or rule.by_yearday)):
        by_day = ((start.weekday(), 0),)
    elif coarse and not (by_day or by_monthday or rule.by_yearday):
        by_monthday = (start.day,)
        by_month = by_month or ((start.month,) if rule.freq == "YEARLY" else ())
    month_length = monthrange(day.year, day.month)[1]
    year_length = 365 + isleap(day.year)
    yearday = day.timetuple().tm_yday
    return (
        (not by_month or day.month in by_month)
        and (not by_monthday or day.day in by_monthday or day.day - month_length - 1 in by_monthday)
        and (not rule.by_yearday or yearday in rule.by_yearday or yearday - year_length - 1 in rule.by_yearday)
        and (not rule.by_weekno or _week_listed(rule, day))
        and (not by_day or any(_weekday_fits(rule, wanted, n, day) for wanted, n in by_day))
    )


def _weekday_fits(rule: Rule, wanted: int, n: int, day: date) -> bool:
    if day.weekday() != wanted:
        return False
    if n == 0 or rule.freq not in ("YEARLY", "MONTHLY"):
        return True
    if rule.freq == "MONTHLY" or rule.by_month:
        place, length = day.day, monthrange(day.year, day.month)[1]
    else:
        place, length = day.timetuple().tm_yday, 365 + isleap(day.year)
    return n in ((place - 1) // 7 + 1, -((length - place) // 7 + 1))


def _week_listed(rule: Rule, day: date) -> bool:
    """Week 1 is the first with at least four days in its year (RFC 5545 3.3.10, BYWEEKNO)."""
    first = _period_start(Rule("WEEKLY", week_start=rule.week_start), day)
    year = (first + 3 * DAY).year  # the year that has most of the week
    number = ((first + 3 * DAY).timetuple().tm_yday - 1) // 7 + 1
    last_day = date(year, 12, 31)
    last_week = _period_start(Rule("WEEKLY", week_start=rule.week_start), last_day)
    if (last_week + 3 * DAY).year > year:
        last_week -= 7 * DAY
    weeks = ((last_week + 3 * DAY).timetuple().tm_yday - 1) // 7 + 1
    return number in rule.by_weekno or number - weeks - 1 in rule.by_weekno
