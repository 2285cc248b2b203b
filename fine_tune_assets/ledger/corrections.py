"""Users' better answers, encrypted: they can hold identifiers, and have not been scrubbed yet.

Owns storing them once and reading them back with the key. Authors, releases and times are plain; texts never are.
"""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.fingerprints import combine, keyed_hash
from fine_tune_assets.core.records import Correction
from fine_tune_assets.ledger import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.encryption import decrypt, derive_key, encrypt
from fine_tune_assets.ledger.errors import IdempotencyError, UnknownRecordError
from fine_tune_assets.ledger.schema import corrections, releases

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
) -> str:
    """Keep a correction and return its id, once it is on disk. The same author and idempotency key: the same id again.

    Raises UnknownRecordError for an unknown release, IdempotencyError when the key came with another content before.
    """
    texts = {"instruction": instruction, "input": input, "answer": answer, "corrected_answer": corrected_answer}
    # Keyed: a plain hash of a short text that holds a name could be found by trying names.
    content_hash = keyed_hash(derive_key(key, "correction-hash"), json.dumps([release_id, *texts.values()]))
    with ledger.begin() as connection:
        known = _find(connection, author, idempotency_key)
        if known is not None:
            if known.content_hash != content_hash:
                raise IdempotencyError(
                    f"Correction {known.correction_id} was sent with this idempotency key and another content. "
                    "Send a new key with a new correction."
                )
            return str(known.correction_id)
        if not connection.execute(sa.select(releases.c.release_id).where(releases.c.release_id == release_id)).first():
            raise UnknownRecordError(f"There is no release {release_id}. Send the x-release-id of the answer.")
        correction_id = uuid.uuid4().hex
        connection.execute(
            corrections.insert().values(
                correction_id=correction_id,
                release_id=release_id,
                author=author,
                idempotency_key=idempotency_key,
                content_hash=content_hash,
                received_at=datetime.now(UTC),
                **_encrypted(key, correction_id, texts),
            )
        )
        audit.append(connection, author, "sent correction", correction_id)
    return correction_id


def _find(connection: sa.Connection, author: str, idempotency_key: str) -> Any:
    query = sa.select(corrections.c.correction_id, corrections.c.content_hash).where(
        corrections.c.author == author, corrections.c.idempotency_key == idempotency_key
    )
    return connection.execute(query).first()


def _encrypted(key: bytes, correction_id: str, texts: dict[str, str]) -> dict[str, bytes]:
    own_key = derive_key(key, "corrections")
    return {name: encrypt(own_key, text, _place(correction_id, name)) for name, text in texts.items()}


def list_corrections(ledger: Ledger, key: bytes) -> list[Correction]:
    """Every correction in the order of arrival, decrypted. Raises LedgerError if one can't be."""
    own_key = derive_key(key, "corrections")
    columns = [corrections.c[name] for name in Correction.__dataclass_fields__]
    with ledger.read() as connection:
        rows = connection.execute(sa.select(*columns).order_by(corrections.c.sequence)).mappings().all()
    return [
        Correction(**{**row, **{n: decrypt(own_key, row[n], _place(row["correction_id"], n)) for n in TEXTS}})
        for row in rows
    ]


def corrections_fingerprint(ledger: Ledger) -> str:
    """Changes with every correction; needs no key."""
    with ledger.read() as connection:
        ids = connection.execute(sa.select(corrections.c.correction_id).order_by(corrections.c.sequence))
        return combine(ids.scalars())


def _place(correction_id: str, column: str) -> str:
    return f"correction {correction_id} {column}"
