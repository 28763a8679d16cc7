"""The commands. A door.

Rules of this file:
- Parse the words, call, print; what is heavy is imported inside the command that needs it, so `--help` is quick.
- Exit 0: done; 1: a file or a thing that is not there; 2: wrong usage or settings. One sentence, with the mend.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gateway.address import Role

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from gateway.config import Settings
    from gateway.keys import Key
    from gateway.pals import Pal
    from gateway.replay import Shown
    from gateway.store import InviteRow, MailRow
    from scheduler.joins import Join

DEMO_ADDRESS = "anna@invite.example.com"

app = typer.Typer(
    name="pal-gateway",
    help="""The calendar-invite gateway for PALs: invite an AI agent by e-mail, and it is in the call on time.

    Example: pal-gateway demo
    """,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
pals_app = typer.Typer(
    help="PALs: who can be invited, and by whom. Example: pal-gateway pals list",
    no_args_is_help=True,
    rich_markup_mode=None,
)
joins_app = typer.Typer(
    help="Joins: where PALs will be, and were. Example: pal-gateway joins list",
    no_args_is_help=True,
    rich_markup_mode=None,
)
invites_app = typer.Typer(
    help="Invitations: what was decided on them, and who sent them. Example: pal-gateway invites list",
    no_args_is_help=True,
    rich_markup_mode=None,
)
keys_app = typer.Typer(
    help="API keys: who may ask over HTTP. Example: pal-gateway keys list",
    no_args_is_help=True,
    rich_markup_mode=None,
)
mails_app = typer.Typer(
    help="Mails as they came, those to postmaster@ and abuse@ too. Example: pal-gateway mails list",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(pals_app, name="pals")
app.add_typer(mails_app, name="mails")
app.add_typer(joins_app, name="joins")
app.add_typer(invites_app, name="invites")
app.add_typer(keys_app, name="keys")

ConfigOption = Annotated[
    Path | None, typer.Option("--config", envvar="GATEWAY_CONFIG", help="The settings file (TOML).", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]


def main() -> None:
    """Run the command line."""
    app()


def fail(sentence: str, code: int) -> NoReturn:
    """End with one sentence on stderr."""
    typer.echo(f"pal-gateway: {sentence}", err=True)
    raise typer.Exit(code)


def instant(text: str) -> datetime:
    """An ISO 8601 instant with its offset, such as 2026-03-02T09:00:00Z."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        value = None
    if value is None or value.tzinfo is None:
        raise typer.BadParameter(f"{text!r} is not an instant; write it like 2026-03-02T09:00:00Z.")
    if not 1970 <= value.year <= 2999:
        raise typer.BadParameter(f"{text!r} is outside the years 1970 to 2999.")
    return value.astimezone(UTC)


def _settings(path: Path | None) -> Settings:
    from gateway.config import BadConfig, load

    try:
        return load(path)
    except BadConfig as error:
        fail(str(error), 2)


@contextmanager
def _opening_store() -> Iterator[None]:
    """One sentence for a store that cannot be opened."""
    from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError

    try:
        yield
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError):
        fail("store.url is not a store; write sqlite:///PATH or postgresql://USER@HOST/NAME.", 2)
    except DatabaseError as error:
        fail(f"The store cannot be used: {str(error.orig).strip()}; look at store.url.", 2)


@contextmanager
def _store(url: str | None, config: Path | None = None) -> Iterator[Engine]:
    """A migrated store; without a URL the one of the settings."""
    from gateway.app import open_store

    with _opening_store():
        engine = open_store(url or _settings(config).store.url)
        try:
            yield engine
        finally:
            engine.dispose()


@app.command()
def serve(config: ConfigOption = None) -> None:
    """Run the gateway until it is told to stop (Ctrl-C, SIGTERM).

    Example: pal-gateway serve --config gateway.toml
    """
    from gateway.app import CannotStart
    from gateway.app import serve as run

    with _opening_store():
        try:
            run(_settings(config))
        except CannotStart as error:
            fail(str(error), 2)


