"""How values are shown to people: times in their zone, states in words, text of strangers. Pure.

Rules of this file:
- Text of strangers is shown as text: what is invisible or turns the direction of reading is shown as a mark.
- A word beside every colour: nothing is said by colour alone.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from gateway.explain import RULES
from gateway.reasons import why_join
from gateway.verdict import TO_OPERATOR, TO_ORGANIZER, Reason
from scheduler.joins import BY_HAND, SETTLED, Join, JoinState
from scheduler.retry import STOP_BEFORE_END

LONGEST_TITLE: Final = 200  # characters

# What becomes of a join, in words, and how it is coloured.
STATES: Final = {
    JoinState.PLANNED: ("planned", "calm"),
    JoinState.CLAIMED: ("on the way", "busy"),
    JoinState.STARTED: ("knocking", "busy"),
    JoinState.JOINED: ("in the call", "good"),
    JoinState.LEAVING: ("leaving", "busy"),
    JoinState.ENDED: ("ended", "past"),
    JoinState.CANCELLED: ("cancelled", "past"),
    JoinState.MISSED: ("missed", "bad"),
    JoinState.FAILED: ("failed", "bad"),
}
VERDICTS: Final = {
    "accepted": "good",
    "declined": "bad",
    "cancelled": "past",
    "outdated": "past",
    "ignored": "past",
    "rejected": "bad",
    "quarantined": "bad",
}


def visible(text: object, longest: int = LONGEST_TITLE) -> str:
    """A stranger's text in one line: bounded, and with a mark for each character that cannot be seen for itself."""
    cut = " ".join(str(text or "").split(" "))[: longest + 1]
    shown = "".join(_seen(char) for char in cut[:longest])
    return shown + ("…" if len(cut) > longest else "")


def visible_lines(text: str) -> str:
    """The same for a text of several lines, whole."""
    return "\n".join("".join(map(_seen, line)) for line in text.replace("\r\n", "\n").split("\n"))


def _seen(char: str) -> str:
    if char in "\r\n\t":
        return " "
    if char in "\u200c\u200d":  # Persian words and families of emoji are joined by them
        return char
    # Cc: controls; Cf: marks that turn the direction, join or hide; Cs, Co, Cn: nothing that has a shape.
    return "\N{REPLACEMENT CHARACTER}" if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn") else char


def is_web_address(text: str) -> bool:
    """Whether a link may be one that can be clicked."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname)


def iso(at: datetime) -> str:
    """An instant for programs."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def clock(at: datetime, zone: tzinfo) -> str:
    """The time of day."""
    return at.astimezone(zone).strftime("%H:%M")


def day(at: datetime | date, zone: tzinfo) -> str:
    """The day, such as Mon 2 Mar 2026."""
    when = at.astimezone(zone) if isinstance(at, datetime) else at
    return f"{when:%a} {when.day} {when:%b %Y}"


def moment(at: datetime | None, zone: tzinfo) -> str:
    """Day and time with seconds, with the zone's name."""
    return f"{day(at, zone)}, {at.astimezone(zone):%H:%M:%S}" if at is not None else ""


def seconds(value: float) -> str:
    """A length of time, in the two largest units."""
    whole = round(value)
    if abs(value) < 10:
        return f"{value:.1f} s"
    for unit, size, lower, small in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {unit}" + (f" {rest} {lower}" if rest else "")
    return f"{whole} s"


@dataclass(frozen=True)
class JoinView:
    """A join as it is shown."""

    join: Join
    pal: str  # its address, or its id where it is gone
    word: str
    tone: str
    late: float | None  # seconds from due to sent, or that it is overdue now; None: it is in time
    why: str  # what its reason means, '' when there is none
    is_over: bool

    @property
    def may_cancel(self) -> bool:
        return self.join.state in (JoinState.PLANNED, JoinState.CLAIMED, JoinState.STARTED, JoinState.JOINED)

    @property
    def may_come_now(self) -> bool:
        return self.join.state is JoinState.PLANNED and not self.is_over and not self._is_tried

    @property
    def _is_tried(self) -> bool:
        return self.join.attempt > 0 and self.join.owner is not None

    @property
    def may_retry(self) -> bool:
        is_away = self.join.state is JoinState.CANCELLED and self.join.reason == BY_HAND
        return not self.is_over and (is_away or self.join.state in SETTLED)


