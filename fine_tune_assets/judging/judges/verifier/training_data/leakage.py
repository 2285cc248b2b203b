"""Finds texts of the measuring sets, and copies of measured reports, among the training reports."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from fine_tune_assets.judging.judges.verifier.training_data.balanced_pairs import Report

_WORD: Final = re.compile(r"\w+")
SHINGLE_WORDS: Final = 8
MIN_SHARED: Final = 0.5
"""Share of a text's word sequences that occur in a measuring set from which the text counts as contained; of a report's, in one
measured report from which it counts as its copy."""


def find_leaks(reports: Sequence[Report], measured: Iterable[str]) -> dict[str, str]:
    """Subject → what is contained in the measured texts: "record" or "note". Short texts must be equal."""
    texts = list(measured)
    shingles = {one for text in texts for one in _shingles(text)}
    equal = {" ".join(_words(text)) for text in texts} - {""}
    found: dict[str, str] = {}
    for report in reports:
        for part in ("record", "note"):
            text = getattr(report, part)
            own = _shingles(text)
            is_long_copy = bool(own) and len(own & shingles) >= MIN_SHARED * len(own)
            # A short note such as "None." belongs to many subjects.
            is_equal_record = part == "record" and " ".join(_words(text)) in equal
            if is_long_copy or is_equal_record:
                found.setdefault(report.subject, part)
    return found


def find_copied_reports(reports: Sequence[Report], measured: Sequence[Report]) -> set[str]:
    """Subjects with a report of which half, record and note together, is in one measured report.

    For reports of one source. They share standard sentences, so that nearly each note is contained in all others together.
    """
    rows_with = defaultdict[tuple[str, ...], list[int]](list)
    for row, report in enumerate(measured):
        for shingle in _report_shingles(report):
            rows_with[shingle].append(row)
    copied = set()
    for report in reports:
        own = _report_shingles(report)
        shared = Counter(row for shingle in own for row in rows_with.get(shingle, ()))
        if own and max(shared.values(), default=0) >= MIN_SHARED * len(own):
            copied.add(report.subject)
    return copied


def _report_shingles(report: Report) -> set[tuple[str, ...]]:
    return _shingles(report.record) | _shingles(report.note)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = _words(text)
    return {tuple(words[at : at + SHINGLE_WORDS]) for at in range(len(words) - SHINGLE_WORDS + 1)}
