"""The bytes after DATA: where they end, the dots taken off, and no more of them kept than is allowed. No I/O.

Rules of this file:
- Only CR LF . CR LF ends a mail: another reading of the end would let a second mail be smuggled inside the first.
- What is too large is thrown away as it comes, so that it costs no memory.
"""

from __future__ import annotations

from typing import Final

from gateway.inbound import answers

LINE_LIMIT: Final = 1024 * 1024  # bytes; RFC 5321 4.5.3.1.6 asks for 1,000, senders of HTML write more
_END: Final = b"\r\n.\r\n"


class Content:
    """A mail as it comes in, at most `limit` bytes. `fault` is the answer when it cannot be taken."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray(b"\r\n")  # as if a line had ended, so that a dot in the first line is like any other
        self._line = 2  # where the line that has not ended begins
        self.complete = False
        self.fault: str | None = None
        self.rest = b""  # what came after the end: further commands

    def add(self, chunk: bytes) -> None:
        """Take some more bytes."""
        searched = max(0, len(self._kept) - len(_END) + 1)
        self._kept += chunk
        end = self._kept.find(_END, searched)
        if end >= 0:
            self.complete = True
            self.rest = bytes(self._kept[end + len(_END) :])
            del self._kept[end + 2 :]
        self._check(searched)

    def raw(self) -> bytes:
        """The mail, complete and without the dots that were put before dots (RFC 5321 4.5.2)."""
        return bytes(self._kept.replace(b"\r\n.", b"\r\n"))[2:]

    def _check(self, searched: int) -> None:
        ended = self._kept.rfind(b"\r\n", searched)
        if ended >= 0:
            self._line = ended + 2
        # What may be the beginning of the end is no content yet.
        begun = next((n for n in (2, 1) if not self.complete and self._kept.endswith(_END[: 2 + n])), 0)
        if len(self._kept) - 2 - begun > self._limit:
            self.fault = self.fault or answers.TOO_BIG
        elif len(self._kept) - self._line > LINE_LIMIT:
            self.fault = self.fault or answers.LONG_CONTENT_LINE
        if self.fault is not None:
            del self._kept[: -len(_END) + 1]  # the end may stand across two chunks
            self._line = 0
