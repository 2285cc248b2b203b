"""What a readable batch becomes: ids, patient keys, identifiers and text, the same every time."""

import json
import unicodedata
from pathlib import Path

import pytest

from fine_tune_assets.core.fingerprints import fingerprint_table, keyed_hash
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import ChangedBatchError, read_batch, read_version
from fine_tune_assets.reports.batches import (
    BatchFolderError,
    NotBatches,
    fingerprint_batch,
    list_batches,
    list_files,
    list_not_batches,
)
from fine_tune_assets.reports.rules_version import reader_version, version_of_rules
from fine_tune_assets.tables.records import check_table
from fine_tune_assets.tables.reports import Report, UnreadableReport

SECRET = b"k" * 32
SAMPLE = PROJECT_DIR / "data" / "raw_reports"


def test_front_matter_becomes_patient_key_and_known_identifiers(tmp_path: Path) -> None:
    """They are what removes a rare name for certain, and they must be exactly as written: 0123 is not a number."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "n.md").write_bytes(
        b"\xef\xbb\xbf---\r\npatient_id: 0123\r\npatient_name: Martha Collins\r\nage: 91\r\nbirth_date: 1950-03-02\r\n"
        b"physician: [A. Moore, B. Lee]\r\nidentifiers: {url: example.org}\r\n---\r\nPLAN\r\n\r\nRest.\r\n"
    )
    (row,) = read_batch(tmp_path, "b1", SECRET, ReadLimits()).reports.to_pylist()
    assert row["report_id"] == "b1/sub/n"
    assert row["source"] == "unknown"
    assert row["patient_key"] == keyed_hash(SECRET, "0123")
    assert row["text"] == "PLAN\n\nRest.\n"
    assert [(i["kind"], i["value"]) for i in row["known_identifiers"]] == [
        ("id", "0123"),
        ("name", "Martha Collins"),
        ("age", "91"),
        ("date", "1950-03-02"),
        ("name", "A. Moore"),
        ("name", "B. Lee"),
        ("url", "example.org"),
    ]


def test_a_patient_without_an_id_is_known_by_the_name_however_it_is_typed(tmp_path: Path) -> None:
    """Otherwise one patient's reports land in train and test, and the test measures memory."""
    for number, name in enumerate(["Martha Collins", "martha  COLLINS "]):
        (tmp_path / f"{number}.txt").write_text(f"---\npatient_name: {name}\n---\nRest.\n")
    keys = read_batch(tmp_path, "b1", SECRET, ReadLimits()).reports.column("patient_key").to_pylist()
    assert keys[0] == keys[1]


def test_columns_become_sections_in_the_order_of_the_batch_file(tmp_path: Path) -> None:
    """The recipe's tasks find their input and output by these headings."""
    (tmp_path / "batch.yaml").write_text(
        "source: s\nrecords: {patient_id: p, identifiers: {who: name}, sections: {talk: DIALOGUE, note: SECTION}}\n"
    )
    (tmp_path / "v.csv").write_text("p,note,talk,who,more\n1,Well.,\u2028Hi,Ann Lee,x\n")
    (row,) = read_batch(tmp_path, "b1", SECRET, ReadLimits()).reports.to_pylist()
    assert (row["report_id"], row["source"]) == ("b1/v-1", "s")
    assert row["text"] == "DIALOGUE\n\nHi\n\nSECTION\n\nWell.\n"
    assert row["known_identifiers"] == [{"kind": "id", "value": "1"}, {"kind": "name", "value": "Ann Lee"}]


@pytest.mark.parametrize(
    ("batch", "reports", "unreadable", "source"),
    [
        ("2026-01-visit-notes", 26, 1, "aci-bench"),
        ("2026-02-dialogues", 260, 0, "mts-dialog"),
        ("2026-03-dialogues", 49, 0, "mts-dialog"),
        ("2026-04-primary-care", 8, 0, "primock57"),
    ],
)
def test_every_shipped_batch_is_read_the_same_twice(batch: str, reports: int, unreadable: int, source: str) -> None:
    """An order that changes would change fingerprints and start all that follows again."""
    first, second = (read_batch(SAMPLE / batch, batch, SECRET, ReadLimits()) for _ in range(2))
    assert (first.reports.num_rows, first.unreadable.num_rows) == (reports, unreadable)
    assert set(first.reports.column("source").to_pylist()) == {source}
    assert fingerprint_table(first.reports) == fingerprint_table(second.reports)
    check_table(first.reports, Report.SCHEMA)
    check_table(first.unreadable, UnreadableReport.SCHEMA)


