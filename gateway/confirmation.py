"""Google's question whether a mailbox may forward its mail here: the code and the link that the operator needs. Pure.

Rules of this file:
- The link that confirms begins with `vf-`; the one beside it, `uf-`, takes the request back and is never shown.
- The mail is written in the language of who asks: only its numbers, addresses and links are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gateway.address import normal

_CODE: Final = re.compile(r"\(#\s*(\d{6,12})\)")
_CODE_IN_TEXT: Final = re.compile(r":\s*(\d{6,12})\s*$", re.MULTILINE)
_LINK: Final = re.compile(r"https://(?:mail-settings|mail)\.google\.com/mail/vf-[A-Za-z0-9%._~=&?/\[\]-]+", re.ASCII)
_ADDRESS: Final = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+[A-Za-z0-9]", re.ASCII)


@dataclass(frozen=True)
class Confirmation:
    """What is typed in or clicked to confirm, and the mailbox that asks; '' for what is not in the mail."""

    code: str
    link: str
    mailbox: str

    def as_json(self) -> dict[str, str]:
        return {"code": self.code, "link": self.link, "mailbox": self.mailbox}


def confirmation_of(subject: str, body: str) -> Confirmation | None:
    """What a mail of Google's forwarding robot asks, None when there is neither a code nor a link in it."""
    code = _CODE.search(subject) or _CODE_IN_TEXT.search(body)
    link = _LINK.search(body)
    if code is None and link is None:
        return None
    asks = _ADDRESS.search(subject) or _ADDRESS.search(body)
    return Confirmation(code[1] if code else "", link[0] if link else "", normal(asks[0]) if asks else "")
