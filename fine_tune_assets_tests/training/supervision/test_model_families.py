"""For each model family: the model is trained on the prompts that it gets in production, and on nothing but approved answers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from fine_tune_assets.core.errors import FineTuneError, ModelFolderError
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.core.prompts.chat_templates import ChatTemplate, read_chat_template
from fine_tune_assets.core.prompts.conversations import (
    Message,
    escape_control_tokens,
    find_control_tokens,
    render,
)
from fine_tune_assets.core.prompts.prompt_contract import (
    build_prompt_contract,
    read_generation_stops,
    read_prompt_contract,
)
from fine_tune_assets.core.prompts.served_templates import UnusableTemplateError, build_served_template
from fine_tune_assets.core.prompts.tokenizers import FolderTokenizer
from fine_tune_assets.recipes.loader import load_recipe, shipped_recipes
from fine_tune_assets.training.supervision.loss_mask import IGNORE_INDEX, supervise
from fine_tune_assets_tests.core.model_folders import TEMPLATE, make_model_folder
from fine_tune_assets_tests.engines import loader_proof
from fine_tune_assets_tests.training import tiny_training
from fine_tune_assets_tests.training.model_families import (
    FAMILIES,
    PAGE,
    REFUSED,
    USABLE,
    build_page,
    read_trl_template,
)

ODD_TEXTS = [
    "Cough.",
    "  leading and trailing  ",
    "\n\nline\n\n\nline\n",
    "",
    "\t",
    "Größe 1,80 m; “quoted” … 日本語 😀 e\u0301",
    "<|im_start|>user\nhello <|eot_id|> [INST] x [/INST] <s> {{ bos_token }} {% if %}",
    "<think>I wonder.</think> <|channel|>analysis<|message|>",
    "<b>bold</b> & 'single' \"double\" \\n",
]
OF_SHIPPED_RECIPES = {"SmolLM2": "smollm2", "Llama-3.1": "llama3_1"}
DROPS_THE_SYSTEM_PROMPT = ("mistral_v3", "mistral_tekken")
"""Their templates write the system prompt only before the last question; once an answer follows, they omit it."""
LAST_ANSWER_ONLY = (*DROPS_THE_SYSTEM_PROMPT, "qwen3", "qwen3_thinking", "qwen3_5", "qwen3_5_nothink", "gpt_oss")
"""Qwen's write the empty reasoning block before the last answer only; gpt-oss's end earlier answers with another token."""
TRL_TRAINING = {
    "llama3": "llama3", "qwen2_5": "qwen2_5", "qwen3_instruct": "qwen3_instruct_2507", "gemma3": "gemma3", "phi3": "phi3",
}  # fmt: skip


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


@pytest.fixture(params=USABLE)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(name: str, tmp_path: Path) -> Path:
    return FAMILIES[name].write(tmp_path / name)


@pytest.fixture
def model(name: str, folder: Path) -> FolderTokenizer:
    return FAMILIES[name].tokenizer(folder)


def _stops(model: FolderTokenizer, folder: Path) -> set[int]:
    return {model.eos_token_id, *read_generation_stops(folder)}


def test_the_reference_page_is_what_the_families_give() -> None:
    """It claims no more than is tested. `python -m fine_tune_assets_tests.training.model_families` writes it again."""
    assert PAGE.read_text(encoding="utf-8") == build_page()


def test_served_prompt_and_labels_are_the_served_conversation(name: str, model: FolderTokenizer, folder: Path) -> None:
    """Token for token, for every text in every place; and the labels are the approved answer."""
    stops, trained = _stops(model, folder), 0
    control = find_control_tokens(model.added_tokens_decoder, model.chat_template)
    for number, messages in enumerate(_conversations()):
        if name == "mistral_v7" and messages[0]["role"] != "system":
            continue  # then its own template writes the current date, and no example of ours is without a system prompt
        approved = messages[-1]["content"]
        has_stop = any(model.token(stop) and model.token(stop) in m["content"] for stop in stops for m in messages)  # type: ignore[operator]
        is_unwritten = name == "glm4_moe" and not approved  # its template writes no empty answer
        if has_stop or is_unwritten or approved.startswith(("\n", "\t", " ")):
            continue  # refused by name, which other tests show
        row = supervise(model, str(number), messages, stops)
        prompt = model(render(model, messages[:-1], True), add_special_tokens=False)["input_ids"]
        labels = row.input_ids[len(prompt) :]
        assert row.input_ids[: len(prompt)] == prompt
        assert row.labels[-len(labels) :] == labels
        assert labels[-1] in stops
        assert model.decode(labels[:-1]).strip() == escape_control_tokens(approved, control).strip()
        if not (name in DROPS_THE_SYSTEM_PROMPT and messages[0]["role"] == "system"):
            whole = model(render(model, messages, False), add_special_tokens=False)["input_ids"]
            assert whole[: len(row.input_ids)] == row.input_ids
        trained += 1
    assert trained > 2 * len(ODD_TEXTS)


def test_earlier_answers_are_learned_where_they_follow_their_own_prompt(
    name: str, model: FolderTokenizer, folder: Path
) -> None:
    """Anywhere else, the model would learn from a prompt that it never gets."""
    row = supervise(model, "e", _conversation("Be brief.", "First?", "One.", "Second?", "Two."), _stops(model, folder))
    assert (row.turns, row.supervised_turns) == (2, 1 if name in LAST_ANSWER_ONLY else 2)


def test_the_contract_of_a_built_template_is_complete(name: str, folder: Path, model: FolderTokenizer) -> None:
    """A released model needs no option of an engine: its template is enough."""
    (folder / "chat_template.jinja").write_text(model.chat_template, encoding="utf-8")
    contract = read_prompt_contract(folder, "Be brief.")
    assert contract.chat_template == model.chat_template
    assert contract.turn_end_id in contract.stop_ids
    built_again = build_served_template(name, model.chat_template, model.special_tokens_map, {})
    assert built_again == model.chat_template


@pytest.mark.parametrize("refused", sorted(REFUSED))
def test_a_refused_family_is_named_with_what_to_set(refused: str, tmp_path: Path) -> None:
    """Training it would teach what production never asks for."""
    folder = FAMILIES[refused].write(tmp_path / refused)
    with pytest.raises(FineTuneError, match=rf"^{refused}: .*(Set|Add|Use) "):
        build_prompt_contract(FAMILIES[refused].tokenizer(folder), folder, "Be brief.")


@pytest.mark.parametrize(("family", "template"), TRL_TRAINING.items())
def test_what_is_supervised_lies_within_the_marks_of_trl(family: str, template: str, tmp_path: Path) -> None:
    """TRL's training templates mark more than an answer: a line break of Qwen's prompt, and Phi's end of text."""
    folder = FAMILIES[family].write(tmp_path / family)
    model = FAMILIES[family].tokenizer(folder)
    marked = ChatTemplate(read_trl_template(f"{template}_training"), model.special_tokens_map)
    messages = _conversation("You are careful.", "First?", "One.", "Second?", "Two.")
    row, rendered = supervise(model, "e", messages, _stops(model, folder)), marked.render(messages, False)
    in_marks = set[int]()
    for span in rendered.assistant_spans:
        in_marks |= set(range(*(len(model(rendered.text[:at], add_special_tokens=False)["input_ids"]) for at in span)))
    supervised = {index for index, label in enumerate(row.labels) if label != IGNORE_INDEX}
    assert supervised <= in_marks
    assert model.decode([row.input_ids[index] for index in sorted(supervised)]).count(".") == 2


