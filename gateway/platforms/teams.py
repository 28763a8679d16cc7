"""Microsoft Teams: recognised by its long and short links, its launchers and its app scheme.

Pure. Canonical is /l/meetup-join/THREAD/MESSAGE with the context if any, or /meet/ID with its passcode.
Launchers carry one of the two inside and are reduced to it; the host is the launcher's own, never one found
inside. Sources: captured invitations, Microsoft message MC772556 (short links), public meeting clients.
"""

import base64
import json
import re
from urllib.parse import quote

from gateway.platforms.parts import Link, Parts, Platform, decoded, kept, param, parse

NAME = "teams"
HOSTS = frozenset(
    {
        "teams.microsoft.com",
        "teams.live.com",
        "gov.teams.microsoft.us",
        "dod.teams.microsoft.us",
        "teams.cloud.microsoft",  # from memory; confirmed by Microsoft's move of Teams to cloud.microsoft
    }
)

_JOIN = re.compile(r"/l/meetup-join/([^/]{1,400})(?:/([0-9]{1,20}))?")
_THREAD = re.compile(r"19:[A-Za-z0-9_.=-]{1,200}@(?:thread\.(?:v2|tacv2|skype)|unq\.gbl\.spaces)")
_SHORT = re.compile(r"/meet/([0-9]{10,15})")
_GUID = r"\s*:\s*\"([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})\""
_CONTEXT = tuple((key, re.compile(f'"{key}"{_GUID}')) for key in ("Tid", "Oid"))
# "cid":"19:meeting_X@thread.v2" in …TEAMSPROPERTIES, …!19:meeting_X-thread.v2!… in …CONFLINK.
_CID = re.compile(r"19:([A-Za-z0-9_=-]{1,200}?)[@-]thread\.(v2|tacv2|skype)(?![A-Za-z0-9])")
_URLSAFE = str.maketrans("-_", "+/")
_MID = re.compile(r'"mid"\s*:\s*([0-9]{1,20})')


def read(parts: Parts) -> Link | None:
    """A URL of Teams' hosts, or msteams: -> its link."""
    if parts.path == "/light-meetings/launch":
        return _light(parts.host, param(parts.query, "coords") or "")
    path, query = _target(parts)
    return _join(parts.host, path, query) or _short(parts.host, path, query)


def property_link(text: str) -> Link | None:
    """The value of X-MICROSOFT-SKYPETEAMSPROPERTIES (JSON with `cid`) or X-MICROSOFT-ONLINEMEETINGCONFLINK
    (a conf:sip: address) -> the join link of the thread it names. No context stands there."""
    found, message = _CID.search(text), _MID.search(text)
    if found is None:
        return None
    thread = f"19:{found[1]}@thread.{found[2]}"
    return _thread_link("teams.microsoft.com", thread, message[1] if message else "0", "")


def _target(parts: Parts) -> tuple[str, str]:
    """Path and query of the meeting: the URL's own, or those a launcher carries."""
    path = parts.path.removesuffix("/")
    if path in ("/v2", "/_"):  # /v2/?meetingjoin=true#/meet/…, /_#/l/meetup-join/…
        path, query = _split(parts.fragment)
    elif path == "/dl/launcher/launcher.html":
        path, query = _split(_launched(parts))
    else:
        query = parts.query
    return path.removesuffix("/"), query


def _launched(parts: Parts) -> str:
    inner = param(parts.query, "url") or ""
    # Unencoded, everything after the # of url=/_#/… is the launcher's own fragment.
    return parts.fragment if inner.removesuffix("/") == "/_" else inner.removeprefix("/_#")


def _split(target: str) -> tuple[str, str]:
    path, _, query = target.partition("?")
    return path, query


def _join(host: str, path: str, query: str) -> Link | None:
    found = _JOIN.fullmatch(path)
    thread = decoded(found[1]) if found else ""
    if found is None or not _THREAD.fullmatch(thread):
        return None
    return _thread_link(host, thread, found[2] or "0", _context(param(query, "context") or ""))


def _thread_link(host: str, thread: str, message: str, context: str) -> Link:
    return Link(NAME, f"https://{host}/l/meetup-join/{quote(thread, safe='')}/{message}{context}", room=True)


def _context(value: str) -> str:
    """The context rebuilt from tenant and organiser, the two that joining needs; nothing else is kept."""
    text = decoded(value)
    found = [(key, pattern.search(text)) for key, pattern in _CONTEXT]
    return _context_of([(key, match[1]) for key, match in found if match])


def _context_of(pairs: list[tuple[str, str]]) -> str:
    body = ",".join(f'"{key}":"{value}"' for key, value in pairs)
    return "?context=" + quote("{" + body + "}", safe="") if pairs else ""


def _short(host: str, path: str, query: str) -> Link | None:
    found = _SHORT.fullmatch(path)
    return Link(NAME, f"https://{host}/meet/{found[1]}{kept(query, 'p')}", room=True) if found else None


def _light(host: str, coords: str) -> Link | None:
    """The browser client's launch page: base64 of JSON that names the meeting in one of three ways."""
    fields = _json_fields(coords)
    inner = parse(fields.get("meetingUrl", ""))
    if inner is not None and inner.host in HOSTS:
        return _join(inner.host, inner.path, inner.query) or _short(inner.host, inner.path, inner.query)
    if code := fields.get("meetingCode"):
        return _short(host, f"/meet/{code}", f"p={quote(fields.get('passcode', ''), safe='')}")
    context = json.dumps({"Tid": fields.get("tenantId", ""), "Oid": fields.get("organizerId", "")})
    message = fields.get("messageId", "0")
    thread = quote(fields.get("conversationId", ""), safe="")
    return _join(host, f"/l/meetup-join/{thread}/{message}", f"context={quote(context, safe='')}")


def _json_fields(coords: str) -> dict[str, str]:
    """The ASCII values of the object in `coords`; empty when it is not one. Both base64 alphabets are seen,
    with and without padding, and sometimes a percent-encoding below."""
    try:
        data = base64.b64decode(coords.translate(_URLSAFE).rstrip("=") + "==")
        values = json.loads(decoded(data.decode("utf-8")))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    texts = {key: str(value) for key, value in values.items() if isinstance(value, str | int)}
    return {key: value for key, value in texts.items() if value.isascii()}


PLATFORM = Platform(NAME, HOSTS, read, schemes=frozenset({"http", "https", "msteams"}))
