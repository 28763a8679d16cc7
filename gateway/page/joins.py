"""Today and next, the week of a PAL, and what a visitor does to one join. A door."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from functools import partial
from typing import Annotated, Any, Final

from fastapi import Query, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy import Connection, Engine

import scheduler.journal
import scheduler.store
from gateway import interventions, store, store_calls, store_page
from gateway.api.faults import Refused
from gateway.api.house import House
from gateway.page import frame, views
from gateway.page.session import Form, Visiting, Visitor
from gateway.store_page import PalName
from scheduler.clock import utc_now
from scheduler.joins import Join

MOST: Final = 50  # joins in each part of the timeline
MOST_IN_A_WEEK: Final = 500
MOST_PALS: Final = 200  # that can be chosen from

NO_JOIN: Final = "There is no such join."

OfPal = Annotated[str, Query(max_length=64)]


class JoinPages:
    """The timeline, the week, and the acts on one join."""

    def __init__(self, house: House, lookups: Engine) -> None:
        self._house = house
        self._lookups = lookups
        self.router = frame.router()
        self.router.add_api_route("/", self.today, methods=["GET"])
        self.router.add_api_route("/live/today", self.today_part, methods=["GET"])
        self.router.add_api_route("/week", self.week, methods=["GET"])
        self.router.add_api_route("/joins/{join_id}", self.one, methods=["GET"])
        self.router.add_api_route("/joins/{join_id}/{act}", self.act, methods=["POST"])

    def today(self, request: Request, visitor: Visiting, pal: OfPal = "") -> Response:
        """What goes on, what comes next, what is over."""
        with self._lookups.connect() as connection:
            pals = pals_of(connection, visitor)
        found = self._timeline(request, visitor, pal, pals)
        return frame.page(request, "today.html", visitor, pals=pals, pal=pal, live=found, address=_live_address(pal))

    def today_part(self, request: Request, visitor: Visiting, pal: OfPal = "") -> Response:
        """The same, as far as it has changed."""
        with self._lookups.connect() as connection:
            pals = pals_of(connection, visitor)
        return frame.part(request, self._timeline(request, visitor, pal, pals), _live_address(pal))

    def _timeline(self, request: Request, visitor: Visitor, pal: str, pals: list[PalName]) -> frame.Live:
        now = utc_now()
        with self._lookups.connect() as connection:
            found = store_page.around(connection, visitor.key.account, pal or None, now, MOST)
            shown = [shown_joins(connection, some, now) for some in (found.going, found.coming, found.past)]
        parts = zip(("Now", "Next", "In the last day"), shown, strict=True)
        return frame.live(request, "_today.html", visitor, parts=list(parts), pal=pal, has_pals=bool(pals), most=MOST)

    def week(self, request: Request, visitor: Visiting, pal: OfPal = "", of: str = "") -> Response:
        """The week of a PAL that a day is in."""
        now = utc_now()
        first = views.monday(_day(of) or now.astimezone(visitor.zone).date())
        since = datetime.combine(first, time(), visitor.zone)
        before = datetime.combine(first + timedelta(days=7), time(), visitor.zone)
        with self._lookups.connect() as connection:
            pals = pals_of(connection, visitor)
            pal = pal or (pals[0].id if pals else "")
            found = store_page.between(connection, visitor.key.account, pal, since, before, MOST_IN_A_WEEK)
            shown = shown_joins(connection, found, now)
        days = views.week(first, shown, visitor.zone, now)
        values: dict[str, Any] = {"before": first - timedelta(days=7), "after": first + timedelta(days=7), "days": days}
        return frame.page(request, "week.html", visitor, pals=pals, pal=pal, first=first, **values)

    def one(self, request: Request, visitor: Visiting, join_id: str) -> Response:
        """The story of a join: that of the last invitation to its event, or its own where there was none."""
        with self._lookups.connect() as connection:
            if not store.owns_join(connection, visitor.key.account, join_id):
                raise Refused(404, NO_JOIN)
            join = scheduler.store.get_join(connection, join_id)
            assert join is not None  # noqa: S101  it is owned
            invite = next(iter(store_page.other_invites(connection, join.pal_id, join.uid, 1)), None)
            if invite is not None:
                return RedirectResponse(f"/invitations/{invite.id}", 303, headers=frame.HEADERS)
            values: dict[str, Any] = {
                "joins": shown_joins(connection, [join], utc_now()),
                "history": scheduler.journal.history_of(connection, [join_id]),
                "heard": store_calls.heard_of(connection, [join_id]),
            }
        return frame.page(request, "join.html", visitor, **values)

    def act(self, request: Request, visitor: Visiting, fields: Form, join_id: str, act: str) -> Response:
        """Cancel a join, try it again, or let the PAL come now; then back to where it was asked."""
        acts: dict[str, Callable[[Connection, str, datetime], Join | str]] = {
            "cancel": interventions.cancel,
            "now": interventions.come_now,
            "retry": partial(interventions.retry, policy=self._house.policy),
        }
        if act not in acts:
            raise Refused(404, "There is no such page.")
        with self._house.engine.begin() as connection:
            if not store.owns_join(connection, visitor.key.account, join_id):
                raise Refused(404, NO_JOIN)
            done = acts[act](connection, join_id, utc_now())
        if isinstance(done, str):
            raise Refused(409, done)
        self._house.wake()
        return frame.after_post(request, back_to(fields))


def pals_of(connection: Connection, visitor: Visitor) -> list[PalName]:
    """The PALs of a visitor that can be chosen from: the newest, by address."""
    return store_page.newest_pals(connection, visitor.key.account, MOST_PALS)


def shown_joins(connection: Connection, joins: Iterable[Join], now: datetime) -> list[views.JoinView]:
    """Joins as they are shown."""
    joins = list(joins)
    begun = [join.id for join in joins if join.attempt]  # the others have no history that is shown
    history = scheduler.journal.history_of(connection, begun)
    late = {one.join_id or "": one.data["late"] for some in history.values() for one in some if "late" in one.data}
    return views.join_views(joins, store_page.called(connection, {join.pal_id for join in joins}), late, now)


def back_to(fields: dict[str, str]) -> str:
    """The page that a form was on: a path of ours, else the first one."""
    path = fields.get("back", "/")
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() else "/"


def _live_address(pal: str) -> str:
    return f"/live/today?pal={pal}" if pal.isalnum() else "/live/today"


def _day(text: str) -> date | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if 1971 <= found.year <= 2999 else None
