"""Who can be invited, and by whom: the specification's "username" and "allowlist"."""

from __future__ import annotations

import time

import pytest

from gateway.pals import Pal, allowed_by, allowlist_fault, username_fault

pytestmark = pytest.mark.usefixtures("without_collections")


@pytest.mark.parametrize("name", ["ada", "a1", "acme-anna", "a.b_c-d", "Anna", "bot", "bots", "robot1", "0x"])
def test_usernames(name: str) -> None:
    assert username_fault(name) is None


@pytest.mark.parametrize(
    "name", ["a", "", "-ada", "ada-", ".a", "a b", "ädа", "bot1", "BOT42", "a" * 65, "a@b", "a\n", "\u212aate"]
)
def test_no_usernames(name: str) -> None:
    assert username_fault(name)


@pytest.mark.parametrize(
    ("entry", "address", "allowed"),
    [
        ("alex@acme.com", "alex@acme.com", True),
        ("Alex@Acme.COM", "alex@acme.com", True),
        ("boss@acme.com", "boss@acmexcom", False),
        ("boss@acme.com", "boss@acme.com.evil.org", False),
        (r".*@acme\.com", "anyone@acme.com", True),
        (r".*@ACME\.com", "anyone@acme.com", True),
        (r".*@acme\.com", "anyone@acme.com.evil.org", False),
        (r".*@acme\.com", "anyone@acmexcom", False),
        (r".*@acme\.com", "x@evil.org@acme.com", True),
        (r".*@acme\.com", "\u212anyone@acme.com", False),
    ],
)
def test_the_allowlist(entry: str, address: str, allowed: bool) -> None:
    assert allowed_by(address, (entry,)) == (entry if allowed else None)


@pytest.mark.parametrize("entry", ["(", "(?=x).*", "(?<!x)y", "[", "", "x" * 501, r"(a)\1"])
def test_entries_that_cannot_be(entry: str) -> None:
    assert allowlist_fault((entry,))


def test_too_many_entries() -> None:
    assert allowlist_fault(tuple(f"a{n}@b.example" for n in range(201)))
    assert allowlist_fault(tuple(f"a{n}@b.example" for n in range(200))) is None


def test_no_entry_can_hang_the_desk() -> None:
    """Python's own engine takes seconds for this one."""
    entry = r"(a+)+$"
    assert allowlist_fault((entry,)) is None
    before = time.process_time()
    assert allowed_by("a" * 5000 + "!@x.example", (entry,)) is None
    assert time.process_time() - before < 0.5


@pytest.mark.parametrize(
    ("address", "called"),
    [("anna@x.example", True), ("anna+a+b@x.example", True), ("ann@x.example", False), ("", False)],
)
def test_a_tag_reaches_the_pal(address: str, called: bool) -> None:
    assert Pal("p", "Anna", "anna@x.example", "f").is_called(address) is called
