"""Records releases behind the promotion gate. `core.releases` manages their folders."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.shared_records import CANDIDATE_KEY, Release
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger, read_transaction
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.ledger_tables import releases
from fine_tune_assets.ledger.seals import select_sealed
from fine_tune_assets.ledger.serving.imported_releases import (
    ReleaseImport,
    add_import,
    delete_import,
    find_import,
    require_imported_verdict,
)
from fine_tune_assets.ledger.serving.verdicts import find_latest_verdict, require_promotion

_BUILDER = "releases"
"""Actor in the audit log for releases built here."""


@dataclass(frozen=True)
class RecordedRelease:
    release: Release
    recorded_at: datetime
    removed_at: datetime | None
    """When its folder was removed; None while it exists."""


def record_release(ledger: Ledger, release: Release) -> None:
    """Record a release built here. Recording it again restores a removed release and replaces an import.

    Raises GateClosedError unless its verdict allows its fingerprints, LedgerError if another release has its id.
    """
    with ledger.begin() as connection:
        known = find_release(connection, release.release_id)
        if known is not None:
            if known != release:
                raise LedgerError(
                    f"Release {release.release_id} is in the ledger with different values. {materialize_hint('releases')}"
                )
            if _removed_at(connection, release.release_id) is not None:
                update = releases.update().where(releases.c.release_id == release.release_id)
                connection.execute(update.values(removed_at=None))
                require_promotable(connection, release)
                audit.append(connection, _BUILDER, "rebuilt removed release", release.release_id)
            if find_import(connection, release.release_id) is not None:
                delete_import(connection, release.release_id)
                require_promotable(connection, release)
                audit.append(connection, _BUILDER, "rebuilt imported release", release.release_id)
            return
        require_promotable(connection, release)
        connection.execute(releases.insert().values(**vars(release), recorded_at=datetime.now(UTC)))
        audit.append(connection, _BUILDER, "recorded release", release.release_id)


@contextmanager
def import_transaction(ledger: Ledger, release: Release, imported: ReleaseImport) -> Iterator[None]:
    """Record an imported release if the block, which moves its folder into place, succeeds.

    Raises GateClosedError if its verdict does not allow it here, LedgerError if it was built here.
    """
    with ledger.begin() as connection:
        known = find_release(connection, release.release_id)
        if known is None:
            connection.execute(releases.insert().values(**vars(release), recorded_at=datetime.now(UTC)))
        elif known != release or find_import(connection, release.release_id) is None:
            raise LedgerError(
                f"Release {release.release_id} was built here and can't be imported. {materialize_hint('releases')}"
            )
        connection.execute(releases.update().where(releases.c.release_id == release.release_id).values(removed_at=None))
        add_import(connection, imported)
        require_promotable(connection, release)
        yield


class _DryRunError(Exception):
    """Rolls a transaction back."""


def require_importable(ledger: Ledger, release: Release, imported: ReleaseImport) -> None:
    """Raise what `import_transaction` would raise, without recording anything."""
    with suppress(_DryRunError), import_transaction(ledger, release, imported):
        raise _DryRunError


def _removed_at(connection: sa.Connection, release_id: str) -> datetime | None:
    query = sa.select(releases.c.removed_at).where(releases.c.release_id == release_id)
    found: datetime | None = connection.execute(query).scalar()
    return found


def require_promotable(connection: sa.Connection, release: Release, is_rollback: bool = False) -> None:
    """Raise GateClosedError unless the release's folder exists and the newest verdict on its fingerprints allows it.

    For an imported release that is the verdict it came with, unless this installation has judged the same candidate.
    `is_rollback`: the release served users before.
    """
    removed = _removed_at(connection, release.release_id)
    if removed is not None:
        raise GateClosedError(
            f"Release {release.release_id} was removed on {removed:%Y-%m-%d} by the retention rule. "
            f"{materialize_hint('releases')} If it was imported, import it again: `fine-tune releases import`"
        )
    candidate = {name: getattr(release, name) for name in CANDIDATE_KEY}
    imported = find_import(connection, release.release_id)
    if imported is not None and find_latest_verdict(connection, **candidate) is None:
        require_imported_verdict(connection, release, imported, is_rollback)
        return
    verdict = require_promotion(connection, **candidate, is_rollback=is_rollback)
    if verdict.verdict_id != release.verdict_id:
        raise GateClosedError(
            f"Release {release.release_id} has verdict {release.verdict_id}, but the newest one is "
            f"{verdict.verdict_id}. {materialize_hint('releases')}"
        )


def find_release(target: Ledger | sa.Connection, release_id: str) -> Release | None:
    with read_transaction(target) as connection:
        rows = select_sealed(connection, sa.select(releases).where(releases.c.release_id == release_id))
    return _release(rows[0]) if rows else None


def is_known_release(ledger: Ledger, release_id: str) -> bool:
    """Whether this ledger has recorded the release. Authorizes nothing."""
    with ledger.read() as connection:
        return (
            connection.execute(sa.select(releases.c.release_id).where(releases.c.release_id == release_id)).first()
            is not None
        )


def list_releases(ledger: Ledger) -> list[Release]:
    """Every recorded release, oldest first."""
    return [recorded.release for recorded in list_recorded_releases(ledger)]


def list_recorded_releases(ledger: Ledger) -> list[RecordedRelease]:
    """Every recorded release with its times of recording and removal, oldest first."""
    query = sa.select(releases).order_by(releases.c.recorded_at, releases.c.release_id)
    with ledger.read() as connection:
        rows = select_sealed(connection, query)
        return [RecordedRelease(_release(row), row["recorded_at"], row["removed_at"]) for row in rows]


def find_release_by_adapter(ledger: Ledger, adapter_id: str) -> Release | None:
    """The newest release built from an adapter."""
    query = sa.select(releases).where(releases.c.adapter_id == adapter_id).order_by(releases.c.recorded_at.desc())
    with ledger.read() as connection:
        rows = select_sealed(connection, query)
    return _release(rows[0]) if rows else None


def _release(row: Any) -> Release:
    return Release(**{name: row[name] for name in Release.__dataclass_fields__})
