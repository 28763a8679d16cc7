"""`pal-gateway explain`: why a mail was decided as it was, and what a file would do. A door.

Rules of this file: see `gateway.cli`; what is heavy is imported inside the command that needs it.
- Nothing is written: not into the configured store, and nowhere else. A file is told of without a store, too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.common import ConfigOption, JsonOption, fail, instant, one_line, opening_store, settings_of
from gateway.commands.invites import invite_json
from gateway.commands.pals import new_pal

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gateway.pals import Pal
    from gateway.preview import Change, Weighed
    from gateway.settings import Settings
    from gateway.store import InviteRow
    from gateway.store_outbox import LetterRow
    from gateway.trial import File, Trial
    from scheduler.joins import Join

STAND_IN = "anna@invite.example.com"  # who is invited where there is no PAL at all
MOST_MAILS = 20  # about one event
SUFFIXES = (".eml", ".ics")


def explain(
    names: Annotated[
        list[str],
        typer.Argument(metavar="FILE|ID…", help="A mail (.eml), a calendar file (.ics), or an id as in invites list."),
    ],
    now: Annotated[
        datetime | None,
        typer.Option(parser=instant, metavar="T", help="The instant at which a file arrives. [default: now]"),
    ] = None,
    pal: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="Whom a file is for; it need not exist. [default: whom the file names]"),
    ] = None,
    edit: Annotated[
        Path | None, typer.Option(metavar="OTHER", help="What this file would change once the first was taken.")
    ] = None,
    online: Annotated[
        bool, typer.Option("--online", help="Ask DNS who sent a mail, as for one that comes in.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell why a mail was decided as it was, and what became of it; or what a file would do, and nothing is written.

    Example: pal-gateway explain samples/google/01-new.eml --edit samples/google/03-rescheduled.eml
    """
    if edit is not None and (len(names) > 1 or not _is_file(names[0])):
        fail("--edit goes with one file.", 2)
    good = True
    for name in names:
        if _is_file(name):
            good &= _explain_file(Path(name), edit, pal or [], now, online=online, config=config, as_json=as_json)
        else:
            _explain_id(name, config, as_json=as_json)
    if not good:
        raise typer.Exit(1)


