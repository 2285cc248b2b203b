"""Stages 3 and 4 in the graph: a near copy is dropped, and what it said otherwise reaches the review queue."""

from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
import yaml

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s03_unique_reports.unique_reports import drop_duplicates
from fine_tune_assets.defs.s04_approved_examples.approved_examples import drafted_examples
from fine_tune_assets.ledger.reviews.erasures import SubjectIds, record_erasure
from fine_tune_assets.ledger.reviews.review_items import find_item
from fine_tune_assets.phi.scrubber import scrubber_version
from fine_tune_assets.tables.approval_rows import ModelDraft
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.scrubbing_rows import ScrubbedReport, ScrubRecall
from fine_tune_assets.tables.stored_tables import read_rows_if_present
from fine_tune_assets_tests.conftest import replace_file, write_recipe
from fine_tune_assets_tests.stored_tables import stored_in

pytestmark = pytest.mark.usefixtures("installation_dir")
TRUSTED = "mts-dialog"
NOTE = (
    "NOTE\nA patient fell from a bicycle on the way to work, landed on the curb, and was seen by the nurse of the day. "
    "Walks without a stick, sleeps well, takes an unknown tablet. The joint is stable, the skin is intact, and the foot is warm. "
    "Rest and ice were advised, and a visit if the swelling returns. The work in the office of a school can be resumed, and the "
    "family was informed about the way home and the exercises.\n\nPRESENTING COMPLAINT\n{}"
)
LEFT, RIGHT = "Pain of the left knee, 40 mg taken, no fever.", "Pain of the right knee, 80 mg taken, fever."


def scrubbed(texts: dict[str, tuple[str, str]]) -> pa.Table:
    """Report id → patient and text."""
    row = {"batch": "b", "source": TRUSTED, "span_count": 0, "written_on": None}
    row["scrubber_version"] = scrubber_version(Installation().recipe.scrubber)
    rows = [
        {**row, "report_id": i, "subject_key": p, "text": t, "tagged_text": t, "fingerprint": fingerprint_text(t)}
        for i, (p, t) in texts.items()
    ]
    return table_from_rows(rows, ScrubbedReport.SCHEMA)


def run(reports: pa.Table) -> tuple[pa.Table, Any]:
    """What both stages make of a batch: the duplicates, and the result of drafting."""
    row = {"labelled_set": "set", "measure": "masked_recall", "hits": 99, "total": 100, "low": 0.9, "high": 1.0}
    row |= {"value": 0.99, "scrubber_version": scrubber_version(Installation().recipe.scrubber)}
    recall = table_from_rows([{**row, "label": label} for label in ("all", "direct")], ScrubRecall.SCHEMA)
    write_table(Installation().layout.table("scrubbed_reports", "b"), reports)
    stored = stored_in(Installation().layout.data_dir, {"b": reports})
    unique, duplicates = drop_duplicates(
        dg.build_asset_context(), installation=Installation(), scrubbed_reports=stored, scrub_recall=recall
    )  # type: ignore[misc]
    drafted = drafted_examples(
        installation=Installation(),
        unique_reports=unique.value,
        duplicate_reports=duplicates.value,
        model_drafts=ModelDraft.SCHEMA.empty_table(),
    )
    return duplicates, drafted


def contradictory(other_patient: str = "p1") -> pa.Table:
    return scrubbed({"b/1": ("p1", NOTE.format(LEFT)), "b/2": (other_patient, NOTE.format(RIGHT))})


def test_a_contradiction_with_a_dropped_near_copy_waits_in_the_queue_although_its_source_is_trusted() -> None:
    """Never silently dropped: the table says on what the two disagree, and a person decides."""
    duplicates, drafted = run(contradictory())
    (pair,) = duplicates.value.to_pylist()
    assert (pair["kind"], pair["conflicts"]) == ("near", ["numbers", "sides", "negations"])
    assert duplicates.metadata["dropped_with_disagreement"] == 1
    (draft,) = drafted.value.to_pylist()
    assert draft["flags"][-1].startswith("contradiction: ")
    with Installation().ledger() as ledger:
        item = find_item(ledger, draft["example_id"])
    assert item is not None
    assert item.state == "waiting"


def test_contradicting_near_copies_of_two_patients_are_both_drafted_and_listed() -> None:
    """Reports of two patients are two reports: the account loses none, and the table names the pair."""
    duplicates, drafted = run(contradictory("p2"))
    assert (duplicates.value.num_rows, drafted.value.num_rows) == (0, 2)
    (pair,) = read_rows_if_present(Installation().layout.table("conflicting_reports"))
    assert ({pair["report_id"], pair["other_id"]}, pair["conflicts"]) == (
        {"b/1", "b/2"},
        ["numbers", "sides", "negations"],
    )
    counts = {name: duplicates.metadata[name] for name in ("reports", "unique", "duplicates", "kept_with_conflicts")}
    assert counts == {"reports": 2, "unique": 2, "duplicates": 0, "kept_with_conflicts": 1}


def test_a_copy_that_agrees_leaves_the_trust_in_its_source() -> None:
    """The other side of the gate."""
    _, drafted = run(scrubbed({"b/1": ("p1", NOTE.format(LEFT)), "b/2": ("p2", NOTE.format(LEFT + " Seen."))}))
    (draft,) = drafted.value.to_pylist()
    assert not draft["needs_review"]


def test_a_dropped_report_of_an_erased_patient_is_not_read() -> None:
    """A file may still contain its text while the erasure is running."""
    reports = contradictory()
    duplicates, _ = run(reports)
    gone = duplicates.value["dropped_id"][0].as_py()
    patient = next(row["subject_key"] for row in reports.to_pylist() if row["report_id"] == gone)
    with Installation().ledger() as ledger:
        record_erasure(ledger, subject_key=patient, by="officer", reason="Art. 17", ids=SubjectIds(frozenset({"b"})))
    (draft,) = run(reports)[1].value.to_pylist()
    assert not any(flag.startswith("contradiction") for flag in draft["flags"])


def test_a_dialogue_whose_note_was_dropped_is_named_with_the_note_that_stays(installation_dir: Any) -> None:
    """Ids only; what they say is in no metadata."""
    path = write_recipe(installation_dir)
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    pair = {"name": "note", "instruction": "Write the note.", "kind": "pairs"}
    del values["review"]["guidelines"], values["gate"]["untested_tasks"]  # of other tasks
    values["tasks"] = [{**pair, "input_suffix": ".dialogue", "output_suffix": ".note"}]
    replace_file(path, yaml.safe_dump(values).encode())
    texts = {
        "b/1.dialogue": (
            "p1",
            "Doctor: What brings you in? Patient: My left knee hurts since the fall from my bicycle.",
        ),
        "b/1.note": ("p1", LEFT),
        "b/2.dialogue": (
            "p2",
            "Doctor: Any news? Patient: The knee, the left one. It was the curb that I hit in the rain.",
        ),
        "b/2.note": ("p2", LEFT.upper()),
    }
    _, drafted = run(scrubbed(texts))
    assert drafted.value["report_id"].to_pylist() == ["b/1.note"]
    assert (drafted.metadata["reports_without_partner"], drafted.metadata["reports_with_dropped_partner"]) == (1, 1)
    table = drafted.metadata["dropped_partners"].value
    assert "| b/2.dialogue | b/2.note | b/1.note |" in table
    assert "knee" not in table
