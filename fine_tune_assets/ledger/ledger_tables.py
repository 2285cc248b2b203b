"""Defines the tables of the ledger: people, reviews, verdicts, releases, deployments, erasures, audit log and requests.

Migrations create them. Texts of drafts and answers stay in the tables of the Dagster assets; only encrypted corrections, marks
and unfinished edits are here.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa


class UtcTime(sa.TypeDecorator[datetime]):
    """A UTC timestamp. SQLite drops the time zone, so it is restored on read."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = sa.MetaData()
SEAL = "seal"
"""Column with the seal of a row."""
_NOTHING = frozenset({SEAL})
SEALED_TABLES: Mapping[str, frozenset[str]] = {
    "api_keys": _NOTHING,
    "users": frozenset({SEAL, "failed_sign_ins", "locked_until"}),
    "sessions": frozenset({SEAL, "last_seen_at"}),
    "sign_in_links": _NOTHING,
    "decisions": _NOTHING,
    "revocations": _NOTHING,
    "corrections": _NOTHING,
    "quarantine_decisions": _NOTHING,
    "missed_identifiers": _NOTHING,
    "mark_subjects": _NOTHING,
    "verdicts": _NOTHING,
    "signatures": _NOTHING,
    "releases": _NOTHING,
    "imported_releases": _NOTHING,
    "deployments": _NOTHING,
    "canary_releases": _NOTHING,
    "live_indexes": _NOTHING,
}
"""Tables whose rows decide → columns that change without a new seal."""


def _sequence_column() -> sa.Column[int]:
    """Insertion order: timestamps can repeat, sequence numbers cannot."""
    return sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True)


