"""Releases that came from another installation: the key each was imported with, and the verdict that came with it.

Owns their rows, and the gate that reads them. The evidence itself lies in the release's folder, and the key in `keys/imported`:
a row alone serves nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.records import CANDIDATE_KEY, Release, Verdict
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger, reading
from fine_tune_assets.ledger.schema import imported_releases as table
from fine_tune_assets.ledger.serving.switch_log import AS_PLACEHOLDER, IMPORTED, serving_adapter
from fine_tune_assets.ledger.serving.verdicts import is_whole


@dataclass(frozen=True)
class ReleaseImport:
    release_id: str
    key_fingerprint: str
    """Of the public key that it was imported with."""
    verdict: Verdict
    """As the release carries it, signed by the installation that made it."""
    signers: tuple[str, ...]
    """Approvers there who signed a hold, as that installation names them."""
    is_placeholder: bool
    """The first release that this installation promotes replaces it: candidates are compared with the base model."""
    imported_by: str
    imported_at: datetime


def add_import(connection: sa.Connection, made: ReleaseImport) -> None:
    """In the place of an earlier import of the same release."""
    forget_import(connection, made.release_id)
    verdict = json.dumps({**vars(made.verdict), "reasons": list(made.verdict.reasons)}, sort_keys=True)
    row = {**vars(made), "verdict": verdict, "signers": json.dumps(list(made.signers))}
    connection.execute(table.insert().values(**row))
    audit.append(connection, made.imported_by, IMPORTED, _line(made))


def forget_import(connection: sa.Connection, release_id: str) -> None:
    connection.execute(table.delete().where(table.c.release_id == release_id))


def find_import(target: Ledger | sa.Connection, release_id: str) -> ReleaseImport | None:
    """None for a release that was made here."""
    with reading(target) as connection:
        row = connection.execute(sa.select(table).where(table.c.release_id == release_id)).mappings().first()
    return None if row is None else _import(row)


def key_of_import(ledger: Ledger, release_id: str) -> str | None:
    """Fingerprint of the key that a release was imported with; None if it was made here."""
    found = find_import(ledger, release_id)
    return None if found is None else found.key_fingerprint


def list_imports(ledger: Ledger) -> list[ReleaseImport]:
    with ledger.read() as connection:
        return [_import(row) for row in connection.execute(sa.select(table)).mappings()]


def _import(row: Any) -> ReleaseImport:
    said = json.loads(row["verdict"])
    verdict = Verdict(**{**said, "reasons": tuple(said["reasons"])})
    return ReleaseImport(**{**row, "verdict": verdict, "signers": tuple(json.loads(row["signers"]))})


def lets_through(verdict: Verdict, signers: Sequence[str]) -> bool:
    """Whether a verdict opens the gate: `promote`, or a `hold` that an approver signed."""
    return verdict.decision == "promote" or (verdict.decision == "hold" and bool(signers))


def require_import_in(connection: sa.Connection, release: Release, found: ReleaseImport, has_served: bool) -> None:
    """Raise GateClosedError unless the verdict that came with the release lets it through here.

    Its candidate must have been compared with what serves here. Where nothing serves yet there is nothing that it could be
    worse than. `has_served`: it is gone back to.
    """
    verdict, release_id = found.verdict, release.release_id
    bound = ("verdict_id", *CANDIDATE_KEY)
    is_same = is_whole(verdict) and all(getattr(verdict, name) == getattr(release, name) for name in bound)
    if not is_same or not audit.has_line(connection, found.imported_by, IMPORTED, _line(found)):
        raise GateClosedError(
            f"What the ledger has on the import of release {release_id} was changed. Find out who changed it, then import the "
            "release again: `fine-tune releases import`"
        )
    if not lets_through(verdict, found.signers):
        raise GateClosedError(f"Release {release_id} rests on the verdict {verdict.decision}, which nobody signed.")
    serving = serving_adapter(connection)
    if not has_served and serving not in (None, verdict.incumbent, verdict.adapter_id):
        raise GateClosedError(
            f"Release {release_id} was compared with {verdict.incumbent}, and {serving} serves here. Import and serve first "
            "the release that it was compared with, or have it judged against the one that serves here."
        )


def import_made_now(
    release_id: str,
    key_fingerprint: str,
    verdict: Verdict,
    signers: Sequence[str],
    by: str,
    *,
    is_placeholder: bool = False,
) -> ReleaseImport:
    return ReleaseImport(release_id, key_fingerprint, verdict, tuple(signers), is_placeholder, by, datetime.now(UTC))


def _line(made: ReleaseImport) -> str:
    return f"{made.release_id} with key {made.key_fingerprint}{AS_PLACEHOLDER if made.is_placeholder else ''}"
