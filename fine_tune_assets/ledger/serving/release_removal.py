"""Taking a release's folder away: which releases may never go, and the audited line that one went.

Owns both. How long the others are kept is a rule of `merging.retention`; folders are its too.
"""

from datetime import UTC, datetime

import sqlalchemy as sa

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger, reading
from fine_tune_assets.ledger.schema import deployments, releases
from fine_tune_assets.ledger.serving.deployments import ENDED, PENDING
from fine_tune_assets.ledger.serving.rollbacks import ways_back_in
from fine_tune_assets.ledger.serving.switch_log import switched_releases_in

_SWITCHED = ("live", "served before")
"""The releases that users were last switched to."""
_WAYS_BACK = 2
"""What a rollback goes to now, and what the next one would, should that be left for a fault."""


def releases_in_use(target: Ledger | sa.Connection) -> dict[str, str]:
    """Release → why it must stay: what serves, what a rollback goes back to, and all that is on its way."""
    query = sa.select(deployments.c.release_id, deployments.c.state).where(deployments.c.state.not_in(ENDED))
    with reading(target) as connection:
        unended = connection.execute(query.order_by(deployments.c.sequence)).all()
        found = {release: "on its way" if state in PENDING else state for release, state in unended}
        # Who serves is also asked of the log: an engine that failed serves nobody, and is still what users were given.
        for release, why in zip(switched_releases_in(connection), _SWITCHED, strict=False):
            found.setdefault(release, why)
        for back in ways_back_in(connection)[:_WAYS_BACK]:
            if found.get(back.deployment.release_id, "served before") == "served before":
                found[back.deployment.release_id] = "kept for a rollback"
    return found


def mark_removed(connection: sa.Connection, release_id: str, by: str) -> None:
    """Write down that the release's folder goes now. Raises GateClosedError if it is in use by now."""
    in_use = releases_in_use(connection)
    if release_id in in_use:
        raise GateClosedError(f"Release {release_id} is {in_use[release_id]}: it is not removed.")
    connection.execute(
        releases.update().where(releases.c.release_id == release_id).values(removed_at=datetime.now(UTC))
    )
    audit.append(connection, by, "removed release", release_id)
