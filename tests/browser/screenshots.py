"""Pictures of the page for docs/screenshots: a made-up day, by our own mails over SMTP, as Chromium shows it.

`python -m tests.browser.screenshots` (make screenshots) writes them.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, sync_playwright

from tests.api.conftest import serving
from tests.browser.conftest import CHROMIUM, Desk
from tests.browser.day import fill
from tests.wire.test_main_path import settings_for

FOLDER = Path(__file__).parent.parent.parent / "docs" / "screenshots"
PAGES = ("today", "week", "invitations", "story", "pal", "health")
MOST = 150_000  # bytes of a picture
TALL = 900


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        _look(browser, Path(folder))
        browser.close()


def _look(browser: Browser, folder: Path) -> None:
    with serving(settings_for(folder, senders={"sender_auth": "off"})) as served:
        day = fill(served)
        desk = Desk(served, "default", browser, day.key)
        desktop, telephone = desk.tab(1280), desk.tab(390, scheme="dark")
        for tab, name, file in [*((desktop, one, one) for one in PAGES), (telephone, "today", "today-dark")]:
            tab.page.set_viewport_size({"width": 390 if tab is telephone else 1280, "height": TALL})
            tab.open(day.paths[name])
            picture = tab.page.screenshot()
            assert len(picture) < MOST, f"{file} has {len(picture)} bytes"
            (FOLDER / f"{file}.png").write_bytes(picture)
        desk.close()


if __name__ == "__main__":
    main()
