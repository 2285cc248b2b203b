"""Imports a data set as general data, a folder with

    source.yaml           source, licence, format
    conversations.jsonl   for the mix
    preferences.jsonl     preference pairs, kept for later use
    import.yaml           files with their hashes, and counts
    refused.csv           file, row and reason

All or nothing: the folder appears when it is complete. Rows are written one after the other, so that memory does not grow.
"""

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fine_tune_assets.core.files import atomic_folder, write_text
from fine_tune_assets.core.prompts.conversations import build_conversation, split_user_content
from fine_tune_assets.dataset_files.dataset_reader import Dataset
from fine_tune_assets.dataset_files.dataset_rows import Conversation, DatasetCounts, PreferencePair, Refusal
from fine_tune_assets.dataset_files.import_records import (
    IMPORT_FILE,
    REFUSED,
    REFUSED_COLUMNS,
    import_record,
    text_file,
)
from fine_tune_assets.instructions.general_data import (
    BUNDLED_FOLDERS,
    PREFERENCES,
    SOURCE_FILE,
    GeneralDataError,
    list_sources,
)
from fine_tune_assets.recipes.schema import BUNDLED, PREVIOUS_SET

CONVERSATIONS = "conversations.jsonl"
RESERVED_NAMES = BUNDLED_FOLDERS | {BUNDLED, PREVIOUS_SET}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True)
class GeneralImport:
    """Where a data set is imported to, and what is recorded about it."""

    root: Path
    """The folder of general data."""
    name: str
    source: str
    licence: str

    @property
    def folder(self) -> Path:
        return self.root / self.name


def require_importable(wanted: GeneralImport) -> None:
    """Raise GeneralDataError unless name, source and licence can be used."""
    if not _NAME.fullmatch(wanted.name):
        raise GeneralDataError(
            f"{wanted.name} can't be the name of a folder. Use up to 64 of a-z, 0-9, _ and -, with a letter or digit first."
        )
    if wanted.name in RESERVED_NAMES:
        raise GeneralDataError(f"{wanted.name} names another source of the recipe's mix. Choose another --name.")
    if wanted.folder.exists():
        raise GeneralDataError(f"general/{wanted.name} exists. Choose another --name, or remove the folder first.")
    if not wanted.source or not wanted.licence:
        raise GeneralDataError("Source and licence need a text, such as `--licence CC-BY-4.0`.")
    for other in list_sources(wanted.root):
        if other.source == wanted.source and other.licence != wanted.licence:
            raise GeneralDataError(
                f"general/{other.folder.name} has the source {wanted.source} with another licence. Choose another --source."
            )


def require_rows(counts: DatasetCounts) -> None:
    """Raise GeneralDataError if there is nothing to import."""
    if not counts.conversations and not counts.preference_pairs:
        raise GeneralDataError(
            f"None of {counts.rows} rows is a conversation or a preference pair. `fine-tune datasets check` counts the reasons."
        )


def import_general_data(dataset: Dataset, wanted: GeneralImport) -> DatasetCounts:
    """Write every conversation and preference pair to the new folder. Raises GeneralDataError or DatasetError; then nothing is
    written."""
    require_importable(wanted)
    with atomic_folder(wanted.folder) as folder:
        counts = _write_rows(dataset, folder)
        require_rows(counts)
        facts = {"source": wanted.source, "licence": wanted.licence, "format": "messages"}
        write_text(folder / SOURCE_FILE, yaml.safe_dump(facts, sort_keys=False, allow_unicode=True))
        write_text(folder / IMPORT_FILE, import_record(dataset, counts))
        require_importable(wanted)  # another import may have ended meanwhile
    return counts


def _write_rows(dataset: Dataset, folder: Path) -> DatasetCounts:
    counts = DatasetCounts()
    with (
        text_file(folder / CONVERSATIONS) as conversations,
        text_file(folder / PREFERENCES) as preferences,
        text_file(folder / REFUSED) as refused,
    ):
        table = csv.writer(refused)
        table.writerow(REFUSED_COLUMNS)
        for row in dataset.rows():
            counts.add(row)
            match row.content:
                case Conversation() as one:
                    conversations.write(json.dumps(_as_messages(one), ensure_ascii=False) + "\n")
                case PreferencePair() as pair:
                    preferences.write(json.dumps(_as_preferences(pair), ensure_ascii=False) + "\n")
                case Refusal() as reason:
                    table.writerow([row.file, row.number, reason.value])
    is_used = {CONVERSATIONS: counts.conversations, PREFERENCES: counts.preference_pairs, REFUSED: counts.refused}
    for name in (name for name, found in is_used.items() if not found):
        (folder / name).unlink()
    return counts


def _as_preferences(pair: PreferencePair) -> dict[str, Any]:
    """A row in the format `preferences`, with texts or messages as they were."""
    given = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
    return {
        name: value if isinstance(value, str) else [{"role": turn.role, "content": turn.content} for turn in value]
        for name, value in given.items()
        if value is not None
    }


def _as_messages(one: Conversation) -> dict[str, Any]:
    """A row in the format `messages`; `instruction` is added if it has several paragraphs."""
    history = [{"role": turn.role, "content": turn.content} for turn in one.history]
    messages = build_conversation(one.system or "", one.instruction, one.input, one.output, history)
    is_split = split_user_content(one.question) == (one.instruction, one.input)
    return {
        "messages": messages if one.system else messages[1:],
        **({} if is_split else {"instruction": one.instruction}),
        **({"kind": one.kind} if one.kind else {}),
    }
