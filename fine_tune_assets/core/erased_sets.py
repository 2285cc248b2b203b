"""What is left of an instruction set once somebody in it was erased: a folder that says so, in the place of the set.

Owns that folder, which whoever reads or writes sets has to know:

    <short fingerprint>/erased.json         which set, when, and how many examples of whom are gone
                        remaining.parquet   the other examples, ids only: which models saw them can still be told

Does not know what a set holds, or how it is erased.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fine_tune_assets.core.files import write_text

ERASED = "erased.json"
REMAINING = "remaining.parquet"


@dataclass(frozen=True)
class ErasedSet:
    """The tombstone of a set."""

    fingerprint: str
    erased_at: str
    erasure_ids: tuple[str, ...]
    examples: dict[str, int]
    """Split → examples of erased patients."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What decided the set, from its manifest: with the ids that remain it still says who was tested by which rule."""


def write_erased(folder: Path, erased: ErasedSet) -> None:
    write_text(folder / ERASED, json.dumps(asdict(erased), indent=2, sort_keys=True))


def read_erased(folder: Path) -> ErasedSet | None:
    """None for a set that is whole, and where there is none."""
    path = folder / ERASED
    if not path.is_file():
        return None
    values = json.loads(path.read_text(encoding="utf-8"))
    return ErasedSet(**{**values, "erasure_ids": tuple(values["erasure_ids"])})
