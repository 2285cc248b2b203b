"""Traces examples, subjects, releases and corrections through tables, instruction sets, trainings and the ledger.

Joins ids only and never reads text, so a trace can be shown to anyone who may know the ids.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.shared_records import CLEAR
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.correction_records import CorrectionSource, find_correction
from fine_tune_assets.ledger.reviews.erasures import find_erasure, list_release_marks, list_subject_marks
from fine_tune_assets.ledger.serving.release_records import find_release
from fine_tune_assets.lineage.copies import find_copied_reports, find_equal_examples, find_examples_of_reports
from fine_tune_assets.lineage.set_history import SetCache, SetFolder, find_rows_in_sets, find_set
from fine_tune_assets.lineage.trace_records import (
    USE_BY_SPLIT,
    CopyTrace,
    CorrectionTrace,
    DecisionStep,
    DocumentStep,
    ErasedInRelease,
    ExampleTrace,
    ReleaseTrace,
    ReportStep,
    RevocationReason,
    RevokedExample,
    SetStep,
    SplitCount,
    SubjectTrace,
    TrainingStep,
    resolve_use,
)
from fine_tune_assets.lineage.trace_steps import TableRows, TrainingSteps, find_decisions
from fine_tune_assets.lineage.training_runs import TrainingRun, list_training_runs, read_learned_rows
from fine_tune_assets.tables.instruction_rows import ProvenanceRow


class UnknownIdError(FineTuneError):
    """No record has this id."""


def trace_example(
    layout: Layout,
    ledger: Ledger,
    example_id: str,
    revocation_reason: RevocationReason | None = None,
    set_cache: SetCache | None = None,
) -> ExampleTrace:
    """Trace one example. Raises UnknownIdError if no table, set or decision names it.

    Pass `set_cache` for repeated traces.
    """
    return _Tracer(layout, ledger, set_cache, revocation_reason).trace_example(example_id)


def trace_subject(layout: Layout, ledger: Ledger, subject_key: str, set_cache: SetCache | None = None) -> SubjectTrace:
    """Every report and example of a subject, and every release that used one, including copies under another subject's key.

    Raises UnknownIdError.
    """
    return _Tracer(layout, ledger, set_cache).trace_subject(subject_key)


def trace_release(
    layout: Layout, ledger: Ledger, release_id: str, revocation_reason: RevocationReason | None = None
) -> ReleaseTrace:
    """The evidence behind a release and the number of subjects it used. Raises UnknownIdError."""
    release = find_release(ledger, release_id)
    if release is None:
        raise UnknownIdError(f"Unknown release {release_id}. To list releases: `fine-tune releases list`")
    pair = (release.adapter_id, release.instruction_set_fingerprint)
    training = next((t for t in list_training_runs(layout, ledger) if _training_pair(t) == pair), None)
    stored = find_set(layout.instruction_sets, release.instruction_set_fingerprint)
    marks = list_release_marks(ledger, release_id)
    too_long = training.excluded_too_long if training else None
    learned = read_learned_rows(layout, ledger, release)
    steps = TrainingSteps(ledger)
    return ReleaseTrace(
        release_id=release_id,
        adapter_id=release.adapter_id,
        base_fingerprint=release.base_fingerprint,
        instruction_set=short(release.instruction_set_fingerprint),
        is_set_erased=stored is not None and stored.tombstone is not None,
        verdicts=steps.find_verdicts(pair),
        deployments=next(step.deployments for step in steps.find_releases(pair) if step.release_id == release_id),
        splits=_count_splits(stored),
        excluded_as_too_long=None if too_long is None else len(too_long),
        erased=tuple(ErasedInRelease(m.release_id, m.split, USE_BY_SPLIT[m.split]) for m in marks),
        erased_training_subjects=sum(m.is_trained_on for m in marks),
        revoked_examples=_find_revoked_examples(learned, revocation_reason),
        corrections=_find_correction_ids(learned),
    )


def trace_correction(
    layout: Layout, ledger: Ledger, correction_id: str, revocation_reason: RevocationReason | None = None
) -> CorrectionTrace:
    """Trace a correction to the releases that learned from it. Raises UnknownIdError."""
    sent = find_correction(ledger, correction_id)
    if sent is None:
        raise UnknownIdError(f"Unknown correction {correction_id}.")
    tracer = _Tracer(layout, ledger, None, revocation_reason)
    return CorrectionTrace(
        correction_id=correction_id,
        release_id=sent.release_id,
        author=sent.author,
        received_at=sent.received_at,
        quarantine_state=tracer.find_quarantine_state(correction_id),
        knowledge_index=sent.knowledge_index,
        documents=_list_documents(sent),
        examples=tracer.trace_examples(tracer.list_example_ids(f"{_CORRECTION_PREFIX}{correction_id}")),
    )


_CORRECTION_PREFIX = "correction/"
"""Prefix of a correction's id in a report id column."""


