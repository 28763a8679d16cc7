"""THE decision: what one message means for one PAL. Pure.

Rules of this file:
- `decide` is read top to bottom; the first line that has an answer gives it.
- Refusals are values. A refused message changes nothing that we hold.
- What it returns is all that will be written: verdict, event, joins, replies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from gateway.binding import Bound, Links, Unbound, attendee_address, bind, organizer, own_attendee
from gateway.ics import Block, Message, Property
from gateway.itip import (
    Applied,
    Freshness,
    apply,
    as_added,
    held,
    is_latest,
    is_orphan,
    located,
    removed,
    too_many,
    with_override,
)
from gateway.pals import Pal, allowed_by
from gateway.platforms import Candidate, Cut
from gateway.quotas import Load, Quotas, exceeded, inviter_of, is_invitation, more_joins
from gateway.reply import Reply, block_of_date, calendar_text
from gateway.senders import Sender, is_same_side, may_be_answered, owns, pinned, taken_at_its_word
from gateway.verdict import Reason, SeenLink, Verdict
from gateway.wording import accepted, declined
from scheduler.event import Answer, Component, Event
from scheduler.joins import BROKEN, LIVE, Join, JoinState, Policy, ahead, plan

ORPHAN: Final = "the override matches no date of the series; it counts at its own time"
# Whose components keep their version, and lose the link that joins would be planned from.
WITHOUT_LINK: Final = frozenset({Reason.ALL_DAY, Reason.TOO_LONG, Reason.TOO_FAR_AHEAD})
MAX_SEEN: Final = 20  # links of one message that are kept with the decision
MAX_SEEN_URL: Final = 2000  # characters of one of them; a Teams link has some 300

CAME: Final = LIVE | {JoinState.ENDED}  # a join that is to come, or came

# In place of an answer that did not go out, because ORGANIZER is not on the side of who sent the mail.
WITHHELD: Final = "WITHHELD"


@dataclass(frozen=True)
class Desk:
    """How this desk decides: the operator's settings."""

    links: Links = Links()
    scheduling: Policy = Policy()
    decline_strangers: bool = True  # answer who is not on the allowlist; False: stay silent
    accept_forwarded: bool = True  # come also when only the envelope names the PAL
    join_all_day: bool = False
    hourly_per_organizer: int = 60  # answers that one organizer is sent
    quotas: Quotas = Quotas()
    remembers: timedelta | None = None  # how long after its last date an event is known here; None: for ever


@dataclass(frozen=True)
class Case:
    """One message for one PAL, with all that is known about it."""

    message: Message
    sender: Sender
    pal: Pal
    known: Event | None = None
    joins: tuple[Join, ...] = ()
    message_id: str = ""
    body: tuple[Cut, ...] = ()  # what may be a link in the mail's own text
    reached_at: str = ""  # the address of the PAL in the envelope, a +tag included
    load: Load = Load()  # what counts against the quotas already
    unheard: frozenset[datetime | None] = frozenset()  # dates whose last answer did not arrive, None: the whole event


@dataclass(frozen=True)
class Decision:
    """What the desk says, and what is to be written for it. `event` None: nothing changes."""

    verdict: Verdict
    reason: Reason | None = None
    platform: str | None = None
    event: Event | None = None
    joins: tuple[Join, ...] = ()
    replies: tuple[Reply, ...] = ()
    allowed_by: str | None = None  # the allowlist entry that matched
    detail: str = ""
    notes: tuple[str, ...] = ()
    seen: tuple[SeenLink, ...] = ()  # the links in the message, best first
    gone: tuple[datetime | None, ...] = ()  # what was cancelled, None: the whole event; its answers need not go out
    is_counted: bool = False  # a new invitation that counts for the event's inviter


def decide(case: Case, desk: Desk, now: datetime) -> Decision:
    """The decision on one message for one PAL at an instant (UTC)."""
    if not case.pal.allowlist:
        case = replace(case, sender=taken_at_its_word(case.sender))
    case = replace(case, known=_trusted(case))
    return _nothing_to_do(case) or _not_allowed(case, desk, now) or _not_the_owner(case) or _applied(case, desk, now)


