"""The passages that a corrected answer was given from."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("corrections") as table:
        table.add_column(sa.Column("knowledge_index", sa.String(length=64), nullable=True))
        table.add_column(sa.Column("passages", sa.Text(), nullable=True))
        table.add_column(sa.Column("passage_texts", sa.LargeBinary(), nullable=True))
