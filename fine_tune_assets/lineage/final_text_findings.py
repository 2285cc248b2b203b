"""What the scan of the final texts found in an instruction set: kinds and places, as a table next to the set's folder.

The set itself stores counts, on which its gate rests; pages mark the places. An erasure removes the subject's rows.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.lineage.subject_rows import SubjectRows, remove_rows_from_file
from fine_tune_assets.tables.instruction_rows import FinalTextFinding
from fine_tune_assets.tables.record_classes import iter_records, table_from_records

FINDINGS_ENDING = ".findings.parquet"


def write_findings(root: Path, fingerprint: str, rows: Iterable[FinalTextFinding]) -> None:
    """Each build of a set writes its table, also an empty one and also for a known set: the newest file is of the newest set."""
    write_table(root / f"{short(fingerprint)}{FINDINGS_ENDING}", table_from_records(FinalTextFinding, rows))


def read_newest_findings(root: Path, example_id: str | None = None) -> list[FinalTextFinding]:
    """The findings in the newest set, or those in one of its examples."""
    newest = max(root.glob(f"*{FINDINGS_ENDING}"), key=lambda path: path.stat().st_mtime_ns, default=None)
    if newest is None:
        return []
    filters = None if example_id is None else [("example_id", "=", example_id)]
    return list(iter_records(FinalTextFinding, pq.read_table(newest, filters=filters)))


def remove_findings(root: Path, rows: SubjectRows) -> int:
    """Delete the subject's rows from every table; return their number."""
    return sum(remove_rows_from_file(path, rows) for path in sorted(root.glob(f"*{FINDINGS_ENDING}")))


class FoundWords(NamedTuple):
    kind: str
    part: str
    """`instruction`, `input` or `output`."""
    text: str


@dataclass(frozen=True)
class ScannedText:
    """An example as it was scanned, with the findings in exactly this text."""

    parts: Mapping[str, str]
    """`instruction`, `input` and `output`."""
    findings: tuple[FinalTextFinding, ...]

    def list_places(self, part: str) -> list[tuple[int, int, str]]:
        """Start, end and kind."""
        return [
            (found.start, found.end, found.kind)
            for found in self.findings
            if found.part == part and found.start is not None and found.end is not None
        ]

    @property
    def words(self) -> list[FoundWords]:
        """Each found text once."""
        found = [
            FoundWords(kind, part, " ".join(text[start:end].split()))
            for part, text in self.parts.items()
            for start, end, kind in self.list_places(part)
            if text[start:end].strip()
        ]
        return list(dict.fromkeys(found))

    @property
    def unplaced(self) -> dict[str, int]:
        """Kind → findings without a place."""
        return dict(sorted(Counter(found.kind for found in self.findings if found.part is None).items()))


def match_scanned_text(
    found: Sequence[FinalTextFinding], instruction: str, input_text: str, outputs: Mapping[str, str]
) -> ScannedText | None:
    """The text of an example with these findings. `outputs`: fingerprint of the content → output.

    None without findings, or if they are in another text.
    """
    output = outputs.get(found[0].fingerprint) if found else None
    if output is None:
        return None
    return ScannedText({"instruction": instruction, "input": input_text, "output": output}, tuple(found))
