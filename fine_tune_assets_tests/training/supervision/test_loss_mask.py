"""What the model learns of a conversation: each answer with its stop token, and nothing else."""

from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.prompts.chat import Message, conversation, render
from fine_tune_assets.core.prompts.chat_templates import read_chat_template
from fine_tune_assets.core.prompts.tokenizers import FolderTokenizer
from fine_tune_assets.training.supervision.loss_mask import (
    IGNORED,
    PromptContractError,
    SupervisedRow,
    TooLongError,
    require_rows_fit,
    supervise,
    supervise_all,
)
from fine_tune_assets.training.supervision.training_templates import shipped_templates
from fine_tune_assets_tests.core.model_folders import ROLES, TEMPLATE, make_model_folder
from fine_tune_assets_tests.training.published_templates import FAMILIES

MESSAGES = conversation("Be brief.", "Summarise.", "Patient: I cough.", "Cough.")
TWO_TURNS: list[Message] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "First?"},
    {"role": "assistant", "content": "One."},
    {"role": "user", "content": "Second?"},
    {"role": "assistant", "content": "Two."},
]
MARKED = (
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<end>"
    "{% endgeneration %}{% else %}{{ m.content }}<end>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture
def plain(tmp_path: Path) -> FolderTokenizer:
    """A template of nobody, without marks."""
    return FolderTokenizer(make_model_folder(tmp_path / "plain"), TEMPLATE)


def _model(tmp_path: Path, template: str, added: tuple[str, ...] = ROLES, **tokens: Any) -> FolderTokenizer:
    return FolderTokenizer(make_model_folder(tmp_path / "model", template, added, **tokens), template)


def _family(tmp_path: Path, name: str) -> FolderTokenizer:
    template, added, bos, eos = FAMILIES[name]
    return _model(tmp_path, template, added, bos=bos, eos=eos)


def _learned(tokenizer: FolderTokenizer, row: SupervisedRow) -> str:
    ids = [label for label in row.labels if label != IGNORED]
    return "".join(text for _, text in tokenizer.pieces(ids, 0, len(ids)))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_answer_of_a_conversation_is_learned_with_its_stop_token(tmp_path: Path, family: str) -> None:
    """In every family; loss on what the user said would teach the model patients' texts."""
    tokenizer = _family(tmp_path, family)
    row = supervise(tokenizer, "e1", TWO_TURNS)
    stop = tokenizer.eos_token
    if family in ("mistral_v3", "mistral_tekken"):  # the first answer was asked with the system prompt elsewhere
        assert (row.turns, row.learned_turns) == (2, 1)
        assert _learned(tokenizer, row).strip() == f"Two.{stop}"
    else:
        assert (row.turns, row.learned_turns) == (2, 2)
        assert _learned(tokenizer, row).replace(" ", "") == f"One.{stop}Two.{stop}"


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_not_learned_of_an_example_is_the_prompt_that_is_asked(tmp_path: Path, family: str) -> None:
    """Token by token: what was trained is what is asked."""
    tokenizer = _family(tmp_path, family)
    row = supervise(tokenizer, "e1", MESSAGES)
    asked = tokenizer(render(tokenizer, MESSAGES[:-1], True), add_special_tokens=False)["input_ids"]
    assert [i for i, label in zip(row.input_ids, row.labels, strict=True) if label == IGNORED] == asked
    assert row.labels[len(asked) :] == row.input_ids[len(asked) :]


def test_without_a_training_template_the_last_answer_is_learned(plain: FolderTokenizer) -> None:
    """The earlier one is not: nothing says where it ends."""
    row = supervise(plain, "e1", TWO_TURNS)
    assert (row.turns, row.learned_turns) == (2, 1)
    assert _learned(plain, row) == "Two.<end>"


def test_an_empty_answer_teaches_to_stop_at_once(plain: FolderTokenizer) -> None:
    """The stop token alone."""
    assert _learned(plain, supervise(plain, "e1", conversation("p", "i", "x", ""))) == "<end>"


def test_stop_tokens_are_those_of_the_contract(tmp_path: Path) -> None:
    """A tokenizer's end-of-text token is not always what ends a turn."""
    tokenizer = _model(tmp_path, TEMPLATE, eos="<bos>")
    end = tokenizer.token_id("<end>")
    assert end is not None
    assert _learned(tokenizer, supervise(tokenizer, "e1", MESSAGES, [end])) == "Cough.<end>"
    with pytest.raises(PromptContractError, match="Example e1: the answer has no stop token"):
        supervise(tokenizer, "e1", MESSAGES)


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{{ messages | length }} turns: " + TEMPLATE, "renders the prompt differently"),
        (MARKED.replace("<end>{% endgeneration %}", "{% endgeneration %}<end>"), "no stop token behind"),
        (MARKED.replace("m.role == 'assistant'", "loop.last and m.role == 'assistant'"), "marks 1 of 2 answers"),
        (MARKED.replace("{% generation %}", "{% generation %}<bos>"), None),
        (MARKED.replace("<assistant>{% endif %}", "<assistant>now{% endif %}"), "another prompt"),
        (TEMPLATE.replace("<end>", "{% if m.role != 'assistant' %}<end>{% endif %}"), "no stop token behind"),
    ],
)
def test_a_template_that_can_not_be_trained_with_is_refused(tmp_path: Path, template: str, fault: str | None) -> None:
    """Each of these trains a model that is asked otherwise, or never stops."""
    tokenizer = _model(tmp_path, template)
    if fault is None:
        supervise(tokenizer, "e7", TWO_TURNS)
        return
    with pytest.raises(PromptContractError, match=f"Example e7: .*{fault}") as caught:
        supervise(tokenizer, "e7", TWO_TURNS)
    assert "e7" not in caught.value.reason
    assert "First?" not in str(caught.value)


