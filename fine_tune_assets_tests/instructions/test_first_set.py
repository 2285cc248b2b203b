"""Until enough examples are approved, the first instruction set waits; afterwards a set that is too small is a failure."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.paths import Layout
from fine_tune_assets.instructions.first_set import describe_first_set_wait
from fine_tune_assets.recipes.loader import load_recipe

RECIPE = load_recipe("demo_smollm2")
MINIMUM = RECIPE.split.minimum_examples


def write_rows(data: Path, asset: str, count: int) -> None:
    folder = data / "tables" / asset
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"example_id": [str(number) for number in range(count)]}), folder / f"{asset}.parquet")


@pytest.mark.parametrize(("count", "waits"), [(0, True), (MINIMUM - 1, True), (MINIMUM, False)])
def test_the_first_set_waits_below_the_minimum(tmp_path: Path, count: int, waits: bool) -> None:
    write_rows(tmp_path, "approved_examples", count)
    found = describe_first_set_wait(Layout(tmp_path), RECIPE)
    assert (found is not None) == waits
    assert found is None or f"{MINIMUM} approved examples, and {count} are" in found


def test_without_a_table_of_approvals_other_causes_are_named_elsewhere(tmp_path: Path) -> None:
    assert describe_first_set_wait(Layout(tmp_path), RECIPE) is None


def test_a_later_set_does_not_wait(tmp_path: Path) -> None:
    """Examples were revoked or erased: the old set must not stay in use without a word."""
    write_rows(tmp_path, "approved_examples", 0)
    write_rows(tmp_path, "instruction_sets", MINIMUM)
    assert describe_first_set_wait(Layout(tmp_path), RECIPE) is None
