"""The page that shows what is learned: the right tokens are coloured, and no text becomes markup."""

import re
from pathlib import Path

import pytest

from fine_tune_assets.core.prompts.chat import conversation
from fine_tune_assets.core.prompts.chat_templates import read_chat_template
from fine_tune_assets.core.prompts.tokenizers import FolderTokenizer
from fine_tune_assets.training.supervision.loss_mask import supervise
from fine_tune_assets.training.supervision.mask_page import SHOWN_PER_TASK, chosen_examples, mask_page, shown_example
from fine_tune_assets_tests.core.model_folders import TEMPLATE, make_model_folder
from fine_tune_assets_tests.instructions.examples import built

NASTY = "<script>alert('x')</script> & \"quoted\"\nline 😀 é"


@pytest.fixture
def tokenizer(tmp_path: Path) -> FolderTokenizer:
    return FolderTokenizer(make_model_folder(tmp_path / "model"), TEMPLATE)


def _page(tokenizer: FolderTokenizer, text: str, answer: str) -> str:
    row = supervise(tokenizer, "e-1", conversation("Be <b>brief</b>.", "Name it.", text, answer))
    stops = [tokenizer.eos_token_id]
    return mask_page([shown_example(row, "plan", tokenizer, stops)], [("base model", "<i>x</i>")])


def _spans(page: str, kind: str) -> list[str]:
    return re.findall(rf'<span class="t {kind}" title="[0-9 ]+">(.*?)</span>', page, re.DOTALL)


def test_exactly_the_answer_is_coloured_and_its_stop_token_marked(tokenizer: FolderTokenizer) -> None:
    """A reader who sees a report's words in green has found the mistake."""
    page = _page(tokenizer, "I cough.", "Cough.")
    assert "".join(_spans(page, "learned")) == "Cough."
    assert _spans(page, "stop special") == ["&lt;end&gt;"]
    assert _spans(page, "read special") == [
        "&lt;system&gt;", "&lt;end&gt;", "&lt;user&gt;", "&lt;end&gt;", "&lt;assistant&gt;",
    ]  # fmt: skip
    assert "".join(_spans(page, "read")) == "Be &lt;b&gt;brief&lt;/b&gt;.↵\nName it.↵\n↵\nI cough.↵\n"
    assert "e-1: 7 of" in page


def test_no_text_of_a_report_becomes_markup_and_the_page_asks_for_nothing(tokenizer: FolderTokenizer) -> None:
    """It is opened in a browser inside the network."""
    page = _page(tokenizer, NASTY, NASTY)
    assert "<script" not in page
    assert "<i>" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert not re.search(r"<(?:img|link|iframe|a|form)\b|\bon\w+=|url\(", page)


def test_letters_of_several_tokens_are_shown_whole(tokenizer: FolderTokenizer) -> None:
    """This tokenizer reads bytes: a smiley is four tokens."""
    page = _page(tokenizer, "x", "é 😀")
    assert _spans(page, "learned") == ["é", " ", "😀"]


def test_some_training_examples_of_each_task_are_shown_and_always_the_same() -> None:
    """A page that changes without a reason can't be compared."""
    table = built().table
    chosen = chosen_examples(table)
    rows = {row["example_id"]: row for row in table.to_pylist()}
    tasks = [rows[example]["task"] for example in chosen]
    assert {rows[example]["split"] for example in chosen} == {"train"}
    assert set(tasks) == {row["task"] for row in rows.values() if row["split"] == "train"}
    assert all(tasks.count(task) <= SHOWN_PER_TASK for task in tasks)
    assert chosen == chosen_examples(table.take(list(reversed(range(table.num_rows)))))


@pytest.mark.slow
def test_the_real_tokenizers_pieces_are_the_text(smollm2: Path) -> None:
    """Put together, what is shown is what the model reads."""
    tokenizer = FolderTokenizer(smollm2, read_chat_template(smollm2))
    said = conversation("Be brief.", "Name it.", "Größe 1,80 m 日本語 😀\n\n 12 mg", "Cough 😀 and pain.")
    row = supervise(tokenizer, "e", said)
    shown = shown_example(row, "plan", tokenizer, [tokenizer.eos_token_id])
    text = tokenizer.apply_chat_template(said, add_generation_prompt=False)
    assert "".join(piece.text for piece in shown.pieces) == text.removesuffix("\n")
