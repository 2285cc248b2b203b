"""LLaMA-Factory and Axolotl can read the exported folder.

Their dependencies conflict with this project's pins, so the tests implement their documented rules: LLaMA-Factory's
data/README.md and src/llamafactory/data/converter.py, Axolotl's docs/dataset-formats/conversation.qmd and inst_tune.qmd and
src/axolotl/utils/schemas/datasets.py (read in November 2026).
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fine_tune_assets.core.prompts.conversations import user_content
from fine_tune_assets.instructions.assembly import build_instruction_set
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet, write_instruction_set
from fine_tune_assets.tables.instruction_rows import GeneralExample
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.instructions.examples import SEARCH, approved, around, general, rules

# data/README.md of LLaMA-Factory: "formatting" and the names of columns and tags, with their defaults.
FORMATTINGS = {"alpaca", "sharegpt"}
COLUMNS = {
    "alpaca": {"prompt": "instruction", "query": "input", "response": "output", "history": None, "system": None},
    "sharegpt": {"messages": "conversations", "system": None, "tools": None},
}
TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}
# src/axolotl/utils/schemas/datasets.py: fields of a supervised data set, and the values of train_on_eos.
AXOLOTL_FIELDS = {
    "path", "split", "type", "ds_type", "data_files", "chat_template", "field_messages", "message_property_mappings",
    "message_field_training", "message_field_training_detail", "roles", "roles_to_train", "train_on_eos",
}  # fmt: skip
AXOLOTL_EOS = {"all", "turn", "last"}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredInstructionSet:
    """With earlier turns in some general examples."""
    turns = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hi."}]
    rows = [{**row, "history": turns if n % 2 else None} for n, row in enumerate(general().to_pylist())]
    made = build_instruction_set(approved(), table_from_rows(rows, GeneralExample.SCHEMA), rules(), around())
    return write_instruction_set(tmp_path_factory.mktemp("sets"), made, {"seed": 7}, SEARCH)


def _as_llama_factory_reads(row: dict[str, Any], description: dict[str, Any]) -> tuple[str, list[dict[str, str]]]:
    """System prompt and turns by the rules of converter.py; fails if it would skip the row."""
    kind = description.get("formatting", "alpaca")
    columns = COLUMNS[kind] | description.get("columns", {})
    if kind == "alpaca":
        parts = [row[columns[name]] for name in ("prompt", "query") if row[columns[name]]]
        pairs = [
            *((row[columns["history"]] or []) if columns["history"] else []),
            ("\n".join(parts), row[columns["response"]]),
        ]
        turns = [
            {"role": role, "content": content}
            for pair in pairs
            for role, content in zip(("user", "assistant"), pair, strict=True)
        ]
        return (row[columns["system"]] if columns["system"] else ""), turns
    tags = TAGS | description.get("tags", {})
    messages = list(row[columns["messages"]])
    system = messages.pop(0)[tags["content_tag"]] if messages[0][tags["role_tag"]] == tags["system_tag"] else ""
    for place, message in enumerate(messages):
        accepted = ("user_tag", "observation_tag") if place % 2 == 0 else ("assistant_tag", "function_tag")
        assert message[tags["role_tag"]] in {tags[name] for name in accepted}
    assert len(messages) % 2 == 0
    names = {tags["user_tag"]: "user", tags["assistant_tag"]: "assistant"}
    return system, [{"role": names[m[tags["role_tag"]]], "content": m[tags["content_tag"]]} for m in messages]


def _load(stored: StoredInstructionSet, file_name: str, cache: Path) -> Any:
    """Load a local file with `datasets`, as both do; its only split is named train."""
    import datasets  # imports torch, which takes seconds

    files = str(stored.folder / file_name)
    return datasets.load_dataset("json", data_files=files, split="train", cache_dir=str(cache))


def test_llama_factory_reads_every_described_data_set(stored: StoredInstructionSet, tmp_path: Path) -> None:
    """Users only set `dataset_dir: <folder>` and a name."""
    info = json.loads((stored.folder / "dataset_info.json").read_text(encoding="utf-8"))
    rows_by_split: dict[str, list[Any]] = {}
    for row in stored.table.to_pylist():
        rows_by_split.setdefault(row["split"], []).append(row["messages"])
    assert len(info) == 7
    for name, description in info.items():
        assert set(description) <= {"file_name", "formatting", "columns", "tags"}
        assert description["formatting"] in FORMATTINGS
        assert set(description["columns"]) <= set(COLUMNS[description["formatting"]])
        assert set(description.get("tags", {})) <= set(TAGS)
        wanted = rows_by_split[name.partition("_")[0]]
        read = [_as_llama_factory_reads(row, description) for row in _load(stored, description["file_name"], tmp_path)]
        assert [system for system, _ in read] == [messages[0]["content"] for messages in wanted]
        answers = [turns[-1]["content"] for _, turns in read]
        assert answers == [messages[-1]["content"] for messages in wanted]
        assert [len(turns) for _, turns in read] == [len(messages) - 1 for messages in wanted]
        if description["formatting"] == "sharegpt":
            assert [turns for _, turns in read] == [messages[1:] for messages in wanted]


def test_axolotl_reads_the_configured_messages(stored: StoredInstructionSet, tmp_path: Path) -> None:
    """Train and validation with the expected roles, never the test split."""
    config = yaml.safe_load((stored.folder / "axolotl.yaml").read_text(encoding="utf-8"))
    assert config["chat_template"] == "tokenizer_default"
    for key, split in (("datasets", "train"), ("test_datasets", "validation")):
        (dataset,) = config[key]
        assert set(dataset) <= AXOLOTL_FIELDS
        assert dataset["type"] == "chat_template"
        assert dataset["train_on_eos"] in AXOLOTL_EOS
        role, content = (dataset["message_property_mappings"][name] for name in ("role", "content"))
        loaded = _load(stored, dataset["path"], tmp_path)
        read = [[{"role": m[role], "content": m[content]} for m in r[dataset["field_messages"]]] for r in loaded]
        assert read == [r["messages"] for r in stored.table.to_pylist() if r["split"] == split]
        assert set(dataset["roles_to_train"]) <= {m["role"] for messages in read for m in messages}
    assert "test" not in {d["path"].partition(".")[0] for key in ("datasets", "test_datasets") for d in config[key]}


def test_the_alpaca_file_has_the_fields_of_axolotls_format(stored: StoredInstructionSet, tmp_path: Path) -> None:
    """The type named in the comment expects instruction, input, output and system."""
    assert "alpaca_w_system.load_chat" in (stored.folder / "axolotl.yaml").read_text(encoding="utf-8")
    rows = _load(stored, "train.alpaca.json", tmp_path)
    train = [row["messages"] for row in stored.table.to_pylist() if row["split"] == "train"]
    assert [(row["system"], user_content(row["instruction"], row["input"]), row["output"]) for row in rows] == [
        (system["content"], question["content"], answer["content"]) for system, *_, question, answer in train
    ]
