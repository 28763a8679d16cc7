"""Nothing is lost: what became of each answer, and what came back of it."""

import sqlalchemy as sa
from alembic import op

from scheduler.database import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _bounces()


def _bounces() -> None:
    op.add_column("outbox", sa.Column("note", sa.Text))
    op.add_column("outbox", sa.Column("reports", sa.Integer, nullable=False, server_default="0"))
    op.add_column("outbox", sa.Column("settled_at", UtcDateTime))
    op.add_column("outbox", sa.Column("queued_at", UtcDateTime))
    op.create_index("outbox_invite", "outbox", ["invite_id"])
