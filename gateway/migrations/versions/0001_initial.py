"""The first schema: PALs, keys, mails and what was decided on them, events, joins, the outbox.

A migration is frozen once released: it spells its tables out and imports none of ours, except the type of an instant.
"""

import sqlalchemy as sa
from alembic import op

from scheduler.database import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    _desk()
    _mails()
    _calendar()
    _replies()
    _calls()


def _desk() -> None:
    op.create_table(
        "pals",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("address", sa.String, unique=True),
        sa.Column("face_id", sa.String, nullable=False),
        sa.Column("allowlist", sa.JSON, nullable=False),
        sa.Column("zone", sa.String),
        sa.Column("calendar_number", sa.Integer, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
    )
    op.create_index("pals_account", "pals", ["account", "created_at"])
    op.create_table(
        "keys",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("networks", sa.JSON, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime),
        sa.Column("revoked_at", UtcDateTime),
    )


def _mails() -> None:
    op.create_table(
        "mails",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.Column("mail_from", sa.Text, nullable=False),
        sa.Column("recipients", sa.JSON, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
    )
    op.create_index("mails_received", "mails", ["received_at"])
    op.create_table(
        "invites",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("mail_id", sa.String, sa.ForeignKey("mails.id"), nullable=False),
        sa.Column("pal_id", sa.String, nullable=False),
        sa.Column("uid", sa.Text),
        sa.Column("sender", sa.Text, nullable=False),
        sa.Column("verdict", sa.String, nullable=False),
        sa.Column("reason", sa.String),
        sa.Column("platform", sa.String),
        sa.Column("allowed_by", sa.Text),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("link_candidates", sa.JSON, nullable=False),
        sa.Column("authentication", sa.JSON),
        sa.Column("confirmation", sa.JSON),
        sa.Column("inviter", sa.Text),
        sa.Column("inviter_domain", sa.Text),
        sa.Column("decided_at", UtcDateTime, nullable=False),
    )
    op.create_index("invites_event", "invites", ["pal_id", "uid"])
    op.create_index("invites_mail", "invites", ["mail_id"])
    op.create_index("invites_decided", "invites", ["pal_id", "decided_at"])
    op.create_index("invites_inviter", "invites", ["inviter", "decided_at"])
    op.create_index("invites_inviter_domain", "invites", ["inviter_domain", "decided_at"])
    counts = sa.text("inviter IS NOT NULL")
    op.create_index(
        "invites_counted", "invites", ["pal_id", "decided_at", "inviter"], sqlite_where=counts, postgresql_where=counts
    )


def _calendar() -> None:
    op.create_table(
        "events",
        sa.Column("pal_id", sa.String, primary_key=True),
        sa.Column("uid", sa.Text, primary_key=True),
        sa.Column("event", sa.JSON, nullable=False),
        sa.Column("attendant", sa.JSON, nullable=False),
        sa.Column("refill_at", UtcDateTime),
    )
    op.create_index("events_refill", "events", ["refill_at"])
    op.create_table(
        "joins",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("pal_id", sa.String, nullable=False),
        sa.Column("face_id", sa.String, nullable=False),
        sa.Column("uid", sa.Text, nullable=False),
        sa.Column("recurrence_id", UtcDateTime, nullable=False),
        sa.Column("starts", UtcDateTime, nullable=False),
        sa.Column("ends", UtcDateTime, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("until", UtcDateTime, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("wake_at", UtcDateTime),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("owner", sa.String),
        sa.Column("conversation_id", sa.Text),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("room", sa.JSON, nullable=False),
        sa.Column("entry", sa.Integer, nullable=False),
        sa.Column("inviter", sa.Text),
        sa.Column("inviter_domain", sa.Text),
    )
    op.create_index("joins_event", "joins", ["pal_id", "uid"])
    op.create_index("joins_inviter", "joins", ["inviter", "state"])
    op.create_index("joins_inviter_domain", "joins", ["inviter_domain", "state"])
    op.create_index("joins_pal", "joins", ["pal_id", "state"])
    op.create_index("joins_starts", "joins", ["starts"])
    awake = sa.text("wake_at IS NOT NULL")
    in_a_call = sa.text("state IN ('claimed', 'started', 'joined')")
    op.create_index("joins_room", "joins", ["pal_id", "url"], sqlite_where=in_a_call, postgresql_where=in_a_call)
    op.create_index("joins_wake", "joins", ["wake_at"], sqlite_where=awake, postgresql_where=awake)


def _replies() -> None:
    awake = sa.text("wake_at IS NOT NULL")
    op.create_table(
        "outbox",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.Column("invite_id", sa.String, sa.ForeignKey("invites.id")),
        sa.Column("pal_id", sa.String, nullable=False),
        sa.Column("uid", sa.Text, nullable=False),
        sa.Column("recurrence_id", UtcDateTime),
        sa.Column("partstat", sa.String, nullable=False),
        sa.Column("anew", sa.Boolean, nullable=False),
        sa.Column("sender", sa.String, nullable=False),
        sa.Column("recipient", sa.Text, nullable=False),
        sa.Column("organizer", sa.Text, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("wake_at", UtcDateTime),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("owner", sa.String),
        sa.Column("error", sa.Text),
    )
    op.create_index("outbox_event", "outbox", ["pal_id", "uid"])
    op.create_index("outbox_organizer", "outbox", ["organizer", "created_at"])
    op.create_index("outbox_wake", "outbox", ["wake_at"], sqlite_where=awake, postgresql_where=awake)
    op.create_table(
        "secrets",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )


def _calls() -> None:
    awake = sa.text("wake_at IS NOT NULL")
    op.create_table(
        "conversations",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("callback_url", sa.Text, nullable=False),
        sa.Column("conversation_id", sa.Text),
        sa.Column("answer", sa.JSON),
        sa.Column("created_at", UtcDateTime, nullable=False),
    )
    op.create_index("conversations_key", "conversations", ["account", "key"], unique=True)
    op.create_index("conversations_account", "conversations", ["account", "created_at"])
    op.create_index("conversations_conversation", "conversations", ["conversation_id"])
    op.create_table(
        "callbacks",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("join_id", sa.String, nullable=False),
        sa.Column("event_type", sa.String, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("wake_at", UtcDateTime),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("owner", sa.String),
        sa.Column("error", sa.Text),
    )
    op.create_index("callbacks_join", "callbacks", ["join_id", "received_at"])
    op.create_index("callbacks_wake", "callbacks", ["wake_at"], sqlite_where=awake, postgresql_where=awake)
