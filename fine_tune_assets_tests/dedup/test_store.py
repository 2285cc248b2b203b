"""What is kept of a batch: only its user may read it, it holds no text, and a report that is gone leaves it."""

from pathlib import Path

import numpy as np
from safetensors import safe_open

from fine_tune_assets.core.progress import silent
from fine_tune_assets.dedup.duplicates import find_duplicates
from fine_tune_assets.dedup.store import BANDS, SKETCHES, VECTORS, Store
from fine_tune_assets_tests.dedup.test_duplicates import SETTINGS, Meaning, reports_of

TEXTS = {"b/1": "plantedword knee hurts since monday", "b/2": "cough and fever without a reason", "b/3": "well"}


def _stored(folder: Path) -> tuple[Store, Meaning]:
    store, meaning = Store(folder), Meaning()
    find_duplicates(reports_of(TEXTS), SETTINGS, silent, meaning, "v", store)
    return store, meaning


def test_files_are_their_users_alone_and_hold_no_word(tmp_path: Path) -> None:
    _stored(tmp_path / "dedup")
    files = sorted((tmp_path / "dedup").iterdir())
    assert len(files) == 3
    assert (tmp_path / "dedup").stat().st_mode & 0o777 == 0o700
    for file in files:
        assert file.stat().st_mode & 0o777 == 0o600
        assert b"planted" not in file.read_bytes()
        assert b"b/1" not in file.read_bytes()


def test_a_report_that_is_gone_leaves_every_file_with_the_next_run_and_the_vectors_of_others_stay(
    tmp_path: Path,
) -> None:
    """It was held back: what was computed of it must go too. Embedding all others again would take an hour."""
    store, meaning = _stored(tmp_path / "dedup")
    left = reports_of({i: text for i, text in TEXTS.items() if i != "b/1"})
    made = find_duplicates(left, SETTINGS, silent, meaning, "v", store).made
    assert made == {"sketches": 2, "signatures": 2, "vectors": 0}
    assert meaning.asked == 3
    rows = {path.name.split(".")[1]: _rows(path) for path in (tmp_path / "dedup").iterdir()}
    assert rows == {SKETCHES: 2, BANDS: 2, VECTORS: 2}


def test_of_a_batch_that_is_gone_nothing_stays(tmp_path: Path) -> None:
    store, meaning = _stored(tmp_path / "dedup")
    before = set((tmp_path / "dedup").iterdir())
    other = reports_of({"b/9": "another"})
    find_duplicates(other.set_column(1, "batch", [["c"]]).cast(other.schema), SETTINGS, silent, meaning, "v", store)
    assert before.isdisjoint((tmp_path / "dedup").iterdir())


def test_vectors_go_when_meaning_is_not_compared(tmp_path: Path) -> None:
    """Nothing would ask for them again, so a report that is withheld later would stay in them."""
    store, _ = _stored(tmp_path / "dedup")
    find_duplicates(reports_of(TEXTS), SETTINGS, silent, kept=store)
    assert {path.name.split(".")[1] for path in (tmp_path / "dedup").iterdir()} == {SKETCHES, BANDS}


def _rows(path: Path) -> int:
    """Of how many reports a file holds something."""
    per_report = {SKETCHES: "exact", BANDS: "bands", VECTORS: "texts"}
    with safe_open(path, framework="np") as file:
        return len(file.get_tensor(per_report[path.name.split(".")[1]]))


def test_another_version_or_a_damaged_file_counts_as_absent(tmp_path: Path) -> None:
    store = Store(tmp_path / "dedup")
    store.write("b", SKETCHES, "1", {"exact": np.zeros((1, 2), np.uint64)})
    assert store.read("b", SKETCHES, "2") is None
    assert store.read("b", SKETCHES, "1") is not None
    (file,) = (tmp_path / "dedup").iterdir()
    file.write_bytes(b"cut")
    assert store.read("b", SKETCHES, "1") is None
    store.write("b", SKETCHES, "1", {"exact": np.ones((1, 2), np.uint64)})
    assert store.read("b", SKETCHES, "1") is not None, "what is made again is written over it"
