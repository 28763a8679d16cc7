"""Fuzzing: mutated mails to decisions. `python -m tests.fuzz --seconds 30`, or `make fuzz MINUTES=5`.

The mutator is ours, in plain Python: it knows what a line, a header, a property and a rule are, which byte flips alone
would take years to make. An input is (seed, process, number): the same seed gives the same inputs.

What must hold for every input: nothing is raised; it takes less CPU than DEADLINE; a link is its own canonical form; a
reply has the headers that we meant; what a bounce says is one printable line. What does not is written to a folder, and
becomes a row of tests/security/crashes.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message as Mail
from pathlib import Path
from random import Random
from time import monotonic, process_time
from types import FrameType
from typing import Final

from gateway.decide import Case, Desk, decide
from gateway.mime import parse
from gateway.pals import Pal
from gateway.platforms import classify
from gateway.reading import is_plain, read_mail, read_report
from gateway.reply import render
from scheduler.event import Event
from scheduler.joins import refill_at

SAMPLES: Final = Path(__file__).parent.parent / "samples"
NOW: Final = datetime(2026, 3, 1, 8, tzinfo=UTC)
ANNA: Final = Pal("p1", "Anna", "anna@invite.example.com", "face", context="full")
DESK: Final = Desk()
DEADLINE: Final = 0.5  # seconds of CPU; what takes the reader's rehearsal half as long never reaches the desk
HANG: Final = 5.0  # seconds; then an input is given up
HEADERS: Final = [
    "Content-Type",
    "MIME-Version",
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "Auto-Submitted",
]

_NAMES: Final = (
    "UID", "SUMMARY", "DESCRIPTION", "LOCATION", "URL", "DTSTART", "DTEND", "DURATION", "DTSTAMP", "SEQUENCE",
    "RECURRENCE-ID", "RRULE", "RDATE", "EXDATE", "EXRULE", "ATTENDEE", "ORGANIZER", "STATUS", "METHOD", "BEGIN",
    "END", "TZID", "TZOFFSETFROM", "TZOFFSETTO", "X-GOOGLE-CONFERENCE", "CONFERENCE", "COMMENT",
    "X-MICROSOFT-CDO-APPT-SEQUENCE", "X-WR-TIMEZONE", "X-ALT-DESC",
)  # fmt: skip
_PARAMS: Final = (
    ";TZID=Europe/Berlin", ";TZID=../../etc/passwd", ";TZID=/x/Europe/Berlin", ";VALUE=DATE", ";VALUE=PERIOD",
    ";RANGE=THISANDFUTURE", ';CN="a:b;c"', ';CN="=?utf-8?q?a=0d=0aBcc:_x?="', ";PARTSTAT=DECLINED",
    ";PARTSTAT=NEEDS-ACTION", ";TZID=", ';X=""', ";TZID=Mine", ";EMAIL=anna@invite.example.com",
    ';DELEGATED-FROM="mailto:a@b"', ";TZID=tzone://Microsoft/Utc", ";=", ";;",
)  # fmt: skip
_VALUES: Final = (
    "20260302T090000Z", "20260302T090000", "20260302", "00010101T000000", "99991231T235959Z", "20260329T023000",
    "20261325T000000", "PT1H", "P1W", "-PT1H", "P99999D", "PT99999999S", "mailto:anna@invite.example.com",
    "mailto:alex@acme.example", "MAILTO:a%00@b", "mailto:", "0", "1", "-1", "99999999999999999999", "2147483648",
    "NaN", "CANCELLED", "TENTATIVE", "VEVENT", "VCALENDAR", "VTIMEZONE", "STANDARD", "REQUEST", "CANCEL", "ADD",
    "REPLY", "https://meet.google.com/abc-defg-hij", "https://zoom.us/j/123456789",
    "https://meet.google.com@evil.example/abc-defg-hij",
    "https://a.safelinks.protection.outlook.com/?url=https%3A%2F%2Fmeet.google.com%2Fabc-defg-hij", "a\\nb", "\\\\",
    "\\,", "=?idna?q?a?=", "20260302T090000Z/PT1H", "20260302T090000Z/20260302T080000Z", "+0100", "-2359", "+9999",
    "u1", "\u212a", "\u202e", "\x00", "\ufeff", "<script>",
)  # fmt: skip
_FREQ: Final = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY", "HOURLY", "SECONDLY")
_BY: Final = {
    "BYMONTH": (1, 2, 6, 12, 13),
    "BYMONTHDAY": (1, 29, 30, 31, -1, -31),
    "BYYEARDAY": (1, 60, 366, -366),
    "BYWEEKNO": (1, 53, -1),
    "BYHOUR": (0, 2, 23),
    "BYMINUTE": (0, 59),
    "BYSECOND": (0, 60),
    "BYSETPOS": (1, -1, 2, 366),
    "BYDAY": ("MO", "1TU", "-1FR", "5SU", "53MO", "SA"),
    "WKST": ("SU", "MO"),
    "COUNT": (1, 2, 10, 10000),
    "INTERVAL": (1, 2, 53, 1000),
    "UNTIL": ("20270101", "20270101T000000Z", "99991231", "19700101T000000"),
}
_HEADS: Final = (
    b"From: a@b.example, c@d.example",
    b"From: =?utf-8?q?a?= <alex@acme.example>",
    b"From: (((((((( <alex@acme.example>",
    b"Content-Type: multipart/alternative; boundary=b",
    b"Content-Type: message/rfc822",
    b"Content-Type: text/calendar; method*=idna''%C3%BC; charset=utf-16",
    b"Content-Transfer-Encoding: base64",
    b"Content-Transfer-Encoding: quoted-printable",
    b"Content-Disposition: attachment; filename*0*=x''%; filename*1=.ics",
    b"Message-ID: <a@b>\r\n <c@d>",
    b"Auto-Submitted: auto-replied",
    b"Subject: =?punycode?q?abc?=",
)


_LEAN: Final = (
    b"From: alex@acme.example",
    b"Message-ID: <1@a.example>",
    b"Content-Type: text/calendar; method=REQUEST",
)
_DULL: Final = (b"X-APPLE", b"X-LIC", b"X-MICROSOFT-CDO", b"PRODID", b"VERSION", b"CALSCALE", b"CREATED", b"LAST-MOD")


class Overrun(BaseException):
    """An input took longer than HANG."""


@dataclass
class Tally:
    """What a run has seen."""

    inputs: int = 0
    slowest: float = 0.0
    cpu: float = 0.0
    verdicts: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[str, bytes]] = field(default_factory=list)  # what went wrong, the input


def seeds() -> list[bytes]:
    """The samples, and of each a lean mail with nothing but its calendar, which is quick to play."""
    whole = [path.read_bytes() for path in sorted(SAMPLES.rglob("*.eml"))]
    lean = [_lean(one.data) for raw in whole for one in parse(raw).calendars]
    return [*lean * 8, *whole]


def _lean(calendar: bytes) -> bytes:
    lines = calendar.replace(b"\r\n", b"\n").replace(b"\n ", b"").split(b"\n")
    kept, depth = [], 0
    for line in lines:
        depth += line == b"BEGIN:VALARM"
        if not depth and not line.startswith(_DULL):
            kept.append(line[:200])
        depth -= line == b"END:VALARM"
    return b"\r\n".join((*_LEAN, b"", *kept))


class Mutator:
    """Makes the next input out of seeds and a random source."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.seeds = seeds()
        self.ways: list[Callable[[list[bytes]], None]] = [
            self.flip, self.delete, self.double, self.swap, self.splice, self.number, self.head,
            self.property, self.property, self.value, self.value, self.rule, self.rule, self.repeat, self.event,
        ]  # fmt: skip

    def next(self) -> bytes:
        """One input."""
        raw = self.random.choice(self.seeds)
        if self.random.random() < 0.01:
            return self.box(raw)
        lines = raw.split(b"\r\n")
        for _ in range(self.random.choice((1, 1, 2, 3, 5, 8))):
            self.random.choice(self.ways)(lines)
        raw = b"\r\n".join(lines)
        if self.random.random() < 0.02:
            raw = raw[: self.random.randrange(len(raw) + 1)]
        if self.random.random() < 0.02:
            raw = raw.replace(b"\r\n", self.random.choice((b"\n", b"\r", b"\r\r\n")))
        return raw

    def at(self, lines: list[bytes]) -> int:
        return self.random.randrange(len(lines)) if lines else 0

    def flip(self, lines: list[bytes]) -> None:
        at = self.at(lines)
        line = bytearray(lines[at] if lines else b"")
        for _ in range(self.random.choice((1, 1, 4))):
            if line:
                line[self.random.randrange(len(line))] = self.random.randrange(256)
        lines[at : at + 1] = [bytes(line)]

    def delete(self, lines: list[bytes]) -> None:
        at = self.at(lines)
        del lines[at : at + self.random.choice((1, 1, 1, 5))]

    def double(self, lines: list[bytes]) -> None:
        at = self.at(lines)
        lines[at:at] = lines[at : at + self.random.choice((1, 1, 3))]

    def swap(self, lines: list[bytes]) -> None:
        one, other = self.at(lines), self.at(lines)
        if lines:
            lines[one], lines[other] = lines[other], lines[one]

    def splice(self, lines: list[bytes]) -> None:
        other = self.random.choice(self.seeds).split(b"\r\n")
        begin = self.at(other)
        at = self.at(lines)
        lines[at : at + self.random.choice((0, 1))] = other[begin : begin + self.random.choice((1, 1, 4, 20))]

    def number(self, lines: list[bytes]) -> None:
        at = self.at(lines)
        for digit in b"0123456789":
            if lines and bytes([digit]) in lines[at]:
                huge = self.random.choice((b"9" * 30, b"-1", b"0", b"4294967296", b"9" * 5000))
                lines[at] = lines[at].replace(bytes([digit]), huge, 1)
                return

    def head(self, lines: list[bytes]) -> None:
        lines.insert(self.random.randrange(4), self.random.choice(_HEADS))

    def property(self, lines: list[bytes]) -> None:
        name = self.random.choice(_NAMES)
        params = "".join(self.random.choice(_PARAMS) for _ in range(self.random.choice((0, 0, 1, 2))))
        line = f"{name}{params}:{self.random.choice(_VALUES)}"
        lines.insert(self.at(lines), line.encode("utf-8"))

    def value(self, lines: list[bytes]) -> None:
        at = self.at(lines)
        if lines:
            name, colon, _ = lines[at].partition(b":")
            if colon:
                lines[at] = name + colon + self.random.choice(_VALUES).encode()

    def rule(self, lines: list[bytes]) -> None:
        line = f"{self.random.choice(('RRULE', 'RRULE', 'RRULE', 'EXRULE'))}:{self.rule_text()}".encode()
        starts = [n for n, old in enumerate(lines) if old.startswith((b"DTSTART", b"RRULE"))]
        lines.insert(self.random.choice(starts) + 1 if starts else self.at(lines), line)

    def rule_text(self) -> str:
        parts = [f"FREQ={self.random.choice(_FREQ)}"]
        for name in self.random.sample(sorted(_BY), self.random.choice((0, 1, 2, 3, 5))):
            choices = _BY[name]
            many = 1 if name in ("COUNT", "INTERVAL", "UNTIL", "WKST") else self.random.choice((1, 2, len(choices)))
            parts.append(f"{name}=" + ",".join(map(str, self.random.sample(choices, min(many, len(choices))))))
        if self.random.random() < 0.1:
            parts.append("BYHOUR=" + ",".join(map(str, range(24))))
        return ";".join(parts)

    def repeat(self, lines: list[bytes]) -> None:
        at = self.at(lines)
        if lines and self.random.random() < 0.3:
            lines[at] += lines[at][-self.random.choice((1, 5, 20)) :] * self.random.choice((10, 100, 1000))
        elif lines and self.random.random() < 0.1:
            lines[at:at] = [lines[at]] * self.random.choice((50, 300))

    def event(self, lines: list[bytes]) -> None:
        """The event once more, as another date of its own."""
        text = b"\r\n".join(lines)
        begin, end = text.find(b"BEGIN:VEVENT"), text.find(b"END:VEVENT")
        if 0 <= begin < end:
            again = text[begin:end].replace(b"BEGIN:VEVENT", b"BEGIN:VEVENT\r\nRECURRENCE-ID:20260302T090000Z", 1)
            again += b"END:VEVENT\r\n"
            lines[:] = (text[:begin] + again * self.random.choice((1, 1, 1, 1, 3, 10)) + text[begin:]).split(b"\r\n")

    def box(self, raw: bytes) -> bytes:
        """The mail inside parts or messages, now and then deeper than anybody would."""
        depth = self.random.choice((1, 2, 19, 21, 150))
        for number in range(depth):
            if len(raw) > 100_000:
                break
            if self.random.random() < 0.5:
                raw = b"From: a@b.example\r\nContent-Type: message/rfc822\r\n\r\n" + raw
            else:
                head = b"From: a@b.example\r\nContent-Type: multipart/mixed; boundary=x%d\r\n\r\n" % number
                raw = head + (b"--x%d\r\n" % number + raw + b"\r\n") * self.random.choice((1, 1, 1, 2))
        return raw


