"""Stores users' corrections encrypted: they can contain identifiers and have not been scrubbed yet.

Authors, releases, times and the ids of an answer's passages are plain; texts never are.
"""

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import combine, keyed_hash
from fine_tune_assets.core.prompts.retrieval_contract import AnswerSources, parse_passages
from fine_tune_assets.core.shared_records import Correction
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger, select_fields
from fine_tune_assets.ledger.encryption import decrypt, derive_key, encrypt
from fine_tune_assets.ledger.ledger_tables import corrections
from fine_tune_assets.ledger.reviews.idempotency import (
    existing_id,
    require_release,
    require_valid_error_details,
    require_within_daily_limit,
)
from fine_tune_assets.ledger.reviews.review_rows import find_spellings
from fine_tune_assets.ledger.seals import select_sealed, select_sealed_records

TEXT_FIELDS = ("instruction", "input", "answer", "corrected_answer")
_PLAIN_PASSAGE_FIELDS = ("passage_id", "source", "version", "labels")
_ENCRYPTED_PASSAGE_FIELDS = ("title", "headings", "text")


@dataclass(frozen=True)
class CorrectionMetadata:
    """A correction without its texts."""

    correction_id: str
    release_id: str
    error_kind: str | None
    severity: str | None
    seconds_spent: int | None


@dataclass(frozen=True)
class PassageReference:
    """The id and version of a passage, without its text."""

    passage_id: str
    source: str | None
    """None, like the version, if no index contained the passage anymore when the correction arrived."""
    version: str | None


@dataclass(frozen=True)
class CorrectionSource:
    """Who sent a correction, when, and which release gave the answer."""

    release_id: str
    author: str
    received_at: datetime
    knowledge_index: str | None
    """None if the answer used no passages."""
    passages: tuple[PassageReference, ...]
    """The passages that the answer used."""


def record_correction(
    ledger: Ledger,
    key: bytes,
    *,
    release_id: str,
    author: str,
    instruction: str,
    input: str,
    answer: str,
    corrected_answer: str,
    idempotency_key: str,
    error_kind: str | None = None,
    severity: str | None = None,
    seconds_spent: int | None = None,
    answer_sources: AnswerSources | None = None,
    daily_limit: int = 0,
    now: datetime | None = None,
) -> str:
    """Store a correction durably and return its id; a repeated author and idempotency key return the same id.

    `daily_limit` is the number of corrections per author in 24 hours; 0 means no limit. Raises UnknownRecordError for an unknown
    release, IdempotencyError if the key was used with different content, DailyLimitError above the limit, and LedgerError for an
    unknown error kind or severity.
    """
    require_valid_error_details(error_kind, severity, seconds_spent)
    details = {"error_kind": error_kind, "severity": severity, "seconds_spent": seconds_spent}
    texts = {"instruction": instruction, "input": input, "answer": answer, "corrected_answer": corrected_answer}
    # Keyed: an attacker could find a plain hash of a short text with a name by trying names. The hash excludes the time spent,
    # which is measured again on every attempt.
    counted = {n: v for n, v in details.items() if v is not None and n != "seconds_spent"}
    content = [release_id, *texts.values(), *counted.items(), *_passage_identity(answer_sources)]
    content_hash = keyed_hash(derive_key(key, "correction-hash"), json.dumps(content))
    now = now or datetime.now(UTC)
    with ledger.begin() as connection:
        known = existing_id(connection, corrections.c.correction_id, author, idempotency_key, content_hash)
        if known is not None:
            return known
        require_release(connection, release_id)
        require_within_daily_limit(connection, corrections, author, daily_limit, now)
        correction_id = uuid.uuid4().hex
        connection.execute(
            corrections.insert().values(
                correction_id=correction_id,
                release_id=release_id,
                author=author,
                idempotency_key=idempotency_key,
                content_hash=content_hash,
                received_at=now,
                **details,
                **_encrypt_texts(key, correction_id, texts),
                **_passage_columns(key, correction_id, answer_sources),
            )
        )
        audit.append(connection, author, "sent correction", correction_id)
    return correction_id


def _encrypt_texts(key: bytes, correction_id: str, texts: dict[str, str]) -> dict[str, bytes]:
    own_key = derive_key(key, "corrections")
    return {name: encrypt(own_key, text, _encryption_context(correction_id, name)) for name, text in texts.items()}


def _passage_identity(answered: AnswerSources | None) -> list[Any]:
    """What the sender stated about the passages. Excludes their texts: an index may be deleted before a retry."""
    return [] if answered is None else [["answered_from", answered.knowledge_index, *answered.passage_ids]]


def _passage_columns(key: bytes, correction_id: str, answered: AnswerSources | None) -> dict[str, Any]:
    """Passage ids as plain text and passage texts encrypted; only ids for passages that no index contains anymore."""
    if answered is None:
        return {}
    ids_only: list[dict[str, Any]] = [{"passage_id": passage_id} for passage_id in answered.passage_ids]
    plain = [{name: getattr(one, name) for name in _PLAIN_PASSAGE_FIELDS} for one in answered.passages]
    texts = [{name: getattr(one, name) for name in _ENCRYPTED_PASSAGE_FIELDS} for one in answered.passages]
    encoded = {"passage_texts": json.dumps(texts, ensure_ascii=False)} if texts else {}
    return {
        "knowledge_index": answered.knowledge_index,
        "passages": json.dumps(plain or ids_only, ensure_ascii=False),
        **_encrypt_texts(key, correction_id, encoded),
    }


