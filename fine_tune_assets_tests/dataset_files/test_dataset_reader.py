"""Data sets of every format and kind of file give the same conversations, and what is not clear is an error."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fine_tune_assets.dataset_files.dataset_reader import open_dataset
from fine_tune_assets.dataset_files.dataset_rows import Conversation, DatasetCounts, DatasetError, PreferencePair, Turn
from fine_tune_assets_tests.dataset_files.written_data import (
    FILES,
    FORMATS,
    FREE_COLUMNS,
    GENERAL,
    as_alpaca,
    as_messages,
    as_preferences,
    as_sharegpt,
    conversations,
    json_lines,
    write_rows,
)

MARKER = "Zyxomarkwort"
TURN = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
TURNS = (Turn("user", "Why?"), Turn("assistant", "So."))
DIALOGUE = "\n\nHuman: Why?\n\nAssistant: So."


def contents(path: Path, *args: Any) -> list[Any]:
    return [row.content for row in open_dataset(path, *args).rows()]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("row_format", sorted(set(FORMATS) - {"preferences"}))
def test_every_format_in_every_file_gives_the_same_conversations(tmp_path: Path, row_format: str, file: str) -> None:
    """With system prompt, category and earlier turns; the format is found without naming it."""
    written = conversations()
    path = write_rows(tmp_path, file, [FORMATS[row_format](one) for one in written])
    columns = FREE_COLUMNS if row_format == "free" else {}
    dataset = open_dataset(path, None, columns)
    assert [one.format for one in dataset.files] == ["alpaca" if row_format == "free" else row_format]
    assert tuple(row.content for row in dataset.rows()) == written


@pytest.mark.parametrize("file", FILES)
def test_preference_pairs_are_counted(tmp_path: Path, file: str) -> None:
    """They are recognized, so that no one imports the chosen answers by mistake."""
    path = write_rows(tmp_path, file, [as_preferences(one) for one in conversations()])
    counts = DatasetCounts().count(open_dataset(path).rows())
    assert (counts.rows, counts.preference_pairs, counts.conversations) == (120, 120, 0)


@pytest.mark.parametrize(
    ("row", "pair"),
    [
        ({"prompt": "Why?", "chosen": "So.", "rejected": "No."}, PreferencePair("So.", "No.", "Why?")),
        ({"chosen": TURN, "rejected": TURN}, PreferencePair(TURNS, TURNS)),
        ({"prompt": TURN[:1], "chosen": TURN[1:], "rejected": "No."}, PreferencePair("So.", "No.", "Why?")),
        ({"chosen": DIALOGUE, "rejected": DIALOGUE}, PreferencePair(DIALOGUE, DIALOGUE)),
    ],
)
def test_preference_pairs_have_several_forms(tmp_path: Path, row: dict[str, Any], pair: PreferencePair) -> None:
    """Texts, messages, and whole conversations as in Anthropic's HH-RLHF."""
    (tmp_path / "pairs.jsonl").write_bytes(json_lines([row]))
    assert contents(tmp_path) == [pair]


def test_folders_of_save_to_disk_are_read_split_by_split(tmp_path: Path) -> None:
    """Their metadata files are JSON too, and are ignored."""
    import datasets

    rows = [as_sharegpt(one) for one in conversations()]
    splits = {"train": datasets.Dataset.from_list(rows[:90]), "test": datasets.Dataset.from_list(rows[90:])}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    dataset = open_dataset(tmp_path / "saved")
    assert [Path(file.name).parent.name for file in dataset.files] == ["test", "train"]
    found = [row.content for row in dataset.rows()]
    assert (*found[30:], *found[:30]) == conversations()
    assert "dataset_dict.json" in dataset.ignored


def test_a_folder_holds_files_of_several_kinds_and_formats(tmp_path: Path) -> None:
    """Notes and licences are ignored by name; rows state their file and number."""
    one, two = conversations()[:2]
    (tmp_path / "part").mkdir()
    write_rows(tmp_path, "rows.csv", [as_alpaca(one)])
    write_rows(tmp_path / "part", "rows.json", [as_messages(two), as_messages(one)])
    (tmp_path / "README.md").write_text("Notes, with a comma.\n")
    (tmp_path / ".hidden.jsonl").write_text("{}\n")
    dataset = open_dataset(tmp_path)
    assert [(row.file, row.number) for row in dataset.rows()] == [
        ("part/rows.json", 1), ("part/rows.json", 2), ("rows.csv", 1),
    ]  # fmt: skip
    assert {file.format for file in dataset.files} == {"alpaca", "messages"}
    assert dataset.ignored == ("README.md",)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.json"])
def test_a_file_without_rows_is_ignored(tmp_path: Path, name: str) -> None:
    """An empty split does not stop the others."""
    (tmp_path / "rows.jsonl").write_bytes(json_lines([as_preferences(conversations()[0])]))
    empty = write_rows(tmp_path, name, [as_alpaca(conversations()[0])])
    if name == "rows.parquet":
        pq.write_table(pq.read_table(empty).slice(0, 0), empty)
    else:
        empty.write_text("[]" if name == "rows.json" else "instruction,output\n")
    dataset = open_dataset(tmp_path)
    assert [file.name for file in dataset.files] == ["rows.jsonl"]
    assert dataset.ignored == (name,)