def _trusted(case: Case) -> Event | None:
    """A tombstone that somebody else laid for an event never seen does not bind its real organizer."""
    known = case.known
    if known is not None and _is_hearsay(case, known):
        return None
    if known is None or pinned(case.sender, organizer(case.message), known):
        return known
    versions = [one for one in (known.master, *known.overrides) if one is not None]
    heard = any(one.attending for one in versions) or (known.answers and versions) or case.joins
    return known if heard or case.message.method != "REQUEST" else None


def _is_hearsay(case: Case, known: Event) -> bool:
    """What only a mail that nobody vouches for made known does not bind the organizer himself: his own whole message
    begins the event anew, however high a SEQUENCE somebody gave it."""
    sender, owner = case.sender, organizer(case.message)
    is_whole = any(event.first("RECURRENCE-ID") is None for event in case.message.events)
    is_his = sender.checked and sender.verified and owner == known.organizer and is_same_side(sender.address, owner)
    return known.owner is not None and not known.owner_verified and is_whole and is_his


def _nothing_to_do(case: Case) -> Decision | None:
    message = case.message
    if message.method is None:
        return Decision(Verdict.IGNORED, Reason.NO_METHOD)
    if message.method not in ("REQUEST", "CANCEL", "ADD"):
        return Decision(Verdict.IGNORED, Reason.NOT_FOR_ATTENDEES, detail=message.method[:40])
    if not organizer(message):
        return Decision(Verdict.IGNORED, Reason.NO_ORGANIZER)
    if case.pal.is_called(organizer(message)):
        return Decision(Verdict.IGNORED, Reason.OWN_EVENT)
    return None


def _allowing_entry(case: Case) -> str | None:
    return allowed_by(case.sender.address, case.pal.allowlist)


def _not_allowed(case: Case, desk: Desk, now: datetime) -> Decision | None:
    if not case.pal.allowlist or _allowing_entry(case) or case.sender.is_google_forwarding:
        return None
    if not case.sender.address:
        # No answer: it would go to whomever the mail names.
        return Decision(Verdict.REJECTED, Reason.NOT_AUTHENTICATED)
    held_already = case.known is not None and (case.known.master is not None or case.known.overrides)
    if case.message.method != "REQUEST" or held_already or not desk.decline_strangers:
        # A stranger's word about an event that we hold gets no answer: it would look like ours to the organizer.
        return Decision(Verdict.REJECTED, Reason.NOT_ON_ALLOWLIST)
    return _refused(case, Reason.NOT_ON_ALLOWLIST, now)


def _not_the_owner(case: Case) -> Decision | None:
    if case.known is None or owns(case.sender, organizer(case.message), case.known):
        return None
    return Decision(Verdict.REJECTED, Reason.NOT_THE_ORGANIZER)


def _refused(case: Case, reason: Reason, now: datetime) -> Decision:
    """Declined as a whole. Of the event only our answer is kept: it comes back as the PAL's PARTSTAT when the
    organizer, allowed by then, sends the invitation again."""
    message = case.message
    block = next((one for one in message.events if one.first("RECURRENCE-ID") is None), message.events[0])
    # One answer is enough for a stranger, however often the invitation is edited.
    reply = reply_for(case, block, None, "DECLINED", declined(reason, case.pal.name, None), now, anew=False)
    if _is_withheld(case):
        return Decision(Verdict.DECLINED, reason, notes=(_withheld(case),))
    event = replace(_new_event(case), answers=(Answer(None, "DECLINED"),))
    return Decision(Verdict.DECLINED, reason, event=event, replies=(reply,))


def _applied(case: Case, desk: Desk, now: datetime) -> Decision:
    """The message is from who may send it: bind it, apply it, answer it."""
    bound = [
        bind(event, case.message, case.pal, desk.links, now, case.body, case.reached_at)
        for event in case.message.events
    ]
    for one in bound:
        # Whole or not at all: half of a message would be a meeting nobody planned.
        if isinstance(one, Unbound):
            return Decision(Verdict.IGNORED, one.reason, detail=one.detail)
    read = tuple(one for one in bound if isinstance(one, Bound))
    said = _taken_in(case, desk, now, tuple(one.component for one in read))
    return replace(said, seen=_seen(read, desk.links))


