"""Instruction sets for the GPU proof: made-up conversations of set lengths, and pairs of dialogue and note for quality."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.prompts.conversations import build_conversation

PAIRS = Path(__file__).resolve().parents[1] / "visit_pairs" / "visit_pairs.jsonl.gz"
SYSTEM = "You write sections of medical notes from visits."
INSTRUCTION = "Write the section of the note from this part of the visit."
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


def visit_pairs(counts: dict[str, int], longest_characters: int) -> pa.Table:
    """The first pairs of MTS-Dialog that fit, in the order of the file, with the columns of an instruction set.

    `counts`: split → number of rows.
    """
    splits = [name for name, count in counts.items() for _ in range(count)]
    rows: list[dict[str, Any]] = []
    with gzip.open(PAIRS, "rt", encoding="utf-8") as file:
        for line in file:
            pair = json.loads(line)
            if "mts" not in pair["corpus"].lower() or len(pair["input"]) + len(pair["output"]) > longest_characters:
                continue
            number = len(rows)
            messages = build_conversation(SYSTEM, INSTRUCTION, pair["input"], pair["output"])
            names = {"example_id": f"e-{number}", "subject_key": f"s-{number}", "task": "summarise_dialogue"}
            rows.append({**names, "split": splits[number], "messages": messages})
            if len(rows) == len(splits):
                return pa.Table.from_pylist(rows)
    raise ValueError(f"There are only {len(rows)} pairs of at most {longest_characters} characters.")
