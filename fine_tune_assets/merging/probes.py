"""What every merge and export is asked: test conversations for figures, and frozen probes whose answers are kept.

Owns choosing and rendering both, and the file of answers beside the weights, which travels with a release: nothing of a patient
is in it. The test conversations are read and forgotten.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.core.chat import Message, render
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.fingerprints import fingerprint_json, fingerprint_text
from fine_tune_assets.merging.parity import Reply

TEXTS = 8
"""Test conversations, about 1,500 tokens in the demo."""
TEXT_CHARACTERS = 3000
MAX_NEW_TOKENS = 32
MINIMUM_SAME_GREEDY = 0.75
"""Share of the kept answers that a served endpoint must give again: it is the same file in the same engine, and only the order of
sums may differ."""
_FROZEN = Path(__file__).with_name("reference") / "probes.json"


@dataclass(frozen=True)
class Text:
    text: str
    ids: list[int]
    answer_from: int
    """Token from which on it is the held-out answer; behind the last one where the text was cut."""


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
    def longest(self) -> int:
        return max(*(len(text.ids) for text in self.texts), *(len(probe.ids) + MAX_NEW_TOKENS for probe in self.frozen))


def held_out_conversations(instruction_set: Path) -> list[list[Message]]:
    """Of the test split, always the same ones of the same set."""
    rows = [row for row in pq.read_table(instruction_set).to_pylist() if row["split"] == "test"]
    return [row["messages"] for row in sorted(rows, key=lambda row: fingerprint_text(row["example_id"]))]


def make_probes(tokenizer: Any, conversations: Sequence[Sequence[Message]], system_prompt: str) -> Probes:
    """Of the conversations the first few; those that need not be cut before the others."""
    rendered = [(render(tokenizer, messages, add_generation_prompt=False), messages) for messages in conversations]
    chosen = sorted(rendered, key=lambda found: len(found[0]) > TEXT_CHARACTERS)[:TEXTS]
    texts = tuple(_text(tokenizer, text, messages) for text, messages in chosen)
    return Probes(texts, tuple(_probe(tokenizer, messages, system_prompt) for messages in frozen_messages()))


def frozen_messages() -> list[list[Message]]:
    return [probe["messages"] for probe in json.loads(_FROZEN.read_text(encoding="utf-8"))]


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _text(tokenizer: Any, text: str, messages: Sequence[Message]) -> Text:
    ids = _ids(tokenizer, text[:TEXT_CHARACTERS])
    asked = _ids(tokenizer, render(tokenizer, messages[:-1], add_generation_prompt=True))
    is_whole = len(text) <= TEXT_CHARACTERS and ids[: len(asked)] == asked
    return Text(text[:TEXT_CHARACTERS], ids, len(asked) if is_whole else len(ids))


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
