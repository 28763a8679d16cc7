"""The commands: those that belong to no group, and the groups of `gateway.commands`. A door.

Rules of this file:
- Parse the words, call, print; what is heavy is imported inside the command that needs it, so `--help` is quick.
- Exit 0: done; 1: a file or a thing that is not there; 2: wrong usage or settings. One sentence, with the mend.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gateway import __version__
from gateway.commands import config, db, invites, joins, keys, mails, outbox, pals, quarantine, webhooks
from gateway.commands.common import ConfigOption, JsonOption, fail, instant, opened, opening_store, settings_of
from gateway.commands.doctor import doctor
from gateway.commands.explain import explain
from gateway.commands.pals import new_pal
from gateway.commands.progress import Progress, progress

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from gateway.pals import Pal
    from gateway.replay import Shown

DEMO_ADDRESS = "anna@invite.example.com"

app = typer.Typer(
    name="pal-gateway",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(pals.app, name="pals")
app.add_typer(mails.app, name="mails")
app.add_typer(joins.app, name="joins")
app.add_typer(invites.app, name="invites")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(keys.app, name="keys")
app.add_typer(outbox.app, name="outbox")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(db.app, name="db")
app.add_typer(config.app, name="config")
app.command()(explain)
app.command()(doctor)


def _version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"pal-gateway {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version, and end.")
    ] = False,
) -> None:
    """The calendar-invite gateway for PALs: invite an AI agent by e-mail, and it is in the call on time.

    Example: pal-gateway demo
    """


def main() -> None:
    """Run the command line."""
    for word in sys.argv[1:]:
        if not _is_text(word) and not os.path.lexists(word):
            print(f"pal-gateway: {word!a} is not UTF-8.", file=sys.stderr)
            sys.exit(2)
    try:
        app()
    except SystemExit:
        _flush()
        raise
    except OSError as error:
        _unwritten(error)


def _is_text(word: str) -> bool:
    return word.encode("utf-8", "replace").decode() == word


def _flush() -> None:
    """What was said is written now: afterwards nobody could be told that it cannot be."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _unwritten(error)


def _unwritten(error: OSError) -> NoReturn:
    print(f"pal-gateway: The output cannot be written: {error.strerror}.", file=sys.stderr)
    os._exit(1)  # without a flush, which would fail once more


@app.command()
def serve(
    config: ConfigOption = None,
    role: Annotated[
        str | None,
        typer.Option(
            metavar="ROLE,…", help="What this process does: smtp, http, scheduler. [default: all]", show_default=False
        ),
    ] = None,
) -> None:
    """Run the gateway until it is told to stop (Ctrl-C, SIGTERM).

    Example: pal-gateway serve --config gateway.toml --role smtp,http
    """
    from gateway.app import serve as run

    with opening_store():
        run(settings_of(config, role))


@app.command()
def readyz(config: ConfigOption = None) -> None:
    """Ask the gateway on this machine whether it can do its work now; for the health checks of containers.

    It is asked at metrics.host and metrics.port where they are set, otherwise at http.host and http.port.

    Example: pal-gateway readyz
    """
    from gateway.asking import readiness

    said, is_ready = readiness(settings_of(config))
    typer.echo(said, err=not is_ready)
    raise typer.Exit(0 if is_ready else 1)


@app.command()
def demo(
    config: ConfigOption = None,
    stay: Annotated[bool, typer.Option("--stay", help="Go on serving until Ctrl-C.")] = False,
) -> None:
    """Show the main path: a mail to the demo PAL, its reply, and its join at the built-in sandbox platform.

    Nothing leaves this machine; with a platform or a relay in the settings it is refused.

    Example: pal-gateway demo
    """
    from gateway.demo import demo as run

    with opening_store():
        raise typer.Exit(run(settings_of(config), stay=stay))


