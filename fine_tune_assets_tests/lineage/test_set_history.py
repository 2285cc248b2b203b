"""A set with an erased subject becomes a tombstone that refuses readers and still lists the other subjects."""

import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.erased_sets import ERASED_FILE, REMAINING_FILE, ErasedSet, read_erased_set, write_erased_set
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.instructions.stored_sets import ErasedInstructionSetError, read_instruction_set
from fine_tune_assets.ledger.reviews.erasures import SubjectIds
from fine_tune_assets.lineage.set_history import (
    erase_from_sets,
    find_ids_in_sets,
    find_set,
    list_sets,
    remove_tombstones,
)
from fine_tune_assets.lineage.subject_rows import SubjectRows
from fine_tune_assets_tests.lineage.stored_data import TESTED, TRAINED, store_set

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def _erase(layout: Layout, subject: str, erasure_id: str = "er-1") -> dict[str, int]:
    return erase_from_sets(layout.instruction_sets, SubjectRows(subject, SubjectIds()), erasure_id, NOW)


def test_set_with_an_erased_subject_is_refused_by_name(layout: Layout) -> None:
    """A verdict or adapter that names it gets a closed gate with a reason, not a crash."""
    stored = store_set(layout)
    assert _erase(layout, TRAINED) == {"instruction sets": 1, "examples in instruction sets": 1}
    assert {path.name for path in stored.folder.iterdir()} == {ERASED_FILE, REMAINING_FILE}
    erased = read_erased_set(stored.folder)
    assert erased == ErasedSet(stored.fingerprint, NOW.isoformat(), ("er-1",), {"train": 1}, {"recipe": "r"})
    with pytest.raises(ErasedInstructionSetError, match="2026-03-01"):
        read_instruction_set(layout.instruction_sets, stored.fingerprint)


def test_erased_set_is_not_written_again(layout: Layout) -> None:
    """A run that started earlier may still hold the examples."""
    store_set(layout)
    _erase(layout, TRAINED)
    with pytest.raises(ErasedInstructionSetError):
        store_set(layout)


def test_set_without_the_subject_stays(layout: Layout) -> None:
    """Other models must be unaffected."""
    stored = store_set(layout)
    assert _erase(layout, "nobody") == {}
    assert read_instruction_set(layout.instruction_sets, stored.fingerprint) == stored


def test_other_subjects_of_an_erased_set_are_known_for_the_next_erasure(layout: Layout) -> None:
    """Otherwise the second subject's releases could not be marked. No text is kept for it."""
    stored = store_set(layout)
    _erase(layout, TRAINED)
    found = find_set(layout.instruction_sets, stored.fingerprint)
    assert found is not None
    assert found.find_rows("subject_key", TRAINED) == []
    assert [row.split for row in found.find_rows("subject_key", TESTED)] == ["test"]
    assert "messages" not in pq.read_schema(stored.folder / REMAINING_FILE).names
    assert _erase(layout, TESTED, "er-2") == {"examples in instruction sets": 1}
    erased = read_erased_set(stored.folder)
    assert erased is not None
    assert (erased.erasure_ids, erased.examples) == (("er-1", "er-2"), {"train": 1, "test": 1})
    assert find_ids_in_sets(layout.instruction_sets, TESTED) == SubjectIds()


@pytest.mark.parametrize("is_remaining_written", [False, True])
def test_interrupted_erasure_leaves_a_closed_set_and_is_resumed(layout: Layout, is_remaining_written: bool) -> None:
    """The tombstone is written first, into the set itself."""
    stored = store_set(layout)
    write_erased_set(
        stored.folder, ErasedSet(stored.fingerprint, NOW.isoformat(), ("er-1",), {"train": 1}, {"recipe": "r"})
    )
    if is_remaining_written:
        rows = list_sets(layout.instruction_sets)[0].read_rows().to_pylist()
        write_table(
            stored.folder / REMAINING_FILE, pa.Table.from_pylist([r for r in rows if r["subject_key"] != TRAINED])
        )
    with pytest.raises(ErasedInstructionSetError):
        read_instruction_set(layout.instruction_sets, stored.fingerprint)
    _erase(layout, TRAINED)
    assert {path.name for path in stored.folder.iterdir()} == {ERASED_FILE, REMAINING_FILE}
    erased = read_erased_set(stored.folder)
    assert erased is not None
    assert erased.examples == {"train": 1}


def test_provenance_of_other_subjects_stays(layout: Layout) -> None:
    """The sources of the other examples must remain known."""
    stored = store_set(layout)
    assert stored.provenance is not None
    rows = stored.provenance.to_pylist()
    own = {row["report_id"] for row in rows if row["subject_key"] == TRAINED}
    assert find_ids_in_sets(layout.instruction_sets, TRAINED).report_ids == own
    _erase(layout, TRAINED)
    assert pq.read_table(stored.folder / REMAINING_FILE).to_pylist() == [r for r in rows if r["subject_key"] != TRAINED]


def test_damaged_set_is_erased_too(layout: Layout) -> None:
    """Readers refuse it, but its rows belong to the subject."""
    stored = store_set(layout)
    (stored.folder / "manifest.json").write_text("{")
    assert _erase(layout, TRAINED)["instruction sets"] == 1
    assert json.loads((stored.folder / ERASED_FILE).read_text())["fingerprint"] == stored.folder.name


def test_set_without_provenance_is_erased_too(layout: Layout) -> None:
    """Its conversations still contain the subject."""
    stored = store_set(layout)
    (stored.folder / "provenance.parquet").unlink()
    assert _erase(layout, TRAINED) == {"instruction sets": 1, "examples in instruction sets": 1}
    assert {path.name for path in stored.folder.iterdir()} == {ERASED_FILE, REMAINING_FILE}
    assert "messages" not in pq.read_schema(stored.folder / REMAINING_FILE).names


def test_lifting_removes_only_the_tombstones_of_that_erasure(layout: Layout) -> None:
    """The same set may be built again, unless another subject was erased from it."""
    stored = store_set(layout)
    _erase(layout, TRAINED)
    remove_tombstones(layout.instruction_sets, "er-9")
    assert stored.folder.is_dir()
    remove_tombstones(layout.instruction_sets, "er-1")
    assert store_set(layout) == stored