def _is_file(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES or Path(name).is_file()


def _explain_id(name: str, config: Path | None, *, as_json: bool) -> None:
    from gateway import store
    from gateway.store_outbox import answers_to
    from gateway.trial import looking

    url = _store_of(settings_of(config))
    if url is None:
        fail(f"There is no store yet, so nothing was decided under {name}; look at store.url.", 1)
    with opening_store(), looking(url) as connection:
        _check_schema(connection)
        found = store.invites_named(connection, name)
        answers = answers_to(connection, [invite.id for invite, _ in found])
        if not found:
            fail(f"Nothing was decided under {name}; see pal-gateway invites list.", 1)
        for invite, address in found:
            _tell(connection, invite, address or invite.pal_id, answers.get(invite.id, []), as_json=as_json)


def _tell(
    connection: Connection, invite: InviteRow, called: str, answers: Sequence[LetterRow], *, as_json: bool
) -> None:
    """The story of one decision, from the mail to what became of its joins."""
    import scheduler.journal
    import scheduler.store
    from gateway import store, store_page
    from gateway.explain import join_lines, other_lines, story
    from gateway.preview import SHOWN
    from gateway.store_calls import heard_of
    from scheduler.joins import JoinState

    uid = invite.uid or ""
    joins = scheduler.store.load_joins(connection, invite.pal_id, uid, locked=False) if uid else ()
    ids = [join.id for join in joins]
    heard, journal = heard_of(connection, ids), scheduler.journal.history_of(connection, ids)
    history = {join_id: [vars(one) for one in entries] for join_id, entries in journal.items()}
    raw = store_page.letters_raw(connection, [one.id for one in answers])
    replies = [vars(one) | {"raw": raw.get(one.id, b"")} for one in answers]
    others = store_page.other_invites(connection, invite.pal_id, uid, MOST_MAILS) if uid else []
    others = [one for one in others if one.id != invite.id]
    title = store_page.titles(connection, {(invite.pal_id, uid)}).get((invite.pal_id, uid))
    mail = store_page.mail_head(connection, invite.mail_id)
    if as_json:
        joined = [_join_json(join, history[join.id], heard.get(join.id, [])) for join in joins]
        typer.echo(_story_json(invite, called, title, mail, list(zip(answers, replies, strict=True)), others, joined))
        return
    pal = store.pal_with_id(connection, invite.pal_id)
    has_allowlist = bool(pal.allowlist) if pal is not None else None
    known = {**vars(invite), "title": title, "mail": mail, "has_allowlist": has_allowlist}
    lines = story(known, called, replies)
    waiting = [join for join in joins if join.state is JoinState.PLANNED and not join.attempt]
    shown = [join for join in joins if join not in waiting[SHOWN:]]
    for join in shown:
        lines += join_lines(join, heard.get(join.id, []), history[join.id])
    lines += [f"and {len(joins) - len(shown)} more that are planned"] if len(shown) < len(joins) else []
    lines += other_lines([vars(one) for one in others])
    typer.echo("\n".join(lines))


def _story_json(
    invite: InviteRow,
    called: str,
    title: str | None,
    mail: dict[str, Any],
    answers: Sequence[tuple[LetterRow, dict[str, Any]]],
    others: Sequence[InviteRow],
    joins: Sequence[dict[str, Any]],
) -> str:
    """The documented form of `explain ID --json`."""
    from gateway.explain import instant_text
    from gateway.replay import answer_json

    replies = [answer_json(one) | {"raw": sent["raw"].decode("utf-8", "replace")} for one, sent in answers]
    beside = [
        {"id": one.id, "decided_at": instant_text(one.decided_at), "verdict": one.verdict, "reason": one.reason}
        | {"sender": one.sender}
        for one in others
    ]
    came = {"received_at": instant_text(mail["received_at"]), "message_id": mail["message_id"] or None}
    return invite_json(invite, called, title=title, mail=came, replies=replies, joins=joins, other_invites=beside)


def _join_json(join: Join, history: Sequence[dict[str, Any]], heard: Sequence[tuple[str, datetime]]) -> dict[str, Any]:
    from gateway.explain import history_json, join_json, lateness, tried

    return {
        **join_json(join),
        "join_id": join.id,
        "reason": join.reason,
        "attempts": tried(join, history),
        "late": lateness(history),
        "history": history_json(history),
        "callbacks": [_callback_json(*one) for one in heard],
    }


def _callback_json(event_type: str, at: datetime) -> dict[str, Any]:
    from gateway.explain import instant_text

    return {"event_type": event_type, "received_at": instant_text(at)}


def _explain_file(
    path: Path,
    edit: Path | None,
    addresses: list[str],
    now: datetime | None,
    *,
    online: bool,
    config: Path | None,
    as_json: bool,
) -> bool:
    """Say what a file would do, and an edit after it; False when it reaches nobody."""
    from gateway.logs import configure
    from gateway.preview import changes
    from gateway.trial import Trial, looking
    from scheduler.clock import utc_now

    configure("silent")
    settings = settings_of(config)
    files = [_file(one, settings, now, online=online) for one in (path, edit) if one is not None]
    url = _answering(_store_of(settings))
    with opening_store(), looking(url) as connection:
        trial = Trial(connection, settings.desk(), now or utc_now())
        told = [_weighed(trial, file, addresses, settings) for file in files]
    change = changes(told[0], told[1]) if edit is not None else []
    if as_json:
        typer.echo(json.dumps(_as_json(files, told, change, trial.now)))
    else:
        for line in _lines(files, told, change):
            typer.echo(line)
    return all(file.refusal or one for file, one in zip(files, told, strict=True))


def _file(path: Path, settings: Settings, now: datetime | None, *, online: bool) -> File:
    """A file, and with --online who sent it."""
    import asyncio

    from gateway import trial
    from gateway.admission import Admission
    from gateway.resolver import DnsResolver
    from scheduler.clock import utc_now

    try:
        file = trial.opened(path)
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}.", 1)
    if not online:
        return file
    senders = settings.senders
    admission = Admission(DnsResolver(), senders.sender_auth, settings.trust(), senders.dns_seconds)
    return asyncio.run(trial.asked(file, admission, lambda: now or utc_now()))


