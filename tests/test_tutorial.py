"""What the documentation tells a reader to type does what it shows, word for word."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.conftest import not_here
from tests.tutorial import ROOT, alone, blocks, pattern

PAGES = {"docs/tutorial.md": 20, "README.md": 4}  # how many blocks are played, at least


@pytest.mark.timeout(240)
@pytest.mark.parametrize("page", PAGES)
def test_a_reader_sees_what_the_page_shows(page: str) -> None:
    for program in ("bash", "curl", "make"):
        if shutil.which(program) is None:
            not_here(f"{program} is not installed")
    words = alone()
    played = subprocess.run(
        [*words, sys.executable, "-m", "tests.tutorial", page, *(["--alone"] if words else [])],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert played.returncode == 0, played.stdout + played.stderr
    assert int(played.stdout) >= PAGES[page]


def test_a_page_is_read_block_by_block() -> None:
    page = '# A\n```sh title="One"\na\nb\n```\nwords\n```toml\nno = 1\n```\n```text title="Two"\nc…\n```\n'
    assert [(one.is_typed, one.terminal, one.text) for one in blocks(page)] == [
        (True, "One", "a\nb\n"),
        (False, "Two", "c…\n"),
    ]


@pytest.mark.parametrize(
    ("shown", "seen", "fits"),
    [
        ("a…c\n", "abc\n", True),
        ("a…c\n", "a\nc\n", False),
        ("a\n…\nc\n", "a\nc\n", True),
        ("a\n…\nc\n", "x\na\nb\nb\nc\n", True),
        ("a\n…\nc\n", "c\na\n", False),
        ("a\n…\n", "a\nb\n", True),
        ("{x}\n", "{x}", True),
        ("state: joined\n", "state: joined by nobody\n", False),
        ("joined\n", "not joined\n", False),
    ],
)
def test_what_fits_a_shown_block(shown: str, seen: str, *, fits: bool) -> None:
    assert bool(pattern(shown).search(seen)) is fits
