"""Run by Alembic: the connection and its transaction are `gateway.store.migrate`'s."""

from alembic import context

import gateway.store  # noqa: F401  its tables
from scheduler.database import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
)
context.run_migrations()
