"""Bad input in a batch folder: every file is accounted for, none affects the others, and no content is quoted."""

import gzip
import json
import os
from pathlib import Path

import pytest

from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import BatchResult, read_batch
from fine_tune_assets.reports.batches import list_files
from fine_tune_assets_tests.reports.shared_reader import shared_reader

SECRET = b"k" * 32
MARKER = "Zyxwvutquark"
GOOD = "---\nsubject_id: p-1\n---\nPLAN\n\nRest.\n"
RECORDS = """source: clinic
records:
  report_id: visit
  subject_id: patient
  identifiers: {name: name}
  sections: {talk: DIALOGUE, note: SECTION}
"""


def read(folder: Path, largest_file_bytes: int = 50_000_000) -> BatchResult:
    limits = ReadLimits(largest_file_bytes)
    reading = read_batch(folder, "b1", SECRET, limits, reader=shared_reader(limits))
    check_nothing_is_lost(reading)
    return reading


def check_nothing_is_lost(reading: BatchResult) -> None:
    rows = [*reading.reports.to_pylist(), *reading.unreadable.to_pylist()]
    placed = {row["origin_file"] for row in rows} - {"."}
    assert placed.isdisjoint(reading.ignored)
    assert len(placed) + len(reading.ignored) == reading.files


def reasons(reading: BatchResult) -> list[tuple[str, int | None, str]]:
    return [(r["origin_file"], r["record"], r["reason"]) for r in reading.unreadable.to_pylist()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.txt").write_text(GOOD)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.txt", b"", "empty"),
        ("blank.txt", b" \n\n", "empty"),
        ("only-front-matter.txt", b"---\nsubject_id: p\n---\n\n", "empty"),
        ("image.txt", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "not_text"),
        ("archive.md", gzip.compress(b"a note " * 99, mtime=0), "not_text"),
        ("utf16.txt", GOOD.encode("utf-16"), "not_text"),
        ("latin1.txt", GOOD.replace("Rest", "Café").encode("latin-1"), "invalid_utf8"),
        ("scan.pdf", b"%PDF-1.4", "corrupt_file"),
        ("letter.doc", b"a letter", "unsupported_format"),
        ("no-ending", b"text", "unsupported_format"),
        ("nobody.txt", b"PLAN\n\nRest.\n", "no_subject"),
        ("blank-patient.txt", b"---\nsubject_id: ''\n---\nRest.\n", "no_subject"),
        ("open.txt", b"---\nsubject_id: p\nRest.\n", "bad_front_matter"),
        ("unknown-key.txt", b"---\nsubject_id: p\nspouse: x\n---\nRest.\n", "bad_front_matter"),
        ("twice.txt", b"---\nsubject_id: p\nphysician: a\nphysician: b\n---\nRest.\n", "bad_front_matter"),
        (
            "twice-inside.txt",
            b"---\nsubject_id: p\nidentifiers: {name: a, name: b}\n---\nRest.\n",
            "bad_front_matter",
        ),
        ("yaml.txt", b"---\n{[: ]\n---\nRest.\n", "bad_front_matter"),
        ("table.csv", b"a,b\n1,2\n", "bad_batch_file"),
    ],
)
def test_an_unreadable_file_is_a_row_with_its_reason(folder: Path, name: str, content: bytes, reason: str) -> None:
    """Failing the whole batch, or dropping the file silently, would both lose reports."""
    (folder / name).write_bytes(content)
    reading = read(folder)
    assert reasons(reading) == [(name, None, reason)]
    assert reading.reports.column("report_id").to_pylist() == ["b1/good"]


def test_a_huge_file_is_rejected_without_being_read(folder: Path) -> None:
    """200 MB in memory would kill the process and fail the batch. A sparse file takes no space here."""
    with (folder / "huge.txt").open("wb") as file:
        file.truncate(200_000_000)
    (row,) = read(folder).unreadable.to_pylist()
    assert (row["reason"], row["size_bytes"]) == ("too_large", 200_000_000)


def test_a_report_too_long_for_the_scrubber_does_not_block_its_batch(folder: Path) -> None:
    """spaCy rejects texts above a million characters: one such report would block scrubbing of all others."""
    (folder / "batch.yaml").write_text("records: {subject_id: p, sections: {t: PLAN}}\n")
    (folder / "long.txt").write_text(f"---\nsubject_id: p\n---\n{'a b ' * 125_000}c")
    (folder / "longest.txt").write_text(f"---\nsubject_id: p\n---\n{'a' * 499_999}\n")
    (folder / "rows.csv").write_text(f"p,t\n1,{'a b ' * 125_000}\n2,Rest.\n")
    reading = read(folder)
    assert reasons(reading) == [("long.txt", None, "too_long"), ("rows.csv", 1, "too_long")]
    assert reading.reports.column("report_id").to_pylist() == ["b1/good", "b1/longest", "b1/rows-2"]