def test_utf16_is_named(tmp_path: Path) -> None:
    """Some Windows programs write it; every row would be refused."""
    (tmp_path / "rows.jsonl").write_text('{"instruction": "Why?", "output": "So."}', encoding="utf-16")
    with pytest.raises(DatasetError, match="UTF-16"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("name", ["dolly_hhrlhf", "self_instruct"])
def test_the_bundled_data_have_formats_of_their_own(name: str) -> None:
    assert {file.format for file in open_dataset(GENERAL / name).files} == {name}


def test_the_name_of_a_file_does_not_decide(tmp_path: Path) -> None:
    """Parquet that is named JSON is still Parquet."""
    path = write_rows(tmp_path, "rows.parquet", [as_alpaca(one) for one in conversations()])
    assert open_dataset(path.rename(tmp_path / "rows.json")).files[0].kind.name == "Parquet"


def test_several_fitting_formats_need_a_choice(tmp_path: Path) -> None:
    """Some preference sets hold the chosen conversation as `messages` too."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json_lines([{"messages": TURN, "chosen": TURN, "rejected": TURN}]))
    with pytest.raises(DatasetError, match="--format") as caught:
        open_dataset(path)
    assert "chosen, rejected" in str(caught.value)
    assert isinstance(contents(path, "messages")[0], Conversation)
    assert contents(path, "preferences") == [PreferencePair(TURNS, TURNS)]


def test_unknown_columns_need_a_mapping(tmp_path: Path) -> None:
    """The error names the columns, and never a text in their place."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json_lines([{"Q": "Why?", "A": "So.", f"{MARKER}, is it?": 1}]))
    with pytest.raises(DatasetError, match=r"--columns") as caught:
        open_dataset(path)
    assert "Q, A, (no name)" in str(caught.value)
    assert MARKER not in str(caught.value)
    assert contents(path, None, {"instruction": "Q", "output": "A"}) == [Conversation("Why?", "", "So.")]


@pytest.mark.parametrize(("row_format", "columns"), [("unknown", None), (None, {"question": "Q"})])
def test_unknown_choices_are_refused(tmp_path: Path, row_format: str | None, columns: dict[str, str] | None) -> None:
    with pytest.raises(DatasetError, match=r"unknown|question"):
        open_dataset(tmp_path, row_format, columns)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"some words", b"\x00\x01\x02"])
def test_files_without_rows_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content)
    for path in (tmp_path, tmp_path / "rows.jsonl"):
        with pytest.raises(DatasetError, match="no rows"):
            open_dataset(path)


@pytest.mark.parametrize("name", ["rows.json", "rows.parquet", "rows.arrow", "stream.arrow", "rows.jsonl.gz"])
def test_an_incomplete_file_is_an_error(tmp_path: Path, name: str) -> None:
    """Half of a download must not pass as the whole data set."""
    path = write_rows(tmp_path, name, [as_alpaca(one) for one in conversations()])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DatasetError, match=r"incomplete|damaged|end|read"):
        list(open_dataset(path, "alpaca").rows())


def test_text_is_in_no_repr() -> None:
    """A repr can end up in a log."""
    conversation = Conversation(MARKER, MARKER, MARKER, system=MARKER, kind=MARKER)
    assert MARKER not in repr(conversation)


def test_counts_name_the_longest_question_and_answer(tmp_path: Path) -> None:
    """They decide `max_length`."""
    (tmp_path / "rows.jsonl").write_bytes(
        json_lines([{"instruction": "a" * 7, "output": "b" * 9}, {"instruction": "a", "input": "b", "output": "c"}])
    )
    facts = DatasetCounts().count(open_dataset(tmp_path).rows()).facts
    assert (facts["longest_question"], facts["longest_answer"], facts["rows"]) == (7, 9, 2)


def test_an_instruction_of_several_paragraphs_can_be_named(tmp_path: Path) -> None:
    """Without the hint, the first paragraph is the instruction."""
    turns = [{"role": "user", "content": "One.\n\nTwo.\n\nThree."}, TURN[1]]
    (tmp_path / "rows.jsonl").write_bytes(
        json_lines([{"messages": turns}, {"messages": turns, "instruction": "One.\n\nTwo."}])
    )
    found = [(one.instruction, one.input) for one in contents(tmp_path)]
    assert found == [("One.", "Two.\n\nThree."), ("One.\n\nTwo.", "Three.")]


def test_content_parts_of_text_are_joined(tmp_path: Path) -> None:
    """OpenAI's format for messages with images holds texts as parts."""
    parts = [{"type": "text", "text": "Why?"}, {"type": "text", "text": "Really?"}]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": parts}, TURN[1]]}))
    assert [one.question for one in contents(tmp_path)] == ["Why?\nReally?"]
