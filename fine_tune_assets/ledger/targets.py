"""Where the gateway sends a request: the live deployment first, then what served before and is still up. One query."""

from dataclasses import dataclass

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.deployments import BEHIND
from fine_tune_assets.ledger.schema import deployments, releases


@dataclass(frozen=True)
class Target:
    deployment_id: str
    release_id: str
    folder: str
    """Of the release, below the data folder."""
    state: str
    engine_url: str | None
    engine_key: bytes | None
    """Encrypted."""

    @property
    def is_live(self) -> bool:
        return self.state == "live"


_QUERY = (
    sa.select(
        deployments.c.deployment_id,
        deployments.c.release_id,
        releases.c.folder,
        deployments.c.state,
        deployments.c.engine_url,
        deployments.c.engine_key,
    )
    .join(releases, releases.c.release_id == deployments.c.release_id)
    .where(
        (deployments.c.state == "live")
        | (
            deployments.c.state.in_(BEHIND)
            & deployments.c.engine_url.is_not(None)
            & deployments.c.rollback_reason.is_(None)
        )
    )
    .order_by(sa.case((deployments.c.state == "live", 0), else_=1), deployments.c.live_since.desc())
)


def find_targets(ledger: Ledger) -> list[Target]:
    """The live one, even without an engine; the others only while their engine is up, and unless a rollback left them: for a
    fault, or since a person said so."""
    with ledger.read() as connection:
        return [Target(*row) for row in connection.execute(_QUERY)]
