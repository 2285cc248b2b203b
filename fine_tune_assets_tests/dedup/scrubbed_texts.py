"""Scrubbed reports from plain texts."""

import re

import numpy as np
import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.recipes.schema import DedupSettings
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.scrubbing_rows import ScrubbedReport

SETTINGS = DedupSettings(near_threshold=0.8)


def distinct_words(name: str, count: int = 40) -> str:
    """Distinct words without a digit, which would be facts."""
    return " ".join(f"{name}{chr(97 + number // 26)}{chr(97 + number % 26)}" for number in range(count))


LONG = distinct_words("finding", 60)
ONE_WORD = "findingbe"


def report_row(report_id: str, text: str, **changed: object) -> dict[str, object]:
    """A row of `scrubbed_reports`."""
    return {
        "report_id": report_id,
        "batch": "b",
        "source": "s",
        "subject_key": f"subject of {report_id}",
        "text": text,
        "tagged_text": text,
        "span_count": 0,
        "written_on": None,
        "scrubber_version": "v",
        "fingerprint": fingerprint_text(text),
        **changed,
    }


def reports_of(texts: dict[str, str], subject: str | None = None) -> pa.Table:
    """With `subject`, all reports are about one subject, otherwise each about another one."""
    about = {} if subject is None else {"subject_key": subject}
    rows = [report_row(report_id, text, **about) for report_id, text in texts.items()]
    return table_from_rows(rows, ScrubbedReport.SCHEMA)


def shingles_of(text: str, size: int = 3) -> set[tuple[str, ...]]:
    """A plain implementation to check the arrays against."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return {tuple(words[i : i + size]) for i in range(max(1, len(words) - size + 1))} if words else set()


def jaccard(one: str, other: str) -> float:
    first, second = shingles_of(one), shingles_of(other)
    return len(first & second) / len(first | second)


class Meaning:
    """Encoder stand-in: texts with the same first word have the same meaning. Counts the texts it encodes."""

    def __init__(self) -> None:
        self.encoded = 0

    def __call__(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        self.encoded += len(texts)
        vectors = np.zeros((len(texts), 8), np.float32)
        for row, text in enumerate(texts):
            vectors[row, sum(text.split()[0].encode()) % 8] = 1
        return vectors, np.ones(len(texts), np.int32)
