"""What an erasure does beside tables and sets: marks on releases, records of trainings, caches, unfinished files."""

import os
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.erasures import Erasure, erased_in, record_erasure
from fine_tune_assets.lineage.erasure import erasing_steps, find_patient
from fine_tune_assets.lineage.instruction_sets import read_left_out, write_left_out
from fine_tune_assets.lineage.trainings import list_trainings, record_training
from fine_tune_assets_tests.ledger.made import record_promoted
from fine_tune_assets_tests.lineage.made import TESTED, TRAINED, example_of, store, store_examples, store_set


def _erase(layout: Layout, ledger: Ledger, patient: str) -> Erasure:
    ids = find_patient(layout, patient)
    erasure = record_erasure(ledger, patient_key=patient, by="officer", reason="Art. 17", ids=ids)
    for _, step in erasing_steps(layout, ledger, erasure):
        step()
    return erasure


def test_every_release_that_saw_a_patient_is_marked_also_through_a_set_that_was_erased_before(
    layout: Layout, ledger: Ledger
) -> None:
    """Two patients of one set, one after the other; a release of another set saw neither."""
    stored = store_set(layout)
    for release_id, fingerprint in (("r-1", stored.fingerprint), ("r-2", "f" * 64)):
        record_promoted(ledger, release_id, instruction_set_fingerprint=fingerprint)
    for patient in (TRAINED, TESTED):
        _erase(layout, ledger, patient)
    assert [(m.patient_key, m.split) for m in erased_in(ledger, "r-1")] == [(TRAINED, "train"), (TESTED, "test")]
    assert erased_in(ledger, "r-2") == []


def test_records_of_trainings_forget_the_examples(layout: Layout, ledger: Ledger) -> None:
    """The list of what was too long names examples."""
    stored = store_set(layout)
    record_training(layout.adapters, "a-1", stored.fingerprint, [example_of(TRAINED), example_of(TESTED)])
    _erase(layout, ledger, TRAINED)
    (training,) = list_trainings(layout, ledger)
    assert training.too_long == (example_of(TESTED),)


def test_what_sets_left_out_forgets_the_examples_and_those_that_were_left_out_for_them(
    layout: Layout, ledger: Ledger
) -> None:
    """A set that is without the patient may still name an example of theirs; the other rows stay."""
    store_set(layout)
    other = {"example_id": "e-other", "reason": "its report has no date"}
    rows = [
        {"example_id": example_of(TRAINED), "reason": "exactly the same example as e-other"},
        {"example_id": "e-same", "reason": f"exactly the same example as {example_of(TRAINED)}"},
        other,
    ]
    write_left_out(layout.instruction_sets, "9" * 64, rows)
    _erase(layout, ledger, TRAINED)
    assert read_left_out(layout.instruction_sets, "9" * 64) == [other]


def test_caches_lose_the_rows_or_go_and_the_scrubbers_is_left_to_the_scrubber(layout: Layout, ledger: Ledger) -> None:
    """Of a file that does not say whose its rows are nobody can say that nothing of the patient is in it."""
    rows = store_examples(layout)
    report_id = next(row["report_id"] for row in rows if row["patient_key"] == TRAINED)
    named = layout.cache / "dedup" / "signatures.parquet"
    write_table(named, pa.table({"report_id": [report_id, "b/other"], "signature": [1, 2]}))
    write_table(layout.cache / "dedup" / "unnamed.parquet", pa.table({"signature": [1]}))
    (layout.cache / "dedup" / "0a.vectors.safetensors").write_bytes(b"vectors")
    (layout.cache / "leaks").mkdir()
    (layout.cache / "leaks" / "vectors.npz").write_bytes(b"vectors")
    (layout.cache / "judging").mkdir()
    (layout.cache / "judging" / "kept.sqlite").write_bytes(b"answers")
    (layout.cache / "judging" / "kept.sqlite-wal").write_bytes(b"answers")
    (layout.cache / "scrubbed").mkdir()
    (layout.cache / "scrubbed" / "v.sqlite").write_bytes(b"spans")
    _erase(layout, ledger, TRAINED)
    left = {path.relative_to(layout.cache).as_posix() for path in layout.cache.rglob("*") if path.is_file()}
    assert left == {"dedup/signatures.parquet", "scrubbed/v.sqlite"}
    assert pq.read_table(named)["report_id"].to_pylist() == ["b/other"]


def test_unfinished_files_of_before_the_tombstone_go_and_younger_ones_stay(layout: Layout, ledger: Ledger) -> None:
    """A killed run leaves text under a temporary name; one that is being written is without the patient."""
    store_examples(layout)
    old, new = (layout.tables / "reports" / name for name in (".b.parquet.1.tmp", ".b.parquet.2.tmp"))
    old.parent.mkdir(parents=True)
    for path in (old, new):
        path.write_text("text")
    ids = find_patient(layout, TRAINED)
    erasure = record_erasure(ledger, patient_key=TRAINED, by="officer", reason="Art. 17", ids=ids)
    for path, after in ((old, -60), (new, 60)):
        at = (erasure.erased_at + timedelta(seconds=after)).timestamp()
        os.utime(path, (at, at))
    for _, step in erasing_steps(layout, ledger, erasure):
        step()
    assert (old.exists(), new.exists()) == (False, True)


def test_every_step_can_be_repeated(layout: Layout, ledger: Ledger) -> None:
    """A run that was killed is finished by doing all of it again."""
    stored = store_set(layout)
    store_examples(layout)
    store(layout, "reports", [{"report_id": f"b/{TRAINED}", "patient_key": TRAINED, "batch": "b"}], "b")
    erasure = _erase(layout, ledger, TRAINED)
    before = sorted(path.name for path in stored.folder.iterdir())
    assert [dict(step()) for _, step in erasing_steps(layout, ledger, erasure)][:4] == [{}, {}, {}, {}]
    assert sorted(path.name for path in stored.folder.iterdir()) == before
