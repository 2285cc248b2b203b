"""What an instruction set left out, every example with its reason: a small table beside the set's folder.

Owns that table. It is no part of the set, whose folder is named by its content and can't be changed: when a patient is erased,
the rows that name one of the patient's examples go. Ids and reasons only, never text.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.tables import LEFT_OUT_EXAMPLES, conform, table_of

_ENDING = ".left_out.parquet"


def left_out_file(root: Path, fingerprint: str) -> Path:
    return root / f"{short(fingerprint)}{_ENDING}"


def write_left_out(root: Path, fingerprint: str, rows: Sequence[Mapping[str, str]]) -> Path:
    """`rows`: LEFT_OUT_EXAMPLES. The same set made again replaces it."""
    path = left_out_file(root, fingerprint)
    write_table(path, table_of(rows, LEFT_OUT_EXAMPLES))
    return path


def read_left_out(root: Path, fingerprint: str) -> list[dict[str, str]]:
    """Empty if no set with this fingerprint was made here."""
    path = left_out_file(root, fingerprint)
    return conform(pq.read_table(path), LEFT_OUT_EXAMPLES).to_pylist() if path.is_file() else []


def forget_left_out(root: Path, example_ids: Collection[str]) -> int:
    """Take the rows that name one of the examples out of every table; how many there were."""
    count = 0
    for path in sorted(root.glob(f"*{_ENDING}")):
        rows = pq.read_table(path).to_pylist()
        kept = [row for row in rows if not _names(row, example_ids)]
        if len(kept) < len(rows):
            write_table(path, table_of(kept, LEFT_OUT_EXAMPLES))
        count += len(rows) - len(kept)
    return count


def _names(row: Mapping[str, str], example_ids: Collection[str]) -> bool:
    """Whether it is one of them, or was left out because of one."""
    return row["example_id"] in example_ids or any(example_id in row["reason"] for example_id in example_ids)
