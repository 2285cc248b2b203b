"""Which drafts wait because somebody marked an identifier in them, until their report was scrubbed again without it.

Owns finding them, for the desk and for the command line: a draft is held back while it or its report still holds what was
marked for the patient, or in a report of which the patient has a copy; and while a repaired output that stands holds it, which
no scrubber reads: until that decision is revoked. Asked at each page, so what tables hold is kept until marks or tables change.
"""

import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fine_tune_assets.core.fingerprints import fingerprint_listing
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.missed_identifiers import MissedTerm, marks_fingerprint
from fine_tune_assets.ledger.reviews.reviews import DecisionRecord, standing_repairs
from fine_tune_assets.phi.missed_identifiers.copied_reports import terms_with_copies
from fine_tune_assets.phi.missed_identifiers.terms import Terms, holds_any
from fine_tune_assets.tables.stored_tables import read_rows

_TEXTS = ("instruction", "input", "output")
_READ = ("example_id", "report_id", "patient_key", *_TEXTS)


@dataclass(frozen=True)
class _Found:
    """Which drafts of a patient hold some of these terms."""

    terms: frozenset[MissedTerm]
    example_ids: frozenset[str]


class HeldBack:
    """Safe to share between threads."""

    def __init__(self, ledger: Ledger, key: bytes, layout: Layout) -> None:
        self._ledger, self._key, self._layout = ledger, key, layout
        self._lock = threading.Lock()
        self._known: tuple[tuple[str, ...], Terms, frozenset[str]] = ((), {}, frozenset())
        self._found: tuple[tuple[str, ...], dict[str, _Found]] = ((), {})

    def example_ids(self) -> frozenset[str]:
        """Of the drafts that are held back now."""
        terms, held = self._of_now()
        repairs = standing_repairs(self._ledger, terms)
        return held | {r.example_id for r in repairs if holds_any(r.output, terms[r.patient_key])}

    def decision_ids(self, records: Iterable[DecisionRecord]) -> frozenset[str]:
        """Of the decisions that are held back: about a draft that is, or with words of a reviewer that hold what was marked."""
        terms, held = self._of_now()[0], self.example_ids()
        patients = self._patients(list(terms))
        return frozenset(
            record.decision.decision_id
            for record in records
            if record.decision.example_id in held
            or holds_any(
                f"{record.decision.output or ''}\n{record.reason}",
                terms.get(patients.get(record.decision.report_id or "", ""), ()),
            )
        )

    def holds(self, patient_key: str, text: str) -> bool:
        """Whether a text of the patient holds what is marked."""
        return holds_any(text, self._of_now()[0].get(patient_key, ()))

    def _patients(self, wanted: list[str]) -> dict[str, str]:
        """Report id → patient, of these patients."""
        found: dict[str, str] = {}
        for path in sorted((self._layout.tables / "reports").glob("*.parquet")) if wanted else ():
            rows = read_rows(path, "reports", "patient_key", wanted, ["report_id", "patient_key"])
            found |= {row["report_id"]: row["patient_key"] for row in rows}
        return found

    def _seen(self) -> tuple[str, ...]:
        tables = (self._layout.tables / name for name in ("drafted_examples", "scrubbed_reports", "reports"))
        return (marks_fingerprint(self._ledger), *(fingerprint_listing(t) if t.is_dir() else "" for t in tables))

    def _of_now(self) -> tuple[Terms, frozenset[str]]:
        """What is marked, and the drafts that hold some of it or whose report does."""
        seen = self._seen()
        with self._lock:
            if self._known[0] != seen:
                terms = terms_with_copies(self._ledger, self._key, self._layout.tables)
                self._known = (seen, terms, self._held(terms, seen[1:]))
            return self._known[1:]

    def _held(self, terms: Terms, tables: tuple[str, ...]) -> frozenset[str]:
        """A mark changes what is held of the patients that it is about: for the others the drafts are not read again."""
        known = self._found[1] if self._found[0] == tables else {}
        now = {patient: frozenset(found) for patient, found in terms.items()}
        kept = {p: found for p, found in known.items() if now.get(p) == found.terms}
        changed = {patient: found for patient, found in terms.items() if patient not in kept}
        held = self._find(changed)
        kept |= {patient: _Found(now[patient], held.get(patient, frozenset())) for patient in changed}
        self._found = (tables, kept)
        return frozenset(example_id for found in kept.values() for example_id in found.example_ids)

    def _find(self, terms: Terms) -> dict[str, frozenset[str]]:
        """Patient → the drafts that hold what is marked."""
        path = self._layout.table("drafted_examples")
        if not terms or not path.is_file():
            return {}
        drafts = read_rows(path, "drafted_examples", "patient_key", list(terms), _READ)
        reports = self._reports({draft["report_id"] for draft in drafts})
        found: dict[str, set[str]] = {}
        for draft in drafts:
            patient = draft["patient_key"]
            if _holds(draft, reports.get(draft["report_id"], ""), terms[patient]):
                found.setdefault(patient, set()).add(draft["example_id"])
        return {patient: frozenset(example_ids) for patient, example_ids in found.items()}

    def _reports(self, report_ids: Collection[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for batch in {report_id.partition("/")[0] for report_id in report_ids}:
            path = self._layout.table("scrubbed_reports", batch)
            if path.is_file():
                rows = read_rows(path, "scrubbed_reports", "report_id", report_ids, ["report_id", "text"])
                found |= {row["report_id"]: row["text"] for row in rows}
        return found


def _holds(draft: dict[str, Any], report: str, terms: Sequence[MissedTerm]) -> bool:
    return any(holds_any(text, terms) for text in (*(draft[name] for name in _TEXTS), report))
