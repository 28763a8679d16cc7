"""What a PAL attends and declined, for calendar programs: its feed, and how its address is changed. A door.

Rules of this file:
- The feed is opened by the token in its address, because calendar programs send no keys. Without the right one there
  is nothing here: the answer is that to a PAL which does not exist.
- Programs ask often: what has not changed is answered with 304.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel

import scheduler.store
from gateway import store
from gateway.api.auth import Asking
from gateway.api.faults import Refused, invalid
from gateway.api.forms import described, known_pal, refusals, schema_of
from gateway.api.house import House
from gateway.documents import Fault
from gateway.feed import BACK, MAX_ENTRIES, MAX_EVENTS, Declined, calendar_of, declined_dates, why_declined
from gateway.pals import Pal
from gateway.store import InviteRow
from scheduler.clock import utc_now
from scheduler.event import Event
from scheduler.joins import Join

_ICS: Final = "text/calendar"


class CalendarAnswer(BaseModel):
    """Where the feed is now."""

    calendar_url: str


class Calendars:
    """The routes of feeds, under today's or the older names."""

    def __init__(self, house: House, *, legacy: bool = False) -> None:
        self._house = house
        self.router = APIRouter(
            prefix="/v2/personas" if legacy else "/v2/pals", tags=["personas" if legacy else "pals"]
        )
        self.router.add_api_route(
            "/{pal_id}/calendar.ics",
            self.calendar,
            methods=["GET"],
            response_class=Response,
            responses={**refusals(404, 503), 304: {"description": "It is as it was."}},
            openapi_extra={"responses": {"200": {"content": {_ICS: {"schema": {"type": "string"}}}}}},
        )
        self.router.add_api_route(
            "/{pal_id}/calendar-token",
            self.turn,
            methods=["POST"],
            response_model=None,
            responses=refusals(400, 401, 403, 404, 503),
            openapi_extra=described(schema_of(CalendarAnswer)),
        )

    def calendar(
        self,
        pal_id: str,
        token: Annotated[str, Query(description="As in the PAL's `calendar_url`.")] = "",
        if_none_match: Annotated[str, Header()] = "",
    ) -> Response:
        """What a PAL will attend, is attending, and attended in the last week, and what it declined, to subscribe to.
        Needs no key."""
        with self._house.engine.connect() as connection:
            row = store.pal_row(connection, pal_id)
            number = row.calendar_number if row is not None else 0
            if not self._house.feeds.is_open(pal_id, number, token) or row is None or not row.pal.address:
                raise Refused(404, "There is no such PAL.")
            now = utc_now()
            joins = scheduler.store.attended(connection, pal_id, now - BACK, MAX_ENTRIES)
            said = store.declined_of(connection, pal_id, MAX_EVENTS)
            changed = store.accepted_at(connection, pal_id, {join.uid for join in joins} | said.keys())
            events = scheduler.store.look_at_events(connection, pal_id, said.keys())
        body = calendar_of(
            row.pal, joins, changed, row.created_at, _declined(row.pal, events, said, changed, joins, now)
        )
        tag = f'"{sha256(body).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if _has(if_none_match, tag):
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type=f"{_ICS}; charset=utf-8")

    def turn(self, key: Asking, pal_id: str) -> dict[str, Any]:
        """Give the feed of a PAL a new address; the one before opens nothing any more."""
        with self._house.engine.begin() as connection:
            row = known_pal(connection, key.account, pal_id)
            if not row.pal.address:
                raise invalid([Fault("layers.conferencing", "A PAL without conferencing has no calendar.")])
            number = store.turn_calendar(connection, pal_id)
        return {"calendar_url": self._house.feeds.url(pal_id, number)}


def _declined(
    pal: Pal,
    events: Sequence[Event],
    said: Mapping[str, InviteRow],
    changed: Mapping[str, datetime],
    joins: Sequence[Join],
    now: datetime,
) -> list[Declined]:
    """The dates that stand declined, and are not attended all the same."""
    attended = {(join.uid, join.recurrence_id) for join in joins}
    found = []
    for event in events:
        invite = said[event.uid]
        # What was accepted since says that the reason is another one by now, such as a call that came to nothing.
        is_last = event.uid not in changed or changed[event.uid] <= invite.decided_at
        why = why_declined(invite.reason, invite.platform, pal) if is_last else ""
        dates = declined_dates(event, why, invite.decided_at, now)
        found += [one for one in dates if (event.uid, one.date.recurrence_id) not in attended]
    return found


def _has(if_none_match: str, tag: str) -> bool:
    """Whether a client holds what has this tag (RFC 9110 13.1.2: compared weakly)."""
    held = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    return tag in held or "*" in held
