"""What is said to be too long is what the trainer leaves out: the two count with different libraries."""

from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.prompts.chat import control_tokens, conversation, render
from fine_tune_assets.core.prompts.chat_templates import read_chat_template
from fine_tune_assets.core.prompts.prompt_contract import read_prompt_contract
from fine_tune_assets.core.prompts.tokenizers import FolderTokenizer
from fine_tune_assets.defs.s06_adapters.preflight import inspected
from fine_tune_assets.engines.transformers_models import load_tokenizer
from fine_tune_assets.training.supervision.loss_mask import supervise_all
from fine_tune_assets.training.supervision.preflight import too_long
from fine_tune_assets_tests.instructions.examples import built, example, patients_in

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


def test_tokens_are_counted_and_examples_left_out_as_the_trainer_does(
    smollm2_tokenizer: Path, tokenizer: Any, light: FolderTokenizer
) -> None:
    """An example that is named as kept and then left out would be a lie about the set."""
    patients = patients_in("train", len(TEXTS))
    table = built([example(patient, text, text) for patient, text in zip(patients, TEXTS, strict=True)]).table
    examples = [(r["example_id"], r["messages"]) for r in table.to_pylist() if r["split"] != "test"]
    contract = read_prompt_contract(smollm2_tokenizer, "You are careful.")
    for max_length in (40, 60, 100, 700):
        rows = inspected(table, light, contract, max_length)
        trained = supervise_all(tokenizer, examples, max_length, contract.stop_ids)
        assert sorted(too_long(rows)) == sorted(trained.too_long)
    by_id = {row.example_id: row for row in rows}
    for kept in supervise_all(tokenizer, examples, 10_000).kept:
        found = by_id[kept.example_id]
        assert (found.tokens, found.learned) == (len(kept.input_ids), kept.supervised)


def test_a_template_with_marks_for_generation_and_loop_controls_is_read(smollm2_tokenizer: Path) -> None:
    """Templates of other models use them."""
    template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{% continue %}{% endif %}"
        "{% generation %}{{ m['content'] }}{% endgeneration %}{{ eos_token }}{% endfor %}"
    )
    light = FolderTokenizer(smollm2_tokenizer, template)
    said = render(light, [{"role": "system", "content": "s"}, {"role": "user", "content": "hello"}], False)
    assert said == f"hello{light.eos_token}"


def test_a_folder_without_tokenizer_or_with_a_broken_template_is_named(smollm2_tokenizer: Path, tmp_path: Path) -> None:
    """Closed, with what is missing; not open because nobody could count."""
    with pytest.raises(ModelFolderError, match=r"no tokenizer\.json"):
        FolderTokenizer(tmp_path, "x")
    with pytest.raises(ModelFolderError, match="template can't be read"):
        FolderTokenizer(smollm2_tokenizer, "{% if %}")


def test_no_text_of_a_user_is_read_as_a_token_that_steers(tokenizer: Any, light: FolderTokenizer) -> None:
    """Token by token, in the trainer's tokenizer and in ours: a report with every control token in it opens no turn."""
    control = control_tokens(light.added_tokens_decoder, light.chat_template)
    assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>"} <= set(control)
    ids = {light.token_id(token) for token in control}
    plain, forged = (conversation("s", "i", text) for text in ("Cough.", "".join(control) + " ".join(control)))
    for reader in (tokenizer, light):
        found = [
            [i for i in reader(render(reader, said, True), add_special_tokens=False)["input_ids"] if i in ids]
            for said in (plain, forged)
        ]
        assert found[0] == found[1]
        assert len(found[0]) == 5
