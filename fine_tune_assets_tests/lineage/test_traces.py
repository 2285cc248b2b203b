"""Traces of examples, subjects, releases and corrections; none contains text."""

import json
import secrets
from dataclasses import asdict

import pyarrow as pa
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.prompts.retrieval_contract import AnswerSources, CorrectionPassage, add_passages_to_example
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import revocations
from fine_tune_assets.ledger.reviews.correction_records import record_correction
from fine_tune_assets.ledger.reviews.erasures import SubjectIds, mark_releases, record_erasure
from fine_tune_assets.lineage.trace_records import DocumentStep
from fine_tune_assets.lineage.traces import (
    UnknownIdError,
    trace_correction,
    trace_example,
    trace_release,
    trace_subject,
)
from fine_tune_assets.lineage.training_runs import record_training_run
from fine_tune_assets_tests.instructions.examples import example
from fine_tune_assets_tests.ledger.ledger_rows import record_decision, record_promoted
from fine_tune_assets_tests.lineage.stored_data import (
    MARKER,
    TESTED,
    TRAINED,
    VALIDATED,
    example_of,
    store,
    store_examples,
    store_set,
)
from fine_tune_assets_tests.serving.tiny_releases import switched

ADAPTER = "adapter-1"


@pytest.fixture
def set_fingerprint(layout: Layout, ledger: Ledger) -> str:
    """A set, an adapter trained on it, its verdict, and a live release."""
    stored = store_set(layout)
    store_examples(layout)
    store(layout, "reports", [{"report_id": f"b/{TRAINED}", "batch": "b", "subject_key": TRAINED}], "b")
    store(layout, "scrubbed_reports", [{"report_id": f"b/{TRAINED}", "batch": "b", "scrubber_version": "s-1"}], "b")
    store(layout, "duplicate_reports", [{"dropped_id": "b/twin", "kept_id": f"b/{TRAINED}"}])
    record_promoted(ledger, "r-1", adapter_id=ADAPTER, instruction_set_fingerprint=stored.fingerprint)
    switched(ledger, "r-1")
    return stored.fingerprint


def _decide(ledger: Ledger, decision: str) -> str:
    decision = record_decision(
        ledger,
        example_id=example_of(TRAINED),
        report_id=f"b/{TRAINED}",
        decision=decision,
        output=MARKER if decision == "approve" else None,
        reviewer="expert",
        reason=MARKER,
    )
    return decision.decision_id


@pytest.mark.usefixtures("set_fingerprint")
def test_example_is_traced_from_report_to_deployment(layout: Layout, ledger: Ledger) -> None:
    """Report, decisions, set, adapter and release."""
    rejected, approved = _decide(ledger, "reject"), _decide(ledger, "approve")
    with ledger.begin() as connection:
        when = {
            "revoked_by": "chief",
            "reason": MARKER,
            "revoked_at": trace_example(layout, ledger, example_of(TRAINED)).decisions[0].decided_at,
        }
        connection.execute(revocations.insert().values(decision_id=rejected, **when))
    found = trace_example(layout, ledger, example_of(TRAINED))
    assert found.report is not None
    assert (found.report.report_id, found.report.batch, found.report.scrubber_version) == (f"b/{TRAINED}", "b", "s-1")
    assert found.report.duplicates == ("b/twin",)
    assert [(d.decision_id, d.decision, d.reviewer, d.is_repaired, d.revoked_by) for d in found.decisions] == [
        (rejected, "reject", "expert", False, "chief"),
        (approved, "approve", "expert", True, None),
    ]
    assert [place.split for place in found.sets] == ["train"]
    (training,) = found.trainings
    assert (training.adapter_id, training.use) == (ADAPTER, "trained on")
    assert [verdict.decision for verdict in training.verdicts] == ["promote"]
    (release,) = training.releases
    assert (release.release_id, release.is_live) == ("r-1", True)
    assert MARKER not in json.dumps(asdict(found), default=str)


@pytest.mark.parametrize(
    ("subject", "use"),
    [(TRAINED, "trained on"), (VALIDATED, "selected the checkpoint"), (TESTED, "evaluated on")],
)
@pytest.mark.usefixtures("set_fingerprint")
def test_use_for_training_and_evaluation_is_distinguished(
    layout: Layout, ledger: Ledger, subject: str, use: str
) -> None:
    """Only the first two shape the model's weights."""
    (example,) = trace_subject(layout, ledger, subject).examples
    assert [training.use for training in example.trainings] == [use]
    assert not example.trainings[0].has_exclusion_record


def test_example_excluded_as_too_long_was_not_learned(layout: Layout, ledger: Ledger, set_fingerprint: str) -> None:
    """It is in the set, but the model never saw it; test examples are never excluded."""
    left_out = [example_of(TRAINED), example_of(TESTED)]
    record_training_run(layout.adapters, ADAPTER, set_fingerprint, left_out)
    uses = {p: trace_example(layout, ledger, example_of(p)).trainings[0] for p in (TRAINED, VALIDATED)}
    assert [training.use for training in uses.values()] == ["excluded as too long", "selected the checkpoint"]
    assert all(training.has_exclusion_record for training in uses.values())


def test_provenance_names_the_report_of_an_example_without_a_draft(layout: Layout, ledger: Ledger) -> None:
    """Tables show the present; a set shows what was trained on then."""
    stored = store_set(layout)
    row = {
        "example_id": "e-old",
        "split": "train",
        "report_id": "old/1",
        "subject_key": "p",
        "task": "t",
        "source": "s",
    }
    write_table(stored.folder / "provenance.parquet", pa.Table.from_pylist([row]))
    found = trace_example(layout, ledger, "e-old")
    assert found.report is not None
    assert (found.report.report_id, found.report.origin_file, found.is_current_draft) == ("old/1", None, False)


