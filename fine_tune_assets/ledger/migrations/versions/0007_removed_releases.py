"""When a release's folder was removed."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("releases", sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True))
