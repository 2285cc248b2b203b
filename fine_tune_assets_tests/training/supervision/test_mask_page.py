"""The loss mask page colours the supervised tokens and escapes all text."""

import re
from pathlib import Path

import pytest

from fine_tune_assets.core.prompts.chat_templates import read_chat_template
from fine_tune_assets.core.prompts.conversations import build_conversation
from fine_tune_assets.core.prompts.tokenizers import FolderTokenizer
from fine_tune_assets.training.supervision.loss_mask import supervise
from fine_tune_assets.training.supervision.mask_page import (
    EXAMPLES_PER_TASK,
    make_mask_example,
    render_mask_page,
    select_examples,
)
from fine_tune_assets_tests.core.model_folders import TEMPLATE, make_model_folder
from fine_tune_assets_tests.instructions.examples import built

NASTY = "<script>alert('x')</script> & \"quoted\"\nline 😀 é"


@pytest.fixture
def tokenizer(tmp_path: Path) -> FolderTokenizer:
    return FolderTokenizer(make_model_folder(tmp_path / "model"), TEMPLATE)


def _page(tokenizer: FolderTokenizer, text: str, answer: str) -> str:
    row = supervise(tokenizer, "e-1", build_conversation("Be <b>brief</b>.", "Name it.", text, answer))
    stops = [tokenizer.eos_token_id]
    return render_mask_page([make_mask_example(row, "plan", tokenizer, stops)], [("base model", "<i>x</i>")])


def _spans(page: str, kind: str) -> list[str]:
    return re.findall(rf'<span class="t {kind}" title="[0-9 ]+">(.*?)</span>', page, re.DOTALL)


def test_exactly_the_answer_is_coloured_and_its_stop_token_marked(tokenizer: FolderTokenizer) -> None:
    """Coloured words of a report would reveal a wrong mask."""
    page = _page(tokenizer, "I cough.", "Cough.")
    assert "".join(_spans(page, "supervised")) == "Cough."
    assert _spans(page, "stop special") == ["&lt;end&gt;"]
    assert _spans(page, "context special") == [
        "&lt;system&gt;", "&lt;end&gt;", "&lt;user&gt;", "&lt;end&gt;", "&lt;assistant&gt;",
    ]  # fmt: skip
    assert "".join(_spans(page, "context")) == "Be &lt;b&gt;brief&lt;/b&gt;.↵\nName it.↵\n↵\nI cough.↵\n"
    assert "e-1: 7 of" in page


def test_text_is_escaped_and_the_page_loads_nothing(tokenizer: FolderTokenizer) -> None:
    """People open it in a browser inside the network."""
    page = _page(tokenizer, NASTY, NASTY)
    assert "<script" not in page
    assert "<i>" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert not re.search(r"<(?:img|link|iframe|a|form)\b|\bon\w+=|url\(", page)


def test_a_character_of_several_tokens_is_shown_as_one(tokenizer: FolderTokenizer) -> None:
    """This tokenizer reads bytes: an emoji has four tokens."""
    page = _page(tokenizer, "x", "é 😀")
    assert _spans(page, "supervised") == ["é", " ", "😀"]


def test_the_same_training_examples_of_each_task_are_always_shown() -> None:
    """Pages of two runs must be comparable."""
    table = built().table
    chosen = select_examples(table)
    rows = {row["example_id"]: row for row in table.to_pylist()}
    tasks = [rows[example]["task"] for example in chosen]
    assert {rows[example]["split"] for example in chosen} == {"train"}
    assert set(tasks) == {row["task"] for row in rows.values() if row["split"] == "train"}
    assert all(tasks.count(task) <= EXAMPLES_PER_TASK for task in tasks)
    assert chosen == select_examples(table.take(list(reversed(range(table.num_rows)))))


@pytest.mark.slow
def test_the_real_tokenizers_pieces_are_the_text(smollm2: Path) -> None:
    """Joined, the pieces are the text that the model reads."""
    tokenizer = FolderTokenizer(smollm2, read_chat_template(smollm2))
    conversation = build_conversation("Be brief.", "Name it.", "Größe 1,80 m 日本語 😀\n\n 12 mg", "Cough 😀 and pain.")
    row = supervise(tokenizer, "e", conversation)
    shown = make_mask_example(row, "plan", tokenizer, [tokenizer.eos_token_id])
    text = tokenizer.apply_chat_template(conversation, add_generation_prompt=False)
    assert "".join(piece.text for piece in shown.pieces) == text.removesuffix("\n")
