"""Reasoning is removed from replies and corrections; nothing else is."""

import pytest

from fine_tune_assets.core.prompts.reasoning import strip_reasoning


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>A cough, so ...\n</think>\n\nCough.", "Cough."),
        ("A cough, so ...</think>Cough.", "Cough."),
        ("[THINK]Hm.[/THINK]Cough.", "Cough."),
        ("<|START_THINKING|>Hm.<|END_THINKING|><|START_RESPONSE|>Cough.", "Cough."),
        ("<|channel>thought\nHm.<channel|>Cough.", "Cough."),
        (
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Cough.",
            "Cough.",
        ),
        ("<|channel|>final<|message|>Cough.", "Cough."),
    ],
)
def test_the_answer_of_each_family_remains(text: str, answer: str) -> None:
    """As Qwen3, DeepSeek R1, Magistral, Cohere, Gemma 4 and gpt-oss write."""
    assert strip_reasoning(text) == answer


@pytest.mark.parametrize(
    "text", ["Cough.", "  Cough.\n", "Cough.<|end|>", "<think>unfinished", "<think>only</think>", "", "I think so."]
)
def test_a_text_without_reasoning_or_without_an_answer_is_kept(text: str) -> None:
    """Byte for byte: an empty answer would be a loss."""
    assert strip_reasoning(text) == text


def test_repeated_tokens_take_linear_time() -> None:
    """Corrections come from anybody."""
    assert strip_reasoning("<think>" * 100_000 + "</think>" * 100_000).count("</think>") == 99_999
