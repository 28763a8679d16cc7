"""What the commands have in common: options, the end with one sentence, the store, and a PAL by its address.

Rules of this file: see `gateway.cli`; what is heavy is imported inside the command that needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from gateway.pals import Pal
    from gateway.settings import Settings

ConfigOption = Annotated[
    Path | None, typer.Option("--config", envvar="GATEWAY_CONFIG", help="The settings file (TOML).", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]


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


def settings_of(path: Path | None, roles: str | None = None) -> Settings:
    from gateway.config import BadConfig, load

    try:
        return load(path, roles)
    except BadConfig as error:
        fail(str(error), 2)


@contextmanager
def opening_store(*, is_needed: bool = True) -> Iterator[None]:
    """One sentence for a store that cannot be opened. Where none is needed, DatabaseError says that it does not
    answer."""
    from sqlalchemy.exc import ArgumentError, DatabaseError

    from gateway.advice import NO_STORE
    from gateway.ports import CannotStart
    from gateway.store import NewerSchema

    try:
        yield
    except (NewerSchema, CannotStart) as error:
        fail(str(error), 2)
    except ArgumentError:
        fail(NO_STORE, 2)
    except DatabaseError as error:
        if not is_needed:
            raise
        fail(f"The store cannot be used: {one_line(str(error.orig))}; look at store.url.", 2)


@contextmanager
def opened(url: str | None, config: Path | None = None) -> Iterator[Engine]:
    """A migrated store; without a URL the one of the settings."""
    from gateway.app import open_store

    with opening_store():
        engine = open_store(url or settings_of(config).store.url)
        try:
            yield engine
        finally:
            engine.dispose()


def check_words(*words: tuple[str, str]) -> None:
    """End the command when what a word is called (such as "A name") is not followed by what can be kept."""
    for word, text in words:
        if not text.strip() or not text.isprintable() or len(text) > 200:
            fail(f"{word} has 1 to 200 printable characters.", 2)


def one_line(text: str) -> str:
    """What a server says in several lines, in one."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """What a terminal does not take for commands to itself."""
    return "".join(char if char.isprintable() or char == "\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def known_pal(connection: Connection, address: str) -> Pal:
    from gateway import store
    from gateway.address import normal

    pal = store.find_pal(connection, normal(address))
    if pal is None:
        fail(f"There is no PAL {address}; see pal-gateway pals list.", 1)
    return pal
