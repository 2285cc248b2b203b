"""Where an example came from and where it went; which models saw a patient; whom a release saw.

Owns joining tables, instruction sets, trainings and the ledger by their ids. Reads only. Text is never read: a trace can be shown
to anybody who may know that the ids exist.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.records import ORDINARY
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.corrections import SentCorrection, find_correction
from fine_tune_assets.ledger.reviews.erasures import erased_in, find_erasure, releases_that_saw
from fine_tune_assets.ledger.serving.releases import find_release
from fine_tune_assets.lineage.copies import copied_reports, equal_examples, examples_of_reports
from fine_tune_assets.lineage.instruction_sets import KnownSets, SetFolder, find_set, rows_in_sets
from fine_tune_assets.lineage.records import (
    USE_OF_SPLIT,
    CopyTrace,
    CorrectionTrace,
    DecisionStep,
    DocumentStep,
    ErasedInRelease,
    ExampleTrace,
    NotApproved,
    PatientTrace,
    ReleaseTrace,
    ReportStep,
    SetStep,
    SplitCount,
    TrainingStep,
    WhyNot,
    use_of,
)
from fine_tune_assets.lineage.trace_steps import TableRows, TrainingSteps, decisions_on
from fine_tune_assets.lineage.trainings import Training, learned_rows, list_trainings


class UnknownIdError(FineTuneError):
    """Nothing here has that id."""


def trace_example(
    layout: Layout,
    ledger: Ledger,
    example_id: str,
    why_not: WhyNot | None = None,
    known_sets: KnownSets | None = None,
) -> ExampleTrace:
    """The way of one example. Raises UnknownIdError if no table, set or decision names it.

    Whoever asks often keeps the sets and hands them in.
    """
    return _Tracer(layout, ledger, known_sets, why_not).example(example_id)


def trace_patient(
    layout: Layout, ledger: Ledger, patient_key: str, known_sets: KnownSets | None = None
) -> PatientTrace:
    """Every report and example of a patient, and every release that saw one, also as a copy under another patient's key.

    Raises UnknownIdError.
    """
    return _Tracer(layout, ledger, known_sets).patient(patient_key)


def trace_release(layout: Layout, ledger: Ledger, release_id: str, why_not: WhyNot | None = None) -> ReleaseTrace:
    """What a release rests on, and how many patients it saw. Raises UnknownIdError."""
    release = find_release(ledger, release_id)
    if release is None:
        raise UnknownIdError(f"There is no release {release_id}.")
    pair = (release.adapter_id, release.instruction_set_fingerprint)
    training = next((t for t in list_trainings(layout, ledger) if _pair(t) == pair), None)
    stored = find_set(layout.instruction_sets, release.instruction_set_fingerprint)
    marks = erased_in(ledger, release_id)
    too_long = training.too_long if training else None
    learned = learned_rows(layout, ledger, release)
    steps = TrainingSteps(ledger)
    return ReleaseTrace(
        release_id=release_id,
        adapter_id=release.adapter_id,
        base_fingerprint=release.base_fingerprint,
        instruction_set=short(release.instruction_set_fingerprint),
        is_set_erased=stored is not None and stored.erased is not None,
        verdicts=steps.verdicts(pair),
        deployments=next(made.deployments for made in steps.releases(pair) if made.release_id == release_id),
        splits=_splits(stored),
        left_out_as_too_long=None if too_long is None else len(too_long),
        erased=tuple(ErasedInRelease(m.release_id, m.split, USE_OF_SPLIT[m.split]) for m in marks),
        erased_patients_learned_from=sum(m.is_learned_from for m in marks),
        not_approved=_not_approved(learned, why_not),
        corrections=_corrections(learned),
    )


def trace_correction(
    layout: Layout, ledger: Ledger, correction_id: str, why_not: WhyNot | None = None
) -> CorrectionTrace:
    """From a correction to the releases that learned from it. Raises UnknownIdError."""
    sent = find_correction(ledger, correction_id)
    if sent is None:
        raise UnknownIdError(f"There is no correction {correction_id}.")
    tracer = _Tracer(layout, ledger, None, why_not)
    return CorrectionTrace(
        correction_id=correction_id,
        release_id=sent.release_id,
        author=sent.author,
        received_at=sent.received_at,
        quarantine=tracer.quarantine_of(correction_id),
        knowledge_index=sent.knowledge_index,
        documents=_documents(sent),
        examples=tracer.examples(tracer.made_of(f"{_OF_CORRECTION}{correction_id}")),
    )


_OF_CORRECTION = "correction/"
"""What the id of a correction has before it where the id of a report would stand."""


_WITH_PASSAGES = "correction with passages"
"""As `drafted_by` says it."""


def _documents(sent: SentCorrection | None) -> tuple[DocumentStep, ...]:
    return () if sent is None else tuple(DocumentStep(**vars(one)) for one in sent.documents)


def _corrections(rows: Sequence[Mapping[str, Any]] | None) -> tuple[str, ...] | None:
    if rows is None:
        return None
    made_of = (str(row.get("report_id") or "") for row in rows)
    return tuple(sorted({one.removeprefix(_OF_CORRECTION) for one in made_of if one.startswith(_OF_CORRECTION)}))


def _not_approved(rows: Sequence[Mapping[str, Any]] | None, why_not: WhyNot | None) -> tuple[NotApproved, ...] | None:
    if rows is None or why_not is None:
        return None
    asked = ((row, why_not(row)) for row in rows)
    return tuple(NotApproved(row["example_id"], row["split"], why) for row, why in asked if why is not None)


def _splits(stored: SetFolder | None) -> tuple[SplitCount, ...]:
    """By split; empty where the set is gone."""
    if stored is None or stored.rows_file is None:
        return ()
    rows = stored.all_rows().select(["split", "patient_key"]).to_pylist()
    counts = []
    for split, use in USE_OF_SPLIT.items():
        keys = [row["patient_key"] for row in rows if row["split"] == split]
        patients = [key for key in keys if key is not None]
        counts.append(SplitCount(split, use, len(keys), len(set(patients)), len(keys) - len(patients)))
    return tuple(counts)


def _pair(training: Training) -> tuple[str, str]:
    return training.adapter_id, training.instruction_set_fingerprint


class _Tracer:
    """What several examples of one trace share: tables, sets, trainings and ledger are asked once for all of them."""

    def __init__(
        self, layout: Layout, ledger: Ledger, known_sets: KnownSets | None, why_not: WhyNot | None = None
    ) -> None:
        self._why_not = why_not
        self._tables = TableRows(layout.tables)
        self._ledger = ledger
        self._sets = (known_sets or KnownSets(layout.instruction_sets)).folders()
        self._trainings = list_trainings(layout, ledger)
        self._steps = TrainingSteps(ledger)
        self._in_sets: dict[str, list[tuple[SetFolder, dict[str, Any]]]] = {}
        self._decided: dict[str, list[tuple[DecisionStep, str | None]]] = {}

    def example(self, example_id: str) -> ExampleTrace:
        return self.examples([example_id])[0]

    def examples(self, example_ids: Sequence[str]) -> tuple[ExampleTrace, ...]:
        """In the same order. Raises UnknownIdError."""
        self._look_up_examples(example_ids)
        self._look_up_reports([report for example_id in example_ids if (report := self._report_of(example_id))])
        return tuple(self._example(example_id) for example_id in example_ids)

    def _look_up_examples(self, example_ids: Collection[str]) -> None:
        new = set(example_ids) - set(self._in_sets)
        for name in ("drafted_examples", "approved_examples"):
            self._tables.look_up(name, "example_id", new)
        self._in_sets |= {example_id: [] for example_id in new}
        for stored, row in rows_in_sets(self._sets, "example_id", *new):
            self._in_sets[row["example_id"]].append((stored, row))
        self._decided |= decisions_on(self._ledger, new)

    def _look_up_reports(self, report_ids: Collection[str]) -> None:
        for name in ("reports", "scrubbed_reports", "held_reports"):
            self._tables.look_up(name, "report_id", report_ids)
        for column in ("dropped_id", "kept_id"):
            self._tables.look_up("duplicate_reports", column, report_ids)

    def _known_of(self, example_id: str) -> Mapping[str, Any]:
        """What a table says of it, else the newest set that holds it."""
        for name in ("drafted_examples", "approved_examples"):
            if found := self._tables.one(name, "example_id", example_id):
                return found
        in_sets = self._in_sets[example_id]
        return in_sets[-1][1] if in_sets else {}

    def _report_of(self, example_id: str) -> str | None:
        named = (report for _, report in self._decided[example_id] if report)
        return self._known_of(example_id).get("report_id") or next(named, None)

    def _example(self, example_id: str) -> ExampleTrace:
        draft = self._tables.one("drafted_examples", "example_id", example_id)
        approved = self._tables.one("approved_examples", "example_id", example_id)
        in_sets, decided = self._in_sets[example_id], self._decided[example_id]
        known = self._known_of(example_id)
        if not known and not decided:
            raise UnknownIdError(f"No table, instruction set or decision names an example {example_id}.")
        report_id = self._report_of(example_id)
        return ExampleTrace(
            example_id=example_id,
            patient_key=known.get("patient_key"),
            task=known.get("task"),
            source=known.get("source"),
            report=self.report(report_id) if report_id else None,
            documents=self._documents_of(report_id, draft, [row for _, row in in_sets]),
            is_drafted=bool(draft),
            decisions=tuple(step for step, _ in decided),
            approved_by=approved.get("approved_by"),
            approval_kind=approved.get("approval_kind"),
            sets=tuple(self._set_step(stored, row) for stored, row in in_sets),
            trainings=self._trainings_of(example_id, in_sets),
        )

    def _documents_of(
        self, report_id: str | None, draft: Mapping[str, Any], in_sets: Sequence[Mapping[str, Any]]
    ) -> tuple[DocumentStep, ...]:
        """Of an example of which the draft or a set says that passages stand before its question."""
        is_with = draft.get("drafted_by") == _WITH_PASSAGES or any(row.get("passages") for row in in_sets)
        if not is_with or report_id is None:
            return ()
        return _documents(find_correction(self._ledger, report_id.removeprefix(_OF_CORRECTION)))

    def _set_step(self, stored: SetFolder, row: Mapping[str, Any]) -> SetStep:
        why = self._why_not(row) if self._why_not is not None else None
        return SetStep(short(stored.fingerprint), row["split"], stored.erased is not None, why)

    def _trainings_of(
        self, example_id: str, in_sets: Sequence[tuple[SetFolder, Mapping[str, Any]]]
    ) -> tuple[TrainingStep, ...]:
        split_of = {short(stored.fingerprint): row["split"] for stored, row in in_sets}
        return tuple(
            TrainingStep(
                adapter_id=training.adapter_id,
                instruction_set=short(training.instruction_set_fingerprint),
                split=split,
                use=use_of(split, example_id, training.too_long),
                is_too_long_known=training.too_long is not None,
                verdicts=self._steps.verdicts(_pair(training)),
                releases=self._steps.releases(_pair(training)),
            )
            for training in self._trainings
            if (split := split_of.get(short(training.instruction_set_fingerprint))) is not None
        )

    def made_of(self, report_id: str) -> list[str]:
        """Ids of the examples that were made of a report or correction, also of those that are in sets only."""
        return sorted(self._examples_with("report_id", report_id))

    def _examples_with(self, column: str, value: str) -> set[str]:
        found = {row["example_id"] for _, row in rows_in_sets(self._sets, column, value)}
        for name in ("drafted_examples", "approved_examples"):
            found |= set(self._tables.values(name, column, value, "example_id"))
        return found

    def quarantine_of(self, correction_id: str) -> str | None:
        """None if it was never kept apart."""
        state = self._tables.one("quarantined_corrections", "correction_id", correction_id).get("state")
        return None if state == ORDINARY else state

    def report(self, report_id: str) -> ReportStep:
        raw = self._tables.one("reports", "report_id", report_id)
        scrubbed = self._tables.one("scrubbed_reports", "report_id", report_id)
        dropped = self._tables.one("duplicate_reports", "dropped_id", report_id)
        return ReportStep(
            report_id=report_id,
            batch=str(raw.get("batch") or scrubbed.get("batch") or report_id.partition("/")[0]),
            origin_file=raw.get("origin_file"),
            scrubber_version=scrubbed.get("scrubber_version"),
            is_held_back=bool(self._tables.one("held_reports", "report_id", report_id)),
            kept_instead=dropped.get("kept_id"),
            duplicates=tuple(self._tables.values("duplicate_reports", "kept_id", report_id, "dropped_id")),
        )

    def patient(self, patient_key: str) -> PatientTrace:
        reports = self._tables.values("reports", "patient_key", patient_key, "report_id")
        examples = self._examples_with("patient_key", patient_key)
        copies = self.copies(patient_key, reports, examples)
        erasure = find_erasure(self._ledger, patient_key)
        if not reports and not examples and erasure is None:
            raise UnknownIdError(
                "Nothing here is of a patient with this key. Make it from the id: `fine-tune trace patient-key`"
            )
        self._look_up_reports(reports)
        marks = releases_that_saw(self._ledger, patient_key)
        gone = erasure.seen_by_copy if erasure else {}
        return PatientTrace(
            patient_key=patient_key,
            erased_at=erasure.erased_at if erasure else None,
            is_erasure_finished=erasure.is_finished if erasure else None,
            reports=tuple(self.report(report_id) for report_id in reports),
            examples=self.examples(sorted(examples)),
            copies=copies,
            erased_in_releases=tuple(ErasedInRelease(m.release_id, m.split, USE_OF_SPLIT[m.split]) for m in marks),
            erased_copies=tuple(
                ErasedInRelease(release, split, USE_OF_SPLIT[split]) for release, split in sorted(gone.items())
            ),
        )

    def copies(self, patient_key: str, reports: Sequence[str], own_examples: Collection[str]) -> tuple[CopyTrace, ...]:
        """What a model saw of the patient under another patient's key."""
        copied = copied_reports(self._tables, reports)
        made = examples_of_reports(self._tables, self._sets, {copy.other_report for copy in copied})
        ways = {
            example: (copy.own_report, str(copy.likeness)) for copy in copied for example in made[copy.other_report]
        }
        for example, own in equal_examples(self._tables, self._sets, patient_key).items():
            ways.setdefault(example, (own, "same example"))
        wanted = {e: way for e, way in sorted(ways.items()) if e not in own_examples}
        found = (CopyTrace(*wanted[trace.example_id], trace) for trace in self.examples(list(wanted)))
        return tuple(copy for copy in found if copy.example.trainings)
