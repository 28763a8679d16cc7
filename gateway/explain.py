"""Why a mail was decided as it was: what is kept of a decision, in lines for people. Pure.

Rules of this file: from top to bottom as the desk went: who sent it, who let it in, which link, what was said, and what
became of the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import compat32
from typing import Any, Final

from gateway.verdict import PLATFORM_NAMES, TO_OPERATOR, TO_ORGANIZER, Reason, Verdict
from scheduler.happening import Happening
from scheduler.joins import Join, JoinState

# The rules of docs/explanation/senders.md.
RULES: Final = {
    "a": "its From, aligned with DKIM or SPF",
    "b": "its From, for which Google vouches",
    "c": "its From, by a trusted ARC sealer",
    "d": "the EMAIL of its ORGANIZER, for which Apple vouches",
    "e": "its Sender, who forwarded the meeting",
}


def instant_text(instant: datetime | None) -> str | None:
    """2026-03-02T09:00:00Z."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if instant is not None else None


def join_json(join: Join) -> dict[str, Any]:
    """A join in the documented form; times are UTC."""
    return {
        "recurrence_id": instant_text(join.recurrence_id),
        "starts": instant_text(join.starts),
        "ends": instant_text(join.ends),
        "at": instant_text(join.at),
        "url": join.url,
        "state": join.state.value,
    }


