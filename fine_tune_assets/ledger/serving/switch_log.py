"""Which release users were last switched to, as the audit log tells it.

Owns that line of the log. Not the state of a deployment: an engine that failed serves nobody, and what it served is still
what the next candidate has to beat.
"""

import sqlalchemy as sa

from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger, reading
from fine_tune_assets.ledger.schema import audit_lines, releases

_SWITCHED = {"blue": "switched to blue", "green": "switched to green"}
_RELEASE = "release "
IMPORTED = "imported release"
"""What the audit log calls an import."""
AS_PLACEHOLDER = " as a placeholder"
"""Ends the line of an import that candidates are not compared with."""
_SWITCHES = (
    sa.select(audit_lines.c.about)
    .where(audit_lines.c.what.in_(_SWITCHED.values()))
    .order_by(audit_lines.c.position.desc())
)


def record_switch(connection: sa.Connection, by: str, colour: str, release_id: str) -> None:
    audit.append(connection, by, _SWITCHED[colour], f"{_RELEASE}{release_id}")


def switched_releases_in(connection: sa.Connection) -> list[str]:
    """Releases that users were switched to, the latest first, each once."""
    return list(dict.fromkeys(about.removeprefix(_RELEASE) for about in connection.execute(_SWITCHES).scalars()))


def serving_adapter(target: Ledger | sa.Connection) -> str | None:
    """The adapter in the release that users were last switched to, which the next candidate has to beat.

    None before the first switch, and while an imported placeholder serves: candidates are compared with the base model then.
    """
    with reading(target) as connection:
        about = connection.execute(_SWITCHES.limit(1)).scalar()
        if about is None:
            return None
        release_id = about.removeprefix(_RELEASE)
        if is_placeholder_in(connection, release_id):
            return None
        found = sa.select(releases.c.adapter_id).where(releases.c.release_id == release_id)
        return str(connection.execute(found).scalar_one())


def is_placeholder_in(connection: sa.Connection, release_id: str) -> bool:
    """Whether its newest import was as a placeholder, by the audit log alone."""
    lines = sa.select(audit_lines.c.about).where(
        audit_lines.c.what == IMPORTED, audit_lines.c.about.startswith(f"{release_id} with key ", autoescape=True)
    )
    newest = connection.execute(lines.order_by(audit_lines.c.position.desc()).limit(1)).scalar()
    return newest is not None and newest.endswith(AS_PLACEHOLDER)
