"""SECURITY.md says the limits that the code has."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import address, binding, ics, itip, mime, reader, readers, reading
from scheduler import recurrence

PAGE = (Path(__file__).parent.parent.parent / "SECURITY.md").read_text("utf-8")
SAID = {
    "header": f"its header; one Content- field | {mime.MAX_HEADER_BYTES // 1024} kB; {mime.MAX_FIELD_BYTES // 1024} kB",
    "parts": f"{mime.MAX_PARTS}; {mime.MAX_DEPTH}; {mime.MAX_DASHES:,}",
    "calendar": f"{ics.MAX_BYTES // 1024} kB; {ics.MAX_LINES:,}; {ics.MAX_COMPONENTS:,}",
    "events": f"{reading.MAX_MESSAGES}; {ics.MAX_UID:,} bytes; {address.MAX_LENGTH} characters",
    "dates": f"{binding.MAX_RULES} each; {binding.MAX_DATES:,} each",
    "rule": f"1 to {recurrence.MAX_INTERVAL:,}, COUNT to {recurrence.MAX_COUNT:,}",
    "times": f"{recurrence.MAX_TIMES_A_DAY} times a day, {recurrence.MAX_PARTS} numbers",
    "start": f"{binding.EARLIEST} to ten years ahead",
    "overrides": f"{itip.MAX_OVERRIDES}; {itip.MAX_RANGES}",
    "time": f"`reading.seconds`, and {readers.HURRY:g} s in a storm",
    "rehearsal": f"{reader.REHEARSAL:g} s of CPU",
}


@pytest.mark.parametrize("name", SAID)
def test_the_page_says_what_the_code_does(name: str) -> None:
    assert SAID[name] in PAGE
