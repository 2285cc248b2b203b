"""Every example shows its way, a patient shows which models saw them, and none of it is text."""

import json
import secrets
from dataclasses import asdict

import pyarrow as pa
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.prompts.retrieval_contract import AnsweredFrom, CarriedPassage, example_with_passages
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.corrections import record_correction
from fine_tune_assets.ledger.reviews.erasures import PatientIds, mark_releases, record_erasure
from fine_tune_assets.ledger.schema import revocations
from fine_tune_assets.lineage.records import DocumentStep
from fine_tune_assets.lineage.traces import (
    UnknownIdError,
    trace_correction,
    trace_example,
    trace_patient,
    trace_release,
)
from fine_tune_assets.lineage.trainings import record_training
from fine_tune_assets_tests.instructions.examples import example
from fine_tune_assets_tests.ledger.made import record_decision, record_promoted
from fine_tune_assets_tests.lineage.made import (
    MARKER,
    TESTED,
    TRAINED,
    VALIDATED,
    example_of,
    store,
    store_examples,
    store_set,
)
from fine_tune_assets_tests.serving.tiny import switched

ADAPTER = "adapter-1"


@pytest.fixture
def set_fingerprint(layout: Layout, ledger: Ledger) -> str:
    """A set, an adapter trained on it, its verdict, and a release that is live."""
    stored = store_set(layout)
    store_examples(layout)
    store(layout, "reports", [{"report_id": f"b/{TRAINED}", "batch": "b", "patient_key": TRAINED}], "b")
    store(layout, "scrubbed_reports", [{"report_id": f"b/{TRAINED}", "batch": "b", "scrubber_version": "s-1"}], "b")
    store(layout, "duplicate_reports", [{"dropped_id": "b/twin", "kept_id": f"b/{TRAINED}"}])
    record_promoted(ledger, "r-1", adapter_id=ADAPTER, instruction_set_fingerprint=stored.fingerprint)
    switched(ledger, "r-1")
    return stored.fingerprint


def _decide(ledger: Ledger, decision: str) -> str:
    kept = record_decision(
        ledger,
        example_id=example_of(TRAINED),
        report_id=f"b/{TRAINED}",
        decision=decision,
        output=MARKER if decision == "approve" else None,
        reviewer="expert",
        reason=MARKER,
    )
    return kept.decision_id


@pytest.mark.usefixtures("set_fingerprint")
def test_an_example_shows_its_whole_way_from_report_to_deployment(layout: Layout, ledger: Ledger) -> None:
    """From which report, through which decisions, into which set, adapter and release."""
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
    assert (training.adapter_id, training.use) == (ADAPTER, "learned from")
    assert [verdict.decision for verdict in training.verdicts] == ["promote"]
    (release,) = training.releases
    assert (release.release_id, release.is_live) == ("r-1", True)
    assert MARKER not in json.dumps(asdict(found), default=str)


@pytest.mark.parametrize(
    ("patient", "use"),
    [(TRAINED, "learned from"), (VALIDATED, "chose the checkpoint"), (TESTED, "measured on")],
)
@pytest.mark.usefixtures("set_fingerprint")
def test_what_a_model_learned_from_is_told_from_what_it_was_only_measured_on(
    layout: Layout, ledger: Ledger, patient: str, use: str
) -> None:
    """Only the first two are in the model's weights."""
    (example,) = trace_patient(layout, ledger, patient).examples
    assert [training.use for training in example.trainings] == [use]
    assert not example.trainings[0].is_too_long_known


def test_an_example_that_training_left_out_as_too_long_was_not_learned(
    layout: Layout, ledger: Ledger, set_fingerprint: str
) -> None:
    """It is in the set, and the model never saw it; a test example is never left out of a training."""
    left_out = [example_of(TRAINED), example_of(TESTED)]
    record_training(layout.adapters, ADAPTER, set_fingerprint, left_out)
    uses = {p: trace_example(layout, ledger, example_of(p)).trainings[0] for p in (TRAINED, VALIDATED)}
    assert [training.use for training in uses.values()] == ["left out as too long", "chose the checkpoint"]
    assert all(training.is_too_long_known for training in uses.values())


def test_sets_with_provenance_name_the_report_of_an_example_that_is_no_draft_any_more(
    layout: Layout, ledger: Ledger
) -> None:
    """Tables show today; a set shows what was trained on then."""
    stored = store_set(layout)
    row = {
        "example_id": "e-old",
        "split": "train",
        "report_id": "old/1",
        "patient_key": "p",
        "task": "t",
        "source": "s",
    }
    write_table(stored.folder / "provenance.parquet", pa.Table.from_pylist([row]))
    found = trace_example(layout, ledger, "e-old")
    assert found.report is not None
    assert (found.report.report_id, found.report.origin_file, found.is_drafted) == ("old/1", None, False)


