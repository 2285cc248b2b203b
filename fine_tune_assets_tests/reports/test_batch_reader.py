"""Reading a valid batch is deterministic: ids, subject keys, identifiers and text."""

import json
import unicodedata
from pathlib import Path

import pytest

from fine_tune_assets.core.fingerprints import fingerprint_table, keyed_hash
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import ChangedBatchError, read_batch, read_batch_version
from fine_tune_assets.reports.batches import (
    BatchFolderError,
    StrayEntries,
    find_stray_entries,
    fingerprint_batch,
    list_batches,
    list_files,
)
from fine_tune_assets.reports.reader_version import fingerprint_rules, read_reader_version
from fine_tune_assets.reports.stated_identifiers import make_subject_key, own_subject
from fine_tune_assets.tables.record_classes import check_table
from fine_tune_assets.tables.report_rows import Report, UnreadableReport
from fine_tune_assets_tests.reports.shared_reader import shared_reader

SECRET = b"k" * 32
SAMPLE = PROJECT_DIR / "data" / "raw_reports"


def test_front_matter_becomes_subject_key_and_known_identifiers(tmp_path: Path) -> None:
    """Known identifiers are removed for certain, so they must be exactly as written: 0123 is not a number."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "n.md").write_bytes(
        b"\xef\xbb\xbf---\r\nsubject_id: 0123\r\nsubject_name: Martha Collins\r\nage: 91\r\nbirth_date: 1950-03-02\r\n"
        b"physician: [A. Moore, B. Lee]\r\nidentifiers: {url: example.org}\r\n---\r\nPLAN\r\n\r\nRest.\r\n"
    )
    (row,) = read_batch(tmp_path, "b1", SECRET, ReadLimits(), reader=shared_reader(ReadLimits())).reports.to_pylist()
    assert row["report_id"] == "b1/sub/n"
    assert row["source"] == "unknown"
    assert row["subject_key"] == keyed_hash(SECRET, "0123")
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


def test_without_an_id_the_normalized_name_identifies_the_subject(tmp_path: Path) -> None:
    """Otherwise a subject's reports end up in both train and test, and the test measures memorization."""
    for number, name in enumerate(["Martha Collins", "martha  COLLINS "]):
        (tmp_path / f"{number}.txt").write_text(f"---\nsubject_name: {name}\n---\nRest.\n")
    keys = read_batch(tmp_path, "b1", SECRET, ReadLimits()).reports.column("subject_key").to_pylist()
    assert keys[0] == keys[1]


def test_a_batch_of_documents_about_no_one_says_so(tmp_path: Path) -> None:
    """Guidelines name no subject. Beside them, a patient's report without a subject must still be refused."""
    (tmp_path / "one.txt").write_text("Give one tablet daily.\n")
    (tmp_path / "two.txt").write_text("Store in a dry place.\n")
    refused = read_batch(tmp_path, "b1", SECRET, ReadLimits())
    assert set(refused.unreadable.column("reason").to_pylist()) == {"no_subject"}
    (tmp_path / "batch.yaml").write_text("reports_without_subject: allow\n")
    allowed = read_batch(tmp_path, "b1", SECRET, ReadLimits())
    assert allowed.unreadable.num_rows == 0
    assert len(set(allowed.reports.column("subject_key").to_pylist())) == 2
    (tmp_path / "batch.yaml").write_text("reports_without_subject: maybe\n")
    assert read_batch(tmp_path, "b1", SECRET, ReadLimits()).reports.num_rows == 0


def test_columns_become_sections_in_batch_file_order(tmp_path: Path) -> None:
    """The recipe's tasks find input and output by these headings."""
    (tmp_path / "batch.yaml").write_text(
        "source: s\nrecords: {subject_id: p, identifiers: {who: name}, sections: {talk: DIALOGUE, note: SECTION}}\n"
    )
    (tmp_path / "v.csv").write_text("p,note,talk,who,more\n1,Well.,\u2028Hi,Ann Lee,x\n")
    (row,) = read_batch(tmp_path, "b1", SECRET, ReadLimits(), reader=shared_reader(ReadLimits())).reports.to_pylist()
    assert (row["report_id"], row["source"]) == ("b1/v-1", "s")
    assert row["text"] == "DIALOGUE\n\nHi\n\nSECTION\n\nWell.\n"
    assert row["known_identifiers"] == [{"kind": "id", "value": "1"}, {"kind": "name", "value": "Ann Lee"}]


