"""Instruction sets of made-up conversations with set lengths, for speed and memory."""

import random

import pyarrow as pa

from benchmarks.training_baseline import INSTRUCTION, SYSTEM
from fine_tune_assets.core.prompts.conversations import build_conversation

_SPREAD = 0.6
"""Standard deviation of the logarithm of the lengths: most rows are short, few reach the limit, as in real sets."""
_MARGIN = 60
"""Tokens of the template's marks and of the longest instruction part that the estimate leaves out."""


def made_up_rows(train: int, validation: int, longest: int, seed: int = 1) -> pa.Table:
    """Conversations of at most `longest` byte tokens, one of them close to it; a quarter of each is the answer."""
    lengths = random.Random(seed)
    fixed = len(SYSTEM) + len(INSTRUCTION) + _MARGIN
    rows = []
    for number in range(train + validation):
        wanted = longest if number == 0 else min(longest, int(longest / 3 * lengths.lognormvariate(0, _SPREAD)))
        room = max(40, wanted - fixed)
        messages = build_conversation(SYSTEM, INSTRUCTION, _words(number, room * 3 // 4), _words(number + 7, room // 4))
        split = "train" if number < train else "validation"
        rows.append({"example_id": f"e-{number}", "split": split, "messages": messages})
    return pa.Table.from_pylist(rows)


def _words(seed: int, characters: int) -> str:
    letters = random.Random(seed)
    text = ""
    while len(text) < characters:
        text += "".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=letters.randint(2, 9))) + " "
    return text[: max(1, characters - 1)].strip() or "a"