def _taken_in(case: Case, desk: Desk, now: datetime, components: tuple[Component, ...]) -> Decision:
    """The decision on what the message says, once it is read."""
    if case.message.method == "ADD":
        components = tuple(as_added(one) for one in components)
    known = _confirmed(case.known, case.sender) if case.known else _new_event(case)
    master = next((one for one in components if one.recurrence_id is None), known.master)
    components = tuple(located(one, master) for one in components)
    why_out = _why_out(components, known, master, case.message.method, desk)
    components = tuple(replace(one, attending=one.attending and not why) for one, why in why_out)
    applied = apply(known, components)
    over = too_many(applied.event)
    if over is not None:
        return Decision(Verdict.IGNORED, Reason.INVALID, detail=over)
    notes = tuple(dict.fromkeys(note for one in components for note in one.notes))
    if applied.freshness is not Freshness.NEWS:
        return replace(_nothing_new(case, desk, now, applied), notes=notes)
    notes += tuple(ORPHAN for one in applied.news if one.attending and is_orphan(one, applied.event))
    blocks = dict(zip(components, case.message.events, strict=True))
    said = _answered(case, desk, now, known, applied, blocks)
    if said.verdict is Verdict.CANCELLED:
        said = replace(said, reason=next((why for _, why in why_out if why), said.reason))
    return replace(said, allowed_by=_allowing_entry(case), notes=(*notes, *said.notes))


def _seen(bound: tuple[Bound, ...], links: Links) -> tuple[SeenLink, ...]:
    """The links in a message, each once for its field, those that were chosen always among them."""
    found: dict[Candidate, bool] = {}
    for one in bound:
        for candidate in one.seen:
            found[candidate] = found.get(candidate, False) or candidate is one.chosen
    kept = sorted(found, key=lambda one: not found[one])[:MAX_SEEN] if len(found) > MAX_SEEN else found
    return tuple(
        SeenLink(one.field, one.link.platform, _printable(one.link.url), links.can_join(one), found[one])
        for one in kept
    )


def _printable(url: str) -> str:
    """A link as it may be shown: no control or bidi characters, and no longer than MAX_SEEN_URL."""
    url = url if url.isprintable() else "".join(char for char in url if char.isprintable())
    return url if len(url) <= MAX_SEEN_URL else url[:MAX_SEEN_URL] + "…"


def _nothing_new(case: Case, desk: Desk, now: datetime, applied: Applied) -> Decision:
    """An older message or a duplicate: no answer. What it tells of the past may still say which overrides count."""
    said = Decision(Verdict.OUTDATED)
    if applied.freshness is Freshness.DUPLICATE:
        said = Decision(Verdict.IGNORED, Reason.DUPLICATE)
    if applied.event == case.known:
        return said
    joins = plan(applied.event, case.joins, case.pal.attendant, now, desk.scheduling)
    return replace(said, event=applied.event, joins=joins)


def _new_event(case: Case) -> Event:
    """An event not heard of before: its sender is pinned as its owner. A file pins nobody."""
    sender = case.sender
    owner = None if sender.is_file else sender.address
    return Event(case.message.uid, organizer(case.message), owner, owner_verified=sender.verified)


def _confirmed(known: Event, sender: Sender) -> Event:
    """From the first mail on that somebody vouches for, its owner is not believed without."""
    same = sender.verified and sender.address == known.owner
    return replace(known, owner_verified=True) if same else known


def _is_withheld(case: Case) -> bool:
    return not may_be_answered(organizer(case.message), case.sender)


def _withheld(case: Case) -> str:
    """What the operator is told of an answer that does not go out: it would reach somebody who did not ask."""
    return f"no answer goes to {organizer(case.message)}: that is not on the side of {case.sender.shown}"


