"""Adds the edits that reviewers have typed and not signed."""

import sqlalchemy as sa
from alembic import op

revision = "saved_edits"
down_revision = "case_keys_1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "saved_edits",
        sa.Column("example_id", sa.String(64), nullable=False),
        sa.Column("reviewer_key", sa.Text, nullable=False),
        sa.Column("base_fingerprint", sa.String(64), nullable=False),
        sa.Column("subject_key", sa.String(64), nullable=False),
        sa.Column("text", sa.LargeBinary, nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("example_id", "reviewer_key"),
    )
    op.create_index("ix_saved_edits_subject_key", "saved_edits", ["subject_key"])
