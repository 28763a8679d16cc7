"""Titles, links and names that strangers wrote are shown as text, on every page on which they appear."""

from __future__ import annotations

import unicodedata
from datetime import timedelta

import pytest
from playwright.sync_api import expect

from scheduler.clock import utc_now
from tests.browser.conftest import Desk
from tests.browser.mails import invitation
from tests.browser.test_looks import assert_fits

# Title -> what is to be read of it.
TITLES = {
    "script": ("<script>window.hit=1\\;alert(1)</script>", "<script>window.hit=1;alert(1)</script>"),
    "image": ('"><img src=x onerror=window.hit=1>', '"><img src=x onerror=window.hit=1>'),
    "apostrophe": ("' autofocus onfocus=window.hit=1 x='", "' autofocus onfocus=window.hit=1 x='"),
    "template": ("{{7*7}}{% raw %}${7*7}", "{{7*7}}{% raw %}${7*7}"),
    "htmx": (
        "<div hx-get=/sign-out hx-trigger=load hx-on:load=window.hit=1>",
        "<div hx-get=/sign-out hx-trigger=load hx-on:load=window.hit=1>",
    ),
    "turned": ("pay \u202egpj.exe\u2066\u2069\u200b now", "pay \ufffdgpj.exe\ufffd\ufffd\ufffd now"),
    "controls": ("bell\x07 and \x1b[31m escape", "bell\ufffd and \ufffd[31m escape"),
    "long": ("W" * 10_000, "W" * 80),
    "marks": ("Z" + "\u0301" * 300 + "algo", "Z"),
}
HARMLESS = """() => ({
  hit: window.hit,
  inside: document.querySelectorAll("main script, main img, main iframe, main [onerror], main [onfocus]").length,
  asking: [...document.querySelectorAll("main [hx-get], main [hx-trigger]")].map((one) => one.id),
  links: [...document.querySelectorAll("a[href]")].map((one) => one.getAttribute("href"))
    .filter((one) => !/^(\\/(?!\\/)|#|https:\\/\\/meet\\.google\\.com\\/)/.test(one)),
})"""


@pytest.mark.parametrize("kind", TITLES)
def test_a_title_is_text_wherever_it_stands(desk: Desk, kind: str) -> None:
    title, shown = TITLES[kind]
    pal_id, address = desk.pal()
    link = "javascript:window.hit=1"
    more = (
        f"URL:{link}",
        f"LOCATION:{link}//<script>window.hit=1</script>",
        "DESCRIPTION:<img src=x onerror=alert(1)>",
    )
    desk.invited(address, invitation(address, title, utc_now() + timedelta(minutes=30), *more))
    desk.invited(address, invitation(address, title, utc_now() + timedelta(hours=3), *more, link=link))
    declined, accepted = desk.invites(pal_id)
    assert (declined["verdict"], accepted["verdict"]) == ("declined", "accepted")
    tab = desk.tab(390)
    story = f"/invitations/{accepted['invite_id']}"
    week = f"/week?pal={pal_id}&of={(utc_now() + timedelta(minutes=30)).date()}"
    for path in ("/", week, "/invitations", story, f"/invitations/{declined['invite_id']}"):
        tab.open(path)
        for summary in tab.page.locator("summary").all():
            summary.click()
        expect(tab.page.locator("bdi", has_text=shown[:60]).first).to_be_visible()
        for width in (390, 1280):
            tab.page.set_viewport_size({"width": width, "height": 800})
            assert_fits(tab)
        found = tab.page.evaluate(HARMLESS)
        assert found == {"hit": None, "inside": 0, "asking": [] if path == week else ["live"], "links": []}
        text = tab.page.get_by_role("main").text_content() or ""
        unseen = {char for char in text if unicodedata.category(char) in ("Cc", "Cf") and char not in "\n"}
        assert not unseen, f"{path} has {unseen!r}"
        assert ">49<" not in tab.page.content()


def test_what_is_typed_is_text_too(desk: Desk) -> None:
    evil = '"><script>window.hit=1</script>{{7*7}}'
    pal_id, _ = desk.pal(evil)
    tab = desk.tab()
    tab.statuses = {400, 404, 401}
    for path in ("/pals", f"/pals/{pal_id}", f"/invitations?q={evil}", f"/week?of={evil}&pal={evil}", f"/?pal={evil}"):
        tab.open(path)
        assert tab.page.evaluate(HARMLESS)["inside"] == 0
    assert tab.page.evaluate("window.hit") is None
    tab.open(f"/invitations?q={evil}")
    expect(tab.page.get_by_label("Words")).to_have_value(evil)
    tab.open(f"/pals/{pal_id}")
    tab.page.get_by_label("Sender").fill(evil + "@acme.example")
    tab.page.get_by_label("Allowlist").fill(".*")
    tab.page.get_by_role("button", name="Ask").click()
    expect(tab.page.locator("#would")).to_contain_text("<script>")
    assert tab.page.evaluate(HARMLESS)["inside"] == 0
