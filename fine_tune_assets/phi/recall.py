"""Measures how many labelled identifiers the scrubber removes whole.

Owns the measure: an identifier counts as removed if every one of its characters but spaces is under some finding, of
whatever kind. It is measured without known identifiers, so it is a floor for reports that state theirs.
"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.tables import SCRUB_RECALL, table_of
from fine_tune_assets.phi.scrubbing import Scrubber
from fine_tune_assets.phi.spans import Span

ALL = "all"
_Z = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


class GoldFileError(FineTuneError):
    """A file of labelled identifiers can't be used."""


def measure_recall(gold_files: Sequence[Path], scrubber: Scrubber, progress: Progress) -> pa.Table:
    """SCRUB_RECALL: for each file, one row a kind of identifier and one for `all`. Raises GoldFileError."""
    if not gold_files:
        raise GoldFileError("There is no file of labelled identifiers: recall can't be measured.")
    rows: list[dict[str, Any]] = []
    for done, path in enumerate(sorted(gold_files), start=1):
        gold, masked = _count(read_gold(path), scrubber)
        rows += [_row(path.stem, label, gold[label], masked[label], scrubber.version) for label in sorted(gold)]
        progress(done, len(gold_files), "labelled sets measured")
    return table_of(rows, SCRUB_RECALL)


def overall_recall(table: pa.Table) -> float:
    """The worst of the labelled sets, over all kinds."""
    return min(row["recall"] for row in table.to_pylist() if row["label"] == ALL)


def read_gold(path: Path) -> list[dict[str, Any]]:
    """Documents with `text` and `spans`. Raises GoldFileError with the line that is wrong."""
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


def is_masked(text: str, start: int, end: int, spans: Sequence[Span]) -> bool:
    """Whether every character from `start` to `end`, but spaces, is under a span."""
    return all(text[i].isspace() or any(s.start <= i < s.end for s in spans) for i in range(start, end))


def wilson_interval(hits: int, total: int) -> tuple[float, float]:
    """95 % interval of a share. Wilson, JASA 22 (1927) 209-212: right for small counts, and at 0 and 1."""
    share, z2 = hits / total, _Z * _Z
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    return max(0.0, centre - half), min(1.0, centre + half)


def _count(documents: Sequence[dict[str, Any]], scrubber: Scrubber) -> tuple[Counter[str], Counter[str]]:
    gold: Counter[str] = Counter()
    masked: Counter[str] = Counter()
    scrubbed = scrubber.scrub_all([(document["text"], ()) for document in documents])
    for document, result in zip(documents, scrubbed, strict=True):
        for span in document["spans"]:
            hit = is_masked(document["text"], span["start"], span["end"], result.spans)
            for label in (span["label"], ALL):
                gold[label] += 1
                masked[label] += hit
    return gold, masked


def _row(labelled_set: str, label: str, gold: int, masked: int, version: str) -> dict[str, Any]:
    low, high = wilson_interval(masked, gold)
    return {
        "labelled_set": labelled_set,
        "label": label,
        "gold": gold,
        "masked": masked,
        "recall": masked / gold,
        "low": low,
        "high": high,
        "scrubber_version": version,
    }
