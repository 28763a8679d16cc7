"""Each page for those who look on a telephone, in the dark, by keyboard, or by ear (axe-core's rules)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from scheduler.clock import utc_now
from tests.browser.conftest import Desk, Tab
from tests.browser.day import Day
from tests.browser.mails import invitation

SERIOUS = ("serious", "critical")
PAGES = ("today", "week", "invitations", "story", "pals", "pal", "health", "sign in", "no page")


def opened(operator: Desk, day: Day, page: str, width: int) -> Tab:
    """A tab on a page, with all that can be opened on it opened."""
    tab = operator.tab(width, key=None if page == "sign in" else "")
    tab.statuses = {404}
    tab.open({**day.paths, "sign in": "/sign-in", "no page": "/pals/p0"}[page])
    for summary in tab.page.locator("summary").all():
        summary.click()
    return tab


def assert_fits(tab: Tab) -> None:
    """The document is not scrolled sideways."""
    wide, room = tab.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= room, f"{tab.page.url} is {wide} wide, of {room}"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole_for_everybody(operator: Desk, day: Day, page: str, width: int) -> None:
    tab = opened(operator, day, page, width)
    assert_fits(tab)
    expect(tab.page.get_by_role("heading", level=1)).to_have_count(1)
    for scheme in ("light", "dark"):
        tab.page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
        found = Axe().run(tab.page).response["violations"]
        worst = {
            f"{scheme} {one['id']}: {one['help']}": [node["html"][:200] for node in one["nodes"]]
            for one in found
            if one["impact"] in SERIOUS
        }
        assert not worst


def test_axe_finds_what_is_wrong(operator: Desk, day: Day) -> None:
    tab = opened(operator, day, "sign in", 1280)
    tab.page.evaluate("document.querySelector('label').replaceWith(document.querySelector('[name=key]'))")
    found = Axe().run(tab.page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in SERIOUS] == ["label"]


def test_keys_alone_reach_everything(desk: Desk, width: int) -> None:
    _, address = desk.pal()
    desk.invited(address, invitation(address, "Board", utc_now() + timedelta(hours=3)))
    tab = desk.tab(width)
    tab.open("/")
    expect(tab.page.get_by_role("button", name="Cancel")).to_be_visible()
    reached: list[str] = []
    active, style = "document.activeElement", "getComputedStyle(document.activeElement)"
    while len(reached) < 30:
        tab.page.keyboard.press("Tab")
        if tab.page.evaluate(f"{active} === document.body"):
            break
        reached.append(tab.page.evaluate(f"{active}.innerText.split('\\n')[0].trim()"))
        seen = tab.page.evaluate(f"{style}.outlineStyle !== 'none' || {style}.boxShadow !== 'none'")
        assert seen, f"nobody sees that {reached[-1]} is reached"
    pages = ["Skip to the content", "Today", "Week", "Invitations", "PALs", "API", "Sign out"]
    assert reached[:7] == pages
    assert [one.partition(" of ")[0].removesuffix(" Board") for one in reached[8:]] == ["Story", "Join now", "Cancel"]
    tab.page.goto(desk.url)
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Enter")
    expect(tab.page.get_by_role("main")).to_be_focused()


def test_what_has_the_focus_keeps_it_when_something_new_comes(desk: Desk) -> None:
    pal_id, address = desk.pal()
    desk.invited(address, invitation(address, "Board", utc_now() + timedelta(hours=3)))
    tab = desk.tab()
    tab.open("/")
    tab.page.get_by_role("link", name="Story").focus()
    desk.invited(address, invitation(address, "Another", utc_now() + timedelta(hours=2)))
    expect(tab.page.get_by_text("Another").first).to_be_visible()
    expect(tab.page.get_by_role("link", name="Story of Board")).to_be_focused()
    # So does what was opened on a story.
    (invite, *_) = desk.invites(pal_id)
    tab.open(f"/invitations/{invite['invite_id']}")
    summary = tab.page.get_by_text("The reply as it was sent")
    summary.focus()
    tab.page.keyboard.press("Enter")
    join_id = desk.api.get("/v2/joins", params={"pal_id": pal_id}).json()["data"][0]["join_id"]
    assert desk.api.post(f"/v2/joins/{join_id}/cancel").status_code == 200
    expect(tab.page.locator("#live")).to_contain_text("cancelled")
    expect(tab.page.locator("pre")).to_be_visible()
    expect(summary).to_be_focused()
