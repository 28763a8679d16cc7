"""Invitations: each mail with its verdict, and the whole story of one. A door."""

from __future__ import annotations

from datetime import datetime
from email import message_from_bytes
from email.policy import compat32
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Depends, Query, Request
from fastapi.responses import Response
from sqlalchemy import Connection, Engine

import scheduler.journal
from gateway import store, store_calls, store_page
from gateway.api.faults import Refused
from gateway.api.forms import cursor_of, mark_of
from gateway.api.house import House
from gateway.intake import StoreAway
from gateway.page import frame, views
from gateway.page.joins import OfPal, back_to, pals_of, shown_joins
from gateway.page.session import Form, Visiting, Visitor
from gateway.store import InviteRow
from gateway.store_outbox import answers_to
from gateway.verdict import Verdict
from scheduler.clock import utc_now

MOST: Final = 50  # invitations on a page
MOST_JOINS: Final = 20  # of an event that are told of in its story
MOST_MAILS: Final = 20
MOST_REPLY: Final = 20_000  # characters of a reply that are shown


def _asked(
    pal: OfPal = "",
    verdict: str = "",
    q: Annotated[str, Query(max_length=200)] = "",
    cursor: Annotated[str, Query(max_length=300)] = "",
) -> dict[str, str]:
    """What of the list is wanted, as it stands in the address."""
    return {"pal": pal, "verdict": verdict, "q": q, "cursor": cursor}


Asked = Annotated[dict[str, str], Depends(_asked)]


class InvitationPages:
    """The list of invitations, and one."""

    def __init__(self, house: House, lookups: Engine) -> None:
        self._house = house
        self._lookups = lookups
        self.router = frame.router()
        self.router.add_api_route("/invitations", self.list, methods=["GET"])
        self.router.add_api_route("/live/invitations", self.list_part, methods=["GET"])
        self.router.add_api_route("/invitations/{invite_id}", self.one, methods=["GET"])
        self.router.add_api_route("/live/invitations/{invite_id}", self.one_part, methods=["GET"])
        self.router.add_api_route("/invitations/{invite_id}/replay", self.replay, methods=["POST"])

    def list(self, request: Request, visitor: Visiting, asked: Asked) -> Response:
        """The newest first; what is asked for stands in the address, so it can be kept and passed on."""
        with self._lookups.connect() as connection:
            pals = pals_of(connection, visitor)
        found = self._rows(request, visitor, asked)
        choice: dict[str, Any] = {"pals": pals, "verdicts": list(Verdict), "asked": asked}
        address = _address("/live/invitations", asked)
        return frame.page(request, "invitations.html", visitor, live=found, address=address, **choice)

    def list_part(self, request: Request, visitor: Visiting, asked: Asked) -> Response:
        """The same, as far as it has changed."""
        return frame.part(request, self._rows(request, visitor, asked), _address("/live/invitations", asked))

    def _rows(self, request: Request, visitor: Visitor, asked: dict[str, str]) -> frame.Live:
        verdict = asked["verdict"] if asked["verdict"] in list(Verdict) else None
        wanted = store_page.Wanted(visitor.key.account, asked["pal"] or None, verdict, asked["q"])
        after = mark_of(asked["cursor"]) if asked["cursor"] else None
        with self._lookups.connect() as connection:
            found, following = store_page.recent_invites(connection, wanted, after, MOST)
            named = store_page.titles(connection, {(one.pal_id, one.uid) for one in found if one.uid})
            names = store_page.called(connection, {one.pal_id for one in found})
        rows = [_row(one, named, names) for one in found]
        further = _address("/invitations", {**asked, "cursor": cursor_of(following)}) if following else ""
        return frame.live(request, "_invitations.html", visitor, rows=rows, further=further, asked=asked)

    def one(self, request: Request, visitor: Visiting, invite_id: str) -> Response:
        """The story of one invitation, from the mail to the outcome."""
        found = self._story(request, visitor, invite_id)
        return frame.page(
            request, "invitation.html", visitor, live=found, address=f"/live/invitations/{invite_id}", title=invite_id
        )

    def one_part(self, request: Request, visitor: Visiting, invite_id: str) -> Response:
        """The same, as far as it has changed."""
        return frame.part(request, self._story(request, visitor, invite_id), f"/live/invitations/{invite_id}")

    def _story(self, request: Request, visitor: Visitor, invite_id: str) -> frame.Live:
        now = utc_now()
        with self._lookups.connect() as connection:
            invite = store_page.one_invite(connection, visitor.key.account, invite_id)
            if invite is None:
                raise Refused(404, "There is no such invitation.")
            values = _told(connection, invite, visitor, now)
        return frame.live(request, "_invitation.html", visitor, **values)

    def replay(self, request: Request, visitor: Visiting, fields: Form, invite_id: str) -> Response:
        """Play a mail that was kept aside once more, as of now."""
        with self._lookups.connect() as connection:
            invite = store_page.one_invite(connection, visitor.key.account, invite_id)
        if invite is None:
            raise Refused(404, "There is no such invitation.")
        try:
            played = self._house.play_again(invite.mail_id, utc_now())
        except StoreAway as error:
            raise Refused(503, "The store cannot be used now; please try again.") from error
        if isinstance(played, str):
            raise Refused(409, played)
        self._house.wake()
        return frame.after_post(request, back_to(fields))