def _why_out(
    components: tuple[Component, ...], known: Event, master: Component | None, method: str | None, desk: Desk
) -> list[tuple[Component, Reason | None]]:
    """For each component, why the PAL does not attend it although the organizer did not cancel it."""
    if method != "REQUEST":
        return [(one, None) for one in components]
    listed = any(one.listed for one in components)
    if known.master is None and not listed and not desk.accept_forwarded:
        return [(one, Reason.NOT_INVITED) for one in components]
    # Named on some dates only: that is no forwarded series.
    dates_only = listed and (known.master is None or not known.master.attending)
    return [
        (one, Reason.NOT_INVITED if dates_only and one is master and not one.listed else removed(one, known, master))
        for one in components
    ]


@dataclass(frozen=True)
class _Judged:
    """A component that the PAL is invited to, as it stands in the mail, and why it cannot come, if it cannot."""

    component: Component
    block: Block
    reason: Reason | None

    @property
    def partstat(self) -> str:
        return "DECLINED" if self.reason else "ACCEPTED"


def _answered(
    case: Case, desk: Desk, now: datetime, known: Event, applied: Applied, blocks: dict[Component, Block]
) -> Decision:
    """The verdict on what was news, the joins it owes, and the replies it asks for."""
    event = applied.event
    if is_latest(applied.news, known):
        event = replace(event, organizer=organizer(case.message))
    judged = [_Judged(one, blocks[one], _objection(event, one, desk, now)) for one in applied.news if one.attending]
    event, judged = _today_of_all_day(event, judged, desk, now)
    event = _coming_again(_forget_answers(_without_link(event, judged), applied.news), judged)
    gone = tuple(one.recurrence_id for one in applied.news if not one.attending)
    alone = applied.news[0].recurrence_id is not None
    is_new = bool(judged) and is_invitation(known)
    if is_new:
        inviter = inviter_of(case.sender)
        event = replace(event, inviter=inviter.address, inviter_domain=inviter.domain)
    joins = plan(event, case.joins, case.pal.attendant, now, desk.scheduling, _named(judged))
    over = exceeded(case.load, desk.quotas, invitations=is_new, joins=more_joins(joins, case.joins))
    if judged and over is not None:
        return _over_quota(case, desk, now, known, judged, over, alone=alone)
    if not judged:
        unheard = known.master is None and not known.overrides
        reason = Reason.UNKNOWN_EVENT if unheard else None
        return Decision(Verdict.CANCELLED, reason, event=event, joins=joins, gone=gone)
    # What is over beside what is not is no question any more.
    current = [one for one in judged if one.reason is not Reason.ALREADY_ENDED] or judged
    first = current[0]
    if first.reason is Reason.ALREADY_ENDED and (known.answers or _may_be_forgotten(event, desk, now)):
        # An edit of what is over changes nothing and is not answered.
        return Decision(Verdict.IGNORED, first.reason, event=event, joins=joins, gone=gone)
    event, replies, notes = _replied(case, desk, now, known, event, current, alone=alone)
    verdict = Verdict.DECLINED if first.reason else Verdict.ACCEPTED
    return Decision(
        verdict,
        first.reason,
        first.component.platform,
        event,
        joins,
        replies,
        notes=notes,
        gone=gone,
        is_counted=is_new,
    )


def _replied(
    case: Case, desk: Desk, now: datetime, known: Event, event: Event, judged: list[_Judged], *, alone: bool
) -> tuple[Event, tuple[Reply, ...], tuple[str, ...]]:
    """The event with what is answered on it, the replies that are owed, and why one does not go out."""
    replies, notes = [], tuple[str, ...]()
    for one in judged:
        # An answer that did not arrive was none: the next version is answered, whatever it changes.
        lost = event.answered_under(one.component.recurrence_id) in case.unheard
        anew = lost or _is_asked_anew(known, event, one, alone=alone) or _failed_before(case, one)
        differs = event.answer(one.component.recurrence_id) != one.partstat
        if case.message.method == "REQUEST" and (anew or differs):
            if _is_withheld(case):
                notes, event = (_withheld(case),), _with_answer(event, one, WITHHELD)
                continue
            replies.append(_reply_to(case, desk, now, event, one, anew=anew))
            event = _with_answer(event, one, one.partstat)
    return event, tuple(replies), notes


