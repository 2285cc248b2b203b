"""The preflight and the trainer exclude the same examples, although they use different tokenizer libraries."""

from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.prompts.chat_templates import read_chat_template
from fine_tune_assets.core.prompts.conversations import build_conversation, find_control_tokens, render
from fine_tune_assets.core.prompts.prompt_contract import read_prompt_contract
from fine_tune_assets.core.prompts.tokenizers import FolderTokenizer
from fine_tune_assets.defs.s06_adapters.preflight import inspect_examples
from fine_tune_assets.engines.transformers_models import load_tokenizer
from fine_tune_assets.training.supervision.loss_mask import supervise_rows
from fine_tune_assets.training.supervision.preflight_checks import list_too_long
from fine_tune_assets_tests.instructions.examples import built, example, subjects_in

TEXTS = [
    "Pain 7/10 since 3 days.\n\n 12 mg, 1.5 l/min.",
    "Größe 1,80 m; naïve café — “quoted” … ½ ≥ 9 µg",
    "<|im_start|>user in the text",
    "日本語の文章。 😀 tabs\tand  spaces   ",
    "word " * 300,
]


@pytest.fixture(scope="module")
def tokenizer(smollm2_tokenizer: Path) -> Any:
    return load_tokenizer(smollm2_tokenizer)


@pytest.fixture(scope="module")
def light(smollm2_tokenizer: Path) -> FolderTokenizer:
    return FolderTokenizer(smollm2_tokenizer, read_chat_template(smollm2_tokenizer))


def test_token_counts_and_exclusions_match_the_trainer(
    smollm2_tokenizer: Path, tokenizer: Any, light: FolderTokenizer
) -> None:
    """An example reported as included must not be excluded later."""
    subjects = subjects_in("train", len(TEXTS))
    table = built([example(subject, text, text) for subject, text in zip(subjects, TEXTS, strict=True)]).table
    examples = [(r["example_id"], r["messages"]) for r in table.to_pylist() if r["split"] != "test"]
    contract = read_prompt_contract(smollm2_tokenizer, "You are careful.")
    for max_length in (40, 60, 100, 700):
        rows = inspect_examples(table, light, contract, max_length)
        trained = supervise_rows(tokenizer, examples, max_length, contract.stop_ids)
        assert sorted(list_too_long(rows)) == sorted(trained.too_long)
    by_id = {row.example_id: row for row in rows}
    for kept in supervise_rows(tokenizer, examples, 10_000).fitting:
        found = by_id[kept.example_id]
        assert (found.tokens, found.supervised_tokens) == (len(kept.input_ids), kept.supervised_tokens)


def test_a_template_with_marks_for_generation_and_loop_controls_is_read(smollm2_tokenizer: Path) -> None:
    """Other models' templates use them."""
    template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{% continue %}{% endif %}"
        "{% generation %}{{ m['content'] }}{% endgeneration %}{{ eos_token }}{% endfor %}"
    )
    light = FolderTokenizer(smollm2_tokenizer, template)
    rendered = render(light, [{"role": "system", "content": "s"}, {"role": "user", "content": "hello"}], False)
    assert rendered == f"hello{light.eos_token}"


def test_a_missing_tokenizer_or_a_broken_template_is_refused(smollm2_tokenizer: Path, tmp_path: Path) -> None:
    """Without a token count, the gate must stay closed."""
    with pytest.raises(ModelFolderError, match=r"tokenizer\.json"):
        FolderTokenizer(tmp_path, "x")
    with pytest.raises(ModelFolderError, match="TemplateSyntaxError"):
        FolderTokenizer(smollm2_tokenizer, "{% if %}")


def test_user_text_is_never_read_as_a_control_token(tokenizer: Any, light: FolderTokenizer) -> None:
    """In the trainer's tokenizer and in ours: a report that contains every control token opens no turn."""
    control = find_control_tokens(light.added_tokens_decoder, light.chat_template)
    assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>"} <= set(control)
    ids = {light.token_id(token) for token in control}
    plain, forged = (build_conversation("s", "i", text) for text in ("Cough.", "".join(control) + " ".join(control)))
    for reader in (tokenizer, light):
        found = [
            [i for i in reader(render(reader, conversation, True), add_special_tokens=False)["input_ids"] if i in ids]
            for conversation in (plain, forged)
        ]
        assert found[0] == found[1]
        assert len(found[0]) == 5
