"""A store of schema 0001 with rows in every table, written by the code of that release (frozen_0001.json).

Rules of this file: it knows the tables as 0001 made them, by reflection, and nothing of today's.
"""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from sqlalchemy import DateTime, Engine, LargeBinary, MetaData, Table, insert

ROWS: Final = Path(__file__).parent / "frozen_0001.json"


def make(engine: Engine) -> MetaData:
    """The empty schema 0001; its tables as they are then."""
    config = Config()
    config.set_main_option("script_location", "gateway:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    tables = MetaData()
    tables.reflect(engine)
    return tables


def fill(engine: Engine, tables: MetaData) -> None:
    """Write the rows as a process of that release does: it names the columns that it knows."""
    rows = json.loads(ROWS.read_text("utf-8"))
    with engine.begin() as connection:
        for table in tables.sorted_tables:
            if table.name in rows:
                connection.execute(insert(table), [_stored(table, row, engine) for row in rows[table.name]])


def _stored(table: Table, row: dict[str, Any], engine: Engine) -> dict[str, Any]:
    return {name: _value(table.c[name].type, value, engine) for name, value in row.items()}


def _value(type_: Any, value: Any, engine: Engine) -> Any:
    if value is not None and isinstance(type_, LargeBinary):
        return b64decode(value)
    if value is not None and isinstance(type_, DateTime):
        at = datetime.fromisoformat(value)
        return at.astimezone(UTC).replace(tzinfo=None) if engine.dialect.name == "sqlite" else at
    return value
