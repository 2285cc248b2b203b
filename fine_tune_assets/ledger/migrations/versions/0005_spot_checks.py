"""Experts' ratings of judged answers."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "spot_checks",
        sa.Column("sequence", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("example_id", sa.String(length=64), nullable=False),
        sa.Column("task", sa.String(length=200), nullable=False),
        sa.Column("model_fingerprint", sa.String(length=64), nullable=False),
        sa.Column("answer_fingerprint", sa.String(length=64), nullable=False),
        sa.Column("patient_key", sa.String(length=64), nullable=False),
        sa.Column("rater", sa.String(length=200), nullable=False),
        sa.Column("rater_key", sa.String(length=200), nullable=False),
        sa.Column("score", sa.Integer(), nullable=False),
        sa.Column("criteria", sa.Text(), nullable=True),
        sa.Column("error_kind", sa.String(length=32), nullable=False),
        sa.Column("rated_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("rater_key", "example_id", "answer_fingerprint", name="one_rating_a_rater_and_answer"),
        sa.CheckConstraint("score BETWEEN 1 AND 10", name="score_is_on_the_scale"),
    )
    op.create_index("ix_spot_checks_patient_key", "spot_checks", ["patient_key"])
