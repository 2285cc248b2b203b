"""Which test conversations become probes; each has an answer to measure. Real tokenizer, no model."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.prompts.chat_templates import read_chat_template
from fine_tune_assets.core.prompts.conversations import Message, build_conversation, render
from fine_tune_assets.core.prompts.tokenizers import FolderTokenizer
from fine_tune_assets.merging.probes import (
    MAX_TEXT_CHARACTERS,
    TEXTS,
    held_out_conversations,
    make_probes,
    shorten,
)
from fine_tune_assets_tests.core.model_folders import TEMPLATE, make_model_folder

LONG = "a" * MAX_TEXT_CHARACTERS


def _conversation(number: int, question: str = "What is it?", answer: str = "A cough.") -> list[Message]:
    return build_conversation("Be brief.", f"Task {number}.", question, answer)


def _set(path: Path, *messages: list[Message], split: str = "test") -> Path:
    rows = [{"example_id": f"e{n}", "split": split, "messages": one} for n, one in enumerate(messages)]
    others = [{"example_id": f"o{n}", "split": "train", "messages": _conversation(n)} for n in range(3)]
    pq.write_table(pa.Table.from_pylist([*others, *rows]), path)
    return path


def _tokenizer(folder: Path, template: str = TEMPLATE) -> FolderTokenizer:
    made = make_model_folder(folder, template)
    return FolderTokenizer(made, read_chat_template(made))


def test_the_same_few_test_conversations_are_always_chosen(tmp_path: Path) -> None:
    """By hashed id, from conversations that need not be cut, if there are enough."""
    conversations = [_conversation(n, LONG if n % 2 else "What is it?") for n in range(2 * TEXTS + 4)]
    short = sorted((n for n in range(len(conversations)) if n % 2 == 0), key=lambda n: fingerprint_text(f"e{n}"))
    chosen = held_out_conversations(_set(tmp_path / "set.parquet", *conversations))
    assert chosen == [conversations[n] for n in short[:TEXTS]]
    assert chosen == held_out_conversations(tmp_path / "set.parquet")


def test_if_all_are_long_the_shortest_are_chosen(tmp_path: Path) -> None:
    conversations = [_conversation(n, LONG + "b" * (20 - n)) for n in range(TEXTS + 2)]
    assert held_out_conversations(_set(tmp_path / "set.parquet", *conversations)) == conversations[: -TEXTS - 1 : -1]


def test_a_set_without_test_examples_fails_before_a_model_is_loaded(tmp_path: Path) -> None:
    """The error must name the missing test split, not a later symptom."""
    path = _set(tmp_path / "set.parquet", _conversation(1), split="validation")
    with pytest.raises(GateClosedError, match="`split`"):
        held_out_conversations(path)


@pytest.mark.parametrize(
    ("question", "answer"),
    [("What is it?", "A cough."), (LONG + "What is it?", "A cough."), ("What?", f"A cough{LONG}"), (LONG, LONG)],
    ids=["short", "long question", "long answer", "both"],
)
def test_there_is_always_an_answer_to_measure(tmp_path: Path, question: str, answer: str) -> None:
    """Otherwise an organization with long reports could release nothing."""
    messages = _conversation(1, question, answer)
    tokenizer = _tokenizer(tmp_path / "tiny")
    (text,) = make_probes(tokenizer, [messages], "Be brief.").texts
    learned = "".join(piece for _, piece in tokenizer.split_pieces(text.ids, text.answer_start, len(text.ids)))
    assert learned == f"{answer[: MAX_TEXT_CHARACTERS // 2]}<end>\n"
    assert len(text.text) < MAX_TEXT_CHARACTERS + 100
    assert text.text == render(tokenizer, shorten(messages), add_generation_prompt=False)
    assert question[-5:] in text.text


def test_a_template_with_another_answer_prefix_still_has_an_answer(tmp_path: Path) -> None:
    """Some templates add a thinking block to the prompt only; measurement starts where the two diverge."""
    template = TEMPLATE.replace("%}<assistant>", "%}<assistant><think>")
    (text,) = make_probes(_tokenizer(tmp_path / "tiny", template), [_conversation(1)], "Be brief.").texts
    assert len(text.ids) - text.answer_start == len("A cough.") + 2


def test_short_conversations_are_unchanged_and_the_system_prompt_stays() -> None:
    assert shorten(_conversation(1)) == _conversation(1)
    system, question, answer = shorten(_conversation(1, LONG, "Yes."))
    assert (system["content"], answer["content"]) == ("Be brief.", "Yes.")
    assert len(system["content"] + question["content"] + answer["content"]) == MAX_TEXT_CHARACTERS
