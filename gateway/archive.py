"""A whole store as lines of JSON, and back: every row of every table, for a move or to keep. Shell.

Rules of this file:
- The first line says what follows, then comes one line a row, tables and rows in one order on every store; the last
  line has the SHA-256 of all of it but the instant. So the same rows are the same lines.
- Written from one snapshot while others go on writing; read back all or nothing, into a store without rows.
- Rows pass through: what is in memory does not grow with their number.
- Bytes are base64, instants UTC with microseconds, JSON stands in {"json": …}, so that SQL's NULL is not JSON's null.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import IO, Any, Final

import sqlalchemy as sa
from sqlalchemy import JSON, Connection, Engine, LargeBinary, Table

import gateway.store_calls
import gateway.store_webhooks  # noqa: F401  its tables
from gateway import __version__, store
from scheduler.database import UtcDateTime, metadata

FORMAT: Final = "pal-gateway-export"
VERSION: Final = 1
_ROWS: Final = 500  # of one INSERT at most
_BYTES: Final = 4 * 1024 * 1024  # of lines of one INSERT, about
_FETCH: Final = 10  # rows fetched at once where there are bytes among them; elsewhere _ROWS

Told = Callable[[str, int, int], None]  # a table, how many of its rows are done, how many it has


class Unusable(Exception):
    """It cannot be exported or imported; the message is one sentence."""


@dataclass(frozen=True)
class Header:
    """What the first line says: the schema, the instant, and of each table its columns and how many rows it has."""

    schema: str
    at: str
    tables: dict[str, int]
    columns: dict[str, list[str]]

    def line(self) -> bytes:
        """As it is written."""
        said = {"format": FORMAT, "version": VERSION, "release": __version__, "schema": self.schema, "at": self.at}
        return _line({**said, "tables": self.tables, "columns": self.columns})

    def sum(self) -> bytes:
        """What of it goes into the checksum."""
        return _line([self.schema, self.tables, self.columns])


def export_to(engine: Engine, out: IO[bytes], now: datetime, tell: Told) -> int:
    """Write a store, whose transactions are snapshots (`database.reading`); how many rows. Raises Unusable."""
    with engine.connect() as connection:
        schema = store.schema_of(connection)
        if schema != store.HEAD:
            raise Unusable(store.not_at_head(schema))
        tables = metadata.sorted_tables
        counts = {
            one.name: connection.execute(_of_people(sa.select(sa.func.count()).select_from(one), one)).scalar_one()
            for one in tables
        }
        header = Header(schema, _instant(now), counts, {one.name: [c.name for c in one.columns] for one in tables})
        digest = sha256(header.sum())
        out.write(header.line())
        for table in tables:
            for done, row in enumerate(_rows(connection, table), 1):
                line = _line([table.name, row])
                digest.update(line)
                out.write(line)
                tell(table.name, done, counts[table.name])
        out.write(_line({"rows": sum(counts.values()), "sha256": digest.hexdigest()}))
        return sum(counts.values())


def import_from(engine: Engine, lines: Iterable[bytes], tell: Told) -> int:
    """Fill a store that has no rows; how many rows. Nothing is written when it raises Unusable."""
    lines = iter(lines)
    header = _header(next(lines, b""))
    with engine.begin() as connection:
        store.alone(connection)
        tables = metadata.sorted_tables
        full = next(
            (one.name for one in tables if connection.execute(_of_people(sa.select(one), one).limit(1)).first()), ""
        )
        if full:
            raise Unusable(f"The store is not empty (there are rows in {full}); import into a new one, see store.url")
        done = dict.fromkeys(header.tables, 0)
        for name, rows in _batches(lines, header):
            try:
                connection.execute(sa.insert(_plain(metadata.tables[name], header.columns[name])), rows)
            except sa.exc.IntegrityError as error:
                raise Unusable(f"A row of {name} does not fit: {str(error.orig).strip()}") from error
            done[name] += len(rows)
            tell(name, done[name], header.tables[name])
        return sum(done.values())


def _of_people(query: sa.Select[Any], table: Table) -> sa.Select[Any]:
    """Without the row that migrations leave about the schema: each store has its own."""
    return query.where(table.c.name != store.OLDEST_NAME) if table is store.secrets else query


def _rows(connection: Connection, table: Table) -> Iterator[dict[str, Any]]:
    """The rows of a table by its primary key, in the order of bytes on every store, as they are written."""
    keys: list[Any] = list(table.primary_key.columns)
    if connection.dialect.name == "postgresql":
        keys = [sa.collate(key, "C") for key in keys]
    columns = [sa.cast(c, sa.Text).label(c.name) if _is_json(c) else c for c in table.columns]
    has_bytes = any(isinstance(c.type, LargeBinary) for c in table.columns)
    found = connection.execution_options(yield_per=_FETCH if has_bytes else _ROWS).execute(
        _of_people(sa.select(*columns), table).order_by(*keys)
    )
    for row in found:
        yield {c.name: _written(c, value) for c, value in zip(table.columns, row, strict=True)}


def _plain(table: Table, columns: list[str]) -> sa.TableClause:
    """A table for INSERT without the defaults of Python; what an older export lacks gets the store's own default."""
    return sa.table(
        table.name,
        *(
            sa.column(name, JSON(none_as_null=True) if _is_json(table.c[name]) else table.c[name].type)
            for name in columns
        ),
    )


