"""Users' better answers, encrypted: they can hold identifiers, and have not been scrubbed yet.

Owns storing them once, reading them back with the key, and counting them without it. Authors, releases and times are plain, and
which passages an answer was given from; texts never are.
"""

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import combine, keyed_hash
from fine_tune_assets.core.prompts.retrieval_contract import AnsweredFrom, carried_passages
from fine_tune_assets.core.records import Correction
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger, select_fields
from fine_tune_assets.ledger.encryption import decrypt, derive_key, encrypt
from fine_tune_assets.ledger.reviews.sent_once import (
    id_kept,
    require_known_words,
    require_release,
    require_within_limit,
)
from fine_tune_assets.ledger.schema import corrections

TEXTS = ("instruction", "input", "answer", "corrected_answer")
_PASSAGE_PLAIN = ("passage_id", "source", "version", "labels")
_PASSAGE_TEXTS = ("title", "headings", "text")


@dataclass(frozen=True)
class CorrectionFacts:
    """A correction without its texts."""

    correction_id: str
    release_id: str
    error_kind: str | None
    severity: str | None
    seconds_spent: int | None


@dataclass(frozen=True)
class CarriedDocument:
    """Which passage it was, without what it says."""

    passage_id: str
    source: str | None
    """None, as the version, where it was gone from every index before the correction came."""
    version: str | None


@dataclass(frozen=True)
class SentCorrection:
    """Who sent a correction, when, and about which release's answer."""

    release_id: str
    author: str
    received_at: datetime
    knowledge_index: str | None
    """None where the answer was given from no passage."""
    documents: tuple[CarriedDocument, ...]
    """The passages that it was given from."""


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
    answered_from: AnsweredFrom | None = None,
    daily_limit: int = 0,
    now: datetime | None = None,
) -> str:
    """Keep a correction and return its id, once it is on disk. The same author and idempotency key: the same id again.

    `daily_limit`: what one author may send in 24 hours; 0 is no limit. Raises UnknownRecordError for an unknown release,
    IdempotencyError when the key came with another content before, TooManyError above the limit, and LedgerError for a kind of
    error or a severity that is on no list.
    """
    require_known_words(error_kind, severity, seconds_spent)
    said = {"error_kind": error_kind, "severity": severity, "seconds_spent": seconds_spent}
    texts = {"instruction": instruction, "input": input, "answer": answer, "corrected_answer": corrected_answer}
    # Keyed: a plain hash of a short text that holds a name could be found by trying names.
    # How long it took is measured anew when it is sent again.
    counted = {n: v for n, v in said.items() if v is not None and n != "seconds_spent"}
    content = [release_id, *texts.values(), *counted.items(), *_told(answered_from)]
    content_hash = keyed_hash(derive_key(key, "correction-hash"), json.dumps(content))
    now = now or datetime.now(UTC)
    with ledger.begin() as connection:
        known = id_kept(connection, corrections.c.correction_id, author, idempotency_key, content_hash)
        if known is not None:
            return known
        require_release(connection, release_id)
        require_within_limit(connection, corrections, author, daily_limit, now)
        correction_id = uuid.uuid4().hex
        connection.execute(
            corrections.insert().values(
                correction_id=correction_id,
                release_id=release_id,
                author=author,
                idempotency_key=idempotency_key,
                content_hash=content_hash,
                received_at=now,
                **said,
                **_encrypted(key, correction_id, texts),
                **_passage_columns(key, correction_id, answered_from),
            )
        )
        audit.append(connection, author, "sent correction", correction_id)
    return correction_id


def _encrypted(key: bytes, correction_id: str, texts: dict[str, str]) -> dict[str, bytes]:
    own_key = derive_key(key, "corrections")
    return {name: encrypt(own_key, text, _place(correction_id, name)) for name, text in texts.items()}


def _told(answered: AnsweredFrom | None) -> list[Any]:
    """What the sender told of the passages. Not what they say: an index may be gone when it is sent again."""
    return [] if answered is None else [["answered_from", answered.knowledge_index, *answered.passage_ids]]