@app.command()
def demo(
    config: ConfigOption = None,
    stay: Annotated[bool, typer.Option("--stay", help="Go on serving until Ctrl-C.")] = False,
) -> None:
    """Show the main path: a mail to the demo PAL, its reply, and its join at the built-in sandbox platform.

    Example: pal-gateway demo
    """
    from gateway.demo import demo as run

    raise typer.Exit(run(_settings(config), stay=stay))


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
    with _store(store or "sqlite:///:memory:") as engine:
        intake = Intake(engine, Desk(scheduling=Policy(horizon=horizon)))
        invited = _replay_pals(engine, pal or [], tuple(allow or ()), zone)
        unread = False
        try:
            for path in paths:
                unread |= not _replay_path(
                    path, lambda one: player.play(intake, engine, one, invited, now or utc_now(), horizon), as_json
                )
        except StoreAway as error:
            fail(f"The store cannot be written: {error}.", 1)
    if unread:
        raise typer.Exit(1)


def _replay_path(path: Path, play: Callable[[Path], list[Shown]], as_json: bool) -> bool:
    """Play a file, or the files of a folder; False when one could not be read, which is said."""
    from gateway.replay import files

    try:
        found = list(files(path))
        for one in found:
            shown = play(one)
            for line in shown:
                typer.echo(json.dumps(line.as_json()) if as_json else line.as_text())
            if not shown:
                typer.echo(
                    f"pal-gateway: {one} is for none of the PALs; name one of its attendees with --pal.", err=True
                )
    except OSError as error:
        typer.echo(f"pal-gateway: {error.filename or path} cannot be read: {error.strerror}.", err=True)
        return False
    if not found:
        typer.echo(f"pal-gateway: there is no .eml or .ics file in {path}.", err=True)
    return True


def _replay_pals(engine: Engine, addresses: list[str], allowlist: tuple[str, ...], zone: str | None) -> list[Pal]:
    """The PALs of a replay: those named, else those of the store, else the demo's; unknown ones are added to it."""
    from gateway import store
    from scheduler.clock import utc_now

    with engine.begin() as connection:
        known = {one.address: one for one in store.all_pals(connection)}
        if not addresses:
            addresses = list(known) or [DEMO_ADDRESS]
        pals = list(
            {one.address: one for one in (_new_pal(a, None, None, allowlist, zone) for a in addresses)}.values()
        )
        for one in pals:
            if one.address not in known:
                store.add_pal(connection, one, utc_now())
    return [known.get(one.address, one) if not (allowlist or zone) else one for one in pals]


def _new_pal(address: str, name: str | None, face: str | None, allowlist: tuple[str, ...], zone: str | None) -> Pal:
    """A PAL from words of the command line; wrong ones end the command."""
    from gateway.address import normal
    from gateway.pals import Pal, allowlist_fault, pal_id, username_fault
    from scheduler.zones import iana_names

    comparable = normal(address)
    local = comparable.partition("@")[0]
    if not comparable:
        fail(f"{address!r} is not an e-mail address.", 2)
    fault = username_fault(local) or allowlist_fault(allowlist)
    if fault is not None:
        fail(fault, 2)
    _check_words(("A name", "-" if name is None else name))
    if zone is not None and zone not in iana_names():
        fail(f"{zone!r} is not a time zone; write one like Europe/Berlin.", 2)
    return Pal(pal_id(comparable), name or local.capitalize(), comparable, face or "sandbox-face", allowlist, zone)


def _check_words(*words: tuple[str, str]) -> None:
    """End the command when what a word is called (such as "A name") is not followed by what can be kept."""
    for word, text in words:
        if not text.strip() or not text.isprintable() or len(text) > 200:
            fail(f"{word} has 1 to 200 printable characters.", 2)


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

    pal = _new_pal(DEMO_ADDRESS, None, None, (), zone)
    try:
        events, faults = read_events(path.read_bytes(), pal, utc_now())
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}.", 1)
    for row in occurrences_of(events, after, before):
        typer.echo(json.dumps(row) if as_json else f"{row['starts']}  {row['ends']}  {row['url'] or '(no link)'}")
    if faults:
        fail(faults[0], 1)