def _address(path: str, asked: dict[str, str]) -> str:
    query = urlencode({name: value for name, value in asked.items() if value})
    return f"{path}?{query}" if query else path


def _row(invite: InviteRow, named: dict[tuple[str, str], str], names: dict[str, str]) -> dict[str, Any]:
    return {
        "invite": invite,
        "title": named.get((invite.pal_id, invite.uid or ""), ""),
        "pal": names.get(invite.pal_id, invite.pal_id),
        "tone": views.VERDICTS.get(invite.verdict, "past"),
        "why": views.why(invite.reason, invite.platform),
    }


def _told(connection: Connection, invite: InviteRow, visitor: Visitor, now: datetime) -> dict[str, Any]:
    """All that is known of one invitation."""
    uid = invite.uid or ""
    joins, total = store_page.joins_of_event(connection, invite.pal_id, uid, now, MOST_JOINS) if uid else ([], 0)
    ids = [join.id for join in joins]
    answers = answers_to(connection, [invite.id]).get(invite.id, [])
    raw = store_page.letters_raw(connection, [one.id for one in answers])
    row = _row(
        invite, store_page.titles(connection, {(invite.pal_id, uid)}), store_page.called(connection, {invite.pal_id})
    )
    pal = store.pal_with_id(connection, invite.pal_id)
    others = store_page.other_invites(connection, invite.pal_id, uid, MOST_MAILS) if uid else []
    return {
        **row,
        "mail": store_page.mail_head(connection, invite.mail_id),
        "vouched": views.vouched(invite.authentication),
        "has_allowlist": bool(pal and pal.allowlist),
        "joins": shown_joins(connection, joins, now),
        "total": total,
        "history": scheduler.journal.history_of(connection, ids),
        "heard": store_calls.heard_of(connection, ids),
        "answers": [(one, _readable(raw.get(one.id, b""))) for one in answers],
        "others": [one for one in others if one.id != invite.id],
    }


def _readable(raw: bytes) -> str:
    """A reply as it was sent: its header, its sentence, its calendar, decoded; with marks for what cannot be seen."""
    mail = message_from_bytes(raw, policy=compat32)
    head = [f"{name}: {value}" for name, value in mail.items()]
    parts = [part for part in mail.walk() if part.get_content_maintype() == "text"]
    bodies = [bytes(part.get_payload(decode=True) or b"").decode("utf-8", "replace") for part in parts]
    seen = dict.fromkeys(bodies)
    return views.visible_lines("\n\n".join(["\n".join(head), *(body.strip() for body in seen)])[:MOST_REPLY])
