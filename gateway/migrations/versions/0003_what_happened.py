"""What happened: a journal of joins and invitations, and the endpoints that are told of it.

The release before goes on working beside it; what it does is not in the journal.
"""

import sqlalchemy as sa
from alembic import op

from scheduler.database import UtcDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    _journal()
    _invitations()
    _webhooks()
    _deliveries()


def _journal() -> None:
    op.create_table(
        "journal",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("pal_id", sa.String, nullable=False),
        sa.Column("uid", sa.Text, nullable=False),
        sa.Column("join_id", sa.String),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("data", sa.JSON),
        sa.Column("wake_at", UtcDateTime),
        sa.Column("kept_until", UtcDateTime, nullable=False),
    )
    op.create_index("journal_kept", "journal", ["kept_until"])
    for name, columns, rows in (
        ("journal_wake", ["wake_at"], sa.text("wake_at IS NOT NULL")),
        ("journal_join", ["join_id"], sa.text("join_id IS NOT NULL")),
        ("journal_event", ["pal_id", "uid"], sa.text("join_id IS NULL")),
        ("journal_started", ["at"], sa.text("kind = 'started'")),
    ):
        op.create_index(name, "journal", columns, sqlite_where=rows, postgresql_where=rows)


def _invitations() -> None:
    op.create_index("invites_newest", "invites", ["decided_at"])
    aside = sa.text("verdict = 'quarantined' AND forgotten_at IS NULL")
    op.create_index("invites_aside", "invites", ["decided_at"], sqlite_where=aside, postgresql_where=aside)


def _webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("events", sa.JSON, nullable=False),
        sa.Column("secrets", sa.JSON, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("disabled_at", UtcDateTime),
        sa.Column("disabled_reason", sa.Text),
    )
    op.create_index("webhooks_account", "webhooks", ["account", "created_at"])


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("webhook_id", sa.String, nullable=False),
        sa.Column("journal_id", sa.String),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("wake_at", UtcDateTime),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("owner", sa.String),
        sa.Column("status", sa.Integer),
        sa.Column("error", sa.Text),
        sa.Column("settled_at", UtcDateTime),
        sa.Column("forgotten_at", UtcDateTime),
    )
    op.create_index("deliveries_webhook", "deliveries", ["webhook_id", "created_at"])
    op.create_index("deliveries_told", "deliveries", ["webhook_id", "journal_id"], unique=True)
    for name, column, rows in (
        ("deliveries_wake", "wake_at", sa.text("wake_at IS NOT NULL")),
        ("deliveries_kept", "created_at", sa.text("forgotten_at IS NULL AND wake_at IS NULL")),
    ):
        op.create_index(name, "deliveries", [column], sqlite_where=rows, postgresql_where=rows)
