"""The tables of the first release. A new ledger is created from the declared tables, so this migration changes nothing.

A change of a table adds a migration after this one, which ledgers of earlier releases run.
"""

revision = "release_0_1"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing comes before."""
