"""What happened: a journal of joins and invitations.

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