def story(invite: Mapping[str, Any], pal: str, answers: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """The lines about one decision: `invite` has the columns of the table, and what else is known of `title`, `mail`
    (columns of mails) and `has_allowlist`; `pal` is the PAL's address or id, `answers` are those that it asked for
    (columns of the outbox), with what became of them."""
    reason = f" ({invite['reason']})" if invite["reason"] else ""
    lines = [f"{invite['id']}: {invite['verdict']}{reason}, for {pal}", *_sentences(invite), *_what_came(invite)]
    if invite.get("forgotten_at") is not None:
        return [*lines, f"Who sent it and what was in it was forgotten on {invite['forgotten_at']:%Y-%m-%d}"]
    lines += [*_sender(invite["authentication"], invite["sender"]), *_allowed(invite), *_links(invite)]
    if invite["detail"]:
        lines.append(f"Remarks: {printable(invite['detail'])}")
    for answer in answers:
        lines += _answer(answer)
    return lines


def tries(history: Sequence[Mapping[str, Any]]) -> list[int | None]:
    """Which try each entry of the journal tells of: the first, second, … time that the join was sent to the platform.
    None: of none. What is claimed besides, to leave a call or to see how it goes, is no try."""
    numbers: dict[int, int] = {}
    found: list[int | None] = []
    in_call = leaving = False
    for entry in history:
        kind, attempt = entry["kind"], entry["attempt"]
        of_sending = kind == Happening.STARTED or (kind in _OF_A_TRY and not in_call and not leaving)
        found.append(numbers.setdefault(attempt, len(numbers) + 1) if attempt and of_sending else None)
        leaving = kind == Happening.CANCELLED or (leaving and kind != Happening.PLANNED)
        in_call = kind in (Happening.STARTED, Happening.JOINED) or (in_call and kind == Happening.MOVED)
    return found


_OF_A_TRY: Final = (Happening.TRIED, Happening.FAILED, Happening.JOINED)


def tried(join: Join, history: Sequence[Mapping[str, Any]]) -> int:
    """How often a join was sent to the platform; of one from before there was a journal, how often it was claimed."""
    known = max((one for one in tries(history) if one is not None), default=0) if history else join.attempt
    return known + (join.state is JoinState.CLAIMED and bool(history))


def lateness(history: Sequence[Mapping[str, Any]]) -> float | None:
    """How many seconds after its instant a join was taken by the platform; None: it was not, or nothing is known."""
    return next((entry["data"]["late"] for entry in history if "late" in entry["data"]), None)


def history_json(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Entries of the journal in the documented form; times are UTC."""
    return [
        {"at": instant_text(entry["at"]), "kind": entry["kind"], "attempt": number}
        | {name: entry[name] for name in ("detail", "data")}
        for entry, number in zip(history, tries(history), strict=True)
    ]


def _history_line(entry: Mapping[str, Any], number: int | None) -> str:
    data = entry["data"]
    attempt = f", try {number}" if number else ""
    late = f", {data['late']:.1f} s late" if "late" in data else ""
    why = entry["detail"] or data.get("reason") or ""
    line = f"{entry['at']:%Y-%m-%d %H:%M:%S} UTC  {entry['kind']}{attempt}{late}{_moved(data)}"
    return f"{line}: {why}" if why else line


def _moved(data: Mapping[str, Any]) -> str:
    if "before" not in data or "after" not in data:
        return ""
    return f" from {_span(data['before'])} to {_span(data['after'])}{', another link' * bool(data.get('has_new_link'))}"


def _span(times: Mapping[str, str]) -> str:
    starts, ends = (datetime.fromisoformat(times[name]).astimezone(UTC) for name in ("start", "end"))
    return f"{starts:%Y-%m-%d %H:%M}–{ends:{'%H:%M' if starts.date() == ends.date() else '%Y-%m-%d %H:%M'}} UTC"


def join_lines(
    join: Join, heard: Sequence[tuple[str, datetime]], history: Sequence[Mapping[str, Any]] = ()
) -> Iterator[str]:
    """What became of a join: its state and tries, what the journal has of it (its columns), and what the platform
    called back."""
    reason = f" ({join.reason})" if join.reason else ""
    call = f", conversation {join.conversation_id}" if join.conversation_id else ""
    count = tried(join, history)
    shown = f", {count} {'try' if count == 1 else 'tries'}" if count else ""
    times = f"{join.starts:%a %Y-%m-%d %H:%M} UTC, due {join.at:%H:%M:%S}"
    yield printable(f"Join {join.id}: {join.state}{reason}, {times}{shown}{call}")
    for entry, number in zip(history, tries(history), strict=True):
        yield "  " + printable(_history_line(entry, number))
    for event_type, at in heard:
        yield "  " + printable(f"{at:%Y-%m-%d %H:%M:%S} UTC  the platform said: {event_type}")


def other_lines(others: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What else was decided about the event (columns of invites)."""
    if others:
        yield "Other mails about this event:"
    for one in others:
        reason = f" ({one['reason']})" if one["reason"] else ""
        sender = f", from {one['sender']}" if one["sender"] else ""
        yield printable(f"  {one['decided_at']:%Y-%m-%d %H:%M:%S} UTC  {one['id']}: {one['verdict']}{reason}{sender}")


def _what_came(invite: Mapping[str, Any]) -> Iterator[str]:
    if invite.get("title"):
        yield f"Title: {printable(invite['title'])}"
    mail = invite.get("mail")
    if mail is not None:
        named = f", Message-ID {printable(mail['message_id'])}" if mail["message_id"] else ""
        yield f"Mail: came {mail['received_at']:%Y-%m-%d %H:%M:%S} UTC{named}"


def _answer(answer: Mapping[str, Any]) -> Iterator[str]:
    date = f" for {answer['recurrence_id']:%Y-%m-%d %H:%M} UTC" if answer["recurrence_id"] else ""
    since = answer["settled_at"] or answer["created_at"]
    state = f"{answer['state']} since {since:%Y-%m-%d %H:%M} UTC"
    yield printable(f"Reply {answer['id']}: {answer['partstat']}{date} to {answer['recipient']}: {state}")
    for words in filter(None, (answer["error"], answer["note"])):
        yield "  " + printable(words)
    for line in _letter(answer.get("raw") or b""):
        yield "  " + printable(line)


def _letter(raw: bytes) -> list[str]:
    """A reply as it was sent: its header, its sentence, its calendar, decoded."""
    if not raw:
        return []
    mail = message_from_bytes(raw, policy=compat32)
    texts = [part for part in mail.walk() if part.get_content_maintype() == "text"]
    bodies = [bytes(part.get_payload(decode=True) or b"").decode("utf-8", "replace") for part in texts]
    lines = [f"{name}: {value}" for name, value in mail.items()]
    for body in dict.fromkeys(bodies):
        lines += ["", *body.strip().splitlines()]
    return [part for line in lines for part in line.splitlines() or [""]]


def _sentences(invite: Mapping[str, Any]) -> Iterator[str]:
    reason = Reason(invite["reason"]) if invite["reason"] in list(Reason) else None
    sentence = TO_OPERATOR.get(reason) or TO_ORGANIZER.get(reason) if reason is not None else None
    if sentence is not None and reason not in TO_OPERATOR and invite["verdict"] == Verdict.IGNORED:
        sentence = "no reply is owed: an edit of what is over, or over for longer than retention.days"
    if sentence is not None:
        platform = PLATFORM_NAMES.get(invite["platform"] or "", "meeting")
        yield "  " + sentence.format(pal="the PAL", platform=platform)


def _sender(found: Mapping[str, Any] | None, sender: str) -> Iterator[str]:
    if found is None:
        yield f"Sender: {printable(sender) or 'nobody'}; senders were not checked"
        return
    claimed = printable(str(found.get("from") or "nobody"))
    if found.get("auth_id"):
        rule = str(found.get("rule") or "")
        how = f"{RULES.get(rule, 'vouched for by the front server')} (rule {rule or '-'}; From says {claimed})"
        yield f"Sender: {printable(str(found['auth_id']))}: {how}"
    else:
        yield f"Sender: nobody vouches for one; From says {claimed}"
    for step in found.get("chain", ()):
        detail = f" ({step['detail']})" if step.get("detail") else ""
        yield "  " + printable(f"{step['check']}: {step['of']}: {step['verdict']}{detail}")


def _allowed(invite: Mapping[str, Any]) -> Iterator[str]:
    entry = invite["allowed_by"]
    yield f"Allowlist: {f'the entry {printable(entry)}' if entry else _without_entry(invite)}"


def _without_entry(invite: Mapping[str, Any]) -> str:
    """What a decision itself says is sure; the PAL's list may have been another then."""
    if invite["reason"] in (Reason.NOT_ON_ALLOWLIST, Reason.NOT_AUTHENTICATED):
        return "no entry admitted it"
    has_one = invite.get("has_allowlist")
    if invite["verdict"] == Verdict.ACCEPTED:
        return "the PAL had none then" if has_one else "the PAL has none"
    if has_one is None:
        return "the PAL is gone, and its list with it"
    return "no entry admitted it" if has_one else "the PAL has none"


def _links(invite: Mapping[str, Any]) -> Iterator[str]:
    links = invite["link_candidates"]
    yield "Links:" if links else "Links: none"
    for link in links:
        how = "chosen" if link["chosen"] else "can be joined" if link["joinable"] else "cannot be joined"
        yield "  " + printable(f"{link['field']}: {link['platform']}, {link['url']} ({how})")


def printable(text: str) -> str:
    """What a terminal does not take for commands to itself."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
