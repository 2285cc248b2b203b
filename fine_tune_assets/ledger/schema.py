"""The tables of the ledger. Owns names, columns and constraints; migrations make them, modules beside this use them.

Says what people and services said: keys, users, sign-in links, review items, decisions, corrections, missed identifiers,
verdicts, spot-checks, releases, deployments, their trials and how their requests ended, live knowledge indexes, erasures, audit
lines, requests and what callers used.
Texts of drafts and answers are not here: they stay in the tables of the graph.
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
    # The secret of before the last rotation, and until when it opens.
    sa.Column("old_secret_hash", sa.String(64)),
    sa.Column("old_secret_until", UtcTime),
    # NULL: no limit.
    sa.Column("requests_per_minute", sa.Integer),
    sa.Column("tokens_per_day", sa.Integer),
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("user_id", sa.String(32), primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    # Without case and with single spaces: two spellings are one person.
    sa.Column("name_key", sa.String(200), nullable=False, unique=True),
    # Absent for who signs in by OIDC only.
    sa.Column("password_hash", sa.String(300)),
    # Issuer and subject of who signs in by OIDC.
    sa.Column("oidc_identity", sa.String(500), unique=True),
    sa.Column("roles", sa.String(200), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("disabled_at", UtcTime),
    sa.Column("failed_sign_ins", sa.Integer, nullable=False),
    sa.Column("locked_until", UtcTime),
    # Access labels that an operator gave, with a space between.
    sa.Column("labels", sa.Text),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("token_hash", sa.String(64), primary_key=True),
    sa.Column("user_id", sa.ForeignKey("users.user_id"), nullable=False, index=True),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("last_seen_at", UtcTime, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    # Access labels by the groups that the sign-in provider named.
    sa.Column("labels", sa.Text),
)

sign_in_links = sa.Table(
    "sign_in_links",
    metadata,
    sa.Column("token_hash", sa.String(64), primary_key=True),
    # One at most: a new link replaces the last one.
    sa.Column("user_id", sa.ForeignKey("users.user_id"), nullable=False, unique=True),
    sa.Column("expires_at", UtcTime, nullable=False),
)

review_items = sa.Table(
    "review_items",
    metadata,
    sa.Column("example_id", sa.String(64), primary_key=True),
    sa.Column("fingerprint", sa.String(64), nullable=False, index=True),
    sa.Column("report_id", sa.Text, nullable=False, index=True),
    sa.Column("patient_key", sa.String(64), nullable=False, index=True),
    sa.Column("line", sa.String(200), nullable=False),
    sa.Column("task", sa.String(200), nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    # Who wrote what the draft was made of, as `person_key`; nobody reviews their own. Absent for a report.
    sa.Column("author_key", sa.String(200)),
    # Whether the recipe trusts its source: what it is when no decision about it is left.
    sa.Column("is_trusted", sa.Boolean, nullable=False),
    sa.Column("flag_count", sa.Integer, nullable=False),
    # Kinds only, one a line: a flag's detail can quote the report.
    sa.Column("flag_kinds", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("arrived_at", UtcTime, nullable=False),
    # Those who have no say in it any more, as `person_key`, each between line breaks: nobody decides twice.
    sa.Column("decided_by", sa.Text, nullable=False),
    # When its draft was no longer there; such an item is in no queue.
    sa.Column("gone_at", UtcTime),
    sa.Column("assigned_to", sa.String(200)),
    sa.Column("assigned_until", UtcTime),
    # Counts every change: who saved an older one is told, and loses nothing.
    sa.Column("version", sa.Integer, nullable=False),
    sa.CheckConstraint(
        "state IN ('waiting', 'second_review', 'disagreement', 'approved', 'rejected', 'trusted')",
        name="review_state_is_known",
    ),
    sa.Index("ix_review_items_queue", "gone_at", "state", "flag_count", "example_id"),
)

decisions = sa.Table(
    "decisions",
    metadata,
    _sequence(),
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
    # `review`, or `adjudicate`: the word that settles a disagreement.
    sa.Column("role", sa.String(16), nullable=False, server_default="review"),
    # Of exactly what was approved, with the repair; absent for a rejection.
    sa.Column("approved_fingerprint", sa.String(64)),
    # What the reviewer declared by signing.
    sa.Column("meaning", sa.Text, nullable=False, server_default=""),
    # From the list of reasons; `reason` is what was written freely.
    sa.Column("reason_code", sa.String(64), nullable=False, server_default=""),
    sa.CheckConstraint("decision IN ('approve', 'reject')", name="decision_is_known"),
)

revocations = sa.Table(
    "revocations",
    metadata,
    _sequence(),
    sa.Column("decision_id", sa.String(64), nullable=False, unique=True),
    sa.Column("revoked_by", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("revoked_at", UtcTime, nullable=False),
)

verdicts = sa.Table(
    "verdicts",
    metadata,
    _sequence(),
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
    sa.Column("line", sa.String(200), nullable=False),
    sa.Column("verdict_id", sa.String(64), nullable=False),
    sa.Column("adapter_id", sa.String(64), nullable=False),
    sa.Column("base_fingerprint", sa.String(64), nullable=False),
    sa.Column("instruction_set_fingerprint", sa.String(64), nullable=False),
    sa.Column("weights_fingerprint", sa.String(64), nullable=False),
    sa.Column("prompt_fingerprint", sa.String(64), nullable=False),
    sa.Column("recorded_at", UtcTime, nullable=False),
    # When its folder was removed by the retention rule; what is known of it stays.
    sa.Column("removed_at", UtcTime),
)

imported_releases = sa.Table(
    "imported_releases",
    metadata,
    sa.Column("release_id", sa.ForeignKey("releases.release_id"), primary_key=True),
    # Of the public key in keys/imported: the file and this must agree.
    sa.Column("key_fingerprint", sa.String(64), nullable=False),
    # As the release carries it, as JSON.
    sa.Column("verdict", sa.Text, nullable=False),
    # Approvers of the other installation who signed a hold, as JSON.
    sa.Column("signers", sa.Text, nullable=False),
    # Replaced by the first release that this installation promotes.
    sa.Column("is_placeholder", sa.Boolean, nullable=False),
    sa.Column("imported_by", sa.String(200), nullable=False),
    sa.Column("imported_at", UtcTime, nullable=False),
)

deployments = sa.Table(
    "deployments",
    metadata,
    _sequence(),
    sa.Column("deployment_id", sa.String(32), nullable=False, unique=True),
    sa.Column("release_id", sa.ForeignKey("releases.release_id"), nullable=False),
    sa.Column("line", sa.String(200), nullable=False),
    sa.Column("colour", sa.String(8), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("engine_url", sa.Text),
    sa.Column("engine_key", sa.LargeBinary),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("wanted_at", UtcTime, nullable=False),
    sa.Column("changed_at", UtcTime, nullable=False),
    # When users were last sent to it; NULL for one that never answered any.
    sa.Column("live_since", UtcTime),
    # Until when its engine stays up after it drained, for a rollback; NULL: it is stopped then.
    sa.Column("keep_until", UtcTime),
    # Whether it was wanted to go back to a release that served before.
    sa.Column("is_rollback", sa.Boolean, nullable=False, server_default=sa.false()),
    # Why users were taken back from it by a rollback: "by hand", or the fault; NULL for any other.
    sa.Column("rollback_reason", sa.Text),
    # What the probes found, as JSON; NULL until it is warm.
    sa.Column("probes", sa.Text),
    sa.CheckConstraint("colour IN ('blue', 'green')", name="colour_is_known"),
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
    _sequence(),
    sa.Column("deployment_id", sa.ForeignKey("deployments.deployment_id"), nullable=False),
    # Requests that ended in the ten seconds from here on.
    sa.Column("slot", UtcTime, nullable=False),
    sa.Column("answered", sa.Integer, nullable=False),
    sa.Column("failed", sa.Integer, nullable=False),
    # Identifiers that were found in answers; NULL where nobody looked.
    sa.Column("identifiers", sa.Integer),
    # How many answers took how long, as JSON: a count for each step of ledger/serving/outcomes.py.
    sa.Column("durations", sa.Text, nullable=False),
    sa.UniqueConstraint("deployment_id", "slot", name="one_row_a_deployment_and_slot"),
)

trials = sa.Table(
    "trials",
    metadata,
    _sequence(),
    sa.Column("deployment_id", sa.ForeignKey("deployments.deployment_id"), nullable=False, unique=True),
    # Of callers, who are answered by it while it goes on.
    sa.Column("percent", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Integer, nullable=False),
    # Without so many it does not pass; it goes on for them up to `maximum_seconds`.
    sa.Column("minimum_requests", sa.Integer, nullable=False),
    sa.Column("maximum_seconds", sa.Integer, nullable=False),
    sa.Column("asked_at", UtcTime, nullable=False),
    sa.Column("begun_at", UtcTime),
    sa.Column("ended_at", UtcTime),
    sa.Column("outcome", sa.String(16)),
    sa.Column("reason", sa.Text, nullable=False),
    sa.CheckConstraint(
        "outcome IS NULL OR outcome IN ('passed', 'failed', 'waived', 'given up')", name="outcome_is_known"
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
    sa.Column("received_at", UtcTime, nullable=False, index=True),
    # What the user says of the error, if anything: of core/error_kinds.py.
    sa.Column("error_kind", sa.String(32)),
    sa.Column("severity", sa.String(16)),
    sa.Column("seconds_spent", sa.Integer),
    # Of an answer from documents: the index, and as JSON each passage with what tells which it was; NULL for any other answer.
    sa.Column("knowledge_index", sa.String(64)),
    sa.Column("passages", sa.Text),
    # What the passages said; NULL where no index holds them any more.
    sa.Column("passage_texts", sa.LargeBinary),
    sa.UniqueConstraint("author", "idempotency_key", name="one_correction_a_request"),
)

answer_feedback = sa.Table(
    "answer_feedback",
    metadata,
    _sequence(),
    sa.Column("feedback_id", sa.String(64), nullable=False, unique=True),
    sa.Column("release_id", sa.ForeignKey("releases.release_id"), nullable=False),
    sa.Column("author", sa.String(200), nullable=False),
    sa.Column("idempotency_key", sa.String(200), nullable=False),
    sa.Column("content_hash", sa.String(64), nullable=False),
    sa.Column("rating", sa.String(8), nullable=False),
    sa.Column("error_kind", sa.String(32)),
    sa.Column("severity", sa.String(16)),
    sa.Column("received_at", UtcTime, nullable=False, index=True),
    sa.UniqueConstraint("author", "idempotency_key", name="one_feedback_a_request"),
)

quarantine_decisions = sa.Table(
    "quarantine_decisions",
    metadata,
    _sequence(),
    sa.Column("decision_id", sa.String(64), nullable=False, unique=True),
    sa.Column("correction_id", sa.String(64), nullable=False, index=True),
    # Of the scrubbed texts that the person saw.
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    # Why it was in quarantine, by its codes.
    sa.Column("reasons", sa.Text, nullable=False),
    sa.Column("person", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    # What the person declared by signing.
    sa.Column("meaning", sa.Text, nullable=False),
    sa.Column("decided_at", UtcTime, nullable=False),
)

notifications = sa.Table(
    "notifications",
    metadata,
    _sequence(),
    # What happened, and to which run, verdict or deployment.
    sa.Column("event", sa.String(32), nullable=False),
    sa.Column("about", sa.String(200), nullable=False),
    sa.Column("channel", sa.String(16), nullable=False),
    # The kind of error; absent if it was sent.
    sa.Column("error", sa.String(200)),
    sa.Column("tried_at", UtcTime, nullable=False),
    sa.Index("ix_notifications_event_about", "event", "about"),
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

erasures = sa.Table(
    "erasures",
    metadata,
    _sequence(),
    sa.Column("erasure_id", sa.String(64), nullable=False, unique=True),
    # The tombstone: whatever arrives later of this patient is refused.
    sa.Column("patient_key", sa.String(64), nullable=False, unique=True),
    sa.Column("erased_by", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("erased_at", UtcTime, nullable=False),
    # What was removed: table or folder → count, as JSON.
    sa.Column("removed", sa.Text, nullable=False),
)

erased_in_releases = sa.Table(
    "erased_in_releases",
    metadata,
    _sequence(),
    sa.Column("patient_key", sa.String(64), nullable=False, index=True),
    sa.Column("release_id", sa.ForeignKey("releases.release_id"), nullable=False, index=True),
    # The split that the patient was in: a model learned from train and validation, and was only measured on test.
    sa.Column("split", sa.String(16), nullable=False),
    sa.Column("recorded_at", UtcTime, nullable=False),
    sa.UniqueConstraint("patient_key", "release_id", name="one_mark_a_release_and_patient"),
)

spot_checks = sa.Table(
    "spot_checks",
    metadata,
    _sequence(),
    sa.Column("example_id", sa.String(64), nullable=False),
    sa.Column("task", sa.String(200), nullable=False),
    sa.Column("model_fingerprint", sa.String(64), nullable=False),
    # Of the answer's text, which stays in `judge_scores`.
    sa.Column("answer_fingerprint", sa.String(64), nullable=False),
    # So that a rating goes with its patient.
    sa.Column("patient_key", sa.String(64), nullable=False, index=True),
    sa.Column("rater", sa.String(200), nullable=False),
    # As `person_key`: two spellings are one person.
    sa.Column("rater_key", sa.String(200), nullable=False),
    sa.Column("score", sa.Integer, nullable=False),
    # Criterion of the rubric → 1 to 10, as JSON; absent if the rater left all of them open.
    sa.Column("criteria", sa.Text),
    sa.Column("error_kind", sa.String(32), nullable=False),
    sa.Column("rated_at", UtcTime, nullable=False),
    sa.UniqueConstraint("rater_key", "example_id", "answer_fingerprint", name="one_rating_a_rater_and_answer"),
    sa.CheckConstraint("score BETWEEN 1 AND 10", name="score_is_on_the_scale"),
)

live_knowledge = sa.Table(
    "live_knowledge",
    metadata,
    _sequence(),
    sa.Column("index_fingerprint", sa.String(64), nullable=False),
    # Of how it is made and searched: a release answers from indexes of its own format only.
    sa.Column("format_fingerprint", sa.String(64), nullable=False, index=True),
    sa.Column("store", sa.String(16), nullable=False),
    sa.Column("chunks", sa.Integer, nullable=False),
    # The figures that let it through, as JSON.
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("made_live_by", sa.String(200), nullable=False),
    sa.Column("made_live_at", UtcTime, nullable=False),
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

request_lines = sa.Table(
    "request_lines",
    metadata,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    # When it ended.
    sa.Column("at", UtcTime, nullable=False),
    # `key:ID` or `oidc:SUBJECT`, then ` for NAME` where it acted for a person; NULL where nobody proved who they are.
    sa.Column("who", sa.String(300)),
    sa.Column("route", sa.String(64), nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    # The error's code, `left` if the caller hung up; NULL for a whole answer.
    sa.Column("code", sa.String(64)),
    sa.Column("release_id", sa.String(64)),
    sa.Column("tokens_in", sa.Integer),
    sa.Column("tokens_out", sa.Integer),
    sa.Column("milliseconds", sa.Integer, nullable=False),
    # HMAC of what was asked: who has the text and the key can show that it was this one.
    sa.Column("prompt_hash", sa.String(64)),
    # Found in the answer; NULL where nobody looked.
    sa.Column("identifiers", sa.Integer),
    # More than one only for refusals of nobody known, of the same second.
    sa.Column("requests", sa.Integer, nullable=False),
    # That a key said the person has for whom it acts; NULL where it said none, empty where it said that there are none.
    sa.Column("labels", sa.Text),
    sa.Column("previous_hash", sa.String(64), nullable=False, unique=True),
    sa.Column("line_hash", sa.String(64), nullable=False, unique=True),
)

caller_usage = sa.Table(
    "caller_usage",
    metadata,
    sa.Column("caller", sa.String(300), primary_key=True),
    # `requests` of a minute or `tokens` of a day.
    sa.Column("what", sa.String(16), primary_key=True),
    # Where that minute or day begins.
    sa.Column("slot", UtcTime, primary_key=True),
    sa.Column("used", sa.Integer, nullable=False),
)

request_features = sa.Table(
    "request_features",
    metadata,
    _sequence(),
    sa.Column("release_id", sa.String(64), nullable=False),
    # Fingerprint of how requests were read: only what was read alike is added up and compared.
    sa.Column("reading", sa.String(64), nullable=False),
    sa.Column("window_end", UtcTime, nullable=False),
    # Of its first request: what was too little for a window of its own went into the next.
    sa.Column("window_start", UtcTime, nullable=False),
    sa.Column("requests", sa.Integer, nullable=False),
    # Answered while there was no time to read them.
    sa.Column("dropped", sa.Integer, nullable=False),
    # Feature → bin → requests, as JSON.
    sa.Column("counts", sa.Text, nullable=False),
    sa.Column("refused", sa.Integer, nullable=False),
    # Requests for which documents were looked for, and for which some were found.
    sa.Column("looked_up", sa.Integer, nullable=False),
    sa.Column("found", sa.Integer, nullable=False),
    sa.UniqueConstraint("release_id", "reading", "window_end", name="one_row_a_release_and_window"),
)
