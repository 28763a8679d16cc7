"""Links that mail gateways and web mailers wrap around other links, undone without asking anybody.

Pure. One layer at a time; who calls bounds the depth. The inner text is judged like any other URL, so a
look-alike inside stays a look-alike. Sources: Microsoft SafeLinks, Google's redirect, Proofpoint's decoder.
"""

import base64
import re
import string
from collections.abc import Callable
from urllib.parse import unquote

from gateway.platforms.parts import Parts, param, raw_param

_GOOGLE = frozenset({"www.google.com", "google.com"})
_PROOFPOINT = frozenset({"urldefense.proofpoint.com", "urldefense.com"})
_V2 = str.maketrans("-_", "%/")
_V3_TOKEN = re.compile(r"\*(?:\*([A-Za-z0-9_-]))?")
_V3_RUN = {char: n for n, char in enumerate(string.ascii_letters.swapcase() + string.digits + "-_", start=2)}
_ONE_SLASH = re.compile(r"\A(https?|zoommtg|msteams):/(?=[^/])", re.IGNORECASE)


def unwrap(parts: Parts) -> str | None:
    """A URL -> the URL inside it (maybe empty), or None when it is not a wrapper."""
    if parts.scheme not in ("http", "https"):
        return None
    for is_wrapper, inside in _WRAPPERS:
        if is_wrapper(parts):
            return inside(parts) or ""
    return None


def _is_safelink(parts: Parts) -> bool:
    if parts.host == "statics.teams.cdn.office.net":
        return parts.path.startswith("/evergreen-assets/safelinks/")
    return parts.host.endswith(".safelinks.protection.outlook.com")


def _is_google(parts: Parts) -> bool:
    return parts.host in _GOOGLE and parts.path == "/url"


def _is_proofpoint(version: str) -> Callable[[Parts], bool]:
    return lambda parts: parts.host in _PROOFPOINT and parts.path.startswith(version)


def _v2(parts: Parts) -> str:
    """`-XX` is `%XX`, `_` is `/`; a real hyphen was written `-2D`."""
    return unquote((raw_param(parts.query, "u") or "").translate(_V2))


def _v3(parts: Parts) -> str:
    """/v3/__URL__;BYTES!!…: each `*` of URL is the next character of base64 BYTES, `**X` a run of them."""
    url, _, rest = parts.tail.removeprefix("/v3/__").partition("__;")
    url = _ONE_SLASH.sub(r"\1://", unquote(url))  # some mailers fold the two slashes into one
    try:
        hidden = base64.urlsafe_b64decode(rest.partition("!")[0] + "==").decode("utf-8")
    except ValueError:
        return ""
    return _fill(url, hidden)


def _fill(url: str, hidden: str) -> str:
    at = 0

    def token(found: re.Match[str]) -> str:
        nonlocal at
        start, at = at, at + (_V3_RUN[found[1]] if found[1] else 1)
        return hidden[start:at]

    filled = _V3_TOKEN.sub(token, url)
    return filled if at <= len(hidden) else ""  # a link with missing characters is another link


_WRAPPERS: tuple[tuple[Callable[[Parts], bool], Callable[[Parts], str | None]], ...] = (
    (_is_safelink, lambda parts: param(parts.query, "url")),
    (_is_google, lambda parts: param(parts.query, "q")),
    (_is_proofpoint("/v1/url"), lambda parts: param(parts.query, "u")),
    (_is_proofpoint("/v2/url"), _v2),
    (_is_proofpoint("/v3/__"), _v3),
)
