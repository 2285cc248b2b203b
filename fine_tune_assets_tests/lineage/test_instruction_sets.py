"""A set that held an erased patient becomes a tombstone that refuses readers and still knows who else was in it."""

import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.erased_sets import ERASED, REMAINING, ErasedSet, read_erased, write_erased
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.instructions.stored_sets import ErasedInstructionSetError, read_instruction_set
from fine_tune_assets.ledger.reviews.erasures import PatientIds
from fine_tune_assets.lineage.instruction_sets import (
    erase_from_sets,
    find_set,
    ids_in_sets,
    lift_from_sets,
    set_folders,
)
from fine_tune_assets.lineage.patient_rows import PatientRows
from fine_tune_assets_tests.lineage.made import TESTED, TRAINED, store_set

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def _erase(layout: Layout, patient: str, erasure_id: str = "er-1") -> dict[str, int]:
    return erase_from_sets(layout.instruction_sets, PatientRows(patient, PatientIds()), erasure_id, NOW)


def test_a_set_that_held_the_patient_is_gone_and_refused_by_name(layout: Layout) -> None:
    """A verdict or an adapter that names it meets a closed gate with a reason, and no crash."""
    stored = store_set(layout)
    assert _erase(layout, TRAINED) == {"instruction sets": 1, "examples in instruction sets": 1}
    assert {path.name for path in stored.folder.iterdir()} == {ERASED, REMAINING}
    erased = read_erased(stored.folder)
    assert erased == ErasedSet(stored.fingerprint, NOW.isoformat(), ("er-1",), {"train": 1}, {"recipe": "r"})
    with pytest.raises(ErasedInstructionSetError, match="removed on 2026-03-01: it held a patient who was erased"):
        read_instruction_set(layout.instruction_sets, stored.fingerprint)


def test_the_very_set_is_not_written_again(layout: Layout) -> None:
    """A run that began before may still hold the examples."""
    store_set(layout)
    _erase(layout, TRAINED)
    with pytest.raises(ErasedInstructionSetError):
        store_set(layout)


def test_a_set_without_the_patient_stays(layout: Layout) -> None:
    """Nobody else's models may suffer."""
    stored = store_set(layout)
    assert _erase(layout, "nobody") == {}
    assert read_instruction_set(layout.instruction_sets, stored.fingerprint) == stored


def test_who_else_was_in_an_erased_set_is_known_for_the_next_erasure(layout: Layout) -> None:
    """Else the second patient's releases could no longer be marked. No text is kept for it."""
    stored = store_set(layout)
    _erase(layout, TRAINED)
    found = find_set(layout.instruction_sets, stored.fingerprint)
    assert found is not None
    assert found.rows("patient_key", TRAINED) == []
    assert [row["split"] for row in found.rows("patient_key", TESTED)] == ["test"]
    assert "messages" not in pq.read_schema(stored.folder / REMAINING).names
    assert _erase(layout, TESTED, "er-2") == {"examples in instruction sets": 1}
    erased = read_erased(stored.folder)
    assert erased is not None
    assert (erased.erasure_ids, erased.examples) == (("er-1", "er-2"), {"train": 1, "test": 1})
    assert ids_in_sets(layout.instruction_sets, TESTED) == PatientIds()


@pytest.mark.parametrize("is_remaining_written", [False, True])
def test_a_kill_in_between_leaves_a_closed_set_that_is_finished_later(
    layout: Layout, is_remaining_written: bool
) -> None:
    """The tombstone is written first, into the set itself."""
    stored = store_set(layout)
    write_erased(
        stored.folder, ErasedSet(stored.fingerprint, NOW.isoformat(), ("er-1",), {"train": 1}, {"recipe": "r"})
    )
    if is_remaining_written:
        rows = set_folders(layout.instruction_sets)[0].all_rows().to_pylist()
        write_table(stored.folder / REMAINING, pa.Table.from_pylist([r for r in rows if r["patient_key"] != TRAINED]))
    with pytest.raises(ErasedInstructionSetError):
        read_instruction_set(layout.instruction_sets, stored.fingerprint)
    _erase(layout, TRAINED)
    assert {path.name for path in stored.folder.iterdir()} == {ERASED, REMAINING}
    erased = read_erased(stored.folder)
    assert erased is not None
    assert erased.examples == {"train": 1}


def test_the_provenance_of_others_is_kept(layout: Layout) -> None:
    """Sets that say where each example came from say it still."""
    stored = store_set(layout)
    assert stored.provenance is not None
    rows = stored.provenance.to_pylist()
    own = {row["report_id"] for row in rows if row["patient_key"] == TRAINED}
    assert ids_in_sets(layout.instruction_sets, TRAINED).report_ids == own
    _erase(layout, TRAINED)
    assert pq.read_table(stored.folder / REMAINING).to_pylist() == [r for r in rows if r["patient_key"] != TRAINED]


def test_a_damaged_set_is_erased_all_the_same(layout: Layout) -> None:
    """Its reader refuses it, but its rows are the patient's."""
    stored = store_set(layout)
    (stored.folder / "manifest.json").write_text("{")
    assert _erase(layout, TRAINED)["instruction sets"] == 1
    assert json.loads((stored.folder / ERASED).read_text())["fingerprint"] == stored.folder.name


def test_a_set_whose_provenance_is_gone_is_erased_all_the_same(layout: Layout) -> None:
    """Its conversations still hold the patient."""
    stored = store_set(layout)
    (stored.folder / "provenance.parquet").unlink()
    assert _erase(layout, TRAINED) == {"instruction sets": 1, "examples in instruction sets": 1}
    assert {path.name for path in stored.folder.iterdir()} == {ERASED, REMAINING}
    assert "messages" not in pq.read_schema(stored.folder / REMAINING).names


def test_lifting_removes_the_tombstones_of_that_erasure_alone(layout: Layout) -> None:
    """The same set may be made again; one that another patient was erased from may not."""
    stored = store_set(layout)
    _erase(layout, TRAINED)
    lift_from_sets(layout.instruction_sets, "er-9")
    assert stored.folder.is_dir()
    lift_from_sets(layout.instruction_sets, "er-1")
    assert store_set(layout) == stored