def _over_quota(
    case: Case, desk: Desk, now: datetime, known: Event, judged: list[_Judged], quota: str, *, alone: bool
) -> Decision:
    """Declined as a whole: of what is known only the answers change, so that the same may be sent again."""
    refused = [replace(one, reason=Reason.OVER_QUOTA) for one in judged]
    event, replies, notes = _replied(case, desk, now, known, known, refused, alone=alone)
    return Decision(
        Verdict.DECLINED,
        Reason.OVER_QUOTA,
        refused[0].component.platform,
        event if event != case.known else None,
        replies=replies,
        detail=quota,
        notes=notes,
    )


def _objection(event: Event, component: Component, desk: Desk, now: datetime) -> Reason | None:
    """Why the PAL cannot come to a component that it is invited to, None when it can."""
    if not component.zone_known:
        return Reason.UNKNOWN_TIME_ZONE
    if component.url is None:
        return Reason.LINK_NOT_JOINABLE if component.platform else Reason.NO_MEETING_LINK
    # A later date of a series is as far ahead as the series goes.
    is_first = component.recurrence_id is None or event.master is None
    if component.recurrence_id is not None:
        event = Event(event.uid, event.organizer, overrides=(replace(component, this_and_future=False),))
    following = ahead(event, now, desk.scheduling)
    if following is None:
        return Reason.ALREADY_ENDED
    running = following.starts <= now and not component.rules and not component.added
    if component.all_day and not running and not desk.join_all_day:
        return Reason.ALL_DAY
    if not component.all_day and _is_too_long(component, following.ends - now if running else None, desk.quotas):
        return Reason.TOO_LONG
    if is_first and desk.quotas.furthest and following.starts > now + desk.quotas.furthest:
        return Reason.TOO_FAR_AHEAD
    return None


def _may_be_forgotten(event: Event, desk: Desk, now: datetime) -> bool:
    """Whether an event was over so long ago that it may have been known here, and answered otherwise."""
    return desk.remembers is not None and ahead(event, now - desk.remembers, desk.scheduling) is None


def _is_too_long(component: Component, left: timedelta | None, quotas: Quotas) -> bool:
    """Whether a call would last too long; `left`: how long it still goes on, for one that runs."""
    lengths = (component.length, *(one.length for one in component.added if one.length is not None))
    longest = max(timedelta(days=one.days, seconds=one.seconds) for one in lengths) if left is None else left
    return bool(quotas.longest) and longest > quotas.longest


def _today_of_all_day(event: Event, judged: list[_Judged], desk: Desk, now: datetime) -> tuple[Event, list[_Judged]]:
    """An all-day series is declined, but the date that runs today is joined: it becomes a date of its own."""
    for one in judged:
        following = ahead(event, now, desk.scheduling) if one.reason is Reason.ALL_DAY else None
        if following is None or following.starts > now or following.component.recurrence_id is not None:
            continue
        if one.component.recurrence_id is None:
            start = one.component.zone.wall(following.starts)
            today = replace(
                one.component, recurrence_id=following.recurrence_id, start=start, rules=(), added=(), excluding=()
            )
            return with_override(event, today), [*judged, _Judged(today, block_of_date(one.block, start, start), None)]
    return event, judged


def _without_link(event: Event, judged: list[_Judged]) -> Event:
    """Components declined for when they are keep their version, and lose the link that joins would be planned from."""
    for one in judged:
        if one.reason not in WITHOUT_LINK:
            continue
        if one.component.recurrence_id is None and event.master is not None:
            event = replace(event, master=replace(event.master, url=None))
        else:
            mended = (
                replace(known, url=None) if known.recurrence_id == one.component.recurrence_id else known
                for known in event.overrides
            )
            event = replace(event, overrides=tuple(mended))
    return event


def _forget_answers(event: Event, news: tuple[Component, ...]) -> Event:
    """A cancelled series or date has no answer any more: brought back, it is answered anew."""
    gone = {one.recurrence_id for one in news if not one.attending}
    if None in gone:
        return replace(event, answers=())
    return replace(event, answers=tuple(one for one in event.answers if one.recurrence_id not in gone))


