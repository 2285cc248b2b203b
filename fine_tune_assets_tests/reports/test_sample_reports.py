"""Unchanged sample subjects have public keys, so that all machines get the same result; all others have secret keys."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.sample_subjects import is_sample_subject, sample_subject_key
from fine_tune_assets.instructions.splits import assign_split
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import read_batch
from fine_tune_assets.reports.batches import list_batches
from fine_tune_assets.reports.sample_reports import SAMPLE_LIST, list_sample_fingerprints, load_sample_list
from fine_tune_assets.reports.stated_identifiers import make_subject_key
from fine_tune_assets.reports.subject_files import find_files_in_batches
from fine_tune_assets.reports.unreadable_files import UnreadableReason

SAMPLE = PROJECT_DIR / "data" / "raw_reports"
NOTES = "2026-01-visit-notes"
ONE, OTHER = b"1" * 32, b"2" * 32


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A copy of a sample batch in which one subject has two reports: D2N015 and its amended version."""
    return Path(shutil.copytree(SAMPLE / NOTES, tmp_path / NOTES))


def read(folder: Path, secret: bytes = ONE) -> pa.Table:
    return read_batch(folder, folder.name, secret, ReadLimits()).reports


def keys(folder: Path, secret: bytes = ONE) -> dict[str, str]:
    return dict(zip(*(read(folder, secret)[name].to_pylist() for name in ("report_id", "subject_key")), strict=True))


def test_the_fingerprint_list_matches_the_sample() -> None:
    """After changing the sample or a reader, run `make sample-list`."""
    assert SAMPLE_LIST.read_text(encoding="utf-8").split() == list_sample_fingerprints(SAMPLE)


@pytest.mark.parametrize("batch", list_batches(SAMPLE))
def test_two_installations_read_and_split_the_sample_identically(batch: str) -> None:
    """Everything derived from the keys is then the same too."""
    one, other = (read(SAMPLE / batch, secret) for secret in (ONE, OTHER))
    assert fingerprint_table(one) == fingerprint_table(other)
    assert all(is_sample_subject(key) for key in one["subject_key"].to_pylist())


def test_no_sample_subject_is_in_two_batches() -> None:
    """Membership in the sample is decided per batch."""
    keys_by_batch = [set(read(SAMPLE / batch)["subject_key"].to_pylist()) for batch in list_batches(SAMPLE)]
    assert len(set().union(*keys_by_batch)) == sum(map(len, keys_by_batch))


def test_the_sample_fills_every_split_of_the_demo() -> None:
    """With secret keys, a split was sometimes empty or small by chance."""
    rule = load_recipe("demo_smollm2").split
    subjects = {key for batch in list_batches(SAMPLE) for key in read(SAMPLE / batch)["subject_key"].to_pylist()}
    splits = [assign_split(key, rule.salt, rule.validation_fraction, rule.test_fraction) for key in subjects]
    assert splits.count("validation") >= 10
    assert splits.count("test") >= 60


def test_a_subject_with_a_changed_report_has_a_secret_key_for_all_of_them(notes: Path) -> None:
    """Both reports: a subject in two splits would be trained and tested on."""
    before = keys(notes)
    (notes / "D2N015.txt").write_text((notes / "D2N015.txt").read_text() + "\nA new line.\n")
    after, elsewhere = keys(notes), keys(notes, OTHER)
    changed = {report_id for report_id, key in after.items() if key != before[report_id]}
    assert changed == {f"{NOTES}/D2N015", f"{NOTES}/D2N015-amended"}
    assert len({after[report_id] for report_id in changed}) == 1
    assert not any(is_sample_subject(after[report_id]) for report_id in changed)
    assert {report_id for report_id in after if after[report_id] != elsewhere[report_id]} == changed


@pytest.mark.parametrize("change", ["subject_name: Another Name", "subject_id: VA049"])
def test_changed_metadata_makes_the_key_secret(notes: Path, change: str) -> None:
    """The scrubber searches for stated identifiers, so the scrubbed texts would differ."""
    path, name = notes / "D2N015.txt", change.partition(":")[0]
    lines = [change if line.startswith(f"{name}:") else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")
    assert not is_sample_subject(keys(notes)[f"{NOTES}/D2N015"])


def test_a_subject_outside_the_sample_has_a_secret_key(tmp_path: Path, notes: Path) -> None:
    """Even with a sample subject's id in another batch, or with a sample report's text."""
    (notes / "own.txt").write_text("---\nsubject_id: '7'\n---\nPLAN\n\nRest.\n")
    assert keys(notes)[f"{NOTES}/own"] == make_subject_key(ONE, "7")
    copied = tmp_path / "2027-01"
    copied.mkdir()
    shutil.copy(SAMPLE / NOTES / "D2N001.txt", copied)
    assert keys(copied)["2027-01/D2N001"] == make_subject_key(ONE, "VA049")


def test_an_added_report_makes_a_sample_subjects_key_secret(notes: Path) -> None:
    """A subject belongs to the sample only if all its reports do."""
    (notes / "own.txt").write_text("---\nsubject_id: VA049\n---\nPLAN\n\nRest.\n")
    subject_keys = keys(notes)
    assert subject_keys[f"{NOTES}/own"] == subject_keys[f"{NOTES}/D2N001"] == make_subject_key(ONE, "VA049")


def test_raw_files_of_a_sample_subject_are_found_by_its_public_key(notes: Path) -> None:
    """Otherwise an erasure would leave them."""
    files, errors = find_files_in_batches([notes], ONE, sample_subject_key("VA049"), ReadLimits())
    assert ([path.name for path in files.exclusive], errors) == (["D2N001.txt"], [])


@pytest.mark.parametrize("is_changed", [False, True])
def test_an_erased_sample_subject_stays_erased_after_a_change(notes: Path, is_changed: bool) -> None:
    """The change gives the subject another key, but the erasure recorded the public one."""
    if is_changed:
        (notes / "D2N001.txt").write_text("---\nsubject_id: VA049\n---\nPLAN\n\nRest.\n")
    reading = read_batch(notes, NOTES, ONE, ReadLimits(), erased_subjects={sample_subject_key("VA049")})
    assert f"{NOTES}/D2N001" not in reading.reports["report_id"].to_pylist()
    assert UnreadableReason.ERASED_SUBJECT.value in reading.unreadable["reason"].to_pylist()


def test_the_fingerprint_list_has_no_duplicates() -> None:
    """Two reports with the same fingerprint could not be distinguished."""
    assert len(load_sample_list()) == len(SAMPLE_LIST.read_text(encoding="utf-8").split())
