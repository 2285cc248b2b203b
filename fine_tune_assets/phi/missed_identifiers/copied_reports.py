"""Extends marks to copies: the same report under another subject's key shows the same identifier.

A mark counts for the subject of a copy as if it had been made there.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.core.fingerprints import fingerprint_listing
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.identifier_marks import (
    MissedTerm,
    list_marks,
    read_mark_subjects,
    read_missed_terms,
    record_mark_subjects,
)
from fine_tune_assets.phi.missed_identifiers.missed_terms import TermsBySubject, has_any_term
from fine_tune_assets.phi.spans.vocabulary import Vocabulary
from fine_tune_assets.tables.duckdb_connection import open_cursor

MIN_WORD_OVERLAP = 0.9
"""Minimum share of words, besides the marked ones, that make a report with the term a copy. Below 1, because the marked report
may be scrubbed before its copy, and the scrubber may remove words next to the term."""
_MAX_LENGTH_RATIO = 2.0
CopiesByMark = Mapping[str, frozenset[str]]
"""Mark id → keys of other subjects with a copy of the marked report."""


@dataclass(frozen=True)
class _MarkedReport:
    report_id: str
    subject_key: str
    term: MissedTerm


_cached_copies: tuple[tuple[object, ...], CopiesByMark] | None = None
"""Last result with the tables it came from. A sensor calls this at every tick, and each mark requires reading every report."""


def find_terms_with_copies(
    ledger: Ledger, key: bytes, tables: Path, vocabulary: Vocabulary
) -> dict[str, list[MissedTerm]]:
    """Subject key → terms marked for that subject, or in a report of which the subject has a copy.

    Raises LedgerError if a term cannot be decrypted.
    """
    terms = read_missed_terms(ledger, key)
    reports = {mark.mark_id: mark.report_id for mark in list_marks(ledger)}
    marked = [
        _MarkedReport(reports[term.mark_id], subject_key, term)
        for subject_key, found in terms.items()
        for term in found
        if term.mark_id in reports
    ]
    copies = _read_copies(marked, tables, vocabulary) if marked else {}
    for one in marked:
        for subject_key in sorted(copies[one.term.mark_id]):
            terms.setdefault(subject_key, []).append(one.term)
    return terms


def record_terms(ledger: Ledger, terms: TermsBySubject) -> None:
    """Record which subjects each mark concerns, as `find_terms_with_copies` found them, for `read_recorded_terms`."""
    subjects: dict[str, set[str]] = defaultdict(set)
    for subject_key, found in terms.items():
        for term in found:
            subjects[term.mark_id].add(subject_key)
    record_mark_subjects(ledger, subjects)


@dataclass(frozen=True)
class RecordedTerms:
    """Marked terms, from the ledger alone."""

    by_subject: TermsBySubject
    of_all: Sequence[MissedTerm]
    """Terms of marks whose copies were not looked for yet. They count for every subject."""


def read_recorded_terms(ledger: Ledger, key: bytes) -> RecordedTerms:
    """The active terms with their recorded subjects. Raises LedgerError, SealError.

    For the gates after stage 3: they read no report.
    """
    subjects, of_all = read_mark_subjects(ledger), list[MissedTerm]()
    by_subject = read_missed_terms(ledger, key)
    for subject_key, term in [(own, term) for own, found in by_subject.items() for term in found]:
        if term.mark_id not in subjects:
            of_all.append(term)
        for other in sorted(subjects.get(term.mark_id, frozenset()) - {subject_key}):
            by_subject.setdefault(other, []).append(term)
    return RecordedTerms(by_subject, of_all)


def _read_copies(marked: Sequence[_MarkedReport], tables: Path, vocabulary: Vocabulary) -> CopiesByMark:
    global _cached_copies
    listings = (fingerprint_listing(p) if p.is_dir() else "" for p in (tables / "reports", tables / "scrubbed_reports"))
    seen = (tables, vocabulary, *listings)
    known = _cached_copies[1] if _cached_copies is not None and _cached_copies[0] == seen else {}
    new = [mark for mark in marked if mark.term.mark_id not in known]
    if new:
        known = {**known, **_find_copies(new, tables, vocabulary)}
    _cached_copies = (seen, known)
    return known


def _find_copies(marked: Sequence[_MarkedReport], tables: Path, vocabulary: Vocabulary) -> CopiesByMark:
    texts = _read_texts(tables / "reports", "text", [mark.report_id for mark in marked])
    return {
        mark.term.mark_id: frozenset(
            _find_subjects_with_copy(mark, texts[mark.report_id], tables, vocabulary) if mark.report_id in texts else ()
        )
        for mark in marked
    }


def _find_subjects_with_copy(marked: _MarkedReport, text: str, tables: Path, vocabulary: Vocabulary) -> set[str]:
    words = set(_split_words(marked.term.term, vocabulary))
    raw = _count_words(text, words, vocabulary)
    found, different = set[str](), dict[str, str]()
    for report_id, subject_key, other in _find_candidates(marked, text, tables / "reports"):
        if _is_copy(raw, _count_words(other, words, vocabulary)):
            found |= {subject_key} if has_any_term(other, [marked.term], vocabulary) else set()
        elif has_any_term(other, [marked.term], vocabulary):
            different[report_id] = subject_key
    # Two short notes can differ more in their identifiers than they share.
    tagged = (
        _read_texts(tables / "scrubbed_reports", "tagged_text", [marked.report_id, *different]) if different else {}
    )
    if marked.report_id in tagged:
        scrubbed = _count_words(tagged.pop(marked.report_id), words, vocabulary)
        found |= {
            different[r] for r, other in tagged.items() if _is_copy(scrubbed, _count_words(other, words, vocabulary))
        }
    return found


def _find_candidates(marked: _MarkedReport, text: str, reports: Path) -> list[tuple[str, str, str]]:
    """Id, subject and text of other subjects' reports of about the same length that contain the longest word of the term."""
    query = (
        "select report_id, subject_key, text from read_parquet(?) where subject_key <> ? and length(text) between ? and ? "
        "and contains(lower(text), lower(?))"
    )
    shortest, longest = int(len(text) / _MAX_LENGTH_RATIO), int(len(text) * _MAX_LENGTH_RATIO) + 1
    word = max(marked.term.term.split(), key=len)
    return _query_rows(reports, "text", query, [marked.subject_key, shortest, longest, word])


def _read_texts(folder: Path, column: str, report_ids: Sequence[str]) -> dict[str, str]:
    query = f"select report_id, {column} from read_parquet(?) where report_id in (select unnest(?))"
    return dict(_query_rows(folder, column, query, [list(report_ids)]))


def _query_rows(folder: Path, column: str, query: str, values: Sequence[Any]) -> list[Any]:
    """Skips files of an older version without the column: they are not used before they are rebuilt."""
    paths = [path for path in sorted(folder.glob("*.parquet")) if not path.name.startswith(".")]
    files = [str(path) for path in paths if column in pq.read_schema(path).names]
    if not files:
        return []
    with open_cursor() as asking:
        return asking.execute(query, [files, *values]).fetchall()


def _split_words(text: str, vocabulary: Vocabulary) -> list[str]:
    return re.findall(r"\w+", vocabulary.tag.sub(" ", text).casefold())


def _count_words(text: str, without: Iterable[str], vocabulary: Vocabulary) -> Counter[str]:
    return Counter(word for word in _split_words(text, vocabulary) if word not in without)


def _is_copy(one: Counter[str], other: Counter[str]) -> bool:
    return (one & other).total() >= MIN_WORD_OVERLAP * (one | other).total()
