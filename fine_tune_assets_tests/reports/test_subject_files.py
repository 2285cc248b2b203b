"""An erasure may delete only raw files that contain nothing of other subjects and nothing unreadable."""

import zipfile
from pathlib import Path

import pytest

from fine_tune_assets.core.fingerprints import keyed_hash
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import read_batch
from fine_tune_assets.reports.stated_identifiers import make_subject_key, own_subject
from fine_tune_assets.reports.subject_files import SharedFile, SubjectFiles, find_files_in_batches
from fine_tune_assets.reports.unreadable_files import UnreadableReason

SECRET = b"k" * 32
KEY = keyed_hash(SECRET, "7")
BATCH_FILE = "records:\n  subject_id: who\n  sections: {what: PLAN}\n"


def _note(subject: str) -> str:
    return f"---\nsubject_id: '{subject}'\n---\nPLAN\n\nRest.\n"


def _search(folder: Path) -> SubjectFiles:
    files, errors = find_files_in_batches([folder], SECRET, KEY, ReadLimits())
    assert errors == []
    return files


def test_an_exclusive_file_is_deletable_with_its_sidecar(tmp_path: Path) -> None:
    """The sidecar identifies the subject."""
    (tmp_path / "a.txt").write_text("PLAN\n\nRest.\n")
    (tmp_path / "a.yaml").write_text("subject_id: '7'\n")
    (tmp_path / "b.txt").write_text(_note("8"))
    files = _search(tmp_path)
    assert {path.name for path in files.exclusive} == {"a.txt", "a.yaml"}
    assert files.shared == ()


def test_a_file_with_other_subjects_or_unreadable_records_is_only_reported(tmp_path: Path) -> None:
    """Deleting it would lose reports of others, possibly including the unreadable records."""
    (tmp_path / "batch.yaml").write_text(BATCH_FILE)
    (tmp_path / "mixed.jsonl").write_text(
        '{"who": "8", "what": "a"}\n{"who": "7", "what": "b"}\n{"who": "7", "what": "c"}\n'
    )
    (tmp_path / "torn.jsonl").write_text('{"who": "7", "what": "d"}\n{"who": \n')
    files = _search(tmp_path)
    assert files.exclusive == ()
    assert files.shared == (
        SharedFile(tmp_path.name, "mixed.jsonl", (2, 3)),
        SharedFile(tmp_path.name, "torn.jsonl", (1,)),
    )


@pytest.mark.parametrize(("others", "is_own"), [([], True), (["b.txt"], False), ([".hidden"], False)])
def test_an_archive_is_deletable_if_every_entry_is_a_report_of_the_subject(
    tmp_path: Path, others: list[str], is_own: bool
) -> None:
    """Entries that are not read, such as hidden ones, could contain anything."""
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("a.txt", _note("7"))
        for name in others:
            archive.writestr(name, _note("8"))
    files = _search(tmp_path)
    assert [path.name for path in files.exclusive] == (["all.zip"] if is_own else [])
    assert [shared.file for shared in files.shared] == ([] if is_own else ["all.zip/a.txt"])


def test_a_sidecar_shared_by_two_files_stays(tmp_path: Path) -> None:
    """The other file would lose its subject."""
    (tmp_path / "a.txt").write_text(_note("7"))
    (tmp_path / "a.md").write_text("PLAN\n\nRest.\n")
    (tmp_path / "a.yaml").write_text("subject_id: '8'\n")
    assert [path.name for path in _search(tmp_path).exclusive] == ["a.txt"]


def test_a_batch_that_cannot_be_searched_is_reported(tmp_path: Path) -> None:
    """An erasure must not claim more than it searched."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    for folder in (good, bad):
        folder.mkdir()
        (folder / "a.txt").write_text(_note("7"))
    (bad / "batch.yaml").write_text("unknown_key: 1\n")
    files, errors = find_files_in_batches([bad, good, tmp_path / "gone"], SECRET, KEY, ReadLimits())
    assert [path.parent.name for path in files.exclusive] == ["good"]
    assert len(errors) == 2
    assert "batch.yaml" in errors[0]


def test_reports_of_erased_subjects_are_rejected_with_their_location(tmp_path: Path) -> None:
    """The erasure applies to everything that arrives later, without quoting text."""
    (tmp_path / "batch.yaml").write_text(BATCH_FILE)
    (tmp_path / "mixed.jsonl").write_text('{"who": "8", "what": "a"}\n{"who": "7", "what": "Zyx"}\n')
    reading = read_batch(tmp_path, "b1", SECRET, ReadLimits(), erased_subjects={KEY})
    assert reading.reports.num_rows == 1
    (refused,) = reading.unreadable.to_pylist()
    assert (refused["reason"], refused["origin_file"], refused["record"]) == (
        UnreadableReason.ERASED_SUBJECT,
        "mixed.jsonl",
        2,
    )
    assert "Zyx" not in str(refused)
    assert reading.file_counts.is_balanced


def test_the_report_id_of_an_erased_subject_can_be_reused(tmp_path: Path) -> None:
    """Another subject's report must not count as a duplicate of a report that was removed."""
    for name, subject in (("a", "7"), ("b", "8")):
        text = f"---\nsubject_id: '{subject}'\nreport_id: same\n---\nPLAN\n\nRest.\n"
        (tmp_path / f"{name}.txt").write_text(text)
    assert read_batch(tmp_path, "b1", SECRET, ReadLimits(), erased_subjects={KEY}).reports.num_rows == 1
    assert read_batch(tmp_path, "b1", SECRET, ReadLimits()).unreadable["reason"].to_pylist() == [
        UnreadableReason.DUPLICATE_ID
    ]


def test_an_unknown_key_finds_no_file(tmp_path: Path) -> None:
    """Files of others are not even named."""
    (tmp_path / "a.txt").write_text(_note("8"))
    assert _search(tmp_path) == SubjectFiles((), (), ())


def test_the_file_of_a_report_without_a_subject_is_found_by_its_id(tmp_path: Path) -> None:
    """Such a report is its own subject, and its raw file must be erased with it."""
    (tmp_path / "a.txt").write_text("PLAN\n\nRest.\n")
    (tmp_path / "b.txt").write_text("PLAN\n\nWalk.\n")
    key = make_subject_key(SECRET, own_subject(f"{tmp_path.name}/a"))
    files, errors = find_files_in_batches([tmp_path], SECRET, key, ReadLimits())
    assert ([path.name for path in files.exclusive], files.shared, errors) == (["a.txt"], (), [])
