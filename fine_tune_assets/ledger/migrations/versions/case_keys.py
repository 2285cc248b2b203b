"""Review items name the drafts that are identical cases: the same task, instruction, output and flags."""

import sqlalchemy as sa
from alembic import op

revision = "case_keys_1"
down_revision = "baseline_3"


def upgrade() -> None:
    """The next refresh of the queue fills the column."""
    op.add_column("review_items", sa.Column("case_key", sa.String(64), nullable=False, server_default=""))
    op.create_index("ix_review_items_case", "review_items", ["case_key", "state"])
