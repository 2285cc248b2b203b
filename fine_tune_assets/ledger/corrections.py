"""Users' better answers, encrypted: they can hold identifiers, and have not been scrubbed yet.

Owns storing them once and reading them back with the key. Authors, releases and times are plain, and which passages an answer
was given from; texts never are.
"""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import combine, keyed_hash
from fine_tune_assets.core.records import Correction
from fine_tune_assets.core.retrieval_contract import AnsweredFrom
from fine_tune_assets.ledger import audit
from fine_tune_assets.ledger.carried_passages import answered_from as answered_from_of
from fine_tune_assets.ledger.carried_passages import columns_of
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.encryption import decrypt, derive_key, encrypt
from fine_tune_assets.ledger.schema import corrections
from fine_tune_assets.ledger.sent_once import id_kept, require_known_words, require_release, require_within_limit

TEXTS = ("instruction", "input", "answer", "corrected_answer")


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
                **_passages(key, correction_id, answered_from),
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


def _passages(key: bytes, correction_id: str, answered: AnsweredFrom | None) -> dict[str, Any]:
    if answered is None:
        return {}
    own_key, place = derive_key(key, "corrections"), _place(correction_id, "passage_texts")
    return columns_of(answered, lambda text: encrypt(own_key, text, place))


def list_corrections(ledger: Ledger, key: bytes) -> list[Correction]:
    """Every correction in the order of arrival, decrypted. Raises LedgerError if one can't be."""
    own_key = derive_key(key, "corrections")
    names = [name for name in Correction.__dataclass_fields__ if name != "answered_from"]
    columns = [corrections.c[name] for name in (*names, "knowledge_index", "passages", "passage_texts")]
    with ledger.read() as connection:
        rows = connection.execute(sa.select(*columns).order_by(corrections.c.sequence)).mappings().all()

    def opened(row: Mapping[Any, Any]) -> Correction:
        def text_of(column: str) -> str:
            return decrypt(own_key, row[column], _place(row["correction_id"], column))

        values: dict[str, Any] = {name: text_of(name) if name in TEXTS else row[name] for name in names}
        return Correction(**values, answered_from=answered_from_of(row, lambda _: text_of("passage_texts")))

    return [opened(row) for row in rows]


def corrections_fingerprint(ledger: Ledger) -> str:
    """Changes with every correction; needs no key."""
    with ledger.read() as connection:
        ids = connection.execute(sa.select(corrections.c.correction_id).order_by(corrections.c.sequence))
        return combine(ids.scalars())


def _place(correction_id: str, column: str) -> str:
    return f"correction {correction_id} {column}"
