"""Which knowledge index answers."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "live_knowledge",
        sa.Column("sequence", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("index_fingerprint", sa.String(64), nullable=False),
        sa.Column("format_fingerprint", sa.String(64), nullable=False, index=True),
        sa.Column("store", sa.String(16), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("made_live_by", sa.String(200), nullable=False),
        sa.Column("made_live_at", sa.DateTime(timezone=True), nullable=False),
    )
