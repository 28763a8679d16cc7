"""The bytes after DATA: the same mail comes out however they were cut, and only CR LF . CR LF ends it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.inbound import answers
from gateway.inbound.content import LINE_LIMIT, Content

LINES = st.lists(
    st.binary(max_size=6).map(lambda line: line.replace(b"\r\n", b"")) | st.sampled_from([b".", b"..", b"\r", b"\n.\n"])
)
END = b".\r\n"


def sent(lines: list[bytes]) -> tuple[bytes, bytes]:
    """A mail of these lines, and what a client sends for it (RFC 5321 4.5.2)."""
    mail = b"".join(line + b"\r\n" for line in lines)
    stuffed = [b"." + line if line.startswith(b".") else line for line in mail.split(b"\r\n")]
    return mail, b"\r\n".join(stuffed) + END


def taken(data: bytes, cuts: list[int], limit: int = 1000) -> Content:
    """What is made of the bytes when they come in pieces of these sizes, and then the rest."""
    content = Content(limit)
    for size in [*cuts, len(data)]:
        if not content.complete:
            content.add(data[:size])
            data = data[size:]
    content.rest += data
    return content


@given(lines=LINES, cuts=st.lists(st.integers(0, 5)), rest=st.sampled_from([b"", b"QUIT\r\n", b".\r\n", b"\r\n.\r\n"]))
def test_the_mail_comes_out_as_it_was_sent(lines: list[bytes], cuts: list[int], rest: bytes) -> None:
    mail, stream = sent(lines)
    content = taken(stream + rest, cuts)
    assert content.complete
    assert content.fault is None
    assert content.raw() == mail
    assert content.rest == rest


@pytest.mark.parametrize("data", [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"x.\r\n", b"\r\n.\r", b"\r\n..\r\n"])
@given(cuts=st.lists(st.integers(0, 3)))
def test_nothing_else_ends_it(data: bytes, cuts: list[int]) -> None:
    assert not taken(data, cuts).complete


@pytest.mark.parametrize(("size", "fault"), [(100, None), (101, answers.TOO_BIG), (50_000, answers.TOO_BIG)])
@given(cuts=st.lists(st.integers(0, 30_000)))
@example(cuts=[101])
@example(cuts=[102])
def test_the_size_is_a_bound(size: int, fault: str | None, cuts: list[int]) -> None:
    content = taken(b"x" * (size - 2) + b"\r\n" + END + b"RSET\r\n", cuts, limit=100)
    assert content.complete
    assert content.fault == fault
    assert content.rest == b"RSET\r\n"


def test_what_is_too_large_is_not_kept() -> None:
    content = Content(limit=10**9)
    for _ in range(50):
        content.add(b"x" * LINE_LIMIT)
    assert content.fault == answers.LONG_CONTENT_LINE
    assert len(content._kept) < 10
    content.add(b"\r\n.\r")
    assert not content.complete
    content.add(b"\n")
    assert content.complete


def test_many_short_lines_cost_no_more_than_their_bytes() -> None:
    content = Content(limit=10**7)
    content.add(b"\r\n" * 4_000_000)
    content.add(END)
    assert content.complete
    assert len(content.raw()) == 8_000_000
