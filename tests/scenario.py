"""Plain-text conversations with the desk: the language of tests/scenarios/*.txt, and its player.

A scenario is a title line (`# …`) and steps. A step is a line that begins with `> `, then its block:

    > now 2026-03-01T08:00:00Z            the instant of what follows
    > pal anna@invite.example.com         a PAL; further words: zone=Europe/Berlin allow=ENTRY (may be repeated)
    > allow anna@invite.example.com ENTRY…   the PAL's allowlist from now on
    > set horizon_days=30                 a setting of the desk (`_SETTINGS`); a quota: `joins_per=inviter:2,pal:9`
    > request from alex@acme.example      a mail with METHOD:REQUEST; also cancel and add, and `> method REPLY from …`
                                          for any other, `> method none` for a calendar part without one
      …content lines of the VEVENT; `--` begins a further VEVENT; a VTIMEZONE may stand anywhere; what is left out is
      filled in: UID, DTSTAMP (now), ORGANIZER, ATTENDEE (the PAL), DURATION:PT1H, a Meet link. `NO-LINK`,
      `NO-ATTENDEE`, `NO-ORGANIZER` leave it out. Further words: to=ADDRESS (envelope);
      `verified`: somebody vouches for From, `verified=ADDRESS`: for that one, `unverified`: nobody does. Without such a
      word senders are not checked, and From is believed.
    > mail from alex@acme.example         a whole mail, as it stands (its line ends become CRLF)
    > file                                a bare calendar file, as `replay` plays it
    > expect accepted [reason]            the verdict on the last message; several decisions: one line each
    > reply ACCEPTED [2026-03-02T09:00Z] [text…]   the replies to the last message, in order; `> no reply`: none
    > replied                             beginnings of content lines, each of just one line in the calendar of the
                                          first reply to the last message; `not …`: of none
    > note rule was left out              words in a remark to the operator on the last message; `> no note`: no remark
    > joins                               all live joins by start, `2026-03-02 13:00 60m abc-defg-hij state anna`;
                                          the later words may be left out. `> no joins`: none.
    > cancelled joins 3                   how many joins are cancelled
    > dispatch                            what is to be planned further is, and what is due is sent and taken
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import scheduler.store
from gateway import store
from gateway.address import domain_of, normal
from gateway.decide import Desk
from gateway.intake import Incoming, Intake, Played, fresh_id
from gateway.pals import Pal, pal_id
from gateway.quotas import Counts
from gateway.senders import Sender
from scheduler.database import connect
from scheduler.dispatch import plan_further
from scheduler.joins import LIVE, Join, JoinState

SCENARIOS = Path(__file__).parent / "scenarios"
MEET = "https://meet.google.com/abc-defg-hij"
ALEX = "alex@acme.example"


@dataclass(frozen=True)
class Step:
    """One `> ` line with its words and its block."""

    words: tuple[str, ...]
    block: tuple[str, ...]
    where: str


@dataclass(frozen=True)
class Scenario:
    """A title and its steps."""

    title: str
    steps: tuple[Step, ...]


def read_scenarios() -> Iterator[Scenario]:
    """Every scenario of every file, in order; a `# ` line begins one."""
    for path in sorted(SCENARIOS.glob("*.txt")):
        title, steps = "", list[tuple[list[str], list[str], str]]()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if line.startswith("# "):
                if title:
                    yield _scenario(path, title, steps)
                title, steps = line[2:].strip(), []
            elif line.startswith("> "):
                steps.append((line[2:].split(), [], f"{path.name}:{number}"))
            elif steps and line.strip():
                steps[-1][1].append(line)
        yield _scenario(path, title, steps)


def _scenario(path: Path, title: str, steps: list[tuple[list[str], list[str], str]]) -> Scenario:
    made = (Step(tuple(words), tuple(textwrap.dedent("\n".join(block)).splitlines()), at) for words, block, at in steps)
    return Scenario(f"{path.stem}: {title}", tuple(made))


def play(scenario: Scenario) -> None:
    """Play a scenario against a fresh desk; AssertionError names the step that does not hold."""
    player = _Player()
    for step in scenario.steps:
        try:
            player.step(step)
        except AssertionError as error:
            raise AssertionError(f"{step.where}: > {' '.join(step.words)}\n{error}") from None


_SETTINGS: dict[str, Any] = {
    "horizon_days": lambda desk, value: _scheduling(desk, horizon=timedelta(days=int(value))),
    "lead_seconds": lambda desk, value: _scheduling(desk, lead=timedelta(seconds=int(value))),
    "all_day": lambda desk, value: replace(desk, join_all_day=value == "true"),
    "decline_strangers": lambda desk, value: replace(desk, decline_strangers=value == "true"),
    "accept_forwarded": lambda desk, value: replace(desk, accept_forwarded=value == "true"),
    "hourly_per_organizer": lambda desk, value: replace(desk, hourly_per_organizer=int(value)),
    "invitations_per": lambda desk, value: _quotas(desk, invitations=_counts(value)),
    "joins_per": lambda desk, value: _quotas(desk, joins=_counts(value)),
    "longest_hours": lambda desk, value: _quotas(desk, longest=timedelta(hours=int(value))),
    "furthest_days": lambda desk, value: _quotas(desk, furthest=timedelta(days=int(value))),
    "joinable": lambda desk, value: replace(desk, links=replace(desk.links, joinable=frozenset(value.split(",")))),
}


def _scheduling(desk: Desk, **values: timedelta) -> Desk:
    return replace(desk, scheduling=replace(desk.scheduling, **values))


def _quotas(desk: Desk, **values: Any) -> Desk:
    return replace(desk, quotas=replace(desk.quotas, **values))


def _counts(value: str) -> Counts:
    """inviter:1,pal:2; what is left out has no limit."""
    return Counts(**{name: int(limit) for name, _, limit in (one.partition(":") for one in value.split(","))})


@dataclass
class _Player:
    desk: Desk = field(default_factory=Desk)
    now: datetime = datetime(2026, 3, 1, 8, tzinfo=UTC)
    pals: list[Pal] = field(default_factory=list)
    played: list[Played] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = connect("sqlite://")
        store.create_throwaway(self.engine)

    def step(self, step: Step) -> None:
        verb, *words = step.words
        getattr(self, "do_" + verb, self._unknown)(words, step.block)

    def _unknown(self, words: list[str], block: tuple[str, ...]) -> None:
        raise AssertionError("there is no such step")

    def do_now(self, words: list[str], block: tuple[str, ...]) -> None:
        self.now = datetime.fromisoformat(words[0])

    def do_set(self, words: list[str], block: tuple[str, ...]) -> None:
        for word in words:
            name, _, value = word.partition("=")
            self.desk = _SETTINGS[name](self.desk, value)

    def do_pal(self, words: list[str], block: tuple[str, ...]) -> None:
        address, options = words[0], [word.partition("=") for word in words[1:]]
        allowlist = tuple(value for name, _, value in options if name == "allow")
        zone = next((value for name, _, value in options if name == "zone"), None)
        pal = Pal(pal_id(address), address.partition("@")[0].capitalize(), address, "face", allowlist, zone)
        self.pals.append(pal)
        with self.engine.begin() as connection:
            store.add_pal(connection, pal, self.now)

    def do_allow(self, words: list[str], block: tuple[str, ...]) -> None:
        address, *entries = words
        with self.engine.begin() as connection:
            change = store.pals.update().where(store.pals.c.address == address)
            connection.execute(change.values(allowlist=entries))

    def _message(self, method: str | None, words: list[str], block: tuple[str, ...]) -> None:
        self._default_pal()
        options = dict(word.partition("=")[::2] for word in words if "=" in word)
        sender = words[1] if words[:1] == ["from"] else ALEX
        calendar = calendar_of(method, block, self.pals[0].address, self.now)
        header = [f"From: {sender}", f"To: {self.pals[0].address}", f"Message-ID: <{fresh_id('t')}@{sender}>"]
        typed = f"text/calendar; charset=UTF-8; method={method}" if method else "text/calendar; charset=UTF-8"
        lines = [
            *header,
            "MIME-Version: 1.0",
            f"Content-Type: {typed}",
            "Content-Transfer-Encoding: 8bit",
            "",
            calendar,
        ]
        self._deliver("\r\n".join(lines).encode(), words, sender, options.get("to"))

    def _default_pal(self) -> None:
        if not self.pals:
            self.do_pal(["anna@invite.example.com"], ())

    def _deliver(self, raw: bytes, words: list[str], sender: str, to: str | None) -> None:
        recipients = tuple(normal(one) for one in to.split(",")) if to else tuple(pal.address for pal in self.pals)
        mail = Incoming(fresh_id("m"), raw, sender, recipients, sender=_checked(words, sender))
        self.played = Intake(self.engine, self.desk).take(mail, self.now)

    def do_request(self, words: list[str], block: tuple[str, ...]) -> None:
        self._message("REQUEST", words, block)

    def do_cancel(self, words: list[str], block: tuple[str, ...]) -> None:
        self._message("CANCEL", words, block)

    def do_add(self, words: list[str], block: tuple[str, ...]) -> None:
        self._message("ADD", words, block)

    def do_method(self, words: list[str], block: tuple[str, ...]) -> None:
        self._message(None if words[0] == "none" else words[0], words[1:], block)

    def do_mail(self, words: list[str], block: tuple[str, ...]) -> None:
        self._default_pal()
        options = dict(word.partition("=")[::2] for word in words if "=" in word)
        raw = "\r\n".join((*block, "")).replace("\r\n.\r\n", "\r\n\r\n").encode()
        self._deliver(raw, words, words[1], options.get("to"))

    def do_file(self, words: list[str], block: tuple[str, ...]) -> None:
        self._default_pal()
        text = calendar_of("REQUEST", block, self.pals[0].address, self.now)
        self.played = Intake(self.engine, self.desk).take_file(text.encode(), self.pals, self.now)

    def do_expect(self, words: list[str], block: tuple[str, ...]) -> None:
        wanted = [words, *(line.split() for line in block)] if words else [line.split() for line in block]
        found = [
            [one.decision.verdict.value, *([one.decision.reason.value] if one.decision.reason else [])]
            for one in self.played
        ]
        details = [one.decision.detail for one in self.played if one.decision.detail]
        assert found == wanted, f"found {found} {details}"

    def do_reply(self, words: list[str], block: tuple[str, ...]) -> None:
        wanted = [" ".join(words), *block] if words else list(block)
        found = [_reply_line(reply) for one in self.played for reply in one.decision.replies]
        assert len(found) == len(wanted), f"found {found}"
        for line, reply in zip(wanted, found, strict=True):
            head, _, text = line.partition(" … ")
            assert reply.startswith(head), f"found {found}"
            assert text.strip() in reply, f"found {found}"

    def do_replied(self, words: list[str], block: tuple[str, ...]) -> None:
        calendars = [reply.calendar for one in self.played for reply in one.decision.replies]
        assert calendars, "there is no reply"
        lines = calendars[0].replace("\r\n ", "").split("\r\n")
        for wanted in block:
            start = wanted.removeprefix("not ")
            found = sum(line.startswith(start) for line in lines)
            assert found == (start == wanted), f"{found} lines with {start!r} in\n{calendars[0]}"

    def do_no(self, words: list[str], block: tuple[str, ...]) -> None:
        if words[0] == "reply":
            found = [_reply_line(reply) for one in self.played for reply in one.decision.replies]
            assert not found, f"found {found}"
        elif words[0] == "note":
            assert not self._notes(), f"found {self._notes()}"
        else:
            assert words[0] == "joins", "there is no such step"
            self._compare_joins([])

    def do_note(self, words: list[str], block: tuple[str, ...]) -> None:
        assert any(" ".join(words) in note for note in self._notes()), f"found {self._notes()}"

    def _notes(self) -> list[str]:
        return [note for one in self.played for note in (one.decision.detail, *one.decision.notes) if note]

    def do_joins(self, words: list[str], block: tuple[str, ...]) -> None:
        self._compare_joins([line.split() for line in block])

    def _compare_joins(self, wanted: list[list[str]]) -> None:
        names = {pal.id: pal.address.partition("@")[0] for pal in self.pals}
        live = [join for join in self._joins() if join.state in LIVE]
        live.sort(key=lambda join: (join.starts, names[join.pal_id]))
        found = [[*_join_words(join), names[join.pal_id]] for join in live]
        shown = "\n".join(" ".join(words) for words in found)
        assert len(found) == len(wanted), f"found\n{shown}"
        for words, expected in zip(found, wanted, strict=True):
            assert words[: len(expected)] == expected or set(expected) <= set(words), f"found\n{shown}"

    def do_cancelled(self, words: list[str], block: tuple[str, ...]) -> None:
        gone = [join for join in self._joins() if join.state in (JoinState.CANCELLED, JoinState.LEAVING)]
        assert len(gone) == int(words[1]), f"found {len(gone)}"

    def _joins(self) -> list[Join]:
        with self.engine.connect() as connection:
            return scheduler.store.find_joins(connection)

    def do_dispatch(self, words: list[str], block: tuple[str, ...]) -> None:
        with self.engine.begin() as connection:
            plan_further(connection, self.now, self.desk.scheduling, 100)
            for join in scheduler.store.claim(connection, self.now, "us", timedelta(seconds=60), 50):
                leaving, late = join.state is JoinState.LEAVING, self.now >= join.until
                state = JoinState.CANCELLED if leaving else JoinState.MISSED if late else JoinState.STARTED
                scheduler.store.settle(connection, join, now=self.now, state=state, conversation_id=f"c-{join.id}")


def _checked(words: list[str], claimed: str) -> Sender | None:
    """The sender as the words of a step have it; None: not checked."""
    said = next((word for word in words if word.partition("=")[0] in ("verified", "unverified")), None)
    if said is None:
        return None
    if said == "unverified":
        return Sender("", checked=True, claimed=claimed)
    address = said.partition("=")[2] or claimed
    return Sender(address, verified=True, checked=True, claimed=claimed, signers=(domain_of(address),))


def calendar_of(method: str | None, block: tuple[str, ...], attendee: str, now: datetime) -> str:
    """A whole VCALENDAR, CRLF, from a block of a scenario."""
    if block and block[0].startswith("BEGIN:VCALENDAR"):
        return "\r\n".join((*block, ""))
    zones, events = _split_block(block)
    lines = ["BEGIN:VCALENDAR", "PRODID:-//test//EN", "VERSION:2.0", *([f"METHOD:{method}"] if method else []), *zones]
    for event in events:
        lines += ["BEGIN:VEVENT", *_filled(event, attendee, now), "END:VEVENT"]
    return "\r\n".join([*lines, "END:VCALENDAR", ""])


def _split_block(block: tuple[str, ...]) -> tuple[list[str], list[list[str]]]:
    zones: list[str] = []
    events: list[list[str]] = [[]]
    inside = False
    for line in block:
        inside = inside or line == "BEGIN:VTIMEZONE"
        if inside or line.startswith("X-WR-"):
            zones.append(line)
        elif line == "--":
            events.append([])
        else:
            events[-1].append(line)
        inside = inside and line != "END:VTIMEZONE"
    return zones, events


def _filled(lines: list[str], attendee: str, now: datetime) -> list[str]:
    def has(*names: str) -> bool:
        return any(line.replace(";", ":").split(":")[0].upper() in names for line in lines)

    links = ("X-GOOGLE-CONFERENCE", "CONFERENCE", "LOCATION", "DESCRIPTION", "URL", "NO-LINK")
    extra = [
        *([] if has("UID") else ["UID:u1"]),
        *([] if has("DTSTAMP") else [f"DTSTAMP:{now:%Y%m%dT%H%M%SZ}"]),
        *([] if has("ORGANIZER", "NO-ORGANIZER") else [f"ORGANIZER;CN=Alex:mailto:{ALEX}"]),
        *([] if has("ATTENDEE", "NO-ATTENDEE") else [f"ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:{attendee}"]),
        *([] if has("DTEND", "DURATION", "NO-END") else ["DURATION:PT1H"]),
        *([] if has("SUMMARY") else ["SUMMARY:Weekly"]),
        *([] if has(*links) else [f"X-GOOGLE-CONFERENCE:{MEET}"]),
    ]
    return [line for line in lines if not line.startswith("NO-")] + extra


def _reply_line(reply: Any) -> str:
    date = f" {reply.recurrence_id.astimezone(UTC):%Y-%m-%dT%H:%MZ}" if reply.recurrence_id else ""
    return f"{reply.partstat}{date} to {reply.to}: {reply.comment}"


def _join_words(join: Join) -> list[str]:
    minutes = int((join.ends - join.starts).total_seconds() // 60)
    code = join.url.removeprefix("https://meet.google.com/")
    return [f"{join.starts:%Y-%m-%d}", f"{join.starts:%H:%M}", f"{minutes}m", code, join.state.value]
