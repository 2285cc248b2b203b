"""Adds proposals: imported decisions that their persons have not signed.

Approvals that an earlier version imported as decisions, without a signature, are listed as proposals too.
"""

import sqlalchemy as sa
from alembic import op

revision = "proposals"
down_revision = "sign_in_failures"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_COPIED = (
    "example_id", "fingerprint", "report_id", "task", "decision", "output", "reviewer", "reason", "decided_at", "role",
    "approved_fingerprint", "meaning", "reason_code",
)  # fmt: skip
_EARLIER_FILE = "earlier"
_PREFIX = "decision "


def upgrade() -> None:
    op.create_table(
        "proposals",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("proposal_id", sa.String(64), nullable=False),
        sa.Column("file_id", sa.String(32), nullable=False),
        sa.Column("place", sa.String(64), nullable=False),
        sa.Column("example_id", sa.String(200), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("report_id", sa.Text),
        sa.Column("task", sa.String(200)),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("output", sa.Text),
        sa.Column("reviewer", sa.String(200), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("decided_at", _TIME, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("approved_fingerprint", sa.String(64)),
        sa.Column("meaning", sa.Text, nullable=False),
        sa.Column("reason_code", sa.String(64), nullable=False),
        sa.Column("imported_by", sa.String(200), nullable=False),
        sa.Column("imported_at", _TIME, nullable=False),
        sa.Column("is_earlier", sa.Boolean, nullable=False),
        sa.Column("lapsed_at", _TIME),
        sa.Column("signed_id", sa.String(64)),
        sa.Column("withdrawn_by", sa.String(200)),
        sa.Column("withdrawn_at", _TIME),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("proposal_id"),
    )
    op.create_index("ix_proposals_file_id", "proposals", ["file_id"])
    op.create_index("ix_proposals_example_id", "proposals", ["example_id"])
    _list_earlier_imports(op.get_bind())


def _list_earlier_imports(connection: sa.Connection) -> None:
    """Earlier versions wrote `imported a decision` into the audit log, and the decision as the named person's."""
    entries = sa.table(
        "audit_entries", sa.column("actor"), sa.column("at", _TIME), sa.column("action"), sa.column("resource")
    )
    decisions = sa.table(
        "decisions",
        sa.column("decision_id"),
        *(sa.column(name, _TIME if name == "decided_at" else None) for name in _COPIED),
    )
    revocations = sa.table("revocations", sa.column("decision_id"))
    proposals = sa.table(
        "proposals",
        *(sa.column(name) for name in ("proposal_id", "file_id", "place", "imported_by", "is_earlier")),
        sa.column("imported_at", _TIME),
        *(sa.column(name, _TIME if name == "decided_at" else None) for name in _COPIED),
    )
    query = sa.select(entries.c.resource, entries.c.actor, entries.c.at).where(
        entries.c.action == "imported a decision"
    )
    imports = {row.resource.removeprefix(_PREFIX): row for row in connection.execute(query)}
    active = decisions.c.decision_id.not_in(sa.select(revocations.c.decision_id))
    for decision_id, imported in imports.items():
        of_import = (decisions.c.decision_id == decision_id) & (decisions.c.decision == "approve") & active
        for row in connection.execute(sa.select(decisions).where(of_import)).mappings().all():
            values = {name: row[name] for name in _COPIED}
            values |= {"proposal_id": decision_id, "file_id": _EARLIER_FILE, "place": "", "is_earlier": True}
            connection.execute(proposals.insert().values(**values, imported_by=imported.actor, imported_at=imported.at))