_WITH_PASSAGES = "correction with passages"
"""Value of `drafted_by`."""


def _list_documents(sent: CorrectionSource | None) -> tuple[DocumentStep, ...]:
    return () if sent is None else tuple(DocumentStep(**vars(one)) for one in sent.passages)


def _find_correction_ids(rows: Sequence[ProvenanceRow] | None) -> tuple[str, ...] | None:
    if rows is None:
        return None
    source_ids = (row.report_id or "" for row in rows)
    return tuple(
        sorted({one.removeprefix(_CORRECTION_PREFIX) for one in source_ids if one.startswith(_CORRECTION_PREFIX)})
    )


def _find_revoked_examples(
    rows: Sequence[ProvenanceRow] | None, why_not: RevocationReason | None
) -> tuple[RevokedExample, ...] | None:
    if rows is None or why_not is None:
        return None
    reasons = ((row, why_not(row)) for row in rows)
    return tuple(RevokedExample(row.example_id, row.split, why) for row, why in reasons if why is not None)


def _count_splits(stored: SetFolder | None) -> tuple[SplitCount, ...]:
    """Counts by split; empty if the set no longer exists."""
    if stored is None or stored.rows_file is None:
        return ()
    rows = stored.read_rows().select(["split", "subject_key"]).to_pylist()
    counts = []
    for split, use in USE_BY_SPLIT.items():
        keys = [row["subject_key"] for row in rows if row["split"] == split]
        subjects = [key for key in keys if key is not None]
        counts.append(SplitCount(split, use, len(keys), len(set(subjects)), len(keys) - len(subjects)))
    return tuple(counts)


def _training_pair(training: TrainingRun) -> tuple[str, str]:
    return training.adapter_id, training.instruction_set_fingerprint


