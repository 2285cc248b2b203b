"""Builds conversations from examples and renders them as text.

Training, judging, parity checks and the gateway all use this module, so that the model gets the same prompt in each. Control
tokens in people's text are escaped: only the template can start or end a turn. Works with any tokenizer that has
`apply_chat_template`.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

Message = dict[str, str]
_SEPARATOR = "\n\n"
"""Between instruction and input."""


class AddedToken(Protocol):
    content: str
    special: bool


class ChatTokenizer(Protocol):
    chat_template: str

    @property
    def added_tokens_decoder(self) -> Mapping[int, Any]:
        """Token id → AddedToken."""

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any: ...


def user_content(instruction: str, input_text: str) -> str:
    """The user's turn: the instruction, followed by the input."""
    return f"{instruction}{_SEPARATOR}{input_text}" if input_text else instruction


def split_user_content(content: str) -> tuple[str, str]:
    """Split a user's turn into instruction (the first paragraph) and input (the rest).

    >>> split_user_content(user_content("Name the complaint.", "A cough.\\n\\nNo fever."))
    ('Name the complaint.', 'A cough.\\n\\nNo fever.')
    """
    instruction, _, input_text = content.partition(_SEPARATOR)
    return instruction, input_text


def build_conversation(
    system_prompt: str,
    instruction: str,
    input_text: str,
    output: str | None = None,
    history: Iterable[Message] = (),
) -> list[Message]:
    """Messages in OpenAI's format; without `output` the conversation ends with the user's turn."""
    messages = [
        {"role": "system", "content": system_prompt},
        *history,
        {"role": "user", "content": user_content(instruction, input_text)},
    ]
    return messages if output is None else [*messages, {"role": "assistant", "content": output}]


def find_control_tokens(added: Mapping[int, AddedToken], chat_template: str) -> tuple[str, ...]:
    """The added tokens that steer the model: the special ones, and those that the chat template writes."""
    found = {
        token.content for token in added.values() if token.special or _is_control_token(token.content, chat_template)
    }
    return tuple(sorted(token for token in found if len(token) > 1))


def _is_control_token(token: str, chat_template: str) -> bool:
    # Some tokenizers have added tokens for line breaks and runs of spaces, which templates write too.
    return token in chat_template and not any(letter.isspace() for letter in token)


def escape_control_tokens(text: str, tokens: Collection[str]) -> str:
    """Insert a space after the first character of each control token: `< |im_end|>` does not end a turn."""
    for token in sorted(tokens, key=len, reverse=True):
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


_KNOWN_CONTROL_TOKENS = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|</?s>|<</?SYS>>|\[/?INST\]|<(?:start|end)_of_turn>|<(?:bos|eos|unk|pad)>", re.IGNORECASE
)


def escape_known_control_tokens(text: str) -> str:
    """Escape the control tokens of known model families, for text whose model is not known."""
    return _KNOWN_CONTROL_TOKENS.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)


def escape_messages(messages: Sequence[Message], tokens: Collection[str]) -> list[Message]:
    """Escape control tokens in messages for an engine that renders them itself."""
    return [{**message, "content": escape_control_tokens(message["content"], tokens)} for message in messages]


def render(tokenizer: ChatTokenizer, messages: Sequence[Message], add_generation_prompt: bool) -> str:
    """Render the conversation as the model's prompt. Control tokens in messages are escaped."""
    plain = escape_messages(messages, find_control_tokens(tokenizer.added_tokens_decoder, tokenizer.chat_template))
    return str(tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=add_generation_prompt))
