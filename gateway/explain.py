"""Why a mail was decided as it was: what is kept of a decision, in lines for people. Pure.

Rules of this file: from top to bottom as the desk went: who sent it, who let it in, which link, what was said, and what
became of the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from gateway.verdict import TO_OPERATOR, TO_ORGANIZER, Reason
from scheduler.joins import Join

# The rules of docs/senders.md.
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
    """The lines about one decision: `invite` has the columns of the table, `pal` is the PAL's address or id, `answers`
    are those that it asked for (columns of the outbox), with what became of them."""
    reason = f" ({invite['reason']})" if invite["reason"] else ""
    lines = [f"{invite['id']}: {invite['verdict']}{reason}, for {pal}", *_sentences(invite)]
    if invite.get("forgotten_at") is not None:
        return [*lines, f"Who sent it and what was in it was forgotten on {invite['forgotten_at']:%Y-%m-%d}"]
    lines += [*_sender(invite["authentication"], invite["sender"]), *_allowed(invite), *_links(invite)]
    if invite["detail"]:
        lines.append(f"Remarks: {printable(invite['detail'])}")
    for answer in answers:
        lines += _answer(answer)
    return lines


def history_json(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of the journal in the documented form; times are UTC."""
    kept = {name: entry[name] for name in ("kind", "attempt", "detail", "data")}
    return {"at": instant_text(entry["at"]), **kept}


def _history_line(entry: Mapping[str, Any]) -> str:
    attempt = f", try {entry['attempt']}" if entry["attempt"] else ""
    why = entry["detail"] or entry["data"].get("reason") or ""
    return f"{entry['at']:%Y-%m-%d %H:%M:%S} UTC  {entry['kind']}{attempt}{f': {why}' if why else ''}"


def join_lines(
    join: Join, heard: Sequence[tuple[str, datetime]], history: Sequence[Mapping[str, Any]] = ()
) -> Iterator[str]:
    """What became of a join: its state and tries, what the journal has of it (its columns), and what the platform
    called back."""
    reason = f" ({join.reason})" if join.reason else ""
    call = f", conversation {join.conversation_id}" if join.conversation_id else ""
    tries = f", {join.attempt} {'try' if join.attempt == 1 else 'tries'}" if join.attempt else ""
    times = f"{join.starts:%a %Y-%m-%d %H:%M} UTC, due {join.at:%H:%M:%S}"
    yield printable(f"Join {join.id}: {join.state}{reason}, {times}{tries}{call}")
    for entry in history:
        yield "  " + printable(_history_line(entry))
    for event_type, at in heard:
        yield "  " + printable(f"{at:%Y-%m-%d %H:%M:%S} UTC  the platform said: {event_type}")


def _answer(answer: Mapping[str, Any]) -> Iterator[str]:
    date = f" for {answer['recurrence_id']:%Y-%m-%d %H:%M} UTC" if answer["recurrence_id"] else ""
    since = answer["settled_at"] or answer["created_at"]
    state = f"{answer['state']} since {since:%Y-%m-%d %H:%M} UTC"
    yield printable(f"Reply {answer['id']}: {answer['partstat']}{date} to {answer['recipient']}: {state}")
    for words in filter(None, (answer["error"], answer["note"])):
        yield "  " + printable(words)


def _sentences(invite: Mapping[str, Any]) -> Iterator[str]:
    reason = Reason(invite["reason"]) if invite["reason"] in list(Reason) else None
    sentence = TO_OPERATOR.get(reason) or TO_ORGANIZER.get(reason) if reason is not None else None
    if sentence is not None:
        yield "  " + sentence.format(pal="the PAL", platform=invite["platform"] or "meeting")


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
    yield f"Allowlist: the entry {printable(entry)}" if entry else "Allowlist: no entry admitted it, or there is none"


def _links(invite: Mapping[str, Any]) -> Iterator[str]:
    links = invite["link_candidates"]
    yield "Links:" if links else "Links: none"
    for link in links:
        how = "chosen" if link["chosen"] else "can be joined" if link["joinable"] else "cannot be joined"
        yield "  " + printable(f"{link['field']}: {link['platform']}, {link['url']} ({how})")


def printable(text: str) -> str:
    """What a terminal does not take for commands to itself."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