def _coming_again(event: Event, judged: list[_Judged]) -> Event:
    """A series that is accepted after the PAL had taken that back: its dates without an answer of their own, too."""
    if not any(one.component.recurrence_id is None and one.reason is None for one in judged):
        return event
    overrides = tuple(
        replace(one, url=one.given_up, given_up=None)
        if one.given_up and event.answered_under(one.recurrence_id) is None
        else one
        for one in event.overrides
    )
    return replace(event, overrides=overrides)


def _with_answer(event: Event, one: _Judged, said: str) -> Event:
    others = [known for known in event.answers if known.recurrence_id != one.component.recurrence_id]
    return replace(event, answers=(*others, Answer(one.component.recurrence_id, said)))


def _is_asked_anew(known: Event, event: Event, one: _Judged, *, alone: bool) -> bool:
    """Whether the organizer waits for an answer, whichever it is: to a new event, or to a reschedule.

    An edit of title, text or guests is none of them (RFC 5546 3.2.2.7). `alone`: the message has no master.
    """
    component = one.component
    if event.answer(component.recurrence_id) is None or known.organizer != event.organizer:
        return True
    if component.partstat != "NEEDS-ACTION":
        return False
    before = held(known, component)
    if before is not None:
        return not before.attending or _when(before) != _when(component)
    moved = component.zone.instant(component.start) != component.recurrence_id
    return component.recurrence_id is not None and alone and moved


def _named(judged: list[_Judged]) -> frozenset[datetime]:
    """The original starts (UTC) of the dates that a message speaks of one by one."""
    found = (_date(one.component) for one in judged)
    return frozenset(date for date in found if date is not None)


def _date(component: Component) -> datetime | None:
    """The original start (UTC) that a component names; None for a series."""
    is_series = component.rules or component.added
    return component.recurrence_id or (None if is_series else component.zone.instant(component.start))


def _failed_before(case: Case, one: _Judged) -> bool:
    """Whether the organizer asks again for a date to which the PAL could not come."""
    of_date = [join for join in case.joins if join.recurrence_id == _date(one.component)]
    return any(join.state in BROKEN for join in of_date) and not any(join.state in CAME for join in of_date)


def _when(component: Component) -> tuple[object, ...]:
    """All that says when an event takes place, how far its series goes included."""
    extents = tuple((rule.count, rule.until) for rule in component.rules)
    return component.timing, component.length, extents, component.added


def _reply_to(case: Case, desk: Desk, now: datetime, event: Event, one: _Judged, *, anew: bool) -> Reply:
    component = one.component
    if one.reason is not None:
        comment = declined(one.reason, case.pal.name, component.platform)
    else:
        comment = accepted(event, component, case.pal.name, now, desk.scheduling)
    return reply_for(case, one.block, component.recurrence_id, one.partstat, comment, now, anew=anew)


def reply_for(
    case: Case, block: Block, recurrence_id: datetime | None, partstat: str, comment: str, now: datetime, *, anew: bool
) -> Reply:
    """The answer to one VEVENT of a message, for the whole event or for one date of it (its original start, UTC)."""
    attendee = own_attendee(block, case.pal, case.reached_at)
    # As it was invited, a +tag included: under another address the organizer would see a new guest.
    address = attendee_address(attendee) if attendee is not None else case.pal.address
    # A message without DTSTAMP is as new as it is.
    version = "/".join((block.text("SEQUENCE"), block.text("DTSTAMP") or now.isoformat(), partstat))
    date = recurrence_id.isoformat() if recurrence_id is not None else ""
    return Reply(
        uid=case.message.uid,
        recurrence_id=recurrence_id,
        partstat=partstat,
        comment=comment,
        to=organizer(case.message, written=True),
        sender=address if address.isascii() else case.pal.address,  # a header of ours cannot hold more
        sender_name=case.pal.name,
        summary=block.text("SUMMARY"),
        calendar=calendar_text(
            block,
            case.message.calendar,
            attendee=attendee or Property("ATTENDEE", {}, f"mailto:{address}", ""),
            name=case.pal.name,
            partstat=partstat,
            comment=comment,
            now=now,
        ),
        in_reply_to=case.message_id,
        key="\n".join((case.pal.id, case.message.uid, date, version)),
        anew=anew,
    )
