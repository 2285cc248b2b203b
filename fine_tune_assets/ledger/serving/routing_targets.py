"""Lists where the gateway may route a request, in one query: live, then standby, then the canary release."""

from dataclasses import dataclass

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import canary_releases, deployments, releases
from fine_tune_assets.ledger.seals import verify_row
from fine_tune_assets.ledger.serving.deployments import ROLLBACK_READY


@dataclass(frozen=True)
class RoutingTarget:
    deployment_id: str
    release_id: str
    folder: str
    """Folder of the release, relative to the data folder."""
    state: str
    engine_url: str | None
    engine_key: bytes | None
    """Encrypted."""
    canary_percent: int | None = None
    """Percentage of callers routed to it during its canary release; None outside one.

    `canary_records.find_routable_canary` decides whether it still receives requests.
    """

    @property
    def is_live(self) -> bool:
        return self.state == "live"

    @property
    def is_canary(self) -> bool:
        return self.canary_percent is not None


_COLUMNS = (
    *(column.label(f"d_{column.name}") for column in deployments.columns),
    *(column.label(f"r_{column.name}") for column in releases.columns),
)
"""All columns, because a seal covers the whole row: one query for both tables is what every gateway request waits for."""
_SERVES = (deployments.c.state == "live") | (
    deployments.c.state.in_(ROLLBACK_READY)
    & deployments.c.engine_url.is_not(None)
    & deployments.c.rollback_reason.is_(None)
)
_IS_CANARY = (
    (deployments.c.state == "ready")
    & deployments.c.engine_url.is_not(None)
    & canary_releases.c.started_at.is_not(None)
    & canary_releases.c.ended_at.is_(None)
)
_ORDERED_QUERY = (
    sa.select(*_COLUMNS)
    .join(releases, releases.c.release_id == deployments.c.release_id)
    .order_by(
        sa.case((deployments.c.state == "live", 0), (deployments.c.state == "ready", 2), else_=1),
        deployments.c.live_since.desc(),
    )
)
_SERVING_QUERY = _ORDERED_QUERY.where(_SERVES)
_CANARY_QUERY = (
    _ORDERED_QUERY.add_columns(sa.case((_IS_CANARY, canary_releases.c.traffic_percent)).label("canary_percent"))
    .outerjoin(canary_releases, canary_releases.c.deployment_id == deployments.c.deployment_id)
    .where(_SERVES | _IS_CANARY)
)


def find_targets(ledger: Ledger, *, include_canary: bool = False) -> list[RoutingTarget]:
    """The live deployment, even without an engine; then earlier ones with a running engine that no rollback left.

    `include_canary` adds the canary release, if there is one, and takes 0.05 ms more. Raises SealError.
    """
    with ledger.read() as connection:
        rows = connection.execute(_CANARY_QUERY if include_canary else _SERVING_QUERY).mappings()
        return [_target(connection, row) for row in rows]


def _target(connection: sa.Connection, row: sa.RowMapping) -> RoutingTarget:
    deployment = {column.name: row[f"d_{column.name}"] for column in deployments.columns}
    release = {column.name: row[f"r_{column.name}"] for column in releases.columns}
    verify_row(connection, deployments, deployment)
    verify_row(connection, releases, release)
    names = ("deployment_id", "release_id", "state", "engine_url", "engine_key")
    plain = {name: deployment[name] for name in names}
    return RoutingTarget(**plain, folder=release["folder"], canary_percent=row.get("canary_percent"))
