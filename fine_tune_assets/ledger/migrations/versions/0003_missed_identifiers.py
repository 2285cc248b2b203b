"""What reviewers marked as identifiers that the scrubber missed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "missed_identifiers",
        sa.Column("sequence", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("mark_id", sa.String(length=64), nullable=False, unique=True),
        sa.Column("report_id", sa.Text(), nullable=False),
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("patient_key", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("term_hash", sa.String(length=64), nullable=False),
        sa.Column("term", sa.LargeBinary(), nullable=False),
        sa.Column("labelled_case", sa.LargeBinary(), nullable=False),
        sa.Column("marked_by", sa.String(length=200), nullable=False),
        sa.Column("marked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_by", sa.String(length=200), nullable=True),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_index("ix_missed_identifiers_patient_key", "missed_identifiers", ["patient_key"])
    op.create_index("ix_missed_identifiers_term_hash", "missed_identifiers", ["term_hash"])