@app.command()
def replay(
    paths: Annotated[list[Path], typer.Argument(help="Mails (.eml), calendar files (.ics), or folders of them.")],
    now: Annotated[
        datetime | None,
        typer.Option(parser=instant, metavar="T", help="The instant at which they arrive. [default: now]"),
    ] = None,
    pal: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help=f"Who is invited. [default: {DEMO_ADDRESS}]")
    ] = None,
    allow: Annotated[list[str] | None, typer.Option(metavar="ENTRY", help="An allowlist entry of these PALs.")] = None,
    store: Annotated[
        str | None, typer.Option(metavar="URL", help="Keep the story here, to go on with it. [default: throwaway]")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3660, help="How many days of joins to plan and show.")] = 60,
    zone: Annotated[
        str | None, typer.Option(metavar="NAME", help="Time zone of these PALs, for events without one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Play mails and calendar files through the same desk as the mail server, in the order given; nothing is sent.

    Example: pal-gateway replay --now 2026-03-01T08:00:00Z samples/google
    """
    from gateway import replay as player
    from gateway.decide import Desk
    from gateway.intake import Intake, StoreAway
    from gateway.logs import configure
    from scheduler.clock import utc_now
    from scheduler.joins import Policy

    configure("silent")
    horizon = timedelta(days=days)
    with opened(store or "sqlite:///:memory:") as engine:
        intake = Intake(engine, Desk(scheduling=Policy(horizon=horizon)))
        invited = _replay_pals(engine, pal or [], tuple(allow or ()), zone)
        try:
            with progress("files", at_least=20, ends=False) as shown:
                unread = not _replay_paths(
                    paths,
                    lambda one: player.play(intake, engine, one, invited, now or utc_now(), horizon),
                    shown,
                    as_json=as_json,
                )
        except StoreAway as error:
            fail(f"The store cannot be written: {error}.", 1)
    if unread:
        raise typer.Exit(1)


def _replay_paths(paths: list[Path], play: Callable[[Path], list[Shown]], shown: Progress, *, as_json: bool) -> bool:
    """Play files, and the files of folders; False when one could not be read, which is said."""
    found = [_files_of(path) for path in paths]
    total, done, good = sum(len(some) for some in found if some), 0, None not in found
    for some in found:
        for one in some or ():
            good &= _replay_file(one, play, shown, as_json=as_json)
            done += 1
            shown.tell("replay", done, total)
    return good


def _files_of(path: Path) -> list[Path] | None:
    """The files to play, None when that cannot be said; which is said."""
    from gateway.replay import files

    try:
        found = list(files(path))
    except OSError as error:
        typer.echo(f"pal-gateway: {error.filename or path} cannot be read: {error.strerror}.", err=True)
        return None
    if not found:
        typer.echo(f"pal-gateway: there is no .eml or .ics file in {path}.", err=True)
    return found


def _replay_file(path: Path, play: Callable[[Path], list[Shown]], shown: Progress, *, as_json: bool) -> bool:
    """Play a file and say what came of it; False when it could not be read, which is said."""
    try:
        played = play(path)
    except OSError as error:
        typer.echo(f"pal-gateway: {error.filename or path} cannot be read: {error.strerror}.", err=True)
        return False
    for line in played:
        shown.say(json.dumps(line.as_json()) if as_json else line.as_text())
    if not played:
        typer.echo(f"pal-gateway: {path} is for none of the PALs; name one of its attendees with --pal.", err=True)
    return True


def _replay_pals(engine: Engine, addresses: list[str], allowlist: tuple[str, ...], zone: str | None) -> list[Pal]:
    """The PALs of a replay: those named, else those of the store, else the demo's; unknown ones are added to it."""
    from gateway import store
    from scheduler.clock import utc_now

    with engine.begin() as connection:
        known = {one.address: one for one in store.all_pals(connection)}
        if not addresses:
            addresses = list(known) or [DEMO_ADDRESS]
        pals = list({one.address: one for one in (new_pal(a, None, None, allowlist, zone) for a in addresses)}.values())
        for one in pals:
            if one.address not in known:
                store.add_pal(connection, one, utc_now())
    return [known.get(one.address, one) if not (allowlist or zone) else one for one in pals]


@app.command()
def occurrences(
    path: Annotated[Path, typer.Argument(metavar="FILE.ics", help="A calendar file.")],
    after: Annotated[
        datetime | None, typer.Option("--from", parser=instant, metavar="T", help="[default: its first DTSTART]")
    ] = None,
    before: Annotated[
        datetime | None, typer.Option("--to", parser=instant, metavar="T", help="[default: a year after --from]")
    ] = None,
    zone: Annotated[str | None, typer.Option(metavar="NAME", help="Time zone for events that name none.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List when the events of a file occur, by the scheduler's own reckoning; cancelled dates are left out.

    Example: pal-gateway occurrences --from 2026-03-01T00:00:00Z samples/calendars/weekly.ics
    """
    from gateway.replay import occurrences_of, read_events
    from scheduler.clock import utc_now

    pal = new_pal(DEMO_ADDRESS, None, None, (), zone)
    try:
        events, faults = read_events(path.read_bytes(), pal, utc_now())
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}.", 1)
    for row in occurrences_of(events, after, before):
        typer.echo(json.dumps(row) if as_json else f"{row['starts']}  {row['ends']}  {row['url'] or '(no link)'}")
    if faults:
        fail(faults[0], 1)
