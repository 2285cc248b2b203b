"""Stores experts' blind ratings of judged answers: made without knowing the judge's grade or the model.

One rating per rater and answer; none of erased subjects. Contains fingerprints, no text. `judging` selects the answers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.error_kinds import ERROR_KINDS
from fine_tune_assets.core.fingerprints import fingerprint_json, fingerprint_text, short
from fine_tune_assets.core.people import person_key
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger, select_fields
from fine_tune_assets.ledger.ledger_errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.ledger_tables import erasures, spot_checks

MIN_SCORE, MAX_SCORE = 1, 10


@dataclass(frozen=True)
class SpotCheck:
    """One expert's rating of one answer."""

    example_id: str
    task: str
    model_fingerprint: str
    """A model that gave this answer; other models may have given the same one."""
    answer_fingerprint: str
    """SHA-256 of the answer's text."""
    subject_key: str
    rater: str
    score: int
    """1 to 10."""
    error_kind: str
    rated_at: datetime
    criteria: Mapping[str, int] = field(default_factory=dict)
    """Rubric criterion → 1 to 10; criteria that the rater skipped are absent."""

    @property
    def answer_id(self) -> str:
        return make_answer_id(self.example_id, self.answer_fingerprint)


def make_answer_id(example_id: str, answer_fingerprint: str) -> str:
    """The id of an answer to an example; it does not reveal the model."""
    return short(fingerprint_text(f"{example_id} {answer_fingerprint}"))


def add_spot_check(ledger: Ledger, check: SpotCheck) -> bool:
    """Store a rating; False if this rater already rated the answer (the first rating stays).

    Raises LedgerError for an invalid score or error kind, UnknownRecordError if the subject was erased meanwhile.
    """
    _require_valid_rating(check)
    with ledger.begin() as connection:
        erased = sa.select(erasures.c.sequence).where(erasures.c.subject_key == check.subject_key)
        if connection.execute(erased).first() is not None:
            raise UnknownRecordError(f"Answer {check.answer_id} was erased. Nothing was recorded; take the next one.")
        row: dict[str, Any] = {**vars(check), "rater_key": person_key(check.rater)}
        same = (spot_checks.c[name] == row[name] for name in ("rater_key", "example_id", "answer_fingerprint"))
        if connection.execute(sa.select(spot_checks.c.sequence).where(*same)).first() is not None:
            return False
        criteria = json.dumps(dict(check.criteria), sort_keys=True) if check.criteria else None
        connection.execute(spot_checks.insert().values(**row | {"criteria": criteria}))
        audit.append(connection, check.rater, "rated an answer", f"answer {check.answer_id}")
        return True


def list_spot_checks(ledger: Ledger) -> list[SpotCheck]:
    """Every rating, in order."""
    query = select_fields(spot_checks, SpotCheck).order_by(spot_checks.c.sequence)
    with ledger.read() as connection:
        rows = connection.execute(query).mappings()
        return [SpotCheck(**{**row, "criteria": json.loads(row["criteria"] or "{}")}) for row in rows]


def list_rated_answers(ledger: Ledger, rater: str) -> frozenset[str]:
    """Ids of the answers that this person has rated."""
    columns = (spot_checks.c.example_id, spot_checks.c.answer_fingerprint)
    query = sa.select(*columns).where(spot_checks.c.rater_key == person_key(rater))
    with ledger.read() as connection:
        return frozenset(make_answer_id(*row) for row in connection.execute(query))


def spot_checks_fingerprint(ledger: Ledger) -> str:
    """Changes with every rating, and when an erasure removes ratings."""
    ratings = [
        [c.example_id, c.answer_fingerprint, person_key(c.rater), c.score, c.error_kind, dict(c.criteria)]
        for c in list_spot_checks(ledger)
    ]
    return fingerprint_json(ratings)


def _require_valid_rating(check: SpotCheck) -> None:
    if not check.rater.strip():
        raise LedgerError(f"The rating of answer {check.answer_id} lacks the rater's name.")
    if check.error_kind not in ERROR_KINDS:
        raise LedgerError(f"Select the error in answer {check.answer_id}, or that there is none.")
    if not all(MIN_SCORE <= score <= MAX_SCORE for score in (check.score, *check.criteria.values())):
        raise LedgerError(f"Scores of answer {check.answer_id} must be {MIN_SCORE} to {MAX_SCORE}.")
