"""The tombstone that replaces an instruction set after one of its subjects was erased.

<short fingerprint>/erased.json         the set, the time, and the number of erased examples per split
                    remaining.parquet   ids of the other examples, to trace which models were trained on them
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fine_tune_assets.core.files import write_text

ERASED_FILE = "erased.json"
REMAINING_FILE = "remaining.parquet"


@dataclass(frozen=True)
class ErasedSet:
    """The tombstone of a set."""

    fingerprint: str
    erased_at: str
    erasure_ids: tuple[str, ...]
    examples: dict[str, int]
    """Split → number of examples of erased subjects."""
    facts: dict[str, Any] = field(default_factory=dict)
    """The split rules from the set's manifest: with the remaining ids they still show which subjects were in the test split."""


def write_erased_set(folder: Path, erased: ErasedSet) -> None:
    write_text(folder / ERASED_FILE, json.dumps(asdict(erased), indent=2, sort_keys=True))


def read_erased_set(folder: Path) -> ErasedSet | None:
    """None if the folder has no tombstone."""
    path = folder / ERASED_FILE
    if not path.is_file():
        return None
    values = json.loads(path.read_text(encoding="utf-8"))
    return ErasedSet(**{**values, "erasure_ids": tuple(values["erasure_ids"])})