def _passage_columns(key: bytes, correction_id: str, answered: AnsweredFrom | None) -> dict[str, Any]:
    """Which passages they were, plain; what they say, encrypted. Of passages that are in no index any more only the ids."""
    if answered is None:
        return {}
    gone: list[dict[str, Any]] = [{"passage_id": one} for one in answered.passage_ids]
    plain = [{name: getattr(one, name) for name in _PASSAGE_PLAIN} for one in answered.passages]
    texts = [{name: getattr(one, name) for name in _PASSAGE_TEXTS} for one in answered.passages]
    said = {"passage_texts": json.dumps(texts, ensure_ascii=False)} if texts else {}
    return {
        "knowledge_index": answered.knowledge_index,
        "passages": json.dumps(plain or gone, ensure_ascii=False),
        **_encrypted(key, correction_id, said),
    }


def list_corrections(ledger: Ledger, key: bytes) -> list[Correction]:
    """Every correction in the order of arrival, decrypted. Raises LedgerError if one can't be."""
    own_key = derive_key(key, "corrections")
    names = [name for name in Correction.__dataclass_fields__ if name != "answered_from"]
    columns = [corrections.c[name] for name in (*names, "knowledge_index", "passages", "passage_texts")]
    with ledger.read() as connection:
        rows = connection.execute(sa.select(*columns).order_by(corrections.c.sequence)).mappings().all()
    found = []
    for row in rows:
        sealed = [name for name in (*TEXTS, "passage_texts") if row[name] is not None]
        texts = {name: decrypt(own_key, row[name], _place(row["correction_id"], name)) for name in sealed}
        values: dict[str, Any] = {name: texts[name] if name in TEXTS else row[name] for name in names}
        found.append(Correction(**values, answered_from=_answered_from(row, texts.get("passage_texts"))))
    return found


def _answered_from(row: sa.RowMapping, passage_texts: str | None) -> AnsweredFrom | None:
    if row["passages"] is None:
        return None
    plain = json.loads(row["passages"])
    texts = json.loads(passage_texts or "[]")
    passages = carried_passages(one | said for one, said in zip(plain, texts, strict=True)) if texts else ()
    return AnsweredFrom(row["knowledge_index"], tuple(one["passage_id"] for one in plain), passages)


def corrections_fingerprint(ledger: Ledger) -> str:
    """Changes with every correction; needs no key."""
    with ledger.read() as connection:
        ids = connection.execute(sa.select(corrections.c.correction_id).order_by(corrections.c.sequence))
        return combine(ids.scalars())


def find_correction(ledger: Ledger, correction_id: str) -> SentCorrection | None:
    names = ("release_id", "author", "received_at", "knowledge_index", "passages")
    query = sa.select(*(corrections.c[name] for name in names)).where(corrections.c.correction_id == correction_id)
    with ledger.read() as connection:
        row = connection.execute(query).first()
    if row is None:
        return None
    passages = json.loads(row.passages or "[]")
    documents = tuple(CarriedDocument(one["passage_id"], one.get("source"), one.get("version")) for one in passages)
    return SentCorrection(row.release_id, row.author, row.received_at, row.knowledge_index, documents)


def correction_facts(ledger: Ledger) -> list[CorrectionFacts]:
    """Of every correction, in the order of arrival."""
    query = select_fields(corrections, CorrectionFacts).order_by(corrections.c.sequence)
    with ledger.read() as connection:
        return [CorrectionFacts(**row) for row in connection.execute(query).mappings()]


def corrections_since(ledger: Ledger, release_id: str, since: datetime) -> int:
    return sum(corrections_by_kind(ledger, release_id, since, None).values())


def corrections_by_kind(ledger: Ledger, release_id: str, start: datetime, end: datetime | None) -> dict[str, int]:
    """Corrections of a release's answers that arrived in between, by the kind of error; `""` for those that name none.

    `end` None: until now.
    """
    kind = sa.func.coalesce(corrections.c.error_kind, "")
    wanted = (corrections.c.release_id == release_id) & (corrections.c.received_at >= start)
    if end is not None:
        wanted &= corrections.c.received_at < end
    with ledger.read() as connection:
        found = connection.execute(sa.select(kind, sa.func.count()).where(wanted).group_by(kind))
        return {name: int(count) for name, count in found}


def _place(correction_id: str, column: str) -> str:
    return f"correction {correction_id} {column}"
