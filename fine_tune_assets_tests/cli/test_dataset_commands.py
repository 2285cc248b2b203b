"""`fine-tune datasets`: what a data set contains, and its import as general data or drafts."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_files
from fine_tune_assets.core.settings import PREFIX
from fine_tune_assets.instructions.general_data import read_general_data
from fine_tune_assets_tests.dataset_files.written_data import (
    FILES,
    FORMATS,
    FREE_COLUMNS,
    GENERAL,
    as_preferences,
    as_sharegpt,
    conversations,
    write_rows,
)

MARKER = "Zyxomarkwort"
ALPACA = {"instruction": "Why?", "output": "So."}


@pytest.fixture(autouse=True)
def general(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of general data, which does not exist yet."""
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data" / "general"


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two conversations, one of them with earlier turns, a tool call and a line that is not JSON."""
    path = tmp_path / "rows.jsonl"
    rows = [as_sharegpt(one) for one in conversations()[:2]]
    tool = {"conversations": [{"from": "human", "value": MARKER}, {"from": "observation", "value": MARKER}]}
    path.write_text("\n".join([*map(json.dumps, [*rows, tool]), f"{{{MARKER}", ""]))
    return path


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["datasets", *map(str, words)])


def facts(*words: object) -> dict[str, Any]:
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def import_words(path: Path, name: str = "chats", licence: str = "MIT") -> tuple[object, ...]:
    return "import", path, "--name", name, "--licence", licence


def test_a_check_counts_rows_by_outcome_and_stores_nothing(mixed: Path, general: Path) -> None:
    """Exit status 1, so that a script notices refused rows."""
    done = run("check", mixed, "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["files"] == [{"file": "rows.jsonl", "kind": "JSON Lines", "format": "sharegpt"}]
    assert (found["rows"], found["conversations"], found["single_turn"], found["multi_turn"]) == (4, 2, 1, 1)
    assert found["refused_by_reason"] == {"not JSON": 1, "tool call": 1}
    assert MARKER not in done.output + run("check", mixed).output
    assert not general.exists()


def test_an_import_writes_messages_with_source_and_licence(mixed: Path, general: Path) -> None:
    """Refused rows are listed with their place, without their text."""
    found = facts(*import_words(mixed), "--source", "Chats of 2026")
    folder = general / "chats"
    assert (found["conversations"], found["refused"], found["folder"]) == (2, 2, str(folder))
    assert yaml.safe_load((folder / "source.yaml").read_text()) == {
        "source": "Chats of 2026", "licence": "MIT", "format": "messages",
    }  # fmt: skip
    with (folder / "refused.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["file", "row", "reason"], ["rows.jsonl", "3", "tool call"], ["rows.jsonl", "4", "not JSON"],
        ]  # fmt: skip
    rows = read_general_data(general).table.to_pylist()
    assert {row["source"] for row in rows} == {"Chats of 2026"}
    assert sorted(row["output"] for row in rows) == sorted(one.output for one in conversations()[:2])
    assert [len(row["history"]) for row in rows if row["history"]] == [2]


@pytest.mark.parametrize("file", ["rows.json", "rows.csv", "rows.parquet"])
@pytest.mark.parametrize("row_format", sorted(set(FORMATS) - {"preferences"}))
def test_every_format_gives_the_same_general_examples(
    tmp_path: Path, general: Path, row_format: str, file: str
) -> None:
    """Ids and fingerprints do not depend on how a data set was delivered."""
    written = conversations()
    path = write_rows(tmp_path, file, [FORMATS[row_format](one) for one in written])
    columns = ",".join(f"{name}={theirs}" for name, theirs in FREE_COLUMNS.items())
    facts(*import_words(path, "given"), *(["--columns", columns] if row_format == "free" else []))
    first = write_rows(tmp_path, "rows.jsonl", [as_sharegpt(one) for one in written])
    facts(*import_words(first, "reference"), "--source", "reference")
    table = read_general_data(general).table
    fingerprints: dict[str, set[str]] = {}
    for row in table.to_pylist():
        fingerprints.setdefault(row["source"], set()).add(row["fingerprint"])
    assert fingerprints["given"] == fingerprints["reference"]
    assert len(fingerprints["given"]) > 100


def test_an_import_of_the_bundled_data_keeps_every_fingerprint(general: Path) -> None:
    """Also for instructions of several paragraphs and for texts with spaces around them."""
    facts(*import_words(GENERAL))
    imported, bundled = (read_general_data(folder).table for folder in (general, GENERAL))
    assert set(imported["fingerprint"].to_pylist()) == set(bundled["fingerprint"].to_pylist())


def test_a_dry_run_writes_nothing(mixed: Path, general: Path) -> None:
    found = facts(*import_words(mixed), "--dry-run")
    assert (found["conversations"], found["folder"]) == (2, None)
    assert not general.exists()


def test_an_existing_name_is_refused(mixed: Path, general: Path) -> None:
    """Nothing is replaced."""
    facts(*import_words(mixed))
    before = fingerprint_files(general)
    for words in (import_words(mixed, licence="Apache-2.0"), (*import_words(mixed), "--dry-run")):
        done = run(*words)
        assert done.exit_code == 1
        assert "chats exists" in done.stderr
    assert fingerprint_files(general) == before


@pytest.mark.parametrize(
    "name", ["", "..", "../up", "a/b", "A", ".hidden", "a" * 65, "bundled", "previous_set", "dolly_hhrlhf"]
)
def test_a_name_that_is_no_folder_name_or_reserved_is_refused(mixed: Path, tmp_path: Path, name: str) -> None:
    before = fingerprint_files(tmp_path)
    assert run(*import_words(mixed, name)).exit_code == 1
    assert fingerprint_files(tmp_path) == before


def test_a_licence_is_required(mixed: Path, general: Path) -> None:
    """A set must name the licence of each source."""
    assert run("import", mixed, "--name", "chats").exit_code == 2
    assert run(*import_words(mixed, licence=" ")).exit_code == 2
    assert not general.exists()


def test_one_source_has_one_licence(mixed: Path, general: Path) -> None:
    """Otherwise the stage would refuse all general data later."""
    facts(*import_words(mixed))
    done = run(*import_words(mixed, "more", "Apache-2.0"), "--source", "chats")
    assert (done.exit_code, sorted(path.name for path in general.iterdir())) == (1, ["chats"])


@pytest.mark.parametrize("name", ["rows.json", "rows.parquet", "rows.jsonl.gz"])
def test_a_damaged_file_imports_nothing(tmp_path: Path, general: Path, name: str) -> None:
    """All or nothing: no folder, and no temporary one."""
    path = write_rows(tmp_path, name, [as_sharegpt(one) for one in conversations()])
    path.write_bytes(path.read_bytes()[:-200])
    done = run(*import_words(path), "--format", "sharegpt")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: rows.")
    assert not general.exists() or list(general.iterdir()) == []


HH = "\n\nHuman: Why?\n\nAssistant: {}"
TURNS = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
        {"prompt": [TURNS[0]], "chosen": [TURNS[1]], "rejected": "No."},
        {"chosen": TURNS, "rejected": [TURNS[0], {"role": "assistant", "content": "No."}]},
        {"chosen": HH.format("So."), "rejected": HH.format("No.")},
        {"prompt": [{"role": "system", "content": "Be brief."}, TURNS[0]], "chosen": "So.", "rejected": "No."},
    ],
)
def test_preference_pairs_are_kept_with_their_licence_and_not_mixed_in(
    tmp_path: Path, general: Path, row: dict[str, Any]
) -> None:
    """No reviewer approved the preferred answer."""
    path = write_rows(tmp_path, "rows.jsonl", [row, row])
    found = facts(*import_words(path), "--source", "Ratings of 2026")
    assert (found["preference_pairs"], found["conversations"]) == (2, 0)
    kept = [json.loads(line) for line in (general / "chats" / "preferences.jsonl").read_text().splitlines()]
    plain = {"prompt": "Why?", "chosen": "So.", "rejected": "No."}
    simplified = {**row, **{n: plain[n] for n in row if isinstance(row[n], list) and len(row[n]) == 1}}
    assert kept == [simplified] * 2
    assert yaml.safe_load((general / "chats" / "source.yaml").read_text())["licence"] == "MIT"
    assert json.loads(run("list", "--json").stdout)[0]["preference_pairs"] == 2
    assert read_general_data(general).table.num_rows == 0
    again = facts(*import_words(general / "chats" / "preferences.jsonl", "again"))
    assert again["preference_pairs"] == 2
    assert (general / "again" / "preferences.jsonl").read_bytes() == (
        general / "chats" / "preferences.jsonl"
    ).read_bytes()


def test_an_import_of_pairs_says_what_becomes_of_them(tmp_path: Path, general: Path) -> None:
    """All 120 of the written pairs; conversations of the same data set are mixed in as usual."""
    path = tmp_path / "both"
    path.mkdir()
    write_rows(path, "rows.parquet", [as_preferences(one) for one in conversations()])
    write_rows(path, "rows.jsonl", [ALPACA])
    assert facts("check", path)["preference_pairs"] == 120
    assert "Kept for later use: 120 pairs" in run(*import_words(path)).output
    assert read_general_data(general).table.num_rows == 1


def test_an_import_records_the_hash_of_its_files(mixed: Path, general: Path) -> None:
    """Which bytes a training rests on."""
    facts(*import_words(mixed))
    record = yaml.safe_load((general / "chats" / "import.yaml").read_text())
    (file,) = record["files"]
    assert (file["name"], file["sha256"]) == ("rows.jsonl", fingerprint_file(mixed))
    assert (record["counts"]["conversations"], record["counts"]["refused"]) == (2, 2)


def test_a_data_set_becomes_a_batch_of_drafts(mixed: Path, general: Path) -> None:
    """With the source's name; rows that a draft can't hold are refused by reason."""
    found = facts("import", mixed, "--as", "drafts", "--source", "faq")
    folder = general.parent / "raw_reports" / "faq"
    assert (found["folder"], found["conversations"]) == (str(folder), 1)
    assert found["refused_by_reason"] == {"not JSON": 1, "several turns": 1, "tool call": 1}
    assert yaml.safe_load((folder / "batch.yaml").read_text())["source"] == "faq"
    assert not general.exists()
    again = run("import", mixed, "--as", "drafts", "--source", "faq")
    assert (again.exit_code, "exists" in again.stderr) == (1, True)
    assert MARKER not in again.output


def test_drafts_can_name_their_subject_and_batch(tmp_path: Path, general: Path) -> None:
    path = write_rows(tmp_path, "rows.csv", [{**ALPACA, "case": "A-17"}, {**ALPACA, "case": ""}])
    words = ("import", path, "--as", "drafts", "--source", "Ward questions", "--name", "faq-1", "--subject", "case")
    assert facts(*words, "--dry-run")["refused_by_reason"] == {"no subject": 1}
    assert not general.parent.exists()
    facts(*words)
    (row,) = (general.parent / "raw_reports" / "faq-1" / "rows-001.jsonl").read_text().splitlines()
    assert json.loads(row)["subject"] == "A-17"


@pytest.mark.parametrize(
    "words",
    [
        ("--licence", "MIT"),
        ("--name", "chats"),
        ("--name", "chats", "--licence", "MIT", "--subject", "case"),
        ("--as", "test", "--name", "chats", "--licence", "MIT"),
    ],
)
def test_options_that_do_not_fit_the_role_are_refused(mixed: Path, general: Path, words: tuple[str, ...]) -> None:
    """A licence belongs to general data, a subject to drafts."""
    assert run("import", mixed, *words).exit_code == 2
    assert not general.exists()


def test_columns_are_named_as_pairs(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("Q,A\nWhy?,So.\n")
    assert facts("check", path, "--columns", "instruction=Q, output=A")["conversations"] == 1
    assert run("check", path, "--columns", "instruction").exit_code == 2
    done = run("check", path)
    assert done.exit_code == 1
    assert "Q, A" in done.stderr


def test_the_list_names_source_licence_and_rows(mixed: Path) -> None:
    assert json.loads(run("list", "--json").stdout) == []
    assert "`fine-tune datasets import" in run("list").stdout
    facts(*import_words(mixed))
    assert json.loads(run("list", "--json").stdout) == [
        {
            "name": "chats",
            "mix_source": "chats",
            "source": "chats",
            "licence": "MIT",
            "format": "messages",
            "rows": 2,
            "preference_pairs": 0,
        }
    ]


def test_a_folder_that_was_imported_can_be_checked_again(mixed: Path, general: Path) -> None:
    """Its list of refused rows is ignored."""
    facts(*import_words(mixed))
    assert facts("check", general / "chats")["conversations"] == 2


def test_every_kind_of_file_can_be_checked(tmp_path: Path) -> None:
    for name in FILES:
        path = write_rows(tmp_path, name, [ALPACA])
        assert facts("check", path)["conversations"] == 1