def list_corrections(ledger: Ledger, key: bytes) -> list[Correction]:
    """Every correction in order of arrival, decrypted. Raises SealError, and LedgerError if one can't be decrypted."""
    own_key = derive_key(key, "corrections")
    names = [name for name in Correction.__dataclass_fields__ if name != "answer_sources"]
    with ledger.read() as connection:
        rows = select_sealed(connection, sa.select(corrections).order_by(corrections.c.sequence))
    found = []
    for row in rows:
        encrypted = [name for name in (*TEXT_FIELDS, "passage_texts") if row[name] is not None]
        context = {name: _encryption_context(row["correction_id"], name) for name in encrypted}
        texts = {name: decrypt(own_key, row[name], context[name]) for name in encrypted}
        values: dict[str, Any] = {name: texts[name] if name in TEXT_FIELDS else row[name] for name in names}
        found.append(Correction(**values, answer_sources=_answered_from(row, texts.get("passage_texts"))))
    return found


def _answered_from(row: sa.RowMapping, passage_texts: str | None) -> AnswerSources | None:
    if row["passages"] is None:
        return None
    plain = json.loads(row["passages"])
    texts = json.loads(passage_texts or "[]")
    passages = parse_passages(fields | text for fields, text in zip(plain, texts, strict=True)) if texts else ()
    return AnswerSources(row["knowledge_index"], tuple(one["passage_id"] for one in plain), passages)


@dataclass(frozen=True)
class AuthoredCorrection:
    """A correction as its author may see it."""

    correction_id: str
    release_id: str
    received_at: datetime


def list_authored_corrections(ledger: Ledger, author: str, limit: int) -> list[AuthoredCorrection]:
    """The newest corrections of this person, newest first; needs no key. Raises SealError."""
    with ledger.read() as connection:
        own = corrections.c.author.in_(find_spellings(connection, corrections.c.author, author))
        query = sa.select(corrections).where(own).order_by(corrections.c.sequence.desc()).limit(limit)
        return select_sealed_records(connection, query, AuthoredCorrection)


def list_correction_authors(ledger: Ledger) -> dict[str, str]:
    """Correction id → who sent it; needs no key. Raises SealError."""
    with ledger.read() as connection:
        return {row["correction_id"]: row["author"] for row in select_sealed(connection, sa.select(corrections))}


def corrections_fingerprint(ledger: Ledger) -> str:
    """Changes with every correction; needs no key."""
    with ledger.read() as connection:
        ids = connection.execute(sa.select(corrections.c.correction_id).order_by(corrections.c.sequence))
        return combine(ids.scalars())


def find_correction(ledger: Ledger, correction_id: str) -> CorrectionSource | None:
    """None if it is unknown. Raises SealError."""
    with ledger.read() as connection:
        query = sa.select(corrections).where(corrections.c.correction_id == correction_id)
        row = next(iter(select_sealed(connection, query)), None)
    if row is None:
        return None
    passages = json.loads(row["passages"] or "[]")
    documents = tuple(PassageReference(one["passage_id"], one.get("source"), one.get("version")) for one in passages)
    return CorrectionSource(row["release_id"], row["author"], row["received_at"], row["knowledge_index"], documents)


def list_correction_metadata(ledger: Ledger) -> list[CorrectionMetadata]:
    """Metadata of every correction, in order of arrival."""
    query = select_fields(corrections, CorrectionMetadata).order_by(corrections.c.sequence)
    with ledger.read() as connection:
        return [CorrectionMetadata(**row) for row in connection.execute(query).mappings()]


def count_corrections_since(ledger: Ledger, release_id: str, since: datetime) -> int:
    """Without those of the author who sent the most: one person alone must not end a release."""
    wanted = (corrections.c.release_id == release_id) & (corrections.c.received_at >= since)
    with ledger.read() as connection:
        found = connection.execute(sa.select(sa.func.count()).where(wanted).group_by(corrections.c.author))
        counts = [int(count) for count in found.scalars()]
    return sum(counts) - max(counts, default=0)


def count_corrections_by_kind(ledger: Ledger, release_id: str, start: datetime, end: datetime) -> dict[str, int]:
    """Corrections of a release's answers in a period, by error kind; `""` counts those without a kind."""
    kind = sa.func.coalesce(corrections.c.error_kind, "")
    wanted = (corrections.c.release_id == release_id) & (corrections.c.received_at >= start)
    wanted &= corrections.c.received_at < end
    with ledger.read() as connection:
        found = connection.execute(sa.select(kind, sa.func.count()).where(wanted).group_by(kind))
        return {name: int(count) for name, count in found}


def _encryption_context(correction_id: str, column: str) -> str:
    return f"correction {correction_id} {column}"