@pytest.mark.parametrize(
    ("batch", "reports", "unreadable", "source"),
    [
        ("2026-01-visit-notes", 26, 1, "aci-bench"),
        ("2026-02-dialogues", 260, 0, "mts-dialog"),
        ("2026-03-dialogues", 49, 0, "mts-dialog"),
        ("2026-04-dialogues", 8, 0, "mts-dialog-test"),
    ],
)
def test_reading_every_sample_batch_is_reproducible(batch: str, reports: int, unreadable: int, source: str) -> None:
    """An unstable order would change fingerprints and make all downstream assets stale."""
    first, second = (read_batch(SAMPLE / batch, batch, SECRET, ReadLimits()) for _ in range(2))
    assert (first.reports.num_rows, first.unreadable.num_rows) == (reports, unreadable)
    assert set(first.reports.column("source").to_pylist()) == {source}
    assert fingerprint_table(first.reports) == fingerprint_table(second.reports)
    check_table(first.reports, Report.SCHEMA)
    check_table(first.unreadable, UnreadableReport.SCHEMA)


def test_unfinished_hidden_and_misnamed_folders_are_not_batches(tmp_path: Path) -> None:
    """A folder that is still being copied would be read incompletely."""
    for name in ["b-2", "a_1.x", ".hidden", "c.partial", "with space", "ünicode"]:
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("")
    assert list_batches(tmp_path) == ["a_1.x", "b-2"]
    assert list_batches(tmp_path / "absent") == []
    assert find_stray_entries(tmp_path) == StrayEntries(folders=("c.partial", "with space", "ünicode"), files=1)
    assert find_stray_entries(tmp_path / "absent") == StrayEntries(folders=(), files=0)


def test_the_fingerprint_depends_only_on_content(tmp_path: Path) -> None:
    """Rewriting a file with the same content must trigger nothing; changing it must."""
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


def test_a_fingerprint_handles_links_and_missing_folders(tmp_path: Path) -> None:
    """The sensor computes it every few seconds, also while files are being moved."""
    (tmp_path / "dangling.txt").symlink_to(tmp_path / "nowhere")
    assert len(fingerprint_batch(tmp_path)) == 64
    assert len(fingerprint_batch(tmp_path / "gone")) == 64


REPORT = "---\nsubject_id: p\n---\nRest.\n"


def test_the_version_read_equals_the_folder_fingerprint(tmp_path: Path) -> None:
    """Otherwise an unchanged batch would always be rejected as changed."""
    (tmp_path / "batch.yaml").write_text("source: s\n")
    (tmp_path / "good.txt").write_text(REPORT)
    (tmp_path / "blank.txt").write_text(" \n")
    (tmp_path / "scan.pdf").write_bytes(b"%PDF")
    (tmp_path / "large.txt").write_text(REPORT * 100)
    (tmp_path / "link.txt").symlink_to(tmp_path / "good.txt")
    (tmp_path / "SOURCE.md").write_text("about")
    limits = ReadLimits(max_file_bytes=1000)
    reading = read_batch_version(tmp_path, "b1", SECRET, limits, fingerprint_batch(tmp_path), erased_subjects=())
    assert reading.version == fingerprint_batch(tmp_path)
    (tmp_path / "batch.yaml").write_text("colour: red\n")
    assert read_batch(tmp_path, "b1", SECRET, limits).version == fingerprint_batch(tmp_path)


@pytest.mark.parametrize("meanwhile", [None, "", REPORT[:-4]], ids=["away", "emptied", "half written"])
def test_a_file_that_changes_and_changes_back_does_not_hide_what_was_read(
    tmp_path: Path, meanwhile: str | None
) -> None:
    """Comparing the folder before and after would show no difference, and half a report would be stored."""
    file = tmp_path / "visit.txt"
    file.write_text(REPORT)
    files, before = list_files(tmp_path), fingerprint_batch(tmp_path)
    file.unlink() if meanwhile is None else file.write_text(meanwhile)
    reading = read_batch(tmp_path, "b1", SECRET, ReadLimits(), files=files)
    file.write_text(REPORT)
    assert fingerprint_batch(tmp_path) == before
    assert reading.version != before


def test_an_unexpected_version_is_rejected(tmp_path: Path) -> None:
    """It would be stored under the wrong version."""
    (tmp_path / "visit.txt").write_text(REPORT)
    before = fingerprint_batch(tmp_path)
    (tmp_path / "visit.txt").write_text(REPORT + "More.\n")
    with pytest.raises(ChangedBatchError, match="b1"):
        read_batch_version(tmp_path, "b1", SECRET, ReadLimits(), before, erased_subjects=())


