"""What users say of an error, thumbs, who let a correction out of quarantine, and who was told of what."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("corrections") as table:
        table.add_column(sa.Column("error_kind", sa.String(length=32), nullable=True))
        table.add_column(sa.Column("severity", sa.String(length=16), nullable=True))
        table.add_column(sa.Column("seconds_spent", sa.Integer(), nullable=True))
    op.create_index("ix_corrections_received_at", "corrections", ["received_at"])
    op.create_table(
        "answer_feedback",
        sa.Column("sequence", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("feedback_id", sa.String(length=64), nullable=False, unique=True),
        sa.Column("release_id", sa.String(length=64), sa.ForeignKey("releases.release_id"), nullable=False),
        sa.Column("author", sa.String(length=200), nullable=False),
        sa.Column("idempotency_key", sa.String(length=200), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("rating", sa.String(length=8), nullable=False),
        sa.Column("error_kind", sa.String(length=32), nullable=True),
        sa.Column("severity", sa.String(length=16), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("author", "idempotency_key", name="one_feedback_a_request"),
    )
    op.create_index("ix_answer_feedback_received_at", "answer_feedback", ["received_at"])
    op.create_table(
        "quarantine_decisions",
        sa.Column("sequence", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("decision_id", sa.String(length=64), nullable=False, unique=True),
        sa.Column("correction_id", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("person", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("meaning", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_quarantine_decisions_correction_id", "quarantine_decisions", ["correction_id"])
    op.create_table(
        "notifications",
        sa.Column("sequence", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("about", sa.String(length=200), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("error", sa.String(length=200), nullable=True),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_notifications_event_about", "notifications", ["event", "about"])
