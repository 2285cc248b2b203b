"""Cached sets match their files, above all after an erasure."""

from datetime import UTC, datetime

from fine_tune_assets.core.paths import Layout
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.erasures import SubjectIds
from fine_tune_assets.lineage.set_history import SetCache, erase_from_sets, list_sets, remove_tombstones
from fine_tune_assets.lineage.subject_rows import SubjectRows
from fine_tune_assets.lineage.traces import trace_example, trace_subject
from fine_tune_assets_tests.lineage.stored_data import TESTED, TRAINED, example_of, store_examples, store_set

NOW = datetime(2026, 5, 4, tzinfo=UTC)


def subject_rows(subject_key: str) -> SubjectRows:
    return SubjectRows(subject_key, SubjectIds(frozenset(), frozenset(), frozenset({example_of(subject_key)})))


def test_cached_set_matches_its_files(layout: Layout) -> None:
    """For every queried column, unknown values, and many values at once."""
    store_set(layout)
    (cached,), (read,) = SetCache(layout.instruction_sets).list_sets(), list_sets(layout.instruction_sets)
    assert cached.cached_rows is not None
    for column, *values in (
        ("subject_key", TRAINED),
        ("subject_key", TRAINED, TESTED, "nobody"),
        ("example_id", example_of(TESTED)),
        ("report_id",),
    ):
        assert cached.find_rows(column, *values) == read.find_rows(column, *values)


def test_erased_subject_disappears_from_the_cache_and_others_stay(layout: Layout) -> None:
    """The desk runs for weeks; an erasure runs in another process."""
    store_set(layout)
    known = SetCache(layout.instruction_sets)
    assert known.list_sets()[0].find_rows("subject_key", TRAINED)
    erase_from_sets(layout.instruction_sets, subject_rows(TRAINED), "erasure-1", NOW)
    (stored,) = known.list_sets()
    assert (stored.find_rows("subject_key", TRAINED), stored.tombstone is not None) == ([], True)
    assert stored.find_rows("subject_key", TESTED)
    # A second subject, from the remains of the first erasure.
    erase_from_sets(layout.instruction_sets, subject_rows(TESTED), "erasure-2", NOW)
    assert known.list_sets()[0].find_rows("subject_key", TESTED) == []


def test_new_set_is_found_and_a_deleted_one_is_dropped(layout: Layout) -> None:
    """A new set is traced minutes after its training."""
    known = SetCache(layout.instruction_sets)
    assert known.list_sets() == []
    store_set(layout)
    assert len(known.list_sets()) == 1
    erase_from_sets(layout.instruction_sets, subject_rows(TRAINED), "erasure-1", NOW)
    remove_tombstones(layout.instruction_sets, "erasure-1")
    assert known.list_sets() == []


def test_unchanged_set_is_read_once_and_sets_beyond_the_limit_are_not_cached(layout: Layout) -> None:
    """Memory is bounded; other sets are read from disk with the same result."""
    store_set(layout)
    known = SetCache(layout.instruction_sets)
    assert known.list_sets()[0] is known.list_sets()[0]
    (unkept,) = SetCache(layout.instruction_sets, max_bytes=0).list_sets()
    assert unkept.cached_rows is None
    assert unkept.find_rows("subject_key", TRAINED) == known.list_sets()[0].find_rows("subject_key", TRAINED)


def test_trace_with_cached_sets_equals_trace_from_files(layout: Layout, ledger: Ledger) -> None:
    """The desk caches sets and the command line does not."""
    store_set(layout)
    store_examples(layout)
    known = SetCache(layout.instruction_sets)
    for _ in range(2):
        assert trace_subject(layout, ledger, TRAINED, known) == trace_subject(layout, ledger, TRAINED)
        cached = trace_example(layout, ledger, example_of(TESTED), set_cache=known)
        assert cached == trace_example(layout, ledger, example_of(TESTED))
        assert cached.sets
