"""A decision names the report and the task of its draft: a rejection holds for what is drafted from them later too."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Absent in decisions of before: which report they were about is not known.
    op.add_column("decisions", sa.Column("report_id", sa.Text(), nullable=True))
    op.add_column("decisions", sa.Column("task", sa.String(length=200), nullable=True))
