"""The page at /docs: whole, and served by us alone."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import httpx
import pytest

from tests.api.conftest import Running

POLICY = {
    "default-src": ["'self'"],
    "style-src": ["'self'", "'unsafe-inline'"],
    "img-src": ["'self'", "data:"],
    "base-uri": ["'none'"],
    "form-action": ["'none'"],
    "frame-ancestors": ["'none'"],
}
MEDIA_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}


class Page(HTMLParser):
    """What a page loads, and what stands in it that its policy forbids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._open = tag if tag in ("script", "style") else ""
        self.inline += [name for name in given if name.startswith("on") or name == "style"]
        if tag != "a":
            self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open and data.strip():
            self.inline.append(data)


@pytest.fixture
def anyone(served: Running) -> httpx.Client:
    return served.client(None)


def policy(answer: httpx.Response) -> dict[str, list[str]]:
    """The Content-Security-Policy of an answer."""
    parts = (part.split() for part in answer.headers["content-security-policy"].split(";"))
    return {name: sources for name, *sources in parts}


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
def test_the_page_loads_nothing_from_another_host(anyone: httpx.Client, path: str) -> None:
    answer = anyone.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert policy(answer) == POLICY
    page = Page(answer.text)
    assert page.inline == []
    loaded = [one for one in page.loaded if not one.startswith("data:")]
    assert [one for one in loaded if not re.fullmatch(r"/docs/[a-z.-]+", one)] == []
    assert len(loaded) == 3
    for one in loaded:
        file = anyone.get(one)
        assert file.status_code == 200
        assert file.headers["content-type"] == MEDIA_TYPES["." + one.rpartition(".")[2]]
        assert policy(file) == POLICY


def test_the_style_sheet_draws_with_what_it_has(anyone: httpx.Client) -> None:
    text = anyone.get("/docs/swagger-ui.css").text
    assert "@import" not in text
    assert [one for one in re.findall(r"url\(\s*[\"']?([^\"')]{0,20})", text) if not one.startswith("data:")] == []


def test_what_starts_it_asks_us_only(anyone: httpx.Client) -> None:
    text = anyone.get("/docs/docs.js").text
    assert "//" not in re.sub(r"//.*", "", text)
    (url,) = re.findall(r'url: "([^"]+)"', text)
    assert "validatorUrl: null" in text
    assert anyone.get(url).json()["openapi"].startswith("3.1")
    started = re.search(r"(\w+)\(\{", text)
    assert started is not None
    assert f"{started[1]}=" in anyone.get("/docs/swagger-ui-bundle.js").text
    (place,) = re.findall(r'dom_id: "#(\w+)"', text)
    assert f'id="{place}"' in anyone.get("/docs").text


@pytest.mark.parametrize(
    "path", ["/docs/redoc.standalone.js", "/docs/docs.html", "/docs/..%2f__init__.py", "/docs/%00", "/redoc"]
)
def test_nothing_else_is_served(anyone: httpx.Client, path: str) -> None:
    assert anyone.get(path).status_code == 404


def test_the_page_is_no_part_of_the_api(anyone: httpx.Client) -> None:
    assert not [path for path in anyone.get("/openapi.json").json()["paths"] if path.startswith("/docs")]
