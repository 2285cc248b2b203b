"""A label of a statement."""

from datetime import UTC, datetime

from fine_tune_assets.ledger.reviews.statement_labels import StatementLabel

LABEL = StatementLabel(
    example_id="e1",
    subject_key="p" * 64,
    model_fingerprint="m" * 64,
    answer_fingerprint="a" * 64,
    statement_fingerprint="s" * 64,
    criterion="factual_accuracy",
    judge_support="supported",
    judge_probability=0.8125,
    judge_version="j" * 64,
    support="contradicted",
    labeller="Zoë Straße",
    labelled_at=datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
)