def _is_json(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, JSON)


def _written(column: sa.Column[Any], value: Any) -> Any:
    """A value as it stands in a line."""
    if value is None:
        return None
    if _is_json(column):
        return {"json": json.loads(value)}
    if isinstance(column.type, LargeBinary):
        return b64encode(value).decode()
    return _instant(value) if isinstance(column.type, UtcDateTime) else value


def _read(column: sa.Column[Any], value: Any) -> Any:
    """The value that was written."""
    if value is None:
        return None
    if _is_json(column):
        return JSON.NULL if value["json"] is None else value["json"]
    if isinstance(column.type, LargeBinary):
        return b64decode(value, validate=True)
    return datetime.fromisoformat(value) if isinstance(column.type, UtcDateTime) else value


def _instant(value: datetime) -> str:
    return value.isoformat(timespec="microseconds")


def _line(said: Any) -> bytes:
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"


def _header(line: bytes) -> Header:
    """The first line. Raises Unusable for what is none, and for one that a newer release wrote."""
    said = _json(line, 1)
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise Unusable("This is no export of pal-gateway db export")
    if said.get("version") != VERSION or str(said.get("schema")) > store.HEAD:
        raise Unusable(
            f"It was written by a newer release ({said.get('release')}, schema {said.get('schema')}; "
            f"this one knows {store.HEAD}); install that release"
        )
    header = Header(said["schema"], said["at"], said["tables"], said["columns"])
    for name, columns in header.columns.items():
        known = metadata.tables.get(name)
        if known is None or not {*columns} <= {*known.columns.keys()}:
            raise Unusable(
                f"It has rows that this release does not know ({name}), although it says its schema is known"
            )
    return header


def _batches(lines: Iterator[bytes], header: Header) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The rows of a table, some at a time; counts and checksum are compared at the end. Raises Unusable."""
    digest, found = sha256(header.sum()), dict.fromkeys(header.tables, 0)
    name, rows, size = "", list[dict[str, Any]](), 0
    for number, line in enumerate(lines, 2):
        said = _json(line, number)
        if isinstance(said, dict):
            break
        if rows and (said[0] != name or len(rows) >= _ROWS or size >= _BYTES):
            yield name, rows
            rows, size = [], 0
        digest.update(line)
        name, row = _row(said, header, number)
        rows.append(row)
        size += len(line)
        found[name] += 1
    else:
        raise Unusable("The export is cut short: its last line is missing")
    if found != header.tables or said.get("sha256") != digest.hexdigest() or next(lines, b""):
        raise Unusable("The export was changed or damaged: its checksum is another")
    if rows:
        yield name, rows


def _row(said: Any, header: Header, number: int) -> tuple[str, dict[str, Any]]:
    try:
        name, values = said
        if [*values] != header.columns[name]:
            raise ValueError("other columns than the header says")
        return name, {key: _read(metadata.tables[name].c[key], value) for key, value in values.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unusable(f"Line {number} of the export cannot be read ({error})") from error


def _json(line: bytes, number: int) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"Line {number} of the export cannot be read; it is damaged, or no export") from error
