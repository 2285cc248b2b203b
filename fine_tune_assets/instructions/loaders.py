"""How LLaMA-Factory and Axolotl read the exports of an instruction set, in their own configuration.

Owns `dataset_info.json` and `axolotl.yaml`. Their keys are from LLaMA-Factory's data/README.md and from Axolotl's
docs/dataset-formats. Does not know what is in the exports.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import yaml

from fine_tune_assets.instructions.splitting import SPLITS

LLAMA_FACTORY = "dataset_info.json"
AXOLOTL = "axolotl.yaml"
NameOfSplit = Callable[[str], str]
_ROLES = {"user_tag": "user", "assistant_tag": "assistant", "system_tag": "system"}
_MESSAGE_TAGS = {"role_tag": "role", "content_tag": "content", **_ROLES}
_SHAREGPT_TAGS = {"role_tag": "from", "content_tag": "value", **_ROLES, "user_tag": "human", "assistant_tag": "gpt"}
_AXOLOTL_COMMENT = """\
# The data part of an Axolotl configuration. Paths are relative to this folder; model and training settings are yours.
# The test split is left out: nothing may be chosen by it. In Alpaca form instead: {alpaca}, type alpaca_w_system.load_chat.
"""


def loader_files(alpaca: str, messages: NameOfSplit, sharegpt: NameOfSplit) -> Iterator[tuple[str, str]]:
    """Name and content of both files, for exports of these names."""
    yield LLAMA_FACTORY, json.dumps(_llama_factory(alpaca, messages, sharegpt), indent=2) + "\n"
    yield AXOLOTL, _AXOLOTL_COMMENT.format(alpaca=alpaca) + yaml.safe_dump(_axolotl(messages), sort_keys=False)


def _llama_factory(alpaca: str, messages: NameOfSplit, sharegpt: NameOfSplit) -> dict[str, Any]:
    """Name of a data set → how it is read. The folder is its `dataset_dir`."""
    columns = {"prompt": "instruction", "query": "input", "response": "output", "system": "system"}
    return {
        "train_alpaca": {"file_name": alpaca, "formatting": "alpaca", "columns": columns},
        **{f"{s}_messages": _turns(messages(s), "messages", _MESSAGE_TAGS) for s in SPLITS},
        **{f"{s}_sharegpt": _turns(sharegpt(s), "conversations", _SHAREGPT_TAGS) for s in SPLITS},
    }


def _turns(file_name: str, column: str, tags: dict[str, str]) -> dict[str, Any]:
    return {"file_name": file_name, "formatting": "sharegpt", "columns": {"messages": column}, "tags": tags}


def _axolotl(messages: NameOfSplit) -> dict[str, Any]:
    """Train and validation as messages, learning the answer and its stop token only, as the trainer here does."""

    def of_split(split: str) -> dict[str, Any]:
        return {
            "path": messages(split),
            "ds_type": "json",
            "split": "train",  # what a lone file is called when it is loaded, whatever it holds
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
