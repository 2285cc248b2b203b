"""Measures the scrubber in use on labelled sets.

Owns the form of a labelled set and the table of measures. It is measured without known identifiers, so recall is a floor for
reports that state theirs. What the measures mean is in `measuring`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.tables import SCRUB_RECALL, table_of
from fine_tune_assets.phi.measuring import ALL, DIRECT, measure
from fine_tune_assets.phi.missed_terms import MARKED_BY_REVIEWERS
from fine_tune_assets.phi.workers import Workers

RECALL = "masked_recall"


class GoldFileError(FineTuneError):
    """A file of labelled identifiers can't be used."""


def measure_recall(gold_files: Sequence[Path], workers: Workers, version: str, progress: Progress) -> pa.Table:
    """SCRUB_RECALL: for each file, one row a measure and kind. Raises GoldFileError."""
    if not gold_files:
        raise GoldFileError("There is no file of labelled identifiers: recall can't be measured.")
    rows: list[dict[str, Any]] = []
    for done, path in enumerate(sorted(gold_files), start=1):
        documents = read_gold(path)
        found = workers.scrub([(document["text"], ()) for document in documents])
        for m in measure(documents, [one.spans for one in found]):
            rows.append({"labelled_set": path.stem, "measure": m.name, "scrubber_version": version, **asdict(m)})
        progress(done, len(gold_files), "labelled sets measured")
    return table_of(rows, SCRUB_RECALL)


def overall_recall(table: pa.Table, version: str | None = None, label: str = ALL) -> float | None:
    """The lowest recall on any labelled set, of all identifiers or of the direct ones; of this scrubber, if one is named.

    None where nothing was measured. The set that is made of reviewers' marks does not count: it holds misses only.
    """
    assert label in (ALL, DIRECT)
    found = [
        row["value"]
        for row in table.to_pylist()
        if (row["measure"], row["label"]) == (RECALL, label)
        and row["labelled_set"] != MARKED_BY_REVIEWERS
        and version in (None, row["scrubber_version"])
    ]
    return min(found) if found else None


def read_gold(path: Path) -> list[dict[str, Any]]:
    """Documents with `text` and `spans`, and `labels` where only some kinds were labelled.

    Raises GoldFileError with the line that is wrong.
    """
    documents: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
            is_usable = all(
                0 <= s["start"] < s["end"] <= len(document["text"]) and s["label"] for s in document["spans"]
            )
        except (ValueError, KeyError, TypeError) as error:
            raise GoldFileError(f"Line {number} of {path.name} does not have text and spans.") from error
        if not is_usable:
            raise GoldFileError(f"Line {number} of {path.name} has a span outside of its text.")
        documents.append(document)
    if not any(document["spans"] for document in documents):
        raise GoldFileError(f"{path.name} labels no identifier: recall can't be measured on it.")
    return documents