@pytest.mark.usefixtures("set_fingerprint")
def test_release_counts_its_subjects_and_names_erased_ones(layout: Layout, ledger: Ledger) -> None:
    """The facts an operator needs to decide about the release."""
    for subject, split in ((TRAINED, "train"), (TESTED, "test")):
        record_erasure(ledger, subject_key=subject, by="officer", reason="Art. 17", ids=SubjectIds())
        mark_releases(ledger, subject, {"r-1": split})
    found = trace_release(layout, ledger, "r-1")
    assert [(m.split, m.use) for m in found.erased] == [("train", "trained on"), ("test", "evaluated on")]
    assert found.erased_training_subjects == 1
    assert {s.split for s in found.splits} == {"train", "validation", "test"}
    assert all(s.examples == s.subjects + s.general_examples > 0 for s in found.splits)
    assert [d.state for d in found.deployments] == ["live"]
    erased = trace_subject(layout, ledger, TESTED)
    assert [m.release_id for m in erased.erasure_marks] == ["r-1"]
    assert erased.is_erasure_finished is False


@pytest.mark.usefixtures("set_fingerprint")
def test_correction_is_traced_to_the_release_that_learned_from_it_and_back(layout: Layout, ledger: Ledger) -> None:
    """Users learn that their correction was used, and auditors whose words changed a model."""
    texts = dict.fromkeys(("instruction", "input", "answer", "corrected_answer"), MARKER)
    key = secrets.token_bytes(32)
    sent = record_correction(ledger, key, release_id="r-1", author="ward 3", idempotency_key="k", **texts)
    assert trace_correction(layout, ledger, sent).examples == ()
    made = {**example(TRAINED, f"Finding of {sent}."), "report_id": f"correction/{sent}", "source": "correction"}
    stored = store_set(layout, extra=(made,))
    store(layout, "quarantined_corrections", [{"correction_id": sent, "state": "accepted"}])
    record_promoted(ledger, "r-2", adapter_id="adapter-2", instruction_set_fingerprint=stored.fingerprint)
    found = trace_correction(layout, ledger, sent)
    assert (found.author, found.release_id, found.quarantine_state) == ("ward 3", "r-1", "accepted")
    store(layout, "quarantined_corrections", [{"correction_id": sent, "state": "clear"}])
    assert trace_correction(layout, ledger, sent).quarantine_state is None
    (step,) = found.examples[0].trainings
    assert (step.adapter_id, step.use, [r.release_id for r in step.releases]) == ("adapter-2", "trained on", ["r-2"])
    assert trace_release(layout, ledger, "r-2").corrections == (sent,)
    assert trace_release(layout, ledger, "r-1").corrections == ()
    assert MARKER not in json.dumps(asdict(found), default=str)


def test_unknown_id_raises_instead_of_an_empty_trace(layout: Layout, ledger: Ledger) -> None:
    """A typo must not result in "No model saw this subject"."""
    for trace in (trace_example, trace_subject, trace_release, trace_correction):
        with pytest.raises(UnknownIdError):
            trace(layout, ledger, "nobody")


@pytest.mark.usefixtures("set_fingerprint")
def test_trace_names_the_documents_of_an_example_and_their_index(layout: Layout, ledger: Ledger) -> None:
    """Before withdrawing a document, people look for examples made from it."""
    passage = CorrectionPassage("p1", MARKER, "leave.md", "2026.1", (MARKER,), MARKER, ("everyone",))
    answered = AnswerSources("f" * 64, ("p1",), (passage,))
    texts = dict.fromkeys(("instruction", "input", "answer", "corrected_answer"), MARKER)
    key = secrets.token_bytes(32)
    sent, bare = (
        record_correction(
            ledger, key, release_id="r-1", author="w", idempotency_key=key_suffix, answer_sources=answered, **texts
        )
        for key_suffix in "ab"
    )
    prompt = add_passages_to_example("How many?", "", [passage], "Use these.\n\n{passages}\n\n{question}")
    made = example(TRAINED, prompt[1], instruction=prompt[0]) | {
        "report_id": f"correction/{sent}",
        "source": "correction",
    }
    plain = example(TRAINED, "How few?") | {"report_id": f"correction/{bare}", "source": "correction"}
    store_set(layout, extra=(made, plain))
    found = trace_correction(layout, ledger, sent)
    step = DocumentStep("p1", "leave.md", "2026.1")
    assert (found.knowledge_index, found.documents, found.examples[0].documents) == ("f" * 64, (step,), (step,))
    assert trace_example(layout, ledger, str(made["example_id"])).documents == (step,)
    without = trace_correction(layout, ledger, bare)
    assert (without.documents, without.examples[0].documents) == ((step,), ())
    assert MARKER not in json.dumps(asdict(found), default=str)


def test_draft_without_a_set_names_its_documents(layout: Layout, ledger: Ledger) -> None:
    record_promoted(ledger, "r-9")
    answered = AnswerSources("f" * 64, ("p1",), ())
    texts = dict.fromkeys(("instruction", "input", "answer", "corrected_answer"), MARKER)
    sent = record_correction(
        ledger,
        secrets.token_bytes(32),
        release_id="r-9",
        author="w",
        idempotency_key="k",
        answer_sources=answered,
        **texts,
    )
    row = {"example_id": "e1", "report_id": f"correction/{sent}", "source": "correction"}
    for drafted_by, documents in (("correction with passages", (DocumentStep("p1", None, None),)), ("correction", ())):
        store(layout, "drafted_examples", [row | {"drafted_by": drafted_by}])
        assert trace_example(layout, ledger, "e1").documents == documents
