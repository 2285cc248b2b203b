"""`fine-tune batch check` shows what stage 1 will read, before the batch is in the watched folder."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.fingerprints import fingerprint_files
from fine_tune_assets.core.settings import PREFIX
from fine_tune_assets_tests.claims.paragraphs import PARAGRAPHS
from fine_tune_assets_tests.conftest import DIALOGUES

REPORT = "---\nsubject_id: {number}\n---\nPLAN\n\nRest, {number}.\n"
MARKER = "Zyxomarkwort"
GERMAN = PARAGRAPHS["German"][0] + " Frau Kowalski war dabei."


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two reports of one subject and one of another."""
    made = tmp_path / "2026-05"
    made.mkdir()
    for name, number in (("a", 7), ("b", 7), ("c", 8)):
        (made / f"{name}.txt").write_text(REPORT.format(number=number).replace("Rest", f"Rest {name}"))
    return made


def check(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["batch", "check", str(folder), *options])


def test_a_readable_batch_is_counted_and_stores_nothing(folder: Path, data_dir: Path) -> None:
    """The installation need not exist, and the batch may be on a read-only share."""
    before = fingerprint_files(folder)
    done = check(folder, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["batch"], found["reports"], found["subjects"], found["files"], found["files_read"]) == (
        "2026-05",
        3,
        2,
        3,
        3,
    )
    assert (found["files_unreadable"], found["unreadable"], found["is_valid_name"]) == (0, [], True)
    assert check(folder).exit_code == 0
    assert fingerprint_files(folder) == before
    assert not data_dir.exists()


