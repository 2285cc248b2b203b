"""Loads measurements that ship with the repository, each named by the fingerprint of its inputs.

Measuring the shipped scrubber and judge takes a minute on two cores and always gives the same result. `make shipped-measurements`
measures them again; installations with another model, rule, setting or labelled set measure their own.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_json
from fine_tune_assets.tables.asset_tables import TABLES
from fine_tune_assets.tables.record_classes import table_from_rows

MEASUREMENTS_FOLDER = Path(__file__).parent / "reference" / "measurements"


def load_shipped_table(name: str, inputs: Any, folder: Path = MEASUREMENTS_FOLDER) -> pa.Table | None:
    """The shipped table measured with exactly these inputs (JSON), or None."""
    try:
        kept = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except OSError:
        return None
    return (
        table_from_rows(kept["rows"], TABLES[name]) if kept["inputs_fingerprint"] == fingerprint_json(inputs) else None
    )


def save_shipped_table(name: str, inputs: Any, table: pa.Table, folder: Path = MEASUREMENTS_FOLDER) -> None:
    """Store `table` as the shipped one."""
    kept = {"inputs_fingerprint": fingerprint_json(inputs), "rows": table.to_pylist()}
    write_text(folder / f"{name}.json", json.dumps(kept, indent=1, sort_keys=True))


def fingerprint_files(files: Sequence[Path]) -> list[list[str]]:
    """Name and SHA-256 of each file."""
    return [[path.name, fingerprint_file(path)] for path in files]
