"""Tables that were measured once with what the repository ships, each named by the fingerprint of all that decides it.

Measuring the shipped scrubber and judge takes a minute on two cores and gives the same figures every time. `make
shipped-measurements` measures them again; whatever differs from what is shipped (another model, rule, setting or labelled set) is
measured where it runs.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_json
from fine_tune_assets.tables.catalogue import TABLES
from fine_tune_assets.tables.records import table_of

FOLDER = Path(__file__).parent / "reference" / "measurements"


def shipped_table(name: str, decided_by: Any, folder: Path = FOLDER) -> pa.Table | None:
    """The shipped table `name`, if it was measured with exactly `decided_by` (JSON); None otherwise."""
    try:
        kept = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except OSError:
        return None
    return table_of(kept["rows"], TABLES[name]) if kept["decided_by"] == fingerprint_json(decided_by) else None


def ship_table(name: str, decided_by: Any, table: pa.Table, folder: Path = FOLDER) -> None:
    """Keep `table` as the shipped one."""
    kept = {"decided_by": fingerprint_json(decided_by), "rows": table.to_pylist()}
    write_text(folder / f"{name}.json", json.dumps(kept, indent=1, sort_keys=True))


def content_of(files: Sequence[Path]) -> list[list[str]]:
    """Name and SHA-256 of each file."""
    return [[path.name, fingerprint_file(path)] for path in files]