def test_a_file_that_disappears_during_the_read_is_reported(folder: Path) -> None:
    """If someone tidies up meanwhile, the missing file must be visible."""
    (folder / "gone.txt").write_text(GOOD)
    files = list_files(folder)
    (folder / "gone.txt").unlink()
    reading = read_batch(folder, "b1", SECRET, ReadLimits(), files=files)
    check_nothing_is_lost(reading)
    assert reasons(reading) == [("gone.txt", None, "file_missing")]


def test_links_and_pipes_are_not_followed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A link could point to any file of the machine, and a pipe would block."""
    outside = tmp_path_factory.mktemp("outside") / "secret.txt"
    outside.write_text(GOOD)
    (folder / "link.txt").symlink_to(outside)
    (folder / "tree").symlink_to(outside.parent)
    os.mkfifo(folder / "pipe.txt")
    assert [r for _, _, r in reasons(read(folder))] == ["not_a_file", "not_a_file", "unsupported_format"]


@pytest.mark.parametrize("files", [{}, {"SOURCE.md": b"about"}])
def test_a_folder_without_reports_is_reported(tmp_path: Path, files: dict[str, bytes]) -> None:
    """An empty batch that looks like success hides a failed export."""
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert reasons(read(tmp_path)) == [(".", None, "no_reports")]


def test_a_folder_without_a_readable_file_gives_an_empty_table(tmp_path: Path) -> None:
    """Downstream steps get a table with the right columns, and the reasons stay visible."""
    (tmp_path / "a.txt").write_bytes(b"")
    reading = read(tmp_path)
    assert reading.reports.num_rows == 0
    assert reasons(reading) == [("a.txt", None, "empty")]


@pytest.mark.parametrize(
    "batch_file",
    [
        "source: x\ncolour: red\n",
        "records: {subject_id: p, sections: {}}\n",
        "records: {sections: {a: B}}\n",
        "records: {subject_id: p, sections: {a: B}, identifiers: {c: name, c: id}}\n",
        "source: 2026-13-45\n",
        "- a list\n",
        "source: [\n",
        "",
    ],
)
def test_an_invalid_batch_file_makes_the_whole_batch_unreadable(folder: Path, batch_file: str) -> None:
    """Reading with half-understood settings could leave identifiers unknown."""
    (folder / "batch.yaml").write_text(batch_file)
    reading = read(folder)
    assert reading.reports.num_rows == 0
    expected = [("batch.yaml", None, "bad_batch_file"), ("good.txt", None, "bad_batch_file")]
    assert reasons(reading) == expected


def test_bad_rows_of_a_table_do_not_affect_the_good_ones(tmp_path: Path) -> None:
    """A typo in row 2 must not cost the other thousand rows."""
    (tmp_path / "batch.yaml").write_text(RECORDS)
    (tmp_path / "t.csv").write_text(
        "visit,patient,name,talk,note\n"
        "v1,p1,Ann,Hello,Well\n"
        "v2,p2,too few\n"
        "v3,,Ann,Hello,Well\n"
        "v1,p1,Ann,Again,Well\n"
        "v5,p5,Ann,,\n"
        'v6,p6,"Ann","Hi\nthere",Well\n'
        'v7,p7,Ann,"never closed,Well\n'
    )
    reading = read(tmp_path)
    assert reading.reports.column("report_id").to_pylist() == ["b1/v1", "b1/v6"]
    assert [(n, r) for _, n, r in reasons(reading)] == [
        (2, "bad_record"),
        (3, "no_subject"),
        (4, "duplicate_id"),
        (5, "empty"),
        (7, "bad_record"),
    ]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "4711.5", "[4711.5]", "1e16"])
def test_an_invalid_id_does_not_name_a_subject(tmp_path: Path, number: str) -> None:
    """Otherwise everyone without a number would be the subject "nan", in a single split."""
    (tmp_path / "batch.yaml").write_text("records: {subject_id: p, sections: {t: PLAN}}\n")
    (tmp_path / "t.jsonl").write_text(f'{{"p": {number}, "t": "Rest."}}\n{{"p": 1, "t": "Rest."}}\n')
    reading = read(tmp_path)
    assert reasons(reading) == [("t.jsonl", 1, "bad_record")]
    assert reading.reports.num_rows == 1


@pytest.mark.parametrize(
    "broken",
    [
        'v2,p2,Ann,"Hello,Well',
        'v2,p2,Ann,"He has a 5" cut.\nv9,p9,Eve,Someone else,Well\nStable.",Well',
    ],
    ids=["never closed", "within a cell"],
)
def test_nothing_after_a_broken_quote_is_read_and_the_loss_is_counted(tmp_path: Path, broken: str) -> None:
    """The next row's start is unknown: half a cell would pass as the report of a subject who does not exist."""
    (tmp_path / "batch.yaml").write_text(RECORDS)
    after = 'v3,p3,Ann,"Hi\n\nthere",Well\nv5,p5,Ann,Hello,Well\n'
    (tmp_path / "t.csv").write_text(f'visit,patient,name,talk,note\nv1,p1,Ann,"Hi\nthere",Well\n{broken}\n{after}')
    reading = read(tmp_path)
    assert reading.reports.column("report_id").to_pylist() == ["b1/v1"]
    assert [(n, r) for _, n, r in reasons(reading)] == [(2, "bad_record")]
    (detail,) = reading.unreadable.column("detail").to_pylist()
    assert "line 4 " in detail
    assert f" {broken.count(chr(10)) + 4} lines after it" in detail


