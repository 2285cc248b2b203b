"""Chooses and renders the probes for every merge and export: test conversations, and frozen probes whose answers are stored.

The file of answers travels with the release, so frozen probes contain nothing about subjects. Conversations are never stored.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.prompts.conversations import Message, render
from fine_tune_assets.merging.parity import ProbeAnswer, common_prefix_length
from fine_tune_assets.tables.duckdb_connection import open_cursor

TEXTS = 8
"""Number of test conversations, about 1,500 tokens in the demo."""
MAX_TEXT_CHARACTERS = 3000
"""Limit per conversation; longer ones are cut, because the distributions of all tokens are kept in memory."""
MAX_NEW_TOKENS = 32
MINIMUM_GREEDY_AGREEMENT = 0.75
"""Share of the stored answers that a served endpoint must reproduce.

Exports were probed in llama.cpp, as they are served, so only summation order may differ. Merged weights were probed in
transformers but are served by vLLM, where near ties may resolve differently.
"""
_SELECT_TEXTS = """
SELECT messages
FROM (
    SELECT messages, example_id, list_sum(list_transform(messages, lambda message: length(message.content))) AS characters
    FROM read_parquet(?) WHERE split = 'test'
)
ORDER BY greatest(characters, ?), sha256(example_id) LIMIT ?
"""
_FROZEN_FILE = Path(__file__).with_name("reference") / "probes.json"


@dataclass(frozen=True)
class HeldOutText:
    text: str
    ids: list[int]
    answer_start: int
    """Index of the first token of the held-out answer."""


@dataclass(frozen=True)
class Probe:
    messages: tuple[Message, ...]
    """Messages up to the user's turn, without the system prompt."""
    prompt: str
    """The rendered prompt, with the system prompt."""
    ids: list[int]


@dataclass(frozen=True)
class Probes:
    texts: tuple[HeldOutText, ...]
    frozen: tuple[Probe, ...]

    @property
    def fingerprint(self) -> str:
        """Fingerprint of all token ids sent to a model."""
        return fingerprint_json([[text.ids for text in self.texts], [probe.ids for probe in self.frozen]])

    @property
    def answers(self) -> list[tuple[list[int], int]]:
        """Each text's token ids and the position at which its held-out answer starts."""
        return [(text.ids, text.answer_start) for text in self.texts]

    @property
    def max_tokens(self) -> int:
        return max(*(len(text.ids) for text in self.texts), *(len(probe.ids) + MAX_NEW_TOKENS for probe in self.frozen))


def held_out_conversations(instruction_set: Path) -> list[list[Message]]:
    """Choose a few test conversations, always the same for a set. Ones that must be cut come last, shortest first.

    Raises GateClosedError if the set has no test example.
    """
    with open_cursor() as cursor:
        rows = cursor.execute(_SELECT_TEXTS, [str(instruction_set), MAX_TEXT_CHARACTERS, TEXTS]).fetchall()
    if not rows:
        raise GateClosedError(
            "The instruction set has no test example, so merges and exports can't be compared on held-out answers. Approve "
            "examples of more subjects, or enlarge the test split (`split` in the recipe), and train again."
        )
    return [messages for (messages,) in rows]


def make_probes(tokenizer: Any, conversations: Sequence[Sequence[Message]], system_prompt: str) -> Probes:
    """Render the first few conversations and the frozen probes."""
    texts = tuple(_make_text(tokenizer, shorten(messages)) for messages in conversations[:TEXTS])
    return Probes(texts, tuple(_make_probe(tokenizer, messages, system_prompt) for messages in frozen_messages()))


def shorten(messages: Sequence[Message]) -> list[Message]:
    """Return short conversations unchanged; otherwise keep the end of the last question and the start of its answer.

    There is always an answer to measure.
    """
    if sum(len(message["content"]) for message in messages) <= MAX_TEXT_CHARACTERS:
        return list(messages)
    *before, question, answer = messages
    system = [_truncate(message, slice(MAX_TEXT_CHARACTERS // 4)) for message in before if message["role"] == "system"][
        :1
    ]
    answer = _truncate(answer, slice(MAX_TEXT_CHARACTERS // 2))
    left = MAX_TEXT_CHARACTERS - sum(len(message["content"]) for message in (*system, answer))
    return [*system, _truncate(question, slice(-left, None)), answer]


def _truncate(message: Message, part: slice) -> Message:
    return {**message, "content": message["content"][part]}


def frozen_messages() -> list[list[Message]]:
    return [probe["messages"] for probe in json.loads(_FROZEN_FILE.read_text(encoding="utf-8"))]


def _tokenize(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _make_text(tokenizer: Any, messages: Sequence[Message]) -> HeldOutText:
    text = render(tokenizer, messages, add_generation_prompt=False)
    ids = _tokenize(tokenizer, text)
    prompt_ids = _tokenize(tokenizer, render(tokenizer, messages[:-1], add_generation_prompt=True))
    # Some templates open a generated answer differently than a given one; the answer starts where the two diverge.
    return HeldOutText(text, ids, common_prefix_length(ids, prompt_ids))


def _make_probe(tokenizer: Any, messages: Sequence[Message], system_prompt: str) -> Probe:
    conversation = [{"role": "system", "content": system_prompt}, *messages]
    prompt = render(tokenizer, conversation, add_generation_prompt=True)
    return Probe(tuple(messages), prompt, _tokenize(tokenizer, prompt))


def write_probes_file(path: Path, probes: Probes, replies: Sequence[ProbeAnswer]) -> Path:
    """Write the answers that a server of exactly these weights must give; `replies` are its measured answers."""
    content_probes = [
        {
            "messages": list(probe.messages),
            "prompt_tokens": reply.prompt_tokens,
            "answer": reply.text,
            "answer_tokens": reply.tokens,
        }
        for probe, reply in zip(probes.frozen, replies, strict=True)
    ]
    content = {
        "minimum_greedy_agreement": MINIMUM_GREEDY_AGREEMENT,
        "max_new_tokens": MAX_NEW_TOKENS,
        "probes": content_probes,
    }
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False))
    return path
