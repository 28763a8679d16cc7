"""The envelope sender of a reply: an address of its own, signed, to which what cannot be delivered comes back. Pure.

An automatic answer may leave with the null sender or with an address that never answers by itself (RFC 3834 3.3). With
the null sender no server may tell that the answer did not arrive (RFC 5321 6.1); so each reply has such an address.

Rules of this file:
- The signature says that we made the address, the letter's id for which reply. What comes to another one is not ours.
- Hexadecimal digits only, in a local part of at most 64 octets (RFC 5321 4.5.3.1.1): servers on the way lower the case.
- The same reply has the same address each time it is tried, or greylisting (RFC 6647) would keep it off each time.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import Final

_FORM: Final = re.compile(r"bounce\+(?P<letter>r[0-9a-f]{24})\.(?P<signature>[0-9a-f]{24})@[^@]+", re.ASCII)


@dataclass(frozen=True)
class Bounces:
    """Makes and knows the bounce addresses. `secret` is the installation's."""

    secret: bytes

    def address(self, letter_id: str, domain: str) -> str:
        """The envelope sender of a reply, in the mail domain of its PAL."""
        return f"bounce+{letter_id}.{self._signature(letter_id)}@{domain}"

    def letter_of(self, address: str) -> str | None:
        """The id of the reply that a comparable address was made for, None when it was not made here."""
        found = _FORM.fullmatch(address)
        if found is None or not hmac.compare_digest(self._signature(found["letter"]), found["signature"]):
            return None
        return found["letter"]

    def _signature(self, letter_id: str) -> str:
        return hmac.new(self.secret, f"bounce {letter_id}".encode(), "sha256").hexdigest()[:24]


def is_bounce_address(address: str) -> bool:
    """Whether a comparable address has the form of a bounce address, whoever made it: no PAL is called so."""
    return _FORM.fullmatch(address) is not None
