"""A gateway on loopback, and Chromium that looks at its page.

Rules of this file: a tab fails its test when the page logs an error or a warning, throws, is refused something by its
own policy, opens a dialog that nobody asked for, or asks another host for anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, Response, sync_playwright

from tests.api.conftest import Running, serving
from tests.browser.day import Day, fill
from tests.browser.mails import send
from tests.conftest import not_here
from tests.wire.test_main_path import settings_for

CHROMIUM = Path("/usr/bin/chromium")
WIDTHS = (390, 1280)  # CSS pixels: a telephone, a desk
PATIENCE = 15_000  # milliseconds

_NUMBERS = count(1)
# What a page's policy refuses is said on its console, too; this names the rule.
_VIOLATIONS = """document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`policy: ${event.violatedDirective} refused ${event.blockedURI}`);
});"""

Scheme = Literal["light", "dark"]


@dataclass
class Tab:
    """A page in a browser with cookies of its own, and what went wrong on it."""

    page: Page
    url: str
    faults: list[str] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)  # that this test provokes
    answers: list[bool] = field(default_factory=list)  # to the dialogs that will come
    asked: list[str] = field(default_factory=list)  # what dialogs asked

    def listen(self) -> None:
        """Write down what goes wrong from now on."""
        self.page.add_init_script(_VIOLATIONS)
        self.page.on("console", self._logged)
        self.page.on("pageerror", lambda error: self.faults.append(f"thrown: {error}"))
        self.page.on("dialog", self._dialog)
        self.page.on("request", self._requested)

    def open(self, path: str) -> Response:
        """Go to a page."""
        answer = self.page.goto(self.url + path)
        assert answer is not None
        return answer

    def _logged(self, message: ConsoleMessage) -> None:
        provoked = any(f"status of {status} " in message.text for status in self.statuses)
        if message.type in ("error", "warning") and not provoked:
            self.faults.append(f"{message.type} on {self.page.url}: {message.text}")

    def _dialog(self, dialog: Dialog) -> None:
        self.asked.append(dialog.message)
        if not self.answers:
            self.faults.append(f"dialog: {dialog.message}")
            dialog.dismiss()
        elif self.answers.pop(0):
            dialog.accept()
        else:
            dialog.dismiss()

    def _requested(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.url).netloc and not request.url.startswith("data:"):
            self.faults.append(f"asked {request.url}")


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One gateway for all tests of the page."""
    folder = tmp_path_factory.mktemp("browser")
    ahead = {"horizon_days": 400}  # over the next change of the clocks
    with serving(settings_for(folder, senders={"sender_auth": "off"}, joining=ahead)) as found:  # they sign nothing
        yield found


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """One browser for all tests of the page, and no longer: its loop is this thread's while it runs."""
    if not CHROMIUM.exists():
        not_here("Chromium is not installed (tests/peers/install.sh installs it)")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@dataclass
class Desk:
    """An account of a test: its key, its PALs, and tabs in which it is signed in."""

    served: Running
    account: str
    browser: Browser
    key: str
    tabs: list[Tab] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.served.gateway.http_port}"

    @property
    def api(self) -> httpx.Client:
        """A client that asks with the account's key."""
        return self.served.client(self.key)

    def tab(
        self, width: int = 1280, *, scheme: Scheme = "light", zone: str = "Europe/Berlin", key: str | None = ""
    ) -> Tab:
        """A tab, signed in with the account's key or another (None: not at all)."""
        context = self.browser.new_context(
            base_url=self.url,
            viewport={"width": width, "height": 800},
            color_scheme=scheme,
            reduced_motion="reduce",  # colours and outlines are there at once
            timezone_id=zone,
        )
        context.set_default_timeout(PATIENCE)
        if key is not None:
            context.add_cookies([{"name": "pal_zone", "value": zone.replace("/", "%2F"), "url": self.url}])
            assert context.request.post("/sign-in", form={"key": key or self.key}).url == f"{self.url}/"
        self.tabs.append(Tab(context.new_page(), self.url))
        self.tabs[-1].listen()
        return self.tabs[-1]

    def pal(self, name: str = "Ada", **layer: Any) -> tuple[str, str]:
        """(id, address) of a new PAL."""
        username = f"pal-{next(_NUMBERS)}"
        body = {
            "pal_name": name,
            "system_prompt": f"You are {name}.",
            "default_face_id": "face-1",
            "layers": {"conferencing": {"username": username, **layer}},
        }
        made = self.api.post("/v2/pals", json=body).json()
        return made["pal_id"], made["conferencing_email"]

    def invited(self, address: str, raw: bytes, organizer: str = "alex@acme.example") -> None:
        """Have a mail sent by SMTP."""
        send(self.served.gateway, address, raw, organizer)

    def close(self) -> None:
        """Close its tabs; what went wrong in them is a fault."""
        for tab in self.tabs:
            tab.page.context.close()
        assert not [fault for tab in self.tabs for fault in tab.faults]

    def invites(self, pal_id: str) -> list[dict[str, Any]]:
        """The decisions for a PAL, the newest first."""
        return list(self.api.get("/v2/invites", params={"pal_id": pal_id}).json()["data"])


@pytest.fixture
def account() -> str:
    """The name of an account that no other test has."""
    return f"people-{next(_NUMBERS)}"


@pytest.fixture
def desk(served: Running, chromium: Browser, account: str) -> Iterator[Desk]:
    """This test's account; what went wrong in its tabs fails it."""
    found = Desk(served, account, chromium, served.key(account))
    yield found
    found.close()


@pytest.fixture(params=WIDTHS)
def width(request: pytest.FixtureRequest) -> int:
    """Each width in turn."""
    return int(request.param)


@pytest.fixture(scope="package")
def day(served: Running) -> Day:
    """The operator's account, after a day's mails."""
    return fill(served)


@pytest.fixture
def operator(served: Running, chromium: Browser, day: Day) -> Iterator[Desk]:
    """The operator's account, with that day; what went wrong in its tabs fails the test."""
    found = Desk(served, "default", chromium, day.key)
    yield found
    found.close()
