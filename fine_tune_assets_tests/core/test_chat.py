"""One way to build and render a conversation: what was trained is what is asked."""

from typing import Any

from fine_tune_assets.core.chat import conversation, render, user_content


class SmallTokenizer:
    """A template as tokenizers have them, without a model."""

    chat_template = "small"

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> Any:
        assert tokenize is False
        turns = "".join(f"<{turn['role']}>{turn['content']}</s>" for turn in conversation)
        return turns + ("<assistant>" if add_generation_prompt else "")


def test_the_input_stands_below_the_instruction() -> None:
    """The form that callers of the gateway are told to use."""
    assert user_content("Summarise.", "Doctor: Hello.") == "Summarise.\n\nDoctor: Hello."
    assert user_content("Say yes.", "") == "Say yes."


def test_with_an_output_the_conversation_is_the_question_and_its_answer() -> None:
    """The prompt that is trained and the prompt that is asked are the same messages."""
    asked = conversation("Be brief.", "Summarise.", "Text.")
    trained = conversation("Be brief.", "Summarise.", "Text.", "Short.")
    assert [message["role"] for message in asked] == ["system", "user"]
    assert trained == [*asked, {"role": "assistant", "content": "Short."}]


def test_an_empty_output_is_an_answer_and_an_absent_one_is_none() -> None:
    """Empty and absent are two things."""
    assert len(conversation("p", "i", "", "")) == 3
    assert len(conversation("p", "i", "", None)) == 2


def test_the_rendered_prompt_is_the_start_of_the_rendered_example() -> None:
    """Supervision finds the answer by this."""
    tokenizer = SmallTokenizer()
    prompt = render(tokenizer, conversation("p", "i", "x"), add_generation_prompt=True)
    assert render(tokenizer, conversation("p", "i", "x", "out"), add_generation_prompt=False) == f"{prompt}out</s>"
