"""Which raw files may go with a patient: only those that hold nobody else and nothing that could not be read."""

import zipfile
from pathlib import Path

import pytest

from fine_tune_assets.core.fingerprints import keyed_hash
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import read_batch
from fine_tune_assets.reports.patient_files import PatientFiles, SharedFile, files_of_batches
from fine_tune_assets.reports.unreadable_files import Reason

SECRET = b"k" * 32
KEY = keyed_hash(SECRET, "7")
BATCH_FILE = "records:\n  patient_id: who\n  sections: {what: PLAN}\n"


def _note(patient: str) -> str:
    return f"---\npatient_id: '{patient}'\n---\nPLAN\n\nRest.\n"


def _look(folder: Path) -> PatientFiles:
    found, faults = files_of_batches([folder], SECRET, KEY, ReadLimits())
    assert faults == []
    return found


def test_a_file_of_the_patient_alone_may_go_with_its_sidecar(tmp_path: Path) -> None:
    """The sidecar states who the patient is."""
    (tmp_path / "a.txt").write_text("PLAN\n\nRest.\n")
    (tmp_path / "a.yaml").write_text("patient_id: '7'\n")
    (tmp_path / "b.txt").write_text(_note("8"))
    found = _look(tmp_path)
    assert {path.name for path in found.own} == {"a.txt", "a.yaml"}
    assert found.shared == ()


def test_a_file_with_other_patients_or_unreadable_records_is_named_and_left(tmp_path: Path) -> None:
    """Removing it would lose reports of others; what can't be read may be theirs too."""
    (tmp_path / "batch.yaml").write_text(BATCH_FILE)
    (tmp_path / "mixed.jsonl").write_text(
        '{"who": "8", "what": "a"}\n{"who": "7", "what": "b"}\n{"who": "7", "what": "c"}\n'
    )
    (tmp_path / "torn.jsonl").write_text('{"who": "7", "what": "d"}\n{"who": \n')
    found = _look(tmp_path)
    assert found.own == ()
    assert found.shared == (
        SharedFile(tmp_path.name, "mixed.jsonl", (2, 3)),
        SharedFile(tmp_path.name, "torn.jsonl", (1,)),
    )


@pytest.mark.parametrize(("others", "is_own"), [([], True), (["b.txt"], False), ([".hidden"], False)])
def test_an_archive_may_go_if_every_entry_is_a_report_of_the_patient(
    tmp_path: Path, others: list[str], is_own: bool
) -> None:
    """An entry that is not read, such as a hidden one, was looked into by nobody."""
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("a.txt", _note("7"))
        for name in others:
            archive.writestr(name, _note("8"))
    found = _look(tmp_path)
    assert [path.name for path in found.own] == (["all.zip"] if is_own else [])
    assert [shared.file for shared in found.shared] == ([] if is_own else ["all.zip/a.txt"])


def test_a_sidecar_of_two_files_stays(tmp_path: Path) -> None:
    """The other file would lose its patient."""
    (tmp_path / "a.txt").write_text(_note("7"))
    (tmp_path / "a.md").write_text("PLAN\n\nRest.\n")
    (tmp_path / "a.yaml").write_text("patient_id: '8'\n")
    assert [path.name for path in _look(tmp_path).own] == ["a.txt"]


def test_a_batch_that_cannot_be_looked_through_is_told_and_costs_only_itself(tmp_path: Path) -> None:
    """Nothing may be called removed that nobody looked at."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    for folder in (good, bad):
        folder.mkdir()
        (folder / "a.txt").write_text(_note("7"))
    (bad / "batch.yaml").write_text("unknown_key: 1\n")
    found, faults = files_of_batches([bad, good, tmp_path / "gone"], SECRET, KEY, ReadLimits())
    assert [path.parent.name for path in found.own] == ["good"]
    assert len(faults) == 2
    assert "batch.yaml" in faults[0]


def test_reports_of_erased_patients_are_refused_and_named(tmp_path: Path) -> None:
    """The tombstone: it holds for whatever arrives later, and says where it lies, without text."""
    (tmp_path / "batch.yaml").write_text(BATCH_FILE)
    (tmp_path / "mixed.jsonl").write_text('{"who": "8", "what": "a"}\n{"who": "7", "what": "Zyx"}\n')
    reading = read_batch(tmp_path, "b1", SECRET, ReadLimits(), erased={KEY})
    assert reading.reports.num_rows == 1
    (refused,) = reading.unreadable.to_pylist()
    assert (refused["reason"], refused["origin_file"], refused["record"]) == (Reason.ERASED_PATIENT, "mixed.jsonl", 2)
    assert "Zyx" not in str(refused)
    assert reading.accounting.is_balanced


def test_an_id_that_an_erased_patients_report_had_is_free_again(tmp_path: Path) -> None:
    """Another patient's report must not be quarantined for a report that is not there."""
    for name, patient in (("a", "7"), ("b", "8")):
        text = f"---\npatient_id: '{patient}'\nreport_id: same\n---\nPLAN\n\nRest.\n"
        (tmp_path / f"{name}.txt").write_text(text)
    assert read_batch(tmp_path, "b1", SECRET, ReadLimits(), erased={KEY}).reports.num_rows == 1
    assert read_batch(tmp_path, "b1", SECRET, ReadLimits()).unreadable["reason"].to_pylist() == [Reason.DUPLICATE_ID]


def test_a_key_of_nobody_finds_no_file(tmp_path: Path) -> None:
    """Files of others are not even named."""
    (tmp_path / "a.txt").write_text(_note("8"))
    assert _look(tmp_path) == PatientFiles((), (), ())
