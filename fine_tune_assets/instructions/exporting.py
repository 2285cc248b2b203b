"""An instruction set in the forms that other trainers read, and the card that says what it is.

Owns Alpaca (`train.alpaca.json`), messages (`<split>.chatml.jsonl`) and ShareGPT (`<split>.sharegpt.jsonl`), which Axolotl,
LLaMA-Factory and TRL read (`loaders` tells the first two how), and the dataset card (`README.md`), by which
`datasets.load_dataset` finds the splits. Does not know where a set is kept.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.instructions.building import InstructionSet
from fine_tune_assets.instructions.loaders import loader_files
from fine_tune_assets.instructions.splitting import SPLITS

ALPACA = "train.alpaca.json"
CARD = "README.md"
_CARD = Path(__file__).parent / "reference" / "dataset_card.md"
_SHAREGPT_ROLES = {"system": "system", "user": "human", "assistant": "gpt"}


def chatml_name(split: str) -> str:
    return f"{split}.chatml.jsonl"


def sharegpt_name(split: str) -> str:
    return f"{split}.sharegpt.jsonl"


def exports(instruction_set: InstructionSet) -> Iterator[tuple[str, str]]:
    """Name of each file and its content."""
    yield ALPACA, json.dumps(_alpaca(instruction_set), ensure_ascii=False, indent=1)
    for split in SPLITS:
        conversations = list(_conversations(instruction_set.table, split))
        yield chatml_name(split), "".join(_line({"messages": messages}) for messages in conversations)
        yield sharegpt_name(split), "".join(_line({"conversations": _turns(m)}) for m in conversations)
    yield from loader_files(ALPACA, chatml_name, sharegpt_name)


def licence_table(table: pa.Table, licences: Mapping[str, str]) -> list[tuple[str, str, int]]:
    """Source, licence and rows, for every source in the set; reports belong to the organisation."""
    counts = Counter(table.column("source").to_pylist())
    return [(source, licences.get(source, _OWN), counts[source]) for source in sorted(counts)]


_OWN = "the organisation's own reports, or as their batch says"


def dataset_card(
    fingerprint: str,
    facts: Mapping[str, Any],
    counts: Mapping[str, int],
    licences: Iterable[tuple[str, str, int]],
    certificate: str,
) -> str:
    """Markdown with the front matter of a dataset card; `counts` by split, and of general examples."""
    head = {
        "pretty_name": f"Instruction set {short(fingerprint)}",
        "language": ["en"],
        "task_categories": ["text-generation"],
        "configs": [
            {"config_name": name, "default": name == "messages", "data_files": _data_files(file_name)}
            for name, file_name in (("messages", chatml_name), ("sharegpt", sharegpt_name))
        ],
    }
    rows = "\n".join(f"| {name} | {count} |" for name, count in counts.items())
    told = "\n".join(f"| {name} | {json.dumps(value, ensure_ascii=False)} |" for name, value in facts.items())
    return _CARD.read_text(encoding="utf-8").format(
        head=yaml.safe_dump(head, sort_keys=False),
        short=short(fingerprint),
        fingerprint=fingerprint,
        rows=rows,
        facts=told,
        licences="\n".join(f"| {source} | {licence} | {count} |" for source, licence, count in licences),
        certificate=certificate,
    )


def _data_files(file_name: Any) -> list[dict[str, str]]:
    return [{"split": split, "path": file_name(split)} for split in SPLITS]


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _alpaca(instruction_set: InstructionSet) -> list[dict[str, str]]:
    """Alpaca rows of the train split, with the system prompt in `system` as LLaMA-Factory and Axolotl read it."""
    rows = zip(instruction_set.examples.to_pylist(), instruction_set.table.column("messages"), strict=True)
    return [
        {
            "instruction": row["instruction"],
            "input": row["input"],
            "output": row["output"],
            "system": messages[0]["content"].as_py(),
        }
        for row, messages in rows
        if row["split"] == "train"
    ]


def _conversations(table: pa.Table, split: str) -> Iterator[list[dict[str, str]]]:
    for messages in table.filter(pc.equal(table.column("split"), split)).column("messages"):
        yield messages.as_py()


def _turns(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{"from": _SHAREGPT_ROLES[m["role"]], "value": m["content"]} for m in messages]
