"""Join-now orders: what a client asks for with `meeting_url`, as a join. Pure.

Rules of this file (specification, "Join a Google Meet via API" and "Create Conversation"):
- The key is the authorization: no allowlist is asked.
- The link is read like one in an invitation; what cannot be joined is refused with the platform's name.
- Fields that are not ours go on to the platform as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.binding import Links
from gateway.documents import Fault, property_faults
from gateway.pals import Pal
from gateway.platforms import classify
from gateway.verdict import PLATFORM_NAMES
from scheduler.joins import Join, JoinState
from scheduler.request import CONVERSATION, MAX_CALL

MAX_TEXT: Final = 2000  # characters of a name or an address
_OURS: Final = ("meeting_url", "pal_id", "face_id", "conversation_name", "callback_url")


@dataclass(frozen=True)
class Order:
    """Who goes where, under which name, and what else the platform is told."""

    url: str
    pal_id: str
    face_id: str
    name: str
    callback_url: str
    request: dict[str, Any]


def order_of(body: Mapping[str, Any], links: Links) -> Order | list[Fault]:
    """The order of a body in today's names, or all that is wrong with it."""
    faults = list(_text_faults(body))
    link = body.get("meeting_url")
    found = classify(link, jitsi_hosts=links.jitsi_hosts) if isinstance(link, str) and len(link) <= MAX_TEXT else None
    if found is None or not found.room or found.platform not in links.joinable:
        faults.append(Fault("meeting_url", _not_joinable(found.platform if found else None, links)))
    if faults or found is None:
        return faults
    texts = {name: body.get(name) or "" for name in _OURS}
    request = {name: value for name, value in body.items() if name not in _OURS}
    return Order(
        url=found.url,
        pal_id=texts["pal_id"],
        face_id=texts["face_id"],
        name=texts["conversation_name"],
        callback_url=texts["callback_url"],
        request=request,
    )


def join_of(order: Order, pal: Pal | None, join_id: str, now: datetime, owner: str, lease: timedelta) -> Join:
    """The order as a join that `owner` carries out now. `pal`: what we know of it, None when only the platform does."""
    request = dict(order.request)
    target = pal.target if pal is not None else {}
    if target.get("kind", CONVERSATION) != CONVERSATION:
        request = {"target": target, "organizer": ""}
    elif pal is not None and pal.properties:
        request["properties"] = {**pal.properties, **request.get("properties", {})}
    ends = now + _longest(request.get("properties", {}))
    return Join(
        id=join_id,
        pal_id=order.pal_id,
        face_id=order.face_id or (pal.face_id if pal is not None else ""),
        uid=join_id,
        recurrence_id=now,
        starts=now,
        ends=ends,
        at=now,
        until=ends,
        url=order.url,
        name=order.name,
        state=JoinState.CLAIMED,
        wake_at=now + lease,
        attempt=1,
        owner=owner,
        request=request,
    )


def callback_fault(url: str) -> str | None:
    """Why this is no address that callbacks can be passed on to, None when it is one."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    good = good and url.isascii() and url.isprintable() and " " not in url and "@" not in parts.netloc
    return None if good else "It is no http or https address."


def _text_faults(body: Mapping[str, Any]) -> Iterator[Fault]:
    for name in _OURS[1:]:  # what is wrong with the link is said about the link
        value = body.get(name)
        if value is not None and (not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable()):
            yield Fault(name, f"It is a text of at most {MAX_TEXT} printable characters.")
    if not body.get("pal_id"):
        yield Fault("pal_id", "A pal_id is required: who is to join?")
    callback = body.get("callback_url")
    if isinstance(callback, str) and callback and (fault := callback_fault(callback)):
        yield Fault("callback_url", fault)
    properties = body.get("properties", {})
    if not isinstance(properties, dict):
        yield Fault("properties", "It is an object.")
    yield from property_faults(properties, "")


def _not_joinable(platform: str | None, links: Links) -> str:
    can = ", ".join(PLATFORM_NAMES.get(one, one) for one in sorted(links.joinable))
    if platform is None:
        return f"This is no link to a meeting that is known here; PALs can join: {can}."
    name = PLATFORM_NAMES.get(platform, platform)
    if platform in links.joinable:
        return f"This {name} link does not name a meeting."
    return f"This is a {name} link, and PALs cannot join {name} calls yet; they can join: {can}."


def _longest(properties: Mapping[str, Any]) -> timedelta:
    """How long the call may last; the platform checks the number itself."""
    seconds = properties.get("max_call_duration")
    if type(seconds) is int and 0 < seconds < MAX_CALL.total_seconds():
        return timedelta(seconds=seconds)
    return MAX_CALL
