"""Adds the labels of experts who overrule or confirm the judge on a statement."""

import sqlalchemy as sa
from alembic import op

revision = "statement_labels"
down_revision = "saved_edits"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "statement_labels",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("example_id", sa.String(64), nullable=False),
        sa.Column("subject_key", sa.String(64), nullable=False),
        sa.Column("model_fingerprint", sa.String(64), nullable=False),
        sa.Column("answer_fingerprint", sa.String(64), nullable=False),
        sa.Column("statement_fingerprint", sa.String(64), nullable=False),
        sa.Column("criterion", sa.String(40), nullable=False),
        sa.Column("judge_support", sa.String(16), nullable=False),
        sa.Column("judge_probability", sa.Float, nullable=False),
        sa.Column("judge_version", sa.String(64), nullable=False),
        sa.Column("support", sa.String(16), nullable=False),
        sa.Column("labeller", sa.String(200), nullable=False),
        sa.Column("labeller_key", sa.Text, nullable=False),
        sa.Column("labelled_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("support IN ('supported', 'contradicted', 'not mentioned')", name="support_is_valid"),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint(
            "example_id",
            "answer_fingerprint",
            "criterion",
            "statement_fingerprint",
            "labeller_key",
            name="one_label_per_person_and_statement",
        ),
    )
    op.create_index("ix_statement_labels_subject_key", "statement_labels", ["subject_key"])
