"""Sets that are kept in memory say what the files say now: above all, who is in them no more."""

from datetime import UTC, datetime

from fine_tune_assets.core.paths import Layout
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.erasures import PatientIds
from fine_tune_assets.lineage.instruction_sets import KnownSets, erase_from_sets, lift_from_sets, set_folders
from fine_tune_assets.lineage.patient_rows import PatientRows
from fine_tune_assets.lineage.traces import trace_example, trace_patient
from fine_tune_assets_tests.lineage.made import TESTED, TRAINED, example_of, store_examples, store_set

NOW = datetime(2026, 5, 4, tzinfo=UTC)


def patient_rows(patient_key: str) -> PatientRows:
    return PatientRows(patient_key, PatientIds(frozenset(), frozenset(), frozenset({example_of(patient_key)})))


def test_what_is_kept_is_what_a_set_says_itself(layout: Layout) -> None:
    """Each column that is asked for, values that are in no set, and many at once."""
    store_set(layout)
    (kept,), (read,) = KnownSets(layout.instruction_sets).folders(), set_folders(layout.instruction_sets)
    assert kept.known_rows is not None
    for column, *values in (
        ("patient_key", TRAINED),
        ("patient_key", TRAINED, TESTED, "nobody"),
        ("example_id", example_of(TESTED)),
        ("report_id",),
    ):
        assert kept.rows(column, *values) == read.rows(column, *values)


def test_an_erased_patient_is_gone_from_what_is_kept_and_the_others_stay(layout: Layout) -> None:
    """The desk runs for weeks; an erasure is another process."""
    store_set(layout)
    known = KnownSets(layout.instruction_sets)
    assert known.folders()[0].rows("patient_key", TRAINED)
    erase_from_sets(layout.instruction_sets, patient_rows(TRAINED), "erasure-1", NOW)
    (stored,) = known.folders()
    assert (stored.rows("patient_key", TRAINED), stored.erased is not None) == ([], True)
    assert stored.rows("patient_key", TESTED)
    # A second one, from what remained of the first.
    erase_from_sets(layout.instruction_sets, patient_rows(TESTED), "erasure-2", NOW)
    assert known.folders()[0].rows("patient_key", TESTED) == []


def test_a_set_that_comes_is_seen_and_one_that_went_is_not_kept(layout: Layout) -> None:
    """A training on a new set is asked about the minute after."""
    known = KnownSets(layout.instruction_sets)
    assert known.folders() == []
    store_set(layout)
    assert len(known.folders()) == 1
    erase_from_sets(layout.instruction_sets, patient_rows(TRAINED), "erasure-1", NOW)
    lift_from_sets(layout.instruction_sets, "erasure-1")
    assert known.folders() == []


def test_an_unchanged_set_is_read_once_and_beyond_the_limit_none_is_kept(layout: Layout) -> None:
    """Memory is bounded; what is not kept is read from its file and says the same."""
    store_set(layout)
    known = KnownSets(layout.instruction_sets)
    assert known.folders()[0] is known.folders()[0]
    (unkept,) = KnownSets(layout.instruction_sets, kept_bytes=0).folders()
    assert unkept.known_rows is None
    assert unkept.rows("patient_key", TRAINED) == known.folders()[0].rows("patient_key", TRAINED)


def test_a_trace_by_kept_sets_is_the_trace_by_files(layout: Layout, ledger: Ledger) -> None:
    """The desk keeps them, the command line does not: one answer."""
    store_set(layout)
    store_examples(layout)
    known = KnownSets(layout.instruction_sets)
    for _ in range(2):
        assert trace_patient(layout, ledger, TRAINED, known) == trace_patient(layout, ledger, TRAINED)
        kept = trace_example(layout, ledger, example_of(TESTED), known_sets=known)
        assert kept == trace_example(layout, ledger, example_of(TESTED))
        assert kept.sets