def test_a_missing_folder_is_not_an_empty_batch(tmp_path: Path) -> None:
    """Emptying a folder withdraws its batch; moving the folder away for a moment must not."""
    folder = tmp_path / "b1"
    folder.mkdir()
    empty = fingerprint_batch(folder)
    assert read_batch_version(folder, "b1", SECRET, ReadLimits(), empty, erased_subjects=()).unreadable.num_rows == 1
    folder.rmdir()
    assert fingerprint_batch(folder) != empty
    with pytest.raises(ChangedBatchError):
        read_batch_version(folder, "b1", SECRET, ReadLimits(), empty, erased_subjects=())
    with pytest.raises(BatchFolderError, match="b1"):
        read_batch_version(folder, "b1", SECRET, ReadLimits(), fingerprint_batch(folder), erased_subjects=())
    folder.touch()
    with pytest.raises(BatchFolderError):
        list_files(folder)


def test_text_and_identifiers_share_one_unicode_form(tmp_path: Path) -> None:
    """macOS writes é as two characters: the name would not be found in the text, and its subject would count twice."""
    split = unicodedata.normalize("NFD", "José Núñez")
    (tmp_path / "batch.yaml").write_text("records: {subject_id: p, sections: {t: PLAN}, identifiers: {n: name}}\n")
    rows = [{"p": name, "n": name, "t": f"Call {name}."} for name in (split, "José Núñez")]
    (tmp_path / "v.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "v.txt").write_text(f"---\nsubject_id: {split}\nsubject_name: {split}\n---\nCall {split}.\n")
    rows_read = read_batch(tmp_path, "b1", SECRET, ReadLimits(), reader=shared_reader(ReadLimits())).reports.to_pylist()
    assert [row["text"].split("\n\n")[-1] for row in rows_read] == ["Call José Núñez.\n"] * 3
    assert {i["value"] for row in rows_read for i in row["known_identifiers"]} == {"José Núñez"}
    assert len({row["subject_key"] for row in rows_read}) == 1


def test_an_integer_id_is_the_same_subject_in_every_number_format(tmp_path: Path) -> None:
    """Tables with empty cells export 4711 as 4711.0: the subject would be in two splits."""
    (tmp_path / "batch.yaml").write_text("records: {subject_id: p, sections: {t: PLAN}}\n")
    rows = [{"p": subject, "t": "Rest."} for subject in (4711, 4711.0, "4711")]
    (tmp_path / "v.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    rows_read = read_batch(tmp_path, "b1", SECRET, ReadLimits(), reader=shared_reader(ReadLimits())).reports.to_pylist()
    assert {row["subject_key"] for row in rows_read} == {keyed_hash(SECRET, "4711")}
    assert {i["value"] for row in rows_read for i in row["known_identifiers"]} == {"4711"}


def test_any_change_of_the_reading_rules_changes_their_version(tmp_path: Path) -> None:
    """Batches read by older rules are read again; without a change none is."""
    (tmp_path / "formats").mkdir()
    rule = tmp_path / "formats" / "pdf.py"
    rule.write_text("a = 1")
    before = fingerprint_rules([tmp_path], ["lxml 6"], has_ocr=False)
    assert fingerprint_rules([tmp_path], ["lxml 6"], has_ocr=False) == before
    changed = {
        fingerprint_rules([tmp_path], ["lxml 7"], has_ocr=False),
        fingerprint_rules([tmp_path], ["lxml 6"], has_ocr=True),
    }
    rule.write_text("a = 2")
    assert len({before, *changed, fingerprint_rules([tmp_path], ["lxml 6"], has_ocr=False)}) == 4
    assert read_reader_version() == read_reader_version()


def test_where_no_subject_is_required_a_report_without_one_is_its_own(tmp_path: Path) -> None:
    """Each is split, erased and traced by its id, and none shares a key with another or with a stated subject."""
    (tmp_path / "a.txt").write_text("PLAN\n\nRest.\n")
    (tmp_path / "b.txt").write_text("PLAN\n\nWalk.\n")
    (tmp_path / "c.txt").write_text("---\nsubject_id: report b1/a\n---\nPLAN\n\nRun.\n")
    refused = read_batch(tmp_path, "b1", SECRET, ReadLimits())
    assert refused.reports.column("report_id").to_pylist() == ["b1/c"]
    read = read_batch(tmp_path, "b1", SECRET, ReadLimits(), is_subject_required=False)
    keys = dict(zip(*(read.reports.column(name).to_pylist() for name in ("report_id", "subject_key")), strict=True))
    assert keys == {
        "b1/a": make_subject_key(SECRET, own_subject("b1/a")),
        "b1/b": make_subject_key(SECRET, own_subject("b1/b")),
        "b1/c": make_subject_key(SECRET, "report b1/a"),
    }
    assert len(set(keys.values())) == 3


def test_a_report_that_is_its_own_subject_can_be_erased(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("PLAN\n\nRest.\n")
    erased = make_subject_key(SECRET, own_subject("b1/a"))
    read = read_batch(tmp_path, "b1", SECRET, ReadLimits(), erased_subjects={erased}, is_subject_required=False)
    assert read.reports.num_rows == 0
    assert read.unreadable.column("reason").to_pylist() == ["erased_subject"]


def _write_rows(folder: Path, kind: str) -> None:
    (folder / "batch.yaml").write_text(
        f"records: {{subject_id: p, sections: {{t: LOSS}}, identifiers: {{policy: {kind}}}}}\n", encoding="utf-8"
    )
    row = {"p": "4711", "policy": "ZK 12/887-Q", "t": "Policy zk 12/887-q covers the roof."}
    (folder / "v.jsonl").write_text(json.dumps(row), encoding="utf-8")


@pytest.mark.parametrize("kind", ["POLICY_NUMBER", "policy_number"])
def test_metadata_may_state_a_kind_of_the_domain_pack(tmp_path: Path, kind: str) -> None:
    """Without it, a value with no distinctive form can't be removed for certain, or only under a kind that it is not."""
    _write_rows(tmp_path, kind)
    (tmp_path / "a.txt").write_text(f"---\nsubject_id: 7\nidentifiers: {{{kind}: QQ-1}}\n---\nLOSS\n\nRoof.\n")
    read = read_batch(tmp_path, "b1", SECRET, ReadLimits(), own_kinds=("POLICY_NUMBER",))
    stated = {(i["kind"], i["value"]) for row in read.reports.to_pylist() for i in row["known_identifiers"]}
    assert {("POLICY_NUMBER", "ZK 12/887-Q"), ("POLICY_NUMBER", "QQ-1")} <= stated


def test_a_kind_that_no_scrubber_could_replace_is_refused_and_not_named(tmp_path: Path) -> None:
    """Read anyway, the value would stay in the text or be tagged with a kind that nothing counts. With kind and value confused,
    the kind is the value."""
    _write_rows(tmp_path, "POLICY_NUMER")
    (tmp_path / "a.txt").write_text("---\nsubject_id: 7\nidentifiers: {Anna_Moore: NAME}\n---\nLOSS\n\nRoof.\n")
    read = read_batch(tmp_path, "b1", SECRET, ReadLimits(), own_kinds=("POLICY_NUMBER",))
    assert read.reports.num_rows == 0
    assert set(read.unreadable["reason"].to_pylist()) == {"unknown_kind"}
    assert all(
        "NUMER" not in detail and "ANNA" not in detail.upper() for detail in read.unreadable["detail"].to_pylist()
    )
    assert read.file_counts.is_balanced


def test_a_domain_without_a_kind_refuses_reports_that_state_it(tmp_path: Path) -> None:
    _write_rows(tmp_path, "POLICY_NUMBER")
    assert read_batch(tmp_path, "b1", SECRET, ReadLimits()).unreadable["reason"].to_pylist() == ["unknown_kind"]


@pytest.mark.parametrize("kind", ["[a]", "12", "no kind", "{a: b}"])
def test_what_can_t_be_a_kind_keeps_the_whole_batch_from_being_read(tmp_path: Path, kind: str) -> None:
    _write_rows(tmp_path, kind)
    read = read_batch(tmp_path, "b1", SECRET, ReadLimits(), own_kinds=("POLICY_NUMBER",))
    assert set(read.unreadable["reason"].to_pylist()) == {"bad_batch_file"}


def test_columns_have_the_names_that_the_file_writes(tmp_path: Path) -> None:
    """YAML reads `no` as false and 2024 as a number; a spreadsheet's columns are often called so."""
    (tmp_path / "a.csv").write_text("no,on,2024,2026-05-01\nr1,s1,Oak.,Sound.\n")
    (tmp_path / "batch.yaml").write_text(
        "records: {report_id: no, subject_id: on, sections: {2024: SPECIES, 2026-05-01: STATE}, written_on: }\n"
    )
    read = read_batch(tmp_path, "b1", SECRET, ReadLimits())
    assert read.reports["report_id"].to_pylist() == ["b1/r1"]
    assert read.reports["text"].to_pylist() == ["SPECIES\n\nOak.\n\nSTATE\n\nSound.\n"]


@pytest.mark.parametrize("records", ["no", "[no]", "{<<: {subject_id: no}}", "{subject_id: {no: no}}"])
def test_records_of_another_form_keep_the_batch_from_being_read(tmp_path: Path, records: str) -> None:
    (tmp_path / "a.csv").write_text("no\n1\n")
    (tmp_path / "batch.yaml").write_text(f"records: {records}\n")
    read = read_batch(tmp_path, "b1", SECRET, ReadLimits())
    assert set(read.unreadable["reason"].to_pylist()) == {"bad_batch_file"}