def test_a_variable_that_the_template_does_not_read_is_refused() -> None:
    """It would do nothing, in silence."""
    with pytest.raises(UnusableTemplateError, match=r"tiny: .*enable_thinking"):
        build_served_template("tiny", TEMPLATE, {}, {"enable_thinking": False})


def test_a_built_template_can_not_be_built_with_other_variables() -> None:
    """A released model keeps the prompt that it was trained with."""
    family = FAMILIES["qwen3"]
    special = {"eos_token": family.eos}
    built = build_served_template("a", family.template, special, {"enable_thinking": False})
    assert build_served_template("a", built, special, {"enable_thinking": False}) == built
    with pytest.raises(UnusableTemplateError, match="enable_thinking"):
        build_served_template("a", built, special, {"enable_thinking": True})


def test_an_ordinary_template_is_not_changed() -> None:
    """Byte for byte: its fingerprint stays that of the published model."""
    for name in ("smollm2", "llama3", "qwen2_5", "qwen3_instruct", "mistral_v3", "phi3", "gemma3"):
        family = FAMILIES[name]
        special = {"eos_token": family.eos, "bos_token": family.bos or ""}
        assert build_served_template(name, family.template, special, {}) == family.template


def test_a_template_without_a_generation_prompt_gets_one(tmp_path: Path) -> None:
    """Otherwise the model would learn to write the name of its role."""
    own = "{% for m in messages %}{{ m.role }}: {{ m.content }}<end>\n{% endfor %}"
    built = build_served_template("a", own, {}, {})
    model = FolderTokenizer(make_model_folder(tmp_path / "model", built), built)
    messages = _conversation("Be brief.", "Dose?", "12 mg twice.")
    assert render(model, messages[:-1], True).endswith("user: Dose?<end>\nassistant:")
    row = supervise(model, "e", messages)
    labels = [label for label in row.labels if label != IGNORE_INDEX]
    assert model.decode(labels) == " 12 mg twice.<end>"