class _Tracer:
    """Shares tables, sets, trainings and ledger between the examples of one trace, so that each is queried once."""

    def __init__(
        self, layout: Layout, ledger: Ledger, known_sets: SetCache | None, why_not: RevocationReason | None = None
    ) -> None:
        self._revocation_reason = why_not
        self._tables = TableRows(layout.tables)
        self._ledger = ledger
        self._sets = (known_sets or SetCache(layout.instruction_sets)).list_sets()
        self._trainings = list_training_runs(layout, ledger)
        self._steps = TrainingSteps(ledger)
        self._set_rows: dict[str, list[tuple[SetFolder, ProvenanceRow]]] = {}
        self._decisions: dict[str, list[tuple[DecisionStep, str | None]]] = {}

    def trace_example(self, example_id: str) -> ExampleTrace:
        return self.trace_examples([example_id])[0]

    def trace_examples(self, example_ids: Sequence[str]) -> tuple[ExampleTrace, ...]:
        """Traces in the given order. Raises UnknownIdError."""
        self._prefetch_examples(example_ids)
        self._prefetch_reports([report for example_id in example_ids if (report := self._find_report_id(example_id))])
        return tuple(self._build_trace(example_id) for example_id in example_ids)

    def _prefetch_examples(self, example_ids: Collection[str]) -> None:
        new = set(example_ids) - set(self._set_rows)
        for name in ("drafted_examples", "approved_examples"):
            self._tables.prefetch(name, "example_id", new)
        self._set_rows |= {example_id: [] for example_id in new}
        for stored, row in find_rows_in_sets(self._sets, "example_id", *new):
            self._set_rows[row.example_id].append((stored, row))
        self._decisions |= find_decisions(self._ledger, new)

    def _prefetch_reports(self, report_ids: Collection[str]) -> None:
        for name in ("reports", "scrubbed_reports", "withheld_reports"):
            self._tables.prefetch(name, "report_id", report_ids)
        for column in ("dropped_id", "kept_id"):
            self._tables.prefetch("duplicate_reports", column, report_ids)

    def _find_example_row(self, example_id: str) -> Mapping[str, Any]:
        """The example's row in a table, else in the newest set that contains it."""
        for name in ("drafted_examples", "approved_examples"):
            if found := self._tables.find_row(name, "example_id", example_id):
                return found
        in_sets = self._set_rows[example_id]
        return in_sets[-1][1].to_row() if in_sets else {}

    def _find_report_id(self, example_id: str) -> str | None:
        named = (report for _, report in self._decisions[example_id] if report)
        return self._find_example_row(example_id).get("report_id") or next(named, None)

    def _build_trace(self, example_id: str) -> ExampleTrace:
        draft = self._tables.find_row("drafted_examples", "example_id", example_id)
        approved = self._tables.find_row("approved_examples", "example_id", example_id)
        in_sets, decided = self._set_rows[example_id], self._decisions[example_id]
        known = self._find_example_row(example_id)
        if not known and not decided:
            raise UnknownIdError(f"No table, instruction set or decision contains example {example_id}.")
        report_id = self._find_report_id(example_id)
        return ExampleTrace(
            example_id=example_id,
            subject_key=known.get("subject_key"),
            task=known.get("task"),
            source=known.get("source"),
            report=self.trace_report(report_id) if report_id else None,
            documents=self._find_documents(report_id, draft.get("drafted_by"), [row for _, row in in_sets]),
            is_current_draft=bool(draft),
            decisions=tuple(step for step, _ in decided),
            approved_by=approved.get("approved_by"),
            approval_kind=approved.get("approval_kind"),
            sets=tuple(self._make_set_step(stored, row) for stored, row in in_sets),
            trainings=self._find_trainings(example_id, in_sets),
        )

    def _find_documents(
        self, report_id: str | None, drafted_by: str | None, in_sets: Sequence[ProvenanceRow]
    ) -> tuple[DocumentStep, ...]:
        """The passages of an example whose draft or set states that it has passages."""
        is_with = drafted_by == _WITH_PASSAGES or any(row.passage_count for row in in_sets)
        if not is_with or report_id is None:
            return ()
        return _list_documents(find_correction(self._ledger, report_id.removeprefix(_CORRECTION_PREFIX)))

    def _make_set_step(self, stored: SetFolder, row: ProvenanceRow) -> SetStep:
        why = self._revocation_reason(row) if self._revocation_reason is not None else None
        return SetStep(short(stored.fingerprint), row.split, stored.tombstone is not None, why)

    def _find_trainings(
        self, example_id: str, in_sets: Sequence[tuple[SetFolder, ProvenanceRow]]
    ) -> tuple[TrainingStep, ...]:
        split_of = {short(stored.fingerprint): row.split for stored, row in in_sets}
        return tuple(
            TrainingStep(
                adapter_id=training.adapter_id,
                instruction_set=short(training.instruction_set_fingerprint),
                split=split,
                use=resolve_use(split, example_id, training.excluded_too_long),
                has_exclusion_record=training.excluded_too_long is not None,
                verdicts=self._steps.find_verdicts(_training_pair(training)),
                releases=self._steps.find_releases(_training_pair(training)),
            )
            for training in self._trainings
            if (split := split_of.get(short(training.instruction_set_fingerprint))) is not None
        )

    def list_example_ids(self, report_id: str) -> list[str]:
        """Ids of the examples made from a report or correction, including those only in sets."""
        return sorted(self._find_example_ids("report_id", report_id))

    def _find_example_ids(self, column: str, value: str) -> set[str]:
        found = {row.example_id for _, row in find_rows_in_sets(self._sets, column, value)}
        for name in ("drafted_examples", "approved_examples"):
            found |= set(self._tables.find_values(name, column, value, "example_id"))
        return found

    def find_quarantine_state(self, correction_id: str) -> str | None:
        """None if it was never quarantined."""
        state = self._tables.find_row("quarantined_corrections", "correction_id", correction_id).get("state")
        return None if state == CLEAR else state

    def trace_report(self, report_id: str) -> ReportStep:
        raw = self._tables.find_row("reports", "report_id", report_id)
        scrubbed = self._tables.find_row("scrubbed_reports", "report_id", report_id)
        dropped = self._tables.find_row("duplicate_reports", "dropped_id", report_id)
        return ReportStep(
            report_id=report_id,
            batch=str(raw.get("batch") or scrubbed.get("batch") or report_id.partition("/")[0]),
            origin_file=raw.get("origin_file"),
            scrubber_version=scrubbed.get("scrubber_version"),
            is_withheld=bool(self._tables.find_row("withheld_reports", "report_id", report_id)),
            kept_report_id=dropped.get("kept_id"),
            duplicates=tuple(self._tables.find_values("duplicate_reports", "kept_id", report_id, "dropped_id")),
        )

    def trace_subject(self, subject_key: str) -> SubjectTrace:
        reports = self._tables.find_values("reports", "subject_key", subject_key, "report_id")
        examples = self._find_example_ids("subject_key", subject_key)
        copies = self.trace_copies(subject_key, reports, examples)
        erasure = find_erasure(self._ledger, subject_key)
        if not reports and not examples and erasure is None:
            raise UnknownIdError(
                "No data found for this subject key. To compute the key of a subject id: `fine-tune subjects key`"
            )
        self._prefetch_reports(reports)
        marks = list_subject_marks(self._ledger, subject_key)
        releases_by_copy = erasure.releases_by_copy if erasure else {}
        return SubjectTrace(
            subject_key=subject_key,
            erased_at=erasure.erased_at if erasure else None,
            is_erasure_finished=erasure.is_finished if erasure else None,
            reports=tuple(self.trace_report(report_id) for report_id in reports),
            examples=self.trace_examples(sorted(examples)),
            copies=copies,
            erasure_marks=tuple(ErasedInRelease(m.release_id, m.split, USE_BY_SPLIT[m.split]) for m in marks),
            erased_copies=tuple(
                ErasedInRelease(release, split, USE_BY_SPLIT[split])
                for release, split in sorted(releases_by_copy.items())
            ),
        )

    def trace_copies(
        self, subject_key: str, reports: Sequence[str], own_examples: Collection[str]
    ) -> tuple[CopyTrace, ...]:
        """Examples under another subject's key with this subject's text that a model used."""
        copied = find_copied_reports(self._tables, reports)
        examples = find_examples_of_reports(self._tables, self._sets, {copy.other_report for copy in copied})
        origins = {
            example: (copy.own_report, str(copy.kind)) for copy in copied for example in examples[copy.other_report]
        }
        for example, own in find_equal_examples(self._tables, self._sets, subject_key).items():
            origins.setdefault(example, (own, "same example"))
        copies = {e: origin for e, origin in sorted(origins.items()) if e not in own_examples}
        found = (CopyTrace(*copies[trace.example_id], trace) for trace in self.trace_examples(list(copies)))
        return tuple(copy for copy in found if copy.example.trainings)
