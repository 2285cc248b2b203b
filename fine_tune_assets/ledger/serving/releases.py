"""Releases that were put together. Owns storing them, behind the gate; the folders are `core.releases`'."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.records import CANDIDATE_KEY, Release
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger, reading
from fine_tune_assets.ledger.errors import LedgerError
from fine_tune_assets.ledger.schema import releases
from fine_tune_assets.ledger.serving.imported_releases import (
    ReleaseImport,
    add_import,
    find_import,
    forget_import,
    require_import_in,
)
from fine_tune_assets.ledger.serving.verdicts import latest_verdict, require_promotion

_MAKER = "releases"
"""Who the audit log names for a release that was made here."""


@dataclass(frozen=True)
class RecordedRelease:
    release: Release
    recorded_at: datetime
    removed_at: datetime | None
    """When its folder was removed; None while it is there."""


def record_release(ledger: Ledger, release: Release) -> None:
    """Keep a release that was made here. The same one again changes nothing; one that was removed is there again, and one that
    was imported is ours from now on.

    Raises GateClosedError unless the verdict it names lets its fingerprints through, LedgerError when another release
    has its id.
    """
    with ledger.begin() as connection:
        known = find_release(connection, release.release_id)
        if known is not None:
            if known != release:
                raise LedgerError(
                    f"Release {release.release_id} is in the ledger with other facts. {materialize_hint('releases')}"
                )
            if _removed_at(connection, release.release_id) is not None:
                there = releases.update().where(releases.c.release_id == release.release_id)
                connection.execute(there.values(removed_at=None))
                require_verdict_of(connection, release)
                audit.append(connection, _MAKER, "built removed release again", release.release_id)
            if find_import(connection, release.release_id) is not None:
                forget_import(connection, release.release_id)
                require_verdict_of(connection, release)
                audit.append(connection, _MAKER, "built imported release here", release.release_id)
            return
        require_verdict_of(connection, release)
        connection.execute(releases.insert().values(**vars(release), recorded_at=datetime.now(UTC)))
        audit.append(connection, _MAKER, "recorded release", release.release_id)


@contextmanager
def importing(ledger: Ledger, release: Release, made: ReleaseImport) -> Iterator[None]:
    """Keep a release that came from another installation, if the block that puts its folder in place succeeds.

    Raises GateClosedError if its verdict does not let it through here, LedgerError if it is known as one that was made here.
    """
    with ledger.begin() as connection:
        known = find_release(connection, release.release_id)
        if known is None:
            connection.execute(releases.insert().values(**vars(release), recorded_at=datetime.now(UTC)))
        elif known != release or find_import(connection, release.release_id) is None:
            raise LedgerError(f"Release {release.release_id} was made here. {materialize_hint('releases')}")
        connection.execute(releases.update().where(releases.c.release_id == release.release_id).values(removed_at=None))
        add_import(connection, made)
        require_verdict_of(connection, release)
        yield


class _UndoneError(Exception):
    """Ends a transaction without a trace."""


def require_importable(ledger: Ledger, release: Release, made: ReleaseImport) -> None:
    """Raise what `importing` would, and keep nothing."""
    with suppress(_UndoneError), importing(ledger, release, made):
        raise _UndoneError


def _removed_at(connection: sa.Connection, release_id: str) -> datetime | None:
    query = sa.select(releases.c.removed_at).where(releases.c.release_id == release_id)
    found: datetime | None = connection.execute(query).scalar()
    return found


def require_verdict_of(connection: sa.Connection, release: Release, has_served: bool = False) -> None:
    """Raise GateClosedError unless the release is there, and the newest verdict on its fingerprints lets it through: for an
    imported one the verdict that came with it, unless this installation has judged the same candidate itself.

    `has_served`: it is gone back to.
    """
    removed = _removed_at(connection, release.release_id)
    if removed is not None:
        raise GateClosedError(
            f"Release {release.release_id} was removed on {removed:%Y-%m-%d} by the retention rule. "
            f"{materialize_hint('releases')} If it came from another installation, import it again: `fine-tune releases import`."
        )
    candidate = {name: getattr(release, name) for name in CANDIDATE_KEY}
    imported = find_import(connection, release.release_id)
    if imported is not None and latest_verdict(connection, **candidate) is None:
        require_import_in(connection, release, imported, has_served)
        return
    verdict = require_promotion(connection, **candidate, has_served=has_served)
    if verdict.verdict_id != release.verdict_id:
        raise GateClosedError(
            f"Release {release.release_id} rests on verdict {release.verdict_id}, and the newest one is "
            f"{verdict.verdict_id}. {materialize_hint('releases')}"
        )


def find_release(target: Ledger | sa.Connection, release_id: str) -> Release | None:
    with reading(target) as connection:
        row = connection.execute(sa.select(releases).where(releases.c.release_id == release_id)).mappings().first()
    return None if row is None else _release(row)


def list_releases(ledger: Ledger) -> list[Release]:
    """Every release that was ever recorded, oldest first."""
    return [recorded.release for recorded in recorded_releases(ledger)]


def recorded_releases(ledger: Ledger) -> list[RecordedRelease]:
    """The same with when they came and went."""
    query = sa.select(releases).order_by(releases.c.recorded_at, releases.c.release_id)
    with ledger.read() as connection:
        rows = connection.execute(query).mappings()
        return [RecordedRelease(_release(row), row["recorded_at"], row["removed_at"]) for row in rows]


def release_of_adapter(ledger: Ledger, adapter_id: str) -> Release | None:
    """The newest release that was made of an adapter."""
    query = sa.select(releases).where(releases.c.adapter_id == adapter_id).order_by(releases.c.recorded_at.desc())
    with ledger.read() as connection:
        row = connection.execute(query).mappings().first()
    return None if row is None else _release(row)


def _release(row: Any) -> Release:
    return Release(**{name: row[name] for name in Release.__dataclass_fields__})