def test_unfinished_hidden_and_ill_named_folders_are_no_batches(tmp_path: Path) -> None:
    """A folder that is still being copied would be read half."""
    for name in ["b-2", "a_1.x", ".hidden", "c.partial", "with space", "ünicode"]:
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("")
    assert list_batches(tmp_path) == ["a_1.x", "b-2"]
    assert list_batches(tmp_path / "absent") == []
    assert list_not_batches(tmp_path) == NotBatches(folders=("c.partial", "with space", "ünicode"), files=1)
    assert list_not_batches(tmp_path / "absent") == NotBatches(folders=(), files=0)


def test_the_fingerprint_follows_content_and_nothing_else(tmp_path: Path) -> None:
    """Rewriting a file with the same content must start nothing; a changed one must."""
    (tmp_path / "a.txt").write_text("one")
    before = fingerprint_batch(tmp_path)
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / ".swp").write_text("editor")
    (tmp_path / "SOURCE.md").write_text("about")
    (tmp_path / "b.partial").write_text("half")
    assert fingerprint_batch(tmp_path) == before
    (tmp_path / "batch.yaml").write_text("source: x")
    changed = fingerprint_batch(tmp_path)
    (tmp_path / "a.txt").write_text("two")
    assert len({before, changed, fingerprint_batch(tmp_path)}) == 3


def test_a_fingerprint_survives_links_and_folders_that_are_gone(tmp_path: Path) -> None:
    """The sensor takes it every few seconds, also while someone moves files."""
    (tmp_path / "dangling.txt").symlink_to(tmp_path / "nowhere")
    assert len(fingerprint_batch(tmp_path)) == 64
    assert len(fingerprint_batch(tmp_path / "gone")) == 64


REPORT = "---\npatient_id: p\n---\nRest.\n"


def test_the_version_of_a_reading_is_that_of_its_folder(tmp_path: Path) -> None:
    """Otherwise an unchanged batch would be refused as a changed one, for ever."""
    (tmp_path / "batch.yaml").write_text("source: s\n")
    (tmp_path / "good.txt").write_text(REPORT)
    (tmp_path / "blank.txt").write_text(" \n")
    (tmp_path / "scan.pdf").write_bytes(b"%PDF")
    (tmp_path / "large.txt").write_text(REPORT * 100)
    (tmp_path / "link.txt").symlink_to(tmp_path / "good.txt")
    (tmp_path / "SOURCE.md").write_text("about")
    limits = ReadLimits(largest_file_bytes=1000)
    reading = read_version(tmp_path, "b1", SECRET, limits, fingerprint_batch(tmp_path), erased=())
    assert reading.version == fingerprint_batch(tmp_path)
    (tmp_path / "batch.yaml").write_text("colour: red\n")
    assert read_batch(tmp_path, "b1", SECRET, limits).version == fingerprint_batch(tmp_path)


@pytest.mark.parametrize("meanwhile", [None, "", REPORT[:-4]], ids=["away", "emptied", "half written"])
def test_a_file_that_is_itself_again_after_the_reading_does_not_hide_what_was_read(
    tmp_path: Path, meanwhile: str | None
) -> None:
    """A look at the folder before and one after would see no difference, and half a report would be kept for ever."""
    file = tmp_path / "visit.txt"
    file.write_text(REPORT)
    files, before = list_files(tmp_path), fingerprint_batch(tmp_path)
    file.unlink() if meanwhile is None else file.write_text(meanwhile)
    reading = read_batch(tmp_path, "b1", SECRET, ReadLimits(), files=files)
    file.write_text(REPORT)
    assert fingerprint_batch(tmp_path) == before
    assert reading.version != before


