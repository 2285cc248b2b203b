"""A marked report that stands under another patient's key too: the same words show the same identifier.

Owns when a report is a copy of a marked one, and that a mark then counts for the copy's patient as if it had been made there.
What a marked term does is `terms`' matter.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.core.fingerprints import fingerprint_listing
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.missed_identifiers import MissedTerm, list_marks, missed_terms
from fine_tune_assets.phi.missed_identifiers.terms import holds_any
from fine_tune_assets.phi.spans.kinds import TAG
from fine_tune_assets.tables.duck import cursor

SHARED_WORDS = 0.9
"""Share of words, without the marked ones, from which on a report that holds the term is a copy. Below 1, since the marked
report may be scrubbed again before its copy is, and what stands beside the term can go with it."""
_OTHER_LENGTH = 2.0
Copies = Mapping[str, frozenset[str]]
"""Mark id → keys of other patients who have a copy of the marked report."""


@dataclass(frozen=True)
class _Marked:
    report_id: str
    patient_key: str
    term: MissedTerm


_last: tuple[tuple[object, ...], Copies] | None = None
"""What was found, and in which tables: it is asked for at every tick of a sensor, and reads every report once for each mark."""


def terms_with_copies(ledger: Ledger, key: bytes, tables: Path) -> dict[str, list[MissedTerm]]:
    """Patient key → what was marked for that patient, or in a report of which the patient has a copy.

    Raises LedgerError if a term can't be decrypted.
    """
    terms = missed_terms(ledger, key)
    reports = {mark.mark_id: mark.report_id for mark in list_marks(ledger)}
    marked = [
        _Marked(reports[term.mark_id], patient, term)
        for patient, found in terms.items()
        for term in found
        if term.mark_id in reports
    ]
    for one in marked:
        for patient in sorted(_copies(marked, tables)[one.term.mark_id]):
            terms.setdefault(patient, []).append(one.term)
    return terms


def _copies(marked: Sequence[_Marked], tables: Path) -> Copies:
    global _last
    listings = (fingerprint_listing(p) if p.is_dir() else "" for p in (tables / "reports", tables / "scrubbed_reports"))
    seen = (tables, *listings)
    known = _last[1] if _last is not None and _last[0] == seen else {}
    new = [one for one in marked if one.term.mark_id not in known]
    if new:
        known = {**known, **_find_copies(new, tables)}
    _last = (seen, known)
    return known


def _find_copies(marked: Sequence[_Marked], tables: Path) -> Copies:
    texts = _texts(tables / "reports", "text", [one.report_id for one in marked])
    return {
        one.term.mark_id: frozenset(
            _patients_with_copy(one, texts[one.report_id], tables) if one.report_id in texts else ()
        )
        for one in marked
    }


def _patients_with_copy(one: _Marked, text: str, tables: Path) -> set[str]:
    words = set(_words(one.term.term))
    raw = _counted(text, words)
    found, unlike = set[str](), dict[str, str]()
    for report_id, patient, other in _candidates(one, text, tables / "reports"):
        if _is_shared(raw, _counted(other, words)):
            found |= {patient} if holds_any(other, [one.term]) else set()
        elif holds_any(other, [one.term]):
            unlike[report_id] = patient
    # Two short notes can differ in their identifiers by more than they share.
    tagged = _texts(tables / "scrubbed_reports", "tagged_text", [one.report_id, *unlike]) if unlike else {}
    if one.report_id in tagged:
        scrubbed = _counted(tagged.pop(one.report_id), words)
        found |= {unlike[r] for r, other in tagged.items() if _is_shared(scrubbed, _counted(other, words))}
    return found


def _candidates(one: _Marked, text: str, reports: Path) -> list[tuple[str, str, str]]:
    """Id, patient and text of the reports of others that hold the longest word of the term and are about as long."""
    query = (
        "select report_id, patient_key, text from read_parquet(?) where patient_key <> ? and length(text) between ? and ? "
        "and contains(lower(text), lower(?))"
    )
    shortest, longest = int(len(text) / _OTHER_LENGTH), int(len(text) * _OTHER_LENGTH) + 1
    word = max(one.term.term.split(), key=len)
    return _rows(reports, "text", query, [one.patient_key, shortest, longest, word])


def _texts(folder: Path, column: str, report_ids: Sequence[str]) -> dict[str, str]:
    query = f"select report_id, {column} from read_parquet(?) where report_id in (select unnest(?))"
    return dict(_rows(folder, column, query, [list(report_ids)]))


def _rows(folder: Path, column: str, query: str, values: Sequence[Any]) -> list[Any]:
    """Files of an older version without the column are left out: nothing is made of them before they are made again."""
    paths = [path for path in sorted(folder.glob("*.parquet")) if not path.name.startswith(".")]
    files = [str(path) for path in paths if column in pq.read_schema(path).names]
    if not files:
        return []
    with cursor() as asking:
        return asking.execute(query, [files, *values]).fetchall()


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", TAG.sub(" ", text).casefold())


def _counted(text: str, without: Iterable[str]) -> Counter[str]:
    return Counter(word for word in _words(text) if word not in without)


def _is_shared(one: Counter[str], other: Counter[str]) -> bool:
    return (one & other).total() >= SHARED_WORDS * (one | other).total()
