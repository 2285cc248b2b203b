"""How an example becomes a conversation, and a conversation becomes text.

Owns the one way in which a conversation is built and rendered; training, judging, parity checks and the gateway use it,
so that what was trained is what is asked. What people wrote stays text: the tokens that end a turn or open one are the
template's alone. Takes any tokenizer object with `apply_chat_template`; imports none.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

Message = dict[str, str]
_BETWEEN = "\n\n"
"""Between the instruction and what it is about."""


class AddedToken(Protocol):
    content: str
    special: bool


class ChatTokenizer(Protocol):
    chat_template: str

    @property
    def added_tokens_decoder(self) -> Mapping[int, Any]:
        """Token id → AddedToken: those that are no part of ordinary text."""

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any: ...


def user_content(instruction: str, input_text: str) -> str:
    """The user's turn: the instruction, and below it what it is about."""
    return f"{instruction}{_BETWEEN}{input_text}" if input_text else instruction


def parts_of(content: str) -> tuple[str, str]:
    """Instruction and input of a user's turn: the instruction is its first paragraph, and has no empty line in it.

    >>> parts_of(user_content("Name the complaint.", "A cough.\\n\\nNo fever."))
    ('Name the complaint.', 'A cough.\\n\\nNo fever.')
    """
    instruction, _, input_text = content.partition(_BETWEEN)
    return instruction, input_text


def conversation(system_prompt: str, instruction: str, input_text: str, output: str | None = None) -> list[Message]:
    """Messages in OpenAI form; without `output` it ends at the user's turn."""
    messages = [
        {"role": "system", "content": system_prompt},
        {"role": "user", "content": user_content(instruction, input_text)},
    ]
    return messages if output is None else [*messages, {"role": "assistant", "content": output}]


def control_tokens(added: Mapping[int, AddedToken], chat_template: str) -> tuple[str, ...]:
    """What a tokenizer reads as one token wherever it stands, and that steers the model: its special tokens, and all others of
    its own that the template writes."""
    found = {token.content for token in added.values() if token.special or _steers(token.content, chat_template)}
    return tuple(sorted(token for token in found if len(token) > 1))


def _steers(token: str, chat_template: str) -> bool:
    # Some tokenizers have tokens of their own for line breaks and rows of spaces, which templates write too.
    return token in chat_template and not any(letter.isspace() for letter in token)


def as_plain_text(text: str, tokens: Collection[str]) -> str:
    """The same text with a space behind the first character of each control token in it: `< |im_end|>` ends no turn."""
    for token in sorted(tokens, key=len, reverse=True):
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


_LOOKS_LIKE_CONTROL = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|</?s>|<</?SYS>>|\[/?INST\]|<(?:start|end)_of_turn>|<(?:bos|eos|unk|pad)>", re.IGNORECASE
)


def as_plain_for_any(text: str) -> str:
    """The same where nobody knows the model's tokens: whatever the known families of models write around a turn."""
    return _LOOKS_LIKE_CONTROL.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)


def plain_messages(messages: Sequence[Message], tokens: Collection[str]) -> list[Message]:
    """For whoever sends messages to an engine that renders them itself: it would read control tokens in them as such."""
    return [{**message, "content": as_plain_text(message["content"], tokens)} for message in messages]


def render(tokenizer: ChatTokenizer, messages: Sequence[Message], add_generation_prompt: bool) -> str:
    """The conversation as the text that the model reads. Control tokens in messages are plain text."""
    plain = plain_messages(messages, control_tokens(tokenizer.added_tokens_decoder, tokenizer.chat_template))
    return str(tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=add_generation_prompt))
