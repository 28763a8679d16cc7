"""An invitation from its mail to the call, as people watch it: nothing is loaded anew by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import httpx
from playwright.sync_api import expect

from gateway.decide import Desk as Rules
from gateway.intake import Incoming, Intake, fresh_id
from scheduler.clock import utc_now
from tests.api.test_planned_joins import joins, until
from tests.browser.conftest import Desk, Tab
from tests.browser.mails import invitation, room

TITLE = "Quarterly planning"


def stay(tab: Tab) -> None:
    """Mark a page, so that one that was loaded anew is known by the mark it lacks."""
    tab.page.evaluate("window.stayed = true")


def assert_stayed(tab: Tab) -> None:
    assert tab.page.evaluate("window.stayed") is True, "the page was loaded anew"


def test_an_invitation_is_watched_from_its_mail_to_the_end_of_the_call(desk: Desk, width: int) -> None:
    pal_id, address = desk.pal()
    tab = desk.tab(width)
    tab.open("/invitations")
    expect(tab.page.get_by_text("No invitation has come yet.")).to_be_visible()
    stay(tab)
    link = room()
    desk.invited(address, invitation(address, TITLE, utc_now() - timedelta(minutes=5), link=link))
    expect(tab.page.get_by_role("link", name=TITLE)).to_be_visible()
    assert_stayed(tab)
    tab.page.get_by_role("link", name=TITLE).click()
    main = tab.page.get_by_role("main")
    expect(main.get_by_role("heading", name=TITLE)).to_contain_text("accepted")
    expect(main.get_by_role("row", name=link)).to_contain_text("chosen")
    expect(main.get_by_role("row", name=link)).to_contain_text("X-GOOGLE-CONFERENCE")
    stay(tab)
    expect(main.get_by_text("in the call", exact=True)).to_be_visible()
    expect(main.get_by_text("the platform called back: system.replica_joined")).to_be_visible()
    tab.page.get_by_text("The reply as it was sent").click()
    reply = main.locator("pre")
    for line in ("METHOD:REPLY", "PARTSTAT=ACCEPTED", f"To: {'alex@acme.example'}", f"Accepted: {TITLE}"):
        expect(reply).to_contain_text(line)
    # The platform ends the call, and says so.
    (join,) = joins(desk.served, pal_id)
    assert httpx.post(f"{desk.url}/sandbox/v2/conversations/{join.conversation_id}/end").status_code == 200
    expect(main.get_by_text("the platform called back: system.shutdown")).to_be_visible()
    expect(main.get_by_text("ended", exact=True)).to_be_visible()
    expect(reply).to_be_visible()  # what was opened stays open
    assert_stayed(tab)


def test_a_planned_join_is_cancelled_after_a_question_and_tried_again(desk: Desk, width: int) -> None:
    pal_id, address = desk.pal()
    desk.invited(address, invitation(address, TITLE, utc_now() + timedelta(minutes=30)))
    tab = desk.tab(width)
    tab.open("/")
    upcoming, past = (tab.page.get_by_role("region", name=name) for name in ("Next", "In the last day"))
    expect(upcoming).to_contain_text(TITLE)
    tab.answers = [False, True]
    tab.page.get_by_role("button", name="Cancel").click()
    assert tab.asked == [f"Keep {address} away from this meeting?"]
    assert joins(desk.served, pal_id)[0].state == "planned"
    tab.page.get_by_role("button", name="Cancel").click()
    expect(past).to_contain_text("cancelled")
    expect(upcoming).not_to_contain_text(TITLE)
    tab.page.get_by_role("button", name="Try again").click()
    expect(upcoming).to_contain_text(TITLE)
    assert joins(desk.served, pal_id)[0].state == "planned"


def test_a_pal_comes_now_leaves_and_is_sent_again(desk: Desk, width: int) -> None:
    _, address = desk.pal()
    desk.invited(address, invitation(address, TITLE, utc_now() + timedelta(minutes=40)))
    tab = desk.tab(width)
    tab.open("/")
    tab.page.get_by_role("button", name="Join now").click()
    now, past = (tab.page.get_by_role("region", name=name) for name in ("Now", "In the last day"))
    expect(now).to_contain_text("in the call")
    tab.answers = [True]
    now.get_by_role("button", name="Cancel").click()
    expect(past).to_contain_text("cancelled")
    past.get_by_role("button", name="Try again").click()
    expect(tab.page.get_by_role("main")).not_to_contain_text("cancelled")


def test_what_cannot_be_done_any_more_is_said(desk: Desk) -> None:
    pal_id, address = desk.pal()
    desk.invited(address, invitation(address, TITLE, utc_now() + timedelta(minutes=30)))
    tab = desk.tab()
    tab.open("/")
    tab.answers, tab.statuses = [True], {409}
    # Somebody else was first; the page that is open does not know yet.
    tab.page.route("**/live/**", lambda route: route.fulfill(status=204))
    (join,) = joins(desk.served, pal_id)
    assert desk.api.post(f"/v2/joins/{join.id}/cancel").status_code == 200
    tab.page.get_by_role("button", name="Cancel").click()
    expect(tab.page.get_by_role("heading", name="Not now")).to_be_visible()
    expect(tab.page.get_by_role("alert")).to_have_text(f"{join.id} is cancelled already; there is nothing to cancel.")


def test_a_mail_that_was_kept_aside_is_played_again(desk: Desk, width: int) -> None:
    _, address = desk.pal()
    broken = Intake(desk.served.gateway.engine, Rules(scheduling=cast(Any, None)))  # it fails whenever it plans
    raw = invitation(address, TITLE, utc_now() + timedelta(hours=2))
    (aside,) = broken.take(Incoming(fresh_id("m"), raw, "alex@acme.example", (address,)), utc_now())
    assert aside.decision.verdict == "quarantined"
    tab = desk.tab(width)
    tab.open("/invitations?verdict=quarantined")
    tab.page.locator("#live .timeline a").click()
    tab.page.get_by_role("button", name="Replay").click()
    expect(tab.page.get_by_role("heading", level=1)).to_contain_text(f"{TITLE} accepted")
    expect(tab.page.get_by_role("button", name="Join now")).to_be_visible()


def test_invitations_are_searched_and_filtered(desk: Desk, width: int) -> None:
    (first, one), (second, other) = desk.pal("Ada"), desk.pal("Grace")
    soon = utc_now() + timedelta(hours=3)
    desk.invited(one, invitation(one, "Budget 100%_of it", soon, organizer="carol@acme.example"), "carol@acme.example")
    desk.invited(other, invitation(other, "Retrospective", soon + timedelta(hours=1)))
    desk.invited(other, invitation(other, "Without a link", soon, link=""))
    tab = desk.tab(width)
    tab.open("/invitations")
    rows = tab.page.locator("#live .timeline > li")
    expect(rows).to_have_count(3)

    def asked(words: str = "", verdict: str = "", pal: str = "") -> list[str]:
        tab.page.get_by_label("Words").fill(words)
        tab.page.get_by_label("Verdict").select_option(verdict)
        tab.page.get_by_label("PAL").select_option(pal)
        tab.page.get_by_role("button", name="Search").click()
        tab.page.wait_for_url(lambda url: f"pal={pal}" in url)
        return rows.locator("a bdi").all_text_contents()

    assert asked("budget") == ["Budget 100%_of it"]
    assert asked("CAROL") == ["Budget 100%_of it"]
    assert asked("100%_of") == ["Budget 100%_of it"]  # no pattern of LIKE
    assert asked("1_0") == []
    assert asked("retro alex") == ["Retrospective"]
    assert asked(verdict="declined") == ["Without a link"]
    assert asked(verdict="accepted", pal=second) == ["Retrospective"]
    assert asked("retrospective", pal=first) == []
    expect(tab.page.get_by_text("No invitation is like that.")).to_be_visible()
    # It stands in the address, and in the form.
    tab.page.reload()
    expect(tab.page.get_by_label("Words")).to_have_value("retrospective")
    tab.page.get_by_role("link", name="Show all").click()
    expect(rows).to_have_count(3)
    assert until(lambda: rows.locator("a bdi").first.text_content() == "Without a link")
