"""Rules made to keep a calendar busy or to break it: those that are refused, and those that are answered all the same.

The numbers are rows of a list of edge cases; dateutil takes from 0.2 seconds to for ever for many of them.
"""

from gateway.binding import Bound, Links, bind
from gateway.ics import Message
from gateway.itip import apply
from scheduler.event import Event
from scheduler.joins import Policy, ahead, refill_at
from scheduler.occurrences import expand
from scheduler.recurrence import MAX_COUNT, MAX_INTERVAL, WEEKDAYS
from tests.scheduler.calendars import HOUR, NOW, PAL, message, vcalendar, vevent

POLICY = Policy()

EVERY_DAY = ",".join(str(day) for day in range(1, 367))
EVERY_HOUR = ",".join(str(hour) for hour in range(24))
EVERY_MINUTE = ",".join(str(minute) for minute in range(60))
EVERY_WEEK = ",".join(str(week) for week in range(1, 54))
ALL_WEEK = ",".join(WEEKDAYS)
EVERY_WEEKDAY = ",".join(f"{number}{day}" for number in range(1, 54) for day in WEEKDAYS)

REFUSED = {
    "108-interval-0": "FREQ=DAILY;INTERVAL=0",
    "108-count-0": "FREQ=DAILY;COUNT=0",
    "109-secondly": "FREQ=SECONDLY",
    "109-secondly-counted": "FREQ=SECONDLY;COUNT=10",
    "109-minutely": "FREQ=MINUTELY;INTERVAL=30",
    "109-hourly-without-end": "FREQ=HOURLY",
    "109-interval-too-large": f"FREQ=DAILY;INTERVAL={MAX_INTERVAL + 1}",
    "109-count-too-large": f"FREQ=DAILY;COUNT={MAX_COUNT + 1}",
    "109-too-many-times-a-day": f"FREQ=DAILY;BYHOUR={EVERY_HOUR};BYMINUTE=0,30",
    "109-product": f"FREQ=DAILY;BYHOUR={EVERY_HOUR};BYMINUTE={EVERY_MINUTE};BYSECOND={EVERY_MINUTE}",
    "109-too-many-numbers": f"FREQ=YEARLY;BYYEARDAY={EVERY_DAY};BYMONTHDAY={EVERY_DAY[:83]};BYHOUR={EVERY_HOUR}",
    "109-dense-with-one-place": f"FREQ=YEARLY;BYYEARDAY={EVERY_DAY};BYHOUR={EVERY_HOUR};BYSETPOS=1;COUNT=10000",
    "109-every-hour-by-day-of-the-year": f"FREQ=YEARLY;BYYEARDAY={EVERY_DAY};BYHOUR={EVERY_HOUR}",
    "110-fortnightly": "FREQ=FORTNIGHTLY",
    "110-no-freq": "COUNT=3",
    "110-empty": "",
    "110-other-calendar": "RSCALE=CHINESE;FREQ=YEARLY",
    "110-moved-dates": "RSCALE=GREGORIAN;FREQ=MONTHLY;SKIP=FORWARD",
    "110-unknown-part": "FREQ=YEARLY;BYEASTER=1",
    "110-not-a-part": "FREQ=DAILY;COUNT",
    "two-signs": "FREQ=DAILY;INTERVAL=+-5",
    "digits-of-another-script": "FREQ=DAILY;COUNT=٣",
    "month-13": "FREQ=YEARLY;BYMONTH=13",
    "monthday-0": "FREQ=MONTHLY;BYMONTHDAY=0",
    "monthday-32": "FREQ=MONTHLY;BYMONTHDAY=-32",
    "no-such-day": "FREQ=WEEKLY;BYDAY=XX",
    "54th-monday": "FREQ=YEARLY;BYDAY=54MO",
    "hour-24": "FREQ=DAILY;BYHOUR=24",
    "negative-hour": "FREQ=DAILY;BYHOUR=-1",
    "week-number-of-a-month": "FREQ=MONTHLY;BYWEEKNO=20",
    "week-number-of-a-week": "FREQ=WEEKLY;BYWEEKNO=20",
    "day-of-year-of-a-day": "FREQ=DAILY;BYYEARDAY=1",
    "long-number": "FREQ=DAILY;COUNT=" + "9" * 5000,
}

