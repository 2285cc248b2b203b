"""Which test conversations are asked, and that each of them has an answer to measure. A real tokenizer, no model."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.prompts.chat import Message, conversation, render
from fine_tune_assets.core.prompts.chat_templates import read_chat_template
from fine_tune_assets.core.prompts.tokenizers import FolderTokenizer
from fine_tune_assets.merging.probes import (
    TEXT_CHARACTERS,
    TEXTS,
    held_out_conversations,
    make_probes,
    shortened,
)
from fine_tune_assets_tests.core.model_folders import TEMPLATE, make_model_folder

LONG = "a" * TEXT_CHARACTERS


def _conversation(number: int, asked: str = "What is it?", answer: str = "A cough.") -> list[Message]:
    return conversation("Be brief.", f"Task {number}.", asked, answer)


def _set(path: Path, *messages: list[Message], split: str = "test") -> Path:
    rows = [{"example_id": f"e{n}", "split": split, "messages": one} for n, one in enumerate(messages)]
    others = [{"example_id": f"o{n}", "split": "train", "messages": _conversation(n)} for n in range(3)]
    pq.write_table(pa.Table.from_pylist([*others, *rows]), path)
    return path


def _tokenizer(folder: Path, template: str = TEMPLATE) -> FolderTokenizer:
    made = make_model_folder(folder, template)
    return FolderTokenizer(made, read_chat_template(made))


def test_a_few_of_the_test_split_are_chosen_and_always_the_same(tmp_path: Path) -> None:
    """In the order of their hashed ids, as long as there are enough that need not be cut."""
    asked = [_conversation(n, LONG if n % 2 else "What is it?") for n in range(2 * TEXTS + 4)]
    short = sorted((n for n in range(len(asked)) if n % 2 == 0), key=lambda n: fingerprint_text(f"e{n}"))
    found = held_out_conversations(_set(tmp_path / "set.parquet", *asked))
    assert found == [asked[n] for n in short[:TEXTS]]
    assert found == held_out_conversations(tmp_path / "set.parquet")


def test_where_all_are_long_the_shortest_are_taken(tmp_path: Path) -> None:
    asked = [_conversation(n, LONG + "b" * (20 - n)) for n in range(TEXTS + 2)]
    assert held_out_conversations(_set(tmp_path / "set.parquet", *asked)) == asked[: -TEXTS - 1 : -1]


def test_a_set_without_test_examples_says_so_before_a_model_is_loaded(tmp_path: Path) -> None:
    """And not that something was too long, or that merging changed the model."""
    path = _set(tmp_path / "set.parquet", _conversation(1), split="validation")
    with pytest.raises(GateClosedError, match="has no test example"):
        held_out_conversations(path)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [("What is it?", "A cough."), (LONG + "What is it?", "A cough."), ("What?", f"A cough{LONG}"), (LONG, LONG)],
    ids=["short", "long question", "long answer", "both"],
)
def test_there_is_always_an_answer_to_measure(tmp_path: Path, asked: str, answer: str) -> None:
    """An organisation whose reports are all long could else release nothing."""
    messages = _conversation(1, asked, answer)
    tokenizer = _tokenizer(tmp_path / "tiny")
    (text,) = make_probes(tokenizer, [messages], "Be brief.").texts
    learned = "".join(piece for _, piece in tokenizer.pieces(text.ids, text.answer_from, len(text.ids)))
    assert learned == f"{answer[: TEXT_CHARACTERS // 2]}<end>\n"
    assert len(text.text) < TEXT_CHARACTERS + 100
    assert text.text == render(tokenizer, shortened(messages), add_generation_prompt=False)
    assert asked[-5:] in text.text


def test_a_template_that_opens_answers_otherwise_still_has_an_answer(tmp_path: Path) -> None:
    """Some write a place for thoughts into the prompt only: what follows where they part is measured."""
    template = TEMPLATE.replace("%}<assistant>", "%}<assistant><think>")
    (text,) = make_probes(_tokenizer(tmp_path / "tiny", template), [_conversation(1)], "Be brief.").texts
    assert len(text.ids) - text.answer_from == len("A cough.") + 2


def test_what_is_short_enough_is_not_changed_and_a_system_prompt_stays() -> None:
    assert shortened(_conversation(1)) == _conversation(1)
    system, asked, answer = shortened(_conversation(1, LONG, "Yes."))
    assert (system["content"], answer["content"]) == ("Be brief.", "Yes.")
    assert len(system["content"] + asked["content"] + answer["content"]) == TEXT_CHARACTERS
