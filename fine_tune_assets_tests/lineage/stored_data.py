"""Makes a data folder with two subjects in a real stored set, for the tests of this package."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet, write_instruction_set
from fine_tune_assets.tables.asset_tables import TABLES
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.instructions.examples import SEARCH, approved, built, example, subjects_in

MARKER = "Zyxomarkwort"
TRAINED, VALIDATED, TESTED = (subjects_in(split, 1)[0] for split in ("train", "validation", "test"))


def store_set(layout: Layout, extra: tuple[dict[str, str | None], ...] = ()) -> StoredInstructionSet:
    return write_instruction_set(layout.instruction_sets, built(extra=extra), {"recipe": "r"}, SEARCH)


def store(layout: Layout, name: str, rows: list[dict[str, Any]], partition: str | None = None) -> Path:
    """Write a table; missing values are filled by type."""
    path = layout.table(name, partition)
    write_table(path, filled(name, rows))
    return path


def filled(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    schema = TABLES[name]
    return table_from_rows([{f.name: row.get(f.name, _plain(f)) for f in schema} for row in rows], schema)


def store_examples(layout: Layout) -> list[dict[str, Any]]:
    """Store `approved_examples` and `drafted_examples` of the subjects in the set."""
    rows = [dict(row) for row in approved().to_pylist()]
    store(layout, "approved_examples", rows)
    store(layout, "drafted_examples", rows)
    return rows


def example_of(subject: str) -> str:
    number = subject.removeprefix("patient")
    return str(example(subject, f"Finding {number}.", f"Rest {number}.")["example_id"])


def _plain(field: pa.Field) -> Any:
    if field.nullable:
        return None
    if pa.types.is_list(field.type):
        return []
    if pa.types.is_string(field.type):
        return MARKER if b"is_report_text" in field.metadata else "plain"
    return False if pa.types.is_boolean(field.type) else 0
