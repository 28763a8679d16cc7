"""Nothing is lost: what became of each answer, what came back of it, which joins broke, and what is forgotten.

Every new column may be empty or has a default: the release before goes on writing into this schema.
"""

import sqlalchemy as sa
from alembic import op

from scheduler.database import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _bounces()
    _forgetting()
    _broken_joins()
    _looking_for_joins()


def _bounces() -> None:
    op.add_column("outbox", sa.Column("note", sa.Text))
    op.add_column("outbox", sa.Column("reports", sa.Integer, nullable=False, server_default="0"))
    op.add_column("outbox", sa.Column("settled_at", UtcDateTime))
    op.add_column("outbox", sa.Column("queued_at", UtcDateTime))
    op.create_index("outbox_invite", "outbox", ["invite_id"])


def _forgetting() -> None:
    for table in ("mails", "invites", "joins", "outbox", "conversations", "callbacks"):
        op.add_column(table, sa.Column("forgotten_at", UtcDateTime))
    for table in ("mails", "events"):
        op.add_column(table, sa.Column("kept_until", UtcDateTime))
    op.create_index("events_kept", "events", ["kept_until"])
    kept = sa.text("forgotten_at IS NULL")
    at_rest = sa.text("forgotten_at IS NULL AND wake_at IS NULL")
    for table, column, rows in (
        ("mails", "kept_until", kept),
        ("conversations", "created_at", kept),
        ("joins", "until", at_rest),
        ("outbox", "created_at", at_rest),
        ("callbacks", "received_at", at_rest),
    ):
        op.create_index(f"{table}_kept", table, [column], sqlite_where=rows, postgresql_where=rows)


def _broken_joins() -> None:
    op.add_column("joins", sa.Column("broken_at", UtcDateTime))
    untold = sa.text("broken_at IS NOT NULL")
    op.create_index("joins_broken", "joins", ["broken_at"], sqlite_where=untold, postgresql_where=untold)


def _looking_for_joins() -> None:
    for name, column, rows in (
        ("joins_conversation", "conversation_id", sa.text("conversation_id IS NOT NULL")),
        ("joins_tried", "wake_at", sa.text("wake_at IS NOT NULL AND attempt > 0")),
    ):
        op.create_index(name, "joins", [column], sqlite_where=rows, postgresql_where=rows)