@pytest.mark.usefixtures("set_fingerprint")
def test_a_release_says_how_many_patients_it_saw_and_who_of_them_was_erased(layout: Layout, ledger: Ledger) -> None:
    """What an operator needs to know to decide about it."""
    for patient, split in ((TRAINED, "train"), (TESTED, "test")):
        record_erasure(ledger, patient_key=patient, by="officer", reason="Art. 17", ids=PatientIds())
        mark_releases(ledger, patient, {"r-1": split})
    found = trace_release(layout, ledger, "r-1")
    assert [(m.split, m.use) for m in found.erased] == [("train", "learned from"), ("test", "measured on")]
    assert found.erased_patients_learned_from == 1
    assert {s.split for s in found.splits} == {"train", "validation", "test"}
    assert all(s.examples == s.patients + s.general_examples > 0 for s in found.splits)
    assert [d.state for d in found.deployments] == ["live"]
    erased = trace_patient(layout, ledger, TESTED)
    assert [m.release_id for m in erased.erased_in_releases] == ["r-1"]
    assert erased.is_erasure_finished is False


@pytest.mark.usefixtures("set_fingerprint")
def test_a_correction_is_followed_to_the_release_that_learned_from_it_and_back(layout: Layout, ledger: Ledger) -> None:
    """A user who corrected an answer can be told that it was heard, and an auditor by whose words a model changed."""
    texts = dict.fromkeys(("instruction", "input", "answer", "corrected_answer"), MARKER)
    key = secrets.token_bytes(32)
    sent = record_correction(ledger, key, release_id="r-1", author="ward 3", idempotency_key="k", **texts)
    assert trace_correction(layout, ledger, sent).examples == ()
    made = {**example(TRAINED, f"Finding of {sent}."), "report_id": f"correction/{sent}", "source": "correction"}
    stored = store_set(layout, extra=(made,))
    store(layout, "quarantined_corrections", [{"correction_id": sent, "state": "let_through"}])
    record_promoted(ledger, "r-2", adapter_id="adapter-2", instruction_set_fingerprint=stored.fingerprint)
    found = trace_correction(layout, ledger, sent)
    assert (found.author, found.release_id, found.quarantine) == ("ward 3", "r-1", "let_through")
    store(layout, "quarantined_corrections", [{"correction_id": sent, "state": "ordinary"}])
    assert trace_correction(layout, ledger, sent).quarantine is None
    (step,) = found.examples[0].trainings
    assert (step.adapter_id, step.use, [r.release_id for r in step.releases]) == ("adapter-2", "learned from", ["r-2"])
    assert trace_release(layout, ledger, "r-2").corrections == (sent,)
    assert trace_release(layout, ledger, "r-1").corrections == ()
    assert MARKER not in json.dumps(asdict(found), default=str)


def test_an_id_that_nothing_has_is_an_error_and_no_empty_trace(layout: Layout, ledger: Ledger) -> None:
    """ "No model saw this patient" must not be the answer to a typing error."""
    for trace in (trace_example, trace_patient, trace_release, trace_correction):
        with pytest.raises(UnknownIdError):
            trace(layout, ledger, "nobody")


@pytest.mark.usefixtures("set_fingerprint")
def test_a_trace_says_which_documents_an_example_carries_and_by_which_index(layout: Layout, ledger: Ledger) -> None:
    """Whoever withdraws a document wants the examples that were learned from it; and one without passages carries none."""
    passage = CarriedPassage("p1", MARKER, "leave.md", "2026.1", (MARKER,), MARKER, ("everyone",))
    answered = AnsweredFrom("f" * 64, ("p1",), (passage,))
    texts = dict.fromkeys(("instruction", "input", "answer", "corrected_answer"), MARKER)
    key = secrets.token_bytes(32)
    sent, bare = (
        record_correction(
            ledger, key, release_id="r-1", author="w", idempotency_key=told, answered_from=answered, **texts
        )
        for told in "ab"
    )
    asked = example_with_passages("How many?", "", [passage], "Use these.\n\n{passages}\n\n{question}")
    made = example(TRAINED, asked[1], instruction=asked[0]) | {
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


def test_a_draft_that_no_set_holds_yet_tells_its_documents_too(layout: Layout, ledger: Ledger) -> None:
    record_promoted(ledger, "r-9")
    answered = AnsweredFrom("f" * 64, ("p1",), ())
    texts = dict.fromkeys(("instruction", "input", "answer", "corrected_answer"), MARKER)
    sent = record_correction(
        ledger,
        secrets.token_bytes(32),
        release_id="r-9",
        author="w",
        idempotency_key="k",
        answered_from=answered,
        **texts,
    )
    row = {"example_id": "e1", "report_id": f"correction/{sent}", "source": "correction"}
    for drafted_by, documents in (("correction with passages", (DocumentStep("p1", None, None),)), ("correction", ())):
        store(layout, "drafted_examples", [row | {"drafted_by": drafted_by}])
        assert trace_example(layout, ledger, "e1").documents == documents