NUMBERED = ",".join(f"{number}{day}" for day in WEEKDAYS for number in range(-5, 6) if number)
HOSTILE = {
    "second-monday-on-the-30th": "FREQ=MONTHLY;BYDAY=2MO;BYMONTHDAY=30",
    "first-monday-on-the-15th-yearly": "FREQ=YEARLY;BYMONTH=1,2,3,4,5,6,7,8,9,10,11,12;BYDAY=1MO;BYMONTHDAY=15",
    "a-branch-that-never-comes": "FREQ=MONTHLY;BYMONTHDAY=1,2,3,4,5,6,7;BYDAY=MO,2TU",
    "every-number-of-every-weekday": f"FREQ=MONTHLY;BYDAY={NUMBERED}",
    "109-hourly-that-never-comes": "FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30;COUNT=2",
    "30-february-daily": "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
    "30-february-daily-counted": "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=10000",
    "30-february-monthly": "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30;COUNT=10000",
    "30-february-yearly": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30;COUNT=10000",
    "30-february-until": "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;UNTIL=99991231T000000Z",
    "place-that-is-not-there": "FREQ=DAILY;BYSETPOS=2;COUNT=10000",
    "week-53-and-monday-in-june": "FREQ=YEARLY;BYWEEKNO=53;BYMONTH=6;BYDAY=MO",
    "every-hour-of-every-day": f"FREQ=DAILY;BYHOUR={EVERY_HOUR}",
    "every-hour-counted": "FREQ=HOURLY;COUNT=10000",
    "all-days-of-the-year": f"FREQ=YEARLY;BYYEARDAY={EVERY_DAY};COUNT=10000",
    "place-in-every-hour": f"FREQ=DAILY;BYHOUR={EVERY_HOUR};BYSETPOS=300",
    "29-february-on-a-monday": "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO",
    "fifth-monday-on-the-first": "FREQ=MONTHLY;BYDAY=5MO;BYMONTHDAY=1;COUNT=3",
    "53rd-monday-of-december": "FREQ=YEARLY;BYMONTH=12;BYDAY=53MO",
    "53rd-monday-of-a-month": "FREQ=MONTHLY;BYDAY=53MO,-53TU",
    "far-leaps": "FREQ=YEARLY;INTERVAL=1000;COUNT=10000",
    "hourly-on-one-hour-in-seven": "FREQ=HOURLY;INTERVAL=7;BYHOUR=3;COUNT=10000",
    "hourly-every-fifth": "FREQ=HOURLY;INTERVAL=5;BYDAY=MO;COUNT=10000",
    "hourly-far-apart": "FREQ=HOURLY;INTERVAL=1000;COUNT=10000",
    "hourly-29-february": "FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=29;COUNT=10000",
    "hourly-without-a-place": "FREQ=HOURLY;INTERVAL=48;BYSETPOS=-3,10;COUNT=7",
    "hourly-by-day-of-the-year": f"FREQ=HOURLY;BYYEARDAY={EVERY_DAY};BYMONTHDAY=31;BYHOUR=1;COUNT=10000",
    "daily-far-apart": "FREQ=DAILY;INTERVAL=1000;COUNT=10000",
    "daily-on-one-weekday": "FREQ=DAILY;BYDAY=MO;COUNT=10000",
    "daily-until-for-ever": "FREQ=DAILY;INTERVAL=999;BYMONTH=2;BYMONTHDAY=29;UNTIL=99991231T000000Z",
    "weekly-29-february-and-a-place": f"FREQ=WEEKLY;BYDAY={ALL_WEEK};BYMONTH=2;BYMONTHDAY=29;BYSETPOS=1",
    "weekly-second-of-one": f"FREQ=WEEKLY;BYDAY={ALL_WEEK};BYMONTH=2;BYMONTHDAY=29;BYSETPOS=2;COUNT=10000",
    "weekly-place-counted": f"FREQ=WEEKLY;BYDAY={ALL_WEEK};BYSETPOS=-1;COUNT=10000",
    "weekly-place-half-the-year": f"FREQ=WEEKLY;BYDAY={ALL_WEEK};BYMONTH=1,2,3,4,5,6;BYSETPOS=-1;COUNT=10000",
    "weekly-place-that-is-not-there": f"FREQ=WEEKLY;BYDAY={ALL_WEEK};BYSETPOS=300",
    "weekly-every-hour": f"FREQ=WEEKLY;BYDAY={ALL_WEEK};BYHOUR={EVERY_HOUR};COUNT=10000",
    "monthly-every-hour": f"FREQ=MONTHLY;BYDAY={ALL_WEEK};BYHOUR={EVERY_HOUR}",
    "monthly-every-place": f"FREQ=MONTHLY;BYMONTHDAY=31;BYSETPOS={EVERY_DAY};COUNT=10000",
    "monthly-place-that-is-not-there": f"FREQ=MONTHLY;BYDAY={ALL_WEEK};BYSETPOS=32",
    "yearly-every-hour": f"FREQ=YEARLY;BYDAY={ALL_WEEK};BYHOUR={EVERY_HOUR}",
    "yearly-last-of-every-hour": f"FREQ=YEARLY;BYDAY={ALL_WEEK};BYHOUR={EVERY_HOUR};BYSETPOS=-1;COUNT=10000",
    "yearly-every-weekday-by-number": f"FREQ=YEARLY;BYDAY={EVERY_WEEKDAY}",
    "yearly-every-weekday-by-number-never": f"FREQ=YEARLY;BYDAY={EVERY_WEEKDAY};BYMONTHDAY=31;BYYEARDAY=1;COUNT=10000",
    "yearly-every-week": f"FREQ=YEARLY;BYWEEKNO={EVERY_WEEK};BYDAY={ALL_WEEK};COUNT=10000",
    "yearly-every-week-never": f"FREQ=YEARLY;BYWEEKNO={EVERY_WEEK};BYMONTH=2;BYMONTHDAY=30;UNTIL=99991231T000000Z",
    "week-53-counted": "FREQ=YEARLY;BYWEEKNO=53;BYMONTH=6;BYDAY=MO;COUNT=10000",
}


def invitation(text: str, year: int) -> Message:
    """To a series by such a rule that began in March of a year."""
    return message(vcalendar(vevent(f"DTSTART;TZID=Europe/Berlin:{year}0302T090000", HOUR, f"RRULE:{text}")))


def answer(one: Message) -> Event:
    """What the desk does with a new event that a rule can make long; what comes of it."""
    found = bind(one.events[0], one, PAL, Links(), NOW)
    assert isinstance(found, Bound)
    event = apply(Event("u1", "org@example.com"), (found.component,)).event
    ahead(event, NOW, POLICY)
    expand(event, NOW - POLICY.open_end, NOW + POLICY.horizon)
    refill_at(event, NOW, POLICY)
    return event
