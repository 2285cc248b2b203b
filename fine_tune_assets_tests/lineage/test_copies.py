"""A model that learned from a copy saw the patient's words, whoever the copy was filed under."""

import json
from dataclasses import asdict

import pytest
from click.testing import CliRunner

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.defs.erasure import look_ahead
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.erasures import erased_in, find_erasure, finish_erasure, record_erasure
from fine_tune_assets.lineage.erasure import erasing_steps, find_patient, releases_with_copy
from fine_tune_assets.lineage.traces import trace_patient
from fine_tune_assets_tests.ledger.made import record_promoted
from fine_tune_assets_tests.lineage.made import MARKER, TESTED, TRAINED, example_of, store, store_examples, store_set

COPIED = "c" * 64
"""Key of the patient whose report was dropped."""


def _fill(layout: Layout, ledger: Ledger, *pairs: tuple[str, str, str]) -> None:
    """A release of a set that holds TRAINED; `pairs` are (dropped, kept, kind) of stage 3."""
    stored = store_set(layout)
    rows = store_examples(layout)
    reports = {row["report_id"]: row["patient_key"] for row in rows} | {"c/1": COPIED, "c/2": "somebody"}
    store(layout, "reports", [{"report_id": r, "patient_key": p, "batch": "b"} for r, p in reports.items()], "b")
    store(layout, "duplicate_reports", [{"dropped_id": d, "kept_id": k, "kind": kind} for d, k, kind in pairs])
    record_promoted(ledger, "r-1", instruction_set_fingerprint=stored.fingerprint)


def _report_of(layout: Layout, ledger: Ledger, patient: str) -> str:
    report = trace_patient(layout, ledger, patient).examples[0].report
    assert report is not None
    return report.report_id


@pytest.mark.parametrize("kind", ["exact", "near"])
def test_a_patient_whose_report_was_dropped_for_another_patients_was_seen_by_a_copy(
    layout: Layout, ledger: Ledger, kind: str
) -> None:
    """ "No model saw this patient" would be wrong: it learned the very words."""
    _fill(layout, ledger)
    kept = _report_of(layout, ledger, TRAINED)
    store(layout, "duplicate_reports", [{"dropped_id": "c/1", "kept_id": kept, "kind": kind}])
    found = trace_patient(layout, ledger, COPIED)
    assert (found.examples, found.is_seen) == ((), True)
    (copy,) = found.copies
    assert (copy.own, copy.likeness, copy.example.example_id) == ("c/1", kind, example_of(TRAINED))
    assert [(t.use, [r.release_id for r in t.releases]) for t in copy.example.trainings] == [("learned from", ["r-1"])]
    assert MARKER not in json.dumps(asdict(found), default=str)
    # Whose report stays was seen in their own name only.
    assert trace_patient(layout, ledger, TRAINED).copies == ()


def test_two_that_were_dropped_for_the_same_report_are_copies_and_what_only_means_the_same_is_none(
    layout: Layout, ledger: Ledger
) -> None:
    """A better report that came later takes the place of both: the older set was made of the one that stood there before."""
    _fill(layout, ledger)
    before = _report_of(layout, ledger, TRAINED)
    pairs = [{"dropped_id": d, "kept_id": "c/2", "kind": kind} for d, kind in (("c/1", "near"), (before, "exact"))]
    store(layout, "duplicate_reports", pairs)
    (copy,) = trace_patient(layout, ledger, COPIED).copies
    assert (copy.likeness, copy.example.patient_key) == ("near", TRAINED)
    store(layout, "duplicate_reports", [{**pair, "kind": "semantic"} for pair in pairs])
    found = trace_patient(layout, ledger, COPIED)
    assert (found.copies, found.is_seen) == ((), False)


def test_an_example_that_was_left_out_for_another_patients_same_example_was_seen(
    layout: Layout, ledger: Ledger
) -> None:
    """A set holds one of two examples with the same content; the other's patient was learned from all the same."""
    _fill(layout, ledger)
    rows = store_examples(layout)
    trained = next(row for row in rows if row["patient_key"] == TRAINED)
    twin = {**trained, "example_id": "twin", "patient_key": COPIED, "report_id": "c/1"}
    store(layout, "approved_examples", [*rows, twin])
    (copy,) = trace_patient(layout, ledger, COPIED).copies
    assert (copy.own, copy.likeness, copy.example.patient_key) == ("twin", "same example", TRAINED)


def test_an_erased_patient_still_shows_which_models_saw_the_copy(layout: Layout, ledger: Ledger) -> None:
    """The copy is somebody else's: it is not erased, no release is marked for it, and nobody is told that it is gone."""
    _fill(layout, ledger)
    kept = _report_of(layout, ledger, TESTED)
    store(layout, "duplicate_reports", [{"dropped_id": "c/1", "kept_id": kept, "kind": "exact"}])
    seen = releases_with_copy(layout, ledger, COPIED)
    assert seen == {"r-1": "test"}
    ids = find_patient(layout, COPIED)
    by = {"patient_key": COPIED, "by": "officer", "reason": "Art. 17"}
    erasure = record_erasure(ledger, **by, ids=ids, seen_by_copy=seen)
    for _, step in erasing_steps(layout, ledger, erasure):
        step()
    # Taken up again after a kill: the tables say nothing of it any more.
    erasure = record_erasure(ledger, **by, ids=find_patient(layout, COPIED), seen_by_copy={})
    finish_erasure(ledger, erasure, "officer", {})
    found = trace_patient(layout, ledger, COPIED)
    assert [(mark.release_id, mark.use) for mark in found.erased_copies] == [("r-1", "measured on")]
    assert (found.erased_in_releases, erased_in(ledger, "r-1"), found.is_seen) == ((), [], True)
    standing = find_erasure(ledger, COPIED)
    assert standing is not None
    assert standing.is_finished


@pytest.mark.usefixtures("installation_dir")
def test_the_terminal_says_that_it_was_by_a_copy_and_that_the_copy_stays() -> None:
    """Whoever answers the patient must not say that the words are gone."""
    installation = Installation()
    with installation.ledger() as ledger:
        _fill(installation.layout, ledger)
        kept = _report_of(installation.layout, ledger, TRAINED)
        store(installation.layout, "duplicate_reports", [{"dropped_id": "c/1", "kept_id": kept, "kind": "exact"}])
        (stays,) = look_ahead(installation, ledger, COPIED).copies
        (also,) = look_ahead(installation, ledger, TRAINED).copies
    assert (stays.other_report, stays.other_patient) == (kept, TRAINED)
    assert (also.other_report, also.other_patient) == ("c/1", COPIED)
    traced = CliRunner().invoke(main, ["trace", "patient", COPIED]).output
    assert "Release        r-1  learned from  not live  by a copy" in traced
    assert "none saw this patient" not in traced
    ahead = CliRunner().invoke(main, ["erase", COPIED, "--by", "officer", "--reason", "Art. 17", "--dry-run"]).output
    assert f"Stays          {kept} has the same words as c/1 and is of another patient, {TRAINED}" in ahead
    assert "r-1 saw the patient's words in its train split, in a copy" in ahead