def play(raw: bytes, known: dict[str, Event], tally: Tally) -> None:
    """From bytes to decisions, as the desk does it, and what must hold for each."""
    if tally.inputs % 8 == 0:
        report = read_report(raw).report  # as if it had come to a bounce address
        assert report is None or report.line.isprintable()
    reading = read_mail(raw)
    if reading.fault is not None:
        tally.verdicts[reading.fault] += 1
    for message in reading.messages:
        case = Case(message, reading.sender, ANNA, known.get(message.uid), (), reading.message_id, reading.body)
        decision = decide(case, DESK, NOW)
        tally.verdicts[decision.verdict] += 1
        if decision.event is not None:
            refill_at(decision.event, NOW, DESK.scheduling)
            known[message.uid] = decision.event
        for join in decision.joins:
            link = classify(join.url)
            assert link is not None
            assert link.url == join.url
        for reply in decision.replies[:1] if tally.inputs % 8 == 0 else ():
            check_reply(render(reply, "<r1@invite.example.com>", NOW))


def check_reply(raw: bytes) -> None:
    """The reply has the headers that we meant, once each, and goes to one address."""
    mail: Mail = message_from_bytes(raw)
    names = [name for name in mail if name not in ("In-Reply-To", "References")]
    assert names == [name for name in HEADERS if name not in ("In-Reply-To", "References")], names
    assert mail["To"].count("@") <= 1 or '"' in mail["To"], mail["To"]


