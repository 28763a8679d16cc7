"""The week of a PAL, in the zone of whoever looks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from playwright.sync_api import expect

from scheduler.clock import utc_now
from tests.browser.conftest import Desk
from tests.browser.mails import invitation

BERLIN = ZoneInfo("Europe/Berlin")


def monday_of_change() -> date:
    """The Monday of the next week whose Sunday has another offset in Berlin than its Saturday."""
    day = utc_now().date() + timedelta(days=2)
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=BERLIN)
    while noon.weekday() != 6 or noon.utcoffset() == (noon - timedelta(days=1)).utcoffset():
        noon += timedelta(days=1)
    return noon.date() - timedelta(days=6)


def test_a_series_stands_at_its_hour_also_where_the_clocks_change(desk: Desk, width: int) -> None:
    """Every day at 14:30 by the clocks of New York, which change on other days than Berlin's."""
    pal_id, address = desk.pal()
    monday = monday_of_change()
    first = datetime(monday.year, monday.month, monday.day, 14, 30) - timedelta(days=1)
    rule = "RRULE:FREQ=DAILY;COUNT=9"
    desk.invited(address, invitation(address, "Daily", first, rule, zone="America/New_York"))
    tab = desk.tab(width)
    # The browser says its zone with its second request.
    tab.page.context.clear_cookies(name="pal_zone")
    tab.open("/")
    tab.open(f"/week?pal={pal_id}&of={monday + timedelta(days=3)}")
    expect(tab.page.get_by_role("contentinfo")).to_contain_text("times in Europe/Berlin")
    days = tab.page.locator(".week section")
    expect(days).to_have_count(7)
    new_york = ZoneInfo("America/New_York")
    for number in range(7):
        at = (first + timedelta(days=number + 1)).replace(tzinfo=new_york).astimezone(BERLIN)
        shown = days.nth((at.date() - monday).days)
        expect(shown.get_by_role("listitem")).to_have_count(1)
        expect(shown.get_by_role("listitem")).to_contain_text(f"{at:%H:%M}–{at + timedelta(minutes=30):%H:%M}")
    tab.page.get_by_role("link", name="Week after").click()
    expect(tab.page.get_by_role("heading", level=1)).to_contain_text(str((monday + timedelta(days=7)).day))
    expect(tab.page.locator(".week").get_by_role("listitem")).to_have_count(1)
    tab.page.locator(".week").get_by_role("link").click()
    expect(tab.page.get_by_role("heading", level=1)).to_contain_text("Daily")


def test_a_meeting_late_in_the_evening_is_on_the_day_of_who_looks(desk: Desk) -> None:
    pal_id, address = desk.pal()
    day = utc_now().date() + timedelta(days=7 - utc_now().weekday() + 2)  # Wednesday of next week
    desk.invited(address, invitation(address, "Late", datetime(day.year, day.month, day.day, 23, 30, tzinfo=UTC)))
    for zone, place in (("Europe/Berlin", 3), ("UTC", 2), ("Pacific/Kiritimati", 3), ("America/Los_Angeles", 2)):
        tab = desk.tab(zone=zone)
        tab.open(f"/week?pal={pal_id}&of={day}")
        expect(tab.page.locator(".week section").nth(place)).to_contain_text("Late")
