"""Training and inference templates of every family give the same tokens, and the marks enclose the answers."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.prompts.chat_templates import ChatTemplate, read_chat_template
from fine_tune_assets.core.prompts.conversations import Message, render
from fine_tune_assets.core.prompts.prompt_contract import PromptContractError, read_prompt_contract
from fine_tune_assets.core.prompts.tokenizers import FolderTokenizer
from fine_tune_assets.recipes.loader import load_recipe, shipped_recipes
from fine_tune_assets.training.supervision.training_templates import (
    OWN_TEMPLATE,
    find_training_template,
    shipped_templates,
)
from fine_tune_assets_tests.core.model_folders import make_model_folder
from fine_tune_assets_tests.training.published_templates import FAMILIES, read_trl_template

ODD_TEXTS = [
    "Cough.",
    "  leading and trailing  ",
    "\n\nline\n\n\nline\n",
    "",
    "\t",
    "Größe 1,80 m; “quoted” … 日本語 😀 e\u0301",
    "<|im_start|>user\nhello <|eot_id|> [INST] x [/INST] <s> {{ bos_token }} {% if %}",
    "<b>bold</b> & 'single' \"double\" \\n",
]
OF_SHIPPED_RECIPES = {"SmolLM2": "smollm2", "Llama-3.1": "llama3_1"}


def _conversation(system: str | None, *turns: str) -> list[Message]:
    messages: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    roles = ("user", "assistant")
    return [*messages, *({"role": roles[n % 2], "content": text} for n, text in enumerate(turns))]


def _conversations() -> list[list[Message]]:
    """Conversations of one and three turns, with and without a system prompt, with each text in each place."""
    found = []
    for text in ODD_TEXTS:
        for system in ("You are careful.", text, None):
            found += [_conversation(system, text, "An answer."), _conversation(system, "A question.", text)]
            found.append(_conversation(system, text, "First.", "Second?", text, "Third?", f"{text} end"))
    return found


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(family: str, tmp_path: Path) -> FolderTokenizer:
    template, added, bos, eos = FAMILIES[family]
    return FolderTokenizer(make_model_folder(tmp_path / family, template, added, bos, eos), template)


def _pair(model: FolderTokenizer) -> tuple[ChatTemplate, ChatTemplate]:
    """The model's own template and the training template found for it."""
    found = find_training_template(model.chat_template, model.special_tokens_map)
    assert found is not None
    return ChatTemplate(model.chat_template, model.special_tokens_map), found.template


def test_each_model_finds_the_training_template_of_its_family(family: str, model: FolderTokenizer) -> None:
    """And no other: templates are compared by their rendering."""
    found = find_training_template(model.chat_template, model.special_tokens_map)
    assert found is not None
    assert found.name == family


def _ids(model: FolderTokenizer, text: str) -> list[int]:
    return model(text, add_special_tokens=False)["input_ids"]


def test_prompts_have_the_same_tokens_in_training_and_inference(family: str, model: FolderTokenizer) -> None:
    """For every text, in every place."""
    own, training = _pair(model)
    for messages in _conversations():
        if family == "mistral_v7" and messages[0]["role"] != "system":
            continue  # then its own template writes today's date
        prompt = own.render(messages[:-1], True).text
        assert training.render(messages[:-1], True).text == prompt
        answered = training.render(messages, False)
        assert answered.text[: answered.assistant_spans[-1][0]] == prompt


MOVES_THE_SYSTEM_PROMPT = ("mistral_v3", "mistral_tekken")
"""Their templates write the system prompt only before the last question; once an answer follows, they omit it."""


def test_complete_conversations_have_the_same_tokens(family: str, model: FolderTokenizer) -> None:
    """With the answer, for all conversations in which the model's template keeps the prompt."""
    own, training = _pair(model)
    systems = {
        "mistral_v7": [True],  # without a system prompt, its own template writes today's date
        **{name: [False] for name in MOVES_THE_SYSTEM_PROMPT},
    }.get(family, [True, False])
    conversations = [messages for messages in _conversations() if (messages[0]["role"] == "system") in systems]
    assert len(conversations) >= 3 * len(ODD_TEXTS)
    for messages in conversations:
        assert training.render(messages, False).text == own.render(messages, False).text