def run(seed: int, process: int, seconds: float, least: int) -> Tally:
    """One process: until both the time and the number are reached."""
    mutator = Mutator(Random(f"{seed}/{process}"))  # noqa: S311  no secret
    tally = Tally()
    known: dict[str, Event] = {}
    signal.signal(signal.SIGALRM, _overrun)
    end, started = monotonic() + seconds, process_time()
    while monotonic() < end or tally.inputs < least:
        raw = mutator.next()
        tally.inputs += 1
        if tally.inputs % 50 == 0:
            known.clear()
        begun = process_time()
        fault = _tried(raw, known, tally)
        spent = process_time() - begun
        tally.slowest = max(tally.slowest, spent)
        if fault is None and spent > DEADLINE and not _is_set_aside(raw):
            fault = f"took {spent:.2f} s of CPU"
        if fault is not None:
            tally.faults.append((fault, raw))
            known.clear()
    tally.cpu = process_time() - started
    return tally


def _tried(raw: bytes, known: dict[str, Event], tally: Tally) -> str | None:
    signal.setitimer(signal.ITIMER_REAL, HANG)
    try:
        play(raw, known, tally)
    except (Exception, Overrun) as error:  # noqa: BLE001  whatever it is, it is a finding
        return f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None


def _is_set_aside(raw: bytes) -> bool:
    """Whether the reader's rehearsal keeps this mail from the desk."""
    reading = read_mail(raw)
    begun = process_time()
    for message in reading.messages:
        if not is_plain(message):
            decide(Case(message, reading.sender, ANNA, body=reading.body), DESK, NOW)
    return process_time() - begun > DEADLINE / 2


