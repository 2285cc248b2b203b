"""Users and their sessions, the review queue, signed and revocable decisions, and erased patients."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def _time(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _sequence() -> sa.Column[int]:
    return sa.Column("sequence", sa.Integer(), primary_key=True, autoincrement=True)


def upgrade() -> None:
    _people()
    _reviews()
    _erasures()


def _people() -> None:
    op.create_table(
        "users",
        sa.Column("user_id", sa.String(length=32), primary_key=True),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("name_key", sa.String(length=200), nullable=False, unique=True),
        sa.Column("password_hash", sa.String(length=300), nullable=True),
        sa.Column("oidc_identity", sa.String(length=500), nullable=True, unique=True),
        sa.Column("roles", sa.String(length=200), nullable=False),
        _time("created_at"),
        _time("disabled_at", nullable=True),
        sa.Column("failed_sign_ins", sa.Integer(), nullable=False),
        _time("locked_until", nullable=True),
    )
    op.create_table(
        "sessions",
        sa.Column("token_hash", sa.String(length=64), primary_key=True),
        sa.Column("user_id", sa.String(length=32), sa.ForeignKey("users.user_id"), nullable=False),
        _time("created_at"),
        _time("last_seen_at"),
        _time("expires_at"),
    )
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"])


def _reviews() -> None:
    op.create_table(
        "review_items",
        sa.Column("example_id", sa.String(length=64), primary_key=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("report_id", sa.Text(), nullable=False),
        sa.Column("patient_key", sa.String(length=64), nullable=False),
        sa.Column("task", sa.String(length=200), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("author_key", sa.String(length=200), nullable=True),
        sa.Column("is_trusted", sa.Boolean(), nullable=False),
        sa.Column("flag_count", sa.Integer(), nullable=False),
        sa.Column("flag_kinds", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        _time("arrived_at"),
        sa.Column("decided_by", sa.Text(), nullable=False),
        _time("gone_at", nullable=True),
        sa.Column("assigned_to", sa.String(length=200), nullable=True),
        _time("assigned_until", nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "state IN ('waiting', 'second_review', 'disagreement', 'approved', 'rejected', 'trusted')",
            name="review_state_is_known",
        ),
    )
    op.create_index("ix_review_items_fingerprint", "review_items", ["fingerprint"])
    op.create_index("ix_review_items_report_id", "review_items", ["report_id"])
    op.create_index("ix_review_items_patient_key", "review_items", ["patient_key"])
    op.create_index("ix_review_items_queue", "review_items", ["gone_at", "state", "flag_count", "example_id"])
    # Decisions of before say nothing of these; what they mean is what the command line recorded then.
    op.add_column("decisions", sa.Column("role", sa.String(length=16), nullable=False, server_default="review"))
    op.add_column("decisions", sa.Column("approved_fingerprint", sa.String(length=64), nullable=True))
    op.add_column("decisions", sa.Column("meaning", sa.Text(), nullable=False, server_default=""))
    op.add_column("decisions", sa.Column("reason_code", sa.String(length=64), nullable=False, server_default=""))
    # The desk asks for the decisions about one content, and about one report, at every page.
    op.create_index("ix_decisions_fingerprint", "decisions", ["fingerprint"])
    op.create_index("ix_decisions_report_id", "decisions", ["report_id"])
    op.create_table(
        "revocations",
        _sequence(),
        sa.Column("decision_id", sa.String(length=64), nullable=False, unique=True),
        sa.Column("revoked_by", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        _time("revoked_at"),
    )


def _erasures() -> None:
    op.create_table(
        "erasures",
        _sequence(),
        sa.Column("erasure_id", sa.String(length=64), nullable=False, unique=True),
        sa.Column("patient_key", sa.String(length=64), nullable=False, unique=True),
        sa.Column("erased_by", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        _time("erased_at"),
        sa.Column("removed", sa.Text(), nullable=False),
    )
    op.create_table(
        "erased_in_releases",
        _sequence(),
        sa.Column("patient_key", sa.String(length=64), nullable=False),
        sa.Column("release_id", sa.String(length=64), sa.ForeignKey("releases.release_id"), nullable=False),
        sa.Column("split", sa.String(length=16), nullable=False),
        _time("recorded_at"),
        sa.UniqueConstraint("patient_key", "release_id", name="one_mark_a_release_and_patient"),
    )
    op.create_index("ix_erased_in_releases_patient_key", "erased_in_releases", ["patient_key"])
    op.create_index("ix_erased_in_releases_release_id", "erased_in_releases", ["release_id"])