OVERDUE: Final = 2.0  # seconds after which a join that waits is late


def join_views(
    joins: Iterable[Join], names: Mapping[str, str], late: Mapping[str, float], now: datetime
) -> list[JoinView]:
    """Joins as they are shown at an instant (UTC). `names`: PALs by id; `late`: seconds from due to sent, by id."""
    return [_join_view(join, names, late.get(join.id), now) for join in joins]


def _join_view(join: Join, names: Mapping[str, str], late: float | None, now: datetime) -> JoinView:
    word, tone = STATES[join.state]
    if join.state is JoinState.PLANNED:  # what it was late for another time is over
        late = None
    if join.state in (JoinState.PLANNED, JoinState.CLAIMED) and now > join.at:
        late = (now - join.at).total_seconds()
        # Whole seconds only when it matters: what waits for its turn is not redrawn for it.
        late = float(int(late)) if late > OVERDUE else None
        word, tone = ("waits for another try", "bad") if join.attempt else (word, tone)
    is_over = now >= join.until - STOP_BEFORE_END
    return JoinView(join, names.get(join.pal_id, join.pal_id), word, tone, late, why_join(join.reason), is_over)


@dataclass(frozen=True)
class DayView:
    """A day of the week calendar."""

    date: date
    is_today: bool
    joins: tuple[JoinView, ...]


def week(first: date, joins: Sequence[JoinView], zone: tzinfo, now: datetime) -> list[DayView]:
    """Seven days from a day on, each with the joins that begin in it."""
    days = [first + timedelta(days=number) for number in range(7)]
    today = now.astimezone(zone).date()
    begun = {one: tuple(j for j in joins if j.join.starts.astimezone(zone).date() == one) for one in days}
    return [DayView(one, one == today, begun[one]) for one in days]


def monday(of: date) -> date:
    """The Monday of a day's week (ISO 8601)."""
    return of - timedelta(days=of.weekday())


def why(reason: str | None, platform: str | None) -> str:
    """The sentence about a reason, '' when there is none."""
    known = Reason(reason) if reason in list(Reason) else None
    sentence = TO_OPERATOR.get(known) or TO_ORGANIZER.get(known) if known is not None else None
    return sentence.format(pal="the PAL", platform=platform or "meeting") if sentence else ""


def vouched(authentication: Mapping[str, Any] | None) -> str:
    """How it is known who sent a mail."""
    if authentication is None:
        return "senders were not checked"
    if not authentication.get("auth_id"):
        return "nobody vouches for the sender"
    rule = str(authentication.get("rule") or "")
    return RULES.get(rule, "vouched for by the front server")


class Happened(Protocol):
    """An entry of a join's history, as far as it is shown."""

    @property
    def at(self) -> datetime: ...
    @property
    def kind(self) -> str: ...
    @property
    def attempt(self) -> int | None: ...
    @property
    def detail(self) -> str: ...


def told(history: Iterable[Happened], heard: Iterable[tuple[str, datetime]]) -> list[tuple[datetime, str]]:
    """What happened to a join and what was called back about it, in order."""
    lines = [(one.at, _line(one)) for one in history]
    lines += [(at, f"the platform called back: {event}") for event, at in heard]
    return sorted(lines, key=lambda line: line[0])


def _line(one: Happened) -> str:
    attempt = f", attempt {one.attempt}" if one.attempt else ""
    return f"{one.kind}{attempt}" + (f": {one.detail}" if one.detail else "")


BARS: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0)  # seconds: the upper edges of the histogram's bars


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram: what it counts, how many, and its length of 20."""

    label: str
    count: int
    length: int


def histogram(late: Sequence[float]) -> list[Bar]:
    """How late joins were sent, as bars."""
    edges = (0.0, *BARS)
    labels = [f"up to {edge:g} s" for edge in BARS] + [f"over {BARS[-1]:g} s"]
    counts = [sum(low < one <= high for one in late) for low, high in zip(edges, BARS, strict=False)]
    counts[0] += sum(one <= 0 for one in late)
    counts.append(sum(one > BARS[-1] for one in late))
    most = max(counts, default=0) or 1
    return [Bar(label, count, -(-count * 20 // most)) for label, count in zip(labels, counts, strict=True)]