def _overrun(number: int, frame: FrameType | None) -> None:
    raise Overrun(f"more than {HANG:g} s")


def _kept(folder: Path, faults: list[tuple[str, bytes]]) -> Iterator[str]:
    folder.mkdir(parents=True, exist_ok=True)
    for number, (fault, raw) in enumerate(faults):
        path = folder / f"{number:03}.eml"
        path.write_bytes(raw)
        yield f"{path}: {fault}"


def main() -> int:
    """Run, print, keep what was found. 1 when something was."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--least", type=int, default=50_000, help="inputs, however long they take")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path("var/fuzz"))
    asked = parser.parse_args()
    begun = monotonic()
    share = -(-asked.least // asked.processes)
    with ProcessPoolExecutor(asked.processes) as pool:
        runs = [pool.submit(run, asked.seed, number, asked.seconds, share) for number in range(asked.processes)]
        tallies = [one.result() for one in runs]
    faults = [fault for tally in tallies for fault in tally.faults]
    verdicts = sum((tally.verdicts for tally in tallies), Counter())
    slowest = max(tally.slowest for tally in tallies)
    inputs, took = sum(tally.inputs for tally in tallies), monotonic() - begun
    print(f"fuzz: seed {asked.seed}, {inputs} inputs in {took:.0f} s, ", end="")
    print(f"{sum(tally.cpu for tally in tallies) / inputs * 1000:.2f} ms of CPU each, ", end="")
    print(f"slowest {slowest * 1000:.0f} ms, {len(faults)} faults")
    print("     ", ", ".join(f"{count} {name}" for name, count in verdicts.most_common()))
    for line in _kept(asked.keep, faults) if faults else ():
        print(line)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