def test_an_invalid_header_line_makes_the_whole_file_unreadable(tmp_path: Path) -> None:
    """Without column names no row can be interpreted."""
    (tmp_path / "batch.yaml").write_text(RECORDS)
    (tmp_path / "t.csv").write_text('visit,"patient" x,name,talk,note\nv,p,Ann,Hello,Well\n')
    assert reasons(read(tmp_path)) == [("t.csv", None, "bad_record")]


def test_bad_lines_of_a_jsonl_file_do_not_affect_the_good_ones(tmp_path: Path) -> None:
    """Lines are decoded separately, so one bad byte costs one line."""
    good = {"visit": "v1", "patient": 7, "name": None, "talk": "Hello", "note": None}
    lines = [
        json.dumps(good).encode(),
        b"{not json",
        b"[1]",
        b'{"visit": "v4", "patient": "p"}',
        json.dumps({**good, "visit": "v5", "talk": {"a": 1}}).encode(),
        b'{"visit": "caf\xe9"}',
        json.dumps({**good, "visit": "v7", "talk": "\ud800"}).encode(),
        b'{"visit": "v8", "visit": "v9"}',
        json.dumps({**good, "visit": "x\ny" + "z" * 300}).encode(),
    ]
    (tmp_path / "batch.yaml").write_text(RECORDS)
    (tmp_path / "t.jsonl").write_bytes(b"\n".join(lines))
    reading = read(tmp_path)
    assert reading.reports.column("text").to_pylist() == ["DIALOGUE\n\nHello\n"]
    assert [(n, r) for _, n, r in reasons(reading)] == [
        (2, "bad_record"),
        (3, "bad_record"),
        (4, "missing_column"),
        (5, "bad_record"),
        (6, "invalid_utf8"),
        (7, "bad_record"),
        (8, "bad_record"),
        (9, "bad_id"),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"visit,patient\nv,p\n", "missing_column"), (b"visit,patient,name,talk,note\n", "empty")],
)
def test_a_table_without_required_columns_or_rows_is_unreadable(tmp_path: Path, content: bytes, reason: str) -> None:
    """Repeating the same error for a thousand rows would bury it."""
    (tmp_path / "batch.yaml").write_text(RECORDS)
    (tmp_path / "t.csv").write_bytes(content)
    assert reasons(read(tmp_path)) == [("t.csv", None, reason)]


def test_no_reason_or_detail_quotes_file_content(tmp_path: Path) -> None:
    """The Dagster UI shows the table to people who may not read reports."""
    (tmp_path / "batch.yaml").write_text(RECORDS)
    (tmp_path / "a.txt").write_text(f"---\n{MARKER}: {MARKER}\n---\n{MARKER}\n")
    (tmp_path / "b.txt").write_text(f"---\n: [{MARKER}\n---\n{MARKER}\n")
    (tmp_path / "c.txt").write_text(f"{MARKER}\n")
    (tmp_path / "d.txt").write_bytes(MARKER.encode() + b"\xff")
    (tmp_path / "e.csv").write_text(f"{MARKER},b\n{MARKER},1\n")
    (tmp_path / "f.csv").write_text(f'visit,patient,name,talk,note\n{MARKER}\n"{MARKER}\n')
    (tmp_path / "g.jsonl").write_text(f'{{"{MARKER}": \n{{"{MARKER}": 1}}\n')
    reading = read(tmp_path)
    assert reading.unreadable.num_rows == 9
    assert MARKER not in json.dumps(reading.unreadable.to_pylist())
    (tmp_path / "batch.yaml").write_text(
        f"{MARKER}: 1\nrecords: {{{MARKER}: 1, identifiers: {{{MARKER}: {MARKER}}}}}\n"
    )
    assert MARKER not in json.dumps(read(tmp_path).unreadable.to_pylist())
    (tmp_path / "a.txt").write_text(f"---\nidentifiers: {{{MARKER}: 1, {MARKER}: 2}}\n---\nRest.\n")
    (tmp_path / "batch.yaml").write_text(f"{MARKER}: 1\n{MARKER}: 2\n")
    assert MARKER not in json.dumps(read(tmp_path).unreadable.to_pylist())
    (tmp_path / "batch.yaml").unlink()
    assert MARKER not in json.dumps(read(tmp_path).unreadable.to_pylist())
