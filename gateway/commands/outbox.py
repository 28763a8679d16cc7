"""`pal-gateway outbox`: what became of answers. A door.

Rules of this file: see `gateway.cli`; what is heavy is imported inside the command that needs it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.common import ConfigOption, JsonOption, fail, opened, printable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gateway.store_outbox import LetterRow

app = typer.Typer(
    help="Answers to organizers: what became of them. Example: pal-gateway outbox list",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_(
    state: Annotated[
        list[str] | None, typer.Option(metavar="STATE", help="Only in this state; may be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 100,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the answers, the newest first, with what the relay or a bounce said.

    Example: pal-gateway outbox list --state failed --state undeliverable
    """
    from gateway import store
    from gateway.replay import answer_json
    from gateway.store_outbox import LetterState, find_letters

    for one in state or []:
        if one not in list(LetterState):
            fail(f"{one!r} is not a state of an answer; they are {', '.join(LetterState)}.", 2)
    with opened(None, config) as engine, engine.connect() as connection:
        called = {one.id: one.address for one in store.all_pals(connection)}
        for letter in find_letters(connection, state or [], limit):
            pal = called.get(letter.pal_id, letter.pal_id)
            typer.echo(json.dumps({**answer_json(letter), "pal": pal}) if as_json else _letter_line(letter, pal))


@app.command("retry")
def retry(
    letter_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Its id, as in outbox list.", show_default=False)
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that are failed or undeliverable.")] = False,
    config: ConfigOption = None,
) -> None:
    """Send answers again that did not arrive: the same mails, with the same Message-ID.

    What a later answer has followed is left out. Example: pal-gateway outbox retry --failed
    """
    from gateway.store_outbox import queue_again
    from scheduler.clock import utc_now

    if failed == (letter_id is not None):
        fail("Name an answer, as in outbox list, or write --failed for all that did not arrive.", 2)
    with opened(None, config) as engine, engine.begin() as connection:
        queued = queue_again(connection, letter_id, utc_now())
        fault = _why_not(connection, letter_id) if letter_id is not None and not queued else None
    if fault is not None:
        fail(fault, 1)
    typer.echo(f"{queued} {'answer is' if queued == 1 else 'answers are'} sent again by the gateway that serves.")


def _why_not(connection: Connection, letter_id: str) -> str:
    """Why an answer is not sent again."""
    from gateway.store_outbox import LOST, find_letter

    letter = find_letter(connection, letter_id)
    if letter is None:
        return f"There is no answer {letter_id}; see pal-gateway outbox list."
    if letter.state not in LOST:
        return f"{letter_id} is {letter.state}; only what is {' or '.join(LOST)} is sent again."
    return f"{letter_id} is not sent again: a later answer to the same event has followed it."


def _letter_line(letter: LetterRow, pal: str) -> str:

    since = letter.settled_at or letter.created_at
    date = f" for {letter.recurrence_id:%Y-%m-%d %H:%M} UTC" if letter.recurrence_id else ""
    line = (
        f"{letter.id}  {since:%Y-%m-%d %H:%M} UTC  {letter.state}  {pal} {letter.partstat}{date} → {letter.recipient}"
    )
    return "\n  ".join(map(printable, filter(None, (line, letter.error, letter.note))))
