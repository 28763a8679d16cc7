"""PALs: made, changed, asked whom they would let in, and deleted."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Desk


def test_a_pal_is_made_and_what_is_wrong_is_said_beside_its_field(desk: Desk, width: int) -> None:
    _, address = desk.pal("Taken")
    taken, _, domain = address.partition("@")
    tab = desk.tab(width)
    tab.statuses = {400}
    tab.open("/pals")
    page = tab.page
    said, username = page.locator("#availability"), page.get_by_label("Username, the part before")
    username.press_sequentially(taken)
    expect(said).to_contain_text("not free")
    page.get_by_label("Name", exact=True).fill("Ada")
    page.get_by_label("Face:").fill("face-1")
    page.get_by_label("Allowlist").fill("(unclosed")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_label("System prompt")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("System prompt").fill("You are <Ada> & friends.")
    page.get_by_role("button", name="Create").click()
    expect(username).to_have_attribute("aria-invalid", "true")
    expect(username).to_have_accessible_description(page.locator("#fault-username").text_content() or "?")
    expect(page.get_by_label("Allowlist")).to_have_attribute("aria-invalid", "true")
    # What was typed is still there.
    expect(page.get_by_label("Name", exact=True)).to_have_value("Ada")
    expect(page.get_by_label("Face:")).to_have_value("face-1")
    expect(username).to_have_value(taken)
    expect(page.get_by_label("Allowlist")).to_have_value("(unclosed")
    expect(page.get_by_label("System prompt")).to_have_value("You are <Ada> & friends.")
    free = f"{taken}-free"
    username.fill("")
    username.press_sequentially(free)
    expect(said).to_contain_text(f"{free} can be had")
    page.get_by_label("Allowlist").fill(".*@acme\\.example\nbob@books.example")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="Ada", exact=True)).to_be_visible()
    expect(page.get_by_label("Address", exact=True)).to_have_value(f"{free}@{domain}")
    (made,) = [one for one in desk.api.get("/v2/pals").json()["data"] if one["pal_name"] == "Ada"]
    assert made["system_prompt"] == "You are <Ada> & friends."
    assert made["layers"]["conferencing"]["allowlist"] == [".*@acme\\.example", "bob@books.example"]


def test_the_allowlist_says_whom_it_lets_in(desk: Desk, width: int) -> None:
    pal_id, _ = desk.pal("Ada", allowlist=["bob@books.example", ".*@acme\\.example"])
    tab = desk.tab(width)
    tab.open(f"/pals/{pal_id}")
    said, entries = tab.page.locator("#would"), tab.page.get_by_label("Allowlist")

    def ask(who: str) -> None:
        tab.page.get_by_label("Sender").fill(who)
        tab.page.get_by_role("button", name="Ask").click()

    ask("Alex@ACME.example")
    expect(said).to_contain_text("yes")
    expect(said.locator("code")).to_have_text(".*@acme\\.example")
    ask("eve@elsewhere.example")
    expect(said).to_contain_text("No entry lets eve@elsewhere.example in.")
    entries.fill("(unclosed")  # as it stands in the form, saved or not
    ask("eve@elsewhere.example")
    expect(said.locator(".bad")).to_contain_text("(unclosed")
    entries.fill("")
    ask("eve@elsewhere.example")
    expect(said).to_contain_text("anybody may invite it")
    ask("nobody")
    expect(said).to_contain_text("Write an address")
    assert desk.api.get(f"/v2/pals/{pal_id}").json()["layers"]["conferencing"]["allowlist"][0] == "bob@books.example"


def test_a_pal_is_changed_its_feed_turned_and_it_is_deleted_by_its_name(desk: Desk, width: int) -> None:
    pal_id, _ = desk.pal("Ada")
    tab = desk.tab(width)
    page = tab.page
    tab.statuses, tab.answers = {400}, [True]
    tab.open(f"/pals/{pal_id}")
    page.locator("#change").get_by_label("Name", exact=True).fill("Ada Lovelace")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Ada Lovelace")).to_be_visible()
    before = page.locator("#feed").input_value()
    assert desk.api.get(before).status_code == 200
    page.get_by_role("button", name="New calendar address").click()
    expect(page.locator("#feed")).not_to_have_value(before)
    assert (desk.api.get(before).status_code, desk.api.get(page.locator("#feed").input_value()).status_code) == (
        404,
        200,
    )
    page.get_by_label("Its name, to be sure").fill("Ada")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Type the PAL's name to delete it.")).to_be_visible()
    assert desk.api.get(f"/v2/pals/{pal_id}").status_code == 200
    page.get_by_label("Its name, to be sure").fill("Ada Lovelace")
    page.get_by_role("button", name="Delete").click()
    expect(page).to_have_url(f"{desk.url}/pals")
    assert desk.api.get(f"/v2/pals/{pal_id}").status_code == 404