@pals_app.command("add")
def pals_add(
    address: Annotated[str, typer.Argument(help="Its e-mail address in its account's domain.")],
    name: Annotated[str | None, typer.Option(help="Its name. [default: from the address]")] = None,
    face: Annotated[str | None, typer.Option(help="The face_id it joins with.")] = None,
    allow: Annotated[
        list[str] | None, typer.Option(metavar="ENTRY", help="Who may invite it. [default: anyone]")
    ] = None,
    zone: Annotated[str | None, typer.Option(metavar="NAME", help="Time zone for events that name none.")] = None,
    account: Annotated[str, typer.Option(metavar="NAME", help="The account that it belongs to.")] = "default",
    config: ConfigOption = None,
) -> None:
    """Add a PAL, so that it can be invited.

    Example: pal-gateway pals add anna@invite.example.com --face r90bbd427f71 --allow '.*@acme\\.com'
    """
    from sqlalchemy.exc import IntegrityError

    from gateway import store
    from gateway.address import domain_of
    from gateway.intake import fresh_id
    from scheduler.clock import utc_now

    settings = _settings(config)
    # A fresh id: the PAL that had this address before it was renamed keeps its own.
    pal = replace(_new_pal(address, name, face, tuple(allow or ()), zone), id=fresh_id("p"), account=account)
    _check_words(("An account", account))
    domain = settings.mail_domains().of(account)
    if domain_of(pal.address) != domain:
        of = f"account {account} (setting domains)" if account in settings.domains else "this gateway (setting domain)"
        fail(f"{pal.address} is not in {domain}, the domain of {of}.", 2)
    with _store(settings.store.url) as engine:
        try:
            with engine.begin() as connection:
                store.add_pal(connection, pal, utc_now())
        except IntegrityError:
            fail(f"{pal.address} is taken; choose another.", 1)
    typer.echo(f"{pal.name} can now be invited at {pal.address}.")


