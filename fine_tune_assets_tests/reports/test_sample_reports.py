"""The unchanged sample has public keys, so that every machine makes the same of it; everything else has secret ones."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.sample_subjects import is_sample_subject, sample_subject_key
from fine_tune_assets.instructions.splits import split_of
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import read_batch
from fine_tune_assets.reports.batches import list_batches
from fine_tune_assets.reports.identifiers import patient_key
from fine_tune_assets.reports.patient_files import files_of_batches
from fine_tune_assets.reports.sample_reports import SAMPLE_LIST, list_sample, sample_list
from fine_tune_assets.reports.unreadable_files import Reason

SAMPLE = PROJECT_DIR / "data" / "raw_reports"
NOTES = "2026-01-visit-notes"
ONE, OTHER = b"1" * 32, b"2" * 32


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A copy of a batch of the sample, in which one patient has two reports: D2N015 and its amended form."""
    return Path(shutil.copytree(SAMPLE / NOTES, tmp_path / NOTES))


def read(folder: Path, secret: bytes = ONE) -> pa.Table:
    return read_batch(folder, folder.name, secret, ReadLimits()).reports


def keys(folder: Path, secret: bytes = ONE) -> dict[str, str]:
    return dict(zip(*(read(folder, secret)[name].to_pylist() for name in ("report_id", "patient_key")), strict=True))


def test_the_list_is_that_of_the_sample() -> None:
    """After a change of the sample or of a reader: make sample-list."""
    assert SAMPLE_LIST.read_text(encoding="utf-8").split() == list_sample(SAMPLE)


@pytest.mark.parametrize("batch", list_batches(SAMPLE))
def test_two_installations_read_the_same_of_the_sample_and_split_it_alike(batch: str) -> None:
    """Keys among all the rest: then all that is drawn by them is the same too."""
    one, other = (read(SAMPLE / batch, secret) for secret in (ONE, OTHER))
    assert fingerprint_table(one) == fingerprint_table(other)
    assert all(is_sample_subject(key) for key in one["patient_key"].to_pylist())


def test_no_subject_of_the_sample_is_in_two_batches() -> None:
    """Whether a subject is the sample's is decided batch by batch."""
    found = [set(read(SAMPLE / batch)["patient_key"].to_pylist()) for batch in list_batches(SAMPLE)]
    assert len(set().union(*found)) == sum(map(len, found))


def test_the_sample_fills_every_split_of_the_demo() -> None:
    """With the installation's own key a split was empty or small now and then, by luck."""
    rule = load_recipe("demo_smollm2").split
    subjects = {key for batch in list_batches(SAMPLE) for key in read(SAMPLE / batch)["patient_key"].to_pylist()}
    splits = [split_of(key, rule.salt, rule.validation_fraction, rule.test_fraction) for key in subjects]
    assert splits.count("validation") >= 10
    assert splits.count("test") >= 60


def test_a_subject_with_a_changed_report_has_a_secret_key_for_all_of_them(notes: Path) -> None:
    """Both of its reports: a subject in two splits would be trained and tested on."""
    before = keys(notes)
    (notes / "D2N015.txt").write_text((notes / "D2N015.txt").read_text() + "\nA new line.\n")
    after, elsewhere = keys(notes), keys(notes, OTHER)
    changed = {report_id for report_id, key in after.items() if key != before[report_id]}
    assert changed == {f"{NOTES}/D2N015", f"{NOTES}/D2N015-amended"}
    assert len({after[report_id] for report_id in changed}) == 1
    assert not any(is_sample_subject(after[report_id]) for report_id in changed)
    assert {report_id for report_id in after if after[report_id] != elsewhere[report_id]} == changed


@pytest.mark.parametrize("change", ["patient_name: Somebody Else", "patient_id: VA049"])
def test_other_metadata_is_another_report(notes: Path, change: str) -> None:
    """The scrubber looks for what the metadata states, so the texts would not be the same."""
    path, name = notes / "D2N015.txt", change.partition(":")[0]
    lines = [change if line.startswith(f"{name}:") else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")
    assert not is_sample_subject(keys(notes)[f"{NOTES}/D2N015"])


def test_a_subject_that_is_not_of_the_sample_has_a_secret_key(tmp_path: Path, notes: Path) -> None:
    """Also with the id of one that is, in the batch beside it, or with its very text in another batch."""
    (notes / "own.txt").write_text("---\npatient_id: '7'\n---\nPLAN\n\nRest.\n")
    assert keys(notes)[f"{NOTES}/own"] == patient_key(ONE, "7")
    copied = tmp_path / "2027-01"
    copied.mkdir()
    shutil.copy(SAMPLE / NOTES / "D2N001.txt", copied)
    assert keys(copied)["2027-01/D2N001"] == patient_key(ONE, "VA049")


def test_a_report_that_is_added_for_a_subject_of_the_sample_makes_its_key_secret(notes: Path) -> None:
    """It counts as the sample's only if all its reports are."""
    (notes / "own.txt").write_text("---\npatient_id: VA049\n---\nPLAN\n\nRest.\n")
    found = keys(notes)
    assert found[f"{NOTES}/own"] == found[f"{NOTES}/D2N001"] == patient_key(ONE, "VA049")


def test_the_raw_files_of_a_subject_of_the_sample_are_found_by_its_public_key(notes: Path) -> None:
    """Else an erasure would leave them."""
    found, faults = files_of_batches([notes], ONE, sample_subject_key("VA049"), ReadLimits())
    assert ([path.name for path in found.own], faults) == (["D2N001.txt"], [])


@pytest.mark.parametrize("is_changed", [False, True])
def test_an_erased_subject_of_the_sample_stays_out_when_its_report_is_changed(notes: Path, is_changed: bool) -> None:
    """Its key is another one then, and the tombstone has the old one."""
    if is_changed:
        (notes / "D2N001.txt").write_text("---\npatient_id: VA049\n---\nPLAN\n\nRest.\n")
    reading = read_batch(notes, NOTES, ONE, ReadLimits(), erased={sample_subject_key("VA049")})
    assert f"{NOTES}/D2N001" not in reading.reports["report_id"].to_pylist()
    assert Reason.ERASED_PATIENT.value in reading.unreadable["reason"].to_pylist()


def test_no_fingerprint_of_the_list_stands_twice() -> None:
    """Two reports with one would be one report."""
    assert len(sample_list()) == len(SAMPLE_LIST.read_text(encoding="utf-8").split())
