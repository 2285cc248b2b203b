"""Erasure beyond tables and sets: marks on releases, training records, caches, unfinished files."""

import os
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.erasures import Erasure, list_release_marks, record_erasure
from fine_tune_assets.lineage.erasure import build_erasure_steps, find_subject_ids
from fine_tune_assets.lineage.final_text_findings import read_newest_findings, write_findings
from fine_tune_assets.lineage.set_history import read_excluded_examples, write_excluded_examples
from fine_tune_assets.lineage.training_runs import list_training_runs, record_training_run
from fine_tune_assets.tables.instruction_rows import ExcludedExample, FinalTextFinding
from fine_tune_assets_tests.ledger.ledger_rows import record_promoted
from fine_tune_assets_tests.lineage.stored_data import TESTED, TRAINED, example_of, store, store_examples, store_set


def _erase(layout: Layout, ledger: Ledger, subject: str) -> Erasure:
    ids = find_subject_ids(layout, subject)
    erasure = record_erasure(ledger, subject_key=subject, by="officer", reason="Art. 17", ids=ids)
    for _, step in build_erasure_steps(layout, ledger, erasure):
        step()
    return erasure


def test_every_release_that_used_a_subject_is_marked_even_through_an_erased_set(layout: Layout, ledger: Ledger) -> None:
    """Two subjects of one set, one after the other; a release of another set used neither."""
    stored = store_set(layout)
    for release_id, fingerprint in (("r-1", stored.fingerprint), ("r-2", "f" * 64)):
        record_promoted(ledger, release_id, instruction_set_fingerprint=fingerprint)
    for subject in (TRAINED, TESTED):
        _erase(layout, ledger, subject)
    assert [(m.subject_key, m.split) for m in list_release_marks(ledger, "r-1")] == [
        (TRAINED, "train"),
        (TESTED, "test"),
    ]
    assert list_release_marks(ledger, "r-2") == []


def test_training_records_forget_the_examples(layout: Layout, ledger: Ledger) -> None:
    """The list of examples that were too long names examples."""
    stored = store_set(layout)
    record_training_run(layout.adapters, "a-1", stored.fingerprint, [example_of(TRAINED), example_of(TESTED)])
    _erase(layout, ledger, TRAINED)
    (training,) = list_training_runs(layout, ledger)
    assert training.excluded_too_long == (example_of(TESTED),)


def test_exclusion_records_forget_the_subjects_examples_and_their_duplicates(layout: Layout, ledger: Ledger) -> None:
    """A set without the subject may still name their example; other rows stay."""
    store_set(layout)
    other = ExcludedExample(example_id="e-other", reason="its report has no date")
    rows = [
        ExcludedExample(example_id=example_of(TRAINED), reason="exactly the same example as e-other"),
        ExcludedExample(example_id="e-same", reason=f"exactly the same example as {example_of(TRAINED)}"),
        other,
    ]
    write_excluded_examples(layout.instruction_sets, "9" * 64, rows)
    _erase(layout, ledger, TRAINED)
    assert read_excluded_examples(layout.instruction_sets, "9" * 64) == [other]


def test_findings_in_final_texts_forget_the_subjects_examples(layout: Layout, ledger: Ledger) -> None:
    """Which example of an erased patient seemed to contain a name is about that patient."""
    store_set(layout)
    erased, other = (
        FinalTextFinding(example_id=example_id, fingerprint="f", kind="NAME", part="output", start=0, end=3)
        for example_id in (example_of(TRAINED), "e-other")
    )
    write_findings(layout.instruction_sets, "9" * 64, [erased, other])
    _erase(layout, ledger, TRAINED)
    assert read_newest_findings(layout.instruction_sets) == [other]


def test_caches_lose_rows_or_are_deleted_except_the_scrubbers(layout: Layout, ledger: Ledger) -> None:
    """A file whose rows have no subject might contain the subject's data."""
    rows = store_examples(layout)
    report_id = next(row["report_id"] for row in rows if row["subject_key"] == TRAINED)
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


def test_unfinished_files_from_before_the_tombstone_are_deleted(layout: Layout, ledger: Ledger) -> None:
    """Interrupted runs leave text in temporary files; newer ones are written without the subject."""
    store_examples(layout)
    old, new = (layout.tables / "reports" / name for name in (".b.parquet.1.tmp", ".b.parquet.2.tmp"))
    old.parent.mkdir(parents=True)
    for path in (old, new):
        path.write_text("text")
    ids = find_subject_ids(layout, TRAINED)
    erasure = record_erasure(ledger, subject_key=TRAINED, by="officer", reason="Art. 17", ids=ids)
    for path, after in ((old, -60), (new, 60)):
        at = (erasure.erased_at + timedelta(seconds=after)).timestamp()
        os.utime(path, (at, at))
    for _, step in build_erasure_steps(layout, ledger, erasure):
        step()
    assert (old.exists(), new.exists()) == (False, True)


def test_every_step_can_be_repeated(layout: Layout, ledger: Ledger) -> None:
    """An interrupted erasure is resumed by repeating it."""
    stored = store_set(layout)
    store_examples(layout)
    store(layout, "reports", [{"report_id": f"b/{TRAINED}", "subject_key": TRAINED, "batch": "b"}], "b")
    erasure = _erase(layout, ledger, TRAINED)
    before = sorted(path.name for path in stored.folder.iterdir())
    assert [dict(step()) for _, step in build_erasure_steps(layout, ledger, erasure)][:4] == [{}, {}, {}, {}]
    assert sorted(path.name for path in stored.folder.iterdir()) == before
