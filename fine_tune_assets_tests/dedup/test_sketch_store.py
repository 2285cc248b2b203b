"""Stored results are private to their owner, contain no text, and lose removed reports."""

from pathlib import Path

import numpy as np
from safetensors import safe_open

from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.dedup.duplicates import find_duplicates
from fine_tune_assets.dedup.sketch_store import BANDS, SKETCHES, VECTORS, FileStore
from fine_tune_assets_tests.dedup.scrubbed_texts import SETTINGS, Meaning, reports_of

TEXTS = {"b/1": "plantedword knee hurts since monday", "b/2": "cough and fever without a reason", "b/3": "well"}


def _stored(folder: Path) -> tuple[FileStore, Meaning]:
    store, meaning = FileStore(folder), Meaning()
    find_duplicates(reports_of(TEXTS), SETTINGS, ignore_progress, meaning, "v", store)
    return store, meaning


def test_files_are_private_and_contain_no_text(tmp_path: Path) -> None:
    _stored(tmp_path / "dedup")
    files = sorted((tmp_path / "dedup").iterdir())
    assert len(files) == 3
    assert (tmp_path / "dedup").stat().st_mode & 0o777 == 0o700
    for file in files:
        assert file.stat().st_mode & 0o777 == 0o600
        assert b"planted" not in file.read_bytes()
        assert b"b/1" not in file.read_bytes()


def test_the_next_run_removes_a_missing_report_and_keeps_other_vectors(
    tmp_path: Path,
) -> None:
    """The report was withheld, so its results must go too. Encoding all others again would take an hour."""
    store, meaning = _stored(tmp_path / "dedup")
    left = reports_of({i: text for i, text in TEXTS.items() if i != "b/1"})
    made = find_duplicates(left, SETTINGS, ignore_progress, meaning, "v", store).computed
    assert made == {"sketches": 2, "signatures": 2, "vectors": 0}
    assert meaning.encoded == 3
    rows = {path.name.split(".")[1]: _rows(path) for path in (tmp_path / "dedup").iterdir()}
    assert rows == {SKETCHES: 2, BANDS: 2, VECTORS: 2}


def test_nothing_of_a_removed_batch_stays(tmp_path: Path) -> None:
    store, meaning = _stored(tmp_path / "dedup")
    before = set((tmp_path / "dedup").iterdir())
    other = reports_of({"b/9": "another"})
    find_duplicates(
        other.set_column(1, "batch", [["c"]]).cast(other.schema), SETTINGS, ignore_progress, meaning, "v", store
    )
    assert before.isdisjoint((tmp_path / "dedup").iterdir())


def test_vectors_are_removed_without_semantic_comparison(tmp_path: Path) -> None:
    """Without use they would not be pruned, so a report withheld later would remain in them."""
    store, _ = _stored(tmp_path / "dedup")
    find_duplicates(reports_of(TEXTS), SETTINGS, ignore_progress, store=store)
    assert {path.name.split(".")[1] for path in (tmp_path / "dedup").iterdir()} == {SKETCHES, BANDS}


def _rows(path: Path) -> int:
    """Number of reports with results in a file."""
    per_report = {SKETCHES: "exact", BANDS: "bands", VECTORS: "texts"}
    with safe_open(path, framework="np") as file:
        return len(file.get_tensor(per_report[path.name.split(".")[1]]))


def test_another_version_or_a_corrupt_file_counts_as_missing(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "dedup")
    store.write("b", SKETCHES, "1", {"exact": np.zeros((1, 2), np.uint64)})
    assert store.read("b", SKETCHES, "2") is None
    assert store.read("b", SKETCHES, "1") is not None
    (file,) = (tmp_path / "dedup").iterdir()
    file.write_bytes(b"cut")
    assert store.read("b", SKETCHES, "1") is None
    store.write("b", SKETCHES, "1", {"exact": np.ones((1, 2), np.uint64)})
    assert store.read("b", SKETCHES, "1") is not None, "the recomputed file replaces the corrupt one"
