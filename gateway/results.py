"""What another server found out about a mail: Authentication-Results (RFC 8601), also those inside ARC sets. Pure.

Rules of this file:
- Comments and quoted strings say nothing: `header.from` inside them is somebody's text.
- Whose results are believed is decided elsewhere; here they are only read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from gateway.address import without_comments

_RESULT: Final = re.compile(r"\s*([a-z0-9-]+)(?:/\d+)?\s*=\s*([a-z]+)\b(.*)", re.IGNORECASE | re.DOTALL)
_PROPERTY: Final = re.compile(r"([a-z0-9-]+\.[a-z0-9_-]+)\s*=\s*([^\s;=]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Result:
    """One method with its verdict, and the properties it was found for: `header.d`, `header.from`, `smtp.mailfrom`."""

    method: str
    verdict: str
    properties: dict[str, str] = field(default_factory=dict)

    def domain(self, *names: str) -> str:
        """The domain that the first of these properties names, '' when there is none."""
        value = next((self.properties[name] for name in names if name in self.properties), "")
        return value.rpartition("@")[2].strip("<>").removesuffix(".").lower()


@dataclass(frozen=True)
class Results:
    """Who found it (the authserv-id, in lower case), and what."""

    server: str
    found: tuple[Result, ...]


def results_of(value: str) -> Results:
    """The value of one Authentication-Results, unfolded; what cannot be read is left out."""
    first, *rest = (without_comments(value) or "").split(";")
    words = first.split()
    found = (_RESULT.fullmatch(one) for one in rest)
    return Results(
        words[0].lower() if words else "",
        tuple(Result(one[1].lower(), one[2].lower(), _properties(one[3])) for one in found if one is not None),
    )


def sealed_results(value: str) -> Results:
    """The same of an ARC-Authentication-Results, which begins with its instance (RFC 8617 4.1.1)."""
    instance, _, rest = value.partition(";")
    return results_of(rest) if instance.strip().lower().startswith("i=") else Results("", ())


def _properties(text: str) -> dict[str, str]:
    return {one[1].lower(): one[2] for one in _PROPERTY.finditer(text)}
