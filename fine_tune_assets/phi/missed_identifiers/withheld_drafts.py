"""Finds the drafts that are withheld because of a marked identifier, for the desk and the command line.

A draft is withheld while it or its report contains a term marked for the subject, or marked in a report of which the subject has
a copy. It is also withheld while a repaired output contains the term, until that decision is revoked, because no scrubber reads
repairs. Every page calls this, so results are cached until marks or tables change.
"""

import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from fine_tune_assets.core.fingerprints import fingerprint_listing
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.decision_records import DecisionRecord, list_active_repairs
from fine_tune_assets.ledger.reviews.identifier_marks import MissedTerm, marks_fingerprint
from fine_tune_assets.phi.missed_identifiers.copied_reports import find_terms_with_copies
from fine_tune_assets.phi.missed_identifiers.missed_terms import TermsBySubject, has_any_term
from fine_tune_assets.phi.spans.vocabulary import Vocabulary
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets.tables.record_classes import Record
from fine_tune_assets.tables.stored_tables import read_rows


class _Draft(Record):
    example_id: str
    report_id: str
    subject_key: str
    instruction: str
    input: str
    output: str


@dataclass(frozen=True)
class _MatchedDrafts:
    """The drafts of a subject that contain some of these terms."""

    terms: frozenset[MissedTerm]
    example_ids: frozenset[str]


class WithheldDrafts:
    """Thread-safe."""

    def __init__(self, ledger: Ledger, key: bytes, layout: Layout, read_vocabulary: Callable[[], Vocabulary]) -> None:
        self._ledger, self._key, self._layout = ledger, key, layout
        self._read_vocabulary = read_vocabulary
        self._lock = threading.Lock()
        self._state: tuple[tuple[str, ...], TermsBySubject, frozenset[str]] = ((), {}, frozenset())
        self._matched_drafts: tuple[tuple[str, ...], dict[str, _MatchedDrafts]] = ((), {})

    def example_ids(self) -> frozenset[str]:
        """Drafts that are withheld now."""
        terms, withheld = self._load_state()
        repairs = list_active_repairs(self._ledger, terms)
        vocabulary = self._read_vocabulary()
        return withheld | {r.example_id for r in repairs if has_any_term(r.output, terms[r.subject_key], vocabulary)}

    def decision_ids(self, records: Iterable[DecisionRecord]) -> frozenset[str]:
        """Withheld decisions: those about a withheld draft, and those in which the reviewer's own words contain a marked term."""
        terms, withheld = self._load_state()[0], self.example_ids()
        subject_keys, vocabulary = self._read_subject_keys(list(terms)), self._read_vocabulary()
        return frozenset(
            record.decision.decision_id
            for record in records
            if record.decision.example_id in withheld
            or has_any_term(
                f"{record.decision.output or ''}\n{record.reason}",
                terms.get(subject_keys.get(record.decision.report_id or "", ""), ()),
                vocabulary,
            )
        )

    def has_missed_term(self, subject_key: str, text: str) -> bool:
        """Whether a text of the subject contains a marked term."""
        return bool(self.find_missed_terms([(subject_key, text)]))

    def find_missed_terms(self, texts: Collection[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        """Those of these texts, each with its subject key, that contain a marked term."""
        terms, vocabulary = self._load_state()[0], self._read_vocabulary()
        return frozenset(one for one in texts if has_any_term(one[1], terms.get(one[0], ()), vocabulary))

    def find_mark_ids(self, draft: DraftedExample) -> frozenset[str]:
        """The marks because of which the draft is withheld."""
        terms = self._load_state()[0].get(draft.subject_key, ())
        repairs = list_active_repairs(self._ledger, [draft.subject_key])
        texts = (
            *(draft.instruction, draft.input, draft.output),
            *self._read_scrubbed_texts({draft.report_id}).values(),
            *(repair.output for repair in repairs if repair.example_id == draft.example_id),
        )
        vocabulary = self._read_vocabulary()
        return frozenset(
            term.mark_id for term in terms if any(has_any_term(text, [term], vocabulary) for text in texts)
        )

    def _read_subject_keys(self, wanted: list[str]) -> dict[str, str]:
        """Report id → subject key, for these subjects."""
        found: dict[str, str] = {}
        for path in sorted((self._layout.tables / "reports").glob("*.parquet")) if wanted else ():
            rows = read_rows(path, "reports", "subject_key", wanted, ["report_id", "subject_key"])
            found |= {row["report_id"]: row["subject_key"] for row in rows}
        return found

    def _fingerprint_sources(self) -> tuple[str, ...]:
        tables = (self._layout.tables / name for name in ("drafted_examples", "scrubbed_reports", "reports"))
        return (marks_fingerprint(self._ledger), *(fingerprint_listing(t) if t.is_dir() else "" for t in tables))

    def _load_state(self) -> tuple[TermsBySubject, frozenset[str]]:
        """The marked terms, and the drafts that contain one or whose report does."""
        seen = self._fingerprint_sources()
        with self._lock:
            if self._state[0] != seen:
                terms = find_terms_with_copies(self._ledger, self._key, self._layout.tables, self._read_vocabulary())
                self._state = (seen, terms, self._update_withheld(terms, seen[1:]))
            return self._state[1:]

    def _update_withheld(self, terms: TermsBySubject, tables: tuple[str, ...]) -> frozenset[str]:
        """Search again only the drafts of subjects whose marks changed."""
        known = self._matched_drafts[1] if self._matched_drafts[0] == tables else {}
        now = {subject_key: frozenset(found) for subject_key, found in terms.items()}
        matched = {p: found for p, found in known.items() if now.get(p) == found.terms}
        changed = {subject_key: found for subject_key, found in terms.items() if subject_key not in matched}
        withheld = self._find_drafts(changed)
        matched |= {
            subject_key: _MatchedDrafts(now[subject_key], withheld.get(subject_key, frozenset()))
            for subject_key in changed
        }
        self._matched_drafts = (tables, matched)
        return frozenset(example_id for found in matched.values() for example_id in found.example_ids)

    def _find_drafts(self, terms: TermsBySubject) -> dict[str, frozenset[str]]:
        """Subject key → drafts that contain a marked term."""
        path = self._layout.table("drafted_examples")
        if not terms or not path.is_file():
            return {}
        rows = read_rows(path, "drafted_examples", "subject_key", list(terms), _Draft.SCHEMA.names)
        drafts = [_Draft.from_row(row) for row in rows]
        reports = self._read_scrubbed_texts({draft.report_id for draft in drafts})
        found, vocabulary = dict[str, set[str]](), self._read_vocabulary()
        for draft in drafts:
            texts = (draft.instruction, draft.input, draft.output, reports.get(draft.report_id, ""))
            if any(has_any_term(text, terms[draft.subject_key], vocabulary) for text in texts):
                found.setdefault(draft.subject_key, set()).add(draft.example_id)
        return {subject_key: frozenset(example_ids) for subject_key, example_ids in found.items()}

    def _read_scrubbed_texts(self, report_ids: Collection[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for batch in {report_id.partition("/")[0] for report_id in report_ids}:
            path = self._layout.table("scrubbed_reports", batch)
            if path.is_file():
                rows = read_rows(path, "scrubbed_reports", "report_id", report_ids, ["report_id", "text"])
                found |= {row["report_id"]: row["text"] for row in rows}
        return found