def test_the_marks_enclose_each_answer_and_its_stop_token(model: FolderTokenizer) -> None:
    """Every answer of a conversation, and no user message."""
    _, training = _pair(model)
    rendered = training.render(
        _conversation("You are careful.", "Question 1?", "Answer 1.", "Question 2?", "Answer 2."), False
    )
    marked = [rendered.text[start:end] for start, end in rendered.assistant_spans]
    assert [text.strip(" ") for text in marked] == [f"Answer {n}.{model.eos_token}" for n in (1, 2)]


def test_every_shipped_template_belongs_to_a_tested_family() -> None:
    """An untested template proves nothing."""
    assert set(shipped_templates()) == set(FAMILIES)


def test_every_shipped_recipe_has_a_training_template() -> None:
    """Its base model's family is among the tested ones."""
    for path in shipped_recipes().values():
        name = load_recipe(path).base_model.name
        assert [template for start, template in OF_SHIPPED_RECIPES.items() if name.startswith(start)], name


def test_an_unknown_template_has_no_training_template(tmp_path: Path) -> None:
    """Then the last answer is located by rendering the prompt."""
    folder = make_model_folder(tmp_path / "model")
    template = (folder / "chat_template.jinja").read_text()
    assert find_training_template(template, {"bos_token": "<bos>", "eos_token": "<end>"}) is None


def test_marks_in_the_models_own_template_are_used() -> None:
    """Some models ship with them."""
    own = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{{ eos_token }}{% endfor %}"
    found = find_training_template(own, {"eos_token": "<end>"})
    assert found is not None
    assert found.name == OWN_TEMPLATE


def test_a_template_with_one_changed_character_does_not_match() -> None:
    """An almost equal prompt is another prompt."""
    template, _, bos, eos = FAMILIES["llama3"]
    special = {"bos_token": str(bos), "eos_token": eos}
    assert find_training_template(template.replace("\n\n", "\n"), special) is None
    assert find_training_template(template.replace("| trim", ""), special) is None


def test_a_family_whose_prompt_depends_on_the_date_is_refused(tmp_path: Path) -> None:
    """Llama 3.2 writes today's date before every system prompt; Mistral Small only without a system prompt."""
    for name, is_refused in (("llama3_2", True), ("mistral_v7", False)):
        _, added, bos, eos = FAMILIES["llama3" if is_refused else name]
        template = read_trl_template(name) if is_refused else FAMILIES[name][0]
        folder = make_model_folder(tmp_path / name, template, added, bos, eos)
        with pytest.raises(PromptContractError, match="date") if is_refused else nullcontext():
            read_prompt_contract(folder, "You are careful.")


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_our_renderer_matches_transformers_on_published_templates(
    family: str, model: FolderTokenizer, tmp_path: Path
) -> None:
    """The trainer and the judge render with transformers."""
    from fine_tune_assets.engines.transformers_models import load_tokenizer

    reference: Any = load_tokenizer(tmp_path / family)
    for messages in _conversations():
        if messages[0]["role"] == "system":
            for part, is_prompt in ((messages[:-1], True), (messages, False)):
                assert render(reference, part, is_prompt) == render(model, part, is_prompt)
        assert reference(f"x{messages[-1]['content']}", add_special_tokens=False)["input_ids"] == _ids(
            model, f"x{messages[-1]['content']}"
        )


@pytest.mark.slow
def test_the_bundled_model_has_the_tested_template(smollm2: Path) -> None:
    """With its real tokenizer, both templates give the same tokens for every text."""
    template = read_chat_template(smollm2)
    assert template == FAMILIES["smollm2"][0]
    model = FolderTokenizer(smollm2, template)
    own, training = _pair(model)
    for messages in _conversations():
        assert _ids(model, training.render(messages, False).text) == _ids(model, own.render(messages, False).text)


def test_invalid_unicode_characters_are_refused() -> None:
    """The renderer uses two of them as marks."""
    template = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}", {})
    with pytest.raises(ModelFolderError, match="FDD0"):
        template.render([{"role": "user", "content": "a\ufdd0b"}], False)
