"""How requests of a deployment ended, what its probes found, and going back to the one before."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("deployments") as table:
        table.add_column(sa.Column("live_since", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("keep_until", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("is_rollback", sa.Boolean(), nullable=False, server_default=sa.false()))
        table.add_column(sa.Column("rollback_reason", sa.Text(), nullable=True))
        table.add_column(sa.Column("probes", sa.Text(), nullable=True))
    # Those that served before this was kept: near enough to know what to go back to.
    op.execute("UPDATE deployments SET live_since = changed_at WHERE state IN ('live', 'draining')")
    op.create_table(
        "deployment_outcomes",
        sa.Column("sequence", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("deployment_id", sa.String(32), sa.ForeignKey("deployments.deployment_id"), nullable=False),
        sa.Column("slot", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("identifiers", sa.Integer(), nullable=True),
        sa.Column("durations", sa.Text(), nullable=False),
        sa.UniqueConstraint("deployment_id", "slot", name="one_row_a_deployment_and_slot"),
    )
