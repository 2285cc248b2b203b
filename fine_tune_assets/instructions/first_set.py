"""What the first instruction set waits for. Automation waits for reviewers then, instead of failing after each decision."""

import pyarrow.parquet as pq

from fine_tune_assets.core.paths import Layout
from fine_tune_assets.recipes.schema import Recipe


def describe_first_set_wait(layout: Layout, recipe: Recipe) -> str | None:
    """None without a table of approved examples, with enough of them, or once a set exists: a later set that is too small fails
    with its reason, since examples were revoked or erased. Raises OSError, pyarrow.ArrowInvalid."""
    sets, approved = (layout.tables / name / f"{name}.parquet" for name in ("instruction_sets", "approved_examples"))
    if sets.is_file() or not approved.is_file():
        return None
    count, minimum = pq.read_metadata(approved).num_rows, recipe.split.minimum_examples
    if count >= minimum:
        return None
    return f"the first instruction set needs {minimum} approved examples, and {count} are approved. Review drafts on the desk."