def test_another_version_than_the_one_asked_for_is_refused(tmp_path: Path) -> None:
    """It would be stored under a wrong name."""
    (tmp_path / "visit.txt").write_text(REPORT)
    before = fingerprint_batch(tmp_path)
    (tmp_path / "visit.txt").write_text(REPORT + "More.\n")
    with pytest.raises(ChangedBatchError, match="Batch b1 changed"):
        read_version(tmp_path, "b1", SECRET, ReadLimits(), before, erased=())


def test_a_folder_that_is_gone_is_no_empty_batch(tmp_path: Path) -> None:
    """An empty folder withdraws a batch; one that was moved away for a moment must not."""
    folder = tmp_path / "b1"
    folder.mkdir()
    empty = fingerprint_batch(folder)
    assert read_version(folder, "b1", SECRET, ReadLimits(), empty, erased=()).unreadable.num_rows == 1
    folder.rmdir()
    assert fingerprint_batch(folder) != empty
    with pytest.raises(ChangedBatchError):
        read_version(folder, "b1", SECRET, ReadLimits(), empty, erased=())
    with pytest.raises(BatchFolderError, match="folder of batch b1 is vanished"):
        read_version(folder, "b1", SECRET, ReadLimits(), fingerprint_batch(folder), erased=())
    folder.touch()
    with pytest.raises(BatchFolderError):
        list_files(folder)


def test_text_and_identifiers_have_one_form_of_unicode(tmp_path: Path) -> None:
    """A Mac writes é as two characters: the name would not be found in the text, and its patient would count twice."""
    split = unicodedata.normalize("NFD", "José Núñez")
    (tmp_path / "batch.yaml").write_text("records: {patient_id: p, sections: {t: PLAN}, identifiers: {n: name}}\n")
    rows = [{"p": name, "n": name, "t": f"Call {name}."} for name in (split, "José Núñez")]
    (tmp_path / "v.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "v.txt").write_text(f"---\npatient_id: {split}\npatient_name: {split}\n---\nCall {split}.\n")
    found = read_batch(tmp_path, "b1", SECRET, ReadLimits()).reports.to_pylist()
    assert [row["text"].split("\n\n")[-1] for row in found] == ["Call José Núñez.\n"] * 3
    assert {i["value"] for row in found for i in row["known_identifiers"]} == {"José Núñez"}
    assert len({row["patient_key"] for row in found}) == 1


def test_a_whole_number_is_the_same_patient_however_it_was_exported(tmp_path: Path) -> None:
    """A table with an empty cell is exported with 4711.0 for 4711: the patient would be in two splits."""
    (tmp_path / "batch.yaml").write_text("records: {patient_id: p, sections: {t: PLAN}}\n")
    rows = [{"p": patient, "t": "Rest."} for patient in (4711, 4711.0, "4711")]
    (tmp_path / "v.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    found = read_batch(tmp_path, "b1", SECRET, ReadLimits()).reports.to_pylist()
    assert {row["patient_key"] for row in found} == {keyed_hash(SECRET, "4711")}
    assert {i["value"] for row in found for i in row["known_identifiers"]} == {"4711"}


def test_the_rules_have_another_version_once_anything_in_them_is_another(tmp_path: Path) -> None:
    """Batches that were read by older rules are read again; without a change none is."""
    (tmp_path / "formats").mkdir()
    rule = tmp_path / "formats" / "pdf.py"
    rule.write_text("a = 1")
    before = version_of_rules([tmp_path], ["lxml 6"], has_ocr=False)
    assert version_of_rules([tmp_path], ["lxml 6"], has_ocr=False) == before
    changed = {
        version_of_rules([tmp_path], ["lxml 7"], has_ocr=False),
        version_of_rules([tmp_path], ["lxml 6"], has_ocr=True),
    }
    rule.write_text("a = 2")
    assert len({before, *changed, version_of_rules([tmp_path], ["lxml 6"], has_ocr=False)}) == 4
    assert reader_version() == reader_version()
