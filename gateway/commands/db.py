"""`pal-gateway db`: the store itself: its schema, whether it is whole, and its move to another one. A door.

Rules of this file: see `gateway.cli`; what is heavy is imported inside the command that needs it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EEXIST
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from gateway.commands.common import ConfigOption, JsonOption, fail, opened, opening_store, settings_of
from gateway.commands.progress import progress

if TYPE_CHECKING:
    from sqlalchemy import Engine

STDIO = "-"

app = typer.Typer(
    help="The store: its schema, whether it is whole, its move to another one. Example: pal-gateway db check",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("upgrade")
def upgrade(config: ConfigOption = None) -> None:
    """Bring the schema of the store to this release, as serve does at its start.

    Example: pal-gateway db upgrade
    """
    from gateway import store
    from gateway.app import open_store
    from scheduler.database import connect

    url = settings_of(config).store.url
    with opening_store():
        before = ""
        if not _is_missing_file(url):
            with _disposed(connect(url)) as engine, engine.connect() as connection:
                before = store.schema_of(connection)
        if before > store.HEAD:
            fail(f"{store.not_at_head(before)}.", 1)
        with _disposed(open_store(url)):
            pass
    if before == store.HEAD:
        typer.echo(f"The store has schema {before} already.")
    else:
        typer.echo(f"The store was upgraded from {before or 'nothing'} to schema {store.HEAD}.")


@app.command("check")
def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Look whether the store is whole, and whether somebody works on what waits; exit 1 when something is wrong.

    Example: pal-gateway db check
    """
    from gateway.checkup import findings
    from scheduler.clock import utc_now
    from scheduler.database import connect, reading

    url, wrong = settings_of(config).store.url, 0
    if _is_missing_file(url):
        fail(f"There is no store at {url}; pal-gateway db upgrade makes one.", 1)
    with opening_store(), _disposed(reading(url)) as snapshots, _disposed(connect(url)) as engine:
        for one in findings(snapshots, engine, utc_now()):
            wrong += not one.is_good
            if as_json:
                row = {"check": one.check, "ok": one.is_good, "found": one.found, "mend": one.mend or None}
                typer.echo(json.dumps(row))
            else:
                mend = f" → {one.mend}" if one.mend else ""
                typer.echo(f"{'ok   ' if one.is_good else 'WRONG'}  {one.check}: {one.found}{mend}")
    if wrong:
        raise typer.Exit(1)


@app.command("export")
def export(
    path: Annotated[str, typer.Argument(metavar="FILE", help="Where to; - is the standard output.")],
    config: ConfigOption = None,
) -> None:
    """Write every row of the store as JSON lines, as of one instant; the gateway may run meanwhile.

    To move, stop the gateway first, or what comes meanwhile is not in it. It holds mails and secrets.

    Example: pal-gateway db export gateway.jsonl
    """
    from gateway.archive import Unusable, export_to
    from scheduler.clock import utc_now
    from scheduler.database import reading

    url = settings_of(config).store.url
    if _is_missing_file(url):
        fail(f"There is no store at {url}; look at store.url.", 1)
    try:
        with opening_store(), _disposed(reading(url)) as engine, _out(path) as out, progress("rows") as shown:
            rows = export_to(engine, out, utc_now(), shown.tell)
    except Unusable as error:
        fail(f"{error}.", 1)
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}.", 1)
    typer.echo(f"{rows} rows were written. It holds mails and secrets: keep it as safe as the store.", err=True)
    typer.echo("What came since is not in it; to move, the gateway is stopped first.", err=True)


@app.command("import")
def import_(
    path: Annotated[str, typer.Argument(metavar="FILE", help="What db export wrote; - is the standard input.")],
    config: ConfigOption = None,
) -> None:
    """Fill an empty store with an export: all of it, or nothing.

    Example: pal-gateway db import gateway.jsonl
    """
    from gateway.archive import Unusable, import_from

    try:
        with _in(path) as lines, opened(None, config) as engine, progress("rows") as shown:
            rows = import_from(engine, lines, shown.tell)
    except Unusable as error:
        fail(f"{error}. Nothing was imported.", 1)
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}.", 1)
    typer.echo(f"{rows} rows were imported; pal-gateway serve goes on with them.", err=True)


def _is_missing_file(url: str) -> bool:
    """Whether a store is a file that is not there: only upgrade, import and serve make one."""
    return url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists()


@contextmanager
def _disposed(engine: Engine) -> Iterator[Engine]:
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _out(path: str) -> Iterator[IO[bytes]]:
    """Where an export goes: a file that only its owner reads, there when it is whole; or the standard output."""
    if path == STDIO:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if os.path.lexists(path):
        raise FileExistsError(EEXIST, "it is there already; name another file", path)
    partial = Path(path + ".partial")
    partial.unlink(missing_ok=True)
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _in(path: str) -> Iterator[IO[bytes]]:
    if path == STDIO:
        yield sys.stdin.buffer
        return
    with open(path, "rb") as lines:
        yield lines
