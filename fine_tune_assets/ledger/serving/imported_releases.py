"""Stores releases imported from other installations with their key and verdict, and checks the gate for them.

The evidence is in the release's folder and the key in `keys/imported`; a row alone is not enough to serve a release.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.shared_records import CANDIDATE_KEY, Release, Verdict
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger, read_transaction
from fine_tune_assets.ledger.ledger_tables import imported_releases as table
from fine_tune_assets.ledger.seals import select_sealed
from fine_tune_assets.ledger.serving.switch_log import IMPORTED, PLACEHOLDER_SUFFIX, find_production_adapter
from fine_tune_assets.ledger.serving.verdicts import is_intact


@dataclass(frozen=True)
class ReleaseImport:
    release_id: str
    key_fingerprint: str
    """Fingerprint of the public key that verified the import."""
    verdict: Verdict
    """The verdict in the release, signed by the installation that made it."""
    signers: tuple[str, ...]
    """Approvers of that installation who signed a hold."""
    is_placeholder: bool
    """Replaced by the first release that this installation promotes; candidates are compared with the base model."""
    imported_by: str
    imported_at: datetime


def add_import(connection: sa.Connection, imported: ReleaseImport) -> None:
    """Store an import; it replaces an earlier import of the same release."""
    delete_import(connection, imported.release_id)
    verdict = json.dumps({**vars(imported.verdict), "reasons": list(imported.verdict.reasons)}, sort_keys=True)
    row = {**vars(imported), "verdict": verdict, "signers": json.dumps(list(imported.signers))}
    connection.execute(table.insert().values(**row))
    audit.append(connection, imported.imported_by, IMPORTED, _audit_resource(imported))


def delete_import(connection: sa.Connection, release_id: str) -> None:
    connection.execute(table.delete().where(table.c.release_id == release_id))


def find_import(target: Ledger | sa.Connection, release_id: str) -> ReleaseImport | None:
    """None for a release built here."""
    with read_transaction(target) as connection:
        rows = select_sealed(connection, sa.select(table).where(table.c.release_id == release_id))
    return _import(rows[0]) if rows else None


def find_import_key(ledger: Ledger, release_id: str) -> str | None:
    """Fingerprint of the key that a release was imported with; None if it was built here."""
    found = find_import(ledger, release_id)
    return None if found is None else found.key_fingerprint


def list_imports(ledger: Ledger) -> list[ReleaseImport]:
    with ledger.read() as connection:
        return [_import(row) for row in connection.execute(sa.select(table)).mappings()]


def _import(row: Any) -> ReleaseImport:
    values = json.loads(row["verdict"])
    verdict = Verdict(**{**values, "reasons": tuple(values["reasons"])})
    plain = {name: row[name] for name in ReleaseImport.__dataclass_fields__}
    return ReleaseImport(**{**plain, "verdict": verdict, "signers": tuple(json.loads(row["signers"]))})


def can_promote(verdict: Verdict, signers: Sequence[str]) -> bool:
    """Whether a verdict opens the gate: `promote`, or a `hold` that an approver signed."""
    return verdict.decision == "promote" or (verdict.decision == "hold" and bool(signers))


def require_imported_verdict(
    connection: sa.Connection, release: Release, found: ReleaseImport, is_rollback: bool
) -> None:
    """Raise GateClosedError unless the imported verdict allows the release here.

    Its candidate must have been compared with the production model here, if there is one. `is_rollback` skips that comparison.
    """
    verdict, release_id = found.verdict, release.release_id
    bound = ("verdict_id", *CANDIDATE_KEY)
    is_same = is_intact(verdict) and all(getattr(verdict, name) == getattr(release, name) for name in bound)
    if not is_same or not audit.has_entry(connection, found.imported_by, IMPORTED, _audit_resource(found)):
        raise GateClosedError(
            f"The ledger's record of the import of release {release_id} was changed. Find out who changed it, then "
            "import the release again: `fine-tune releases import`"
        )
    if not can_promote(verdict, found.signers):
        raise GateClosedError(f"Release {release_id} has the verdict {verdict.decision}, which no approver signed.")
    serving = find_production_adapter(connection)
    if not is_rollback and serving not in (None, verdict.incumbent, verdict.adapter_id):
        raise GateClosedError(
            f"Release {release_id} was compared with {verdict.incumbent}, but the production model here is "
            f"{serving}. Import and serve the release it was compared with first, or have it judged against "
            f"{serving}."
        )


def make_import(
    release_id: str,
    key_fingerprint: str,
    verdict: Verdict,
    signers: Sequence[str],
    by: str,
    *,
    is_placeholder: bool = False,
) -> ReleaseImport:
    return ReleaseImport(release_id, key_fingerprint, verdict, tuple(signers), is_placeholder, by, datetime.now(UTC))


def _audit_resource(imported: ReleaseImport) -> str:
    return f"{imported.release_id} with key {imported.key_fingerprint}{PLACEHOLDER_SUFFIX if imported.is_placeholder else ''}"
