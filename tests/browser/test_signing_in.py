"""Who comes in, who does not, and what of others they see: nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from playwright.sync_api import expect

from gateway import store
from gateway.keys import digest
from scheduler.clock import utc_now
from tests.browser.conftest import Desk
from tests.browser.mails import invitation

PAGES = ("/", "/week", "/invitations", "/pals")


def test_a_wrong_key_is_said_and_the_right_one_opens(desk: Desk, width: int) -> None:
    tab = desk.tab(width, key=None)
    tab.statuses = {401}
    tab.open("/invitations?q=stand-up")
    expect(tab.page).to_have_title("Sign in · PAL gateway")
    expect(tab.page.get_by_label("API key")).to_be_focused()
    tab.page.keyboard.type("pg_wrong")
    tab.page.keyboard.press("Enter")
    expect(tab.page.get_by_role("alert")).to_have_text("This key is not known, has expired or was revoked.")
    expect(tab.page.get_by_label("API key")).to_have_value("")
    tab.page.get_by_label("API key").fill(desk.key)
    tab.page.get_by_role("button", name="Sign in").click()
    # Where they wanted to go, with what they looked for.
    expect(tab.page).to_have_url(f"{desk.url}/invitations?q=stand-up")
    assert desk.key not in tab.page.content()
    assert [one.get("value") for one in tab.page.context.cookies() if desk.key in str(one)] == []


def test_who_signs_out_is_out(desk: Desk, width: int) -> None:
    tab = desk.tab(width)
    tab.open("/pals")
    tab.page.get_by_role("button", name="Sign out").click()
    expect(tab.page).to_have_url(f"{desk.url}/sign-in")
    for path in PAGES:
        tab.open(path)
        expect(tab.page.get_by_role("heading", name="Sign in")).to_be_visible()


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_a_key_that_ends_ends_its_session_on_a_page_that_is_open(desk: Desk, end: str) -> None:
    tab = desk.tab()
    tab.open("/")
    expect(tab.page.get_by_role("heading", name="Today and next")).to_be_visible()
    with desk.served.gateway.engine.begin() as connection:
        key = store.find_key(connection, digest(desk.key))
        assert key is not None
        if end == "revoked":
            assert store.revoke_key(connection, key.id, utc_now())
        else:
            past = utc_now() - timedelta(seconds=1)
            connection.execute(store.keys.update().where(store.keys.c.id == key.id).values(expires_at=past))
    # Nothing is clicked: the live part is told where to sign in.
    expect(tab.page).to_have_url(f"{desk.url}/sign-in")


def test_health_is_the_operators(desk: Desk, width: int) -> None:
    operator = desk.tab(width, key=desk.served.key("default"))
    operator.open("/")
    operator.page.get_by_role("link", name="Health").click()
    expect(operator.page.get_by_role("heading", name="Health")).to_be_visible()
    expect(operator.page.get_by_role("row", name="replies")).to_be_visible()
    tab = desk.tab(width)
    tab.statuses = {404}
    assert tab.open("/health").status == 404
    assert tab.open("/live/health").status == 404
    tab.open("/")
    expect(tab.page.get_by_role("link", name="Health")).to_have_count(0)


def test_what_is_anothers_is_not_there(desk: Desk) -> None:
    pal_id, address = desk.pal("Grace")
    desk.invited(address, invitation(address, "Board", utc_now() + timedelta(hours=5)))
    (invite,) = desk.invites(pal_id)
    join_id = desk.api.get("/v2/joins", params={"pal_id": pal_id}).json()["data"][0]["join_id"]
    tab = desk.tab(key=desk.served.key(f"{desk.account}-other"))
    tab.statuses = {404}
    for path in (f"/pals/{pal_id}", f"/invitations/{invite['invite_id']}", f"/joins/{join_id}"):
        assert tab.open(path).status == 404
        expect(tab.page.get_by_role("heading", name="Not found")).to_be_visible()
    for path in (
        f"/?pal={pal_id}",
        f"/week?pal={pal_id}",
        f"/invitations?pal={pal_id}",
        "/pals",
        "/invitations?q=Board",
    ):
        assert tab.open(path).status == 200
        expect(tab.page.get_by_role("main")).not_to_contain_text("Board")
        expect(tab.page.get_by_role("main")).not_to_contain_text(address)
