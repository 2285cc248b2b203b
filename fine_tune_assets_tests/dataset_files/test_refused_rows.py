"""A faulty row is refused with its reason, and the rows around it are read."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.dataset_files.dataset_reader import open_dataset
from fine_tune_assets.dataset_files.dataset_rows import Conversation, Refusal
from fine_tune_assets.dataset_files.file_rows import MAX_ROW_BYTES

MARKER = "Zyxomarkwort"
USER, ANSWER = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}
GOOD = {"messages": [USER, ANSWER]}
ALPACA = {"instruction": "Why?", "output": "So."}
PAIR = {"prompt": "Why?", "chosen": "So.", "rejected": "No."}
IMAGE = {"type": "image_url", "image_url": {"url": MARKER}}


def outcomes(path: Path, row_format: str | None = None) -> list[Any]:
    return [row.content for row in open_dataset(path, row_format).rows()]


def with_neighbours(path: Path, line: bytes, row_format: str, good: dict[str, Any]) -> list[Any]:
    around = json.dumps(good).encode()
    path.write_bytes(b"\n".join([around, line, around]))
    first, found, last = outcomes(path, row_format)
    assert not isinstance(first, Refusal)
    assert not isinstance(last, Refusal)
    return found


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"messages": ' + MARKER.encode(), Refusal.NOT_JSON),
        (MARKER.encode(), Refusal.NOT_JSON),
        (b'{"messages": "\xff"}', Refusal.NOT_UTF8),
        (b'["' + MARKER.encode() + b'"]', Refusal.NOT_AN_OBJECT),
        (b"7", Refusal.NOT_AN_OBJECT),
        (b"null", Refusal.NOT_AN_OBJECT),
        (b"[" * 100_000 + b"]" * 100_000, Refusal.TOO_DEEP),
        (b'{"score": NaN}', Refusal.INVALID_VALUE),
        (b'{"score": -Infinity}', Refusal.INVALID_VALUE),
        (b'{"score": 1e999}', Refusal.INVALID_VALUE),
        (b'{"score": ' + b"9" * 5000 + b"}", Refusal.INVALID_VALUE),
        (b'{"messages": 1, "messages": 2}', Refusal.INVALID_VALUE),
        (b"{}", Refusal.MISSING_COLUMN),
        (b'{"messages": null}', Refusal.MISSING_COLUMN),
    ],
)
def test_a_faulty_line_is_refused(tmp_path: Path, line: bytes, reason: Refusal) -> None:
    """One line must not stop the import of a million."""
    assert with_neighbours(tmp_path / "rows.jsonl", line, "messages", GOOD) is reason


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ("some text", Refusal.WRONG_TYPE),
        (7, Refusal.WRONG_TYPE),
        ({"role": "user"}, Refusal.WRONG_TYPE),
        (["text"], Refusal.WRONG_TYPE),
        ([{"content": "Why?"}, ANSWER], Refusal.WRONG_TYPE),
        ([{"role": "user", "content": 7}, ANSWER], Refusal.WRONG_TYPE),
        ([{"role": "user", "content": {"text": "Why?"}}, ANSWER], Refusal.WRONG_TYPE),
        ([{"role": "user", "content": None}, ANSWER], Refusal.EMPTY),
        ([{"role": "user", "content": " \n"}, ANSWER], Refusal.EMPTY),
        ([USER, {"role": "assistant", "content": ""}], Refusal.EMPTY),
        ([{"role": "user", "content": "a\0b"}, ANSWER], Refusal.NUL),
        ([{"role": "user", "content": "a\ud800"}, ANSWER], Refusal.SURROGATE),
        ([{"role": "critic", "content": "Why?"}, ANSWER], Refusal.UNKNOWN_ROLE),
        ([], Refusal.TURN_ORDER),
        ([USER], Refusal.TURN_ORDER),
        ([ANSWER, USER], Refusal.TURN_ORDER),
        ([USER, USER, ANSWER], Refusal.TURN_ORDER),
        ([USER, ANSWER, ANSWER], Refusal.TURN_ORDER),
        ([USER, ANSWER, USER], Refusal.TURN_ORDER),
        ([USER, {"role": "system", "content": "Be brief."}, ANSWER], Refusal.TURN_ORDER),
        ([USER, {"role": "tool", "content": "4"}, ANSWER], Refusal.TOOL_CALL),
        ([USER, {"from": "observation", "value": "4"}, ANSWER], Refusal.TOOL_CALL),
        ([USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}], Refusal.TOOL_CALL),
        ([{"role": "user", "content": [IMAGE]}, ANSWER], Refusal.MEDIA),
    ],
)
def test_a_faulty_conversation_is_refused(tmp_path: Path, messages: Any, reason: Refusal) -> None:
    """As messages and as ShareGPT turns, which are read by the same rules."""
    for row_format, column in (("messages", "messages"), ("sharegpt", "conversations")):
        line = json.dumps({column: messages}).encode()
        found = with_neighbours(tmp_path / "rows.jsonl", line, row_format, {column: [USER, ANSWER]})
        assert found is reason


@pytest.mark.parametrize(
    ("row_format", "row", "reason"),
    [
        ("messages", {**GOOD, "tools": [{"name": "search"}]}, Refusal.TOOL_CALL),
        ("messages", {**GOOD, "images": ["a.png"]}, Refusal.MEDIA),
        ("messages", {**GOOD, "system": 7}, Refusal.WRONG_TYPE),
        ("alpaca", {**ALPACA, "instruction": ""}, Refusal.EMPTY),
        ("alpaca", {**ALPACA, "output": None}, Refusal.MISSING_COLUMN),
        ("alpaca", {**ALPACA, "input": ["a"]}, Refusal.WRONG_TYPE),
        ("alpaca", {**ALPACA, "history": [["Why?"]]}, Refusal.WRONG_TYPE),
        ("alpaca", {**ALPACA, "history": [["Why?", ""]]}, Refusal.EMPTY),
        ("preferences", {"prompt": "Why?", "chosen": "So."}, Refusal.MISSING_COLUMN),
        ("preferences", {"chosen": "So.", "rejected": "No."}, Refusal.MISSING_COLUMN),
        ("preferences", {**PAIR, "rejected": 7}, Refusal.WRONG_TYPE),
        ("preferences", {**PAIR, "chosen": [USER]}, Refusal.TURN_ORDER),
        ("prompt_completion", {"prompt": "Why?", "completion": ""}, Refusal.EMPTY),
        ("prompt_completion", {"prompt": [ANSWER], "completion": [ANSWER]}, Refusal.TURN_ORDER),
        ("dolly_hhrlhf", {"prompt": "Why?", "response": "So."}, Refusal.NO_TEMPLATE),
        ("self_instruct", {"instruction": "Why?", "instances": []}, Refusal.EMPTY),
        ("self_instruct", {"instruction": "Why?", "instances": ["So."]}, Refusal.WRONG_TYPE),
        ("self_instruct", {"instruction": "Why?", "instances": [{"input": ""}]}, Refusal.EMPTY),
    ],
)
def test_a_faulty_row_of_another_format_is_refused(
    tmp_path: Path, row_format: str, row: dict[str, Any], reason: Refusal
) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    assert outcomes(tmp_path, row_format) == [reason]


def test_a_list_that_names_no_tool_or_image_is_harmless(tmp_path: Path) -> None:
    """Exports of other trainers have these columns in every row."""
    (tmp_path / "rows.jsonl").write_text(json.dumps({**GOOD, "tools": "[]", "images": []}))
    assert isinstance(outcomes(tmp_path)[0], Conversation)


def test_a_huge_line_is_refused(tmp_path: Path) -> None:
    """A file without line breaks must not fill the memory."""
    line = json.dumps({"messages": "x" * 2 * MAX_ROW_BYTES}).encode()
    assert with_neighbours(tmp_path / "rows.jsonl", line, "messages", GOOD) is Refusal.TOO_LARGE


def test_faulty_elements_of_an_array_are_refused(tmp_path: Path) -> None:
    """As long as their brackets and quotation marks match."""
    good = json.dumps(ALPACA)
    elements = [good, '{"instruction" "a"}', good, '{"instruction": "]}", "output": NaN}', "7", good]
    (tmp_path / "rows.json").write_text(f"[{', '.join(elements)}]")
    found = outcomes(tmp_path)
    assert [one if isinstance(one, Refusal) else "read" for one in found] == [
        "read", Refusal.NOT_JSON, "read", Refusal.INVALID_VALUE, Refusal.NOT_AN_OBJECT, "read",
    ]  # fmt: skip


def test_faulty_records_of_csv_are_refused(tmp_path: Path) -> None:
    """A quotation mark without its partner takes only its own line along."""
    lines = [b"instruction,output", b"Why?,So.", b'"Why?,So.', b"Why?,\xff", b"Why?,So.,7", b"Why?,So."]
    (tmp_path / "rows.csv").write_bytes(b"\n".join(lines))
    found = outcomes(tmp_path)
    assert [one if isinstance(one, Refusal) else "read" for one in found] == [
        "read", Refusal.NOT_CSV, Refusal.NOT_UTF8, Refusal.COLUMN_COUNT, "read",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "column", [pa.array([1, 2, 3]), pa.array([float("nan")] * 3), pa.array([None] * 3, pa.string())]
)
def test_other_types_in_parquet_are_refused(tmp_path: Path, column: pa.Array) -> None:
    pq.write_table(pa.table({"instruction": ["a", "b", "c"], "output": column}), tmp_path / "rows.parquet")
    expected = Refusal.MISSING_COLUMN if column.null_count else Refusal.WRONG_TYPE
    assert outcomes(tmp_path, "alpaca") == [expected] * 3


def test_a_text_in_parquet_that_is_not_utf8_is_refused_alone(tmp_path: Path) -> None:
    """pyarrow refuses the whole batch."""
    texts = pa.array([b"a", b"\xff", b"c"], pa.binary()).cast(pa.string(), safe=False)
    table = pa.table({"instruction": texts, "output": ["So."] * 3, "at": pa.array([2**62] * 3, pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "rows.parquet")
    found = outcomes(tmp_path)
    assert found == [Conversation("a", "", "So."), Refusal.NOT_UTF8, Conversation("c", "", "So.")]