@pals_app.command("list")
def pals_list(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List all PALs.

    Example: pal-gateway pals list
    """
    from gateway import store

    with _store(None, config) as engine, engine.connect() as connection:
        for pal in store.all_pals(connection):
            typer.echo(_pal_line(pal, as_json))


@pals_app.command("show")
def pals_show(
    address: Annotated[str, typer.Argument(help="Its e-mail address.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one PAL and what it will attend.

    Example: pal-gateway pals show anna@invite.example.com
    """
    import scheduler.store

    with _store(None, config) as engine, engine.connect() as connection:
        pal = _known_pal(connection, address)
        typer.echo(_pal_line(pal, as_json))
        if not as_json:
            for join in scheduler.store.find_joins(connection, pal_id=pal.id, states=["planned"], limit=20):
                typer.echo("  " + _join_line(join))


@pals_app.command("remove")
def pals_remove(
    address: Annotated[str, typer.Argument(help="Its e-mail address.")], config: ConfigOption = None
) -> None:
    """Remove a PAL; what it was going to attend is cancelled, running calls are left, its organizers are told.

    Example: pal-gateway pals remove anna@invite.example.com
    """
    from gateway import regrets, store
    from gateway.logs import configure
    from scheduler.clock import utc_now

    settings = _settings(config)
    configure("silent")
    with _store(settings.store.url) as engine, engine.begin() as connection:
        pal = _known_pal(connection, address)
        dropped = regrets.release(connection, pal, utc_now(), settings.scheduling())
        store.remove_pal(connection, pal.id)
    typer.echo(f"{pal.address} cannot be invited any more; {dropped} joins were cancelled.")


@joins_app.command("list")
def joins_list(
    pal: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Only this PAL's.")] = None,
    state: Annotated[
        list[str] | None, typer.Option(metavar="STATE", help="Only in this state; may be repeated.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List joins, by start.

    Example: pal-gateway joins list --pal anna@invite.example.com --state planned
    """
    import scheduler.store
    from gateway import store
    from gateway.replay import join_json
    from scheduler.joins import JoinState

    for one in state or []:
        if one not in list(JoinState):
            fail(f"{one!r} is not a state of a join; they are {', '.join(JoinState)}.", 2)
    with _store(None, config) as engine, engine.connect() as connection:
        pal_id = _known_pal(connection, pal).id if pal else None
        called = {one.id: one.address for one in store.all_pals(connection)}
        for join in scheduler.store.find_joins(connection, pal_id=pal_id, states=state or []):
            address = called.get(join.pal_id, join.pal_id)
            row = {"id": join.id, "pal": address, **join_json(join), "reason": join.reason}
            typer.echo(json.dumps(row) if as_json else f"{_join_line(join)}  {address}")


@mails_app.command("list")
def mails_list(
    role: Annotated[
        Role | None, typer.Option(help="Only those to this address of yours, which no PAL has. [default: all mails]")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the mails that came, the newest first.

    Example: pal-gateway mails list --role postmaster
    """
    from gateway import store

    with _store(None, config) as engine, engine.connect() as connection:
        for mail in store.find_mails(connection, role, limit):
            typer.echo(_mail_line(mail, as_json))


@mails_app.command("show")
def mails_show(
    mail_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, as in mails list.")],
    config: ConfigOption = None,
) -> None:
    """Show the header of a mail.

    Example: pal-gateway mails show m0123456789abcdef0123
    """
    from gateway import store

    with _store(None, config) as engine, engine.connect() as connection:
        mail = store.load_mail(connection, mail_id)
    if mail is None:
        fail(f"There is no mail {mail_id}; see pal-gateway mails list.", 1)
    typer.echo(_mail_line(mail, False))
    header = mail.raw.partition(b"\r\n\r\n")[0]
    for line in header.decode("utf-8", "replace").split("\r\n"):
        typer.echo("  " + _printable(line))


def _mail_line(mail: MailRow, as_json: bool) -> str:
    from gateway.replay import instant_text

    received = instant_text(mail.received_at)
    if as_json:
        row = {"id": mail.id, "received_at": received, "mail_from": mail.mail_from, "size": len(mail.raw)}
        return json.dumps({**row, "recipients": list(mail.recipients), "message_id": mail.message_id})
    sender, recipients = _printable(mail.mail_from) or "<>", _printable(", ".join(mail.recipients))
    return f"{mail.id}  {received}  {sender} → {recipients}  {len(mail.raw)} bytes"


def _printable(text: str) -> str:
    """What a terminal does not take for commands to itself."""
    return "".join(char if char.isprintable() or char == "\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


@invites_app.command("list")
def invites_list(
    pal: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Only this PAL's.")] = None,
    verdict: Annotated[str | None, typer.Option(metavar="VERDICT", help="Only those decided like this.")] = None,
    confirmations: Annotated[
        bool, typer.Option("--confirmations", help="Only Google's questions whether mail may be forwarded to a PAL.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 100,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was decided, the newest first.

    Example: pal-gateway invites list --pal anna@invite.example.com --verdict rejected
    """
    from gateway import store
    from gateway.verdict import Verdict

    if verdict is not None and verdict not in list(Verdict):
        fail(f"{verdict!r} is not a verdict; they are {', '.join(Verdict)}.", 2)
    with _store(None, config) as engine, engine.connect() as connection:
        pal_id = _known_pal(connection, pal).id if pal else None
        called = {one.id: one.address for one in store.all_pals(connection)}
        found = store.find_invites(connection, pal_id=pal_id, verdict=verdict, confirmations=confirmations, limit=limit)
        for invite in found:
            address = called.get(invite.pal_id, invite.pal_id)
            typer.echo(_invite_json(invite, address) if as_json else _invite_line(invite, address))


@app.command()
def explain(
    name: Annotated[str, typer.Argument(metavar="ID", help="Of a decision or of a mail, as in invites list.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell why a mail was decided as it was: who sent it and how that was found out, who let it in, which link counts.

    Example: pal-gateway explain m0123456789abcdef0123
    """
    from gateway import store
    from gateway.explain import story

    with _store(None, config) as engine, engine.connect() as connection:
        found = store.invites_named(connection, name)
    if not found:
        fail(f"Nothing was decided under {name}; see pal-gateway invites list.", 1)
    for invite, address in found:
        called = address or invite.pal_id
        typer.echo(_invite_json(invite, called) if as_json else "\n".join(story(vars(invite), called)))


@keys_app.command("create")
def keys_create(
    account: Annotated[
        str, typer.Option(metavar="NAME", help="The account whose PALs it opens; a new name is a new one.")
    ],
    name: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.")] = "",
    allow_ip: Annotated[
        list[str] | None, typer.Option(metavar="CIDR", help="Where it may be used from. [default: anywhere]")
    ] = None,
    expires: Annotated[
        datetime | None, typer.Option(parser=instant, metavar="T", help="Until when. [default: for ever]")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Create an API key and print it, once: what is kept of it is a hash.

    Example: pal-gateway keys create --account acme --name laptop --allow-ip 10.0.0.0/8 --expires 2027-01-01T00:00:00Z
    """
    from secrets import token_urlsafe

    from gateway import store
    from gateway.intake import fresh_id
    from gateway.keys import Key, digest, network_fault
    from scheduler.clock import utc_now

    now, networks = utc_now(), tuple(allow_ip or ())
    _check_words(("An account", account), ("A name", name or "-"))
    fault = next(filter(None, map(network_fault, networks)), None)
    if fault is None and expires is not None and expires <= now:
        fault = "A key that has expired already opens nothing; --expires is to be ahead."
    if fault is not None:
        fail(fault, 2)
    secret = "pg_" + token_urlsafe(32)
    key = Key(fresh_id("k"), account, digest(secret), name, networks, now, expires)
    with _store(None, config) as engine, engine.begin() as connection:
        store.add_key(connection, key)
    typer.echo(secret)
    typer.echo(f"This is key {key.id} of {account}; it is not shown again.", err=True)


@keys_app.command("list")
def keys_list(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List all API keys, without what they open with.

    Example: pal-gateway keys list
    """
    from gateway import store
    from scheduler.clock import utc_now

    now = utc_now()
    with _store(None, config) as engine, engine.connect() as connection:
        for key in store.all_keys(connection):
            typer.echo(_key_line(key, now, as_json))


@keys_app.command("revoke")
def keys_revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, as in keys list.")], config: ConfigOption = None
) -> None:
    """Let a key open nothing from now on.

    Example: pal-gateway keys revoke k0123456789abcdef0123
    """
    from gateway import store
    from scheduler.clock import utc_now

    with _store(None, config) as engine, engine.begin() as connection:
        revoked = store.revoke_key(connection, key_id, utc_now())
    if not revoked:
        fail(f"There is no key {key_id} that opens anything; see pal-gateway keys list.", 1)
    typer.echo(f"{key_id} opens nothing any more.")


def _key_line(key: Key, now: datetime, as_json: bool) -> str:
    from gateway.replay import instant_text

    expires, revoked = instant_text(key.expires_at), instant_text(key.revoked_at)
    if as_json:
        row = {"id": key.id, "account": key.account, "name": key.name, "networks": list(key.networks)}
        created = instant_text(key.created_at)
        return json.dumps({**row, "created_at": created, "expires_at": expires, "revoked_at": revoked})
    until = f"{'until' if key.is_valid(now) else 'expired'} {expires}" if expires else "for ever"
    until = f"revoked {revoked}" if revoked else until
    named = f" ({key.name})" if key.name else ""
    return f"{key.id}  {key.account}{named}  from {', '.join(key.networks) or 'anywhere'}  {until}"


def _known_pal(connection: Connection, address: str) -> Pal:
    from gateway import store
    from gateway.address import normal

    pal = store.find_pal(connection, normal(address))
    if pal is None:
        fail(f"There is no PAL {address}; see pal-gateway pals list.", 1)
    return pal


def _pal_line(pal: Pal, as_json: bool) -> str:
    if as_json:
        return json.dumps(
            {
                "pal_id": pal.id,
                "pal_name": pal.name,
                "conferencing_email": pal.address,
                "default_face_id": pal.face_id,
                "allowlist": list(pal.allowlist),
                "zone": pal.zone,
            }
        )
    return f"{pal.address}  {pal.name}  invited by {', '.join(pal.allowlist) or 'anyone'}"


def _invite_json(invite: InviteRow, address: str) -> str:
    from gateway.replay import instant_text

    return json.dumps({**vars(invite), "pal": address, "decided_at": instant_text(invite.decided_at)})


def _invite_line(invite: InviteRow, address: str) -> str:
    reason = f" ({invite.reason})" if invite.reason else ""
    line = f"{invite.id}  {invite.decided_at:%Y-%m-%d %H:%M} UTC  {address}  {invite.verdict}{reason}"
    line += f"  from {invite.sender or 'nobody'}"
    if invite.authentication is not None:
        line += f", {'verified' if invite.authentication['auth_id'] else 'not verified'}"
    if invite.confirmation is not None:
        asks = invite.confirmation
        line += f"\n  {asks['mailbox']} wants to forward its mail here: code {asks['code']}, or open {asks['link']}"
    return line


def _join_line(join: Join) -> str:
    reason = f" ({join.reason})" if join.reason else ""
    return f"{join.id}  {join.starts:%Y-%m-%d %H:%M} UTC  {join.state}{reason}  {join.url}"
