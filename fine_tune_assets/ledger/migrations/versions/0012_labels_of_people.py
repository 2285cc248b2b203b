"""Access labels of people, of their sessions, and of requests that a key sent for them."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("users", "sessions", "request_lines"):
        with op.batch_alter_table(name) as table:
            table.add_column(sa.Column("labels", sa.Text(), nullable=True))
