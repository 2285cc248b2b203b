"""A row of a data set as a report: what can be one, and that its texts come back unchanged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.dataset_files.dataset_rows import Conversation, DatasetRow, PreferencePair, Refusal, Turn
from fine_tune_assets.dataset_files.row_reports import (
    INPUT,
    INSTRUCTION,
    OUTPUT,
    RowTexts,
    refuse_unusable,
    split_row_report,
)


def report(**texts: str) -> str:
    """As stage 1 builds it from a row: markers of empty texts are omitted."""
    parts = {INSTRUCTION: texts["instruction"], INPUT: texts["input"], OUTPUT: texts["output"]}
    return "\n\n".join(f"{marker}\n\n{text.strip()}" for marker, text in parts.items() if text.strip()) + "\n"


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=40)


@given(instruction=TEXT, input_text=TEXT, output=TEXT.filter(str.strip))
def test_a_row_keeps_its_texts(instruction: str, input_text: str, output: str) -> None:
    """Also texts with headings in capitals, which would end a section of an ordinary report."""
    found = split_row_report(report(instruction=instruction, input=input_text, output=output))
    if instruction.strip() or input_text.strip():
        assert found == RowTexts(instruction.strip(), input_text.strip(), output.strip())
    else:
        assert found is None


def test_headings_in_a_text_do_not_end_it() -> None:
    texts = {"instruction": "Summarize.", "input": "PLAN:\nRest.\n\nALLERGIES\nNone.", "output": "ASSESSMENT\n\nFine."}
    assert split_row_report(report(**texts)) == RowTexts(**texts)


@pytest.mark.parametrize(
    "text",
    [
        "PLAN\nRest.",
        f"A letter.\n{INSTRUCTION}\nWhy?\n{OUTPUT}\nSo.",
        f"{INSTRUCTION}\nWhy?",
        f"{OUTPUT}\nSo.",
        f"{INSTRUCTION}\nWhy?\n{OUTPUT}\nSo.\n{OUTPUT}\nNo.",
        f"{INSTRUCTION}\nWhy?\n{OUTPUT}\n",
    ],
)
def test_other_reports_are_no_rows(text: str) -> None:
    """A report that quotes a marker, or that lost a part, must not become an example."""
    assert split_row_report(text) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (Conversation("Why?", "", "So.", (Turn("user", "Hello"), Turn("assistant", "Hi"))), Refusal.SEVERAL_TURNS),
        (PreferencePair("So.", "No.", "Why?"), Refusal.PREFERENCE_PAIR),
        (Conversation("Why?", "", f"So.\n {OUTPUT} \nNo."), Refusal.MARKER_LINE),
        (Conversation("Why?", f"It is\r{INPUT}\rso.", "So."), Refusal.MARKER_LINE),
        (Refusal.EMPTY, Refusal.EMPTY),
    ],
)
def test_a_row_that_a_report_can_not_hold_is_refused_with_the_reason(
    content: Conversation | PreferencePair | Refusal, reason: Refusal
) -> None:
    """Earlier turns are never dropped silently."""
    (row,) = refuse_unusable([DatasetRow("rows.jsonl", 1, content)])
    assert row.content == reason


def test_a_row_with_one_turn_stays() -> None:
    row = DatasetRow("rows.jsonl", 1, Conversation("Why?", f"He wrote {INPUT}", "So."), "A-17")
    assert list(refuse_unusable([row])) == [row]
