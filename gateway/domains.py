"""The mail domains of PALs: the gateway's own, and those of accounts that bring one (white label). Pure.

Rules of this file:
- A domain is kept as it is compared: in lower case, a domain in another script as its A-labels (RFC 5890 2.3.2.1).
- Accounts may share a domain: a username is unique in it because the whole address is, in the store.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MAX_LENGTH: Final = 253  # RFC 1035 2.3.4: 255 octets on the wire

_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


@dataclass(frozen=True)
class Domains:
    """`default` for every account but those in `own` (account -> domain); all as `domain_name` has them."""

    default: str
    own: Mapping[str, str] = field(default_factory=dict)

    def of(self, account: str) -> str:
        """The domain in which an account's PALs get their addresses."""
        return self.own.get(account, self.default)

    def __contains__(self, domain: str) -> bool:
        """Whether mail for a comparable domain is ours to take."""
        return domain == self.default or domain in self.own.values()


def domain_name(text: str) -> str | None:
    """The comparable form of a mail domain (RFC 5321 2.3.5), None when it cannot be one."""
    try:
        name = text.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return None
    labels = name.split(".")
    if len(name) > MAX_LENGTH or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    return None if labels[-1].isdecimal() else name  # 10.0.0.1 is an address
