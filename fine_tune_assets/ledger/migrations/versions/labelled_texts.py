"""Adds the encrypted texts of labelled statements, which the next comparison replaces in `judge_scores`."""

import sqlalchemy as sa
from alembic import op

revision = "labelled_texts"
down_revision = "statement_labels"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("statement_labels", sa.Column("texts", sa.LargeBinary))
