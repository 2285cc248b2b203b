"""All tables of the ledger: the first migration."""

import sqlalchemy as sa
from alembic import op

revision = "baseline_3"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("position", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("action", sa.String(200), nullable=False),
        sa.Column("resource", sa.String(300), nullable=False),
        sa.Column("previous_hash", sa.String(64), nullable=False),
        sa.Column("entry_hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("position"),
        sa.UniqueConstraint("entry_hash"),
        sa.UniqueConstraint("previous_hash"),
    )
    op.create_table(
        "caller_usage",
        sa.Column("caller", sa.String(300), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("period_start", _TIME, nullable=False),
        sa.Column("used", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("caller", "kind", "period_start"),
    )
    op.create_table(
        "decisions",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("decision_id", sa.String(64), nullable=False),
        sa.Column("example_id", sa.String(200), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("report_id", sa.Text),
        sa.Column("task", sa.String(200)),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("output", sa.Text),
        sa.Column("reviewer", sa.String(200), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("decided_at", _TIME, nullable=False),
        sa.Column("role", sa.String(16), server_default="review", nullable=False),
        sa.Column("approved_fingerprint", sa.String(64)),
        sa.Column("meaning", sa.Text, server_default="", nullable=False),
        sa.Column("reason_code", sa.String(64), server_default="", nullable=False),
        sa.Column("seal", sa.String(64), nullable=False, server_default=""),
        sa.CheckConstraint("decision IN ('approve', 'reject')", name="decision_is_valid"),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("decision_id"),
    )
    op.create_index("ix_decisions_example_id", "decisions", ["example_id"])
    op.create_index("ix_decisions_fingerprint", "decisions", ["fingerprint"])
    op.create_index("ix_decisions_report_id", "decisions", ["report_id"])
    op.create_table(
        "erasures",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("erasure_id", sa.String(64), nullable=False),
        sa.Column("subject_key", sa.String(64), nullable=False),
        sa.Column("erased_by", sa.String(200), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("erased_at", _TIME, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("erasure_id"),
        sa.UniqueConstraint("subject_key"),
    )
    op.create_table(
        "live_indexes",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("index_fingerprint", sa.String(64), nullable=False),
        sa.Column("format_fingerprint", sa.String(64), nullable=False),
        sa.Column("store", sa.String(16), nullable=False),
        sa.Column("chunks", sa.Integer, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("activated_by", sa.String(200), nullable=False),
        sa.Column("activated_at", _TIME, nullable=False),
        sa.Column("seal", sa.String(64), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("sequence"),
    )
    op.create_index("ix_live_indexes_format_fingerprint", "live_indexes", ["format_fingerprint"])
    op.create_table(
        "missed_identifiers",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("mark_id", sa.String(64), nullable=False),
        sa.Column("report_id", sa.Text, nullable=False),
        sa.Column("batch", sa.Text, nullable=False),
        sa.Column("subject_key", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("term_hash", sa.String(64), nullable=False),
        sa.Column("term", sa.LargeBinary, nullable=False),
        sa.Column("labelled_case", sa.LargeBinary, nullable=False),
        sa.Column("marked_by", sa.String(200), nullable=False),
        sa.Column("marked_at", _TIME, nullable=False),
        sa.Column("withdrawn_by", sa.String(200)),
        sa.Column("withdrawn_at", _TIME),
        sa.Column("seal", sa.String(64), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("mark_id"),
    )
    op.create_index("ix_missed_identifiers_subject_key", "missed_identifiers", ["subject_key"])
    op.create_index("ix_missed_identifiers_term_hash", "missed_identifiers", ["term_hash"])
    op.create_table(
        "notifications",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("event", sa.String(32), nullable=False),
        sa.Column("resource", sa.String(200), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("error", sa.String(200)),
        sa.Column("attempted_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
    )
    op.create_index("ix_notifications_event_resource", "notifications", ["event", "resource"])
    op.create_table(
        "quarantine_decisions",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("decision_id", sa.String(64), nullable=False),
        sa.Column("correction_id", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.Column("person", sa.String(200), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("meaning", sa.Text, nullable=False),
        sa.Column("decided_at", _TIME, nullable=False),
        sa.Column("seal", sa.String(64), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("decision_id"),
    )
    op.create_index("ix_quarantine_decisions_correction_id", "quarantine_decisions", ["correction_id"])
    op.create_table(
        "releases",
        sa.Column("release_id", sa.String(64), nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("line", sa.String(200), nullable=False),
        sa.Column("verdict_id", sa.String(64), nullable=False),
        sa.Column("adapter_id", sa.String(64), nullable=False),
        sa.Column("base_fingerprint", sa.String(64), nullable=False),
        sa.Column("instruction_set_fingerprint", sa.String(64), nullable=False),
        sa.Column("weights_fingerprint", sa.String(64), nullable=False),
        sa.Column("prompt_fingerprint", sa.String(64), nullable=False),
        sa.Column("recorded_at", _TIME, nullable=False),
        sa.Column("removed_at", _TIME),
        sa.Column("seal", sa.String(64), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("release_id"),
    )
    op.create_table(
        "request_features",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("release_id", sa.String(64), nullable=False),
        sa.Column("extractor_fingerprint", sa.String(64), nullable=False),
        sa.Column("window_end", _TIME, nullable=False),
        sa.Column("window_start", _TIME, nullable=False),
        sa.Column("requests", sa.Integer, nullable=False),
        sa.Column("unread", sa.Integer, nullable=False),
        sa.Column("counts", sa.Text, nullable=False),
        sa.Column("refused", sa.Integer, nullable=False),
        sa.Column("lookups", sa.Integer, nullable=False),
        sa.Column("lookup_hits", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("release_id", "extractor_fingerprint", "window_end", name="one_row_per_release_and_window"),
    )
    op.create_table(
        "request_entries",
        sa.Column("position", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("caller", sa.String(300)),
        sa.Column("route", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("code", sa.String(64)),
        sa.Column("release_id", sa.String(64)),
        sa.Column("tokens_in", sa.Integer),
        sa.Column("tokens_out", sa.Integer),
        sa.Column("milliseconds", sa.Integer, nullable=False),
        sa.Column("prompt_hash", sa.String(64)),
        sa.Column("identifier_count", sa.Integer),
        sa.Column("request_count", sa.Integer, nullable=False),
        sa.Column("labels", sa.Text),
        sa.Column("previous_hash", sa.String(64), nullable=False),
        sa.Column("entry_hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("position"),
        sa.UniqueConstraint("entry_hash"),
        sa.UniqueConstraint("previous_hash"),
    )
    op.create_table(
        "review_items",
        sa.Column("example_id", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("report_id", sa.Text, nullable=False),
        sa.Column("subject_key", sa.String(64), nullable=False),
        sa.Column("line", sa.String(200), nullable=False),
        sa.Column("task", sa.String(200), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("author_key", sa.Text),
        sa.Column("is_trusted", sa.Boolean, nullable=False),
        sa.Column("flag_count", sa.Integer, nullable=False),
        sa.Column("flag_kinds", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("arrived_at", _TIME, nullable=False),
        sa.Column("decided_by", sa.Text, nullable=False),
        sa.Column("removed_at", _TIME),
        sa.Column("assigned_to", sa.String(200)),
        sa.Column("assigned_until", _TIME),
        sa.Column("version", sa.Integer, nullable=False),
        sa.CheckConstraint(
            "state IN ('waiting', 'second_review', 'disagreement', 'approved', 'rejected', 'trusted')",
            name="review_state_is_valid",
        ),
        sa.PrimaryKeyConstraint("example_id"),
    )
    op.create_index("ix_review_items_fingerprint", "review_items", ["fingerprint"])
    op.create_index("ix_review_items_subject_key", "review_items", ["subject_key"])
    op.create_index("ix_review_items_queue", "review_items", ["removed_at", "state", "flag_count", "example_id"])
    op.create_index("ix_review_items_report_id", "review_items", ["report_id"])
    op.create_table(
        "revocations",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("decision_id", sa.String(64), nullable=False),
        sa.Column("revoked_by", sa.String(200), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("revoked_at", _TIME, nullable=False),
        sa.Column("seal", sa.String(64), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("decision_id"),
    )
    op.create_table(
        "signatures",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("verdict_id", sa.String(64), nullable=False),
        sa.Column("approver", sa.String(200), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("signed_at", _TIME, nullable=False),
        sa.Column("seal", sa.String(64), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("sequence"),
    )
    op.create_index("ix_signatures_verdict_id", "signatures", ["verdict_id"])
    op.create_table(
        "spot_checks",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("example_id", sa.String(64), nullable=False),
        sa.Column("task", sa.String(200), nullable=False),
        sa.Column("model_fingerprint", sa.String(64), nullable=False),
        sa.Column("answer_fingerprint", sa.String(64), nullable=False),
        sa.Column("subject_key", sa.String(64), nullable=False),
        sa.Column("rater", sa.String(200), nullable=False),
        sa.Column("rater_key", sa.Text, nullable=False),
        sa.Column("score", sa.Integer, nullable=False),
        sa.Column("criteria", sa.Text),
        sa.Column("error_kind", sa.String(32), nullable=False),
        sa.Column("rated_at", _TIME, nullable=False),
        sa.CheckConstraint("score BETWEEN 1 AND 10", name="score_is_in_range"),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("rater_key", "example_id", "answer_fingerprint", name="one_rating_per_rater_and_answer"),
    )
    op.create_index("ix_spot_checks_subject_key", "spot_checks", ["subject_key"])
    op.create_table(
        "users",
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("name_key", sa.Text, nullable=False),
        sa.Column("password_hash", sa.String(300)),
        sa.Column("oidc_identity", sa.String(500)),
        sa.Column("roles", sa.String(200), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("disabled_at", _TIME),
        sa.Column("failed_sign_ins", sa.Integer, nullable=False),
        sa.Column("locked_until", _TIME),
        sa.Column("labels", sa.Text),
        sa.Column("seal", sa.String(64), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("user_id"),
        sa.UniqueConstraint("name_key"),
        sa.UniqueConstraint("oidc_identity"),
    )
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("scopes", sa.String(200), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME),
        sa.Column("revoked_at", _TIME),
        sa.Column("previous_secret_hash", sa.String(64)),
        sa.Column("previous_secret_expires_at", _TIME),
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("tokens_per_day", sa.Integer),
        sa.Column("open_requests", sa.Integer),
        sa.Column("share", sa.Integer),
        sa.Column("user_id", sa.String(32)),
        sa.Column("seal", sa.String(64), nullable=False, server_default=""),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"]),
        sa.PrimaryKeyConstraint("key_id"),
    )
    op.create_table(
        "verdicts",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("verdict_id", sa.String(64), nullable=False),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("line", sa.String(200), nullable=False),
        sa.Column("adapter_id", sa.String(64), nullable=False),
        sa.Column("base_fingerprint", sa.String(64), nullable=False),
        sa.Column("instruction_set_fingerprint", sa.String(64), nullable=False),
        sa.Column("incumbent", sa.String(200), nullable=False),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("recorded_at", _TIME, nullable=False),
        sa.Column("seal", sa.String(64), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("sequence"),
    )
    op.create_index("ix_verdicts_adapter_id", "verdicts", ["adapter_id"])
    op.create_index("ix_verdicts_verdict_id", "verdicts", ["verdict_id"])
    op.create_table(
        "answer_feedback",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("feedback_id", sa.String(64), nullable=False),
        sa.Column("release_id", sa.String(64), nullable=False),
        sa.Column("author", sa.String(200), nullable=False),
        sa.Column("idempotency_key", sa.String(200), nullable=False),
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column("rating", sa.String(8), nullable=False),
        sa.Column("error_kind", sa.String(32)),
        sa.Column("severity", sa.String(16)),
        sa.Column("received_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["releases.release_id"]),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("author", "idempotency_key", name="one_feedback_per_request"),
        sa.UniqueConstraint("feedback_id"),
    )
    op.create_index("ix_answer_feedback_received_at", "answer_feedback", ["received_at"])
    op.create_table(
        "corrections",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("correction_id", sa.String(64), nullable=False),
        sa.Column("release_id", sa.String(64), nullable=False),
        sa.Column("author", sa.String(200), nullable=False),
        sa.Column("idempotency_key", sa.String(200), nullable=False),
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column("instruction", sa.LargeBinary, nullable=False),
        sa.Column("input", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("corrected_answer", sa.LargeBinary, nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("error_kind", sa.String(32)),
        sa.Column("severity", sa.String(16)),
        sa.Column("seconds_spent", sa.Integer),
        sa.Column("knowledge_index", sa.String(64)),
        sa.Column("passages", sa.Text),
        sa.Column("passage_texts", sa.LargeBinary),
        sa.Column("seal", sa.String(64), nullable=False, server_default=""),
        sa.ForeignKeyConstraint(["release_id"], ["releases.release_id"]),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("author", "idempotency_key", name="one_correction_per_request"),
        sa.UniqueConstraint("correction_id"),
    )
    op.create_index("ix_corrections_received_at", "corrections", ["received_at"])
    op.create_table(
        "deployments",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("deployment_id", sa.String(32), nullable=False),
        sa.Column("release_id", sa.String(64), nullable=False),
        sa.Column("line", sa.String(200), nullable=False),
        sa.Column("colour", sa.String(8), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("engine_url", sa.Text),
        sa.Column("engine_key", sa.LargeBinary),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("requested_at", _TIME, nullable=False),
        sa.Column("changed_at", _TIME, nullable=False),
        sa.Column("live_since", _TIME),
        sa.Column("standby_until", _TIME),
        sa.Column("is_rollback", sa.Boolean, server_default=sa.false(), nullable=False),
        sa.Column("rollback_reason", sa.Text),
        sa.Column("probes", sa.Text),
        sa.Column("seal", sa.String(64), nullable=False, server_default=""),
        sa.CheckConstraint("colour IN ('blue', 'green')", name="colour_is_valid"),
        sa.ForeignKeyConstraint(["release_id"], ["releases.release_id"]),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("deployment_id"),
    )
    op.create_index(
        "one_live_deployment",
        "deployments",
        ["state"],
        unique=True,
        sqlite_where=sa.text("state = 'live'"),
        postgresql_where=sa.text("state = 'live'"),
    )
    op.create_table(
        "erasure_marks",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("subject_key", sa.String(64), nullable=False),
        sa.Column("release_id", sa.String(64), nullable=False),
        sa.Column("split", sa.String(16), nullable=False),
        sa.Column("recorded_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["releases.release_id"]),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("subject_key", "release_id", name="one_mark_per_release_and_subject"),
    )
    op.create_index("ix_erasure_marks_subject_key", "erasure_marks", ["subject_key"])
    op.create_index("ix_erasure_marks_release_id", "erasure_marks", ["release_id"])
    op.create_table(
        "imported_releases",
        sa.Column("release_id", sa.String(64), nullable=False),
        sa.Column("key_fingerprint", sa.String(64), nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("signers", sa.Text, nullable=False),
        sa.Column("is_placeholder", sa.Boolean, nullable=False),
        sa.Column("imported_by", sa.String(200), nullable=False),
        sa.Column("imported_at", _TIME, nullable=False),
        sa.Column("seal", sa.String(64), nullable=False, server_default=""),
        sa.ForeignKeyConstraint(["release_id"], ["releases.release_id"]),
        sa.PrimaryKeyConstraint("release_id"),
    )
    op.create_table(
        "sessions",
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("last_seen_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("labels", sa.Text),
        sa.Column("seal", sa.String(64), nullable=False, server_default=""),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"]),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"])
    op.create_table(
        "sign_in_links",
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("seal", sa.String(64), nullable=False, server_default=""),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"]),
        sa.PrimaryKeyConstraint("token_hash"),
        sa.UniqueConstraint("user_id"),
    )
    op.create_table(
        "deployment_outcomes",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("deployment_id", sa.String(32), nullable=False),
        sa.Column("slot", _TIME, nullable=False),
        sa.Column("answered", sa.Integer, nullable=False),
        sa.Column("failed", sa.Integer, nullable=False),
        sa.Column("identifier_count", sa.Integer),
        sa.Column("durations", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["deployment_id"], ["deployments.deployment_id"]),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("deployment_id", "slot", name="one_row_per_deployment_and_slot"),
    )
    op.create_table(
        "crash_suspects",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("deployment_id", sa.String(32), nullable=False),
        sa.Column("engine", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("caller", sa.String(300), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["deployment_id"], ["deployments.deployment_id"]),
        sa.PrimaryKeyConstraint("sequence"),
    )
    op.create_index("ix_crash_suspects_deployment_id", "crash_suspects", ["deployment_id"])
    op.create_index("ix_crash_suspects_at", "crash_suspects", ["at"])
    op.create_table(
        "canary_releases",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("deployment_id", sa.String(32), nullable=False),
        sa.Column("traffic_percent", sa.Integer, nullable=False),
        sa.Column("duration_seconds", sa.Integer, nullable=False),
        sa.Column("minimum_requests", sa.Integer, nullable=False),
        sa.Column("maximum_seconds", sa.Integer, nullable=False),
        sa.Column("requested_at", _TIME, nullable=False),
        sa.Column("started_at", _TIME),
        sa.Column("ended_at", _TIME),
        sa.Column("outcome", sa.String(16)),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("seal", sa.String(64), nullable=False, server_default=""),
        sa.CheckConstraint(
            "outcome IS NULL OR outcome IN ('passed', 'failed', 'waived', 'superseded')", name="canary_outcome_is_valid"
        ),
        sa.ForeignKeyConstraint(["deployment_id"], ["deployments.deployment_id"]),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("deployment_id"),
    )
