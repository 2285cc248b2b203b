"""What every merge and export is asked: test conversations for figures, and frozen probes whose answers are kept.

Owns choosing and rendering both, and the file of answers beside the weights, which travels with a release: nothing of a patient
is in it. The test conversations are read and forgotten.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.prompts.chat import Message, render
from fine_tune_assets.merging.parity import Reply, common_prefix
from fine_tune_assets.tables.duck import cursor

TEXTS = 8
"""Test conversations, about 1,500 tokens in the demo."""
TEXT_CHARACTERS = 3000
"""Of one of them: a longer one is cut, since a model's distributions over its tokens are all kept in memory."""
MAX_NEW_TOKENS = 32
MINIMUM_SAME_GREEDY = 0.75
"""Share of the kept answers that a served endpoint must give again. An export was asked in llama.cpp, as it is served: only the
order of sums may differ. Merged weights were asked in transformers, and vLLM computes them otherwise: near ties may fall the
other way."""
_CHOSEN = """
SELECT messages
FROM (
    SELECT messages, example_id, list_sum(list_transform(messages, lambda message: length(message.content))) AS characters
    FROM read_parquet(?) WHERE split = 'test'
)
ORDER BY greatest(characters, ?), sha256(example_id) LIMIT ?
"""
_FROZEN = Path(__file__).with_name("reference") / "probes.json"


@dataclass(frozen=True)
class Text:
    text: str
    ids: list[int]
    answer_from: int
    """Token from which on it is the held-out answer."""


@dataclass(frozen=True)
class Probe:
    messages: tuple[Message, ...]
    """Up to the user's turn, without the system prompt."""
    prompt: str
    """As the model reads it, with the system prompt."""
    ids: list[int]


@dataclass(frozen=True)
class Probes:
    texts: tuple[Text, ...]
    frozen: tuple[Probe, ...]

    @property
    def fingerprint(self) -> str:
        """Of all that is asked, as token ids."""
        return fingerprint_json([[text.ids for text in self.texts], [probe.ids for probe in self.frozen]])

    @property
    def answers(self) -> list[tuple[list[int], int]]:
        """Of each text its token ids, and the place from which on they are the held-out answer."""
        return [(text.ids, text.answer_from) for text in self.texts]

    @property
    def longest(self) -> int:
        return max(*(len(text.ids) for text in self.texts), *(len(probe.ids) + MAX_NEW_TOKENS for probe in self.frozen))


def held_out_conversations(instruction_set: Path) -> list[list[Message]]:
    """A few of the test split, always the same ones of the same set; those that must be cut, the shortest first, only where there
    are no others. Raises GateClosedError if there is none."""
    with cursor() as asking:
        found = asking.execute(_CHOSEN, [str(instruction_set), TEXT_CHARACTERS, TEXTS]).fetchall()
    if not found:
        raise GateClosedError(
            "The instruction set has no test example: what is merged or exported can't be compared on held-out answers. Approve "
            "examples of more patients, or give the test split a larger share (`split` in the recipe), and train again."
        )
    return [messages for (messages,) in found]


def make_probes(tokenizer: Any, conversations: Sequence[Sequence[Message]], system_prompt: str) -> Probes:
    """Of the conversations the first few."""
    texts = tuple(_text(tokenizer, shortened(messages)) for messages in conversations[:TEXTS])
    return Probes(texts, tuple(_probe(tokenizer, messages, system_prompt) for messages in frozen_messages()))


def shortened(messages: Sequence[Message]) -> list[Message]:
    """As it is if it is short enough; else the end of what was asked last and the beginning of its answer: there always is an
    answer to measure."""
    if sum(len(message["content"]) for message in messages) <= TEXT_CHARACTERS:
        return list(messages)
    *before, asked, answer = messages
    system = [_cut(message, slice(TEXT_CHARACTERS // 4)) for message in before if message["role"] == "system"][:1]
    answer = _cut(answer, slice(TEXT_CHARACTERS // 2))
    left = TEXT_CHARACTERS - sum(len(message["content"]) for message in (*system, answer))
    return [*system, _cut(asked, slice(-left, None)), answer]


def _cut(message: Message, part: slice) -> Message:
    return {**message, "content": message["content"][part]}


def frozen_messages() -> list[list[Message]]:
    return [probe["messages"] for probe in json.loads(_FROZEN.read_text(encoding="utf-8"))]


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _text(tokenizer: Any, messages: Sequence[Message]) -> Text:
    text = render(tokenizer, messages, add_generation_prompt=False)
    ids = _ids(tokenizer, text)
    asked = _ids(tokenizer, render(tokenizer, messages[:-1], add_generation_prompt=True))
    # Some templates open an answer otherwise than they write a given one: then from where they part.
    return Text(text, ids, common_prefix(ids, asked))


def _probe(tokenizer: Any, messages: Sequence[Message], system_prompt: str) -> Probe:
    asked = [{"role": "system", "content": system_prompt}, *messages]
    prompt = render(tokenizer, asked, add_generation_prompt=True)
    return Probe(tuple(messages), prompt, _ids(tokenizer, prompt))


def write_probes_file(path: Path, probes: Probes, replies: Sequence[Reply]) -> Path:
    """What a server of exactly these weights must answer. `replies` are its own, as it was measured."""
    asked = [
        {
            "messages": list(probe.messages),
            "prompt_tokens": reply.prompt_tokens,
            "answer": reply.text,
            "answer_tokens": reply.tokens,
        }
        for probe, reply in zip(probes.frozen, replies, strict=True)
    ]
    content = {"minimum_same_greedy": MINIMUM_SAME_GREEDY, "max_new_tokens": MAX_NEW_TOKENS, "probes": asked}
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False))
    return path
