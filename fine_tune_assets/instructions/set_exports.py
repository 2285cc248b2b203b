"""Exports an instruction set for other trainers, with a dataset card.

Alpaca (`train.alpaca.json`), messages (`<split>.chatml.jsonl`) and ShareGPT (`<split>.sharegpt.jsonl`) files suit Axolotl,
LLaMA-Factory and TRL. `axolotl.yaml` and `dataset_info.json` configure the first two, with keys from Axolotl's
docs/dataset-formats and LLaMA-Factory's data/README.md. `datasets.load_dataset` finds the splits by the card (`README.md`).
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.prompts.conversations import split_user_content, user_content
from fine_tune_assets.instructions.assembly import InstructionSet
from fine_tune_assets.instructions.set_examples import ExampleText
from fine_tune_assets.instructions.splits import SPLITS
from fine_tune_assets.tables.record_classes import iter_records

ALPACA = "train.alpaca.json"
CARD = "README.md"
LLAMA_FACTORY = "dataset_info.json"
AXOLOTL = "axolotl.yaml"
_CARD = Path(__file__).parent / "reference" / "dataset_card.md"
_SHAREGPT_ROLES = {"system": "system", "user": "human", "assistant": "gpt"}
_ROLES = {"user_tag": "user", "assistant_tag": "assistant", "system_tag": "system"}
_MESSAGE_TAGS = {"role_tag": "role", "content_tag": "content", **_ROLES}
_SHAREGPT_TAGS = {"role_tag": "from", "content_tag": "value", **_ROLES, "user_tag": "human", "assistant_tag": "gpt"}
_AXOLOTL_COMMENT = f"""\
# The data part of an Axolotl configuration. Paths are relative to this folder. Add your model and training settings.
# The test split is excluded, because nothing may be chosen by it. Alpaca format: {ALPACA}, type alpaca_w_system.load_chat.
"""


def chatml_name(split: str) -> str:
    return f"{split}.chatml.jsonl"


def sharegpt_name(split: str) -> str:
    return f"{split}.sharegpt.jsonl"


def export_files(instruction_set: InstructionSet) -> Iterator[tuple[str, str]]:
    """Yield the name and content of each file."""
    yield ALPACA, json.dumps(_alpaca(instruction_set), ensure_ascii=False, indent=1)
    for split in SPLITS:
        rows = list(_rows_of_split(instruction_set, split))
        hints = _instruction_hints([example for example, _ in rows])
        messages = [turns for _, turns in rows]
        yield chatml_name(split), _json_lines({"messages": m, **hint} for m, hint in zip(messages, hints, strict=True))
        yield (
            sharegpt_name(split),
            _json_lines({"conversations": _turns(m), **hint} for m, hint in zip(messages, hints, strict=True)),
        )
    yield LLAMA_FACTORY, json.dumps(_llama_factory(_has_history(instruction_set)), indent=2) + "\n"
    yield AXOLOTL, _AXOLOTL_COMMENT + yaml.safe_dump(_axolotl(), sort_keys=False)


def licence_table(table: pa.Table, licences: Mapping[str, str]) -> list[tuple[str, str, int]]:
    """Source, licence and number of rows of every source in the set."""
    counts = Counter(table.column("source").to_pylist())
    return [(source, licences.get(source, _OWN_LICENCE), counts[source]) for source in sorted(counts)]


_OWN_LICENCE = "the organization's own reports, or as stated by their batch"


def dataset_card(
    fingerprint: str,
    facts: Mapping[str, Any],
    counts: Mapping[str, int],
    licences: Iterable[tuple[str, str, int]],
    certificate: str,
) -> str:
    """Markdown with front matter. `counts`: rows per split, and of general examples."""
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
    fact_rows = "\n".join(f"| {name} | {json.dumps(value, ensure_ascii=False)} |" for name, value in facts.items())
    return _CARD.read_text(encoding="utf-8").format(
        head=yaml.safe_dump(head, sort_keys=False),
        short=short(fingerprint),
        fingerprint=fingerprint,
        rows=rows,
        facts=fact_rows,
        licences="\n".join(f"| {source} | {licence} | {count} |" for source, licence, count in licences),
        certificate=certificate,
    )


def _data_files(file_name: Any) -> list[dict[str, str]]:
    return [{"split": split, "path": file_name(split)} for split in SPLITS]


def _json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _alpaca(instruction_set: InstructionSet) -> list[dict[str, Any]]:
    """Alpaca rows of the train split, with the system prompt in `system`, as LLaMA-Factory and Axolotl expect it.

    Earlier turns are pairs in `history`, as LLaMA-Factory expects them; without any, there is no such column.
    """
    has_history = _has_history(instruction_set)
    return [
        {
            "instruction": example.instruction,
            "input": example.input,
            "output": example.output,
            "system": messages[0]["content"],
            **({"history": _pairs(example)} if has_history else {}),
        }
        for example, messages in _rows_of_split(instruction_set, "train")
    ]


def _has_history(instruction_set: InstructionSet) -> bool:
    column = instruction_set.examples.column("history")
    return column.null_count < len(column)


def _pairs(example: ExampleText) -> list[list[str]]:
    turns = [turn["content"] for turn in example.history_messages]
    return [list(pair) for pair in zip(turns[::2], turns[1::2], strict=True)]


def _rows_of_split(instruction_set: InstructionSet, split: str) -> Iterator[tuple[ExampleText, list[dict[str, str]]]]:
    examples = iter_records(ExampleText, instruction_set.examples)
    for example, messages in zip(examples, instruction_set.table.column("messages"), strict=True):
        if example.split == split:
            yield example, messages.as_py()


def _instruction_hints(examples: Sequence[ExampleText]) -> list[dict[str, str]]:
    """The column `instruction` for an import, if the first paragraph of a question is not always the instruction.

    In all rows of a file or in none, because `datasets` expects the same columns everywhere.
    """
    is_needed = any(
        split_user_content(user_content(one.instruction, one.input)) != (one.instruction, one.input) for one in examples
    )
    return [{"instruction": one.instruction} if is_needed else {} for one in examples]


def _turns(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{"from": _SHAREGPT_ROLES[m["role"]], "value": m["content"]} for m in messages]


def _llama_factory(has_history: bool) -> dict[str, Any]:
    """The content of dataset_info.json; the folder serves as `dataset_dir`."""
    columns = {"prompt": "instruction", "query": "input", "response": "output", "system": "system"}
    if has_history:
        columns["history"] = "history"
    return {
        "train_alpaca": {"file_name": ALPACA, "formatting": "alpaca", "columns": columns},
        **{f"{s}_messages": _sharegpt_entry(chatml_name(s), "messages", _MESSAGE_TAGS) for s in SPLITS},
        **{f"{s}_sharegpt": _sharegpt_entry(sharegpt_name(s), "conversations", _SHAREGPT_TAGS) for s in SPLITS},
    }


def _sharegpt_entry(file_name: str, column: str, tags: dict[str, str]) -> dict[str, Any]:
    return {"file_name": file_name, "formatting": "sharegpt", "columns": {"messages": column}, "tags": tags}


def _axolotl() -> dict[str, Any]:
    """Train and validation as messages, with loss on the answer and its stop token only, as in our trainer."""

    def of_split(split: str) -> dict[str, Any]:
        return {
            "path": chatml_name(split),
            "ds_type": "json",
            "split": "train",  # the name that `datasets` gives to a single file
            "type": "chat_template",
            "field_messages": "messages",
            "message_property_mappings": {"role": "role", "content": "content"},
            "roles_to_train": ["assistant"],
            "train_on_eos": "turn",
        }

    return {
        "chat_template": "tokenizer_default",
        "datasets": [of_split("train")],
        "test_datasets": [of_split("validation")],
        "train_on_inputs": False,
    }
