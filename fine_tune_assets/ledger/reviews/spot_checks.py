"""Experts' ratings of judged answers, made without knowing the judge's grade or which model answered.

Owns storing them: one a rater and answer, none of a patient who was erased. Holds fingerprints, no text. Which answers are
asked about is `judging`'s, and what is shown of them the desk's.
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
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger, select_fields
from fine_tune_assets.ledger.errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.schema import erasures, spot_checks

LOWEST, HIGHEST = 1, 10


@dataclass(frozen=True)
class SpotCheck:
    """What one expert says of one answer."""

    example_id: str
    task: str
    model_fingerprint: str
    """A model that gave this answer; another one may have given the very same."""
    answer_fingerprint: str
    """SHA-256 of the answer's text."""
    patient_key: str
    rater: str
    score: int
    """1 to 10."""
    error_kind: str
    rated_at: datetime
    criteria: Mapping[str, int] = field(default_factory=dict)
    """Criterion of the rubric → 1 to 10; those that the rater left open are absent."""

    @property
    def answer_id(self) -> str:
        return answer_id_of(self.example_id, self.answer_fingerprint)


def answer_id_of(example_id: str, answer_fingerprint: str) -> str:
    """Names an answer to an example, whichever models gave it: it tells nothing of them."""
    return short(fingerprint_text(f"{example_id} {answer_fingerprint}"))


def add_spot_check(ledger: Ledger, check: SpotCheck) -> bool:
    """Keep a rating; False if this rater has rated this answer before: the first one stands.

    Raises LedgerError for what is on no scale, and UnknownRecordError if the patient was erased meanwhile.
    """
    _require_on_scale(check)
    with ledger.begin() as connection:
        erased = sa.select(erasures.c.sequence).where(erasures.c.patient_key == check.patient_key)
        if connection.execute(erased).first() is not None:
            raise UnknownRecordError(f"Answer {check.answer_id} is gone. Nothing was recorded: take the next one.")
        row: dict[str, Any] = {**vars(check), "rater_key": person_key(check.rater)}
        same = (spot_checks.c[name] == row[name] for name in ("rater_key", "example_id", "answer_fingerprint"))
        if connection.execute(sa.select(spot_checks.c.sequence).where(*same)).first() is not None:
            return False
        criteria = json.dumps(dict(check.criteria), sort_keys=True) if check.criteria else None
        connection.execute(spot_checks.insert().values(**row | {"criteria": criteria}))
        audit.append(connection, check.rater, "rated an answer", f"answer {check.answer_id}")
        return True


def list_spot_checks(ledger: Ledger) -> list[SpotCheck]:
    """Every rating, in the order in which they were made."""
    query = select_fields(spot_checks, SpotCheck).order_by(spot_checks.c.sequence)
    with ledger.read() as connection:
        rows = connection.execute(query).mappings()
        return [SpotCheck(**{**row, "criteria": json.loads(row["criteria"] or "{}")}) for row in rows]


def answers_rated_by(ledger: Ledger, rater: str) -> frozenset[str]:
    """Ids of the answers that this person has rated."""
    columns = (spot_checks.c.example_id, spot_checks.c.answer_fingerprint)
    query = sa.select(*columns).where(spot_checks.c.rater_key == person_key(rater))
    with ledger.read() as connection:
        return frozenset(answer_id_of(*row) for row in connection.execute(query))


def spot_checks_fingerprint(ledger: Ledger) -> str:
    """Changes with every rating, and when some are removed with their patient."""
    said = [
        [c.example_id, c.answer_fingerprint, person_key(c.rater), c.score, c.error_kind, dict(c.criteria)]
        for c in list_spot_checks(ledger)
    ]
    return fingerprint_json(said)


def _require_on_scale(check: SpotCheck) -> None:
    if not check.rater.strip():
        raise LedgerError(f"A rating of answer {check.answer_id} needs the rater's name.")
    if check.error_kind not in ERROR_KINDS:
        raise LedgerError(f"Choose what is wrong with answer {check.answer_id}, or that nothing is.")
    if not all(LOWEST <= score <= HIGHEST for score in (check.score, *check.criteria.values())):
        raise LedgerError(f"Answer {check.answer_id} is rated from {LOWEST} to {HIGHEST}.")
