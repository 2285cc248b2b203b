"""Each answer and its stop token are supervised, and nothing else."""

from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.prompts.chat_templates import read_chat_template
from fine_tune_assets.core.prompts.conversations import Message, build_conversation
from fine_tune_assets.core.prompts.tokenizers import FolderTokenizer
from fine_tune_assets.training.supervision.loss_mask import (
    IGNORE_INDEX,
    PromptContractError,
    SupervisedRow,
    TooLongError,
    require_rows_fit,
    supervise,
    supervise_rows,
)
from fine_tune_assets_tests.core.model_folders import ROLES, TEMPLATE, make_model_folder

MESSAGES = build_conversation("Be brief.", "Summarize.", "Patient: I cough.", "Cough.")
TWO_TURNS: list[Message] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "First?"},
    {"role": "assistant", "content": "One."},
    {"role": "user", "content": "Second?"},
    {"role": "assistant", "content": "Two."},
]


@pytest.fixture
def plain(tmp_path: Path) -> FolderTokenizer:
    """A template of no known family, without marks."""
    return FolderTokenizer(make_model_folder(tmp_path / "plain"), TEMPLATE)


def _model(tmp_path: Path, template: str, added: tuple[str, ...] = ROLES, **tokens: Any) -> FolderTokenizer:
    return FolderTokenizer(make_model_folder(tmp_path / "model", template, added, **tokens), template)


def _supervised_text(tokenizer: FolderTokenizer, row: SupervisedRow) -> str:
    ids = [label for label in row.labels if label != IGNORE_INDEX]
    return "".join(text for _, text in tokenizer.split_pieces(ids, 0, len(ids)))


def test_every_answer_is_supervised_with_its_stop_token(plain: FolderTokenizer) -> None:
    """Loss on user messages would train the model on patients' texts."""
    row = supervise(plain, "e1", TWO_TURNS)
    assert (row.turns, row.supervised_turns) == (2, 2)
    assert _supervised_text(plain, row) == "One.<end>Two.<end>"


def test_an_empty_answer_supervises_only_the_stop_token(plain: FolderTokenizer) -> None:
    """It teaches to stop at once."""
    assert _supervised_text(plain, supervise(plain, "e1", build_conversation("p", "i", "x", ""))) == "<end>"


def test_stop_tokens_are_those_of_the_contract(tmp_path: Path) -> None:
    """A tokenizer's EOS token does not always end a turn."""
    tokenizer = _model(tmp_path, TEMPLATE, eos="<bos>")
    end = tokenizer.token_id("<end>")
    assert end is not None
    assert _supervised_text(tokenizer, supervise(tokenizer, "e1", MESSAGES, [end])) == "Cough.<end>"
    with pytest.raises(PromptContractError, match=r"Example e1: .*stop token"):
        supervise(tokenizer, "e1", MESSAGES)


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{{ messages | length }} turns: " + TEMPLATE, "chat template"),
        (TEMPLATE.replace("<assistant>{% endif %}", "<assistant>now{% endif %}"), "prompt differently"),
        (TEMPLATE.replace("<end>", "{% if m.role != 'assistant' %}<end>{% endif %}"), "stop token"),
        (TEMPLATE.replace("{{ m.content }}", "{{ m.content | upper }}"), "another text"),
    ],
)
def test_a_template_unsuitable_for_training_is_refused(tmp_path: Path, template: str, fault: str) -> None:
    """With each of these, inference prompts would differ from training, or the model would never stop."""
    tokenizer = _model(tmp_path, template)
    with pytest.raises(PromptContractError, match=f"Example e7: .*{fault}") as caught:
        supervise(tokenizer, "e7", TWO_TURNS)
    assert "e7" not in caught.value.reason
    assert "First?" not in str(caught.value)


def test_a_stop_token_within_an_answer_is_refused(plain: FolderTokenizer) -> None:
    """The model would learn to stop there, as the engine would. In a question it is harmless."""
    with pytest.raises(PromptContractError, match=r"e1: .*stop token"):
        supervise(plain, "e1", build_conversation("p", "i", "x", "Cough.<end> And fever."))
    assert supervise(plain, "e1", build_conversation("p", "i", "x <end> y", "Cough.")).supervised_tokens > 0


@pytest.mark.slow
def test_an_answer_that_shares_a_token_with_the_prompt_is_refused(smollm2: Path) -> None:
    """A line break followed by a space is one token in this model, so the inference prompt would differ from training."""
    tokenizer = FolderTokenizer(smollm2, read_chat_template(smollm2))
    with pytest.raises(PromptContractError, match=r"e1: .*share a token"):
        supervise(tokenizer, "e1", build_conversation("p", "i", "x", " 12 mg"))


def test_a_conversation_that_ends_with_a_question_is_refused(plain: FolderTokenizer) -> None:
    """It has no answer to supervise."""
    with pytest.raises(PromptContractError, match="e1"):
        supervise(plain, "e1", MESSAGES[:-1])


def test_a_conversation_refused_by_the_template_is_named_without_its_text(tmp_path: Path) -> None:
    """Template errors can quote the conversation."""
    for number, begin in enumerate(("{{ raise_exception(messages[1].content) }}", "{{ messages[1].content + 1 }}")):
        tokenizer = _model(tmp_path / str(number), begin + TEMPLATE)
        with pytest.raises(PromptContractError, match="e9") as caught:
            supervise(tokenizer, "e9", MESSAGES)
        assert "cough" not in str(caught.value)


def test_an_overlong_example_is_excluded_entirely_and_named(plain: FolderTokenizer) -> None:
    """A truncated answer would teach the model to stop anywhere; a silent drop would hide it."""
    long = build_conversation("Be brief.", "Summarize.", "Patient: I cough. " * 200, "Cough.")
    rows = supervise_rows(plain, [("short", MESSAGES), ("long", long)], max_length=128)
    assert [row.example_id for row in rows.fitting] == ["short"]
    assert rows.too_long == ("long",)


def test_overlong_examples_stop_the_training_unless_the_recipe_excludes_them() -> None:
    """All examples are trained on unless the recipe explicitly says otherwise."""
    with pytest.raises(TooLongError, match=r"2 .* a, b\. .*overlong_examples: exclude"):
        require_rows_fit(["a", "b"], "refuse", 128)
    with pytest.raises(TooLongError, match="5 more"):
        require_rows_fit([f"e{n}" for n in range(25)], "refuse", 128)
    require_rows_fit([], "refuse", 128)
    require_rows_fit(["a"], "exclude", 128)


@pytest.mark.slow
def test_the_trainers_tokenizer_and_the_preflights_give_the_same_rows(smollm2: Path) -> None:
    """They are different libraries, and the trained rows must be the checked ones."""
    from fine_tune_assets.engines.transformers_models import load_tokenizer

    trainers: Any = load_tokenizer(smollm2)
    light = FolderTokenizer(smollm2, read_chat_template(smollm2))
    for number, messages in enumerate(
        (MESSAGES, TWO_TURNS, build_conversation("p", "i", "½ 日本 <|im_end|> ", "12 mg \n"))
    ):
        row = supervise(trainers, str(number), messages)
        assert row == supervise(light, str(number), messages)
        assert trainers.decode([label for label in row.labels if label != IGNORE_INDEX]) == _supervised_text(light, row)
