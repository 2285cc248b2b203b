"""How one person's name is spelt in a column of the ledger. Owns the look-up; which names are one person's is `core/people`'s."""

from typing import Any

import sqlalchemy as sa

from fine_tune_assets.core.people import is_same_person


def spellings_of(connection: sa.Connection, column: sa.Column[Any], name: str) -> list[str]:
    """Every name in the column that is this person's: SQL can then look for them to the letter."""
    present = connection.execute(sa.select(column).where(column.is_not(None)).distinct()).scalars()
    return [found for found in present if is_same_person(found, name)]
