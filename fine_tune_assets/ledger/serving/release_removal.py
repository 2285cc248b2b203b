"""Decides which release folders must stay and records removals.

`merging.retention` decides how long the others stay and deletes the folders.
"""

from datetime import UTC, datetime

import sqlalchemy as sa

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger, read_transaction
from fine_tune_assets.ledger.ledger_tables import deployments, releases
from fine_tune_assets.ledger.serving.deployments import ENDED, PENDING
from fine_tune_assets.ledger.serving.rollbacks import list_rollback_targets
from fine_tune_assets.ledger.serving.switch_log import list_switched_releases

_SWITCHED_REASONS = ("live", "previously live")
"""Labels of the two releases that users were last switched to."""
_ROLLBACK_DEPTH = 2
"""The current rollback target, and the next one in case a fault rules that one out."""


def list_releases_in_use(target: Ledger | sa.Connection) -> dict[str, str]:
    """Release → why it must stay: it serves, is a rollback target or is in flight."""
    query = sa.select(deployments.c.release_id, deployments.c.state).where(deployments.c.state.not_in(ENDED))
    with read_transaction(target) as connection:
        unended = connection.execute(query.order_by(deployments.c.sequence)).all()
        found = {release: "in flight" if state in PENDING else state for release, state in unended}
        # Also use the switch log: a failed engine serves no one, but its release is still the production model.
        for release, why in zip(list_switched_releases(connection), _SWITCHED_REASONS, strict=False):
            found.setdefault(release, why)
        for back in list_rollback_targets(connection)[:_ROLLBACK_DEPTH]:
            if found.get(back.deployment.release_id, "previously live") == "previously live":
                found[back.deployment.release_id] = "kept for rollback"
    return found


def mark_removed(connection: sa.Connection, release_id: str, by: str) -> None:
    """Record that the release's folder is removed. Raises GateClosedError if it is in use."""
    in_use = list_releases_in_use(connection)
    if release_id in in_use:
        raise GateClosedError(f"Release {release_id} is {in_use[release_id]} and can't be removed.")
    connection.execute(
        releases.update().where(releases.c.release_id == release_id).values(removed_at=datetime.now(UTC))
    )
    audit.append(connection, by, "removed release", release_id)