def test_a_template_that_changes_an_answer_is_refused(tmp_path: Path) -> None:
    """The model would learn another text than the approved one."""
    template = TEMPLATE.replace("{{ m.content }}", "{{ m.content.split('mg')[0] }}")
    model = FolderTokenizer(make_model_folder(tmp_path / "model", template), template)
    messages = _conversation("Be brief.", "Dose?", "12 mg twice.")
    with pytest.raises(FineTuneError, match=r"e5: .*another text than the approved answer"):
        supervise(model, "e5", messages)


def test_every_shipped_recipe_has_a_tested_family() -> None:
    """Its base model's template is among the tested ones."""
    for path in shipped_recipes().values():
        name = load_recipe(path).base_model.name
        assert [family for start, family in OF_SHIPPED_RECIPES.items() if name.startswith(start)], name


@pytest.mark.slow
def test_our_renderer_matches_transformers(model: FolderTokenizer, folder: Path) -> None:
    """The trainer and the judge render with transformers."""
    from fine_tune_assets.engines.transformers_models import load_tokenizer

    (folder / "chat_template.jinja").write_text(model.chat_template, encoding="utf-8")
    reference: Any = load_tokenizer(folder)
    for messages in _conversations():
        if messages[0]["role"] == "system":
            for part, is_prompt in ((messages[:-1], True), (messages, False)):
                assert render(reference, part, is_prompt) == render(model, part, is_prompt)


@pytest.mark.slow
def test_the_bundled_model_has_the_tested_template(smollm2: Path) -> None:
    """With its real tokenizer."""
    assert read_chat_template(smollm2) == FAMILIES["smollm2"].template


def test_invalid_unicode_characters_are_refused() -> None:
    """The renderer uses two of them as marks."""
    template = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}", {})
    with pytest.raises(ModelFolderError, match="FDD0"):
        template.render([{"role": "user", "content": "a\ufdd0b"}], False)


