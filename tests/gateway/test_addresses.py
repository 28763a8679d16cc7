"""Addresses as calendars write them."""

from __future__ import annotations

import pytest

from gateway.address import as_written, from_uri, normal, without_tag


@pytest.mark.parametrize(
    ("written", "comparable"),
    [
        ("mailto:anna@x.example", "anna@x.example"),
        ("MAILTO:Anna@X.Example", "anna@x.example"),
        ("mailto:an%6Ea@x.example", "anna@x.example"),
        ("mailto:<anna@x.example>", "anna@x.example"),
        (" anna@x.example ", "anna@x.example"),
        ("mailto:anna@x.example?subject=x", "anna@x.example"),
        ("mailto:anna@bücher.example", "anna@xn--bcher-kva.example"),
        ("urn:uuid:1234", ""),
        ("http://x.example/principal", ""),
        ("mailto:", ""),
        ("mailto:anna", ""),
        ("mailto:a b@x.example", ""),
        ("mailto:a%0D%0ABcc:x@x.example", ""),
        ("mailto:\u212a@x.example", "\u212a@x.example"),
        ("mailto:a@" + "x" * 70 + ".example", ""),
    ],
)
def test_comparable(written: str, comparable: str) -> None:
    assert from_uri(written) == comparable


def test_a_local_part_keeps_its_case_where_it_is_written() -> None:
    assert as_written("mailto:2_HAYTGMJX@imip.me.com") == "2_HAYTGMJX@imip.me.com"
    assert as_written("mailto:a%0Ab@x.example") == ""


def test_tags() -> None:
    assert without_tag("anna+x@y.example") == "anna@y.example"
    assert normal("") == ""
