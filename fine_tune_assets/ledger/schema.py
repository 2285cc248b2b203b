"""The tables of the ledger. Owns names, columns and constraints; migrations make them, modules beside this use them.

Says what people and services said: keys, decisions, corrections, missed identifiers, verdicts, releases, deployments,
audit lines.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa


class UtcTime(sa.TypeDecorator[datetime]):
    """A moment in UTC. SQLite forgets the zone of what it stores: it is put back here."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = sa.MetaData()


def _sequence() -> sa.Column[int]:
    """The order in which rows were written: two rows can have the same time, never the same number."""
    return sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True)


api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("key_id", sa.String(32), primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("secret_hash", sa.String(64), nullable=False),
    sa.Column("scopes", sa.String(200), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("expires_at", UtcTime),
    sa.Column("revoked_at", UtcTime),
)

decisions = sa.Table(
    "decisions",
    metadata,
    _sequence(),
    sa.Column("decision_id", sa.String(64), nullable=False, unique=True),
    sa.Column("example_id", sa.String(200), nullable=False, index=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("report_id", sa.Text),
    sa.Column("task", sa.String(200)),
    sa.Column("decision", sa.String(16), nullable=False),
    sa.Column("output", sa.Text),
    sa.Column("reviewer", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("decided_at", UtcTime, nullable=False),
    sa.CheckConstraint("decision IN ('approve', 'reject')", name="decision_is_known"),
)

verdicts = sa.Table(
    "verdicts",
    metadata,
    _sequence(),
    sa.Column("verdict_id", sa.String(64), nullable=False, index=True),
    sa.Column("decision", sa.String(16), nullable=False),
    sa.Column("adapter_id", sa.String(64), nullable=False, index=True),
    sa.Column("base_fingerprint", sa.String(64), nullable=False),
    sa.Column("instruction_set_fingerprint", sa.String(64), nullable=False),
    sa.Column("incumbent", sa.String(200), nullable=False),
    sa.Column("reasons", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("recorded_at", UtcTime, nullable=False),
)

signatures = sa.Table(
    "signatures",
    metadata,
    _sequence(),
    sa.Column("verdict_id", sa.String(64), nullable=False, index=True),
    sa.Column("approver", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("signed_at", UtcTime, nullable=False),
)

releases = sa.Table(
    "releases",
    metadata,
    sa.Column("release_id", sa.String(64), primary_key=True),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("verdict_id", sa.String(64), nullable=False),
    sa.Column("adapter_id", sa.String(64), nullable=False),
    sa.Column("base_fingerprint", sa.String(64), nullable=False),
    sa.Column("instruction_set_fingerprint", sa.String(64), nullable=False),
    sa.Column("weights_fingerprint", sa.String(64), nullable=False),
    sa.Column("prompt_fingerprint", sa.String(64), nullable=False),
    sa.Column("recorded_at", UtcTime, nullable=False),
)

deployments = sa.Table(
    "deployments",
    metadata,
    _sequence(),
    sa.Column("deployment_id", sa.String(32), nullable=False, unique=True),
    sa.Column("release_id", sa.ForeignKey("releases.release_id"), nullable=False),
    sa.Column("colour", sa.String(8), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("engine_url", sa.Text),
    sa.Column("engine_key", sa.LargeBinary),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("wanted_at", UtcTime, nullable=False),
    sa.Column("changed_at", UtcTime, nullable=False),
    sa.CheckConstraint("colour IN ('blue', 'green')", name="colour_is_known"),
    sa.Index(
        "one_live_deployment",
        "state",
        unique=True,
        sqlite_where=sa.text("state = 'live'"),
        postgresql_where=sa.text("state = 'live'"),
    ),
)

corrections = sa.Table(
    "corrections",
    metadata,
    _sequence(),
    sa.Column("correction_id", sa.String(64), nullable=False, unique=True),
    sa.Column("release_id", sa.ForeignKey("releases.release_id"), nullable=False),
    sa.Column("author", sa.String(200), nullable=False),
    sa.Column("idempotency_key", sa.String(200), nullable=False),
    sa.Column("content_hash", sa.String(64), nullable=False),
    sa.Column("instruction", sa.LargeBinary, nullable=False),
    sa.Column("input", sa.LargeBinary, nullable=False),
    sa.Column("answer", sa.LargeBinary, nullable=False),
    sa.Column("corrected_answer", sa.LargeBinary, nullable=False),
    sa.Column("received_at", UtcTime, nullable=False),
    sa.UniqueConstraint("author", "idempotency_key", name="one_correction_a_request"),
)

missed_identifiers = sa.Table(
    "missed_identifiers",
    metadata,
    _sequence(),
    sa.Column("mark_id", sa.String(64), nullable=False, unique=True),
    sa.Column("report_id", sa.Text, nullable=False),
    sa.Column("batch", sa.Text, nullable=False),
    sa.Column("patient_key", sa.String(64), nullable=False, index=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("term_hash", sa.String(64), nullable=False, index=True),
    sa.Column("term", sa.LargeBinary, nullable=False),
    sa.Column("labelled_case", sa.LargeBinary, nullable=False),
    sa.Column("marked_by", sa.String(200), nullable=False),
    sa.Column("marked_at", UtcTime, nullable=False),
    sa.Column("withdrawn_by", sa.String(200)),
    sa.Column("withdrawn_at", UtcTime),
)

audit_lines = sa.Table(
    "audit_lines",
    metadata,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("who", sa.String(200), nullable=False),
    sa.Column("what", sa.String(200), nullable=False),
    sa.Column("about", sa.String(300), nullable=False),
    sa.Column("previous_hash", sa.String(64), nullable=False, unique=True),
    sa.Column("line_hash", sa.String(64), nullable=False, unique=True),
)