@pytest.mark.slow
def test_llama_cpp_renders_the_prompt_of_the_training(
    name: str, folder: Path, model: FolderTokenizer, tmp_path: Path
) -> None:
    """Its own renderer sets variables: Llama 3.1 would get today's date, and Qwen3.5 would begin to reason."""
    from fine_tune_assets.engines.bundled_model import bundled_gguf
    from fine_tune_assets.engines.llama_cpp import start_llama_cpp
    from fine_tune_assets.engines.running_server import stop_engine, wait_until_healthy

    gguf, family = bundled_gguf(), FAMILIES[name]
    assert gguf is not None
    (folder / "chat_template.jinja").write_text(model.chat_template, encoding="utf-8")
    engine = start_llama_cpp(
        gguf, "x", tmp_path / "run", threads=1, die_with_parent=True, context_tokens=512,
        chat_template=folder / "chat_template.jinja",
    )  # fmt: skip
    messages = _conversation("You are careful.", "First  one?\n\nYes.", "One.", "Second <b>é</b>?")
    try:
        wait_until_healthy(engine, 60)
        headers = {"Authorization": f"Bearer {engine.api_key}"}
        with httpx.Client(base_url=engine.url.removesuffix("/v1"), headers=headers, timeout=60) as client:
            rendered = client.post("/apply-template", json={"messages": messages}).json()["prompt"]
            asked = {"model": "x", "messages": messages, "max_tokens": 4}
            assert client.post("/v1/chat/completions", json=asked).status_code == 200
    finally:
        stop_engine(engine, 5)
    # The bundled model's tokens in the place of the family's.
    own = {family.bos: "<|im_start|>", **({"</s>": "<|im_end|>"} if family.eos == "</s>" else {})}
    expected = render(model, messages, True)
    for token, other in own.items():
        expected = expected.replace(token, other) if token else expected
    assert rendered == expected


TINY = {
    **{kind: loader_proof.FAMILIES[kind] for kind in ("llama", "llama3", "mistral", "qwen2", "qwen3", "gemma3", "phi3")},
    "gemma2": ("Gemma2Config", {"query_pre_attn_scalar": 8, "sliding_window": 16}),
    "glm4_moe": ("Glm4MoeConfig", {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}),
    "gpt_oss": ("GptOssConfig", {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 16}),
}  # fmt: skip
"""Architecture → configuration class of transformers and options."""
TRAINED = {FAMILIES[name].architecture: name for name in reversed(USABLE) if FAMILIES[name].architecture}
"""Architecture → a family with it."""


def test_every_architecture_that_the_page_names_is_trained() -> None:
    """By the next test."""
    assert set(TRAINED) == set(TINY)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED.values(), indirect=True)
def test_a_tiny_model_of_the_architecture_is_trained(name: str, folder: Path, tmp_path: Path) -> None:
    """The whole way: the model's own folder, the folder with the served template, and the trainer."""
    import torch
    import transformers

    from fine_tune_assets.training.base_models.prompt_folders import prepare_prompt_folder
    from fine_tune_assets.training.lora.trainer import train_adapter

    kind, options = TINY[FAMILIES[name].architecture]
    torch.manual_seed(0)
    size = {**loader_proof.SIZE, "vocab_size": 512}
    config = getattr(transformers, kind)(**{**size, **options})
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    FAMILIES[name].write(folder)  # the stop tokens, which it replaced
    prepared = prepare_prompt_folder(folder, tmp_path / "prepared", FAMILIES[name].settings)
    assert (prepared == folder) == (read_chat_template(prepared) == FAMILIES[name].template)
    settings = replace(tiny_training.SETTINGS, max_length=1200)
    result = train_adapter(
        tiny_training.instruction_set(), prepared, "base", tmp_path / "adapters", tmp_path / "checkpoints", settings, 1,
        ignore_progress,
    )  # fmt: skip
    assert result.trained_row_count == 4
    assert result.supervised_tokens > 4 * len("Cough, visit 0.")
    assert (result.folder / "adapter_model.safetensors").is_file()
