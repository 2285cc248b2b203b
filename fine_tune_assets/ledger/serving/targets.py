"""Where the gateway may send a request: the live deployment first, then what served before and is still up, and last what is on
trial if that is asked for. One query."""

from dataclasses import dataclass

import sqlalchemy as sa

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import deployments, releases, trials
from fine_tune_assets.ledger.serving.deployments import BEHIND


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
    trial_percent: int | None = None
    """Of callers, who are answered by it, if it is on trial; None: it is not. Whether it may still be asked is
    `trials.trial_that_may_ask`'s to say."""

    @property
    def is_live(self) -> bool:
        return self.state == "live"

    @property
    def is_on_trial(self) -> bool:
        return self.trial_percent is not None


_COLUMNS = (
    deployments.c.deployment_id,
    deployments.c.release_id,
    releases.c.folder,
    deployments.c.state,
    deployments.c.engine_url,
    deployments.c.engine_key,
)
_SERVES = (deployments.c.state == "live") | (
    deployments.c.state.in_(BEHIND) & deployments.c.engine_url.is_not(None) & deployments.c.rollback_reason.is_(None)
)
_IS_TRIED = (
    (deployments.c.state == "ready")
    & deployments.c.engine_url.is_not(None)
    & trials.c.begun_at.is_not(None)
    & trials.c.ended_at.is_(None)
)
_IN_ORDER = (
    sa.select(*_COLUMNS)
    .join(releases, releases.c.release_id == deployments.c.release_id)
    .order_by(
        sa.case((deployments.c.state == "live", 0), (deployments.c.state == "ready", 2), else_=1),
        deployments.c.live_since.desc(),
    )
)
_QUERY = _IN_ORDER.where(_SERVES)
_WITH_TRIAL = (
    _IN_ORDER.add_columns(sa.case((_IS_TRIED, trials.c.percent)))
    .outerjoin(trials, trials.c.deployment_id == deployments.c.deployment_id)
    .where(_SERVES | _IS_TRIED)
)


def find_targets(ledger: Ledger, *, with_trial: bool = False) -> list[Target]:
    """The live one, even without an engine; the others only while their engine is up, and unless a rollback left them: for a
    fault, or since a person said so. `with_trial`: also what is on trial, which is one at most; it takes 0.05 ms more."""
    with ledger.read() as connection:
        return [Target(*row) for row in connection.execute(_WITH_TRIAL if with_trial else _QUERY)]
