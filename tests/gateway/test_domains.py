"""What can be a mail domain, and how it is said when one cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.address import domain_of, normal
from gateway.config import BadConfig, load
from gateway.domains import domain_name

GOOD = {
    "meet.acme.com": "meet.acme.com",
    "Meet.ACME.com": "meet.acme.com",
    "Bücher.example": "xn--bcher-kva.example",
    "xn--bcher-kva.example": "xn--bcher-kva.example",
    "例え.テスト": "xn--r8jz45g.xn--zckzah",
    "localhost": "localhost",
    "a-1.b2": "a-1.b2",
    "l" * 63 + ".example": "l" * 63 + ".example",
}
BAD = [
    "",
    " ",
    ".",
    "acme..com",
    ".acme.com",
    "acme.com.",
    "-acme.com",
    "acme-.com",
    "ac me.com",
    "acme_mail.com",
    "anna@acme.com",
    "https://acme.com",
    "acme.com:25",
    "10.0.0.1",
    "[10.0.0.1]",
    "acme.com\n",
    "l" * 64 + ".example",
    ".".join(["a" * 60] * 5),
]


@pytest.mark.parametrize(("written", "kept"), GOOD.items())
def test_domains_are_kept_as_addresses_are_compared(written: str, kept: str) -> None:
    assert domain_name(written) == kept == domain_of(normal(f"anna@{written}"))


@pytest.mark.parametrize("written", BAD, ids=repr)
def test_what_is_no_domain(written: str) -> None:
    assert domain_name(written) is None


def settings_file(folder: Path, text: str) -> Path:
    path = folder / "gateway.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_file_and_the_environment_both_say_domains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = settings_file(tmp_path, '[domains]\nacme = "old.acme.com"\n"Beta Ltd" = "Bücher.example"\n')
    monkeypatch.setenv("GATEWAY_DOMAINS__ACME", "Meet.ACME.com")
    monkeypatch.setenv("GATEWAY_DOMAINS__GAMMA_2", "gamma.example")
    domains = load(path).mail_domains()
    assert [domains.of(name) for name in ("acme", "Beta Ltd", "gamma_2", "other")] == [
        "meet.acme.com", "xn--bcher-kva.example", "gamma.example", "invite.example.com",
    ]  # fmt: skip
    assert [name in domains for name in ("gamma.example", "invite.example.com", "old.acme.com", "")] == [
        True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "domain = 'ac me'",
            "labels of letters, digits and - with dots between them, not 'ac me'.",
        ),
        ("[domains]\nacme = 'a..b'", "domains.acme: a domain is labels of letters"),
        ("[domains]\nacme = 5", "domains.acme: "),
        ("[domains.acme]\nname = 'a.example'", "domains.acme: "),
        ("domains = 'acme.com'", "domains: "),
        ("[domains]\n'' = 'acme.com'", "domains."),
    ],
)
def test_a_bad_domain_is_said_at_the_start(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadConfig) as refused:
        load(settings_file(tmp_path, text))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["GATEWAY_DOMAIN__ACME", "GATEWAY_DOMAINSACME"])
def test_a_variable_that_names_no_account(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "acme.com")
    with pytest.raises(BadConfig, match="is not a setting"):
        load()