def test_the_shipped_batch_is_readable() -> None:
    """A batch.yaml describes its columns."""
    done = check(DIALOGUES, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["reports"] > 100


def test_an_unreadable_file_is_reported_with_its_reason_and_without_its_text(folder: Path) -> None:
    """The reason shows the exporting person what to repair; the text is confidential."""
    (folder / "scan.pdf").write_bytes(f"{MARKER} is not a PDF".encode())
    (folder / "notes.xyz").write_text(MARKER)
    done = check(folder, "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["reports"] == 3
    named = {row["origin_file"] for row in found["unreadable"]}
    assert "scan.pdf" in named
    assert all(row["reason"] for row in found["unreadable"])
    assert MARKER not in done.output
    assert "scan.pdf" in check(folder).stdout


def test_reports_that_are_not_in_english_are_counted_by_file(folder: Path) -> None:
    """The scrubber would shred them and miss names. They can be read, so the status is 0."""
    assert json.loads(check(folder, "--json").stdout)["not_english"] == []
    assert "English" not in check(folder).stdout
    (folder / "clinic.txt").write_text(f"---\nsubject_id: 9\n---\n{GERMAN.replace('Kowalski', MARKER)}")
    done = check(folder, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["not_english"] == [{"origin_file": "clinic.txt", "language": "German", "reports": 1}]
    shown = check(folder).stdout
    assert "clinic.txt: 1 not in English (German)" in shown
    assert MARKER not in done.stdout + shown


@pytest.mark.parametrize("name", ["2026 05", ".2026-05", "Mai–2026", "a" * 101])
def test_an_invalid_folder_name_fails_even_if_its_reports_are_readable(folder: Path, name: str) -> None:
    """The name becomes a partition key; stage 1 would silently ignore the folder."""
    renamed = Path(shutil.move(folder, folder.with_name(name)))
    done = check(renamed, "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert (found["is_valid_name"], found["reports"]) == (False, 3)
    assert name in check(renamed).stdout


def test_a_faulty_batch_description_fails(folder: Path) -> None:
    (folder / "batch.yaml").write_text("source: [")
    assert check(folder).exit_code == 1


def test_a_missing_folder_is_wrong_usage(tmp_path: Path) -> None:
    assert check(tmp_path / "nothing").exit_code == 2


def test_a_folder_that_is_still_being_copied_passes_under_its_later_name(folder: Path) -> None:
    """The guide says to check the folder before its ending `.partial` is removed."""
    partial = folder.rename(folder.with_name("2026-05.partial"))
    done = check(partial, "--json")
    assert done.exit_code == 0, done.output
    assert (json.loads(done.stdout)["batch"], json.loads(done.stdout)["is_valid_name"]) == ("2026-05", True)
    assert "renamed to 2026-05." in check(partial).output
    assert check(partial.rename(folder.with_name("not valid.partial"))).exit_code == 1


COLUMNS = "records:\n  subject_id: claim\n  sections: {damage: DAMAGE, repair: REPAIR}\n"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_header_line_says_which_delimiter_a_csv_has(tmp_path: Path, delimiter: str) -> None:
    """Spreadsheets in most of Europe write semicolons, and a comma in a text must stay in it."""
    folder = tmp_path / "claims"
    folder.mkdir()
    (folder / "batch.yaml").write_text(COLUMNS)
    rows = [["claim", "damage", "repair"], ["7", "Wet wall\x2c cellar; west | east", "Dry it."]]
    text = "\n".join(delimiter.join(f'"{cell}"' for cell in row) for row in rows)
    (folder / "claims.csv").write_text(text)
    done = check(folder, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["reports"] == 1


def test_missing_columns_are_named(tmp_path: Path) -> None:
    """ "13 columns are missing" names none of them; the names are those of batch.yaml, not of a subject."""
    folder = tmp_path / "claims"
    folder.mkdir()
    (folder / "batch.yaml").write_text(COLUMNS)
    (folder / "claims.csv").write_text(f"claim,{MARKER}\n7,x\n")
    (folder / "more.jsonl").write_text('{"claim": 8, "damage": "x"}\n')
    (csv, jsonl) = json.loads(check(folder, "--json").stdout)["unreadable"]
    assert "2 of 3 columns" in csv["detail"]
    assert "damage, repair" in csv["detail"]
    assert jsonl["detail"].endswith(": repair.")
    assert MARKER not in str((csv, jsonl))


def test_a_table_without_a_batch_file_says_what_to_add(tmp_path: Path) -> None:
    folder = tmp_path / "claims"
    folder.mkdir()
    (folder / "claims.csv").write_text("claim,damage\n7,x\n")
    (row,) = json.loads(check(folder, "--json").stdout)["unreadable"]
    assert row["reason"] == "bad_batch_file"
    assert all(word in row["detail"] for word in ("batch.yaml", "`records`", "`subject_id`", "`sections`"))


def test_faults_that_repeat_are_one_line_with_the_first_three_files(folder: Path) -> None:
    """91 files of another domain printed 91 lines of 300 characters."""
    for n in range(9):
        text = f"---\nsubject_id: {n}\nidentifiers: {{HULL: {MARKER}}}\n---\nPLAN\n\nRest {n}.\n"
        (folder / f"hull-{n}.txt").write_text(text)
    done = check(folder)
    (line,) = [line for line in done.stdout.splitlines() if "unknown_kind" in line]
    assert all(f"hull-{n}.txt" in line for n in range(3))
    assert "hull-3.txt" not in line
    assert "and 6 more" in line
    assert MARKER not in done.output


def test_the_recipe_that_decides_is_named_and_can_be_chosen(folder: Path) -> None:
    """Before a recipe exists, the demo's clinical domain refused every kind of another domain, without a word about it."""
    (folder / "c.txt").write_text("---\nsubject_id: 8\nidentifiers: {HULL: C-1}\n---\nPLAN\n\nRest c.\n")
    first = check(folder).stdout.splitlines()[0]
    assert all(word in first for word in ("domain clinical", "--recipe", "FINE_TUNE_RECIPE"))
    chosen = json.loads(check(folder, "--recipe", "law_contracts", "--json").stdout)
    assert (chosen["recipe"], chosen["domain"]) == ("law_contracts", "law")
    assert check(folder, "--recipe", "nowhere").exit_code == 1


def test_the_summary_counts_records_and_metadata_files(folder: Path) -> None:
    """A bad record ended in `0 unreadable` with status 1, and sidecars that are read counted as ignored."""
    (folder / "batch.yaml").write_text("records:\n  subject_id: claim\n  sections: {damage: DAMAGE}\n")
    (folder / "more.jsonl").write_text('{"claim": 8, "damage": "x"}\n{"claim": 9}\n')
    (folder / "d.txt").write_text("PLAN\n\nRest d.\n")
    (folder / "d.yaml").write_text("subject_id: 9\n")
    (folder / "README.md").write_text("About this batch.\n")
    done = check(folder)
    assert done.exit_code == 1
    summary = done.stdout.splitlines()[-1]
    assert "0 files and 1 records unreadable" in summary
    assert "2 metadata files" in summary
    assert json.loads(check(folder, "--json").stdout)["records_unreadable"] == 1
