"""What a page's answers say to browsers, and what nobody but the page itself may ask for: over plain HTTP."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.api.conftest import Running, serving
from tests.wire.test_main_path import settings_for

ACTS = (
    "/sign-out", "/pals", "/pals/p1", "/pals/p1/would", "/pals/p1/turn", "/pals/p1/delete", "/joins/j1/cancel",
    "/joins/j1/now", "/joins/j1/retry", "/invitations/m1-0/replay",
)  # fmt: skip
PAGES = (
    "/",
    "/week",
    "/invitations",
    "/pals",
    "/live/today",
    "/live/invitations",
    "/pals/username?username=x",
    "/pals/p0",
)
ELSEWHERE = (
    "https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example", "http:evil.example", "evil",
    "javascript:alert(1)", "/\t/evil.example", "/\r\nSet-Cookie: a=b", " //evil.example", "///evil.example",
)  # fmt: skip


@pytest.fixture
def visitor(served: Running, account: str) -> Iterator[httpx.Client]:
    """A browser of the account, as plain HTTP."""
    with signed_in(served, served.key(account)) as client:
        yield client


@contextmanager
def signed_in(served: Running, key: str) -> Iterator[httpx.Client]:
    """A browser in which somebody has signed in with a key."""
    url = f"http://127.0.0.1:{served.gateway.http_port}"
    with httpx.Client(base_url=url, trust_env=False, timeout=20) as client:
        assert client.post("/sign-in", data={"key": key, "back": "/"}).status_code == 303
        yield client


def token_of(client: httpx.Client) -> str:
    """What the forms of a session carry."""
    found = re.search(r'name="csrf" value="(\w+)"', client.get("/pals").text)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("act", ACTS)
def test_an_act_needs_the_sessions_own_token(served: Running, visitor: httpx.Client, account: str, act: str) -> None:
    token = token_of(visitor)
    with signed_in(served, served.key(account)) as another:
        stolen = token_of(another)
    assert stolen != token
    for fields, headers in (
        ({}, {}),
        ({"csrf": ""}, {}),
        ({"csrf": stolen}, {}),
        ({"csrf": "\u00e9"}, {}),
        ({"csrf": token}, {"sec-fetch-site": "cross-site"}),
        ({"csrf": token}, {"sec-fetch-site": "same-site"}),
        ({"csrf": token}, {"origin": "https://evil.example"}),
        ({"csrf": token}, {"origin": "null"}),
    ):
        assert visitor.post(act, data=fields, headers=headers).status_code == 403, (fields, headers)
    # With it, the same is carried out, or not there.
    assert visitor.post(act, data={"csrf": token}).status_code in (303, 400, 404)


@pytest.mark.parametrize("act", ACTS)
def test_who_is_not_signed_in_does_nothing(served: Running, act: str) -> None:
    url = f"http://127.0.0.1:{served.gateway.http_port}"
    answer = httpx.post(url + act, data={"csrf": "x"}, headers={"sec-fetch-site": "same-origin"}, trust_env=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")


def test_a_cookie_that_was_made_up_opens_nothing(served: Running, visitor: httpx.Client) -> None:
    cookie = visitor.cookies["pal_session"]
    url = f"http://127.0.0.1:{served.gateway.http_port}/pals"
    assert httpx.get(url, headers={"cookie": f"pal_session={cookie}"}).status_code == 200
    head, _, signature = cookie.rpartition(".")
    for forged in ("x", head, f"{head}.{signature[::-1]}", f"x{cookie}", '["k1","x"]', "."):
        answer = httpx.get(url, headers={"cookie": f"pal_session={forged}"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?then=/pals"), forged
    # It opens the page, not the API.
    assert (
        httpx.get(f"{url.removesuffix('/pals')}/v2/pals", headers={"cookie": f"pal_session={cookie}"}).status_code
        == 401
    )


@pytest.mark.parametrize("public", ["http://gateway.example", "https://gateway.example"])
def test_the_cookie_is_for_our_own_pages_only(tmp_path: Path, public: str) -> None:
    with serving(settings_for(tmp_path, http={"port": 0, "public_url": public})) as served:
        answer = served.client(None).post("/sign-in", data={"key": served.key("acme"), "back": "/"})
        name, *attributes = answer.headers["set-cookie"].split("; ")
        said = {one.partition("=")[0].lower(): one.partition("=")[2] for one in attributes}
    assert name.startswith("pal_session=")
    assert "httponly" in said
    assert (said["samesite"].lower(), said["path"], said["max-age"]) == ("lax", "/", "43200")
    assert ("secure" in said, "domain" in said) == (public.startswith("https"), False)


@pytest.mark.parametrize("target", ELSEWHERE)
def test_nobody_is_sent_to_another_site(served: Running, visitor: httpx.Client, account: str, target: str) -> None:
    again = visitor.post("/sign-in", data={"key": served.key(account), "back": target})
    assert (again.status_code, again.headers["location"]) == (303, "/")
    form = visitor.get("/sign-in", params={"then": target})
    assert form.status_code == 200
    wrong = visitor.post("/sign-in", data={"key": "x", "back": target})
    assert (wrong.status_code, "location" in wrong.headers) == (401, False)


def test_pages_and_assets_say_what_browsers_may_do_with_them(visitor: httpx.Client) -> None:
    html = visitor.get("/").text
    assets = re.findall(r'(?:src|href)="(/assets/[^"]+)"', html)
    assert len(assets) >= 5
    for path in (*PAGES, "/sign-in", "/assets/none.js", *assets):
        answer = visitor.get(path)
        said = answer.headers
        policy = said["content-security-policy"]
        assert {"default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} <= set(
            policy.split("; ")
        )
        assert "unsafe" not in policy, path
        assert (said["x-content-type-options"], said["referrer-policy"]) == ("nosniff", "same-origin"), path
        kept = "public, max-age=31536000, immutable" if path in assets else "no-store"
        assert said["cache-control"] == kept, path
    for script in re.findall(r"<script[^>]*>", html):
        assert "src=" in script  # none is inline
    assert not re.search(r"<style| style=|\son\w+=", html)


def test_forms_are_bounded(visitor: httpx.Client) -> None:
    token = token_of(visitor)
    assert visitor.post("/pals", data={"csrf": token, "prompt": "x" * 300_000}).status_code == 413
    assert visitor.post("/pals", content=b"\xff\xfe=1").status_code in (400, 403)
    assert visitor.post("/pals", data={f"f{one}": "x" for one in range(200)}).status_code == 400
    assert visitor.get("/invitations", params={"q": "x" * 201}).status_code == 404
    assert visitor.get("/invitations", params={"cursor": "x"}).status_code == 400


def test_the_username_that_a_pal_has_can_be_kept(served: Running, visitor: httpx.Client, account: str) -> None:
    """Typed again in its own form it is free; in another PAL's form, and in another account's, it is not."""
    with served.client(served.key(account)) as api:
        own, other = (_a_pal(api, f"{account}-{number}") for number in (1, 2))
    asked = {"username": f"{account}-1"}
    assert "can be had" in visitor.get("/pals/username", params={**asked, "own": own}).text
    assert "not free" in visitor.get("/pals/username", params={**asked, "own": other}).text
    with signed_in(served, served.key(f"{account}-other")) as stranger:
        assert "not free" in stranger.get("/pals/username", params={**asked, "own": own}).text


def _a_pal(api: httpx.Client, username: str) -> str:
    """The id of a new PAL."""
    layers = {"conferencing": {"username": username}}
    pal = {"pal_name": "Ada", "system_prompt": "You are Ada.", "default_face_id": "face-1", "layers": layers}
    return str(api.post("/v2/pals", json=pal).json()["pal_id"])


def test_who_only_looks_waits_for_no_other_process_that_writes(tmp_path: Path) -> None:
    """What is asked beside writers is answered while one of them holds the store; SQLite has one at a time."""
    with serving(settings_for(tmp_path, roles=("http",))) as served:
        key = served.key("acme")
        served.client(key).get("/v2/joins").raise_for_status()
        with signed_in(served, key) as visitor, closing(sqlite3.connect(tmp_path / "gateway.db")) as writer:
            writer.execute("BEGIN IMMEDIATE")
            assert served.client(key).get("/v2/joins").status_code == 200
            assert served.client(key).get("/v2/invites").status_code == 200
            assert visitor.get("/").status_code == 200
