"""What marks a planted canary in a table of conversations.

Owns the mark, which whoever plants, trains or refuses has to know. Does not know what a canary says.
"""

import pyarrow as pa
import pyarrow.compute as pc

CANARY = "planted_canary"
"""Source of a planted row, and the beginning of its id."""


def count_canaries(instruction_set: pa.Table) -> int:
    """Rows of `instruction_sets` that are marked as planted, by their source or by their id."""
    by_source = pc.equal(instruction_set["source"], CANARY)
    by_id = pc.starts_with(instruction_set["example_id"], CANARY)
    return int(pc.sum(pc.or_(by_source, by_id)).as_py() or 0)
