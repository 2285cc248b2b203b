"""How an example becomes a conversation, and a conversation becomes text.

Owns the one way in which a conversation is built and rendered; training, judging, parity checks and the gateway use it,
so that what was trained is what is asked. Takes any tokenizer object with `apply_chat_template`; imports none.
"""

from collections.abc import Sequence
from typing import Any, Protocol

Message = dict[str, str]


class ChatTokenizer(Protocol):
    chat_template: str

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any: ...


def user_content(instruction: str, input_text: str) -> str:
    """The user's turn: the instruction, and below it what it is about."""
    return f"{instruction}\n\n{input_text}" if input_text else instruction


def conversation(system_prompt: str, instruction: str, input_text: str, output: str | None = None) -> list[Message]:
    """Messages in OpenAI form; without `output` it ends at the user's turn."""
    messages = [
        {"role": "system", "content": system_prompt},
        {"role": "user", "content": user_content(instruction, input_text)},
    ]
    return messages if output is None else [*messages, {"role": "assistant", "content": output}]


def render(tokenizer: ChatTokenizer, messages: Sequence[Message], add_generation_prompt: bool) -> str:
    """The conversation as the text that the model reads."""
    return str(
        tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=add_generation_prompt)
    )