def _seal_column() -> sa.Column[str]:
    """See `seals`. Empty only within the transaction that adds the row."""
    return sa.Column(SEAL, sa.String(64), nullable=False, server_default="")


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
    # The secret before the last rotation, valid until previous_secret_expires_at.
    sa.Column("previous_secret_hash", sa.String(64)),
    sa.Column("previous_secret_expires_at", UtcTime),
    # NULL means no limit.
    sa.Column("requests_per_minute", sa.Integer),
    sa.Column("tokens_per_day", sa.Integer),
    # Simultaneous chat requests; NULL means the limit of the settings.
    sa.Column("open_requests", sa.Integer),
    # Weight of its share of engine time; NULL means 1.
    sa.Column("share", sa.Integer),
    # Owner, who is the author of corrections sent with it. NULL if it only sends corrections on behalf of others, or none.
    sa.Column("user_id", sa.ForeignKey("users.user_id")),
    _seal_column(),
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("user_id", sa.String(32), primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    # As `person_key`: spelling variants and look-alikes are the same person.
    sa.Column("name_key", sa.Text, nullable=False, unique=True),
    # NULL for users who sign in through OIDC only.
    sa.Column("password_hash", sa.String(300)),
    # OIDC issuer and subject.
    sa.Column("oidc_identity", sa.String(500), unique=True),
    sa.Column("roles", sa.String(200), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("disabled_at", UtcTime),
    # Of all sources, since the user last signed in at the desk.
    sa.Column("failed_sign_ins", sa.Integer, nullable=False),
    # For unknown sources; those of `sign_in_failures` have their own times.
    sa.Column("locked_until", UtcTime),
    # Access labels that an operator assigned, separated by spaces.
    sa.Column("labels", sa.Text),
    _seal_column(),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("token_hash", sa.String(64), primary_key=True),
    sa.Column("user_id", sa.ForeignKey("users.user_id"), nullable=False, index=True),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("last_seen_at", UtcTime, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    # Access labels from the user's groups at the sign-in provider.
    sa.Column("labels", sa.Text),
    _seal_column(),
)

sign_in_failures = sa.Table(
    "sign_in_failures",
    metadata,
    sa.Column("user_id", sa.ForeignKey("users.user_id"), primary_key=True),
    # Fingerprint of an address, a browser or a user of the operating system.
    sa.Column("source_key", sa.String(64), primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("locked_until", UtcTime),
    sa.Column("last_at", UtcTime, nullable=False),
)

sign_in_links = sa.Table(
    "sign_in_links",
    metadata,
    sa.Column("token_hash", sa.String(64), primary_key=True),
    # Unique: a new link replaces the previous one.
    sa.Column("user_id", sa.ForeignKey("users.user_id"), nullable=False, unique=True),
    sa.Column("expires_at", UtcTime, nullable=False),
    _seal_column(),
)

review_items = sa.Table(
    "review_items",
    metadata,
    sa.Column("example_id", sa.String(64), primary_key=True),
    sa.Column("fingerprint", sa.String(64), nullable=False, index=True),
    sa.Column("report_id", sa.Text, nullable=False, index=True),
    sa.Column("subject_key", sa.String(64), nullable=False, index=True),
    sa.Column("line", sa.String(200), nullable=False),
    sa.Column("task", sa.String(200), nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    # Author of the source text, as `person_key`; authors don't review their own texts. NULL for a report.
    sa.Column("author_key", sa.Text),
    # Whether the recipe trusts the source; decides the state without an active decision.
    sa.Column("is_trusted", sa.Boolean, nullable=False),
    sa.Column("flag_count", sa.Integer, nullable=False),
    # Kinds only, one per line: the detail of a flag can quote the report.
    sa.Column("flag_kinds", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("arrived_at", UtcTime, nullable=False),
    # People who may not decide, as `person_key`, each between line breaks. Each person decides once.
    sa.Column("decided_by", sa.Text, nullable=False),
    # When its draft disappeared; the item is then in no queue.
    sa.Column("removed_at", UtcTime),
    sa.Column("assigned_to", sa.String(200)),
    sa.Column("assigned_until", UtcTime),
    # Incremented by every change, so that a save based on an older version is rejected instead of overwriting.
    sa.Column("version", sa.Integer, nullable=False),
    # Hash of task, instruction, output and flags; empty for a draft that is never decided together with others.
    sa.Column("case_key", sa.String(64), nullable=False, server_default=""),
    sa.CheckConstraint(
        "state IN ('waiting', 'second_review', 'disagreement', 'approved', 'rejected', 'trusted')",
        name="review_state_is_valid",
    ),
    sa.Index("ix_review_items_queue", "removed_at", "state", "flag_count", "example_id"),
    sa.Index("ix_review_items_case", "case_key", "state"),
)

decisions = sa.Table(
    "decisions",
    metadata,
    _sequence_column(),
    sa.Column("decision_id", sa.String(64), nullable=False, unique=True),
    sa.Column("example_id", sa.String(200), nullable=False, index=True),
    sa.Column("fingerprint", sa.String(64), nullable=False, index=True),
    sa.Column("report_id", sa.Text, index=True),
    sa.Column("task", sa.String(200)),
    sa.Column("decision", sa.String(16), nullable=False),
    sa.Column("output", sa.Text),
    sa.Column("reviewer", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("decided_at", UtcTime, nullable=False),
    # `review`, or `adjudicate` to resolve a disagreement.
    sa.Column("role", sa.String(16), nullable=False, server_default="review"),
    # Fingerprint of the approved text, with the repair; NULL for a rejection.
    sa.Column("approved_fingerprint", sa.String(64)),
    # The declaration that the reviewer signed.
    sa.Column("meaning", sa.Text, nullable=False, server_default=""),
    # From the list of reasons; `reason` is free text.
    sa.Column("reason_code", sa.String(64), nullable=False, server_default=""),
    _seal_column(),
    sa.CheckConstraint("decision IN ('approve', 'reject')", name="decision_is_valid"),
)

revocations = sa.Table(
    "revocations",
    metadata,
    _sequence_column(),
    sa.Column("decision_id", sa.String(64), nullable=False, unique=True),
    sa.Column("revoked_by", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("revoked_at", UtcTime, nullable=False),
    _seal_column(),
)

proposals = sa.Table(
    "proposals",
    metadata,
    _sequence_column(),
    sa.Column("proposal_id", sa.String(64), nullable=False, unique=True),
    # One import.
    sa.Column("file_id", sa.String(32), nullable=False, index=True),
    # Its place in the file, such as `line 3`.
    sa.Column("place", sa.String(64), nullable=False),
    # What is proposed, as in `decisions`. Output and reason are cleared when it is signed or withdrawn.
    sa.Column("example_id", sa.String(200), nullable=False, index=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("report_id", sa.Text),
    sa.Column("task", sa.String(200)),
    sa.Column("decision", sa.String(16), nullable=False),
    sa.Column("output", sa.Text),
    # The person who may sign it.
    sa.Column("reviewer", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    # As the file says; the signed decision has the time of its signature.
    sa.Column("decided_at", UtcTime, nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("approved_fingerprint", sa.String(64)),
    sa.Column("meaning", sa.Text, nullable=False),
    sa.Column("reason_code", sa.String(64), nullable=False),
    sa.Column("imported_by", sa.String(200), nullable=False),
    sa.Column("imported_at", UtcTime, nullable=False),
    # The decision that its person signed.
    sa.Column("signed_id", sa.String(64)),
    sa.Column("withdrawn_by", sa.String(200)),
    sa.Column("withdrawn_at", UtcTime),
)

verdicts = sa.Table(
    "verdicts",
    metadata,
    _sequence_column(),
    sa.Column("verdict_id", sa.String(64), nullable=False, index=True),
    sa.Column("decision", sa.String(16), nullable=False),
    sa.Column("line", sa.String(200), nullable=False),
    sa.Column("adapter_id", sa.String(64), nullable=False, index=True),
    sa.Column("base_fingerprint", sa.String(64), nullable=False),
    sa.Column("instruction_set_fingerprint", sa.String(64), nullable=False),
    sa.Column("incumbent", sa.String(200), nullable=False),
    sa.Column("reasons", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("recorded_at", UtcTime, nullable=False),
    _seal_column(),
)

signatures = sa.Table(
    "signatures",
    metadata,
    _sequence_column(),
    sa.Column("verdict_id", sa.String(64), nullable=False, index=True),
    sa.Column("approver", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("signed_at", UtcTime, nullable=False),
    _seal_column(),
)

releases = sa.Table(
    "releases",
    metadata,
    sa.Column("release_id", sa.String(64), primary_key=True),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("line", sa.String(200), nullable=False),
    sa.Column("verdict_id", sa.String(64), nullable=False),
    sa.Column("adapter_id", sa.String(64), nullable=False),
    sa.Column("base_fingerprint", sa.String(64), nullable=False),
    sa.Column("instruction_set_fingerprint", sa.String(64), nullable=False),
    sa.Column("weights_fingerprint", sa.String(64), nullable=False),
    sa.Column("prompt_fingerprint", sa.String(64), nullable=False),
    sa.Column("recorded_at", UtcTime, nullable=False),
    # When the retention rule removed its folder; the row stays.
    sa.Column("removed_at", UtcTime),
    _seal_column(),
)

imported_releases = sa.Table(
    "imported_releases",
    metadata,
    sa.Column("release_id", sa.ForeignKey("releases.release_id"), primary_key=True),
    # Fingerprint of the public key in keys/imported; the file must match.
    sa.Column("key_fingerprint", sa.String(64), nullable=False),
    # The verdict in the release, as JSON.
    sa.Column("verdict", sa.Text, nullable=False),
    # Approvers of the other installation who signed a hold, as JSON.
    sa.Column("signers", sa.Text, nullable=False),
    # Replaced by the first release that this installation promotes.
    sa.Column("is_placeholder", sa.Boolean, nullable=False),
    sa.Column("imported_by", sa.String(200), nullable=False),
    sa.Column("imported_at", UtcTime, nullable=False),
    _seal_column(),
)

deployments = sa.Table(
    "deployments",
    metadata,
    _sequence_column(),
    sa.Column("deployment_id", sa.String(32), nullable=False, unique=True),
    sa.Column("release_id", sa.ForeignKey("releases.release_id"), nullable=False),
    sa.Column("line", sa.String(200), nullable=False),
    sa.Column("colour", sa.String(8), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("engine_url", sa.Text),
    sa.Column("engine_key", sa.LargeBinary),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("requested_at", UtcTime, nullable=False),
    sa.Column("changed_at", UtcTime, nullable=False),
    # When traffic was last switched to it; NULL if it never served users.
    sa.Column("live_since", UtcTime),
    # How long its engine stays up after draining, for a rollback; NULL stops the engine after draining.
    sa.Column("standby_until", UtcTime),
    # Whether it was requested as a rollback to an earlier release.
    sa.Column("is_rollback", sa.Boolean, nullable=False, server_default=sa.false()),
    # Why a rollback moved traffic away from it: "manual" or the fault; otherwise NULL.
    sa.Column("rollback_reason", sa.Text),
    # Probe results as JSON; NULL until it is warm.
    sa.Column("probes", sa.Text),
    _seal_column(),
    sa.CheckConstraint("colour IN ('blue', 'green')", name="colour_is_valid"),
    sa.Index(
        "one_live_deployment",
        "state",
        unique=True,
        sqlite_where=sa.text("state = 'live'"),
        postgresql_where=sa.text("state = 'live'"),
    ),
)

deployment_outcomes = sa.Table(
    "deployment_outcomes",
    metadata,
    _sequence_column(),
    sa.Column("deployment_id", sa.ForeignKey("deployments.deployment_id"), nullable=False),
    # Start of the ten-second slot in which the requests ended.
    sa.Column("slot", UtcTime, nullable=False),
    sa.Column("answered", sa.Integer, nullable=False),
    sa.Column("failed", sa.Integer, nullable=False),
    # Identifiers found in answers; NULL if answers were not scanned.
    sa.Column("identifier_count", sa.Integer),
    # Histogram of durations as JSON: a count per bucket of ledger/serving/request_outcomes.py.
    sa.Column("durations", sa.Text, nullable=False),
    sa.UniqueConstraint("deployment_id", "slot", name="one_row_per_deployment_and_slot"),
)

crash_suspects = sa.Table(
    "crash_suspects",
    metadata,
    _sequence_column(),
    sa.Column("deployment_id", sa.ForeignKey("deployments.deployment_id"), nullable=False, index=True),
    # Hash of the engine's address, which is new at each start: the engine that stopped.
    sa.Column("engine", sa.String(64), nullable=False),
    # Keyed hash of a request that it was answering then.
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("caller", sa.String(300), nullable=False),
    sa.Column("at", UtcTime, nullable=False, index=True),
)

canary_releases = sa.Table(
    "canary_releases",
    metadata,
    _sequence_column(),
    sa.Column("deployment_id", sa.ForeignKey("deployments.deployment_id"), nullable=False, unique=True),
    # Percentage of callers routed to it during the canary release.
    sa.Column("traffic_percent", sa.Integer, nullable=False),
    sa.Column("duration_seconds", sa.Integer, nullable=False),
    # Required to pass; with fewer requests it is extended up to `maximum_seconds`.
    sa.Column("minimum_requests", sa.Integer, nullable=False),
    sa.Column("maximum_seconds", sa.Integer, nullable=False),
    sa.Column("requested_at", UtcTime, nullable=False),
    sa.Column("started_at", UtcTime),
    sa.Column("ended_at", UtcTime),
    sa.Column("outcome", sa.String(16)),
    sa.Column("reason", sa.Text, nullable=False),
    _seal_column(),
    sa.CheckConstraint(
        "outcome IS NULL OR outcome IN ('passed', 'failed', 'waived', 'superseded')", name="canary_outcome_is_valid"
    ),
)

corrections = sa.Table(
    "corrections",
    metadata,
    _sequence_column(),
    sa.Column("correction_id", sa.String(64), nullable=False, unique=True),
    sa.Column("release_id", sa.ForeignKey("releases.release_id"), nullable=False),
    sa.Column("author", sa.String(200), nullable=False),
    sa.Column("idempotency_key", sa.String(200), nullable=False),
    sa.Column("content_hash", sa.String(64), nullable=False),
    sa.Column("instruction", sa.LargeBinary, nullable=False),
    sa.Column("input", sa.LargeBinary, nullable=False),
    sa.Column("answer", sa.LargeBinary, nullable=False),
    sa.Column("corrected_answer", sa.LargeBinary, nullable=False),
    sa.Column("received_at", UtcTime, nullable=False, index=True),
    # Kind of error that the user reported, from core/error_kinds.py; optional.
    sa.Column("error_kind", sa.String(32)),
    sa.Column("severity", sa.String(16)),
    sa.Column("seconds_spent", sa.Integer),
    # For an answer from documents: the index, and its passages as JSON without their texts; otherwise NULL.
    sa.Column("knowledge_index", sa.String(64)),
    sa.Column("passages", sa.Text),
    # Encrypted passage texts; NULL if no index contains them anymore.
    sa.Column("passage_texts", sa.LargeBinary),
    _seal_column(),
    sa.UniqueConstraint("author", "idempotency_key", name="one_correction_per_request"),
)

answer_feedback = sa.Table(
    "answer_feedback",
    metadata,
    _sequence_column(),
    sa.Column("feedback_id", sa.String(64), nullable=False, unique=True),
    sa.Column("release_id", sa.ForeignKey("releases.release_id"), nullable=False),
    sa.Column("author", sa.String(200), nullable=False),
    sa.Column("idempotency_key", sa.String(200), nullable=False),
    sa.Column("content_hash", sa.String(64), nullable=False),
    sa.Column("rating", sa.String(8), nullable=False),
    sa.Column("error_kind", sa.String(32)),
    sa.Column("severity", sa.String(16)),
    sa.Column("received_at", UtcTime, nullable=False, index=True),
    sa.UniqueConstraint("author", "idempotency_key", name="one_feedback_per_request"),
)

quarantine_decisions = sa.Table(
    "quarantine_decisions",
    metadata,
    _sequence_column(),
    sa.Column("decision_id", sa.String(64), nullable=False, unique=True),
    sa.Column("correction_id", sa.String(64), nullable=False, index=True),
    # Fingerprint of the scrubbed texts that the person saw.
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    # Codes of the reasons for the quarantine.
    sa.Column("reasons", sa.Text, nullable=False),
    sa.Column("person", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    # The declaration that the person signed.
    sa.Column("meaning", sa.Text, nullable=False),
    sa.Column("decided_at", UtcTime, nullable=False),
    _seal_column(),
)

notifications = sa.Table(
    "notifications",
    metadata,
    _sequence_column(),
    # The event, and the run, verdict or deployment it is about.
    sa.Column("event", sa.String(32), nullable=False),
    sa.Column("resource", sa.String(200), nullable=False),
    sa.Column("channel", sa.String(16), nullable=False),
    # Kind of error; NULL if it was sent.
    sa.Column("error", sa.String(200)),
    sa.Column("attempted_at", UtcTime, nullable=False),
    sa.Index("ix_notifications_event_resource", "event", "resource"),
)

missed_identifiers = sa.Table(
    "missed_identifiers",
    metadata,
    _sequence_column(),
    sa.Column("mark_id", sa.String(64), nullable=False, unique=True),
    sa.Column("report_id", sa.Text, nullable=False),
    sa.Column("batch", sa.Text, nullable=False),
    sa.Column("subject_key", sa.String(64), nullable=False, index=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("term_hash", sa.String(64), nullable=False, index=True),
    sa.Column("term", sa.LargeBinary, nullable=False),
    sa.Column("labelled_case", sa.LargeBinary, nullable=False),
    sa.Column("marked_by", sa.String(200), nullable=False),
    sa.Column("marked_at", UtcTime, nullable=False),
    sa.Column("withdrawn_by", sa.String(200)),
    sa.Column("withdrawn_at", UtcTime),
    _seal_column(),
)

# The subjects whose examples must not contain a marked term: the marked one, and those with a copy of the report.
mark_subjects = sa.Table(
    "mark_subjects",
    metadata,
    _sequence_column(),
    sa.Column("mark_id", sa.ForeignKey("missed_identifiers.mark_id"), nullable=False),
    sa.Column("subject_key", sa.String(64), nullable=False, index=True),
    _seal_column(),
    sa.UniqueConstraint("mark_id", "subject_key", name="one_row_per_subject_of_a_mark"),
)

erasures = sa.Table(
    "erasures",
    metadata,
    _sequence_column(),
    sa.Column("erasure_id", sa.String(64), nullable=False, unique=True),
    # The tombstone: data of this subject that arrives later is refused.
    sa.Column("subject_key", sa.String(64), nullable=False, unique=True),
    sa.Column("erased_by", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("erased_at", UtcTime, nullable=False),
    # Counts of removed items by table or folder, with the ids still to remove, as JSON.
    sa.Column("state", sa.Text, nullable=False),
)

erasure_marks = sa.Table(
    "erasure_marks",
    metadata,
    _sequence_column(),
    sa.Column("subject_key", sa.String(64), nullable=False, index=True),
    sa.Column("release_id", sa.ForeignKey("releases.release_id"), nullable=False, index=True),
    # The subject's split: the model learned from train and validation and was only measured on test.
    sa.Column("split", sa.String(16), nullable=False),
    sa.Column("recorded_at", UtcTime, nullable=False),
    sa.UniqueConstraint("subject_key", "release_id", name="one_mark_per_release_and_subject"),
)

saved_edits = sa.Table(
    "saved_edits",
    metadata,
    sa.Column("example_id", sa.String(64), primary_key=True),
    # As `person_key`: only this reviewer gets the text back.
    sa.Column("reviewer_key", sa.Text, primary_key=True),
    # Fingerprint of the content that the reviewer changes; the edit of another content is ignored.
    sa.Column("base_fingerprint", sa.String(64), nullable=False),
    # Lets an erasure delete the edits of a subject.
    sa.Column("subject_key", sa.String(64), nullable=False, index=True),
    # Encrypted.
    sa.Column("text", sa.LargeBinary, nullable=False),
    sa.Column("saved_at", UtcTime, nullable=False),
)

spot_checks = sa.Table(
    "spot_checks",
    metadata,
    _sequence_column(),
    sa.Column("example_id", sa.String(64), nullable=False),
    sa.Column("task", sa.String(200), nullable=False),
    sa.Column("model_fingerprint", sa.String(64), nullable=False),
    # Fingerprint of the answer, whose text stays in `judge_scores`.
    sa.Column("answer_fingerprint", sa.String(64), nullable=False),
    # Lets an erasure delete the ratings of a subject.
    sa.Column("subject_key", sa.String(64), nullable=False, index=True),
    sa.Column("rater", sa.String(200), nullable=False),
    # As `person_key`: spelling variants are the same person.
    sa.Column("rater_key", sa.Text, nullable=False),
    sa.Column("score", sa.Integer, nullable=False),
    # Rubric criterion → 1 to 10, as JSON; NULL if the rater scored none.
    sa.Column("criteria", sa.Text),
    sa.Column("error_kind", sa.String(32), nullable=False),
    sa.Column("rated_at", UtcTime, nullable=False),
    sa.UniqueConstraint("rater_key", "example_id", "answer_fingerprint", name="one_rating_per_rater_and_answer"),
    sa.CheckConstraint("score BETWEEN 1 AND 10", name="score_is_in_range"),
)

statement_labels = sa.Table(
    "statement_labels",
    metadata,
    _sequence_column(),
    sa.Column("example_id", sa.String(64), nullable=False),
    # Lets an erasure delete the labels of a subject.
    sa.Column("subject_key", sa.String(64), nullable=False, index=True),
    sa.Column("model_fingerprint", sa.String(64), nullable=False),
    sa.Column("answer_fingerprint", sa.String(64), nullable=False),
    sa.Column("statement_fingerprint", sa.String(64), nullable=False),
    sa.Column("criterion", sa.String(40), nullable=False),
    # What the judge said when the label was given.
    sa.Column("judge_support", sa.String(16), nullable=False),
    sa.Column("judge_probability", sa.Float, nullable=False),
    sa.Column("judge_version", sa.String(64), nullable=False),
    # What the expert says.
    sa.Column("support", sa.String(16), nullable=False),
    sa.Column("labeller", sa.String(200), nullable=False),
    # As `person_key`: spelling variants are the same person.
    sa.Column("labeller_key", sa.Text, nullable=False),
    sa.Column("labelled_at", UtcTime, nullable=False),
    # The labelled texts, encrypted: a verifier learns from them after the next comparison has replaced the answers.
    sa.Column("texts", sa.LargeBinary),
    sa.UniqueConstraint(
        "example_id", "answer_fingerprint", "criterion", "statement_fingerprint", "labeller_key",
        name="one_label_per_person_and_statement",
    ),
    sa.CheckConstraint("support IN ('supported', 'contradicted', 'not mentioned')", name="support_is_valid"),
)  # fmt: skip

live_indexes = sa.Table(
    "live_indexes",
    metadata,
    _sequence_column(),
    sa.Column("index_fingerprint", sa.String(64), nullable=False),
    # Fingerprint of how it is built and searched: a release only uses indexes of its format.
    sa.Column("format_fingerprint", sa.String(64), nullable=False, index=True),
    sa.Column("store", sa.String(16), nullable=False),
    sa.Column("chunks", sa.Integer, nullable=False),
    # The metrics that passed the gate, as JSON.
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("activated_by", sa.String(200), nullable=False),
    sa.Column("activated_at", UtcTime, nullable=False),
    _seal_column(),
)

audit_entries = sa.Table(
    "audit_entries",
    metadata,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("action", sa.String(200), nullable=False),
    sa.Column("resource", sa.String(300), nullable=False),
    sa.Column("previous_hash", sa.String(64), nullable=False, unique=True),
    sa.Column("entry_hash", sa.String(64), nullable=False, unique=True),
)

request_entries = sa.Table(
    "request_entries",
    metadata,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    # When the request ended.
    sa.Column("at", UtcTime, nullable=False),
    # `key:ID` or `oidc:SUBJECT`, then ` for NAME` if it acted for a person; NULL for an unauthenticated caller.
    sa.Column("caller", sa.String(300)),
    sa.Column("route", sa.String(64), nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    # Error code, `left` if the caller disconnected; NULL for a complete answer.
    sa.Column("code", sa.String(64)),
    sa.Column("release_id", sa.String(64)),
    sa.Column("tokens_in", sa.Integer),
    sa.Column("tokens_out", sa.Integer),
    sa.Column("milliseconds", sa.Integer, nullable=False),
    # HMAC of the prompt: proves a match to a holder of both text and key.
    sa.Column("prompt_hash", sa.String(64)),
    # Identifiers found in the answer; NULL if it was not scanned.
    sa.Column("identifier_count", sa.Integer),
    # Above 1 only for refusals of unauthenticated callers within one second.
    sa.Column("request_count", sa.Integer, nullable=False),
    # Access labels that the key asserted for the person it acted for; NULL if it asserted none, empty if it asserted an empty
    # list.
    sa.Column("labels", sa.Text),
    sa.Column("previous_hash", sa.String(64), nullable=False, unique=True),
    sa.Column("entry_hash", sa.String(64), nullable=False, unique=True),
)

caller_usage = sa.Table(
    "caller_usage",
    metadata,
    sa.Column("caller", sa.String(300), primary_key=True),
    # `requests` per minute or `tokens` per day.
    sa.Column("kind", sa.String(16), primary_key=True),
    # Start of that minute or day.
    sa.Column("period_start", UtcTime, primary_key=True),
    sa.Column("used", sa.Integer, nullable=False),
)

request_features = sa.Table(
    "request_features",
    metadata,
    _sequence_column(),
    sa.Column("release_id", sa.String(64), nullable=False),
    # Fingerprint of the feature extractor: only windows of the same extractor are added up and compared.
    sa.Column("extractor_fingerprint", sa.String(64), nullable=False),
    sa.Column("window_end", UtcTime, nullable=False),
    # Time of its first request: a window with too few requests is merged into the next one.
    sa.Column("window_start", UtcTime, nullable=False),
    sa.Column("requests", sa.Integer, nullable=False),
    # Answered, but not analysed for lack of time.
    sa.Column("unread", sa.Integer, nullable=False),
    # Feature → bin → requests, as JSON.
    sa.Column("counts", sa.Text, nullable=False),
    sa.Column("refused", sa.Integer, nullable=False),
    # Requests that triggered a document search, and those with at least one result.
    sa.Column("lookups", sa.Integer, nullable=False),
    sa.Column("lookup_hits", sa.Integer, nullable=False),
    sa.UniqueConstraint("release_id", "extractor_fingerprint", "window_end", name="one_row_per_release_and_window"),
)