def test_a_stop_token_within_an_answer_is_refused(plain: FolderTokenizer) -> None:
    """The model would learn to stop there, and the engine would. In a question it is only read."""
    with pytest.raises(PromptContractError, match="within an answer"):
        supervise(plain, "e1", conversation("p", "i", "x", "Cough.<end> And fever."))
    assert supervise(plain, "e1", conversation("p", "i", "x <end> y", "Cough.")).supervised > 0


@pytest.mark.slow
def test_an_answer_whose_first_letters_melt_into_the_prompt_is_refused(smollm2: Path) -> None:
    """A line break and a space behind it are one token to this model: it is asked with another prompt than it learned."""
    tokenizer = FolderTokenizer(smollm2, read_chat_template(smollm2))
    with pytest.raises(PromptContractError, match="share a token"):
        supervise(tokenizer, "e1", conversation("p", "i", "x", " 12 mg"))


def test_a_conversation_that_ends_with_a_question_is_refused(plain: FolderTokenizer) -> None:
    """There is nothing to learn of it."""
    with pytest.raises(PromptContractError, match="does not end with an answer"):
        supervise(plain, "e1", MESSAGES[:-1])


def test_a_conversation_that_the_template_refuses_is_named_without_a_word_of_it(tmp_path: Path) -> None:
    """Some templates quote what they refuse, or fail on it."""
    for number, begin in enumerate(("{{ raise_exception(messages[1].content) }}", "{{ messages[1].content + 1 }}")):
        tokenizer = _model(tmp_path / str(number), begin + TEMPLATE)
        with pytest.raises(PromptContractError, match="e9: the chat template refuses the conversation") as caught:
            supervise(tokenizer, "e9", MESSAGES)
        assert "cough" not in str(caught.value)


def test_a_long_example_is_left_out_whole_and_named(plain: FolderTokenizer) -> None:
    """A cut answer would teach the model to stop anywhere; a silent drop would hide it."""
    long = conversation("Be brief.", "Summarise.", "Patient: I cough. " * 200, "Cough.")
    rows = supervise_all(plain, [("short", MESSAGES), ("long", long)], max_length=128)
    assert [row.example_id for row in rows.kept] == ["short"]
    assert rows.too_long == ("long",)


def test_long_examples_stop_the_training_unless_the_recipe_leaves_them_out() -> None:
    """Rows in are rows trained, or somebody wrote down that they are not."""
    with pytest.raises(TooLongError, match=r"2 examples .* a, b\. .*too_long: leave_out"):
        require_rows_fit(["a", "b"], "refuse", 128)
    with pytest.raises(TooLongError, match="and 5 more"):
        require_rows_fit([f"e{n}" for n in range(25)], "refuse", 128)
    require_rows_fit([], "refuse", 128)
    require_rows_fit(["a"], "leave_out", 128)


@pytest.mark.slow
def test_the_trainers_tokenizer_gives_the_same_rows_as_the_one_that_counts(smollm2: Path) -> None:
    """Two libraries, and one row: what preflight saw is what is trained."""
    from fine_tune_assets.engines.transformers_models import load_tokenizer

    trainers: Any = load_tokenizer(smollm2)
    light = FolderTokenizer(smollm2, read_chat_template(smollm2))
    for number, messages in enumerate((MESSAGES, TWO_TURNS, conversation("p", "i", "½ 日本 <|im_end|> ", "12 mg \n"))):
        row = supervise(trainers, str(number), messages)
        assert row == supervise(light, str(number), messages)
        assert trainers.decode([label for label in row.labels if label != IGNORED]) == _learned(light, row)


@pytest.mark.slow
def test_transformers_and_trl_see_the_same_mask_in_our_training_template(smollm2: Path) -> None:
    """Two other libraries that read the marks: the same tokens are learned, and the stop token is among them."""
    from trl.chat_template_utils import is_chat_template_stop_token_trained

    from fine_tune_assets.engines.transformers_models import load_tokenizer

    tokenizer: Any = load_tokenizer(smollm2)
    template = shipped_templates()["smollm2"].read_text(encoding="utf-8")
    assert is_chat_template_stop_token_trained(tokenizer, template)
    for messages in (MESSAGES, TWO_TURNS):
        found = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, chat_template=template
        )
        row = supervise(tokenizer, "e", messages)
        length = len(row.input_ids)
        assert found["input_ids"][:length] == row.input_ids
        assert found["assistant_masks"][:length] == [int(label != IGNORED) for label in row.labels]
        assert sum(found["assistant_masks"][length:]) == 0
