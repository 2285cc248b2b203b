"""A model that learned from a copy used the subject's text."""

import json
from dataclasses import asdict

import pytest
from click.testing import CliRunner

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.subject_erasure import preview_erasure
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.erasures import find_erasure, finish_erasure, list_release_marks, record_erasure
from fine_tune_assets.lineage.erasure import build_erasure_steps, find_releases_with_copies, find_subject_ids
from fine_tune_assets.lineage.traces import trace_subject
from fine_tune_assets_tests.ledger.ledger_rows import record_promoted
from fine_tune_assets_tests.lineage.stored_data import (
    MARKER,
    TESTED,
    TRAINED,
    example_of,
    store,
    store_examples,
    store_set,
)

COPIED = "c" * 64
"""Key of the subject whose report was dropped."""


def _fill(layout: Layout, ledger: Ledger, *pairs: tuple[str, str, str]) -> None:
    """A release of a set that contains TRAINED; `pairs` are (dropped, kept, kind) of stage 3."""
    stored = store_set(layout)
    rows = store_examples(layout)
    reports = {row["report_id"]: row["subject_key"] for row in rows} | {"c/1": COPIED, "c/2": "somebody"}
    store(layout, "reports", [{"report_id": r, "subject_key": p, "batch": "b"} for r, p in reports.items()], "b")
    store(layout, "duplicate_reports", [{"dropped_id": d, "kept_id": k, "kind": kind} for d, k, kind in pairs])
    record_promoted(ledger, "r-1", instruction_set_fingerprint=stored.fingerprint)


def _report_of(layout: Layout, ledger: Ledger, subject: str) -> str:
    report = trace_subject(layout, ledger, subject).examples[0].report
    assert report is not None
    return report.report_id


@pytest.mark.parametrize("kind", ["exact", "near"])
def test_subject_of_a_dropped_report_was_used_by_a_copy(layout: Layout, ledger: Ledger, kind: str) -> None:
    """ "No model saw this subject" would be wrong: it learned the same text."""
    _fill(layout, ledger)
    kept = _report_of(layout, ledger, TRAINED)
    store(layout, "duplicate_reports", [{"dropped_id": "c/1", "kept_id": kept, "kind": kind}])
    found = trace_subject(layout, ledger, COPIED)
    assert (found.examples, found.is_in_any_release) == ((), True)
    (copy,) = found.copies
    assert (copy.own_id, copy.kind, copy.example.example_id) == ("c/1", kind, example_of(TRAINED))
    assert [(t.use, [r.release_id for r in t.releases]) for t in copy.example.trainings] == [("trained on", ["r-1"])]
    assert MARKER not in json.dumps(asdict(found), default=str)
    # The subject of the kept report was used under their own key only.
    assert trace_subject(layout, ledger, TRAINED).copies == ()


def test_reports_dropped_for_the_same_report_are_copies_unless_semantic(layout: Layout, ledger: Ledger) -> None:
    """If a later, better report replaces both, earlier sets were made from the report kept before."""
    _fill(layout, ledger)
    before = _report_of(layout, ledger, TRAINED)
    pairs = [{"dropped_id": d, "kept_id": "c/2", "kind": kind} for d, kind in (("c/1", "near"), (before, "exact"))]
    store(layout, "duplicate_reports", pairs)
    (copy,) = trace_subject(layout, ledger, COPIED).copies
    assert (copy.kind, copy.example.subject_key) == ("near", TRAINED)
    store(layout, "duplicate_reports", [{**pair, "kind": "semantic"} for pair in pairs])
    found = trace_subject(layout, ledger, COPIED)
    assert (found.copies, found.is_in_any_release) == ((), False)


def test_example_excluded_for_an_equal_example_was_used(layout: Layout, ledger: Ledger) -> None:
    """A set contains one of two examples with the same content; the other subject's text was learned too."""
    _fill(layout, ledger)
    rows = store_examples(layout)
    trained = next(row for row in rows if row["subject_key"] == TRAINED)
    twin = {**trained, "example_id": "twin", "subject_key": COPIED, "report_id": "c/1"}
    store(layout, "approved_examples", [*rows, twin])
    (copy,) = trace_subject(layout, ledger, COPIED).copies
    assert (copy.own_id, copy.kind, copy.example.subject_key) == ("twin", "same example", TRAINED)


def test_erased_subject_still_shows_the_models_that_used_the_copy(layout: Layout, ledger: Ledger) -> None:
    """The copy belongs to another subject: it stays, and no release is marked for it."""
    _fill(layout, ledger)
    kept = _report_of(layout, ledger, TESTED)
    store(layout, "duplicate_reports", [{"dropped_id": "c/1", "kept_id": kept, "kind": "exact"}])
    seen = find_releases_with_copies(layout, ledger, COPIED)
    assert seen == {"r-1": "test"}
    ids = find_subject_ids(layout, COPIED)
    by = {"subject_key": COPIED, "by": "officer", "reason": "Art. 17"}
    erasure = record_erasure(ledger, **by, ids=ids, releases_by_copy=seen)
    for _, step in build_erasure_steps(layout, ledger, erasure):
        step()
    # After an interruption the tables no longer contain the report.
    erasure = record_erasure(ledger, **by, ids=find_subject_ids(layout, COPIED), releases_by_copy={})
    finish_erasure(ledger, erasure, "officer", {})
    found = trace_subject(layout, ledger, COPIED)
    assert [(mark.release_id, mark.use) for mark in found.erased_copies] == [("r-1", "evaluated on")]
    assert (found.erasure_marks, list_release_marks(ledger, "r-1"), found.is_in_any_release) == ((), [], True)
    standing = find_erasure(ledger, COPIED)
    assert standing is not None
    assert standing.is_finished


@pytest.mark.usefixtures("installation_dir")
def test_command_line_reports_copies_and_that_they_stay() -> None:
    """The answer to the subject must not claim that the text is gone."""
    installation = Installation()
    with installation.ledger() as ledger:
        _fill(installation.layout, ledger)
        kept = _report_of(installation.layout, ledger, TRAINED)
        store(installation.layout, "duplicate_reports", [{"dropped_id": "c/1", "kept_id": kept, "kind": "exact"}])
        (stays,) = preview_erasure(installation, ledger, COPIED).copies
        (also,) = preview_erasure(installation, ledger, TRAINED).copies
    assert (stays.other_report, stays.other_subject) == (kept, TRAINED)
    assert (also.other_report, also.other_subject) == ("c/1", COPIED)
    traced = CliRunner().invoke(main, ["trace", "subject", COPIED]).output
    assert "Release        r-1  trained on  not live  by a copy" in traced
    assert "none used this subject" not in traced
    ahead = CliRunner().invoke(main, ["subjects", "erase", COPIED, "--reason", "Art. 17", "--dry-run"]).output
    assert f"Not removed    {kept} has the same words as c/1 and belongs to another subject, {TRAINED}" in ahead
    assert "r-1 used the same words of another subject in its train split" in ahead
