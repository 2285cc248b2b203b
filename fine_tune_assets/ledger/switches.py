"""Which release users were last switched to, as the audit log tells it.

Owns that line of the log. Not the state of a deployment: an engine that failed serves nobody, and what it served is still
what the next candidate has to beat.
"""

import sqlalchemy as sa

from fine_tune_assets.ledger import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import audit_lines, releases

_SWITCHED = {"blue": "switched to blue", "green": "switched to green"}
_RELEASE = "release "


def record_switch(connection: sa.Connection, by: str, colour: str, release_id: str) -> None:
    audit.append(connection, by, _SWITCHED[colour], f"{_RELEASE}{release_id}")


def switched_releases_in(connection: sa.Connection) -> list[str]:
    """Releases that users were switched to, the latest first, each once."""
    query = sa.select(audit_lines.c.about).where(audit_lines.c.what.in_(_SWITCHED.values()))
    lines = connection.execute(query.order_by(audit_lines.c.position.desc())).scalars()
    return list(dict.fromkeys(about.removeprefix(_RELEASE) for about in lines))


def serving_adapter(ledger: Ledger) -> str | None:
    """The adapter in the release that users were last switched to; None before the first switch."""
    with ledger.read() as connection:
        return serving_adapter_in(connection)


def serving_adapter_in(connection: sa.Connection) -> str | None:
    switches = sa.select(audit_lines.c.about).where(audit_lines.c.what.in_(_SWITCHED.values()))
    about = connection.execute(switches.order_by(audit_lines.c.position.desc()).limit(1)).scalar()
    if about is None:
        return None
    found = sa.select(releases.c.adapter_id).where(releases.c.release_id == about.removeprefix(_RELEASE))
    return str(connection.execute(found).scalar_one())
