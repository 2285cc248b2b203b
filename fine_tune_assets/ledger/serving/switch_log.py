"""Reads from the audit log which release users were last switched to.

The log, not the deployment state, defines the incumbent: a release whose engine failed is still what the next candidate has to
beat.
"""

import sqlalchemy as sa

from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger, read_transaction
from fine_tune_assets.ledger.ledger_tables import audit_entries, releases
from fine_tune_assets.ledger.seals import select_sealed

_SWITCH_ACTIONS = {"blue": "switched to blue", "green": "switched to green"}
_RELEASE_PREFIX = "release "
IMPORTED = "imported release"
"""Audit log action of an import."""
PLACEHOLDER_SUFFIX = " as a placeholder"
"""Ends the audit entry of a placeholder import, which candidates are not compared with."""
_IS_SWITCH = audit_entries.c.action.in_(_SWITCH_ACTIONS.values())


def record_switch(connection: sa.Connection, by: str, colour: str, release_id: str) -> None:
    audit.append(connection, by, _SWITCH_ACTIONS[colour], f"{_RELEASE_PREFIX}{release_id}")


def list_switched_releases(connection: sa.Connection) -> list[str]:
    """Releases that users were switched to, latest first, each once."""
    switches = audit.iterate_authentic(connection, _IS_SWITCH)
    return list(dict.fromkeys(entry.resource.removeprefix(_RELEASE_PREFIX) for entry in switches))


def find_production_adapter(target: Ledger | sa.Connection) -> str | None:
    """The adapter of the release that users were last switched to, which the next candidate has to beat.

    None before the first switch and while an imported placeholder serves: candidates are then compared with the base model.
    """
    with read_transaction(target) as connection:
        newest = next(audit.iterate_authentic(connection, _IS_SWITCH), None)
        if newest is None:
            return None
        release_id = newest.resource.removeprefix(_RELEASE_PREFIX)
        if is_placeholder(connection, release_id):
            return None
        (found,) = select_sealed(connection, sa.select(releases).where(releases.c.release_id == release_id))
        return str(found["adapter_id"])


def is_placeholder(connection: sa.Connection, release_id: str) -> bool:
    """Whether its newest import was as a placeholder, according to the audit log alone."""
    is_import = audit_entries.c.action == IMPORTED
    is_import &= audit_entries.c.resource.startswith(f"{release_id} with key ", autoescape=True)
    newest = next(audit.iterate_authentic(connection, is_import), None)
    return newest is not None and newest.resource.endswith(PLACEHOLDER_SUFFIX)