def _store_of(settings: Settings) -> str | None:
    """The configured store; None where there is none yet."""
    url = settings.store.url
    is_missing = url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists()
    return None if is_missing else url


def _answering(url: str | None) -> str | None:
    """A store that can be asked; None, and a line on stderr, where it cannot. Ends where it is of another release."""
    from sqlalchemy.exc import DatabaseError

    from gateway.trial import looking

    if url is None:
        return None
    try:
        with opening_store(is_needed=False), looking(url) as connection:
            _check_schema(connection)
    except DatabaseError as error:
        why = one_line(str(error.orig))
        typer.echo(f"pal-gateway: The store could not be asked, and this is told without it: {why}", err=True)
        return None
    return url


def _check_schema(connection: Connection) -> None:
    from gateway import store

    schema = store.schema_of(connection)
    if schema != store.HEAD:
        fail(f"{store.not_at_head(schema)}.", 1)


def _weighed(trial: Trial, file: File, addresses: list[str], settings: Settings) -> list[Weighed]:
    from gateway import store
    from gateway.trial import reached

    if file.refusal:
        return []
    pals = reached(trial.connection, file, [new_pal(one, None, None, (), None) for one in addresses])
    if not pals and not store.has_pals(trial.connection):
        pals = [(_stand_in(file, settings), False)]
    return trial.weigh(file, pals)


def _stand_in(file: File, settings: Settings) -> Pal:
    """Who is invited on a machine without PALs: the first address in a domain of ours that could be one's."""
    from gateway.address import domain_of, role_of, without_tag
    from gateway.pals import username_fault
    from gateway.trial import named_in

    domains = settings.mail_domains()
    ours = (without_tag(one) for one in named_in(file) if domain_of(one) in domains and role_of(one) is None)
    named = next((one for one in ours if not username_fault(one.partition("@")[0])), STAND_IN)
    return new_pal(named, None, None, (), None)


def _as_json(
    files: Sequence[File], told: Sequence[Sequence[Weighed]], change: Sequence[Change], now: datetime
) -> dict[str, Any]:
    """The documented form of `explain FILE --json`; `edit` is None without --edit."""
    from gateway.explain import instant_text

    def one(file: File, weighed: Sequence[Weighed]) -> dict[str, Any]:
        return {
            "file": file.name,
            "refused": file.refusal or None,
            "decisions": [decision.as_json() for decision in weighed],
        }

    first, *rest = (one(file, weighed) for file, weighed in zip(files, told, strict=True))
    edit = {**rest[0], "changes": [each.as_json() for each in change]} if rest else None
    return {**first, "arrives_at": instant_text(now), "edit": edit}


def _lines(files: Sequence[File], told: Sequence[Sequence[Weighed]], change: Sequence[Change]) -> list[str]:
    from gateway.explain import printable

    lines: list[str] = []
    for file, weighed in zip(files, told, strict=True):
        lines += [""] if lines else []
        lines.append(f"{printable(file.name)}: nothing is written; this is what would happen")
        if file.refusal:
            lines.append(f"It would be refused at the door: {printable(file.refusal)}")
        elif not weighed:
            lines.append("It reaches no PAL of the store; name one with --pal ADDRESS, which need not exist.")
        elif not file.is_calendar and file.sender is None:
            lines.append("Who sent it was not looked at, and its From is believed; --online asks DNS.")
        lines += [line for one in weighed for line in one.as_lines()]
    for each in change:
        lines += each.as_lines()
    return lines
