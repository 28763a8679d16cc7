"""What `doctor` thinks of each answer, a row each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.diagnosis import (
    MIN_FREE,
    Held,
    Line,
    alignment_policy,
    bad,
    certificate,
    clock,
    closed,
    exchangers,
    sender_policy,
    signing_key,
    space,
    target,
    zone_data,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
MX = ((10, "mx1.acme.example"), (20, "mx2.acme.example"))
BOTH = {"mx1.acme.example": ("192.0.2.1",), "mx2.acme.example": ("2001:db8::1",)}


def held(days: float, *names: str) -> Held:
    return Held(names or ("mx1.acme.example",), NOW + timedelta(days=days))


def seconds(number: float) -> Line:
    return clock(timedelta(seconds=number), "the platform")


JUDGED: dict[str, tuple[Line, str, str]] = {
    "clock": (seconds(4.9), "ok", "within 5 s of the platform"),
    "clock behind": (seconds(-6), "not ok", "6 s behind the platform"),
    "clock ahead": (seconds(3600), "not ok", "3600 s ahead of the platform"),
    "room": (space("x", "/v", MIN_FREE), "ok", "512 MB free in /v"),
    "no room": (space("x", "/v", MIN_FREE - 1), "not ok", "511 MB free in /v"),
    "zones": (zone_data("2025b", NOW), "ok", "release 2025b"),
    "zones of unknown age": (zone_data("", NOW), "ok", "the release is not known"),
    "old zones": (zone_data("2024b", NOW), "not ok", "release 2024b"),
    "mx": (exchangers("a.example", MX, BOTH), "ok", "mx1.acme.example, mx2.acme.example"),
    "no mx": (exchangers("a.example", (), {}), "not ok", "none"),
    "no dns for mx": (exchangers("a.example", None, {}), "not ok", "DNS does not answer"),
    "mx without address": (exchangers("a.example", MX, {**BOTH, MX[1][1]: ()}), "not ok", "mx2.acme.example has no"),
    "no dns for a host": (exchangers("a.example", MX, {**BOTH, MX[1][1]: None}), "not ok", "DNS does not answer"),
    "spf": (sender_policy("a.example", (b"x=1", b"v=spf1 -all")), "ok", "v=spf1 -all"),
    "no spf": (sender_policy("a.example", (b"v=spf10 -all",)), "not ok", "none"),
    "two spf": (sender_policy("a.example", (b"v=spf1 -all", b"V=SPF1")), "not ok", "2 records"),
    "no dns for spf": (sender_policy("a.example", None), "not ok", "DNS does not answer"),
    "dkim": (signing_key("a.example", "s1", (b"v=DKIM1; p=abc",)), "ok", "a key at s1._domainkey"),
    "no dkim": (signing_key("a.example", "s1", ()), "not ok", "no key at s1._domainkey"),
    "revoked": (signing_key("a.example", "s1", (b"v=DKIM1; p=",)), "not ok", "is revoked"),
    "dmarc": (alignment_policy("a.example", (b"v=DMARC1; p=none",)), "ok", "p=none"),
    "no dmarc": (alignment_policy("a.example", ()), "not ok", "none"),
    "certificate": (certificate(held(15), ["MX1.acme.example"], NOW), "ok", "until 2026-03-16"),
    "certificate for all": (certificate(held(15, "*.acme.example"), ["mx1.acme.example"], NOW), "ok", "until"),
    "ends soon": (certificate(held(13), [], NOW), "not ok", "it ends on 2026-03-14"),
    "ended": (certificate(held(-1), [], NOW), "not ok", "it ended on 2026-02-28"),
    "another's": (certificate(held(99), ["mx2.acme.example"], NOW), "not ok", "not for mx2.acme.example"),
    "one label only": (certificate(held(99, "*.acme.example"), ["a.b.acme.example"], NOW), "not ok", "not for a.b"),
    "nobody's": (certificate(Held((), NOW + timedelta(days=99)), [], NOW), "not ok", "it names nobody"),
    "platform": (target("platform", 200, "", knows=True), "ok", "takes the key"),
    "wrong key": (target("platform", 401, "", knows=True), "not ok", "it refuses the key (401)"),
    "wrong address": (target("platform", 404, "", knows=True), "not ok", "it answers 404"),
    "nothing to find": (target("targets.x", 404, "", knows=False), "ok", "takes the key"),
    "down": (target("platform", None, "ConnectError", knows=True), "not ok", "ConnectError"),
}


@pytest.mark.parametrize(("line", "state", "found"), JUDGED.values(), ids=JUDGED)
def test_each_answer_is_judged(line: Line, state: str, found: str) -> None:
    assert (line.state.value, found in line.found) == (state, True), line
    assert bool(line.mend) is (state == "not ok"), "what is not ok has a mend"


def test_a_file_has_another_mend_than_a_server() -> None:
    assert "file is no store" in closed("file is not a database", is_file=True).mend
    assert "read and write that file" in closed("unable to open database file", is_file=True).mend
    assert "its server runs" in closed("connection refused", is_file=False).mend


def test_what_a_server_says_in_lines_is_one() -> None:
    assert bad("store", "failed:\n\tIs it there?\n", "look").without([]).found == "failed: Is it there?"


def test_no_secret_and_no_escape_is_told() -> None:
    line = bad("relay", "535 hunter2 \x1b[2J", "was it hunter2?").without(["", "hunter2"])
    assert (line.found, line.mend) == ("535 *** \N{REPLACEMENT CHARACTER}[2J", "was it ***?")
