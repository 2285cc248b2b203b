"""What the model learns of a conversation, with the real tokenizer of the small model."""

from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.chat import conversation, render
from fine_tune_assets.engines.transformers_models import load_tokenizer
from fine_tune_assets.training.supervision import IGNORED, PromptContractError, supervise, supervise_all

pytestmark = pytest.mark.slow

MESSAGES = conversation("Be brief.", "Summarise.", "Patient: I cough.", "Cough.")


@pytest.fixture(scope="module")
def tokenizer(smollm2: Path) -> Any:
    return load_tokenizer(smollm2)


def test_only_the_answer_and_its_stop_token_are_supervised(tokenizer: Any) -> None:
    """Loss on the report itself would teach the model patients' texts; without the stop token it never ends."""
    row = supervise(tokenizer, "e1", MESSAGES)
    learned = [label for label in row.labels if label != IGNORED]
    assert tokenizer.decode(learned) == "Cough.<|im_end|>"
    assert row.supervised == len(learned)


def test_training_and_inference_see_the_same_prompt_tokens(tokenizer: Any) -> None:
    """What was trained is what is asked: token by token."""
    row = supervise(tokenizer, "e1", MESSAGES)
    prompt = tokenizer(render(tokenizer, MESSAGES[:-1], add_generation_prompt=True), add_special_tokens=False)[
        "input_ids"
    ]
    unsupervised = [token for token, label in zip(row.input_ids, row.labels, strict=True) if label == IGNORED]
    assert unsupervised == prompt


def test_a_template_that_renders_the_prompt_differently_is_refused() -> None:
    """A template that looks ahead would train on a prompt that is never asked."""

    class Looking:
        def apply_chat_template(self, messages: list[dict[str, str]], **_options: Any) -> str:
            return f"{len(messages)} turns: " + messages[0]["content"]

    with pytest.raises(PromptContractError, match="e7"):
        supervise(Looking(), "e7", MESSAGES)


def test_a_long_example_is_left_out_whole_and_named(tokenizer: Any) -> None:
    """A cut answer would teach the model to stop anywhere; a silent drop would hide it."""
    long = conversation("Be brief.", "Summarise.", "Patient: I cough. " * 200, "Cough.")
    rows = supervise_all(tokenizer, [("short", MESSAGES), ("long", long)], max_length=128)
    assert [row.example_id for row in rows.kept] == ["short"]
    assert rows.too_long == ("long",)
