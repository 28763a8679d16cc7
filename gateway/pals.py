"""PALs: who can be invited, and by whom. Pure.

Rules of this file (specification, "username" and "allowlist"):
- Usernames are lower case, two or more characters, and never botN.
- An allowlist entry without metacharacters other than `. - _ +` is an exact address, anything else an RE2 regex that
  must match the whole address. RE2, because a list entry must not be able to hang the desk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import re2

from gateway.address import normal, without_tag
from scheduler.request import Attendant

DEFAULT_ACCOUNT: Final = "default"  # of PALs that a command made
MAX_ENTRIES: Final = 200
MAX_ENTRY_LENGTH: Final = 500
# Google's forwarding confirmations must reach the operator (specification, "allowlist").
ALWAYS_ALLOWED: Final = "forwarding-noreply@google.com"

_USERNAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*[a-z0-9]", re.ASCII)
_RESERVED: Final = re.compile(r"bot[0-9]+|postmaster|abuse", re.ASCII)  # RFC 2142: people write to those
_EXACT: Final = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+", re.ASCII)


@dataclass(frozen=True)
class Pal:
    """An AI agent of an account, invited at `address` ('': it cannot be). `zone` (IANA): for events that name none."""

    id: str
    name: str
    address: str
    face_id: str
    allowlist: tuple[str, ...] = ()
    zone: str | None = None
    context: str = "title"  # what of an event its conversations are told: none, title, full
    properties: dict[str, Any] = field(default_factory=dict)  # of its conversations
    target: dict[str, Any] = field(default_factory=dict)  # another join target than a conversation
    account: str = DEFAULT_ACCOUNT

    @property
    def attendant(self) -> Attendant:
        """The PAL as its joins are ordered."""
        return Attendant(self.id, self.face_id, self.context, self.properties, self.target)

    def is_called(self, address: str) -> bool:
        """Whether a comparable address reaches this PAL, a +tag included."""
        return without_tag(address) == self.address


def pal_id(address: str) -> str:
    """The id of a new PAL, made from its address."""
    return "p" + blake2b(address.encode(), digest_size=6).hexdigest()


def username_fault(username: str) -> str | None:
    """Why this cannot be a username, None when it can. Upper case is no fault, it is lowered."""
    name = username.lower() if username.isascii() else ""  # the Kelvin sign would become a plain k
    if not _USERNAME.fullmatch(name):
        return (
            "A username has 2 or more characters, starts and ends with a letter or digit, "
            "and may contain . _ - in between."
        )
    if _RESERVED.fullmatch(name):
        return "Usernames of the form botN are reserved, and so are postmaster and abuse."
    if len(name) > 64:
        return "A username has at most 64 characters."  # RFC 5321 4.5.3.1.1
    return None


def allowlist_fault(entries: tuple[str, ...]) -> str | None:
    """Why this cannot be an allowlist, None when it can."""
    if len(entries) > MAX_ENTRIES:
        return f"An allowlist has at most {MAX_ENTRIES} entries."
    for entry in entries:
        if not entry or len(entry) > MAX_ENTRY_LENGTH:
            return f"An allowlist entry has 1 to {MAX_ENTRY_LENGTH} characters."
        if not _EXACT.fullmatch(entry):
            try:
                _compiled(entry)
            except re2.error as error:
                reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
                return f"The allowlist entry {entry!r} is neither an address nor a regular expression: {reason}."
    return None


def allowed_by(address: str, entries: tuple[str, ...]) -> str | None:
    """The allowlist entry that admits a comparable address, None when none does. An empty list is the caller's."""
    for entry in entries:
        if _EXACT.fullmatch(entry):
            if normal(entry) == address:
                return entry
        elif address.isascii() and _compiled(entry).fullmatch(address):
            return entry
    return None


@lru_cache(maxsize=1024)
def _compiled(entry: str) -> Any:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = 1 << 20
    return re2.compile(entry, options)
